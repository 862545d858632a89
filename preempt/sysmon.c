/* sysmon.c - the monitor: one native thread without P.
 *
 * Its duties, in the order of its loop
 *   - make kernel threads for Ps that wait for an M (newm.c: the program's threads do only for
 *     those that inherit from their own),
 *     and join those that ended, with a G that was bound to them or of idleness;
 *   - run timers when no idle M covers them (every P busy);
 *   - preempt a hog for a thread that has become runnable, and retake Ps (retake.c);
 *   - print what GSHIM_DEBUG asked for (rt/debug.h);
 *   - catch signals that are sent to the process (rt/signal.c).
 *
 * Sleep: without anything busy until kicked (sched.sysmon_word); else LOOK_SHORT after a kick
 * or a retake, doubling to TICK.  sysmon_until_ns publishes until when, for who adds timers.
 */
#include "preempt/preempt.h"
#include "preempt/retake.h"

#include <errno.h>

#include "shim/libc/real.h"
#include "shim/rt/config.h"
#include "shim/rt/debug.h"
#include "shim/rt/netpoll.h"
#include "shim/rt/rt.h"
#include "shim/rt/signal.h"

enum { M_STACK = 256 * 1024, MAKES_PER_LOOK = 16, JOINS_PER_LOOK = 16 };
static const int64_t LOOK_SHORT_NS = 50000; /* a blocked M is found this soon at best */

/* --- making Ms ------------------------------------------------------------------------- */

static const char own_name[] = "gshim-sysmon";

/* Joined by its TCB, which is its handle. */
static int start_thread(struct m *mp)
{
    pthread_t t;
    return rt_native_thread(&t, M_STACK, proc_m_main, mp);
}

static bool make_m(void)
{
    struct m *mp = proc_m_again();
    if (mp == NULL && (mp = proc_m_alloc()) == NULL)
        return false;
    os_set_name(sched.name); /* it is born with the name of its maker */
    rt_lock(&sched.makers);
    int err = start_thread(mp);
    rt_unlock(&sched.makers);
    os_set_name(own_name);
    if (err == 0)
        return true;
    static bool said;
    if (!said)
        os_log("the system refuses another kernel thread (error %d); going on with %u",
               err, ld_rlx(&sched.nm));
    said = true;
    proc_m_free(mp);
    return false;
}

int sysmon_clone_m(struct g *gp)
{
    struct rt_section s;
    rt_enter(&s);
    struct m *mp = proc_m_again();
    if (mp == NULL)
        mp = proc_m_alloc();
    rt_exit(&s);
    if (mp == NULL)
        return EAGAIN;
    mp->lockedg = gp;
    gp->lockedm = mp;
    gp->lock_count = 1;
    int err = start_thread(mp);
    if (err == 0)
        return 0;
    gp->lockedm = NULL;
    gp->lock_count = 0;
    mp->lockedg = NULL;
    rt_enter(&s);
    proc_m_free(mp);
    rt_exit(&s);
    return err;
}

/* Not until none is wanted: threads that one after the other need an M of their own want the next
 * before this one runs, and nothing else would be looked at; those that ended, least of all. */
static void make_wanted(void)
{
    for (int n = 0; n < MAKES_PER_LOOK && ld_rlx(&sched.m_wanted) != 0; n++) {
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

/* Ms are on their last instructions, so the join is short.  Only after it has the kernel
 * released the robust mutexes of the G that ended, and may others learn that it did.
 * Returns whether there are more, for the next look. */
static bool join_ended(void)
{
    if (sched.ended == NULL && ld_rlx(&sched.mended) != NULL)
        sched.ended = xchg_acq(&sched.mended, NULL); /* MO: acquire <- [E1] */
    for (int n = 0; sched.ended != NULL && n < JOINS_PER_LOOK; n++) {
        struct m *mp = sched.ended;
        sched.ended = mp->link;
        REAL(pthread_join)((pthread_t)mp->g0.tcb, NULL);
        if (mp->last_g != NULL)
            rt_hooks->ended(mp->last_g);
        proc_m_free(mp);
    }
    return sched.ended != NULL;
}

/* --- loop ----------------------------------------------------------------------------------- */

static int64_t timers_uncovered(int64_t now)
{
    return ld_acq(&sched.timer_sleeper) != NULL ? RT_FOREVER
                                                : rt_timers_next(now); /* [T1] */
}

/* UNTIL is promised to others; AT_MOST is our own business and promises nothing. */
static bool sleep_until(int64_t until, int64_t at_most, int64_t now)
{
    st_sc(&sched.sysmon_until_ns, until); /* MO: sc, [T1], and [S2] against proc_wakep */
    fence_sc();
    /* A P came into use since the look.  Its M may not have seen yet that we sleep for long: it
     * finds no P for what it queues [S2], or leaves something to our next look [S3].
     * MO: "until; fence; load npidle" against "npidle; rt_enter or the lock's end; load until". */
    if (until == RT_FOREVER && ld_rlx(&sched.npidle) != ld_rlx(&sched.np))
        until = now + TICK_NS;
    int64_t timers = timers_uncovered(now);
    if (timers < until)
        until = timers;
    if (at_most < until)
        until = at_most;
    bool kicked = xchg_ar(&sched.sysmon_word, 0) != 0;
    if (!kicked && ld_rlx(&sched.m_wanted) == 0 && ld_rlx(&sched.mended) == NULL)
        watch_sleep(until, now);
    st_sc(&sched.sysmon_until_ns, 0);
    return kicked | (xchg_ar(&sched.sysmon_word, 0) != 0);
}

/* Until when to sleep: delay doubles while nothing is found, but an end that retake has
 * seen coming is met. */
static int64_t next_look(int64_t now, int64_t *delay, const struct retake *r)
{
    *delay = r->took ? LOOK_SHORT_NS : 2 * *delay < TICK_NS ? 2 * *delay : TICK_NS;
    if (!r->busy)
        return RT_FOREVER;
    if (rt_config.preempt_us != 0 && r->torture)
        return now + 1000 * (int64_t)rt_config.preempt_us;
    int64_t until = now + *delay;
    return r->next_ns < until ? r->next_ns : until;
}

void *sysmon_main(void *arg)
{
    (void)arg;
    os_set_name(own_name);
    /* The kernel's default would add 50 us to every sleep, also of the Ms, which inherit it. */
    sched.slack_ns = os_timer_slack();
    os_set_timer_slack(1);
    rt_sysmon_ready();
    retake_start();
    int64_t delay = TICK_NS, next = 0, hurry;
    struct retake r = {.busy = false};
    bool kicked = false;
    for (;;) {
        int64_t now = os_now_ns();
        if (timers_uncovered(now) <= now)
            rt_timers_run(now);
        /* A kick up to here, our own for a G that a timer woke included, is served below:
         * whatever may be kicked for is looked at after this line, or before each sleep. */
        kicked |= xchg_ar(&sched.sysmon_word, 0) != 0;
        make_wanted();
        bool more_ended = join_ended();
        rt_sysmon_signals();
        bool quiet = next == RT_FOREVER;
        if ((kicked && !ld_rlx(&sched.hogged)) || now >= next || quiet) {
            delay = kicked && quiet ? LOOK_SHORT_NS : delay;
            r = retake(now);
            r.busy |= watch_was_busy();
            next = next_look(now, &delay, &r);
            if (next == RT_FOREVER)
                running_rest();
        } else if ((hurry = retake_woken(now)) < next) {
            next = hurry;
        }
        int64_t at_most = rt_debug_on ? debug_tick(now, !r.busy) : RT_FOREVER;
        int64_t review = net_review(now), trim = g_trim(now);
        at_most = review < at_most ? review : at_most;
        at_most = more_ended ? now : trim < at_most ? trim : at_most;
        kicked = sleep_until(next, at_most, now);
    }
}
