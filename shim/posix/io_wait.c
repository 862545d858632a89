/* io_wait.c - what all calls that wait for a descriptor share; see sys.h.
 *
 * O_NONBLOCK and the socket's own timeouts are looked at here, when a call would block, and not
 * remembered: another process may share the descriptor and change them.  But for sockets of
 * which nobody else has one: rt/nettrust.c.
 */
#include <fcntl.h>
#include <sys/time.h>

#include "shim/posix/sigfd.h"
#include "shim/posix/sys.h"
#include "shim/rt/config.h"
#include "shim/rt/netpoll.h"

bool sys_nonblocking(int fd)
{
    long fl = SYS(SYS_fcntl, fd, F_GETFL);
    return fl >= 0 && (fl & O_NONBLOCK) != 0;
}

/* Deadline by SO_RCVTIMEO or SO_SNDTIMEO. */
static int64_t own_deadline(int fd, int opt)
{
    struct timeval tv = {0};
    socklen_t n = sizeof tv;
    if (opt == 0 || SYS(SYS_getsockopt, fd, SOL_SOCKET, opt, &tv, &n) != 0 ||
        (tv.tv_sec == 0 && tv.tv_usec == 0))
        return RT_FOREVER;
    return os_now_ns() + (int64_t)tv.tv_sec * 1000000000 + (int64_t)tv.tv_usec * 1000;
}

/* The IO's own O_NONBLOCK, which means no waiting, and timeout. */
static bool may_wait(struct io_op *io, int fd)
{
    const struct sys_op *op = (struct sys_op *)io;
    uint32_t trust = net_trust(fd);
    uint32_t plain = op->timeout_opt == SO_RCVTIMEO   ? NET_WAITS_IN
                     : op->timeout_opt == SO_SNDTIMEO ? NET_WAITS_OUT
                                                      : NET_WAITS;
    io->deadline_ns = RT_FOREVER;
    if ((trust & plain) == 0) {
        if (sys_nonblocking(fd))
            return false;
        io->deadline_ns = own_deadline(fd, op->timeout_opt);
        if (io->deadline_ns == RT_FOREVER)
            net_learn(fd, trust, plain);
    }
    /* socket(7): with a timeout a call is not restarted after a handler. */
    io->any_handler = io->deadline_ns != RT_FOREVER;
    return true;
}

long sys_wait(struct sys_op *op, const size_t *progress)
{
    if (!may_wait(&op->io, op->io.fd))
        return -EAGAIN;
    op->io.ask = may_wait;
    op->io.progress = progress;
    op->io.ran = ld_rlx(&rt_self()->sig_ran);
    for (;;) {
        long r = io_wait(&op->io);
        if (r == IO_TIMEOUT)
            return -EAGAIN;
        if (r == IO_LOOK && !sigfd_ready(op->io.fd))
            continue;
        if (r != IO_CANCELED || (progress != NULL && *progress != 0))
            return r;
        block_act();
    }
}

bool sys_is_ready(int fd, uint32_t events)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    return os_poll(&p, 1) != 0;
}

static long try_dup(void *arg, int fd)
{
    const struct sys_op *op = arg;
    return sys_is_ready(fd, op->io.events) ? os_dup_high(fd) : -EAGAIN;
}

long sys_wait_dup(struct sys_op *op)
{
    op->io.try = try_dup;
    op->io.arg = op;
    return sys_wait(op, NULL);
}

static long call_on(int fd, long nr, const long a[6])
{
    return block_call(BLOCK_CANCEL, nr, fd, a[1], a[2], a[3], a[4], a[5]);
}

/* The duplicate must not stay open when the call is cancelled. */
static void close_dup(void *arg)
{
    os_close(*(int *)arg);
}

long sys_ready_call(int fd, uint32_t events, int timeout_opt, long nr, const long a[6])
{
    uint32_t seen = net_seen(fd, events);
    if (rt_self() == NULL || sys_is_ready(fd, events))
        return call_on(fd, nr, a);
    struct sys_op op = {.io = {.fd = fd, .events = events, .seen = seen},
                        .timeout_opt = timeout_opt};
    long r = sys_wait_dup(&op);
    if (r == IO_CANNOT || r == -EMFILE)
        return call_on(fd, nr, a);
    if (r < 0)
        return r;
    int dup = (int)r;
    pthread_cleanup_push(close_dup, &dup);
    r = call_on(dup, nr, a);
    pthread_cleanup_pop(1);
    return r;
}

/* --- regular files ---------------------------------------------------------------------- */

/* Only calls that end by themselves are counted, so that a full house always empties.  Each that
 * ends wakes one of those that wait outside, also when the house is not full: who was woken
 * before may not have come in yet.  A call inside a call (of a handler) is not counted, and one
 * that is left by a jump is counted out by the jump, or at the latest when its thread ends. */
static uint32_t file_calls;   /* atomic [F1] */
static uint32_t file_waiters; /* atomic [F1] */

static bool house_full(void *arg)
{
    (void)arg;
    return ld_sc(&file_calls) >= rt_config.maxfilecalls; /* MO: sc [F1] */
}

static void file_begin(struct g *gp)
{
    uint32_t n = ld_rlx(&file_calls);
    for (;;) {
        while (n < rt_config.maxfilecalls)
            if (cas_sc(&file_calls, &n, n + 1)) { /* MO: sc [F1] */
                gp->file_call = true;
                return;
            }
        struct park_op op = {.key = &file_calls,
                             .validate = house_full,
                             .deadline_ns = RT_FOREVER,
                             .reason = WAIT_IO};
        add_sc(&file_waiters, 1); /* MO: sc [F1] "count waiter; load calls" */
        park_wait(&op, NULL);
        sub_sc(&file_waiters, 1);
        n = ld_rlx(&file_calls);
    }
}

void sys_file_abandon(struct g *gp)
{
    if (likely(!gp->file_call))
        return;
    gp->file_call = false;
    sub_sc(&file_calls, 1); /* MO: sc [F1] "discount call; load waiters" */
    if (unlikely(ld_sc(&file_waiters) != 0))
        park_wake_one(&file_calls, NULL, NULL);
}

void sys_file_forked(void)
{
    struct g *gp = rt_self();
    st_rlx(&file_calls, gp != NULL && gp->file_call);
    st_rlx(&file_waiters, 0);
}

static void file_end(void *arg)
{
    sys_file_abandon(arg);
}

long sys_file_call(unsigned flags, long nr, const long a[6])
{
    struct g *gp = rt_self();
    long r;
    if (gp == NULL || gp->file_call)
        return block_call(flags, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    file_begin(gp);
    pthread_cleanup_push(file_end, gp); /* the call may be cancelled */
    r = block_call(flags, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    pthread_cleanup_pop(1);
    return r;
}
