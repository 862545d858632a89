/* pshared_cond.c - a process-shared condition variable with a mutex that is not (XSH
 * pthread_cond_wait only asks that all concurrent waits use one mutex), of every type, while
 * other threads lock the mutex at the same time. */
#include "conform.h"

static pthread_cond_t c;
static pthread_mutex_t m;
static int turn, rounds, inside, stop, errors;
static long guarded; /* under m */

static void make(int type)
{
    pthread_condattr_t ca;
    pthread_mutexattr_t ma;
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_cond_init(&c, &ca), 0);
    pthread_mutexattr_init(&ma);
    pthread_mutexattr_settype(&ma, type);
    CHECK_EQ(pthread_mutex_init(&m, &ma), 0);
    turn = rounds = inside = stop = errors = 0;
    guarded = 0;
}

static void enter(void)
{
    if (add(&inside, 1) != 1)
        add(&errors, 1);
    guarded++;
    add(&inside, -1);
}

static void *locker(void *arg)
{
    long *n = arg;
    for (; !get(&stop); ++*n) {
        if (*n % 3 == 0 && pthread_mutex_trylock(&m) != 0)
            continue;
        if (*n % 3 != 0 && pthread_mutex_lock(&m) != 0)
            add(&errors, 1);
        enter();
        if (pthread_mutex_unlock(&m) != 0)
            add(&errors, 1);
        if (*n % 16 == 0)
            sched_yield();
    }
    return NULL;
}

enum { PLAYERS = 3, ROUNDS = 200 };

/* In turns, by broadcast. */
static void *player(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(pthread_mutex_lock(&m), 0);
        while (turn != me)
            CHECK_EQ(pthread_cond_wait(&c, &m), 0);
        enter();
        turn = (turn + 1) % PLAYERS;
        rounds++;
        CHECK_EQ(pthread_cond_broadcast(&c), 0);
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
    }
    return NULL;
}

static void play(int type)
{
    pthread_t l[3], p[PLAYERS];
    long n[COUNT_OF(l)] = {0};
    make(type);
    for (size_t i = 0; i < COUNT_OF(l); i++)
        l[i] = spawn(locker, &n[i]);
    sleep_ms(1); /* the mutex has been fought for before the first wait */
    for (int i = 0; i < PLAYERS; i++)
        p[i] = spawn(player, (void *)(intptr_t)i);
    for (int i = 0; i < PLAYERS; i++)
        join(p[i]);
    set(&stop, 1);
    for (size_t i = 0; i < COUNT_OF(l); i++)
        join(l[i]);
    CHECK_EQ(rounds, PLAYERS * ROUNDS);
    CHECK_EQ(errors, 0);
    CHECK_EQ(pthread_mutex_trylock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_cond_destroy(&c), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

TEST(normal)
{
    play(PTHREAD_MUTEX_NORMAL);
}

TEST(errorcheck)
{
    play(PTHREAD_MUTEX_ERRORCHECK);
}

TEST(recursive)
{
    play(PTHREAD_MUTEX_RECURSIVE);
}

TEST(adaptive)
{
    play(PTHREAD_MUTEX_ADAPTIVE_NP);
}

/* Threads that sleep on the mutex when it meets the condition for the first time. */
static void *sleep_on_mutex(void *arg)
{
    add(arg, 1);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    enter();
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    return NULL;
}

TEST(waiters_of_the_mutex_are_not_lost)
{
    for (int i = 0; i < 20; i++) {
        pthread_t t[5];
        int ready = 0;
        make(i % 2 ? PTHREAD_MUTEX_NORMAL : PTHREAD_MUTEX_RECURSIVE);
        CHECK_EQ(pthread_mutex_lock(&m), 0);
        for (size_t k = 0; k < COUNT_OF(t); k++)
            t[k] = spawn(sleep_on_mutex, &ready);
        await_at_least(&ready, COUNT_OF(t));
        sleep_ms(2);
        struct timespec ts = in_ms(CLOCK_REALTIME, 5);
        CHECK_WAIT_TIMES_OUT(pthread_cond_timedwait(&c, &m, &ts), CLOCK_REALTIME, ts);
        enter();
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
        for (size_t k = 0; k < COUNT_OF(t); k++)
            join(t[k]);
        CHECK_EQ(guarded, 1 + (long)COUNT_OF(t));
    }
}

static void unlock(void *arg)
{
    add(arg, pthread_mutex_unlock(&m) == 0);
}

static void *wait_for_ever(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    pthread_cleanup_push(unlock, arg);
    set(&turn, 1);
    for (;;)
        pthread_cond_wait(&c, &m);
    pthread_cleanup_pop(1);
    return NULL;
}

TEST(cancelled)
{
    for (int i = 0; i < 20; i++) {
        int held = 0;
        make(i % 2 ? PTHREAD_MUTEX_NORMAL : PTHREAD_MUTEX_ERRORCHECK);
        pthread_t t = spawn(wait_for_ever, &held);
        await_at_least(&turn, 1);
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK_EQ(held, 1);
        CHECK_EQ(pthread_mutex_trylock(&m), 0);
    }
}
