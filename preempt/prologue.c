/* prologue.c - preemption at the beginning of a function: cooperative, without a signal.
 *
 * Code compiled with -fsplit-stack calls __morestack when its stack pointer is below the guard
 * word of its thread.  Ours (arch/<cpu>/morestack.S, prologue.S) asks here:
 *
 *   preempt_look          is it asked to yield, or at the end of its stack?
 *   preempt_at_prologue   with every register saved: may it, does anybody still want it?
 *
 * To ask:     preempt_request writes the word (rt_guard_ask), beside sending its signal.
 * To answer:  the G puts its word back and looks at the flag of its P, which says whether the
 *             request is still open.  It is not when the signal came first and was followed.
 *             When this comes first, the run that the signal is for is over by the time it arrives,
 *             or is marked so here if nobody else was there to run.
 * A "no" is the same as for a signal (safepoint.c), and the word is put back as well; the flag of
 * the P stays, and sysmon asks again a tick later.
 *
 * The end of the stack: stacks are one piece, so there is nothing to give.  A function that fits
 * goes on; one that does not is stopped by the guard area, like any other code, but also when its
 * frame is so large that it would have jumped over it: the area is touched on purpose
 * (arch_overflow_probe).  Without a guard area (guard size 0, a stack of the program's own) it
 * goes on as other code does.
 * On another stack than its own (a coroutine of the program's, a signal stack) a G always
 * comes here if that lies lower.  Then the word is zeroed until the G is asked again: a look for
 * each function would be slow, and what it would find is nothing.
 *
 * Rejected: growing the stack in pieces, as libgcc does: all the stack that a thread may use
 * is reserved, and touched only as far as it is used.
 * This file is compiled without vector registers (Makefile): preempt_look runs while they hold
 * arguments.  It calls nothing.
 */
#include "preempt/preempt.h"

#include "shim/rt/rt.h"

/* On top of what the function asks for: gshim_morestack's own frames. */
enum { OWN_FRAMES = 256 };

enum { GO_ON = 0, YIELD = 1 };

size_t preempt_prologue_room;

static uintptr_t on_foreign_stack(uintptr_t *guard, bool asked)
{
    st_rlx(guard, 0);
    if (asked)
        add_rlx(&preempt_counts[PREEMPT_NO_FOREIGN_STACK], 1);
    return GO_ON;
}

uintptr_t preempt_look(uintptr_t sp, size_t bytes, uintptr_t pc)
{
    struct g *gp = rt_self();
    uintptr_t *guard = arch_split_guard((void *)arch_tp());
    bool asked = ld_rlx(guard) == RT_GUARD_ASKED;
    if (unlikely(gp == NULL || rt_is_g0(gp))) { /* asked before it forked */
        st_rlx(guard, 0);
        return GO_ON;
    }
    if (asked)
        rt_guard_reset(gp);
    uintptr_t lo = (uintptr_t)gp->stack_lo, room = sp - lo;
    if (sp < lo || sp > (uintptr_t)gp->stack_hi)
        return on_foreign_stack(guard, asked);
    bool guarded = gp->block_lo != NULL && !gp->user_stack && gp->guard_bytes != 0;
    if (unlikely(guarded && (room < OWN_FRAMES || room - OWN_FRAMES < bytes)))
        return lo - 1;
    if (!asked)
        return GO_ON;
    if (room < preempt_prologue_room) {
        add_rlx(&preempt_counts[PREEMPT_NO_STACK_ROOM], 1);
        return GO_ON;
    }
    gp->preempt_pc = pc;
    return YIELD;
}

/* Inside a section.  The P's flag is the request; a G that has lost its P has to queue. */
static bool still_wanted(const struct m *mp)
{
    return mp->p == NULL || ld_rlx(&mp->p->preempt) != 0;
}

static void yield(struct g *gp)
{
    struct m *mp = gp->m;
    bool wanted = still_wanted(mp);
    enum preempt_verdict v = wanted ? PREEMPT_YES_PROLOGUE : PREEMPT_NO_STALE;
    /* A signal for this run that has not arrived yet is not needed any more.  Whoever sends
     * one writes this only while nothing is pending. */
    if (ld_rlx(&mp->preempt_pending) != 0)
        st_rlx(&mp->preempt_run, 0);
    add_rlx(&preempt_counts[v], 1);
    if (tracing())
        trace_verdict(mp, gp, (uint8_t)v, gp->preempt_pc);
    if (wanted)
        rt_preempt_yield();
}

void preempt_at_prologue(uintptr_t sp)
{
    struct rt_section s;
    struct g *gp = rt_self();
    enum preempt_verdict v = preempt_decide(gp->m, gp, gp->preempt_pc, sp);
    if (v != PREEMPT_YES) {
        add_rlx(&preempt_counts[v], 1);
        return;
    }
    rt_enter(&s);
    yield(gp);
    rt_exit(&s);
}
