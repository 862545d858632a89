/* test_park.c - shim/sync/park.c: the parking lot, from threads that are no Gs.
 *
 * A foreign thread sleeps on a futex in its node; everything else, queues, callbacks,
 * timeouts, moving, is the same as for a G.  before_sleep runs when the waiter is queued,
 * so the tests count sleepers there and never guess with a delay who waits already.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "shim/sync/park.h"

enum { CROWD = 40 };
static const int64_t MS = 1000000;

/* --- waiters ------------------------------------------------------------------------ */

static struct waiter {
    pthread_t thread;
    struct park_op op;
    bool refuse;   /* what validate says */
    int validated; /* calls of validate */
    int result;
    uintptr_t token;
    int64_t began, ended;
    bool back; /* atomic */
} crowd[CROWD];

static uint32_t asleep; /* waiters that were queued so far; atomic */
static char keys[64];

static bool validate(void *arg)
{
    struct waiter *w = arg;
    w->validated++;
    return !w->refuse;
}

static void before_sleep(void *arg)
{
    (void)arg;
    add_rel(&asleep, 1);
}

static void *wait_main(void *arg)
{
    struct waiter *w = arg;
    w->began = os_now_ns();
    w->result = park_wait(&w->op, &w->token);
    w->ended = os_now_ns();
    st_rel(&w->back, true);
    return NULL;
}

static struct waiter *prepare(size_t i, const void *key)
{
    struct waiter *w = &crowd[i];
    *w = (struct waiter){.token = 4711};
    w->op = (struct park_op){.key = key,
                             .validate = validate,
                             .before_sleep = before_sleep,
                             .arg = w,
                             .tag = i,
                             .clock = CLOCK_MONOTONIC,
                             .deadline_ns = RT_FOREVER};
    return w;
}

/* Starts it and returns when it is in the queue. */
static void launch(struct waiter *w)
{
    uint32_t before = ld_acq(&asleep);
    cr_assert_eq(pthread_create(&w->thread, NULL, wait_main, w), 0);
    while (ld_acq(&asleep) == before)
        sched_yield();
}

static void launch_many(size_t from, size_t n, const void *key)
{
    for (size_t i = from; i < from + n; i++)
        launch(prepare(i, key));
}

static void expect_end(size_t i, int result)
{
    cr_assert_eq(pthread_join(crowd[i].thread, NULL), 0);
    cr_assert_eq(crowd[i].result, result, "waiter %zu: %d", i, crowd[i].result);
}

static void expect_all(size_t from, size_t n, int result)
{
    for (size_t i = from; i < from + n; i++)
        expect_end(i, result);
}

/* --- wake callbacks ----------------------------------------------------------------- */

static struct park_found last;
static uintptr_t next_token = 1;
static int wake_calls;

static uintptr_t give_token(void *arg, struct park_found found)
{
    cr_assert_eq(arg, (void *)keys);
    wake_calls++;
    last = found;
    return next_token++;
}

static size_t wake_one(const void *key)
{
    return park_wake_one(key, give_token, keys);
}

/* --- one key ------------------------------------------------------------------------ */

Test(park, validate_refuses)
{
    struct waiter *w = prepare(0, &keys[0]);
    w->refuse = true;
    cr_assert_eq(park_wait(&w->op, &w->token), EAGAIN);
    cr_assert_eq(w->validated, 1);
    cr_assert_eq(asleep, 0, "before_sleep has not run");
    cr_assert_eq(wake_one(&keys[0]), 0, "it is not queued");
}

Test(park, wake_without_waiters)
{
    cr_assert_eq(wake_one(&keys[0]), 0);
    cr_assert_eq(wake_calls, 1, "the callback runs in any case");
    cr_assert(last.woken == 0 && !last.more && !last.fair);
    cr_assert_eq(park_wake_one(&keys[0], NULL, NULL), 0);
    cr_assert_eq(park_wake_n(&keys[0], SIZE_MAX, give_token, keys), 0);
    cr_assert_eq(wake_calls, 2);
}

Test(park, oldest_first_with_its_token, .timeout = 20)
{
    launch_many(0, 6, &keys[0]);
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(wake_one(&keys[0]), 1);
        cr_assert_eq(last.woken, 1);
        cr_assert_eq(last.more, i < 5);
        expect_end(i, 0);
        cr_assert_eq(crowd[i].token, i + 1);
        cr_assert_eq(crowd[i].validated, 1);
    }
    cr_assert_eq(wake_one(&keys[0]), 0);
}

Test(park, wake_without_callback_gives_token_0, .timeout = 20)
{
    launch_many(0, 1, &keys[0]);
    cr_assert_eq(park_wake_one(&keys[0], NULL, NULL), 1);
    expect_end(0, 0);
    cr_assert_eq(crowd[0].token, 0);
}

Test(park, wake_n_takes_the_oldest, .timeout = 20)
{
    launch_many(0, 6, &keys[0]);
    cr_assert_eq(park_wake_n(&keys[0], 0, give_token, keys), 0);
    cr_assert(last.woken == 0 && last.more);
    cr_assert_eq(park_wake_n(&keys[0], 4, give_token, keys), 4);
    cr_assert(last.woken == 4 && last.more);
    expect_all(0, 4, 0);
    cr_assert_not(ld_acq(&crowd[4].back));
    cr_assert_eq(park_wake_n(&keys[0], SIZE_MAX, give_token, keys), 2);
    cr_assert(last.woken == 2 && !last.more);
    expect_all(4, 2, 0);
}

Test(park, long_waiter_is_told, .timeout = 20)
{
    launch_many(0, 1, &keys[0]);
    os_futex_wait(&(uint32_t){0}, 0, os_now_ns() + 50 * MS);
    wake_one(&keys[0]);
    cr_assert(last.fair, "it has waited 50 ms");
    expect_end(0, 0);
}

/* Who waits again with the same op, having lost the race for the object, stays old. */
Test(park, age_is_kept_over_further_waits, .timeout = 20)
{
    struct waiter *w = prepare(0, &keys[0]);
    launch(w);
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(0, 0);
    uint64_t since = w->op.since;
    cr_assert_neq(since, 0);
    os_futex_wait(&(uint32_t){0}, 0, os_now_ns() + 50 * MS);
    launch(w);
    cr_assert_eq(wake_one(&keys[0]), 1);
    cr_assert(last.fair);
    expect_end(0, 0);
    cr_assert_eq(w->op.since, since);
}

/* And keeps its place: others who came meanwhile are woken later, however often it waits. */
Test(park, place_is_kept_over_further_waits, .timeout = 20)
{
    struct waiter *w = prepare(0, &keys[0]);
    launch(w);
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(0, 0);
    launch_many(1, 2, &keys[0]);
    launch(w);
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(0, 0);
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(1, 0);
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(2, 0);
}

/* --- filter ------------------------------------------------------------------------- */

static uintptr_t looked[CROWD], picked[CROWD];
static size_t nlooked, npicked;

static void note_look(void *arg, uintptr_t tag)
{
    (void)arg;
    looked[nlooked++] = tag;
}

/* Takes even ones, stops at 7. */
static enum park_pick pick_even(void *arg, uintptr_t tag)
{
    (void)arg;
    picked[npicked++] = tag;
    return tag == 7 ? PARK_STOP : tag % 2 == 0 ? PARK_TAKE : PARK_SKIP;
}

Test(park, filter_looks_picks_and_stops, .timeout = 20)
{
    launch_many(0, 10, &keys[0]);
    cr_assert_eq(park_wake_filter(&keys[0], note_look, pick_even, give_token, keys), 4);
    cr_assert_eq(nlooked, 10, "look sees all");
    cr_assert_eq(npicked, 8, "pick none after it said stop");
    for (size_t i = 0; i < 10; i++)
        cr_assert_eq(looked[i], i);
    for (size_t i = 0; i < 8; i++)
        cr_assert_eq(picked[i], i);
    cr_assert(last.woken == 4 && last.more);
    for (size_t i = 0; i < 8; i += 2) {
        expect_end(i, 0);
        cr_assert_eq(crowd[i].token, 1, "all have the same token");
    }
    /* The others are still there, in their order. */
    static const size_t left[] = {1, 3, 5, 7, 8, 9};
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(wake_one(&keys[0]), 1);
        expect_end(left[i], 0);
    }
}

static enum park_pick pick_none(void *arg, uintptr_t tag)
{
    (void)arg;
    (void)tag;
    return PARK_SKIP;
}

Test(park, filter_may_take_nobody, .timeout = 20)
{
    launch_many(0, 2, &keys[0]);
    cr_assert_eq(park_wake_filter(&keys[0], NULL, pick_none, give_token, keys), 0);
    cr_assert(last.woken == 0 && last.more);
    park_wake_n(&keys[0], 2, NULL, NULL);
    expect_all(0, 2, 0);
}

/* --- moving to another key ---------------------------------------------------------- */

static struct moved {
    int checks, calls;
    bool refuse, any;
    size_t new_nwake, woken, moved;
    bool more;
} moved;

static bool check_move(void *arg, struct park_move *mv)
{
    struct moved *m = arg;
    m->checks++;
    m->any = mv->any;
    if (m->new_nwake != 0)
        mv->nwake = m->new_nwake;
    return !m->refuse;
}

static void after_move(void *arg, size_t woken, size_t nmoved, bool more)
{
    struct moved *m = arg;
    m->calls++;
    m->woken = woken;
    m->moved = nmoved;
    m->more = more;
}

static struct park_move a_move(size_t nwake, size_t nmove)
{
    return (struct park_move){.nwake = nwake,
                              .nmove = nmove,
                              .check = check_move,
                              .fn = after_move,
                              .arg = &moved};
}

Test(park, requeue_refused_changes_nothing, .timeout = 20)
{
    struct park_move mv = a_move(1, SIZE_MAX);
    launch_many(0, 3, &keys[0]);
    moved.refuse = true;
    cr_assert_eq(park_requeue(&keys[0], &keys[1], &mv), SIZE_MAX);
    cr_assert(moved.checks == 1 && moved.any && moved.calls == 0);
    cr_assert_eq(wake_one(&keys[1]), 0);
    cr_assert_eq(park_wake_n(&keys[0], SIZE_MAX, NULL, NULL), 3);
    expect_all(0, 3, 0);
}

Test(park, requeue_of_nobody, .timeout = 20)
{
    struct park_move mv = a_move(1, 1);
    cr_assert_eq(park_requeue(&keys[0], &keys[1], &mv), 0);
    cr_assert(moved.checks == 1 && !moved.any && moved.calls == 1);
    cr_assert(moved.woken == 0 && moved.moved == 0 && !moved.more);
    cr_assert(mv.nwake == 0 && mv.nmove == 0);
}

Test(park, requeue_wakes_and_moves, .timeout = 20)
{
    struct park_move mv = a_move(2, 3);
    launch_many(0, 2, &keys[1]); /* wait there already */
    launch_many(2, 7, &keys[0]);
    cr_assert_eq(park_requeue(&keys[0], &keys[1], &mv), 5);
    cr_assert(mv.nwake == 2 && mv.nmove == 3);
    cr_assert(moved.woken == 2 && moved.moved == 3 && moved.more);
    expect_all(2, 2, 0);
    /* On keys[1] the moved ones stand behind those that were there. */
    for (size_t i = 0; i < 5; i++) {
        size_t who = i < 2 ? i : i + 2;
        cr_assert_eq(wake_one(&keys[1]), 1);
        cr_assert_eq(last.more, i < 4);
        expect_end(who, 0);
    }
    cr_assert_eq(park_wake_n(&keys[0], SIZE_MAX, NULL, NULL), 2, "two stayed");
    expect_all(7, 2, 0);
}

Test(park, requeue_check_changes_the_numbers, .timeout = 20)
{
    struct park_move mv = a_move(0, 1);
    launch_many(0, 4, &keys[0]);
    moved.new_nwake = 2;
    cr_assert_eq(park_requeue(&keys[0], &keys[1], &mv), 3);
    cr_assert(mv.nwake == 2 && mv.nmove == 1 && moved.more);
    expect_all(0, 2, 0);
    cr_assert_eq(wake_one(&keys[1]), 1);
    expect_end(2, 0);
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(3, 0);
}

Test(park, requeue_without_callbacks, .timeout = 20)
{
    struct park_move mv = {.nwake = 0, .nmove = SIZE_MAX};
    launch_many(0, 3, &keys[0]);
    cr_assert_eq(park_requeue(&keys[0], &keys[1], &mv), 3);
    cr_assert_eq(park_wake_n(&keys[1], SIZE_MAX, NULL, NULL), 3);
    expect_all(0, 3, 0);
}

/* They go to the end of the queue they are in; nobody is moved twice. */
Test(park, requeue_to_the_same_key, .timeout = 20)
{
    struct park_move mv = a_move(1, 2);
    launch_many(0, 5, &keys[0]);
    cr_assert_eq(park_requeue(&keys[0], &keys[0], &mv), 3);
    expect_end(0, 0);
    static const size_t then[] = {3, 4, 1, 2};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(wake_one(&keys[0]), 1);
        expect_end(then[i], 0);
    }
    mv = a_move(0, SIZE_MAX);
    launch_many(0, 3, &keys[0]);
    cr_assert_eq(park_requeue(&keys[0], &keys[0], &mv), 3, "an end, not a circle");
    cr_assert_eq(park_wake_n(&keys[0], SIZE_MAX, NULL, NULL), 3);
    expect_all(0, 3, 0);
}

/* --- deadlines ---------------------------------------------------------------------- */

static void launch_until(size_t i, const void *key, int clock, int64_t deadline)
{
    struct waiter *w = prepare(i, key);
    w->op.clock = clock;
    w->op.deadline_ns = deadline;
    launch(w);
}

Test(park, deadlines_are_not_early, .timeout = 20)
{
    int64_t now = os_now_ns(), wall = os_wall_ns();
    launch_until(0, &keys[0], CLOCK_MONOTONIC, now + 30 * MS);
    launch_until(1, &keys[0], CLOCK_REALTIME, wall + 40 * MS);
    expect_all(0, 2, ETIMEDOUT);
    cr_assert_geq(crowd[0].ended, now + 30 * MS);
    cr_assert_geq(crowd[1].ended, now + 39 * MS, "by the other clock");
    cr_assert_eq(wake_one(&keys[0]), 0, "both are off the queue");
}

Test(park, deadlines_in_the_past, .timeout = 20)
{
    static const int64_t past[] = {0, 1, -1, INT64_MIN};
    for (size_t i = 0; i < 4; i++) {
        launch_until(0, &keys[0], CLOCK_MONOTONIC, past[i]);
        expect_end(0, ETIMEDOUT);
        launch_until(0, &keys[0], CLOCK_REALTIME, past[i]);
        expect_end(0, ETIMEDOUT);
    }
}

Test(park, woken_before_the_deadline, .timeout = 20)
{
    launch_until(0, &keys[0], CLOCK_MONOTONIC, os_now_ns() + 10000 * MS);
    launch_until(1, &keys[0], CLOCK_REALTIME, os_wall_ns() + 10000 * MS);
    cr_assert_eq(park_wake_n(&keys[0], 2, NULL, NULL), 2);
    expect_all(0, 2, 0);
    cr_assert_lt(crowd[1].ended - crowd[0].began, 9000 * MS);
}

/* Head, middle and tail of the queue give up; the rest keeps its order. */
Test(park, timeouts_leave_the_queue_whole, .timeout = 20)
{
    for (size_t i = 0; i < 9; i++) {
        bool gives_up = i == 0 || i == 4 || i == 8;
        launch_until(i, &keys[0], CLOCK_MONOTONIC,
                     gives_up ? os_now_ns() + 5 * MS : RT_FOREVER);
    }
    expect_end(0, ETIMEDOUT);
    expect_end(4, ETIMEDOUT);
    expect_end(8, ETIMEDOUT);
    for (size_t i = 0; i < 9; i++) {
        if (i % 4 == 0)
            continue;
        cr_assert_eq(wake_one(&keys[0]), 1);
        expect_end(i, 0);
    }
    cr_assert_eq(wake_one(&keys[0]), 0);
}

static void timed_and_moved(bool requeue_wakes, int result)
{
    struct park_move mv = a_move(0, 1);
    struct waiter *w = prepare(0, &keys[0]);
    w->op.deadline_ns = os_now_ns() + 30 * MS;
    w->op.requeue_wakes = requeue_wakes;
    launch(w);
    size_t n = park_requeue(&keys[0], &keys[1], &mv);
    cr_assert(n == 1 || os_now_ns() >= w->op.deadline_ns);
    if (n == 1)
        expect_end(0, result);
    else /* this machine stood still for 30 ms */
        expect_end(0, ETIMEDOUT);
    cr_assert_geq(w->ended, w->op.deadline_ns);
    cr_assert_eq(wake_one(&keys[0]), 0);
    cr_assert_eq(wake_one(&keys[1]), 0, "it left the queue it was moved to");
}

Test(park, deadline_after_requeue, .timeout = 20)
{
    timed_and_moved(false, ETIMEDOUT);
    timed_and_moved(true, 0);
}

/* --- signals ------------------------------------------------------------------------ */

static uint32_t handled; /* atomic */

static void on_signal(int sig)
{
    (void)sig;
    add_rel(&handled, 1);
}

Test(park, signal_ends_an_interruptible_wait, .timeout = 20)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &sa, NULL);
    struct waiter *w = prepare(0, &keys[0]);
    w->op.ended_by = PARK_BY_SIGNAL;
    launch(w);
    /* One that comes just before it falls asleep ends nothing, as with a system call. */
    while (!ld_acq(&w->back)) {
        pthread_kill(w->thread, SIGUSR1);
        sched_yield();
    }
    expect_end(0, EINTR);
    cr_assert_eq(wake_one(&keys[0]), 0);
}

Test(park, signal_does_not_end_another_wait, .timeout = 20)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &sa, NULL);
    launch_many(0, 1, &keys[0]);
    for (uint32_t i = 0; i < 20; i++) {
        pthread_kill(crowd[0].thread, SIGUSR1);
        while (ld_acq(&handled) <= i)
            sched_yield(); /* handlers run while it waits */
    }
    cr_assert_not(ld_acq(&crowd[0].back));
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(0, 0);
}

/* With SA_RESTART the kernel goes on waiting, as it does in NPTL's sem_wait. */
Test(park, restarting_handler_does_not_end_the_wait, .timeout = 20)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &sa, NULL);
    struct waiter *w = prepare(0, &keys[0]);
    w->op.ended_by = PARK_BY_SIGNAL;
    launch(w);
    for (uint32_t i = 0; i < 20; i++) {
        pthread_kill(w->thread, SIGUSR1);
        while (ld_acq(&handled) <= i)
            sched_yield();
    }
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(0, 0);
}

/* --- an object may die as soon as its waiter is woken ------------------------------- */

enum { DEATHS = 2000 };

struct mortal {
    uint32_t go; /* atomic; on a page that the waiter takes away */
};

static bool not_yet(void *arg)
{
    struct mortal *o = arg;
    return ld_rlx(&o->go) == 0;
}

static uintptr_t set_go(void *arg, struct park_found found)
{
    struct mortal *o = arg;
    (void)found;
    st_rlx(&o->go, 1);
    return 0;
}

static struct mortal *current; /* atomic */

static void *release_mortals(void *arg)
{
    (void)arg;
    for (int i = 0; i < DEATHS; i++) {
        struct mortal *o;
        while ((o = xchg_ar(&current, NULL)) == NULL)
            sched_yield();
        park_wake_one(o, set_go, o); /* O is gone before this returns, now and then */
    }
    return NULL;
}

Test(park, destroyed_right_after_the_wake, .timeout = 60)
{
    pthread_t t;
    pthread_create(&t, NULL, release_mortals, NULL);
    for (int i = 0; i < DEATHS; i++) {
        struct mortal *o = mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct park_op op = {.key = o,
                             .validate = not_yet,
                             .arg = o,
                             .clock = CLOCK_MONOTONIC,
                             .deadline_ns = RT_FOREVER};
        st_rel(&current, o);
        int r = park_wait(&op, NULL);
        /* EAGAIN: the wake came first, under the bucket's lock; the same holds then. */
        cr_assert(r == 0 || r == EAGAIN);
        cr_assert_eq(munmap(o, sizeof *o), 0);
    }
    pthread_join(t, NULL);
}

/* --- one bucket, and more buckets --------------------------------------------------- */

/* Keys that share a bucket of the first table.  Should the hash of park.c change, they no
 * longer do, and the tests that use them still hold. */
static const void *clashing_key(size_t i)
{
    uintptr_t key = 0;
    for (size_t found = 0;; key += 8)
        if (key * 0x9e3779b97f4a7c15ull >> 56 == 17 && found++ == i)
            return (const void *)key;
}

Test(park, keys_in_one_bucket_are_apart, .timeout = 20)
{
    enum { KEYS = 10 };
    for (size_t i = 0; i < 3 * KEYS; i++)
        launch(prepare(i, clashing_key(i % KEYS)));
    for (size_t k = KEYS; k-- > 0;) {
        for (size_t n = 0; n < 3; n++) {
            cr_assert_eq(wake_one(clashing_key(k)), 1);
            cr_assert_eq(last.more, n < 2);
            expect_end(n * KEYS + k, 0);
        }
        cr_assert_eq(wake_one(clashing_key(k)), 0);
    }
}

Test(park, requeue_within_one_bucket, .timeout = 20)
{
    const void *from = clashing_key(0), *to = clashing_key(1), *other = clashing_key(2);
    struct park_move mv = a_move(1, 2);
    launch_many(0, 2, from);
    launch_many(2, 1, other);
    launch_many(3, 1, to);
    launch_many(4, 3, from);
    cr_assert_eq(park_requeue(from, to, &mv), 3);
    cr_assert(mv.nwake == 1 && mv.nmove == 2 && moved.more);
    expect_end(0, 0);
    static const size_t on_to[] = {3, 1, 4};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(wake_one(to), 1);
        expect_end(on_to[i], 0);
    }
    cr_assert_eq(wake_one(other), 1);
    expect_end(2, 0);
    cr_assert_eq(park_wake_n(from, SIZE_MAX, NULL, NULL), 2);
    expect_all(5, 2, 0);
}

Test(park, table_grows_under_waiters, .timeout = 20)
{
    for (size_t i = 0; i < CROWD; i++)
        launch(prepare(i, i < 20 ? &keys[i % 10] : clashing_key(i % 5)));
    for (size_t room = 1; room <= 1 << 20; room *= 8) {
        park_room(room);
        cr_assert_eq(wake_one(&keys[20]), 0);
    }
    park_room(10); /* it does not shrink */
    for (size_t i = 0; i < 20; i++) {
        cr_assert_eq(wake_one(&keys[i % 10]), 1, "key of waiter %zu", i);
        cr_assert_eq(last.more, i < 10);
        expect_end(i, 0);
    }
    for (size_t i = 20; i < CROWD; i++) {
        cr_assert_eq(wake_one(clashing_key(i % 5)), 1);
        expect_end(i, 0);
    }
}

/* --- after fork --------------------------------------------------------------------- */

Test(park, forget, .timeout = 20)
{
    launch_many(0, 3, &keys[0]);
    launch_many(3, 1, &keys[1]);
    park_forget();
    cr_assert_eq(wake_one(&keys[0]), 0);
    cr_assert_eq(wake_one(&keys[1]), 0);
    launch_many(4, 1, &keys[0]);
    cr_assert_eq(wake_one(&keys[0]), 1);
    expect_end(4, 0);
}
