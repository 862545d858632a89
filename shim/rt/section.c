/* section.c - into the runtime and out of it: the slow halves of rt_enter and rt_exit, what the
 * runtime is locked with, and the gate of a stopped world.
 *
 * In:   the M claims its P back from mp|P_USER, or mp|P_SYSCALL in a handler that ran within a
 *       blocking call, and if sysmon has taken it, goes on without one [P1].
 * Out:  with a P.  Who has none takes an idle one, or queues its G and lets the M find other work.
 *       Who is asked to yields, and who finds the world stopped waits at the gate [W1], before and
 *       after: a yield may last as long as a stop.
 */
#include "shim/rt/config.h"
#include "shim/rt/rt.h"
#include "shim/rt/signal.h"

/* --- locks --------------------------------------------------------------------------- */

void rt_lock_slow(struct rt_lock *l)
{
    /* Sections are tens of nanoseconds; a longer wait means its M was descheduled. */
    for (int i = 0; i < 100; i++) {
        uint32_t e = 0;
        if (ld_rlx(&l->word) == 0 && cas_acq(&l->word, &e, 1)) /* MO: acquire <- [K1] */
            return;
        arch_pause();
    }
    while (xchg_acq(&l->word, 2) != 0) /* MO: acquire <- [K1] */
        os_futex_wait(&l->word, 2, RT_FOREVER);
}

/* --- runtime sections ------------------------------------------------------------------ */

void rt_enter_foreign(struct rt_section *s)
{
    uint64_t all = ~0ull;
    os_sigmask(RT_SIG_BLOCK, &all, &s->sigmask);
}

void rt_exit_foreign(struct rt_section *s)
{
    os_sigmask(RT_SIG_SETMASK, &s->sigmask, NULL);
}

void rt_enter_lost(struct g *gp)
{
    struct m *mp = gp->m;
    struct p *pp = mp->p;
    if (pp == NULL)
        return;
    /* A handler of the program may enter from within a blocking call. */
    uintptr_t e = (uintptr_t)mp | P_SYSCALL;
    if (!cas_acq(&pp->owner, &e, (uintptr_t)mp | P_RT)) /* MO: acquire <- [P1] */
        mp->p = NULL;
}

static void get_p_or_queue(struct g *gp)
{
    struct m *mp = gp->m;
    rt_lock(&sched.lock);
    struct p *pp = proc_idle_get_locked();
    rt_unlock(&sched.lock);
    if (pp != NULL) {
        proc_acquire(mp, pp);
        return;
    }
    sched_requeue(gp);
    proc_wakep();
    sched_switch_to_g0(gp);
}

/* Asked to, and allowed.  Torture (yieldrandom) keeps the flag set and asks the dice. */
static bool wants_yield(struct g *gp)
{
    struct p *pp = gp->m->p;
    if (ld_rlx(&pp->preempt) == 0 || gp->preempt_off != 0)
        return false;
    return !rt_config.yieldrandom || sched_random(gp->m) % 4 == 0;
}

/* --- a stopped world ------------------------------------------------------------------- */

void proc_gate(struct g *gp)
{
    /* MO: acquire <- [W1] release in proc_world_starts: what the owner changed */
    for (struct g *o; unlikely((o = ld_acq(&sched.stw_owner)) != NULL) && o != gp &&
                      gp->preempt_off == 0;) {
        rt_lock(&sched.lock);
        bool stay = sched.stw_owner != NULL;
        if (stay)
            g_list_put(&sched.stopped, gp);
        rt_unlock(&sched.lock);
        if (stay)
            sched_switch_to_g0(gp);
    }
}

void proc_world_starts(void)
{
    rt_lock(&sched.lock);
    st_rel(&sched.stw_owner, NULL); /* MO: release -> [W1] */
    uint32_t n = 0;
    for (; sched.stopped.head != NULL; n++)
        globq_put_locked(g_list_pop(&sched.stopped));
    rt_unlock(&sched.lock);
    for (; n > 0; n--)
        proc_wakep();
}

void rt_exit_slow(struct g *gp)
{
    proc_gate(gp);
    if (gp->m->p != NULL)
        proc_retire(gp->m);
    if (gp->m->p == NULL)
        get_p_or_queue(gp);
    else if (wants_yield(gp))
        sched_preempted(gp);
    proc_gate(gp);
    struct m *mp = gp->m;
    RT_ASSERT(mp->p != NULL, "exit: resumed without a P");
    st_rel(&mp->p->owner, (uintptr_t)mp | P_USER); /* MO: release -> [P1] */
    fence_sig();
    gp->in_rt = 0;
    fence_sig();
    if (unlikely(ld_rlx(&gp->attention)))
        rt_hooks->attention(gp);
}
