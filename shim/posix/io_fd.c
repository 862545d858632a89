/* io_fd.c - calls that close a descriptor, or put another file at its number, or make one that
 * the netpoller then knows to be the program's alone (rt/nettrust.c).
 *
 * As in the kernel, a call that waits for a descriptor goes on waiting for the file it was
 * (net_close_begin).  The runtime's own descriptors do not exist for the program: closing one
 * is EBADF, ranges leave them out, and if the program wants just that number, ours moves.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <unistd.h>

#include "shim/posix/sys.h"
#include "shim/rt/netpoll.h"

static long close_one(int fd)
{
    enum net_close how = net_close_begin(fd);
    if (how == NET_OWN)
        return -EBADF;
    rt_block_begin(false); /* a socket may linger, a file be flushed to its server */
    long r = SYS(SYS_close, fd);
    rt_block_end();
    net_close_end(fd, how);
    return r;
}

EXPORT int close(int fd)
{
    SYS_PASS(close, fd);
    if (rt_self() == NULL && !rt_is_started())
        return (int)sys_ret(BLOCK(BLOCK_CANCEL, SYS_close, fd));
    sync_cancel_point();
    return (int)sys_ret(close_one(fd));
}

/* Put the file of OLD at NEW by the system call NR. */
static long replace(long nr, int old, int new, int flags)
{
    if (net_own_fd(old))
        return -EBADF;
    if (old == new)
        return SYS(nr, old, new, flags);
    net_shared(old);
    if (net_own_fd(new))
        net_move_own(new);
    enum net_close how = net_close_begin(new);
    net_replace_begin(new);
    long r = SYS(nr, old, new, flags);
    net_replace_end();
    net_close_end(new, how);
    return r;
}

EXPORT int dup2(int old, int new)
{
    SYS_PASS(dup2, old, new);
#ifdef SYS_dup2
    return (int)sys_ret(replace(SYS_dup2, old, new, 0));
#else
    if (old == new)
        return (int)sys_ret(SYS(SYS_fcntl, old, F_GETFD) < 0 ? -EBADF : new);
    return (int)sys_ret(replace(SYS_dup3, old, new, 0));
#endif
}

EXPORT int dup3(int old, int new, int flags)
{
    SYS_PASS(dup3, old, new, flags);
    return (int)sys_ret(replace(SYS_dup3, old, new, flags));
}

/* Closes FIRST to LAST but for what net_next_used names; that, where it is the program's,
 * one by one. */
static long close_many(unsigned first, unsigned last, int flags)
{
    int at = (flags & CLOSE_RANGE_CLOEXEC) != 0 || first > INT32_MAX
                 ? -1
                 : net_next_used((int)first);
    for (; at >= 0 && (unsigned)at <= last; at = net_next_used(at + 1)) {
        if ((unsigned)at > first) {
            long r = SYS(SYS_close_range, first, at - 1, flags);
            if (r < 0)
                return r;
        }
        close_one(at);
        first = (unsigned)at + 1;
    }
    return first <= last ? SYS(SYS_close_range, first, last, flags) : 0;
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    SYS_PASS(close_range, first, last, flags);
    if (first > last || (flags & ~(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE)) != 0)
        return (int)sys_ret(-EINVAL);
    return (int)sys_ret(close_many(first, last, flags));
}

EXPORT void closefrom(int first)
{
    if (unlikely(posix_off)) {
        SYS_REAL(closefrom)(first);
        return;
    }
    first = first > 0 ? first : 0;
    if (close_many((unsigned)first, ~0u, 0) != -ENOSYS)
        return;
    long max = sysconf(_SC_OPEN_MAX); /* Linux before 5.9 */
    for (long fd = first; fd < max; fd++)
        close_one((int)fd);
}

/* --- new ones ------------------------------------------------------------------------------ */

EXPORT int dup(int fd)
{
    SYS_PASS(dup, fd);
    if (net_own_fd(fd))
        return (int)sys_ret(-EBADF);
    net_shared(fd);
    return (int)sys_ret(SYS(SYS_dup, fd));
}

EXPORT int socket(int domain, int type, int protocol)
{
    SYS_PASS(socket, domain, type, protocol);
    long r = SYS(SYS_socket, domain, type, protocol);
    bool inet = (domain == AF_INET || domain == AF_INET6) &&
                (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM;
    if (r >= 0)
        net_sole((int)r, ((type & SOCK_NONBLOCK) != 0 ? 0 : NET_PLAIN_ONE) |
                             (inet ? NET_INET : 0));
    return (int)sys_ret(r);
}

static long new_pair(long r, const int fd[2], bool nonblocking)
{
    if (r == 0)
        for (int i = 0; i < 2; i++)
            net_sole(fd[i], nonblocking ? 0 : NET_PLAIN_ONE);
    return r;
}

EXPORT int socketpair(int domain, int type, int protocol, int fd[2])
{
    SYS_PASS(socketpair, domain, type, protocol, fd);
    return (int)sys_ret(new_pair(SYS(SYS_socketpair, domain, type, protocol, fd), fd,
                                 type & SOCK_NONBLOCK));
}

EXPORT int pipe2(int fd[2], int flags)
{
    SYS_PASS(pipe2, fd, flags);
    return (int)sys_ret(new_pair(SYS(SYS_pipe2, fd, flags), fd, flags & O_NONBLOCK));
}

EXPORT int pipe(int fd[2])
{
    SYS_PASS(pipe, fd);
    return (int)sys_ret(new_pair(SYS(SYS_pipe2, fd, 0), fd, false));
}

/* --- what changes them, or how they end --------------------------------------------------- */

EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
    SYS_PASS(setsockopt, fd, level, name, value, n);
    long r = SYS(SYS_setsockopt, fd, level, name, value, n);
    if (level == SOL_SOCKET)
        net_changed(fd);
    if (level == SOL_SOCKET && name == SO_RCVLOWAT)
        sys_note_lowat();
    return (int)sys_ret(r);
}

/* fclose and freopen close it by a system call of libc's own. */
EXPORT FILE *fdopen(int fd, const char *mode)
{
    net_shared(fd);
    return SYS_REAL(fdopen)(fd, mode);
}

FILE *_IO_fdopen(int fd, const char *mode);

EXPORT FILE *_IO_fdopen(int fd, const char *mode)
{
    return fdopen(fd, mode);
}

ALIAS(__close, close);
ALIAS(__dup2, dup2);
ALIAS(__pipe, pipe);
