/* block.c - system calls that block in the kernel, and the kick that ends them.
 *
 * block_call is the one way by which a wrapper makes a call that may block there: the P is
 * left to sysmon (rt_block_begin), the call is made by arch_syscall_cp, and an EINTR that is
 * of our own making is hidden by making the call again.
 *
 * Cancellation.  To cancel: set the word in the target's TCB, then block_kick.  To be
 *   cancelled: between the check of the word and the system call there is no window, since the
 *   kick's handler, finding the PC there, makes the call not happen (arch_cp_begin and _end;
 *   as musl).  When it comes earlier it sets g.call_off, which is looked at there.  Both also for
 *   the other reasons not to begin a call, see is_off.
 *   A call that was interrupted with nothing done is restarted by the kernel from
 *   inside that range (the kick is SA_RESTART), or returns EINTR and the loop checks again; one
 *   with an effect returns it, and the cancellation stays pending, as POSIX wants.
 *   Calls that we do not wrap are libc's own cancellation points: libc marks the thread as
 *   asynchronously cancellable while it blocks (nptl/cancellation.c), which is also what the
 *   program asks for by PTHREAD_CANCEL_ASYNCHRONOUS.  So in either case the kick diverts the
 *   interrupted context to block_act, which unwinds from there.
 *
 * Who must be kicked [C1]: "set word, fence, load on_cpu" here; "on_cpu = 1, ..., load word" on
 *   the other side, which has no fence, as it is the path of every switch.  So when the target
 *   is neither parked nor on a CPU, a membarrier stands for that fence: it is on_cpu afterwards,
 *   or will see the word.  A parked target is readied by a CAS that comes after our look.
 * A kick that comes too late, or to an M that runs another G by now, costs a look.
 * Rejected: libc's own signal for this (32): its handler is libc's, installed at the first
 * pthread_cancel of a native thread.
 */
#include "shim/posix/block.h"

#include <errno.h>
#include <signal.h>

#include "preempt/preempt.h"
#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

/* --- acting ------------------------------------------------------------------------------ */

void block_act(void)
{
    struct g *gp = rt_self();
    if (gp != NULL)
        rt_hook_main_exit(gp);
    pthread_testcancel();
}

/* --- the call ---------------------------------------------------------------------------- */

/* As libc's SYSCALL_CANCEL, for a thread that is libc's. */
static long call_foreign(unsigned flags, long nr, const long *a)
{
    int type;
    if ((flags & BLOCK_CANCEL) == 0 || sync_alone())
        return arch_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    long r = arch_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    pthread_setcanceltype(type, NULL);
    return r;
}

/* in_call is set before the word is looked at, with a fence or the CAS of rt_block_begin
 * between [C2]; a handler of the program that makes such calls itself leaves it as it was, and
 * call_any with it (sigentry.c).  Inlined: a call more would cost the read of a pipe 4 per cent. */
static inline __attribute__((always_inline)) long call_one(struct g *gp, unsigned flags,
                                                           uint32_t ran, long nr,
                                                           const long *a)
{
    long r;
    uint32_t before = gp->in_call;
    gp->call_off = 0;
    if ((flags & BLOCK_ANY) != 0) {
        gp->call_ran = ran;
        gp->call_any = true;
    }
    if ((flags & BLOCK_CANCEL) != 0)
        st_rlx(&gp->in_call, CALL_KERNEL);
    gp->call_nr = (int16_t)nr;
    gp->moved = true;
    if ((flags & BLOCK_BRIEF) != 0)
        fence_sc(); /* MO: [C2] "in_call; fence; load word" */
    else
        rt_block_begin((flags & BLOCK_LONG) != 0);
    /* From here to the call a handler on this thread sets call_off. */
    fence_sig();
    if ((flags & BLOCK_LOOK) != 0 && signal_has_come(gp))
        r = -EINTR;
    else if ((flags & BLOCK_ANY) != 0 && ld_rlx(&gp->sig_ran) != ran)
        r = -EINTR;
    else if ((flags & BLOCK_CANCEL) != 0)
        r = arch_syscall_cp(libc_cancel_word(gp->tcb), libc_cancel_relevant,
                            libc_cancel_set, nr, a, &gp->call_off);
    else
        r = arch_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (unlikely(r == -EPIPE || r == -EFBIG))
        signal_own_call();
    if ((flags & BLOCK_BRIEF) == 0)
        rt_block_end();
    st_rlx(&gp->in_call, before);
    if ((flags & BLOCK_ANY) != 0)
        gp->call_any = false;
    return r;
}

/* R came of the first call: not made, for a cancellation or another reason, or interrupted. */
static __attribute__((noinline)) long call_again(struct g *gp, unsigned flags, long nr,
                                                 const long *a, uint32_t ran, long r)
{
    while (r == ARCH_CP_CANCELED || r == -EINTR) {
        if (r == ARCH_CP_CANCELED) {
            block_act();
            if ((flags & BLOCK_ANY) != 0 && ld_rlx(&gp->sig_ran) != ran)
                return -EINTR;
        } else {
            if (ld_rlx(&gp->sig_ran) != ran)
                return r;
            if ((flags & BLOCK_CANCEL) != 0 && libc_cancel_pending(gp->tcb))
                block_act();
            if ((flags & BLOCK_ONCE) != 0)
                return -ERESTART;
        }
        if ((flags & BLOCK_ANY) == 0)
            ran = ld_rlx(&gp->sig_ran);
        r = call_one(gp, flags, ran, nr, a);
    }
    return r;
}

static inline __attribute__((always_inline)) long call_g(struct g *gp, unsigned flags,
                                                         uint32_t ran, long nr,
                                                         const long *a)
{
    long r = call_one(gp, flags, ran, nr, a);
    if (likely(r != ARCH_CP_CANCELED && r != -EINTR))
        return r;
    return call_again(gp, flags, nr, a, ran, r);
}

long block_call_since(uint32_t ran, unsigned flags, long nr, const long a[6])
{
    return call_g(rt_self(), flags | BLOCK_ANY, ran, nr, a);
}

long block_call(unsigned flags, long nr, long a, long b, long c, long d, long e, long f)
{
    const long args[6] = {a, b, c, d, e, f};
    struct g *gp = rt_self();
    if (unlikely(gp == NULL))
        return call_foreign(flags, nr, args);
    return call_g(gp, flags, ld_rlx(&gp->sig_ran), nr, args);
}

/* --- the kick ---------------------------------------------------------------------------- */

void block_kick(struct g *gp)
{
    fence_sc(); /* MO: [C1] "word; fence; load on_cpu" */
    if (ld_rlx(&gp->on_cpu) == 0) {
        if (ld_rlx(&gp->wstate) == G_PARKED)
            return;
        os_membarrier(); /* MO: [C1] a fence between its "on_cpu = 1" and "load word" */
        if (ld_rlx(&gp->on_cpu) == 0)
            return;
    }
    struct m *mp = ld_rlx(&gp->m);
    if (mp != NULL)
        preempt_kick(mp);
}

static bool in_call(uintptr_t pc)
{
    return pc >= (uintptr_t)arch_cp_begin && pc < (uintptr_t)arch_cp_end;
}

/* A call that has not begun is not to be made now: for a cancellation, what sigwait waits for, or
 * a handler.  Noted as well, for a call that has not got as far as arch_cp_begin. */
static bool is_off(struct g *gp)
{
    bool off = libc_cancel_pending(gp->tcb) || signal_has_come(gp) ||
               (gp->call_any && gp->sig_ran != gp->call_ran);
    if (off)
        gp->call_off = 1;
    return off;
}

void block_resume(void *uc)
{
    struct g *gp = rt_self();
    if (gp != NULL && is_off(gp) && in_call(*arch_uc_pc(uc)))
        *arch_uc_pc(uc) = (uintptr_t)arch_cp_cancel;
}

/* GP is the g0 whose identity a G has taken on for a wait in libc's own code: cancel that, if
 * the G is to be.  Only sync/pshared.c goes on from there. */
static bool on_native(struct g *g0, void *uc)
{
    struct g *gp = g0->m->curg;
    if (gp == NULL || gp->in_call != CALL_NATIVE || !libc_cancel_pending(gp->tcb))
        return false;
    libc_cancel_request(g0->tcb);
    if (!libc_cancel_at_once(g0->tcb)) {
        libc_cancel_signal(g0->m->tid); /* comes when this handler returns */
        return false;
    }
    arch_uc_divert(uc, pthread_testcancel);
    return true;
}

bool block_on_kick(void *uc)
{
    struct g *gp = rt_self();
    if (gp != NULL && rt_is_g0(gp))
        return on_native(gp, uc);
    if (gp == NULL || gp->in_rt != 0)
        return false;
    if (is_off(gp) && in_call(*arch_uc_pc(uc))) {
        *arch_uc_pc(uc) = (uintptr_t)arch_cp_cancel;
        return true;
    }
    if (gp->hold || !libc_cancel_pending(gp->tcb))
        return false;
    if (!libc_cancel_at_once(gp->tcb)) {
        if (gp->in_call == CALL_LIBC)
            libc_cancel_signal(gp->m->tid);
        return false;
    }
    arch_uc_divert(uc, block_act);
    return true;
}
