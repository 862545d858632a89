/* io_sock.c - receiving and sending on sockets.
 *
 * Each try is the call itself with MSG_DONTWAIT.  What the kernel does for a socket that
 * blocks and not for that flag is done here: sending goes on until all is sent; MSG_WAITALL
 * on a stream goes on until the buffer is full, the stream ends or in error; recvmmsg and
 * sendmmsg until the last message.  Once part is done, an error, a handler or the socket's
 * timeout ends the call with that part.
 *
 * MSG_WAITALL together with MSG_PEEK looks at the same bytes again and again: it is left to
 * the kernel, as are descriptors that are no sockets.  So is receiving where SO_RCVLOWAT is above
 * 1: what is short of it must stay in the socket, and after a part the poller would wait for
 * the whole of it again.  Known limit: one that was set before exec is not seen.
 */
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "shim/posix/sys.h"
#include "shim/rt/netpoll.h"

struct sock {
    bool sending;
    bool all;  /* go on until the last byte */
    long nr;   /* SYS_recvfrom, _sendto, _recvmsg, _sendmsg */
    int flags; /* the caller's */
    void *buf; /* recvfrom, sendto */
    size_t n;
    struct sockaddr *addr;
    socklen_t *len_p;
    socklen_t len;
    struct msghdr *msg; /* recvmsg, sendmsg */
    size_t done;
    size_t before; /* what calls before this one have done of the same work */
};

/* --- one call --------------------------------------------------------------------------- */

static long once(int fd, const struct sock *o, int flags)
{
    if (o->nr == SYS_recvfrom)
        return SYS_NOW(o->nr, fd, (char *)o->buf + o->done, o->n - o->done, flags,
                       o->addr, o->len_p);
    if (o->nr == SYS_sendto)
        return SYS_NOW(o->nr, fd, (char *)o->buf + o->done, o->n - o->done, flags,
                       o->addr, o->len);
    return SYS_NOW(o->nr, fd, o->msg, flags);
}

/* io_try_fn for calls that take all at once or nothing */
static long try_once(void *arg, int fd)
{
    struct sock *o = arg;
    return once(fd, o, o->flags | MSG_DONTWAIT);
}

/* io_try_fn for a buffer and more than one turn */
static long try_all(void *arg, int fd)
{
    struct sock *o = arg;
    int flags = (o->flags & ~MSG_WAITALL) | MSG_DONTWAIT;
    for (;;) {
        /* What was sent in part raises no SIGPIPE for the rest, as in the kernel. */
        long r = once(fd, o, flags | (o->sending && o->done != 0 ? MSG_NOSIGNAL : 0));
        if (r < 0)
            return r;
        o->done += (size_t)r;
        if (r == 0 || o->done == o->n)
            return (long)o->done;
    }
}

static bool lowat_used; /* some socket has a SO_RCVLOWAT above 1; atomic */

void sys_note_lowat(void)
{
    st_rlx(&lowat_used, true);
}

bool sys_has_lowat(int fd)
{
    int least = 1;
    socklen_t n = sizeof least;
    return unlikely(ld_rlx(&lowat_used)) &&
           SYS(SYS_getsockopt, fd, SOL_SOCKET, SO_RCVLOWAT, &least, &n) == 0 && least > 1;
}

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t n = sizeof type;
    return SYS(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 &&
           type == SOCK_STREAM;
}

static long in_kernel(int fd, const struct sock *o)
{
    long r = o->nr == SYS_recvfrom || o->nr == SYS_sendto
                 ? BLOCK(o->done == 0 ? BLOCK_CANCEL : 0, o->nr, fd,
                         (char *)o->buf + o->done, o->n - o->done, o->flags, o->addr,
                         o->nr == SYS_recvfrom ? (long)o->len_p : (long)o->len)
                 : BLOCK(BLOCK_CANCEL, o->nr, fd, o->msg, o->flags);
    return o->done == 0 ? r : (long)o->done + (r > 0 ? r : 0);
}

static long run(int fd, struct sock *o)
{
    struct g *gp = rt_self();
    if (gp == NULL || (o->flags & (MSG_DONTWAIT | MSG_ERRQUEUE)) != 0 ||
        (o->flags & (MSG_WAITALL | MSG_PEEK)) == (MSG_WAITALL | MSG_PEEK) ||
        (!o->sending && sys_has_lowat(fd)))
        return in_kernel(fd, o);
    if (unlikely(libc_cancel_pending(gp->tcb)))
        block_act();
    io_try_fn *try = o->all ? try_all : try_once;
    uint32_t in = (o->flags & MSG_OOB) != 0 ? OS_IO_PRI : OS_IO_IN | OS_IO_RDHUP;
    uint32_t events = o->sending ? OS_IO_OUT : in, seen = net_seen(fd, events);
    long r = try(o, fd);
    if (likely(r != -EAGAIN))
        return r < 0 && o->done != 0 ? (long)o->done : r;
    struct sys_op op = {
        .io = {.fd = fd, .events = events, .try = try, .arg = o, .seen = seen},
        .timeout_opt = o->sending ? SO_SNDTIMEO : SO_RCVTIMEO};
    r = sys_wait(&op, o->before != 0 ? &o->before : &o->done);
    if (r == IO_CANNOT)
        return in_kernel(fd, o);
    return r < 0 && o->done != 0 ? (long)o->done : r;
}

long io_recv(int fd, void *buf, size_t n, int flags, struct sockaddr *from,
             socklen_t *len)
{
    struct sock o = {.nr = SYS_recvfrom,
                     .flags = flags,
                     .buf = buf,
                     .n = n,
                     .addr = from,
                     .len_p = len};
    o.all = (flags & MSG_WAITALL) != 0 && rt_self() != NULL && n != 0 && is_stream(fd);
    return run(fd, &o);
}

long io_send(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to,
             socklen_t len)
{
    struct sock o = {.sending = true,
                     .all = true, /* a datagram goes at once */
                     .nr = SYS_sendto,
                     .flags = flags,
                     .buf = (void *)(uintptr_t)buf,
                     .n = n,
                     .addr = (struct sockaddr *)(uintptr_t)to,
                     .len = len};
    return run(fd, &o);
}

/* --- messages --------------------------------------------------------------------------- */

static size_t bytes_of(const struct msghdr *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->msg_iovlen; i++)
        n += m->msg_iov[i].iov_len;
    return n;
}

/* Part of M is done: the rest of it, without what went with the first part. */
enum { PIECE = 16 };
static void cut(struct msghdr *m, struct iovec piece[PIECE], size_t done)
{
    while (m->msg_iovlen > 0 && done >= m->msg_iov->iov_len) {
        done -= m->msg_iov->iov_len;
        m->msg_iov++;
        m->msg_iovlen--;
    }
    m->msg_control = NULL;
    m->msg_controllen = 0;
    if (done == 0)
        return;
    if (m->msg_iovlen > PIECE)
        m->msg_iovlen = PIECE;
    memcpy(piece, m->msg_iov, m->msg_iovlen * sizeof piece[0]);
    piece[0].iov_base = (char *)piece[0].iov_base + done;
    piece[0].iov_len -= done;
    m->msg_iov = piece;
}

/* A stream took, or gave, R bytes of M, fewer than ALL: until all, the end, or an error. */
static long finish(int fd, const struct msghdr *m, int flags, bool sending, size_t all,
                   long r)
{
    size_t done = (size_t)r;
    while (done < all && !sys_nonblocking(fd)) {
        struct iovec piece[PIECE];
        struct msghdr left = *m;
        cut(&left, piece, done);
        struct sock o = {.sending = sending,
                         .nr = sending ? SYS_sendmsg : SYS_recvmsg,
                         .flags = (flags & ~MSG_WAITALL) | MSG_NOSIGNAL,
                         .msg = &left,
                         .before = done};
        bool pending = libc_cancel_pending(rt_self()->tcb);
        r = pending ? -ECANCELED : run(fd, &o);
        if (r <= 0)
            break;
        done += (size_t)r;
    }
    return (long)done;
}

long io_recvmsg(int fd, struct msghdr *m, int flags)
{
    struct sock o = {.nr = SYS_recvmsg, .flags = flags, .msg = m};
    long r = run(fd, &o);
    if (r <= 0 || (flags & MSG_WAITALL) == 0 || rt_self() == NULL ||
        (flags & (MSG_DONTWAIT | MSG_PEEK)) != 0 || m->msg_controllen != 0 ||
        sys_has_lowat(fd)) /* the kernel has waited for all */
        return r;
    size_t all = bytes_of(m);
    return (size_t)r < all && is_stream(fd) ? finish(fd, m, flags, false, all, r) : r;
}

long io_sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct sock o = {.sending = true,
                     .nr = SYS_sendmsg,
                     .flags = flags,
                     .msg = (struct msghdr *)(uintptr_t)m};
    long r = run(fd, &o);
    if (r <= 0 || rt_self() == NULL || (flags & MSG_DONTWAIT) != 0)
        return r;
    size_t all = bytes_of(m);
    return (size_t)r < all ? finish(fd, m, flags, true, all, r) : r;
}

/* --- many messages ------------------------------------------------------------------------ */

/* As the kernel's do_recvmmsg: the timeout is looked at after each message only; an error after
 * the first one is left for the next call. */
static long recv_many(int fd, struct mmsghdr *v, unsigned n, int flags, int64_t deadline)
{
    unsigned i = 0;
    long r = 0;
    while (i < n) {
        int f = flags & ~MSG_WAITFORONE;
        if (i != 0 && (flags & MSG_WAITFORONE) != 0)
            f |= MSG_DONTWAIT;
        if (i != 0 && libc_cancel_pending(rt_self()->tcb))
            break;
        r = io_recvmsg(fd, &v[i].msg_hdr, f);
        if (r < 0)
            break;
        v[i++].msg_len = (unsigned)r;
        if (deadline != RT_FOREVER && os_now_ns() >= deadline)
            break;
        if ((v[i - 1].msg_hdr.msg_flags & MSG_OOB) != 0)
            break;
    }
    return i != 0 ? (long)i : r;
}

static long send_many(int fd, struct mmsghdr *v, unsigned n, int flags)
{
    unsigned i = 0;
    long r = 0;
    for (; i < n && i < IOV_MAX; i++) {
        if (i != 0 && libc_cancel_pending(rt_self()->tcb))
            break;
        r = io_sendmsg(fd, &v[i].msg_hdr, flags);
        if (r < 0)
            break;
        v[i].msg_len = (unsigned)r;
    }
    return i != 0 ? (long)i : r;
}

/* --- entry points --------------------------------------------------------------------------- */

EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
    SYS_PASS(recv, fd, buf, n, flags);
    return sys_ret(io_recv(fd, buf, n, flags, NULL, NULL));
}

EXPORT ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *from,
                        socklen_t *len)
{
    SYS_PASS(recvfrom, fd, buf, n, flags, from, len);
    return sys_ret(io_recv(fd, buf, n, flags, from, len));
}

/* What a program compiled with _FORTIFY_SOURCE calls. */
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags,
                       struct sockaddr *from, socklen_t *len);

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
    if (unlikely(posix_off || n > room)) /* libc reports the overflow */
        return SYS_REAL(__recv_chk)(fd, buf, n, room, flags);
    return recv(fd, buf, n, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags,
                              struct sockaddr *from, socklen_t *len)
{
    if (unlikely(posix_off || n > room))
        return SYS_REAL(__recvfrom_chk)(fd, buf, n, room, flags, from, len);
    return recvfrom(fd, buf, n, flags, from, len);
}

EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
    SYS_PASS(send, fd, buf, n, flags);
    return sys_ret(io_send(fd, buf, n, flags, NULL, 0));
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags,
                      const struct sockaddr *to, socklen_t len)
{
    SYS_PASS(sendto, fd, buf, n, flags, to, len);
    return sys_ret(io_send(fd, buf, n, flags, to, len));
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
    SYS_PASS(recvmsg, fd, m, flags);
    return sys_ret(io_recvmsg(fd, m, flags));
}

/* M was sent: the descriptors in it have got another owner. */
static void share_rights(const struct msghdr *m)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    for (; c != NULL; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
             at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
            net_shared(fd);
        }
    }
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    SYS_PASS(sendmsg, fd, m, flags);
    long r = io_sendmsg(fd, m, flags);
    if (r >= 0)
        share_rights(m);
    return sys_ret(r);
}

EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned n, int flags, struct timespec *t)
{
    SYS_PASS(recvmmsg, fd, v, n, flags, t);
    if (rt_self() == NULL || (flags & MSG_DONTWAIT) != 0)
        return (int)sys_ret(BLOCK(BLOCK_CANCEL, SYS_recvmmsg, fd, v, n, flags, t));
    if (t != NULL && (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= 1000000000))
        return (int)sys_ret(-EINVAL);
    int64_t deadline = RT_FOREVER;
    if (t != NULL && t->tv_sec < INT32_MAX)
        deadline = os_now_ns() + t->tv_sec * 1000000000ll + t->tv_nsec;
    return (int)sys_ret(recv_many(fd, v, n, flags, deadline));
}

EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned n, int flags)
{
    SYS_PASS(sendmmsg, fd, v, n, flags);
    long r;
    if (rt_self() == NULL || (flags & MSG_DONTWAIT) != 0)
        r = BLOCK(BLOCK_CANCEL, SYS_sendmmsg, fd, v, n, flags);
    else
        r = send_many(fd, v, n, flags);
    for (long i = 0; i < r; i++)
        share_rights(&v[i].msg_hdr);
    return (int)sys_ret(r);
}

ALIAS(__send, send);
