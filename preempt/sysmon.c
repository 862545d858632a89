/* sysmon.c - the monitor: one native thread with all signals blocked, and no P.
 *
 * Its duties, in the order of its loop
 *   - make kernel threads for Ps that wait for an M (proc.c: the program's threads never do);
 *   - run timers when no idle M covers them (every P busy);
 *   - retake: look at each P.  One in a blocking call (P_SYSCALL) for more than a look, or
 *     whose G has not left user code for TICK while others wait, is taken from its M and
 *     handed to another.  The M notices at its next runtime entry.
 *     Whether such an M runs or is blocked in the kernel tells its CPU clock: a blocked one
 *     loses its P at once, a running one is first asked (p->preempt, seen at its next runtime
 *     exit) and loses the P after STRIKES more looks;
 *   - print what GSHIM_DEBUG asked for (rt/debug.h);
 *   - wake an M for a wake-up that was put off and whose G did not park (sched.c).
 *
 * Sleep: without anything busy until kicked (sched.sysmon_word); else LOOK_SHORT after a kick
 * or a retake, doubling to TICK.  sysmon_until_ns publishes until when, for who adds timers.
 */
#include "preempt/preempt.h"

#include <errno.h>

#include "shim/libc/real.h"
#include "shim/rt/debug.h"
#include "shim/rt/rt.h"

enum { M_STACK = 256 * 1024, STRIKES = 2 };
static const int64_t TICK_NS = 10000000;    /* Go's forcePreemptNS */
static const int64_t LOOK_SHORT_NS = 50000; /* a blocked M is found this soon at best */

/* --- making Ms ------------------------------------------------------------------------- */

static bool make_m(void)
{
    struct m *mp = proc_m_alloc();
    pthread_attr_t attr;
    pthread_t t;
    if (mp == NULL)
        return false;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, M_STACK);
    int err = REAL(pthread_create)(&t, &attr, proc_m_main, mp);
    pthread_attr_destroy(&attr);
    if (err == 0)
        return true;
    static bool said;
    if (!said)
        os_log("the system refuses another kernel thread (error %d); going on with %u",
               err, ld_rlx(&sched.nm));
    said = true;
    os_unmap(mp, sizeof *mp);
    return false;
}

static void make_wanted(void)
{
    while (ld_rlx(&sched.m_wanted) != 0) {
        uint32_t before = ld_rlx(&sched.nm);
        if (!make_m()) {
            proc_newm_failed();
            return;
        }
        /* It counts itself in and takes a waiting P before it sleeps. */
        for (int i = 0; ld_rlx(&sched.nm) == before && i < 1000; i++)
            os_yield();
    }
}

/* --- retake ------------------------------------------------------------------------------ */

static bool take(struct p *pp, struct m *mp, enum p_mode mode)
{
    uintptr_t e = (uintptr_t)mp | mode;
    if (!cas_acq(&pp->owner, &e, 0)) /* MO: acquire <- [P1] */
        return false;
    st_rlx(&pp->preempt, 0);
    proc_handoff(pp);
    return true;
}

static bool others_wait(struct p *pp)
{
    return !runq_empty(pp) || ld_rlx(&sched.runq_size) != 0;
}

/* In a blocking call.  Leave the P with a call that is short, or that nobody minds. */
static bool retake_syscall(struct p *pp, struct m *mp, int64_t now)
{
    struct sysmontick *t = &pp->mon;
    uint32_t tick = ld_rlx(&pp->syscalltick);
    if (t->syscalltick != tick || t->mp != mp) {
        t->syscalltick = tick;
        t->syscall_when = now;
        t->mp = mp;
        return false;
    }
    bool spare = ld_rlx(&sched.npidle) + ld_rlx(&sched.nmspinning) != 0;
    if (!others_wait(pp) && spare && now - t->syscall_when < TICK_NS)
        return false;
    return take(pp, mp, P_SYSCALL);
}

/* In user code, the same G since sched_when. */
static bool retake_user(struct p *pp, struct m *mp, int64_t now)
{
    struct sysmontick *t = &pp->mon;
    uint32_t tick = ld_rlx(&pp->schedtick);
    int64_t cpu = os_thread_cpu_ns(mp->tid);
    if (t->schedtick != tick || t->mp != mp) {
        t->schedtick = tick;
        t->sched_when = now;
        t->mp = mp;
        t->cpu_at = cpu;
        t->strikes = 0;
        return false;
    }
    bool moved = cpu != t->cpu_at;
    t->cpu_at = cpu;
    if (!others_wait(pp))
        return false;
    if (!moved)
        return take(pp, mp, P_USER);
    if (now - t->sched_when < TICK_NS * (1 + t->strikes))
        return false;
    st_rlx(&pp->preempt, 1);
    if (t->strikes++ < STRIKES)
        return false;
    return take(pp, mp, P_USER);
}

static void look_at(struct p *pp, int64_t now, bool *busy, bool *took)
{
    uintptr_t o = ld_acq(&pp->owner); /* MO: acquire <- [P1] */
    struct m *mp = (struct m *)(o & ~(uintptr_t)P_MODE);
    if (mp == NULL)
        return;
    *busy = true;
    if (ld_rlx(&pp->deferred) == 2) {
        st_rlx(&pp->deferred, 0);
        struct g *gp = ld_rlx(&mp->curg);
        if (gp != NULL)
            gp->soon = -64; /* it did not park soon: earn it anew */
        proc_wakep();
    } else if (ld_rlx(&pp->deferred) == 1) {
        st_rlx(&pp->deferred, 2);
    }
    switch (o & P_MODE) {
    case P_SYSCALL:
        *took |= retake_syscall(pp, mp, now);
        break;
    case P_USER:
        *took |= retake_user(pp, mp, now);
        break;
    default:
        break;
    }
}

static void retake(int64_t now, bool *busy, bool *took)
{
    uint32_t np = ld_rlx(&sched.np);
    for (uint32_t i = 0; i < np; i++)
        look_at(sched.allp[i], now, busy, took);
}

/* --- loop ----------------------------------------------------------------------------------- */

static int64_t timers_uncovered(int64_t now)
{
    return ld_acq(&sched.timer_sleeper) != NULL ? RT_FOREVER
                                                : rt_timers_next(now); /* [T1] */
}

/* Somebody queued work just before we said that we sleep for long, and found every P taken. */
static bool work_waits(void)
{
    if (ld_rlx(&sched.npidle) != 0)
        return false;
    uint32_t np = ld_rlx(&sched.np);
    for (uint32_t i = 0; i < np; i++)
        if (others_wait(sched.allp[i]))
            return true;
    return false;
}

/* UNTIL is promised to others; AT_MOST is our own business and promises nothing. */
static bool sleep_until(int64_t until, int64_t at_most, int64_t now)
{
    st_sc(&sched.sysmon_until_ns, until); /* MO: sc, [T1], and [S2] against proc_wakep */
    fence_sc();
    if (until == RT_FOREVER && work_waits())
        until = now + TICK_NS;
    int64_t timers = timers_uncovered(now);
    if (timers < until)
        until = timers;
    if (at_most < until)
        until = at_most;
    if (ld_rlx(&sched.m_wanted) == 0 && xchg_ar(&sched.sysmon_word, 0) == 0)
        os_futex_wait(&sched.sysmon_word, 0, until);
    st_sc(&sched.sysmon_until_ns, 0);
    return xchg_ar(&sched.sysmon_word, 0) != 0;
}

void *sysmon_main(void *arg)
{
    (void)arg;
    os_set_name("gshim-sysmon");
    rt_sysmon_ready();
    int64_t delay = TICK_NS;
    for (;;) {
        bool busy = false, took = false;
        make_wanted();
        int64_t now = os_now_ns();
        if (timers_uncovered(now) <= now)
            rt_timers_run(now);
        retake(now, &busy, &took);
        int64_t debug_next = rt_debug_on ? debug_tick(now, !busy) : RT_FOREVER;
        delay = took ? LOOK_SHORT_NS : 2 * delay < TICK_NS ? 2 * delay : TICK_NS;
        if (sleep_until(busy ? now + delay : RT_FOREVER, debug_next, now))
            delay = LOOK_SHORT_NS;
    }
}
