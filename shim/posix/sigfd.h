/* sigfd.h - reading and waiting for signalfds; see sigfd.c. */
#ifndef GSHIM_POSIX_SIGFD_H
#define GSHIM_POSIX_SIGFD_H

#include <sys/uio.h>

#include "shim/rt/rt.h"

struct epoll_event;
struct pollfd;

extern bool sigfd_used; /* the program has called signalfd; atomic */

/* sigfd_pending - what GP blocks, and is pending for it or the process here.            [any] */
uint64_t sigfd_pending(const struct g *gp);

/* sigfd_look - is it to be asked whether a descriptor is a signalfd?  GP, the caller.     [G] */
static inline bool sigfd_look(const struct g *gp)
{
    return unlikely(ld_rlx(&sigfd_used)) && sigfd_pending(gp) != 0;
}

/* All for the calling G:
 * sigfd_ready - is FD a signalfd for something that is pending here?
 * sigfd_read - read from it.  The number of bytes, -EINVAL, -EAGAIN: that is the kernel's.
 * sigfd_poll, sigfd_epoll - a call without sleeping has found READY descriptors (or -errno): add to
 * them.  The new result.                                                                  [G] */
bool sigfd_ready(int fd);
long sigfd_read(int fd, const struct iovec *v, int n);
long sigfd_poll(struct pollfd *fds, size_t n, long ready);
long sigfd_epoll(int epfd, struct epoll_event *ev, int max, long ready);

#endif
