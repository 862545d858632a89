/* handoff.c - around a call that may block in the kernel: what happens to the P.
 *
 * If nobody waits for the P it stays, marked P_SYSCALL: sysmon takes it when somebody does and
 * the call lasts (preempt/retake.c), and who comes back in time has it with one CAS.
 *
 * If others wait, handing the P on at once lets them run at once.  But it costs two futex wakes,
 * and a kernel thread each way: ten times what reading a file in memory takes.  So calls are
 * known by their number: after SHORT_ROW calls in a row that were short, the P stays as above,
 * until one loses it.  What that one stalls is bounded by sysmon's next looks, 10 ms at worst, and
 * the next calls of its kind are handed on at once again.
 * How long a call took is measured where the P was handed on; where it was left, losing it tells.
 *
 * Rejected: always at once (300 threads that read /proc spent four futex calls for each read); or
 * always leaving it, as Go does for all but the calls that it knows to block: there the
 * compiler's own calls are the only ones, here a program may be made of opens of FIFOs.
 */
#include "shim/rt/rt.h"

enum { CALLS = 512, SHORT_ROW = 4 };
enum { RISKED_MS = 2 }; /* kernel threads beyond one for each P, in rt_may_risk */
static const uint64_t SHORT_CYCLES =
    50000; /* TSC ticks: what handing on a P costs, and back */

static uint8_t short_row[CALLS]; /* by call number; atomic, hints */

static uint8_t *row_of(const struct g *gp)
{
    return &short_row[(uint16_t)gp->call_nr % CALLS];
}

static void learn(struct g *gp, bool was_short)
{
    uint8_t *row = row_of(gp), n = ld_rlx(row);
    gp->call_lost = !was_short;
    if (!was_short)
        st_rlx(row, 0);
    else if (n < SHORT_ROW)
        st_rlx(row, (uint8_t)(n + 1));
}

/* A signal that is on its way would interrupt the call.  "P given up; fence; load pending"
 * here, "store pending; fence; load owner" in preempt_request [V2].  It cannot be long: the
 * sender stands between two instructions, and no M blocks the signal. */
static __attribute__((noinline)) void let_request_arrive(struct m *mp)
{
    fence_sc(); /* MO: [V2] */
    for (int i = 0; unlikely(ld_rlx(&mp->preempt_pending) != 0) && i < 1000; i++)
        os_yield();
}

static void give_up_p(struct g *gp, struct p *pp, bool is_long)
{
    struct m *mp = gp->m;
    bool others = !runq_empty(pp);
    st_rlx(&pp->syscalltick, pp->syscalltick + 1);
    if (is_long || (others && ld_rlx(row_of(gp)) < SHORT_ROW)) {
        gp->handed_on = arch_cycles();
        proc_handoff(proc_release(mp));
        return;
    }
    st_rel(&pp->owner, (uintptr_t)mp | P_SYSCALL); /* MO: release -> [P1] */
    if (unlikely(others && ld_rlx(&sched.sysmon_until_ns) == RT_FOREVER))
        rt_sysmon_kick();
}

/* No G waits in PP's queue.  Exact when PP is the caller's, which alone puts Gs there; if it is not
 * any more, the CAS in mark_p fails and what the queue looks like does not matter. */
static inline bool own_queue_empty(const struct p *pp)
{
    return ld_rlx(&pp->runnext) == NULL && ld_rlx(&pp->head) == ld_rlx(&pp->tail);
}

/* The P stays and nothing else is to be done: from P_USER at once, with one CAS. */
static inline bool mark_p(struct g *gp)
{
    gp->in_rt = 1;
    fence_sig(); /* from here on handlers are deferred, so gp->m cannot change */
    struct m *mp = gp->m;
    struct p *pp = mp->p;
    uintptr_t e = (uintptr_t)mp | P_USER;
    st_rlx(&gp->blocking, true);
    bool done = pp != NULL && own_queue_empty(pp) &&
                cas_sc(&pp->owner, &e, (uintptr_t)mp | P_SYSCALL); /* MO: [P1], [V2] */
    if (done)
        st_rlx(&pp->syscalltick, pp->syscalltick + 1);
    else
        st_rlx(&gp->blocking, false);
    fence_sig();
    gp->in_rt = 0;
    if (done && unlikely(ld_rlx(&mp->preempt_pending) != 0))
        let_request_arrive(mp);
    fence_sig();
    return done;
}

static __attribute__((noinline)) void begin_slow(struct g *gp, bool is_long)
{
    struct rt_section s;
    rt_enter(&s);
    struct m *mp = gp->m;
    if (tracing())
        trace_call_begin(gp);
    if (mp->p != NULL)
        give_up_p(gp, mp->p, is_long);
    st_rlx(&gp->blocking, true);
    fence_sig();
    gp->in_rt = 0;
    let_request_arrive(mp);
}

void rt_block_begin(bool is_long)
{
    struct g *gp = rt_self();
    if (gp == NULL || gp->in_rt != 0)
        return;
    gp->handed_on = 0;
    gp->call_lost = false;
    if (unlikely(is_long || tracing() || !mark_p(gp)))
        begin_slow(gp, is_long);
    fence_sig();
    if (unlikely(ld_rlx(&gp->attention)))
        rt_hooks->attention(gp);
}

static __attribute__((noinline)) void end_slow(struct g *gp)
{
    struct rt_section s;
    rt_enter(&s);
    if (gp->handed_on != 0)
        learn(gp, arch_cycles() - gp->handed_on < SHORT_CYCLES);
    else if (gp->m->p == NULL)
        learn(gp, false);
    if (tracing())
        trace_call_end(gp);
    rt_exit(&s);
}

/* The P is still there and nothing is to be done: to P_USER at once, with one CAS. */
static inline bool unmark_p(struct g *gp)
{
    gp->in_rt = 1;
    fence_sig(); /* from here on handlers are deferred, so gp->m cannot change */
    struct m *mp = gp->m;
    struct p *pp = mp->p;
    uintptr_t e = (uintptr_t)mp | P_SYSCALL;
    st_rlx(&gp->blocking, false);
    bool done = pp != NULL && !tracing() &&
                cas_acq(&pp->owner, &e, (uintptr_t)mp | P_USER); /* MO: acquire <- [P1] */
    fence_sig();
    gp->in_rt = 0;
    fence_sig(); /* what a handler left meanwhile is seen */
    return done && ld_rlx(&pp->preempt) == 0 && !ld_rlx(&gp->attention);
}

void rt_block_end(void)
{
    struct g *gp = rt_self();
    if (gp == NULL || gp->in_rt != 0)
        return;
    if (unlikely(!unmark_p(gp)))
        end_slow(gp);
}

bool rt_may_risk(struct g *gp)
{
    const struct p *pp = gp->m->p;
    return pp != NULL && own_queue_empty(pp) && ld_rlx(&sched.npidle) != 0 &&
           ld_rlx(&sched.runq_size) == 0 &&
           ld_rlx(&sched.nm) - ld_rlx(&sched.nmidle) <= ld_rlx(&sched.np) + RISKED_MS;
}
