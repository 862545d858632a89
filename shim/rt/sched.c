/* sched.c - park, ready, yield, switch, and the loop that finds work.
 *
 * To wait:  publish the wait (park.c, under a bucket lock), drop the lock, rt_park.
 * To wake:  take the waiter off its queue (exactly one waker succeeds), rt_ready.
 * rt_park moves the G to G_PARKED by CAS; rt_ready moves it back.  If the wake comes first it
 * leaves G_NOTIFIED, and rt_park returns without a switch.  So no lock is held across a
 * switch, and a wake-up cannot be lost ([G1] pairs the two CASes).
 *
 * Switching: when the P has another G, the parking G's M goes to it directly, stack to stack;
 * only without work does it go to g0, whose loop searches, steals, and at last sleeps.
 * A G becomes visible on a queue before its registers are saved; on_cpu tells [G2]: it is
 * cleared by the context that runs next, and whoever resumes the G waits for that, on g0:
 * two Ms that waited for each other's G on the stacks of those Gs would wait for ever.  The
 * window is the few instructions of arch_switch.
 * Rejected: an unlock function run after the switch (Go's park): it keeps the bucket lock
 * through the switch, and makes each waker wait for it, not only the rare early one.
 *
 * How many Ms search ("spinning") follows Go: at most one M is woken for new work unless it
 * found some; an M that stops spinning looks once more at all queues after it said so
 * (fence against the store of new work: "queue; fence; load nmspinning" on one side [S1],
 * "nmspinning--; fence; load queues" on the other).
 *
 * Putting off a wake-up: a G that readies one other G and parks at once (request, answer)
 * needs no second M, and waking one costs more than the whole hand-over.  A G that did so
 * SOON_ENOUGH times in a row gets its wake-up of an idle M put off; if it then does not park,
 * sysmon finds the mark, wakes an M, and the G must earn it anew.  So must one that has put off
 * and parks late: that is measured where its runs are long enough for it (soon_doubt).
 */
#include "shim/libc/libc.h"
#include "shim/rt/config.h"
#include "shim/rt/netpoll.h"
#include "shim/rt/rt.h"
#include "shim/rt/signal.h"

struct sched sched;
uint64_t rt_preempt_bit;
bool rt_guards_used;
__thread struct g *gshim_self_tls __attribute__((tls_model("initial-exec")));

const char *const rt_wait_names[WAIT_REASONS] = {
    [WAIT_NONE] = "none",     [WAIT_MUTEX] = "mutex",   [WAIT_COND] = "condition",
    [WAIT_RWLOCK] = "rwlock", [WAIT_SEM] = "semaphore", [WAIT_BARRIER] = "barrier",
    [WAIT_ONCE] = "once",     [WAIT_JOIN] = "join",     [WAIT_FUTEX] = "futex",
    [WAIT_SLEEP] = "sleep",   [WAIT_IO] = "io",         [WAIT_CALL] = "call",
    [WAIT_SIGNAL] = "signal",
};

enum {
    SOON_ENOUGH = 8,     /* quick parks in a row before wake-ups are put off */
    SOON_CYCLES = 20000, /* "at once": well below the cost of waking an M, in TSC ticks */
    STEAL_ROUNDS = 4,    /* as Go: last one also looks at runnext */
};

/* How often a busy P looks at the network: 0.1 ms of TSC ticks.  A look costs about three
 * switches, and should find several descriptors; sysmon steps in after 1 ms (watch.c). */
static const int64_t LOOK_CYCLES = 250000;

_Noreturn void rt_throw(const char *what)
{
    os_log("fatal: %s", what);
    os_abort();
}

/* --- switching ---------------------------------------------------------------------- */

/* First thing after every switch, in the new context: PREV is off its stack. */
static inline void after_switch(struct g *self, struct g *prev)
{
    struct m *mp = self->m;
    st_rel(&prev->on_cpu, 0); /* MO: release -> [G2]: registers saved */
    if (unlikely(mp->sigmask != rt_kernel_mask(self->sigmask)) && self != &mp->g0)
        rt_mask_load(mp, self);
    if (self != &mp->g0)
        mp->last_run = self;
}

void g_wait_off_stack(struct g *gp)
{
    for (int i = 0; ld_acq(&gp->on_cpu) != 0; i++) { /* MO: acquire <- [G2] */
        if (i < 1000)
            arch_pause();
        else
            os_yield(); /* its M was descheduled inside the window */
    }
}

static void account_exact(struct m *mp, struct g *from, struct g *to)
{
    int64_t now = os_clock_ns(3 /* CLOCK_THREAD_CPUTIME_ID */);
    if (from->cpu_since != 0)
        from->cpu_ns += now - from->cpu_since;
    st_rlx(&from->cpu_since, 0);
    st_rlx(&to->cpu_since, now);
    mp->cpu_seen = now;
    mp->short_cycles = 0;
}

static void account(struct m *mp, struct g *from, struct g *to)
{
    uint64_t now = arch_cycles(), ran = now - mp->run_since;
    from->off_since = now;
    if (from->cpu_since == 0) {
        if (likely(ran < RT_SHORT_CYCLES)) {
            from->run_cycles += ran;
            mp->short_cycles += ran;
            if (unlikely(ran >= SOON_CYCLES))
                from->soon_doubt = true;
        } else if (from != &mp->g0) { /* which has slept */
            rt_cpu_long(mp, from, ran);
        }
    }
    if (unlikely(ld_rlx(&rt_cpu_accounting)))
        account_exact(mp, from, to);
    mp->run_since = now;
}

/* FROM is parked, queued or dead already (or a g0); go to TO on this M. */
static void switch_to(struct m *mp, struct g *from, struct g *to)
{
    if (to != &mp->g0) {
        g_wait_off_stack(to);
        to->on_cpu = 1;
        to->m = mp;
        if (unlikely(ld_rlx(&to->preempt)))
            rt_guard_reset(to);
        mp->curg = to;
        struct p *pp = mp->p;
        st_rlx(&pp->schedtick, pp->schedtick + 1);
    } else {
        mp->curg = NULL;
    }
    account(mp, from, to);
    if (tracing())
        trace_switch(mp, from, to);
    struct g *prev = arch_switch(&from->ctx, &to->ctx, from);
    after_switch(from, prev);
}

void sched_switch_to_g0(struct g *gp)
{
    switch_to(gp->m, gp, &gp->m->g0);
}

static struct g *pick_local(struct p *pp)
{
    struct g *gp = NULL;
    /* Those woken from outside first, but not each time: without end they would starve our own. */
    bool woken = ld_rlx(&sched.nwoken) != 0 && pp->schedtick % RT_OWN_TICK != 0;
    if (unlikely(pp->schedtick % RT_GLOBAL_TICK == 0 || woken))
        gp = globq_get(pp, 1);
    if (gp == NULL)
        gp = runq_get(pp);
    if (gp == NULL)
        gp = globq_get(pp, 0);
    return gp;
}

/* A locked G is handed to its own M by g0.  And one that is still leaving another M must be
 * waited for by g0, not by us: that M might be waiting for the G that we are leaving. */
static bool can_go_directly(struct g *next)
{
    return next->lockedm == NULL && ld_acq(&next->on_cpu) == 0; /* MO: acquire <- [G2] */
}

/* A P that never runs out of work looks at the network every so often: on g0, which has the
 * room for it. */
static bool network_due(struct m *mp)
{
    /* Another M may have looked after our last switch. */
    int64_t since = (int64_t)(mp->run_since - ld_rlx(&sched.net_looked));
    if (likely(since < LOOK_CYCLES) || !netpoll_waiting())
        return false;
    return mp->look_now = true;
}

/* Leave GP, which is parked, queued or dead, for whatever should run next. */
static void switch_away(struct g *gp)
{
    struct m *mp = gp->m;
    struct p *pp = mp->p;
    struct g *next = NULL;
    if (likely(pp != NULL && mp->lockedg == NULL) && !network_due(mp)) {
        st_rlx(&pp->deferred, 0);
        next = pick_local(pp);
        if (next == gp) /* readied and picked again before it ever left */
            return;
        if (unlikely(next != NULL && !can_go_directly(next))) {
            mp->nextg = next;
            next = NULL;
        } else if (unlikely(next != NULL && mp->owes_cover)) {
            cover_pay(mp);
        }
    }
    switch_to(mp, gp, next != NULL ? next : &mp->g0);
}

/* --- park, ready, yield -------------------------------------------------------------- */

static void learn_soon(struct g *gp)
{
    uint64_t since = gp->readied_at;
    if (since == 0)
        return;
    gp->readied_at = 0;
    if (arch_cycles() - since >= SOON_CYCLES) {
        gp->soon = 0;
        return;
    }
    gp->soon_doubt = false;
    if (gp->soon < SOON_ENOUGH)
        gp->soon++;
}

void rt_park(struct g *gp, enum wait_reason why)
{
    gp->wait_reason = (uint8_t)why;
    gp->moved = true;
    learn_soon(gp);
    uint32_t e = G_RUN;
    /* MO: release -> [G1]: whoever readies us finds the reason; acquire <- [G1] if early */
    if (!cas_ar(&gp->wstate, &e, G_PARKED)) {
        RT_ASSERT(e == G_NOTIFIED, "park: a G that runs is neither running nor notified");
        st_rlx(&gp->wstate, G_RUN);
        gp->wait_reason = WAIT_NONE;
        return;
    }
    switch_away(gp);
    gp->wait_reason = WAIT_NONE;
}

/* May the wake-up of an idle M be put off?  See the head of this file.  MO: "npidle, when the P was
 * taken; load until", against sysmon's "until; fence; load npidle" [S3]. */
static bool put_off_wake(struct g *self, struct p *pp)
{
    /* MO: relaxed, behind the fence of rt_enter: [S3] "owner; load until" against sysmon */
    if (self->soon >= SOON_ENOUGH && ld_rlx(&sched.sysmon_until_ns) != RT_FOREVER) {
        st_rlx(&pp->deferred, 1);
        if (unlikely(self->soon_doubt))
            self->readied_at = arch_cycles();
        return true;
    }
    return false;
}

void rt_leaving(struct g *gp)
{
    gp->soon = INT8_MAX;
}

static void enqueue(struct g *gp, bool next)
{
    struct g *self = rt_self();
    struct p *pp = self != NULL ? self->m->p : NULL;
    if (pp == NULL) {
        rt_lock(&sched.lock);
        globq_put_woken_locked(gp);
        rt_unlock(&sched.lock);
        proc_wakep();
        return;
    }
    bool first = pp->runnext == NULL && pp->tail == ld_rlx(&pp->head);
    runq_put(pp, gp, next);
    if (first && rt_is_g0(self))
        return; /* it looks for work, and finds this */
    first &= next;
    if (first && put_off_wake(self, pp))
        return;
    if (first)
        self->readied_at = arch_cycles();
    proc_wakep();
}

void rt_ready(struct g *gp, bool next)
{
    for (;;) {
        uint32_t e = G_PARKED;
        if (likely(cas_ar(&gp->wstate, &e, G_RUN))) { /* MO: [G1] */
            if (tracing())
                trace_ready(gp);
            enqueue(gp, next);
            return;
        }
        if (e == G_RUN && cas_ar(&gp->wstate, &e, G_NOTIFIED)) /* MO: [G1] */
            return;
        RT_ASSERT(e == G_PARKED || e == G_RUN, "ready: woken twice");
    }
}

void sched_requeue(struct g *gp)
{
    rt_lock(&sched.lock);
    globq_put_locked(gp);
    rt_unlock(&sched.lock);
}

bool rt_yield(struct g *gp)
{
    struct m *mp = gp->m;
    struct p *pp = mp->p;
    if (pp == NULL) {
        sched_requeue(gp);
        proc_wakep();
    } else {
        sched_unask(pp);
        /* Behind those of the global queue, if there are any: those were preempted here, and a P
         * looks there only when its own queue is empty. */
        bool others = ld_rlx(&sched.runq_size) != 0;
        if (!others && runq_empty(pp))
            return false;
        if (unlikely(others))
            sched_requeue(gp);
        else
            runq_put(pp, gp, false);
    }
    switch_away(gp);
    return true;
}

void sched_unask(struct p *pp)
{
    st_rlx(&pp->preempt, rt_config.yieldrandom || ld_rlx(&sched.stw_owner) != NULL);
}

/* --- preemption ------------------------------------------------------------------------ */

void sched_preempted(struct g *gp)
{
    struct p *pp = gp->m->p;
    if (pp != NULL) {
        sched_unask(pp);
        if (runq_empty(pp) && ld_rlx(&sched.runq_size) == 0 && !rt_config.yieldrandom)
            return;
    }
    sched_requeue(gp);
    if (pp == NULL || ld_rlx(&sched.npidle) != 0)
        proc_wakep();
    if (tracing())
        gp->trace.preempted = true;
    switch_away(gp);
}

static void log_preemption(const struct g *gp, uint64_t ran)
{
    struct libc_object o = libc_object_of(gp->preempt_pc);
    os_log("preempt: thread %s (tid %u) at %s+0x%lx after %lu us",
           gp->name[0] != '\0' ? gp->name
           : gp->is_main       ? "main"
                               : "unnamed",
           gp->tid, o.name == NULL || o.name[0] == '\0' ? "program" : o.name,
           (unsigned long)(gp->preempt_pc - o.base),
           (unsigned long)(rt_cycles_to_ns(ran) / 1000));
}

void rt_preempt_yield(void)
{
    struct rt_section s;
    rt_enter(&s);
    struct g *gp = s.gp;
    if (ld_rlx(&gp->preempt)) /* the other way of asking has come too late */
        rt_guard_reset(gp);
    if (unlikely(rt_config.preemptlog))
        log_preemption(gp, arch_cycles() - gp->m->run_since);
    if (gp->m->p != NULL) /* else rt_exit finds one, or queues */
        sched_preempted(gp);
    rt_exit(&s);
}

_Noreturn void rt_exit_g(struct g *gp)
{
    /* What a locked G leaves to the kernel (robust mutexes, attributes of the kernel
     * thread) ends with the kernel thread, as in NPTL. */
    gp->m->ending = gp->lockedm != NULL;
    st_rlx(&gp->wstate, G_DEAD);
    switch_away(gp);
    rt_throw("exit: a dead G was resumed");
}

/* --- finding work --------------------------------------------------------------------- */

uint32_t sched_random(struct m *mp)
{
    uint32_t x = mp->rng; /* xorshift32, Marsaglia 2003 */
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return mp->rng = x;
}

static struct g *steal_work(struct m *mp, struct p *pp)
{
    uint32_t np = ld_acq(&sched.npall); /* MO: acquire <- [P2] */
    for (int round = 0; round < STEAL_ROUNDS; round++) {
        uint32_t start = sched_random(mp);
        for (uint32_t i = 0; i < np; i++) {
            struct p *victim = sched.allp[(start + i) % np];
            if (victim == pp)
                continue;
            struct g *gp = runq_steal(pp, victim, round == STEAL_ROUNDS - 1);
            if (gp != NULL)
                return gp;
        }
        if (ld_rlx(&sched.runq_size) != 0)
            return globq_get(pp, 0);
    }
    return NULL;
}

static bool any_work(void)
{
    if (ld_rlx(&sched.runq_size) != 0)
        return true;
    uint32_t np = ld_acq(&sched.npall); /* MO: acquire <- [P2] */
    for (uint32_t i = 0; i < np; i++)
        if (!runq_empty(sched.allp[i]))
            return true;
    return false;
}

static void start_spinning(struct m *mp)
{
    if (!mp->spinning) {
        mp->spinning = true;
        add_sc(&sched.nmspinning, 1);
    }
}

/* After giving up the P: did work arrive for which nobody was woken?  True: got a P back. */
static bool recheck(struct m *mp)
{
    if (mp->spinning) {
        mp->spinning = false;
        sub_sc(&sched.nmspinning, 1); /* MO: sc, [S1] against proc_wakep */
    }
    fence_sc(); /* MO: [S1] "give up P; fence; load queues" */
    if (!any_work())
        return false;
    rt_lock(&sched.lock);
    struct p *pp = proc_idle_get_locked();
    rt_unlock(&sched.lock);
    if (pp == NULL) {
        proc_hurry_sysmon();
        return false;
    }
    proc_acquire(mp, pp);
    start_spinning(mp);
    return true;
}

static struct g *try_find(struct m *mp)
{
    struct p *pp = mp->p;
    if (ld_rlx(&pp->next_ns[0]) != RT_FOREVER || ld_rlx(&pp->next_ns[1]) != RT_FOREVER)
        rt_timers_run(os_now_ns());
    if (unlikely(mp->look_now)) {
        mp->look_now = false;
        netpoll_now();
    }
    struct g *gp = pick_local(pp);
    if (gp != NULL)
        return gp;
    if (netpoll_waiting()) {
        netpoll_now();
        gp = pick_local(pp);
        if (gp != NULL)
            return gp;
    }
    uint32_t busy = ld_rlx(&sched.np) - ld_rlx(&sched.npidle);
    if (mp->spinning || 2 * ld_rlx(&sched.nmspinning) < busy) {
        start_spinning(mp);
        gp = steal_work(mp, pp);
    }
    return gp;
}

/* NULL: MP is ending. */
static struct g *find_runnable(struct m *mp)
{
    while (!mp->ending) {
        if (mp->p == NULL) {
            /* Another may have had to put a P with work on the idle list (no M for it). */
            if (!recheck(mp))
                proc_stop(mp, false);
            continue;
        }
        struct g *gp = try_find(mp);
        if (gp != NULL)
            return gp;
        rt_lock(&sched.lock);
        if (sched.runq_size != 0) {
            rt_unlock(&sched.lock);
            continue;
        }
        proc_idle_put_locked(proc_release(mp));
        rt_unlock(&sched.lock);
        if (!recheck(mp))
            proc_stop(mp, true);
    }
    return NULL;
}

void sched_loop(struct m *mp)
{
    for (;;) {
        if (mp->ending) {
            proc_m_end(mp);
            return;
        }
        if (unlikely(mp->moving != NULL)) {
            proc_move_g(mp, mp->moving);
            mp->moving = NULL;
        }
        if (mp->lockedg != NULL)
            proc_stop_locked_m(mp);
        else if (mp->p != NULL && mp->nextg == NULL)
            proc_retire(mp);
        struct g *gp = mp->nextg;
        mp->nextg = NULL;
        if (gp == NULL && (gp = find_runnable(mp)) == NULL)
            continue;
        if (mp->spinning) {
            mp->spinning = false;
            sub_sc(&sched.nmspinning, 1);
            proc_wakep(); /* there may be more: let another M look */
        } else if (mp->p != NULL && !runq_empty(mp->p)) {
            proc_wakep(); /* there is more: see enqueue */
        }
        if (mp->owes_cover)
            cover_pay(mp);
        if (gp->lockedm != NULL && gp->lockedm != mp) {
            proc_start_locked_m(mp, gp);
            continue;
        }
        switch_to(mp, &mp->g0, gp);
    }
}

void sched_first_run(void *arg, void *cookie)
{
    after_switch(arg, cookie);
    g_main(arg);
}
