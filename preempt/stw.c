/* stw.c - stopping the world: no thread but one runs code of the program.
 *
 * To stop:   sched.stw_owner is set [W1], and p.preempt on all Ps, so that every way out of
 *            the runtime leads through proc_gate, where a G is put aside and its M goes on
 *            with others until none is left.  Ms in user code are asked (preempt_request)
 *            until each has come to a safe point; Ps of blocking calls are taken away, so
 *            that the calls end at the gate.
 * To start:  the owner is cleared and those put aside are queued.
 *
 * An M counts as stopped when it runs no G, or sleeps in the kernel.  A CPU clock that stands
 * still is only a hint of that: another process may have its CPU; so the kernel is asked.
 * While the world is stopped sysmon goes on looking, and asks one that comes back from a call
 * that nobody wrapped: such a thread may run for a moment.
 * "Flag; barrier; load curg" here, "store curg; load flag" on an M that has just picked a G:
 * it has no fence, so the barrier is one on all CPUs (os_membarrier) [W1].
 *
 * A stop takes as long as the longest stretch of code that cannot be interrupted: a call into
 * libc, code made at run time, gshim_preempt_off.  A thread may be stopped while it holds a
 * lock: the owner must not wait for other threads.  Foreign threads run on.
 * Rejected: taking all Ps, as Go does: application code here runs on without one.
 */
#include "preempt/preempt.h"

#include "shim/rt/config.h"
#include "shim/rt/rt.h"

/* Between looks: about what an interrupted M needs to get to its gate. */
static const int64_t LOOK_NS = 20000;
/* CPU clocks are compared over no less. */
static const int64_t SAMPLE_NS = 40000;

static struct g foreign_owner; /* stands for a thread that is no G; one at a time */
static int foreign_tid;        /* which thread; by the owner, atomic */
static uint32_t depth;         /* by the owner */
static int64_t stopped_at;     /* by the owner */
static const char *stop_reason;

static void take_syscall_ps(void)
{
    uint32_t np = ld_acq(&sched.npall); /* MO: acquire <- [P2] */
    for (uint32_t i = 0; i < np; i++) {
        struct p *pp = sched.allp[i];
        st_rlx(&pp->preempt, 1);
        uintptr_t o = ld_acq(&pp->owner); /* MO: acquire <- [P1] */
        if ((o & P_MODE) == P_SYSCALL && cas_acq(&pp->owner, &o, 0)) /* MO: [P1] */
            proc_handoff(pp);
    }
}

static bool is_blocked(struct m *mp, int64_t now)
{
    if (mp->stop_seen != 0 && now - mp->stop_seen < SAMPLE_NS)
        return false;
    int64_t cpu = os_thread_cpu_ns(mp->tid);
    bool still = mp->stop_seen != 0 && cpu == mp->stop_cpu;
    mp->stop_seen = now;
    mp->stop_cpu = cpu;
    if (!still)
        return false;
    char state = os_thread_state(mp->tid); /* D would come back without a call's end */
    return state == 'S' || state == 'T' || state == 't' || state == 0;
}

static bool is_stopped(struct m *mp, struct g *owner, int64_t now)
{
    struct g *gp = ld_rlx(&mp->curg);
    if (gp == NULL || gp == owner || ld_rlx(&mp->tid) == 0)
        return true;
    if (is_blocked(mp, now))
        return true;
    struct p *pp = ld_rlx(&mp->p);
    bool has_p = pp != NULL && ld_rlx(&pp->owner) == ((uintptr_t)mp | P_USER);
    if (ld_rlx(&gp->in_rt) == 0)
        preempt_request(mp, has_p ? pp : NULL);
    return false;
}

static bool all_stopped(struct g *owner)
{
    bool all = true;
    take_syscall_ps();
    os_membarrier(); /* MO: [W1] */
    int64_t now = os_now_ns();
    for (struct m *mp = ld_acq(&sched.allm); mp != NULL; mp = mp->alllink)
        all &= is_stopped(mp, owner, now);
    return all;
}

static bool is_owner(const struct g *caller)
{
    return ld_rlx(&sched.stw_owner) == caller &&
           (caller != &foreign_owner || ld_rlx(&foreign_tid) == os_gettid());
}

/* The world is ours, or somebody stops it and we with it: then once more. */
static void become_owner(struct g *owner)
{
    for (struct g *e = NULL; !cas_sc(&sched.stw_owner, &e, owner); e = NULL) { /* [W1] */
        if (owner != &foreign_owner)
            proc_gate(owner);
        else
            os_yield();
    }
    if (owner == &foreign_owner)
        st_rlx(&foreign_tid, os_gettid());
}

static void wait_a_look(void)
{
    uint32_t never = 0;
    os_futex_wait(&never, 0, os_now_ns() + LOOK_NS);
}

void preempt_stop_the_world(const char *reason)
{
    struct rt_section s;
    int64_t begin = os_now_ns();
    rt_enter(&s);
    struct g *owner = s.gp != NULL ? s.gp : &foreign_owner;
    if (!is_owner(owner))
        become_owner(owner);
    if (depth++ == 0) {
        for (struct m *mp = ld_acq(&sched.allm); mp != NULL; mp = mp->alllink)
            mp->stop_seen = 0;
        while (!all_stopped(owner))
            wait_a_look();
        stopped_at = os_now_ns();
        stop_reason = reason;
        if (rt_config.stwtrace)
            os_log("stop the world (%s): stopped after %ld us", reason,
                   (long)((stopped_at - begin) / 1000));
        rt_sysmon_kick(); /* it watches those that are blocked */
    }
    rt_exit(&s);
}

void preempt_start_the_world(void)
{
    struct rt_section s;
    rt_enter(&s);
    struct g *owner = s.gp != NULL ? s.gp : &foreign_owner;
    if (is_owner(owner) && --depth == 0) {
        st_rlx(&foreign_tid, 0);
        if (rt_config.stwtrace)
            os_log("stop the world (%s): started after %ld us", stop_reason,
                   (long)((os_now_ns() - stopped_at) / 1000));
        proc_world_starts();
    }
    rt_exit(&s);
}
