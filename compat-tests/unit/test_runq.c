/* test_runq.c - shim/rt/runq.c: the ring of a P, runnext, overflow, stealing, and the
 * global queue.
 *
 * The Gs here are bare memory: a run queue looks at nothing but their link.  The stress
 * at the end is the property that counts: with one owner that fills its queue and three
 * thieves that rob it and each other, every G comes out exactly once.
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "shim/rt/rt.h"

enum { MANY = 20000, THIEVES = 3, ROUNDS = 4 };

static struct g gs[MANY];
static struct p *p0, *p1;

static void two_ps(void)
{
    proc_init_p(2);
    p0 = sched.allp[0];
    p1 = sched.allp[1];
}

/* Moves the indices to where they wrap around while N Gs pass. */
static void near_overflow(struct p *pp, uint32_t n)
{
    pp->head = pp->tail = -n;
}

static void fill(struct p *pp, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        runq_put(pp, &gs[from + i], false);
}

static void expect_order(struct p *pp, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(runq_get(pp), &gs[from + i], "number %zu", i);
}

static size_t number(const struct g *gp)
{
    return gp != NULL ? (size_t)(gp - gs) : SIZE_MAX;
}

/* --- ring --------------------------------------------------------------------------- */

Test(runq, ring_is_first_in_first_out, .init = two_ps)
{
    cr_assert_null(runq_get(p0));
    fill(p0, 0, RT_RING);
    expect_order(p0, 0, RT_RING);
    cr_assert_null(runq_get(p0));
    cr_assert_eq(sched.runq_size, 0, "a full ring does not spill yet");
}

Test(runq, indices_wrap_around, .init = two_ps)
{
    near_overflow(p0, 100);
    for (size_t lap = 0; lap < 10; lap++) {
        fill(p0, lap * 200, 200);
        cr_assert_eq(p0->tail - p0->head, 200);
        expect_order(p0, lap * 200, 200);
        cr_assert(runq_empty(p0));
    }
}

Test(runq, empty_sees_ring_and_runnext, .init = two_ps)
{
    cr_assert(runq_empty(p0));
    runq_put(p0, &gs[0], false);
    cr_assert_not(runq_empty(p0));
    runq_get(p0);
    cr_assert(runq_empty(p0));
    runq_put(p0, &gs[0], true);
    cr_assert_not(runq_empty(p0), "runnext counts");
    runq_get(p0);
    cr_assert(runq_empty(p0));
}

/* --- runnext ------------------------------------------------------------------------ */

Test(runq, runnext_goes_first_and_the_former_to_the_tail, .init = two_ps)
{
    fill(p0, 0, 3);
    runq_put(p0, &gs[3], true);
    runq_put(p0, &gs[4], true); /* puts gs[3] behind gs[2] */
    cr_assert_eq(runq_get(p0), &gs[4]);
    expect_order(p0, 0, 4);
    cr_assert_null(runq_get(p0));
}

/* Two Gs that ready each other stay in runnext; the ring must get its turn none the less,
 * and soon. */
Test(runq, runnext_cannot_starve_the_ring, .init = two_ps)
{
    int picks = 0;

    runq_put(p0, &gs[0], false);
    for (;; picks++) {
        runq_put(p0, &gs[1 + picks % 2], true);
        struct g *gp = runq_get(p0);
        if (gp == &gs[0])
            break;
        cr_assert_eq(gp, &gs[1 + picks % 2]);
        cr_assert_lt(picks, 10 * RT_NEXT_LIMIT, "the ring starves");
    }
    cr_assert_eq(picks, RT_NEXT_LIMIT);
    cr_assert_eq(runq_get(p0), &gs[1 + picks % 2], "runnext is still there");
    cr_assert(runq_empty(p0));
}

/* Even past the limit runnext is taken when it is all there is. */
Test(runq, runnext_alone_is_always_found, .init = two_ps)
{
    for (int i = 0; i < 5 * RT_NEXT_LIMIT; i++) {
        runq_put(p0, &gs[i], true);
        cr_assert_eq(runq_get(p0), &gs[i]);
    }
}

/* --- overflow to the global queue --------------------------------------------------- */

Test(runq, full_ring_gives_half_away, .init = two_ps)
{
    near_overflow(p0, RT_RING / 4);
    fill(p0, 0, RT_RING + 1);
    cr_assert_eq(p0->tail - p0->head, RT_RING / 2);
    cr_assert_eq(sched.runq_size, RT_RING / 2 + 1);
    expect_order(p0, RT_RING / 2, RT_RING / 2);

    /* The older half and, behind it, the one for which there was no room. */
    for (size_t i = 0; i <= RT_RING / 2; i++)
        cr_assert_eq(globq_get(p0, 1), &gs[i < RT_RING / 2 ? i : RT_RING]);
    cr_assert_null(globq_get(p0, 1));
    cr_assert_null(sched.runq.head);
    cr_assert_null(sched.runq.tail);
}

Test(runq, runnext_pushed_out_onto_a_full_ring, .init = two_ps)
{
    fill(p0, 0, RT_RING);
    runq_put(p0, &gs[RT_RING], true);
    cr_assert_eq(sched.runq_size, 0);
    runq_put(p0, &gs[RT_RING + 1], true);
    cr_assert_eq(sched.runq_size, RT_RING / 2 + 1);
    cr_assert_eq(sched.runq.tail, &gs[RT_RING]);
    cr_assert_eq(runq_get(p0), &gs[RT_RING + 1]);
}

/* --- stealing ----------------------------------------------------------------------- */

/* The larger half of the victim's, the oldest; the last of them is run at once. */
Test(runq, steal_takes_the_older_half, .init = two_ps)
{
    for (uint32_t n = 1; n <= RT_RING; n++) {
        uint32_t took = n - n / 2;
        near_overflow(p0, n / 3);
        near_overflow(p1, n / 5);
        fill(p0, 0, n);
        struct g *gp = runq_steal(p1, p0, false);
        cr_assert_eq(number(gp), 0, "of %u: %zu", n, number(gp)); /* the oldest is run */
        cr_assert_eq(p1->tail - p1->head, took - 1);
        expect_order(p1, 1, took - 1);
        expect_order(p0, took, n - took);
    }
}

Test(runq, steal_from_an_empty_queue, .init = two_ps)
{
    cr_assert_null(runq_steal(p1, p0, false));
    cr_assert_null(runq_steal(p1, p0, true));
    cr_assert(runq_empty(p1));
}

Test(runq, steal_leaves_runnext_unless_told, .init = two_ps)
{
    runq_put(p0, &gs[0], true);
    cr_assert_null(runq_steal(p1, p0, false));
    cr_assert_eq(runq_steal(p1, p0, true), &gs[0], "nobody owns p0");
    cr_assert(runq_empty(p0));
}

Test(runq, ring_is_stolen_before_runnext, .init = two_ps)
{
    runq_put(p0, &gs[0], false);
    runq_put(p0, &gs[1], true);
    cr_assert_eq(runq_steal(p1, p0, true), &gs[0]);
    cr_assert_eq(runq_steal(p1, p0, true), &gs[1]);
}

static bool stop_ticking;

static void *tick(void *arg)
{
    struct p *pp = arg;
    while (!ld_rlx(&stop_ticking))
        st_rlx(&pp->schedtick, ld_rlx(&pp->schedtick) + 1);
    return NULL;
}

/* A P that switches all the time keeps its runnext; one that runs a single G for long
 * does not.  The ticking thread may lose its CPU, so the thief tries more than once. */
Test(runq, runnext_of_a_busy_switcher_is_left, .init = two_ps, .timeout = 30)
{
    static struct m owner;
    pthread_t t;
    int refused = 0;

    p0->owner = (uintptr_t)&owner | P_USER;
    runq_put(p0, &gs[0], true);
    cr_assert_eq(runq_steal(p1, p0, true), &gs[0], "its schedtick stands still");
    pthread_create(&t, NULL, tick, p0);
    for (int i = 0; i < 1000000 && refused < 10; i++) {
        st_rlx(&p0->runnext, &gs[0]);
        struct g *gp = runq_steal(p1, p0, true);
        cr_assert(gp == NULL || gp == &gs[0]);
        refused += gp == NULL;
        if (gp != NULL)
            sched_yield();
    }
    st_rlx(&stop_ticking, true);
    pthread_join(t, NULL);
    cr_assert_eq(refused, 10);
}

/* --- global queue ------------------------------------------------------------------- */

static void put_global(size_t from, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        gs[from + i].link = &gs[from + i + 1];
    globq_put_batch(&gs[from], &gs[from + n - 1], (uint32_t)n);
}

Test(globq, keeps_order_over_batches_and_singles, .init = two_ps)
{
    cr_assert_null(globq_get(p0, 0));
    gs[0].link = &gs[77]; /* what an earlier queue left in it */
    globq_put_locked(&gs[0]);
    put_global(1, 5);
    globq_put_locked(&gs[6]);
    put_global(7, 1);
    cr_assert_eq(sched.runq_size, 8);
    for (size_t i = 0; i < 8; i++)
        cr_assert_eq(number(globq_get(p0, 1)), i);
    cr_assert_null(globq_get(p0, 1));
    cr_assert_eq(sched.runq_size, 0);
}

Test(globq, share_is_fair)
{
    proc_init_p(4);
    struct p *pp = sched.allp[2];
    put_global(0, 100);
    cr_assert_eq(globq_get(pp, 0), &gs[0]);
    cr_assert_eq(pp->tail - pp->head, 100 / 4, "one to run, size/np for the ring");
    cr_assert_eq(sched.runq_size, 100 - 1 - 100 / 4);
    expect_order(pp, 1, 100 / 4);
}

Test(globq, share_has_limits, .init = two_ps)
{
    put_global(0, 5000);
    cr_assert_eq(globq_get(p0, 10), &gs[0]);
    cr_assert_eq(p0->tail - p0->head, 9, "at most what was asked for");
    cr_assert_eq(globq_get(p1, 0), &gs[10]);
    cr_assert_eq(p1->tail - p1->head, RT_RING / 2 - 1, "at most half a ring");
}

/* The taker holds the lock that a spilling ring would want. */
Test(globq, share_stops_at_a_full_ring, .init = two_ps, .timeout = 10)
{
    fill(p0, 0, RT_RING - 5);
    put_global(1000, 300);
    cr_assert_eq(globq_get(p0, 0), &gs[1000]);
    cr_assert_eq(p0->tail - p0->head, RT_RING);
    cr_assert_eq(sched.runq_size, 300 - 6);
    cr_assert_eq(globq_get(p0, 0), &gs[1006]);
    cr_assert_eq(sched.runq_size, 300 - 7);
}

Test(globq, last_one, .init = two_ps)
{
    put_global(0, 1);
    cr_assert_eq(globq_get(p0, 0), &gs[0]);
    cr_assert(runq_empty(p0));
    put_global(1, 1);
    cr_assert_eq(globq_get(p0, 1), &gs[1], "the queue is in order after it was empty");
}

/* --- stress ------------------------------------------------------------------------- */

static uint32_t taken[MANY]; /* how often each G came out; atomic */
static uint32_t ntaken;      /* atomic */
static uint32_t round_now;   /* atomic */

static void take(struct g *gp)
{
    add_rlx(&taken[gp - gs], 1);
    add_rel(&ntaken, 1);
}

static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

/* As an idle M does: drain the own queue, then the global one, then rob the others. */
static bool find_and_take(struct p *pp, uint32_t *rng)
{
    struct g *gp = runq_get(pp);
    if (gp == NULL)
        gp = globq_get(pp, 0);
    for (uint32_t i = 0; gp == NULL && i <= THIEVES; i++) {
        struct p *victim = sched.allp[(next_random(rng) + i) % (THIEVES + 1)];
        if (victim != pp)
            gp = runq_steal(pp, victim, next_random(rng) % 2 != 0);
    }
    if (gp != NULL)
        take(gp);
    return gp != NULL;
}

static void *thief(void *arg)
{
    struct p *pp = arg;
    uint32_t rng = 12345 + pp->id;
    while (ld_acq(&round_now) <= ROUNDS)
        if (!find_and_take(pp, &rng))
            sched_yield();
    return NULL;
}

/* Puts every G once, taking some itself, as an M that runs what it readies. */
static void one_round(struct p *pp, uint32_t *rng)
{
    for (size_t i = 0; i < MANY; i++) {
        runq_put(pp, &gs[i], next_random(rng) % 4 == 0);
        if (next_random(rng) % 3 == 0) {
            struct g *gp = runq_get(pp);
            if (gp != NULL)
                take(gp);
        }
    }
    for (int64_t end = os_now_ns() + 10000000000; ld_acq(&ntaken) < MANY;) {
        struct g *gp = runq_get(pp);
        if (gp != NULL)
            take(gp);
        else
            sched_yield();
        cr_assert_lt(os_now_ns(), end, "lost: %u of %d came out", ld_rlx(&ntaken), MANY);
    }
}

Test(runq, every_g_is_taken_exactly_once, .timeout = 60)
{
    pthread_t t[THIEVES];
    uint32_t rng = 4711;

    proc_init_p(THIEVES + 1);
    for (size_t i = 0; i <= THIEVES; i++)
        near_overflow(sched.allp[i], MANY / 2);
    st_rel(&round_now, 1);
    for (size_t i = 0; i < THIEVES; i++)
        pthread_create(&t[i], NULL, thief, sched.allp[i + 1]);
    for (uint32_t r = 1; r <= ROUNDS; r++) {
        one_round(sched.allp[0], &rng);
        cr_assert_eq(ld_rlx(&ntaken), MANY);
        for (size_t i = 0; i < MANY; i++)
            cr_assert_eq(ld_rlx(&taken[i]), 1, "G %zu: %u times", i, ld_rlx(&taken[i]));
        memset(taken, 0, sizeof taken);
        st_rlx(&ntaken, 0);
        st_rel(&round_now, r + 1);
    }
    for (size_t i = 0; i < THIEVES; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(ld_rlx(&ntaken), 0, "a thief found a G that was not put");
    for (size_t i = 0; i <= THIEVES; i++)
        cr_assert(runq_empty(sched.allp[i]));
    cr_assert_eq(sched.runq_size, 0);
}
