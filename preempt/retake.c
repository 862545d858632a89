/* retake.c - one look of sysmon at all Ps: who blocks, who has run for too long, who waits.
 *
 *   P_SYSCALL  for more than one look: the P is handed on when somebody can use it.
 *   P_USER     and others wait: an M that stands still in the kernel loses its P at once.
 *              One that runs is asked (preempt_request) when its G has had TICK_NS, and again
 *              a tick later; after STRIKES requests that it could not follow, it loses the P
 *              and goes on without.  Nobody waits for code that cannot be interrupted.
 *              Who only spins has had enough after SPIN_TURN_NS (spin.c).
 *   stray      an M that lost its P while its G runs on.  It is asked at each look until it
 *              comes to the runtime or is interrupted where that is safe; then it has a P
 *              again, or its G is queued.
 *
 * Wake-ups [B1]: a G that becomes runnable while every P is in use waits in the queue of the
 * woken (runq.c), which every P looks at first.  If all Ps are held by hogs the one that has
 * run longest is asked at once, not at its tick.  Timers fire on sysmon then, so it knows by
 * itself; others that wake a G kick sysmon when it has published that every P is held by a
 * hog (sched.hogged).
 *
 * Running or blocked?  running.c tells.  One that sleeps counts as blocked if its clock has not
 * moved since the last look, and if it has, the next look tells.  Only one that runs is asked:
 * a signal would end the call in which another one sleeps.
 *
 * A look that finds a G beyond half its tick asks at once, so that all Ps of hogs come to be due
 * at the same time: then one look every 10 ms does for all of them.
 *
 * How long a G has run is told by the M's time stamp of the last switch, and sysmon learns the
 * rate of that counter as time goes by.  Rejected: counting from the look at which sysmon saw
 * a new schedtick, as Go does: up to twice the tick.
 */
#include "preempt/retake.h"

#include "preempt/preempt.h"
#include "shim/rt/config.h"
#include "shim/rt/rt.h"

enum { STRIKES = 2, STRAYS_PER_LOOK = 16 };

/* A run this long makes a hog, which gives way to the woken: below it, a switch away and back
 * costs more than the wait; the promise is a millisecond. */
static const int64_t HOG_NS = 100000;

/* Every P has run one G for so long that whoever wakes a G tells sysmon: the promise itself,
 * so that programs that switch often never pay for it. */
static const int64_t HOGGED_NS = 1000000;

/* After being asked: more than it takes to get to the runtime, half of what is promised. */
static const int64_t DECLINED_NS = 500000;

/* An M that was asked and has had no CPU since keeps its P this long: another process has the CPU.
 * A second M in its place would only compete with that one too, and the Ms become many. */
static const int64_t AWAY_NS = 4000000;

/* How long a thread that comes back from the kernel may run in a stopped world. */
static const int64_t STOPPED_LOOK_NS = 100000;

/* CPU clocks are compared over no less: a shorter time says nothing about blocking. */
static const int64_t SAMPLE_NS = 40000;

/* Whoever has short turns begins one unannounced.  So for this long after one was seen, and while
 * others wait, looks are as close as such turns are short.  Those of others come in between. */
static const int64_t SPINNERS_NS = 3 * TICK_NS;

static int64_t spinner_seen_ns;
static struct m *strays, *strays_end;
static uint32_t nstrays;
static struct retake look; /* the one under way */

/* Whose P has this owner word; NULL: nobody's. */
static struct m *m_of(uintptr_t owner)
{
    return (struct m *)(owner & ~(uintptr_t)P_MODE);
}

/* --- clocks ---------------------------------------------------------------------------- */

/* Time stamp ticks to ns, from the ticks since sysmon's first look. */
static int64_t ran_ns(const struct m *mp, int64_t now)
{
    static uint64_t c0;
    static int64_t n0;
    uint64_t c = arch_cycles(), since = ld_rlx(&mp->run_since);
    if (c0 == 0) {
        c0 = c;
        n0 = now;
    }
    if (now - n0 < 1000000 || c <= since) /* too short to tell */
        return 0;
    return (int64_t)((double)(c - since) * (double)(now - n0) / (double)(c - c0));
}

/* CPU time that MP used since the last look, once per look; -1: not known. */
static int64_t cpu_used(struct p *pp, struct m *mp, int64_t now)
{
    struct sysmontick *t = &pp->mon;
    if (t->mp == mp && t->cpu_when == now) /* asked twice in one look */
        return t->cpu_used;
    bool known = t->mp == mp && t->cpu_when != 0;
    if (known && now - t->cpu_when < SAMPLE_NS)
        return -1;
    int64_t cpu = os_thread_cpu_ns(mp->tid);
    t->cpu_used = known ? cpu - t->cpu_at : -1;
    t->mp = mp;
    t->cpu_when = now;
    t->cpu_at = cpu;
    return t->cpu_used;
}

/* In this run of its G. */
static bool was_asked(const struct m *mp)
{
    return mp->asked.run == ld_rlx(&mp->run_since);
}

/* Ask, but only one that runs. */
static bool ask(struct p *pp, struct m *mp)
{
    const struct sysmontick *t = &pp->mon;
    bool fresh = t->mp == mp && t->cpu_when == look.now_ns;
    int64_t cpu = fresh ? t->cpu_at : os_thread_cpu_ns(mp->tid);
    if (!running_now(mp, cpu)) {
        look.took = true; /* the next look tells whether it blocks */
        return false;
    }
    if (!was_asked(mp)) {
        mp->asked.run = ld_rlx(&mp->run_since);
        mp->asked.when = look.now_ns;
        mp->asked.cpu = cpu;
    }
    preempt_request(mp, pp);
    return true;
}

/* MP was asked.  Could it have come, and has not? */
static bool declines(const struct m *mp, int64_t now)
{
    int64_t since = now - mp->asked.when;
    bool away = since < AWAY_NS && os_thread_cpu_ns(mp->tid) == mp->asked.cpu;
    return since >= DECLINED_NS && !away;
}

/* --- taking ------------------------------------------------------------------------------ */

static bool take(struct p *pp, struct m *mp, enum p_mode mode)
{
    uintptr_t e = (uintptr_t)mp | mode;
    if (!cas_acq(&pp->owner, &e, 0)) /* MO: acquire <- [P1] */
        return false;
    if (tracing())
        trace_p_taken(pp, mp);
    sched_unask(pp);
    proc_handoff(pp);
    look.took = true;
    return true;
}

static void put_stray(struct m *mp)
{
    mp->stray_link = NULL;
    if (strays == NULL)
        strays = mp;
    else
        strays_end->stray_link = mp;
    strays_end = mp;
}

static void take_user(struct p *pp, struct m *mp)
{
    int64_t cpu = pp->mon.cpu_at; /* the P's next owner is another M */
    if (!take(pp, mp, P_USER) || mp->stray)
        return;
    mp->stray = true;
    mp->stray_cpu = cpu;
    put_stray(mp);
    st_rlx(&sched.nstray, ++nstrays);
}

/* Does anybody need PP to be given up? */
static bool others_wait(struct p *pp)
{
    return !runq_empty(pp) || ld_rlx(&sched.runq_size) != 0 || proc_is_surplus(pp);
}

static void see_within(int64_t when)
{
    if (when < look.next_ns)
        look.next_ns = when;
}

/* A G that is in the runtime, or in and out of calls that are short, is met in its own code hardly
 * ever.  When others wait it needs no signal: it looks whenever it leaves. */
static void ask_at_exit(struct p *pp, const struct m *mp, int64_t turn, int64_t now)
{
    if (ld_rlx(&mp->curg) != NULL && others_wait(pp) && ran_ns(mp, now) >= turn)
        st_rlx(&pp->preempt, 1);
}

/* In a blocking call.  Leave the P with a call that is short, or that nobody minds. */
static void retake_syscall(struct p *pp, struct m *mp, int64_t now)
{
    struct sysmontick *t = &pp->mon;
    uint32_t tick = ld_rlx(&pp->syscalltick);
    if (t->syscalltick != tick || t->syscall_mp != mp) {
        t->syscalltick = tick;
        t->syscall_when = now;
        t->syscall_mp = mp;
        ask_at_exit(pp, mp, TICK_NS, now);
        return;
    }
    bool spare = ld_rlx(&sched.npidle) + ld_rlx(&sched.nmspinning) != 0;
    if (!others_wait(pp) && spare && now - t->syscall_when < TICK_NS)
        return;
    take(pp, mp, P_SYSCALL);
}

/* The world is stopped, or about to be: this M came back from the kernel. */
static void keep_stopped(struct p *pp, struct m *mp, int64_t now)
{
    see_within(now + STOPPED_LOOK_NS);
    if (ld_rlx(&mp->curg) != ld_rlx(&sched.stw_owner))
        ask(pp, mp);
}

/* How long the G of MP may run while others wait. */
static int64_t turn_of(const struct m *mp, int64_t now)
{
    const struct g *gp = ld_rlx(&mp->curg);
    int64_t turn = gp != NULL ? spin_turn_ns(gp) : TICK_NS;
    if (turn < TICK_NS)
        spinner_seen_ns = now;
    if (now - spinner_seen_ns < SPINNERS_NS)
        see_within(now + SPIN_TURN_NS);
    return turn;
}

/* In user code.  RAN: how long the G has had the M. */
static void retake_user(struct p *pp, struct m *mp, int64_t now)
{
    struct sysmontick *t = &pp->mon;
    uint32_t tick = ld_rlx(&pp->schedtick);
    int64_t ran = ran_ns(mp, now);
    if (t->schedtick != tick) {
        t->schedtick = tick;
        t->strikes = 0;
    }
    if (rt_config.preempt_us != 0) {
        look.torture = true;
        ask(pp, mp);
    }
    if (ld_rlx(&sched.stw_owner) != NULL) {
        keep_stopped(pp, mp, now);
        return;
    }
    if (!others_wait(pp))
        return;
    int64_t used = cpu_used(pp, mp, now), turn = turn_of(mp, now);
    int64_t due = turn + TICK_NS * t->strikes;
    if (used == 0 && running_state(mp->tid) != 'R')
        take_user(pp, mp);
    else if (used < 0)
        look.took = true; /* look again soon: does it block? */
    else if (ran < due - turn / 2)
        see_within(now + due - ran);
    else if (t->strikes++ < STRIKES)
        ask(pp, mp);
    else
        take_user(pp, mp);
}

/* A wake-up of another M was put off (sched.c), and the G did not park meanwhile. */
static void look_at_deferred(struct p *pp, struct m *mp)
{
    if (ld_rlx(&pp->deferred) == 2) {
        st_rlx(&pp->deferred, 0);
        struct g *gp = ld_rlx(&mp->curg);
        if (gp != NULL)
            gp->soon = -64; /* it did not park soon: earn it anew */
        proc_wakep();
    } else if (ld_rlx(&pp->deferred) == 1) {
        st_rlx(&pp->deferred, 2);
    }
}

/* --- strays ------------------------------------------------------------------------------- */

/* Has MP a P again, or stopped running its G? */
static bool is_back(const struct m *mp)
{
    const struct p *pp = ld_rlx(&mp->p);
    if (ld_rlx(&mp->curg) == NULL || ld_rlx(&mp->tid) == 0)
        return true;
    return pp != NULL && m_of(ld_rlx(&pp->owner)) == mp;
}

static void ask_stray(struct m *mp)
{
    int64_t cpu = os_thread_cpu_ns(mp->tid);
    if (cpu == mp->stray_cpu)
        return; /* blocked: it runs into the runtime, or is seen moving, when it comes back */
    mp->stray_cpu = cpu;
    if (!running_now(mp, cpu))
        return;
    look.busy = true;
    if (ld_rlx(&mp->curg) != ld_rlx(&sched.stw_owner))
        preempt_request(mp, NULL);
}

/* A few at a time; those looked at go to the end of the list. */
static void look_at_strays(void)
{
    uint32_t n = nstrays < STRAYS_PER_LOOK ? nstrays : STRAYS_PER_LOOK;
    for (; n > 0 && strays != NULL; n--) {
        struct m *mp = strays;
        strays = mp->stray_link;
        if (is_back(mp)) {
            mp->stray = false;
            st_rlx(&sched.nstray, --nstrays);
            continue;
        }
        ask_stray(mp);
        put_stray(mp);
    }
}

/* --- wake-ups ------------------------------------------------------------------------------- */

static struct m *user_of(const struct p *pp)
{
    uintptr_t o = ld_acq(&pp->owner); /* MO: acquire <- [P1] */
    return (o & P_MODE) == P_USER ? m_of(o) : NULL;
}

/* The P whose G has run longest, for at least HOG_NS; ASKED: among those that were asked
 * and do not come, else among those that were not asked. */
static struct p *longest_hog(int64_t now, bool asked)
{
    uint32_t np = ld_acq(&sched.npall); /* MO: acquire <- [P2] */
    int64_t longest = HOG_NS;
    struct p *best = NULL;
    for (uint32_t i = 0; i < np; i++) {
        struct p *pp = sched.allp[i];
        struct m *mp = user_of(pp);
        if (mp == NULL || was_asked(mp) != asked || (asked && !declines(mp, now)))
            continue;
        int64_t ran = ran_ns(mp, now);
        if (ran >= longest) {
            longest = ran;
            best = pp;
        }
    }
    return best;
}

/* The woken wait: who is no hog in its own code, but has run for as long, gives way at its next exit. */
static void ask_all_at_exit(int64_t now)
{
    uint32_t np = ld_acq(&sched.npall); /* MO: acquire <- [P2] */
    for (uint32_t i = 0; i < np; i++) {
        struct p *pp = sched.allp[i];
        uintptr_t o = ld_acq(&pp->owner); /* MO: acquire <- [P1] */
        if (o != 0 && (o & P_MODE) != P_USER)
            ask_at_exit(pp, m_of(o), HOG_NS, now);
    }
}

/* One hog for each G that was woken and finds no P.  One that cannot be interrupted where it is
 * loses its P. */
static void make_way(int64_t now)
{
    uint32_t n = ld_rlx(&sched.nwoken);
    if (n == 0 || ld_rlx(&sched.npidle) != 0)
        return;
    see_within(now + DECLINED_NS);
    ask_all_at_exit(now);
    for (; n > 0; n--) {
        struct p *pp = longest_hog(now, false);
        struct m *mp = pp != NULL ? user_of(pp) : NULL;
        if (mp != NULL && ask(pp, mp))
            continue;
        pp = pp != NULL ? pp : longest_hog(now, true);
        mp = pp != NULL ? user_of(pp) : NULL;
        if (mp == NULL)
            return;
        take_user(pp, mp);
    }
}

/* The G of PP has woken another, which waits right there for PP, and goes on. */
static void make_way_here(struct p *pp, struct m *mp, int64_t now)
{
    if (ld_rlx(&pp->runnext) != NULL && ld_rlx(&sched.hogged) &&
        ran_ns(mp, now) >= HOGGED_NS)
        ask(pp, mp);
}

/* ----------------------------------------------------------------------------------------- */

/* Returns whether PP is held by a hog. */
static bool look_at(struct p *pp, int64_t now)
{
    uintptr_t o = ld_acq(&pp->owner); /* MO: acquire <- [P1] */
    struct m *mp = m_of(o);
    if (mp == NULL)
        return proc_is_surplus(pp);
    look.busy = true;
    look_at_deferred(pp, mp);
    switch (o & P_MODE) {
    case P_SYSCALL:
        retake_syscall(pp, mp, now);
        return false;
    case P_USER:
        make_way_here(pp, mp, now);
        retake_user(pp, mp, now);
        return ran_ns(mp, now) >= HOGGED_NS;
    default:
        ask_at_exit(pp, mp, TICK_NS, now);
        return false;
    }
}

void retake_start(void)
{
    strays = NULL;
    nstrays = 0;
    spinner_seen_ns = -SPINNERS_NS;
    running_forget();
}

struct retake retake(int64_t now)
{
    look = (struct retake){.now_ns = now, .next_ns = RT_FOREVER};
    bool hogged = true;
    make_way(now);
    uint32_t np = ld_acq(&sched.npall); /* MO: acquire <- [P2] */
    for (uint32_t i = 0; i < np; i++)
        hogged &= look_at(sched.allp[i], now);
    st_rlx(&sched.hogged, hogged);
    if (nstrays != 0)
        look_at_strays();
    return look;
}

int64_t retake_woken(int64_t now)
{
    look = (struct retake){.now_ns = now, .next_ns = RT_FOREVER};
    make_way(now);
    return look.next_ns;
}
