/* io_fd.c - calls that close a descriptor, or put another file at its number.
 *
 * As in the kernel, a call that waits for a descriptor goes on waiting for the file it was
 * (net_close_begin).  The runtime's own descriptors do not exist for the program: closing one
 * is EBADF, ranges leave them out, and if the program wants just that number, ours moves.
 */
#include <linux/close_range.h>
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
    if (net_own_fd(new))
        net_move_own(new);
    enum net_close how = net_close_begin(new);
    long r = SYS(nr, old, new, flags);
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

ALIAS(__close, close);
ALIAS(__dup2, dup2);
