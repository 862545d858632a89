/* cancel.c - pthread_cancel.
 *
 * State, type and the request itself are libc's, in the thread's TCB; so pthread_setcancelstate,
 * _setcanceltype, _testcancel, clean-up handlers and the unwinding are libc's own code.  What it
 * cannot do is reach a thread that waits in our scheduler: the parking lot ends its wait with
 * ECANCELED, and the wait acts as the cancellation point that it is (sync_cancel_point); and
 * one that runs or is blocked in the kernel on some M: it is kicked (block.c), for libc's own
 * signal would go to the tid in its TCB, which is no kernel thread's.
 */
#include "shim/posix/block.h"
#include "shim/posix/posix.h"

/* A thread of libc's own.  It may wait in our parking lot, out of libc's reach. */
static int cancel_foreign(pthread_t t)
{
    int err = REAL(pthread_cancel)(t);
    if (err == 0 && t != pthread_self())
        park_interrupt_foreign((void *)t);
    return err;
}

EXPORT int pthread_cancel(pthread_t t)
{
    struct g *gp = posix_g(t);
    struct rt_section s;
    if (gp == NULL)
        return cancel_foreign(t);
    if ((ld_acq(&gp->join) & (JOIN_EXITED | JOIN_GONE)) != 0) /* [J1] */
        return 0;
    libc_cancel_ready();
    bool first = libc_cancel_request(gp->tcb);
    if (gp == rt_self()) {
        if (libc_cancel_at_once(gp->tcb))
            block_act();
        return 0;
    }
    if (!first || !libc_cancel_pending(gp->tcb)) /* it looks when it enables it */
        return 0;
    st_rel(&gp->attention, true);
    rt_enter(&s);
    park_interrupt(gp, PARK_BY_CANCEL);
    fence_sc(); /* MO: [C2] "word; fence; load in_call" */
    if (libc_cancel_at_once(gp->tcb) || ld_rlx(&gp->in_call) != CALL_NONE)
        block_kick(gp); /* else it is nowhere where it could act */
    rt_exit(&s);
    return 0;
}
