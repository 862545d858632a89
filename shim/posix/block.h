/* block.h - system calls that block in the kernel, as cancellation points; see block.c. */
#ifndef GSHIM_POSIX_BLOCK_H
#define GSHIM_POSIX_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct g;

enum {
    BLOCK_CANCEL = 1, /* a cancellation point */
    BLOCK_ONCE = 2,   /* do not make the call again after an EINTR that no handler of the
                       * program explains: return -ERESTART (for relative timeouts) */
    BLOCK_LONG = 4,   /* it will block: hand the P on at once */
    BLOCK_LOOK = 8, /* not if a signal has come for which it waits (g.sig_wait): -EINTR */
    /* It does not block, as far as the caller knows: if it does, its P is taken as from code that
     * does not say so. */
    BLOCK_BRIEF = 16,
    BLOCK_ANY = 32, /* for block_call_since, with BLOCK_CANCEL */
};

/* block_call - system call NR in the kernel, where it may block; stops no other G.
 *                                                                            [G] foreign
 * Returns the result or -errno.  -EINTR only when a signal handler of the program ran on
 * this thread meanwhile.  With BLOCK_CANCEL a cancellation that is pending and enabled, at
 * the start or while the call blocks without effect so far, is acted upon (no return); one
 * that comes when the call has had its effect is left pending.
 * errno: untouched. */
long block_call(unsigned flags, long nr, long a, long b, long c, long d, long e, long f);

/* block_call_since - block_call; but any handler ends it, or lets it not begin, that has run since
 * g.sig_ran was RAN: -EINTR.  For calls whose caller has opened the mask for them.       [G] */
long block_call_since(uint32_t ran, unsigned flags, long nr, const long a[6]);

/* block_act - act on the calling thread's cancellation, if pending and enabled.         [G] */
void block_act(void);

/* block_kick - GP's cancellation word (or attention mark) was set: if GP runs or is blocked
 * in the kernel, make it look.  A parked GP is for park_interrupt.                    [any] */
void block_kick(struct g *gp);

/* block_on_kick - the kick has come (or any other signal of ours): let the interrupted
 * context UC of the running G act on a pending cancellation, if it stands where it can.
 * Returns true when UC was changed.                                                  [sig] */
bool block_on_kick(void *uc);

/* block_resume - the program's handler has run on this G and UC, which it interrupted, will be
 * resumed: a cancellation that came meanwhile, or the handler itself, ends a call not begun or to
 * be begun again.
 * With all signals blocked.                                                          [sig] */
void block_resume(void *uc);

#endif
