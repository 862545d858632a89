/* cover.c - who wakes up for timers and descriptors.
 *
 * One sleeper at a time covers both: an idle M (sched.timer_sleeper); when no M is idle, sysmon.
 * timer_wake_ns says until when the coverer sleeps; "store deadline; fence; load heaps" pairs with
 * "store heap; fence; load deadline" [T1].
 * When nobody covers what a G begins to wait for, its M most often will, for it goes idle: as long
 * as it has nothing else to run it only notes that sysmon is to be told (owes_cover), and tells it
 * when it runs another G, or does not become the coverer.
 */
#include "shim/rt/netpoll.h"
#include "shim/rt/rt.h"

/* Nobody covers timers and network: does sysmon, soon enough? */
static void tell_sysmon(void)
{
    int64_t next = rt_timers_next(0), until = ld_rlx(&sched.sysmon_until_ns);
    if (next < until || (until == RT_FOREVER && netpoll_waiting()))
        rt_sysmon_kick();
}

void cover_leave(struct m *mp)
{
    if (ld_rlx(&sched.timer_sleeper) != mp)
        return;
    st_rlx(&sched.timer_wake_ns, RT_FOREVER);
    st_sc(&sched.timer_sleeper, NULL); /* MO: sc, [T1] */
    fence_sc();
    tell_sysmon();
}

int64_t cover_begin(struct m *mp)
{
    int64_t next = rt_timers_next(0);
    struct m *e = NULL;
    if ((next == RT_FOREVER && !netpoll_waiting()) ||
        !cas_sc(&sched.timer_sleeper, &e, mp)) /* MO: sc, [T1] */
        return RT_FOREVER;
    st_sc(&sched.timer_wake_ns, next); /* MO: sc, [T1] */
    fence_sc();
    int64_t again = rt_timers_next(0);
    if (again < next)
        st_rlx(&sched.timer_wake_ns, again);
    return again < next ? again : next;
}

/* The calling G is about to park.  See the head of this file. */
static bool put_off_cover(void)
{
    struct g *self = rt_self();
    if (self == NULL || rt_is_g0(self))
        return false;
    struct m *mp = self->m;
    if (mp->p == NULL || mp->lockedg != NULL || !runq_empty(mp->p) ||
        ld_rlx(&sched.runq_size) != 0)
        return false;
    return mp->owes_cover = true;
}

void cover_timer(int64_t when_ns)
{
    fence_sc();                                  /* MO: [T1] */
    struct m *mp = ld_acq(&sched.timer_sleeper); /* MO: acquire <- [T1] */
    if (mp == NULL) {
        if (when_ns < ld_rlx(&sched.sysmon_until_ns) && !put_off_cover())
            rt_sysmon_kick();
        return;
    }
    if (when_ns < ld_rlx(&sched.timer_wake_ns))
        proc_look(mp);
}

void cover_network(void)
{
    fence_sc(); /* MO: [T1] "count; fence; load coverer" */
    struct m *mp = ld_acq(&sched.timer_sleeper); /* MO: acquire <- [T1] */
    if (mp == NULL) {
        if (ld_rlx(&sched.sysmon_until_ns) == RT_FOREVER && !put_off_cover())
            rt_sysmon_kick();
    } else if (unlikely(!ld_rlx(&mp->polling))) {
        proc_look(mp);
    }
}

void cover_pay(struct m *mp)
{
    mp->owes_cover = false;
    fence_sc();                                  /* MO: [T1] */
    struct m *by = ld_acq(&sched.timer_sleeper); /* MO: acquire <- [T1] */
    if (by == NULL)
        tell_sysmon();
    else if (by != mp && (rt_timers_next(0) < ld_rlx(&sched.timer_wake_ns) ||
                          (netpoll_waiting() && !ld_rlx(&by->polling))))
        proc_look(by);
}
