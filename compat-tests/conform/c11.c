/* c11.c - <threads.h>. */
#include "conform.h"

#include <threads.h>

static int give_back(void *arg)
{
    return (int)(intptr_t)arg;
}

static int exit_early(void *arg)
{
    (void)arg;
    thrd_exit(17);
}

static int join_self(void *arg)
{
    (void)arg;
    return thrd_join(thrd_current(), NULL);
}

TEST(threads)
{
    thrd_t t;
    int result = -1;

    CHECK_EQ(thrd_create(&t, give_back, (void *)42), thrd_success);
    CHECK(!thrd_equal(t, thrd_current()));
    CHECK(thrd_equal(thrd_current(), thrd_current()));
    CHECK_EQ(thrd_join(t, &result), thrd_success);
    CHECK_EQ(result, 42); /* C11 7.26.5.6 */
    CHECK_EQ(thrd_create(&t, give_back, (void *)-1), thrd_success);
    CHECK_EQ(thrd_join(t, &result), thrd_success);
    CHECK_EQ(result, -1);
    CHECK_EQ(thrd_create(&t, exit_early, NULL), thrd_success);
    CHECK_EQ(thrd_join(t, &result), thrd_success);
    CHECK_EQ(result, 17); /* C11 7.26.5.5 */
    CHECK_EQ(thrd_create(&t, give_back, NULL), thrd_success);
    CHECK_EQ(thrd_join(t, NULL), thrd_success);
    CHECK_EQ(thrd_create(&t, join_self, NULL), thrd_success);
    CHECK_EQ(thrd_join(t, &result), thrd_success);
    CHECK_EQ(result, thrd_error); /* glibc: EDEADLK underneath */
}

static int wait_for_flag(void *arg)
{
    await_at_least(arg, 1);
    set(arg, 2);
    return 0;
}

TEST(detach)
{
    static int flag;
    thrd_t t;

    CHECK_EQ(thrd_create(&t, wait_for_flag, &flag), thrd_success);
    CHECK_EQ(thrd_detach(t), thrd_success);
    CHECK_EQ(thrd_join(t, NULL), thrd_error); /* glibc: EINVAL underneath */
    set(&flag, 1);
    await_at_least(&flag, 2);
}

TEST(sleep_and_yield)
{
    int64_t start = now_ns(CLOCK_MONOTONIC);
    struct timespec ts = {0, 20 * NS_PER_MS}, bad = {0, 1000000000};

    CHECK_EQ(thrd_sleep(&ts, NULL), 0); /* C11 7.26.5.7 */
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 20 * NS_PER_MS);
    CHECK(thrd_sleep(&bad, NULL) < -1); /* glibc: -2 for an error that is no signal */
    thrd_yield();
    CHECK_EQ(timespec_get(&ts, TIME_UTC), TIME_UTC);
}

struct try_it {
    mtx_t *m;
    int result;
};

static int try_elsewhere(void *arg)
{
    struct try_it *t = arg;

    t->result = mtx_trylock(t->m);
    if (t->result == thrd_success)
        CHECK_EQ(mtx_unlock(t->m), thrd_success);
    return 0;
}

static int elsewhere(mtx_t *m)
{
    struct try_it it = {m, -1};
    thrd_t t;

    CHECK_EQ(thrd_create(&t, try_elsewhere, &it), thrd_success);
    CHECK_EQ(thrd_join(t, NULL), thrd_success);
    return it.result;
}

TEST(mutexes)
{
    static const int types[] = {mtx_plain, mtx_timed, mtx_plain | mtx_recursive,
                                mtx_timed | mtx_recursive};
    mtx_t m;

    for (size_t i = 0; i < COUNT_OF(types); i++) {
        CHECK_EQ(mtx_init(&m, types[i]), thrd_success);
        CHECK_EQ(mtx_lock(&m), thrd_success);
        CHECK_EQ(elsewhere(&m), thrd_busy); /* C11 7.26.4.5 */
        if (types[i] & mtx_recursive) {
            CHECK_EQ(mtx_lock(&m), thrd_success);
            CHECK_EQ(mtx_trylock(&m), thrd_success);
            CHECK_EQ(mtx_unlock(&m), thrd_success);
            CHECK_EQ(mtx_unlock(&m), thrd_success);
            CHECK_EQ(elsewhere(&m), thrd_busy);
        } else {
            CHECK_EQ(mtx_trylock(&m), thrd_busy);
        }
        CHECK_EQ(mtx_unlock(&m), thrd_success);
        CHECK_EQ(elsewhere(&m), thrd_success);
        mtx_destroy(&m);
    }
    CHECK_EQ(mtx_init(&m, mtx_recursive), thrd_success);
    CHECK_EQ(mtx_unlock(&m), thrd_error); /* glibc: EPERM underneath */
    mtx_destroy(&m);
}

TEST(timed_mutex)
{
    struct timespec ts = {1, 0}, bad = {0, 1000000000};
    mtx_t m;

    CHECK_EQ(mtx_init(&m, mtx_timed), thrd_success);
    CHECK_EQ(mtx_timedlock(&m, &ts), thrd_success);
    CHECK_EQ(mtx_timedlock(&m, &ts), thrd_timedout); /* C11 7.26.4.4 */
    ts = in_ms(CLOCK_REALTIME, 20);
    CHECK_EQ(mtx_timedlock(&m, &ts), thrd_timedout);
    CHECK(now_ns(CLOCK_REALTIME) >= ts_ns(ts)); /* TIME_UTC based */
    CHECK_EQ(mtx_timedlock(&m, &bad), thrd_error);
    CHECK_EQ(mtx_unlock(&m), thrd_success);
    mtx_destroy(&m);
}

struct counter {
    mtx_t m;
    cnd_t c;
    int value, waiting, go;
};

static int count(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < 3000; i++) {
        CHECK_EQ(mtx_lock(&c->m), thrd_success);
        c->value++;
        if (i % 50 == 0)
            thrd_yield();
        CHECK_EQ(mtx_unlock(&c->m), thrd_success);
    }
    return 0;
}

TEST(exclusion)
{
    struct counter c = {.value = 0};
    thrd_t t[6];

    CHECK_EQ(mtx_init(&c.m, mtx_plain), thrd_success);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(thrd_create(&t[i], count, &c), thrd_success);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(thrd_join(t[i], NULL), thrd_success);
    CHECK_EQ(c.value, 6 * 3000);
    mtx_destroy(&c.m);
}

static int wait_on_cnd(void *arg)
{
    struct counter *c = arg;

    CHECK_EQ(mtx_lock(&c->m), thrd_success);
    c->waiting++;
    while (c->go == 0)
        CHECK_EQ(cnd_wait(&c->c, &c->m), thrd_success);
    c->go--;
    c->value++;
    CHECK_EQ(mtx_unlock(&c->m), thrd_success);
    return 0;
}

TEST(conditions)
{
    struct counter c = {.value = 0};
    struct timespec ts;
    thrd_t t[10];

    CHECK_EQ(mtx_init(&c.m, mtx_plain), thrd_success);
    CHECK_EQ(cnd_init(&c.c), thrd_success);
    CHECK_EQ(cnd_signal(&c.c), thrd_success);
    CHECK_EQ(mtx_lock(&c.m), thrd_success);
    ts = in_ms(CLOCK_REALTIME, 20);
    CHECK_EQ(cnd_timedwait(&c.c, &c.m, &ts), thrd_timedout); /* C11 7.26.3.5 */
    CHECK(now_ns(CLOCK_REALTIME) >= ts_ns(ts));
    CHECK_EQ(mtx_unlock(&c.m), thrd_success);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(thrd_create(&t[i], wait_on_cnd, &c), thrd_success);
    for (int waiting = 0; waiting < (int)COUNT_OF(t);) {
        thrd_yield();
        CHECK_EQ(mtx_lock(&c.m), thrd_success);
        waiting = c.waiting;
        CHECK_EQ(mtx_unlock(&c.m), thrd_success);
    }
    CHECK_EQ(mtx_lock(&c.m), thrd_success);
    c.go = 1;
    CHECK_EQ(cnd_signal(&c.c), thrd_success);
    while (c.value == 0) {
        CHECK_EQ(mtx_unlock(&c.m), thrd_success);
        sleep_ms(1);
        CHECK_EQ(mtx_lock(&c.m), thrd_success);
    }
    c.go = COUNT_OF(t) - 1;
    CHECK_EQ(cnd_broadcast(&c.c), thrd_success);
    CHECK_EQ(mtx_unlock(&c.m), thrd_success);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(thrd_join(t[i], NULL), thrd_success);
    CHECK_EQ(c.value, COUNT_OF(t));
    cnd_destroy(&c.c);
    mtx_destroy(&c.m);
}

static tss_t key;
static int destroyed;

static void drop(void *value)
{
    add(value, 1);
}

static int use_tss(void *arg)
{
    CHECK(tss_get(key) == NULL);
    CHECK_EQ(tss_set(key, arg), thrd_success);
    CHECK(tss_get(key) == arg);
    if (get(&destroyed) % 2)
        thrd_exit(0);
    return 0;
}

TEST(specific_storage)
{
    CHECK_EQ(TSS_DTOR_ITERATIONS, 4);
    CHECK_EQ(tss_create(&key, drop), thrd_success);
    for (int i = 0; i < 10; i++) {
        thrd_t t;

        CHECK_EQ(thrd_create(&t, use_tss, &destroyed), thrd_success);
        CHECK_EQ(thrd_join(t, NULL), thrd_success);
        CHECK_EQ(destroyed, i + 1); /* C11 7.26.6.1 */
    }
    CHECK(tss_get(key) == NULL);
    tss_delete(key);
}

static once_flag flag = ONCE_FLAG_INIT;
static int once_calls;

static void once_function(void)
{
    sleep_ms(5);
    add(&once_calls, 1);
}

static int call_it(void *arg)
{
    (void)arg;
    call_once(&flag, once_function);
    CHECK_EQ(get(&once_calls), 1); /* C11 7.26.2.1: completed for every caller */
    return 0;
}

TEST(once)
{
    thrd_t t[16];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(thrd_create(&t[i], call_it, NULL), thrd_success);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(thrd_join(t[i], NULL), thrd_success);
    CHECK_EQ(once_calls, 1);
}
