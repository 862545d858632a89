/* tsd.c - thread-specific data. */
#include "conform.h"

#include <limits.h>

static pthread_key_t key;
static int destroyed;

static void count_destroyed(void *value)
{
    add(&destroyed, 1);
    (void)value;
}

static void *fresh_is_null(void *arg)
{
    (void)arg;
    CHECK(pthread_getspecific(key) == NULL); /* POSIX key_create: NULL in every thread */
    CHECK_EQ(pthread_setspecific(key, &key), 0);
    CHECK(pthread_getspecific(key) == &key);
    return NULL;
}

TEST(values_are_per_thread)
{
    pthread_t t[50];
    int mine;

    set(&destroyed, 0);
    CHECK_EQ(pthread_key_create(&key, count_destroyed), 0);
    CHECK(pthread_getspecific(key) == NULL);
    CHECK_EQ(pthread_setspecific(key, &mine), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(fresh_is_null, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK(pthread_getspecific(key) == &mine);
    CHECK_EQ(destroyed, COUNT_OF(t)); /* POSIX: once for each non-NULL value */
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(spawn(fresh_is_null, NULL)); /* also in threads that reuse a stack */
    CHECK_EQ(pthread_key_delete(key), 0);
    CHECK_EQ(destroyed, 2 * COUNT_OF(t)); /* POSIX key_delete: calls no destructor */
}

TEST(key_limit)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX + 1];
    int n = 0, rc = 0;

    CHECK_EQ(PTHREAD_KEYS_MAX, 1024);
    CHECK_EQ(sysconf(_SC_THREAD_KEYS_MAX), 1024);
    for (n = 0; n <= PTHREAD_KEYS_MAX; n++) {
        rc = pthread_key_create(&keys[n], NULL);
        if (rc != 0)
            break;
    }
    CHECK_EQ(rc, EAGAIN); /* POSIX key_create */
    /* All but what the C library itself took (one at most, in practice none). */
    CHECK(n >= PTHREAD_KEYS_MAX - 1);
    for (int i = 0; i < n; i++) {
        CHECK(pthread_getspecific(keys[i]) == NULL);
        CHECK_EQ(pthread_setspecific(keys[i], &keys[i]), 0);
    }
    for (int i = 0; i < n; i++)
        CHECK(pthread_getspecific(keys[i]) == &keys[i]);
    CHECK_EQ(pthread_key_delete(keys[n / 2]), 0);
    CHECK_EQ(pthread_key_create(&keys[n / 2], NULL), 0); /* a deleted one is free again */
    CHECK(pthread_getspecific(keys[n / 2]) == NULL);     /* POSIX: and NULL again */
    for (int i = 0; i < n; i++)
        CHECK_EQ(pthread_key_delete(keys[i]), 0);
}

TEST(invalid_keys)
{
    pthread_key_t k;
    int x;

    CHECK_EQ(pthread_key_create(&k, NULL), 0);
    CHECK_EQ(pthread_setspecific(k, &x), 0);
    CHECK_EQ(pthread_key_delete(k), 0);
    CHECK_EQ(pthread_key_delete(k), EINVAL); /* POSIX.1-2001, glibc */
    CHECK_EQ(pthread_setspecific(k, &k), EINVAL);
    CHECK(pthread_getspecific(k) == NULL); /* glibc: a deleted key reads as NULL */
    CHECK_EQ(pthread_setspecific(PTHREAD_KEYS_MAX, &k), EINVAL);
    CHECK_EQ(pthread_key_delete(PTHREAD_KEYS_MAX), EINVAL);
    CHECK(pthread_getspecific(PTHREAD_KEYS_MAX) == NULL); /* glibc */
}

static int rounds;

static void set_again(void *value)
{
    CHECK(value == &rounds);
    CHECK(pthread_getspecific(key) == NULL); /* POSIX: set to NULL before the call */
    add(&rounds, 1);
    CHECK_EQ(pthread_setspecific(key, value), 0);
}

static void *leave_value(void *arg)
{
    CHECK_EQ(pthread_setspecific(key, arg), 0);
    return NULL;
}

TEST(destructor_iterations)
{
    set(&rounds, 0);
    CHECK_EQ(pthread_key_create(&key, set_again), 0);
    join(spawn(leave_value, &rounds));
    CHECK_EQ(rounds,
             PTHREAD_DESTRUCTOR_ITERATIONS); /* POSIX: glibc stops exactly there */
    CHECK_EQ(sysconf(_SC_THREAD_DESTRUCTOR_ITERATIONS), PTHREAD_DESTRUCTOR_ITERATIONS);
    CHECK_EQ(pthread_key_delete(key), 0);
}

/* A destructor that sets a value under another key, as libraries do that log on exit. */
static pthread_key_t other;

static void set_other(void *value)
{
    CHECK_EQ(pthread_setspecific(other, value), 0);
}

TEST(set_in_a_destructor)
{
    set(&destroyed, 0);
    CHECK_EQ(pthread_key_create(&other, count_destroyed), 0);
    CHECK_EQ(pthread_key_create(&key, set_other), 0);
    for (int i = 0; i < 10; i++)
        join(spawn(leave_value, &rounds));
    CHECK_EQ(destroyed, 10); /* POSIX: iterates while values are left */
    CHECK_EQ(pthread_key_delete(key), 0);
    CHECK_EQ(pthread_key_delete(other), 0);
    /* The other way round: the later key runs first, and it sets the earlier one. */
    set(&destroyed, 0);
    CHECK_EQ(pthread_key_create(&key, set_other), 0);
    CHECK_EQ(pthread_key_create(&other, count_destroyed), 0);
    join(spawn(leave_value, &rounds));
    CHECK_EQ(destroyed, 1);
    CHECK_EQ(pthread_key_delete(key), 0);
    CHECK_EQ(pthread_key_delete(other), 0);
}

static void *exit_with_value(void *arg)
{
    CHECK_EQ(pthread_setspecific(key, arg), 0);
    pthread_exit(NULL);
}

static void *clear_value(void *arg)
{
    CHECK_EQ(pthread_setspecific(key, arg), 0);
    CHECK_EQ(pthread_setspecific(key, NULL), 0);
    return NULL;
}

TEST(when_destructors_run)
{
    set(&destroyed, 0);
    CHECK_EQ(pthread_key_create(&key, count_destroyed), 0);
    join(spawn(exit_with_value, &key));
    CHECK_EQ(destroyed, 1); /* POSIX: at pthread_exit as well */
    join(spawn(clear_value, &key));
    CHECK_EQ(destroyed, 1); /* POSIX: not for NULL */
    CHECK_EQ(pthread_key_delete(key), 0);
    CHECK_EQ(pthread_key_create(&key, NULL), 0);
    join(spawn(leave_value, &key)); /* POSIX: no destructor, nothing called */
    CHECK_EQ(pthread_key_delete(key), 0);
}

struct held_value {
    int set, go;
};

static void *hold_deleted(void *arg)
{
    struct held_value *h = arg;

    CHECK_EQ(pthread_setspecific(key, h), 0);
    set(&h->set, 1);
    await_at_least(&h->go, 1);
    return NULL;
}

TEST(delete_while_values_exist)
{
    struct held_value h = {0, 0};
    pthread_t t;
    pthread_key_t again;

    set(&destroyed, 0);
    CHECK_EQ(pthread_key_create(&key, count_destroyed), 0);
    t = spawn(hold_deleted, &h);
    await_at_least(&h.set, 1);
    CHECK_EQ(pthread_key_delete(key), 0);
    CHECK_EQ(pthread_key_create(&again, count_destroyed), 0); /* likely the same number */
    set(&h.go, 1);
    join(t);
    CHECK_EQ(destroyed, 0); /* glibc: the old value does not belong to the new key */
    CHECK_EQ(pthread_key_delete(again), 0);
}

/* Destructors are ordinary code of the thread: they may block and create threads. */
static pthread_mutex_t in_destructor = PTHREAD_MUTEX_INITIALIZER;
static pthread_t seen_self;

static void *nothing(void *arg)
{
    return arg;
}

static void busy_destructor(void *value)
{
    CHECK(pthread_equal(pthread_self(), *(pthread_t *)value));
    CHECK_EQ(pthread_mutex_lock(&in_destructor), 0);
    CHECK(join(spawn(nothing, value)) == value);
    sleep_ms(1);
    CHECK_EQ(pthread_mutex_unlock(&in_destructor), 0);
    seen_self = pthread_self();
    add(&destroyed, 1);
}

static void *with_busy_destructor(void *arg)
{
    pthread_t *me = arg;

    *me = pthread_self();
    CHECK_EQ(pthread_setspecific(key, me), 0);
    return NULL;
}

TEST(destructors_may_block)
{
    pthread_t t[8], ids[8];

    set(&destroyed, 0);
    CHECK_EQ(pthread_key_create(&key, busy_destructor), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(with_busy_destructor, &ids[i]);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(destroyed, COUNT_OF(t)); /* POSIX join: returns after the destructors */
    CHECK_EQ(pthread_key_delete(key), 0);
}

static pthread_key_t plenty[200];

static void *use_plenty(void *arg)
{
    (void)arg;
    /* Beyond the first block of 32, which glibc keeps in the thread descriptor. */
    for (size_t i = 0; i < COUNT_OF(plenty); i++) {
        CHECK(pthread_getspecific(plenty[i]) == NULL);
        CHECK_EQ(pthread_setspecific(plenty[i], (void *)(i + 1)), 0);
    }
    sched_yield();
    for (size_t i = 0; i < COUNT_OF(plenty); i++)
        CHECK_EQ((uintptr_t)pthread_getspecific(plenty[i]), i + 1);
    return NULL;
}

TEST(many_keys_many_threads)
{
    pthread_t t[20];

    set(&destroyed, 0);
    for (size_t i = 0; i < COUNT_OF(plenty); i++)
        CHECK_EQ(pthread_key_create(&plenty[i], count_destroyed), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(use_plenty, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(destroyed, COUNT_OF(t) * COUNT_OF(plenty));
    for (size_t i = 0; i < COUNT_OF(plenty); i++)
        CHECK_EQ(pthread_key_delete(plenty[i]), 0);
}
