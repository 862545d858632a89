/* proc.c - Ms and Ps: who has which, and how an M is stopped and started.
 *
 * Ownership of a P moves by its owner word [P1]: an M claims back its own with a CAS from
 * mp|P_USER; sysmon takes one away with a CAS to 0 from there; whoever got it to 0, or popped
 * it off the idle list, holds it alone and passes it on with proc_acquire, proc_handoff or
 * proc_idle_put_locked.
 *
 * To stop an M:  on the idle list under sched.lock, then sleep on mp->park.
 * To start one:  pop it under sched.lock, give it a P in nextp, mp->park = 1, wake [M1].
 * Without an idle M the P waits in sched.pwait and sysmon makes an M for it (newm.c).
 *
 * To end one:   it is idle for IDLE_NS and there are more than a few, or at once where there are
 * more than IDLE_MOST; or the G that it was bound to has ended.
 * The idle list is a stack, so those at its bottom are the ones that nobody needs; they know by
 * themselves, from a timed sleep.  Rejected: sysmon ends them; it would have to wake up for that,
 * and to take them away from who is about to start them.
 *
 * Timers and the network are covered by one idle M at a time (cover.c), which sleeps until the
 * earliest timer; when one is due it takes an idle P and runs them.  While Gs wait for descriptors it
 * sleeps in the poller instead of on mp->park, which it says in mp->polling: "polling; fence; load
 * park" here, "park; fence; load polling" in who wakes it [M2].
 */
#include "shim/rt/netpoll.h"
#include "shim/rt/rt.h"
#include "shim/rt/signal.h"

#include <errno.h>

enum { PARK_NONE, PARK_START, PARK_LOOK };
/* An idle M that ends and is missed costs 30 us or so; an idle one 20 KB, and work in fork. */
static const int64_t IDLE_NS = 1000000000;
enum { IDLE_MOST = 64 }; /* idle Ms beyond one for each P that may wait for IDLE_NS */
enum { MOVE_LOOKS = 2000, MOVE_LOOK_NS = 50000 }; /* proc_move_g waits for another M */

/* --- P --------------------------------------------------------------------------------- */

void proc_init_p(uint32_t n)
{
    n = proc_make_ps(n);
    RT_ASSERT(n > 0, "no memory for the first P");
    sched.np = n;
    sched.timer_wake_ns = sched.sysmon_until_ns = RT_FOREVER;
    for (uint32_t i = n; i-- > 0;) {
        sched.allp[i]->retired = false;
        if (i > 0)
            proc_idle_put_locked(sched.allp[i]);
    }
}

struct p *proc_idle_get_locked(void)
{
    struct p *pp = sched.pidle;
    if (pp != NULL) {
        sched.pidle = pp->link;
        st_rlx(&sched.npidle, sched.npidle - 1);
    }
    return pp;
}

void proc_idle_put_locked(struct p *pp)
{
    if (unlikely(proc_is_surplus(pp))) {
        pp->retired = true;
        return;
    }
    pp->link = sched.pidle;
    sched.pidle = pp;
    st_sc(&sched.npidle, sched.npidle + 1); /* MO: sc, before recheck's fence [S1] */
}

void proc_acquire(struct m *mp, struct p *pp)
{
    mp->p = pp;
    if (tracing() && mp->curg != NULL)
        trace_p_begin(pp, mp->curg);
    st_rel(&pp->owner, (uintptr_t)mp | P_RT); /* MO: release -> [P1] */
}

struct p *proc_release(struct m *mp)
{
    struct p *pp = mp->p;
    if (tracing())
        trace_p_end(pp, mp);
    mp->p = NULL;
    sched_unask(pp);
    st_rel(&pp->owner, 0); /* MO: release -> [P1] */
    return pp;
}

/* --- starting Ms ------------------------------------------------------------------------- */

/* mp->park was set. */
static void end_sleep(struct m *mp)
{
    fence_sc(); /* MO: [M2] "park; fence; load polling" */
    if (ld_rlx(&mp->polling))
        netpoll_break();
    else
        os_futex_wake(&mp->park, 1);
}

static void wake_m(struct m *mp)
{
    st_rel(&mp->park, PARK_START); /* MO: release -> [M1]: nextp, nextg, spinning */
    end_sleep(mp);
}

static void give_p(struct m *mp, struct p *pp)
{
    mp->nextp = pp;
    wake_m(mp);
}

/* Takes the idle M that is not the timers' sleeper, if there is a choice: waking that one
 * would make somebody else take over its duty. */
static struct m *midle_get_locked(void)
{
    struct m **at = &sched.midle;
    if (*at != NULL && *at == ld_rlx(&sched.timer_sleeper) && (*at)->link != NULL)
        at = &(*at)->link;
    struct m *mp = *at;
    if (mp != NULL) {
        *at = mp->link;
        mp->idle = false;
        st_rlx(&sched.nmidle, sched.nmidle - 1);
    }
    return mp;
}

/* Every P is taken, perhaps by a G that blocks; only sysmon can tell.  It looks by itself
 * every 10 ms unless it found no P busy, and must be told at once when hogs hold them all.
 * MO: "queue; fence; load" [S2] */
void proc_hurry_sysmon(void)
{
    if (ld_rlx(&sched.sysmon_until_ns) == RT_FOREVER || ld_rlx(&sched.hogged))
        rt_sysmon_kick();
}

/* PP is ours, or NULL: take an idle one.  SPINNING: already counted in nmspinning. */
static void start_m(struct p *pp, bool spinning)
{
    rt_lock(&sched.lock);
    if (pp == NULL)
        pp = proc_idle_get_locked();
    if (pp == NULL) {
        rt_unlock(&sched.lock);
        if (spinning)
            sub_sc(&sched.nmspinning, 1);
        proc_hurry_sysmon(); /* the last idle P was taken since the caller looked */
        return;
    }
    struct m *mp = midle_get_locked();
    if (mp == NULL) {
        pp->start_spinning = spinning;
        pp->link = sched.pwait;
        sched.pwait = pp;
        st_rlx(&sched.m_wanted, sched.m_wanted + 1);
        rt_unlock(&sched.lock);
        rt_sysmon_kick();
        return;
    }
    rt_unlock(&sched.lock);
    mp->spinning = spinning;
    give_p(mp, pp);
}

void proc_wakep(void)
{
    fence_sc(); /* MO: [S1] "queue; fence; load npidle, nmspinning" */
    if (ld_rlx(&sched.npidle) == 0) {
        proc_hurry_sysmon();
        return;
    }
    uint32_t e = 0;
    if (ld_rlx(&sched.nmspinning) != 0 || !cas_sc(&sched.nmspinning, &e, 1))
        return;
    start_m(NULL, true);
}

void proc_handoff(struct p *pp)
{
    uint32_t e = 0;
    if (!runq_empty(pp) || ld_rlx(&sched.runq_size) != 0) {
        start_m(pp, false);
        return;
    }
    if (ld_rlx(&sched.npidle) == 0 && ld_rlx(&sched.nmspinning) == 0 &&
        cas_sc(&sched.nmspinning, &e, 1)) {
        start_m(pp, true); /* it was the last P: somebody must keep looking */
        return;
    }
    rt_lock(&sched.lock);
    bool work = sched.runq_size != 0;
    if (!work)
        proc_idle_put_locked(pp);
    rt_unlock(&sched.lock);
    if (work)
        start_m(pp, false);
}

/* --- stopping ----------------------------------------------------------------------------- */

static bool take_waiting_p(struct m *mp)
{
    struct p *pp = sched.pwait;
    if (pp == NULL)
        return false;
    sched.pwait = pp->link;
    st_rlx(&sched.m_wanted, sched.m_wanted - 1);
    mp->spinning = pp->start_spinning;
    proc_acquire(mp, pp);
    return true;
}

static void midle_put_locked(struct m *mp)
{
    mp->link = sched.midle;
    sched.midle = mp;
    mp->idle = true;
    st_rlx(&sched.nmidle, sched.nmidle + 1);
}

static void midle_remove_locked(struct m *mp)
{
    struct m **at = &sched.midle;
    while (*at != mp)
        at = &(*at)->link;
    *at = mp->link;
    mp->idle = false;
    st_rlx(&sched.nmidle, sched.nmidle - 1);
}

static void take_given_p(struct m *mp)
{
    struct p *pp = mp->nextp;
    mp->nextp = NULL;
    RT_ASSERT(pp != NULL, "stop: woken without a P");
    proc_acquire(mp, pp);
}

/* What was set in mp->park, and takes it. */
static uint32_t take_park(struct m *mp)
{
    uint32_t v = ld_acq(&mp->park); /* MO: acquire <- [M1] */
    if (v == PARK_START)
        st_rlx(&mp->park, PARK_NONE);
    else if (v == PARK_LOOK && !cas_acq(&mp->park, &v, PARK_NONE)) /* MO: [M1] */
        return take_park(mp);
    return v;
}

/* Sleep until started.  Returns false when the deadline passed or a look is wanted. */
static bool m_sleep(struct m *mp, int64_t deadline_ns)
{
    rt_mask_idle(mp);
    for (;;) {
        rt_land(mp);
        uint32_t v = take_park(mp);
        if (v != PARK_NONE)
            return v == PARK_START;
        if (os_futex_wait(&mp->park, PARK_NONE, deadline_ns) == -ETIMEDOUT)
            return false;
    }
}

/* The same in the poller; false also when there are events, in B. */
static bool m_sleep_polling(struct m *mp, int64_t deadline_ns, struct net_batch *b)
{
    rt_mask_idle(mp);
    for (;;) {
        rt_land(mp);
        st_rlx(&mp->polling, true);
        fence_sc(); /* MO: [M2] "polling; fence; load park" */
        if (ld_rlx(&mp->park) == PARK_NONE) {
            int64_t left = deadline_ns;
            if (deadline_ns != RT_FOREVER)
                left = deadline_ns - os_now_ns();
            netpoll_sleep(b, left > 0 ? left : 0);
        }
        st_rlx(&mp->polling, false);
        uint32_t v = take_park(mp);
        if (v != PARK_NONE)
            return v == PARK_START;
        if (b->n > 0 || (deadline_ns != RT_FOREVER && os_now_ns() >= deadline_ns))
            return false;
    }
}

void proc_look(struct m *mp)
{
    uint32_t e = PARK_NONE;
    if (cas_rel(&mp->park, &e, PARK_LOOK)) /* MO: release -> [M1] */
        end_sleep(mp);
}

void proc_nudge(void)
{
    rt_lock(&sched.lock); /* keeps it on the idle list: who starts it comes later */
    struct m *mp = sched.midle;
    uint32_t e = PARK_NONE;
    bool set = mp != NULL && cas_rel(&mp->park, &e, PARK_LOOK); /* MO: release -> [M1] */
    rt_unlock(&sched.lock);
    if (set)
        end_sleep(mp);
}

/* The deadline passed: run the timers on an idle P.  False: none is idle. */
static bool wake_for_timers(struct m *mp)
{
    rt_lock(&sched.lock);
    if (!mp->idle) { /* somebody is starting us */
        rt_unlock(&sched.lock);
        cover_leave(mp);
        while (!m_sleep(mp, RT_FOREVER))
            ;
        take_given_p(mp);
        return true;
    }
    struct p *pp = proc_idle_get_locked();
    if (pp != NULL)
        midle_remove_locked(mp);
    rt_unlock(&sched.lock);
    if (pp == NULL)
        return false;
    proc_acquire(mp, pp);
    return true;
}

static bool too_many_idle_locked(uint32_t reserve)
{
    return sched.nmidle >
           ld_rlx(&sched.npall) + reserve; /* one for each P stays for good */
}

/* MP has been idle for IDLE_NS.  False: it is still, or again, of use. */
static bool retire_m(struct m *mp)
{
    rt_lock(&sched.lock);
    /* Not idle: somebody is starting us. */
    bool ends = mp->idle && !mp->first && too_many_idle_locked(0);
    if (ends) {
        midle_remove_locked(mp);
        mp->ending = true;
    }
    rt_unlock(&sched.lock);
    return ends;
}

void proc_stop(struct m *mp, bool timers)
{
    rt_lock(&sched.lock);
    if (take_waiting_p(mp)) {
        rt_unlock(&sched.lock);
        return;
    }
    if (!mp->first && too_many_idle_locked(IDLE_MOST)) {
        rt_unlock(&sched.lock);
        mp->ending = true; /* thousands have blocked in the kernel, and are back */
        return;
    }
    midle_put_locked(mp);
    bool too_many = too_many_idle_locked(0);
    int64_t retire_ns = too_many ? os_now_ns() + IDLE_NS : RT_FOREVER;
    rt_unlock(&sched.lock);
    for (;;) {
        struct net_batch b = {.n = 0};
        int64_t deadline = timers ? cover_begin(mp) : RT_FOREVER;
        bool covers = ld_rlx(&sched.timer_sleeper) == mp;
        if (mp->owes_cover)
            cover_pay(mp);
        bool started = covers && netpoll_waiting()
                           ? m_sleep_polling(mp, deadline, &b)
                           : m_sleep(mp, covers ? deadline : retire_ns);
        if (!started && !covers && os_now_ns() >= retire_ns) {
            if (retire_m(mp))
                return;
            retire_ns = RT_FOREVER;
        }
        bool due = deadline != RT_FOREVER && os_now_ns() >= deadline;
        bool have_p = started;
        if (started)
            take_given_p(mp);
        else if (b.n > 0 || due)
            have_p = wake_for_timers(mp);
        if (have_p && due)
            /* Of all Ps: one that a hog holds does not look. */
            rt_timers_run(os_now_ns());
        cover_leave(mp);
        netpoll_deliver(&b);
        if (have_p)
            return;
        timers =
            b.n == 0 && !due; /* else every P is busy: sysmon's duty, see cover_leave */
    }
}

/* --- locked Ms (LockOSThread) ----------------------------------------------------------------- */

/* This M's own G is waiting: give the P away and sleep until the G is to run. */
void proc_start_locked_m(struct m *mp, struct g *gp)
{
    struct m *other = gp->lockedm;
    other->nextg = gp;
    give_p(other, proc_release(mp));
}

/* The G of MP, which is bound to it, has left.  If another bound G is next on the P, its M gets
 * the P from us: through an M that has none of its own to run it would be two kernel threads to wake
 * instead of one.  If it is ours (it was readied before it had left), there is nothing to wait
 * for.  Only when there is nothing else to look at, or two such Gs would keep the rest of the
 * program from the P. */
static void give_way_locked(struct m *mp)
{
    struct p *pp = mp->p;
    struct g *next = NULL;
    bool others = ld_rlx(&sched.runq_size) != 0 || proc_is_surplus(pp) ||
                  pp->schedtick % RT_GLOBAL_TICK == 0;
    if (!others)
        next = runq_get(pp);
    if (next != NULL && next->lockedm == mp) {
        st_rlx(&pp->deferred, 0);
        mp->nextg = next;
        return;
    }
    if (next != NULL && next->lockedm != NULL) {
        st_rlx(&pp->deferred, 0);
        proc_start_locked_m(mp, next);
        return;
    }
    if (next != NULL)
        runq_put(pp, next, true);
    proc_handoff(proc_release(mp));
}

void proc_stop_locked_m(struct m *mp)
{
    if (mp->p != NULL)
        give_way_locked(mp);
    if (mp->p != NULL)
        return;
    if (mp->owes_cover)
        cover_pay(mp);
    while (!m_sleep(mp, RT_FOREVER))
        ;
    take_given_p(mp);
}

/* It may take a while to make an M.  Who looked for work meanwhile would take GP back; but if
 * there is no M to be had, MP is the only one that can go on with it: so it waits, not for ever. */
void proc_move_g(struct m *mp, struct g *gp)
{
    static uint32_t never;
    if (mp->p == NULL) {
        sched_requeue(gp);
        proc_wakep();
    } else {
        runq_put(mp->p, gp, true);
        start_m(proc_release(mp), false);
    }
    rt_mask_idle(mp);
    for (int i = 0; i < MOVE_LOOKS && ld_rlx(&gp->m) == mp; i++)
        os_futex_wait(&never, 0, os_now_ns() + MOVE_LOOK_NS);
}
