/* test_park_stress.c - shim/sync/park.c under load from threads that are no Gs: every
 * wake-up that a waker counted has exactly one waiter that saw it, whatever times out, is
 * moved, or finds the table growing meanwhile; and no wake-up is lost.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "shim/sync/park.h"

enum { WAITERS = 6, WAKERS = 2, KEYS = 4, WAITS = 8000, PERMITS = 20000 };

static char keys[KEYS];

static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

/* --- exact accounting --------------------------------------------------------------- */

static uint64_t woken_seen, timed_out, refused; /* by waiters; atomic */
static uint64_t woken_counted, moved_counted;   /* by wakers; atomic */
static uint64_t tokens_seen, tokens_given;      /* sums; atomic */
static uint32_t running;                        /* waiters; atomic */

struct me {
    uint32_t rng;
    bool refuse;
};

static bool validate(void *arg)
{
    return !((struct me *)arg)->refuse;
}

static void one_wait(struct me *me)
{
    uintptr_t token = 0;
    uint32_t r = next_random(&me->rng);
    int64_t us = 1000 * (int64_t)(r >> 8 & 255);
    bool wall = r % 5 == 0, timed = r % 3 != 0;
    struct park_op op = {.key = &keys[r % KEYS],
                         .validate = validate,
                         .arg = me,
                         .tag = r >> 16,
                         .clock = wall ? CLOCK_REALTIME : CLOCK_MONOTONIC,
                         .deadline_ns = RT_FOREVER};
    if (timed)
        op.deadline_ns = us + (wall ? os_wall_ns() : os_now_ns());
    me->refuse = r % 16 == 0;
    int err = park_wait(&op, &token);
    if (err == 0) {
        add_rlx(&woken_seen, 1);
        add_rlx(&tokens_seen, token);
    }
    if (err == ETIMEDOUT)
        add_rlx(&timed_out, 1);
    if (err == EAGAIN)
        add_rlx(&refused, 1);
}

static void *waiter(void *arg)
{
    struct me me = {.rng = 99 + (uint32_t)(uintptr_t)arg};
    for (int i = 0; i < WAITS; i++)
        one_wait(&me);
    sub_ar(&running, 1);
    return NULL;
}

/* The token is what the waiters of this wake-up will add up to. */
static uintptr_t token_of(void *arg, struct park_found found)
{
    uintptr_t token = 1 + *(uint32_t *)arg % 7;
    add_rlx(&tokens_given, token * found.woken);
    return token;
}

static enum park_pick pick_some(void *arg, uintptr_t tag)
{
    uint32_t r = *(uint32_t *)arg;
    return (tag ^ r) % 4 == 0 ? PARK_STOP : (tag ^ r) % 2 == 0 ? PARK_TAKE : PARK_SKIP;
}

static size_t one_wake(uint32_t *rng)
{
    uint32_t r = next_random(rng);
    const void *key = &keys[r >> 8 & (KEYS - 1)], *to = &keys[r >> 12 & (KEYS - 1)];
    switch (r % 5) {
    case 0:
        return park_wake_n(key, r >> 20 & 3, token_of, rng);
    case 1:
        return park_wake_filter(key, NULL, pick_some, token_of, rng);
    case 2: {
        struct park_move mv = {.nwake = r >> 20 & 1, .nmove = r >> 24 & 3};
        park_requeue(key, to, &mv);
        add_rlx(&moved_counted, mv.nmove);
        return mv.nwake; /* its token is 0 */
    }
    default:
        return park_wake_one(key, token_of, rng);
    }
}

static void *waker(void *arg)
{
    uint32_t rng = 1000 + (uint32_t)(uintptr_t)arg;
    for (uint64_t i = 0; ld_acq(&running) != 0; i++) {
        size_t n = one_wake(&rng);
        add_rlx(&woken_counted, n);
        if (i % 64 == 0 && (uintptr_t)arg == 0)
            park_room(i / 4 < 1 << 16 ? i / 4 : 1 << 16);
        if (n == 0)
            sched_yield();
    }
    return NULL;
}

Test(park_stress, every_wake_up_is_seen_once, .timeout = 60)
{
    pthread_t w[WAITERS], k[WAKERS];

    running = WAITERS;
    for (uintptr_t i = 0; i < WAITERS; i++)
        pthread_create(&w[i], NULL, waiter, (void *)i);
    for (uintptr_t i = 0; i < WAKERS; i++)
        pthread_create(&k[i], NULL, waker, (void *)i);
    for (size_t i = 0; i < WAITERS; i++)
        pthread_join(w[i], NULL);
    for (size_t i = 0; i < WAKERS; i++)
        pthread_join(k[i], NULL);
    cr_assert_eq(woken_seen, woken_counted);
    cr_assert_eq(tokens_seen, tokens_given);
    cr_assert_eq(woken_seen + timed_out + refused, (uint64_t)WAITERS * WAITS);
    cr_assert(woken_seen != 0 && timed_out != 0 && refused != 0 && moved_counted != 0,
              "woken %lu, late %lu, refused %lu, moved %lu", woken_seen, timed_out,
              refused, moved_counted);
    for (size_t i = 0; i < KEYS; i++)
        cr_assert_eq(park_wake_n(&keys[i], SIZE_MAX, NULL, NULL), 0);
}

/* --- a semaphore on the lot --------------------------------------------------------- */

static int32_t permits, sleepers; /* atomic */
static uint64_t posted, taken;    /* atomic */

static bool none_left(void *arg)
{
    (void)arg;
    /* MO: sc against post: it adds a permit and then looks for sleepers. */
    return ld_sc(&permits) == 0;
}

static bool try_take(void)
{
    int32_t n = ld_rlx(&permits);
    while (n > 0)
        if (cas_acq(&permits, &n, n - 1))
            return true;
    return false;
}

static void take(void)
{
    struct park_op op = {
        .key = &permits, .validate = none_left, .deadline_ns = RT_FOREVER};
    op.clock = CLOCK_MONOTONIC;
    while (!try_take()) {
        add_sc(&sleepers, 1);
        park_wait(&op, NULL);
        sub_sc(&sleepers, 1);
    }
}

static void *taker(void *arg)
{
    (void)arg;
    for (int i = 0; i < PERMITS; i++) {
        take();
        add_rlx(&taken, 1);
    }
    return NULL;
}

static void *poster(void *arg)
{
    (void)arg;
    for (int i = 0; i < PERMITS; i++) {
        add_sc(&permits, 1);
        add_rlx(&posted, 1);
        if (ld_sc(&sleepers) != 0)
            park_wake_one(&permits, NULL, NULL);
    }
    return NULL;
}

/* Takers that sleep for ever on a lost wake-up would run into the time limit. */
Test(park_stress, no_wake_up_is_lost, .timeout = 60)
{
    enum { PAIRS = 3 };
    pthread_t t[2 * PAIRS];

    for (size_t i = 0; i < 2 * PAIRS; i++)
        pthread_create(&t[i], NULL, i % 2 != 0 ? poster : taker, NULL);
    for (size_t i = 0; i < 2 * PAIRS; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(posted, taken);
    cr_assert_eq(permits, 0);
}
