/* io_poll.c - waiting for one of several: poll, select, epoll_wait and their variants.
 *
 * First the call itself without sleeping; then up to IO_POLL_MAX descriptors are waited for in
 * the netpoller; larger sets, and what cannot be waited for, in the kernel.  An application's
 * epoll descriptor is itself one to wait for.
 * Timeouts are exact deadlines on CLOCK_MONOTONIC.  These calls end with EINTR after any
 * handler, SA_RESTART or not (signal(7)).
 *
 * A mask given by the caller (ppoll, pselect, epoll_pwait) is the thread's for the time of the
 * call; a handler that it lets in ends the call, also before it sleeps.  So what is counted from is
 * sig_ran before the mask opened (masked.ran), and who goes to sleep compares it when no handler
 * runs any more.
 */
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "shim/posix/sigfd.h"
#include "shim/posix/sys.h"

enum { NS_PER_S = 1000000000, NS_PER_MS = 1000000, KERNEL_SIGSET = 8 };

/* --- masks and times ---------------------------------------------------------------------- */

struct masked {
    const sigset_t *mask; /* NULL: none given */
    sigset_t old;
    uint32_t ran;
};

static void put_back(void *arg)
{
    struct masked *m = arg;
    if (m->mask != NULL)
        pthread_sigmask(SIG_SETMASK, &m->old, NULL);
}

/* False: a handler has run already. */
static bool put_mask(struct masked *m)
{
    struct g *gp = rt_self();
    m->ran = ld_rlx(&gp->sig_ran);
    if (m->mask != NULL)
        pthread_sigmask(SIG_SETMASK, m->mask, &m->old);
    return ld_rlx(&gp->sig_ran) == m->ran;
}

static int64_t from_ms(int ms)
{
    return ms < 0 ? RT_FOREVER : ms * (int64_t)NS_PER_MS;
}

/* -1: a timespec that the kernel refuses. */
static int64_t from_timespec(const struct timespec *t)
{
    if (t == NULL)
        return RT_FOREVER;
    if (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= NS_PER_S)
        return -1;
    if (t->tv_sec >= INT64_MAX / NS_PER_S / 2)
        return RT_FOREVER;
    return (int64_t)t->tv_sec * NS_PER_S + t->tv_nsec;
}

static int64_t deadline_of(int64_t timeout_ns)
{
    return timeout_ns == RT_FOREVER ? RT_FOREVER : os_now_ns() + timeout_ns;
}

static struct timespec *left_until(int64_t deadline_ns, struct timespec *t)
{
    if (deadline_ns == RT_FOREVER)
        return NULL;
    int64_t left = deadline_ns - os_now_ns();
    left = left > 0 ? left : 0;
    *t = (struct timespec){.tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S};
    return t;
}

/* In the kernel, until the deadline: a call that is made again has less time left. */
static long ppoll_kernel(struct pollfd *fds, nfds_t n, int64_t deadline_ns, uint32_t ran)
{
    for (;;) {
        struct timespec t;
        const long a[6] = {(long)fds, (long)n, (long)left_until(deadline_ns, &t), 0,
                           KERNEL_SIGSET};
        long r = block_call_since(ran, BLOCK_CANCEL | BLOCK_ONCE, SYS_ppoll, a);
        if (r != -ERESTART)
            return r;
    }
}

/* --- poll ---------------------------------------------------------------------------------- */

static long poll_now(struct pollfd *fds, nfds_t n)
{
    const struct timespec none = {0};
    long r = SYS_NOW(SYS_ppoll, fds, n, &none, NULL, KERNEL_SIGSET);
    return likely(!sigfd_look(rt_self())) ? r : sigfd_poll(fds, n, r);
}

static long poll_g(struct pollfd *fds, nfds_t n, int64_t timeout_ns, uint32_t ran)
{
    if (unlikely(libc_cancel_pending(rt_self()->tcb)))
        block_act();
    long r = poll_now(fds, n);
    if (r != 0 || timeout_ns == 0)
        return r;
    int64_t deadline = deadline_of(timeout_ns);
    if (n <= IO_POLL_MAX) {
        do {
            r = io_poll(fds, (unsigned)n, deadline, ran);
            if (r == IO_CANCELED)
                block_act();
            if (r == IO_LOOK && (r = poll_now(fds, n)) == 0)
                r = IO_LOOK;
        } while (r == IO_CANCELED || r == IO_LOOK);
        if (r != IO_CANNOT)
            return r;
    }
    return ppoll_kernel(fds, n, deadline, ran);
}

/* As poll_g, with the result of a call, on any thread. */
static int poll_any(struct pollfd *fds, nfds_t n, const struct timespec *t,
                    int64_t timeout_ns, const sigset_t *mask)
{
    struct masked m = {.mask = mask};
    long r = -EINTR;
    if (rt_self() == NULL || timeout_ns < 0) {
        struct timespec copy, *tp = NULL;
        if (t != NULL) { /* glibc does not write to the caller's */
            copy = *t;
            tp = &copy;
        } else if (timeout_ns != RT_FOREVER) {
            copy = (struct timespec){.tv_sec = timeout_ns / NS_PER_S,
                                     .tv_nsec = timeout_ns % NS_PER_S};
            tp = &copy;
        }
        return (int)sys_ret(
            BLOCK(BLOCK_CANCEL, SYS_ppoll, fds, n, tp, mask, KERNEL_SIGSET));
    }
    pthread_cleanup_push(put_back, &m);
    if (put_mask(&m))
        r = poll_g(fds, n, timeout_ns, m.ran);
    pthread_cleanup_pop(1);
    return (int)sys_ret(r);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    SYS_PASS(poll, fds, n, timeout_ms);
#ifdef SYS_poll
    if (rt_self() == NULL)
        return (int)sys_ret(BLOCK(BLOCK_CANCEL, SYS_poll, fds, n, timeout_ms));
#endif
    return poll_any(fds, n, NULL, from_ms(timeout_ms), NULL);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *t,
                 const sigset_t *mask)
{
    SYS_PASS(ppoll, fds, n, t, mask);
    return poll_any(fds, n, t, from_timespec(t), mask);
}

/* What a program compiled with _FORTIFY_SOURCE calls. */
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *t,
                const sigset_t *mask, size_t room);

EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms, size_t room)
{
    if (unlikely(posix_off || room / sizeof *fds < n)) /* libc reports the overflow */
        return SYS_REAL(__poll_chk)(fds, n, timeout_ms, room);
    return poll(fds, n, timeout_ms);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *t,
                       const sigset_t *mask, size_t room)
{
    if (unlikely(posix_off || room / sizeof *fds < n))
        return SYS_REAL(__ppoll_chk)(fds, n, t, mask, room);
    return ppoll(fds, n, t, mask);
}

/* --- select -------------------------------------------------------------------------------- */

enum {
    SEL_IN = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR,
    SEL_OUT = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR,
    SEL_EX = POLLPRI,
    WORD_BITS = 8 * sizeof(unsigned long),
};

/* Sets may be larger than fd_set, so they are looked at as the kernel does. */
static bool in_set(const fd_set *s, int fd)
{
    const unsigned long *w = (const void *)s;
    return w != NULL && (w[fd / WORD_BITS] >> (fd % WORD_BITS) & 1) != 0;
}

struct sel {
    int n;
    fd_set *in, *out, *ex;
};

/* The sets as pollfds; -1: more than IO_POLL_MAX. */
static int to_poll(const struct sel *s, struct pollfd *p)
{
    int k = 0;
    for (int fd = 0; fd < s->n; fd++) {
        /* What select wants of each set; POLLHUP and POLLERR come unasked. */
        int ev = (in_set(s->in, fd) ? POLLIN | POLLRDNORM | POLLRDBAND : 0) |
                 (in_set(s->out, fd) ? POLLOUT | POLLWRNORM | POLLWRBAND : 0) |
                 (in_set(s->ex, fd) ? POLLPRI : 0);
        if (ev == 0)
            continue;
        if (k == IO_POLL_MAX)
            return -1;
        p[k++] = (struct pollfd){.fd = fd, .events = (short)ev};
    }
    return k;
}

static int keep(fd_set *s, const struct pollfd *p, int ready)
{
    unsigned long *w = (void *)s, bit = 1ul << (p->fd % WORD_BITS);
    if (!in_set(s, p->fd))
        return 0;
    if ((p->revents & ready) != 0)
        return 1;
    w[p->fd / WORD_BITS] &= ~bit;
    return 0;
}

/* pollfds back into the sets; the number of bits, or -EBADF. */
static long from_poll(const struct sel *s, const struct pollfd *p, int k)
{
    long bits = 0;
    for (int i = 0; i < k; i++)
        if ((p[i].revents & POLLNVAL) != 0)
            return -EBADF;
    for (int i = 0; i < k; i++)
        bits += keep(s->in, &p[i], SEL_IN) + keep(s->out, &p[i], SEL_OUT) +
                keep(s->ex, &p[i], SEL_EX);
    return bits;
}

/* Is there an event that select counts?  POLLHUP is none for a set that is only written to. */
static bool counts(const struct sel *s, const struct pollfd *p, int k)
{
    for (int i = 0; i < k; i++) {
        int want = (in_set(s->in, p[i].fd) ? SEL_IN : 0) |
                   (in_set(s->out, p[i].fd) ? SEL_OUT : 0) |
                   (in_set(s->ex, p[i].fd) ? SEL_EX : 0);
        if ((p[i].revents & (want | POLLNVAL)) != 0)
            return true;
    }
    return false;
}

static long select_poll(const struct sel *s, struct pollfd *p, int k, int64_t deadline,
                        uint32_t ran)
{
    long r = poll_now(p, (nfds_t)k);
    while (r == 0) {
        r = io_poll(p, (unsigned)k, deadline, ran);
        if (r == IO_CANCELED) {
            block_act();
            r = 0;
        } else if (r == IO_LOOK) {
            r = poll_now(p, (nfds_t)k);
        } else if (r <= 0) {
            return r == 0 ? from_poll(s, p, k) : r;
        }
    }
    return r < 0 ? r : counts(s, p, k) ? from_poll(s, p, k) : IO_CANNOT;
}

static long select_kernel(const struct sel *s, int64_t deadline, uint32_t ran)
{
    for (;;) {
        struct timespec t;
        const long a[6] = {
            s->n, (long)s->in, (long)s->out, (long)s->ex, (long)left_until(deadline, &t),
            0};
        long r = block_call_since(ran, BLOCK_CANCEL | BLOCK_ONCE, SYS_pselect6, a);
        if (r != -ERESTART)
            return r;
    }
}

static long select_g(const struct sel *s, int64_t timeout_ns, uint32_t ran)
{
    struct pollfd p[IO_POLL_MAX];
    const struct timespec none = {0};
    long r;
    if (unlikely(libc_cancel_pending(rt_self()->tcb)))
        block_act();
    int k = s->n >= 0 && (timeout_ns != 0 || sigfd_look(rt_self())) ? to_poll(s, p) : -1;
    if (timeout_ns == 0 && k >= 0)
        return (r = poll_now(p, (nfds_t)k)) < 0 ? r : from_poll(s, p, k);
    if (timeout_ns == 0 || s->n < 0)
        return SYS_NOW(SYS_pselect6, s->n, s->in, s->out, s->ex, &none, NULL);
    int64_t deadline = deadline_of(timeout_ns);
    r = k < 0 ? IO_CANNOT : select_poll(s, p, k, deadline, ran);
    return r == IO_CANNOT ? select_kernel(s, deadline, ran) : r;
}

static long select_masked(const struct sel *s, int64_t timeout_ns, const sigset_t *mask)
{
    struct masked m = {.mask = mask};
    long r = -EINTR;
    pthread_cleanup_push(put_back, &m);
    if (put_mask(&m))
        r = select_g(s, timeout_ns, m.ran);
    pthread_cleanup_pop(1);
    return r;
}

EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *ex, struct timeval *tv)
{
    SYS_PASS(select, n, in, out, ex, tv);
    struct sel s = {n, in, out, ex};
    int64_t ns = RT_FOREVER;
    if (rt_self() == NULL || (tv != NULL && (tv->tv_sec < 0 || tv->tv_usec < 0)))
        return (int)sys_ret(BLOCK(BLOCK_CANCEL, SYS_select, n, in, out, ex, tv));
    if (tv != NULL && tv->tv_sec < INT32_MAX)
        ns = tv->tv_sec * (int64_t)NS_PER_S + tv->tv_usec * 1000ll;
    int64_t deadline = deadline_of(ns);
    long r = select_masked(&s, ns, NULL);
    struct timespec left;
    if (tv != NULL && ns != RT_FOREVER && left_until(deadline, &left) != NULL)
        *tv = (struct timeval){left.tv_sec, left.tv_nsec / 1000}; /* as Linux does */
    return (int)sys_ret(r);
}

EXPORT int pselect(int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *t,
                   const sigset_t *mask)
{
    SYS_PASS(pselect, n, in, out, ex, t, mask);
    struct sel s = {n, in, out, ex};
    int64_t ns = from_timespec(t);
    if (rt_self() != NULL && ns >= 0)
        return (int)sys_ret(select_masked(&s, ns, mask));
    struct timespec copy, *tp = NULL;
    struct {
        const sigset_t *mask;
        size_t bytes;
    } packed = {mask, KERNEL_SIGSET};
    if (t != NULL) {
        copy = *t;
        tp = &copy;
    }
    return (int)sys_ret(BLOCK(BLOCK_CANCEL, SYS_pselect6, n, in, out, ex, tp, &packed));
}

/* --- epoll --------------------------------------------------------------------------------- */

struct epoll_call {
    struct epoll_event *ev;
    int max;
};

static long epoll_now(int fd, const struct epoll_call *c)
{
    long r = SYS_NOW(SYS_epoll_pwait, fd, c->ev, c->max, 0, NULL, KERNEL_SIGSET);
    return likely(!sigfd_look(rt_self())) ? r : sigfd_epoll(fd, c->ev, c->max, r);
}

static long try_epoll(void *arg, int fd)
{
    long r = epoll_now(fd, arg);
    return r == 0 ? -EAGAIN : r;
}

static long epoll_kernel(int fd, const struct epoll_call *c, int64_t deadline,
                         uint32_t ran)
{
    for (;;) {
        struct timespec t, *tp = left_until(deadline, &t);
        int64_t ms = tp == NULL ? -1 : t.tv_sec * 1000 + (t.tv_nsec + 999999) / 1000000;
        const long a[6] = {fd, (long)c->ev,  c->max, ms > INT32_MAX ? INT32_MAX : ms,
                           0,  KERNEL_SIGSET};
        long r = block_call_since(ran, BLOCK_CANCEL | BLOCK_ONCE, SYS_epoll_pwait, a);
        if (r != -ERESTART)
            return r;
    }
}

static long epoll_g(int fd, struct epoll_call *c, int64_t timeout_ns, uint32_t ran)
{
    if (unlikely(libc_cancel_pending(rt_self()->tcb)))
        block_act();
    long r = epoll_now(fd, c);
    if (r != 0 || timeout_ns == 0)
        return r;
    struct io_op op = {.fd = fd,
                       .events = OS_IO_IN,
                       .try = try_epoll,
                       .arg = c,
                       .deadline_ns = deadline_of(timeout_ns),
                       .any_handler = true,
                       .ran = ran};
    for (;;) {
        r = io_wait(&op);
        if (r == IO_CANNOT)
            return epoll_kernel(fd, c, op.deadline_ns, ran);
        if (r == IO_LOOK && (r = epoll_now(fd, c)) == 0)
            continue;
        if (r != IO_CANCELED)
            return r == IO_TIMEOUT ? 0 : r;
        block_act();
    }
}

static int epoll_masked(int fd, struct epoll_event *ev, int max, int64_t timeout_ns,
                        const sigset_t *mask)
{
    struct masked m = {.mask = mask};
    struct epoll_call c = {ev, max};
    long r = -EINTR;
    pthread_cleanup_push(put_back, &m);
    if (put_mask(&m))
        r = epoll_g(fd, &c, timeout_ns, m.ran);
    pthread_cleanup_pop(1);
    return (int)sys_ret(r);
}

EXPORT int epoll_pwait(int fd, struct epoll_event *ev, int max, int timeout_ms,
                       const sigset_t *mask)
{
    SYS_PASS(epoll_pwait, fd, ev, max, timeout_ms, mask);
    if (rt_self() == NULL)
        return (int)sys_ret(BLOCK(BLOCK_CANCEL, SYS_epoll_pwait, fd, ev, max, timeout_ms,
                                  mask, KERNEL_SIGSET));
    return epoll_masked(fd, ev, max, from_ms(timeout_ms), mask);
}

EXPORT int epoll_wait(int fd, struct epoll_event *ev, int max, int timeout_ms)
{
    SYS_PASS(epoll_wait, fd, ev, max, timeout_ms);
    return epoll_pwait(fd, ev, max, timeout_ms, NULL);
}

EXPORT int epoll_pwait2(int fd, struct epoll_event *ev, int max, const struct timespec *t,
                        const sigset_t *mask)
{
    SYS_PASS(epoll_pwait2, fd, ev, max, t, mask);
    int64_t ns = from_timespec(t);
    if (rt_self() == NULL || ns < 0)
        return (int)sys_ret(
            BLOCK(BLOCK_CANCEL, SYS_epoll_pwait2, fd, ev, max, t, mask, KERNEL_SIGSET));
    return epoll_masked(fd, ev, max, ns, mask);
}

ALIAS(__poll, poll);
ALIAS(__select, select);
