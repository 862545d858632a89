/* maxprocs.c - changing the number of Ps.
 *
 * To grow:    new Ps, or retired ones, go to the idle list.
 * To shrink:  np is lowered.  A P whose number is np or more is surplus: an idle one retires
 *             at once; one in use retires when its M next leaves the runtime or picks a G
 *             (proc_retire), or when sysmon takes it.  Its run queue goes to the global one.
 * A retired P is on no list and has no owner, but stays in allp below npall: thieves find a G
 * that was put there meanwhile, and its timers go on.  So nothing of a P ever moves but Gs.
 * The world is stopped only so that callers see the change at once; it is not needed for
 * safety, as each step is under sched.lock or the P's owner's.
 */
#include "shim/rt/rt.h"

static void drain(struct p *pp)
{
    struct g *gp;
    while ((gp = runq_get(pp)) != NULL)
        sched_requeue(gp);
    g_cache_drop(pp);
}

bool proc_retire(struct m *mp)
{
    struct p *pp = mp->p;
    if (likely(!proc_is_surplus(pp)))
        return false;
    drain(pp);
    proc_release(mp);
    rt_lock(&sched.lock);
    proc_idle_put_locked(pp);
    rt_unlock(&sched.lock);
    proc_wakep();
    return true;
}

static struct p *new_p(uint32_t id)
{
    struct p *pp = os_map(sizeof *pp);
    if (pp == NULL)
        return NULL;
    pp->id = id;
    pp->next_ns[0] = pp->next_ns[1] = RT_FOREVER;
    sched_unask(pp);
    return pp;
}

uint32_t proc_make_ps(uint32_t n)
{
    uint32_t have = sched.npall;
    for (; have < n; have++) {
        struct p *pp = new_p(have);
        if (pp == NULL)
            break;
        pp->retired = true;
        sched.allp[have] = pp;
        st_rel(&sched.npall, have + 1); /* MO: release -> [P2]: who loops over allp */
    }
    return have;
}

static void retire_idle_locked(void)
{
    struct p *all = sched.pidle;
    sched.pidle = NULL;
    st_rlx(&sched.npidle, 0);
    for (struct p *pp = all, *next; pp != NULL; pp = next) {
        next = pp->link;
        proc_idle_put_locked(pp);
    }
}

uint32_t proc_set_maxprocs(uint32_t n)
{
    struct rt_section s;
    rt_enter(&s);
    rt_lock(&sched.lock);
    n = n < RT_MAX_P ? n : RT_MAX_P;
    n = n < 1 ? 1 : n;
    uint32_t before = sched.np, have = proc_make_ps(n);
    st_rlx(&sched.np, n < have ? n : have);
    retire_idle_locked();
    for (uint32_t i = 0; i < have; i++) {
        struct p *pp = sched.allp[i];
        if (pp->retired && !proc_is_surplus(pp)) {
            pp->retired = false;
            proc_idle_put_locked(pp);
        } else if (proc_is_surplus(pp)) {
            st_rlx(&pp->preempt, 1);
        }
    }
    rt_unlock(&sched.lock);
    proc_wakep();
    rt_exit(&s);
    return before;
}
