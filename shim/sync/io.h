/* io.h - waiting for descriptors on top of the parking lot and the netpoller.
 *
 * All for Gs only (rt_self() is one), outside runtime sections.  Results are those of system
 * calls: 0 or positive, or -errno.
 */
#ifndef GSHIM_IO_H
#define GSHIM_IO_H

#include <poll.h>

#include "shim/sync/sync.h"

/* A call that does not sleep: its result, or -EAGAIN: wait (again).  In a runtime section. */
typedef long io_try_fn(void *arg, int fd);

struct io_op {
    int fd;
    uint32_t events; /* OS_IO_* that may make it succeed */
    io_try_fn *try;
    void *arg;
    uint32_t seen; /* net_seen from before the caller's own try; 0: none */
    /* with seen: FD may have changed meanwhile: deadline and all that.  False: do not wait.  As
     * TRY, in a runtime section and without sleeping. */
    bool (*ask)(struct io_op *op, int fd);
    int64_t deadline_ns; /* CLOCK_MONOTONIC; RT_FOREVER: none */
    bool any_handler; /* EINTR after any handler, else after those without SA_RESTART */
    uint32_t ran;     /* g.sig_ran when the call began, before it opened the mask */
    const size_t
        *progress;  /* or NULL; once it is not 0, EINTR after any handler as well */
    bool no_cancel; /* not a cancellation point */
};

/* Results of io_wait besides those of TRY. */
enum {
    IO_TIMEOUT = -(1 << 20),
    IO_CANCELED, /* pending and enabled; nothing is held: act on it, or return progress */
    IO_LOOK,   /* a signalfd may have become readable by what the kernel does not know */
    IO_CANNOT, /* this descriptor cannot be waited for: use a call that blocks */
};

/* io_wait - sleep until OP's descriptor may be ready, try, and so on.               [G]
 * Returns TRY's result unless that is -EAGAIN | -EINTR a handler ran | IO_*.
 * A close of the descriptor by another thread does not end the wait, as in the kernel. */
long io_wait(struct io_op *op);

/* io_poll - poll(2) with a deadline.                                                   [G]
 *   ran  g.sig_ran when the call began: a handler that has run since ends it
 * Returns the number ready, 0 timeout | -errno | IO_CANCELED | IO_LOOK | IO_CANNOT. */
enum { IO_POLL_MAX = 64 }; /* nodes are on the stack */
long io_poll(struct pollfd *fds, unsigned n, int64_t deadline_ns, uint32_t ran);

/* io_ready - the netpoller's upcall: wake GP if it waits.                      [g0] sysmon */
void io_ready(struct g *gp);

#endif
