/* io_conn.c - connections: accept and connect.
 *
 * Neither has a flag for one call that does not sleep.
 * accept: poll tells whether there is a connection; if another thread takes it meanwhile, the
 *   call blocks a kernel thread until the next one, and nothing else is lost.
 * connect: SO_SNDTIMEO is how long the kernel waits for a stream to be connected.  It is set
 *   to the least for the moment of the call, which then starts the connection and returns
 *   EINPROGRESS (the socket connects in the background, as for a connect that a handler
 *   interrupts); the G waits for writability; the second connect gives the result.  Nobody
 *   else has a use for a timeout on a socket that is not connected, and unlike O_NONBLOCK
 *   it is the socket's and not seen by fcntl.  Sockets that are not INET streams go to the
 *   kernel: unix sockets sleep only when the listener's queue is full.  So do all while a
 *   kernel thread more can be afforded (rt_may_risk): one system call instead of three, and on
 *   this machine a connection is there when the call returns.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "shim/posix/sys.h"
#include "shim/rt/netpoll.h"

/* --- accept -------------------------------------------------------------------------------- */

EXPORT int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    SYS_PASS(accept4, fd, addr, len, flags);
    long r = sys_ready_call(fd, OS_IO_IN, SO_RCVTIMEO, SYS_accept4,
                            (long[6]){fd, (long)addr, (long)len, flags});
    if (r >= 0)
        net_sole((int)r, 0);
    return (int)sys_ret(r);
}

EXPORT int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    SYS_PASS(accept, fd, addr, len);
    long r = sys_ready_call(fd, OS_IO_IN, SO_RCVTIMEO, SYS_accept,
                            (long[6]){fd, (long)addr, (long)len});
    if (r >= 0)
        net_sole((int)r, 0);
    return (int)sys_ret(r);
}

/* --- connect ------------------------------------------------------------------------------- */

struct conn {
    const struct sockaddr *addr;
    socklen_t len;
};

static int get_timeout(int fd, struct timeval *tv)
{
    socklen_t n = sizeof *tv;
    if ((net_trust(fd) & NET_WAITS_OUT) != 0) {
        *tv = (struct timeval){0};
        return 0;
    }
    return (int)SYS(SYS_getsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, tv, &n);
}

static long connect_briefly(int fd, const struct conn *c, const struct timeval *own)
{
    const struct timeval least = {0, 1};
    if (SYS(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &least, sizeof least) != 0)
        return IO_CANNOT;
    long r = BLOCK(0, SYS_connect, fd, c->addr, c->len);
    SYS(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, own, sizeof *own);
    return r;
}

/* io_try_fn: is it decided?  The caller asks how. */
static long try_decided(void *arg, int fd)
{
    (void)arg;
    return sys_is_ready(fd, OS_IO_OUT) ? os_dup_high(fd) : -EAGAIN;
}

static bool is_inet_stream(int fd)
{
    int v = 0;
    socklen_t n = sizeof v;
    if ((net_trust(fd) & NET_INET) != 0)
        return true;
    if (SYS(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &v, &n) != 0 ||
        (v != AF_INET && v != AF_INET6))
        return false;
    return SYS(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &v, &n) == 0 && v == SOCK_STREAM;
}

static bool pending(int fd, long r)
{
    return r == -EINPROGRESS || (r == -EALREADY && !sys_nonblocking(fd));
}

static long await_connection(int fd, const struct conn *c, const struct timeval *own)
{
    struct sys_op op = {.io = {.fd = fd, .events = OS_IO_OUT, .try = try_decided},
                        .timeout_opt = SO_SNDTIMEO};
    long r;
    do {
        r = sys_wait(&op, NULL);
        if (r == -EAGAIN)
            return -EINPROGRESS; /* its own timeout, or O_NONBLOCK, as in the kernel */
        if (r == IO_CANNOT || r == -EMFILE)
            return BLOCK(BLOCK_CANCEL, SYS_connect, fd, c->addr, c->len);
        if (r < 0)
            return r;
        int dup = (int)r; /* FD may be closed, and another file, by now */
        r = connect_briefly(dup, c, own);
        os_close(dup);
    } while (pending(fd, r));
    return r;
}

static long connect_inet(struct g *gp, int fd, const struct conn *c)
{
    struct timeval own;
    if (get_timeout(fd, &own) != 0)
        return IO_CANNOT;
    if (unlikely(libc_cancel_pending(gp->tcb)))
        block_act();
    uint32_t eintr = ld_rlx(&gp->sig_eintr);
    long r = connect_briefly(fd, c, &own);
    if (r == -EINTR && ld_rlx(&gp->sig_eintr) == eintr)
        r = -EINPROGRESS; /* the handler asked for a restart: go on waiting */
    return pending(fd, r) ? await_connection(fd, c, &own) : r;
}

EXPORT int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    SYS_PASS(connect, fd, addr, len);
    struct g *gp = rt_self();
    struct conn c = {addr, len};
    long r = IO_CANNOT;
    if (gp != NULL && !rt_may_risk(gp) && is_inet_stream(fd))
        r = connect_inet(gp, fd, &c);
    if (r == IO_CANNOT)
        r = BLOCK(BLOCK_CANCEL, SYS_connect, fd, addr, len);
    return (int)sys_ret(r);
}

ALIAS(__connect, connect);
