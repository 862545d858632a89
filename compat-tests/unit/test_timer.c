/* test_timer.c - shim/rt/timer.c: the heaps of timers.
 *
 * Monotonic timers fire by the time that rt_timers_run is given, so most of this runs on
 * a clock of its own that jumps; only real-time timers and the race at the end look at a
 * real one.  The Gs are bare memory, and without an M: rt_timer_start then picks the P by
 * tid.
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "shim/rt/rt.h"

enum { MANY = 5000, NS = 4 };

static struct g gs[MANY];

/* What the callback saw. */
static struct firing {
    uint32_t count;
    uint64_t seq;
    int64_t at; /* clock_now when it fired */
} fired[MANY];
static size_t order[MANY], norder;
static int64_t clock_now;

static void on_fire(struct g *gp, uint64_t seq)
{
    size_t i = (size_t)(gp - gs);
    fired[i].count++;
    fired[i].seq = seq;
    fired[i].at = clock_now;
    if (norder < MANY)
        order[norder++] = i;
}

static void start(size_t i, int64_t when, uint64_t seq)
{
    rt_timer_start(&gs[i], CLOCK_MONOTONIC, when, on_fire, seq);
}

static int64_t run_at(int64_t now)
{
    clock_now = now;
    return rt_timers_run(now);
}

static void one_p(void)
{
    proc_init_p(1);
}

static void many_ps(void)
{
    proc_init_p(NS);
    for (size_t i = 0; i < MANY; i++)
        gs[i].tid = (uint32_t)i;
}

static uint32_t rng = 2463534242u;

static uint32_t next_random(uint32_t below)
{
    rng ^= rng << 13;
    rng ^= rng >> 17;
    rng ^= rng << 5;
    return rng % below;
}

/* --- one heap ----------------------------------------------------------------------- */

Test(timer, none, .init = one_p)
{
    cr_assert_eq(rt_timers_next(5), RT_FOREVER);
    cr_assert_eq(run_at(INT64_MAX - 1), RT_FOREVER);
    rt_timer_stop(&gs[0]); /* never started */
}

Test(timer, not_early_and_on_the_dot, .init = one_p)
{
    start(0, 1000, 1);
    cr_assert_eq(rt_timers_next(1), 1000);
    cr_assert_eq(run_at(999), 1000);
    cr_assert_eq(fired[0].count, 0);
    cr_assert_eq(run_at(1000), RT_FOREVER);
    cr_assert_eq(fired[0].count, 1);
    run_at(2000);
    cr_assert_eq(fired[0].count, 1, "once");
}

Test(timer, fires_in_order_of_deadline, .init = one_p)
{
    int64_t when[MANY];

    for (size_t i = 0; i < MANY; i++) {
        when[i] = 1 + next_random(MANY / 2); /* every time is there about twice */
        start(i, when[i], i);
    }
    run_at(MANY);
    cr_assert_eq(norder, MANY);
    for (size_t i = 1; i < MANY; i++)
        cr_assert_leq(when[order[i - 1]], when[order[i]], "at %zu", i);
    for (size_t i = 0; i < MANY; i++)
        cr_assert(fired[i].count == 1 && fired[i].seq == i);
}

Test(timer, stopped_ones_do_not_fire, .init = one_p)
{
    for (size_t i = 0; i < MANY; i++)
        start(i, 1 + next_random(1000), 7);
    for (size_t i = 0; i < MANY; i += 2)
        rt_timer_stop(&gs[i]);
    run_at(1000);
    for (size_t i = 0; i < MANY; i++)
        cr_assert_eq(fired[i].count, i % 2, "number %zu", i);
    for (size_t i = 0; i < MANY; i++)
        rt_timer_stop(&gs[i]); /* stopped or fired already */
    cr_assert_eq(sched.allp[0]->heap[0].n, 0);
}

Test(timer, deadline_in_the_past, .init = one_p)
{
    start(0, -5, 1);
    start(1, INT64_MIN, 2);
    start(2, 0, 3);
    cr_assert_eq(rt_timers_next(100), 0);
    run_at(100);
    cr_assert(fired[0].count == 1 && fired[1].count == 1 && fired[2].count == 1);
}

Test(timer, next_follows_the_earliest, .init = many_ps)
{
    start(1, 500, 1);
    start(2, 300, 1);
    start(3, 400, 1);
    cr_assert_eq(rt_timers_next(1), 300);
    rt_timer_stop(&gs[2]);
    cr_assert_eq(rt_timers_next(1), 400);
    cr_assert_eq(run_at(450), 500);
    rt_timer_stop(&gs[1]);
    cr_assert_eq(rt_timers_next(1), RT_FOREVER);
}

/* --- callbacks that use timers ------------------------------------------------------ */

static void restart_self(struct g *gp, uint64_t seq)
{
    on_fire(gp, seq);
    if (seq < 10)
        rt_timer_start(gp, CLOCK_MONOTONIC, clock_now, restart_self, seq + 1);
}

Test(timer, may_be_started_anew_from_its_callback, .init = one_p)
{
    rt_timer_start(&gs[0], CLOCK_MONOTONIC, 1, restart_self, 1);
    run_at(5);
    cr_assert_eq(fired[0].count, 10);
    cr_assert_eq(fired[0].seq, 10);
}

static void replace_next(struct g *gp, uint64_t seq)
{
    on_fire(gp, seq);
    rt_timer_stop(gp + 1);
    start((size_t)(gp + 1 - gs), 1000, seq + 1);
}

/* A wait that ended and began again is told by its number; the old deadline is void. */
Test(timer, new_wait_has_a_new_number, .init = one_p)
{
    rt_timer_start(&gs[0], CLOCK_MONOTONIC, 10, replace_next, 41);
    start(1, 11, 1);
    run_at(20);
    cr_assert_eq(fired[0].count, 1);
    cr_assert_eq(fired[1].count, 0, "its first wait was over");
    run_at(1000);
    cr_assert_eq(fired[1].count, 1);
    cr_assert_eq(fired[1].seq, 42);
}

/* --- against a model ---------------------------------------------------------------- */

static struct model {
    bool on;
    int64_t when;
    uint64_t seq;
    uint32_t due; /* how often it should have fired */
} model[MANY];

static void random_step(int64_t now)
{
    size_t i = next_random(MANY);
    if (model[i].on && next_random(3) == 0) {
        rt_timer_stop(&gs[i]);
        model[i].on = false;
    } else if (!model[i].on) {
        model[i].on = true;
        model[i].when = now + 1 + next_random(20000);
        model[i].seq++;
        start(i, model[i].when, model[i].seq);
    }
}

static int64_t model_run(int64_t now)
{
    int64_t next = RT_FOREVER;
    for (size_t i = 0; i < MANY; i++) {
        if (model[i].on && model[i].when <= now) {
            model[i].on = false;
            model[i].due++;
        } else if (model[i].on && model[i].when < next) {
            next = model[i].when;
        }
    }
    return next;
}

Test(timer, thousands_started_and_stopped_at_random, .init = many_ps, .timeout = 30)
{
    int64_t now = 1;

    for (int step = 0; step < 400; step++) {
        for (int i = 0; i < 300; i++)
            random_step(now);
        now += next_random(1500);
        int64_t next = model_run(now);
        cr_assert_eq(run_at(now), next, "step %d", step);
        for (size_t i = 0; i < MANY; i++) {
            cr_assert_eq(fired[i].count, model[i].due, "step %d, number %zu", step, i);
            if (fired[i].count != 0 && fired[i].at == now)
                cr_assert_eq(fired[i].seq, model[i].seq);
        }
    }
}

/* --- real time ---------------------------------------------------------------------- */

static const int64_t SECOND = 1000000000;

static void start_wall(size_t i, int64_t when, uint64_t seq)
{
    rt_timer_start(&gs[i], CLOCK_REALTIME, when, on_fire, seq);
}

Test(timer, wall_clock_past_and_future, .init = many_ps)
{
    int64_t wall = os_wall_ns();

    for (size_t i = 0; i < 1000; i++)
        start_wall(i, i % 2 != 0 ? wall - (int64_t)i : wall + 3600 * SECOND + (int64_t)i,
                   i);
    cr_assert_eq(sched.ntimers_wall, 1000);
    run_at(0); /* monotonic time has no say */
    for (size_t i = 0; i < 1000; i++)
        cr_assert_eq(fired[i].count, i % 2, "number %zu", i);
    cr_assert_eq(sched.ntimers_wall, 500);
    for (size_t i = 0; i < 1000; i++)
        rt_timer_stop(&gs[i]);
    cr_assert_eq(sched.ntimers_wall, 0);
    cr_assert_eq(rt_timers_next(1), RT_FOREVER);
}

Test(timer, wall_clock_fires_in_order, .init = one_p)
{
    int64_t wall = os_wall_ns() - SECOND;

    for (size_t i = 0; i < 1000; i++)
        start_wall(i, wall - (int64_t)(i * 7919 % 1000), 1);
    run_at(0);
    cr_assert_eq(norder, 1000);
    for (size_t i = 1; i < 1000; i++)
        cr_assert_gt(order[i - 1] * 7919 % 1000, order[i] * 7919 % 1000);
}

/* The clock may be set while somebody sleeps, so nobody sleeps for long. */
Test(timer, wall_clock_is_looked_at_often, .init = one_p)
{
    start_wall(0, os_wall_ns() + 3600 * SECOND, 1);
    int64_t now = os_now_ns(), next = rt_timers_next(now);
    cr_assert_geq(next, now);
    cr_assert_leq(next, now + SECOND / 2);
    start(1, now + 1000, 1);
    cr_assert_eq(rt_timers_next(now), now + 1000, "a monotonic one may come before");
}

Test(timer, clocks_do_not_mix, .init = one_p)
{
    int64_t wall = os_wall_ns();

    start_wall(0, wall + 3600 * SECOND, 1);
    start(1, 1000, 1);
    run_at(wall + 7200 * SECOND); /* late on the monotonic clock only */
    cr_assert_eq(fired[0].count, 0);
    cr_assert_eq(fired[1].count, 1);
    rt_timer_stop(&gs[0]);
    cr_assert_eq(sched.allp[0]->heap[1].n, 0);
}

/* --- start and stop against a thread that fires ------------------------------------- */

enum { OWNERS = 3, WAITS = 4000 };

static uint8_t race_fired[OWNERS][WAITS + 1]; /* times each wait's timer fired; atomic */
static uint32_t early;                        /* atomic */
static int64_t race_when[OWNERS][WAITS + 1];  /* written before the timer starts */
static bool stop_running;

static void on_race(struct g *gp, uint64_t seq)
{
    if (os_now_ns() < race_when[gp - gs][seq])
        add_rlx(&early, 1);
    add_rel(&race_fired[gp - gs][seq], 1);
}

static void *runner(void *arg)
{
    (void)arg;
    while (!ld_acq(&stop_running)) {
        rt_timers_run(os_now_ns());
        sched_yield();
    }
    return NULL;
}

/* One wait after the other, as a G does; every other one is stopped after it fired. */
static void *owner(void *arg)
{
    struct g *gp = arg;
    for (uint64_t seq = 1; seq <= WAITS; seq++) {
        race_when[gp - gs][seq] = os_now_ns() + (int64_t)(seq * 7919 % 20000);
        rt_timer_start(gp, CLOCK_MONOTONIC, race_when[gp - gs][seq], on_race, seq);
        while (seq % 2 == 0 && ld_acq(&race_fired[gp - gs][seq]) == 0)
            sched_yield();
        rt_timer_stop(gp);
    }
    return NULL;
}

Test(timer, stop_races_with_firing, .init = many_ps, .timeout = 60)
{
    pthread_t t[OWNERS], r[2];

    for (size_t i = 0; i < 2; i++)
        pthread_create(&r[i], NULL, runner, NULL);
    for (size_t i = 0; i < OWNERS; i++)
        pthread_create(&t[i], NULL, owner, &gs[i]);
    for (size_t i = 0; i < OWNERS; i++)
        pthread_join(t[i], NULL);
    st_rel(&stop_running, true);
    for (size_t i = 0; i < 2; i++)
        pthread_join(r[i], NULL);
    cr_assert_eq(early, 0);
    for (size_t i = 0; i < OWNERS; i++)
        for (size_t seq = 1; seq <= WAITS; seq++) {
            cr_assert_leq(race_fired[i][seq], 1, "wait %zu fired twice", seq);
            cr_assert(seq % 2 != 0 || race_fired[i][seq] == 1, "wait %zu did not fire",
                      seq);
        }
    for (size_t i = 0; i < NS; i++)
        cr_assert_eq(sched.allp[i]->heap[0].n, 0);
}
