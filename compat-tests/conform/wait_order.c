/* wait_order.c - who of several waiters is served first: the higher real-time priority, and
 * among equals who has waited longest (POSIX: the scheduling policy decides).
 *
 * Without the right to set real-time priorities a test ends at its first thread.
 */
#include "conform.h"

#include <semaphore.h>

enum { N = 5 };

/* In the order in which they begin to wait; and as the how-manieth each is served. */
static const int priorities[N] = {5, 20, 10, 20, 1};
static const int places[N] = {4, 1, 3, 2, 5};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static int waiting, served, place[N];

static void *for_mutex(void *arg)
{
    add(&waiting, 1);
    CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    *(int *)arg = add(&served, 1);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    return NULL;
}

static void *for_cond(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    add(&waiting, 1);
    CHECK_EQ(pthread_cond_wait(&cond, &mutex), 0);
    *(int *)arg = add(&served, 1);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    return NULL;
}

static void *for_sem(void *arg)
{
    add(&waiting, 1);
    CHECK_EQ(sem_wait(&sem), 0);
    *(int *)arg = add(&served, 1);
    return NULL;
}

/* 0, or EPERM */
static int start(pthread_t *t, int i, void *(*fn)(void *))
{
    struct sched_param param = {.sched_priority = priorities[i]};
    pthread_attr_t attr;
    int err;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED), 0);
    CHECK_EQ(pthread_attr_setschedpolicy(&attr, SCHED_FIFO), 0);
    CHECK_EQ(pthread_attr_setschedparam(&attr, &param), 0);
    err = pthread_create(t, &attr, fn, &place[i]);
    CHECK(err == 0 || err == EPERM);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    return err;
}

/* All wait, in order.  False: not allowed. */
static bool all_wait(pthread_t *t, void *(*fn)(void *))
{
    waiting = served = 0;
    for (int i = 0; i < N; i++) {
        if (start(&t[i], i, fn) != 0)
            return false;
        await_at_least(&waiting, i + 1);
        sleep_ms(30); /* a real-time thread is then really asleep */
    }
    return true;
}

static void in_order(const pthread_t *t)
{
    for (int i = 0; i < N; i++) {
        join(t[i]);
        CHECK_EQ(place[i], places[i]);
    }
}

TEST(mutex_goes_to_the_highest_priority)
{
    pthread_t t[N];

    CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    bool all = all_wait(t, for_mutex);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    if (all)
        in_order(t);
}

TEST(signal_wakes_the_highest_priority)
{
    pthread_t t[N];

    if (!all_wait(t, for_cond))
        return;
    for (int i = 0; i < N; i++) {
        CHECK_EQ(pthread_cond_signal(&cond), 0);
        await_at_least(&served, i + 1);
    }
    in_order(t);
}

TEST(post_wakes_the_highest_priority)
{
    pthread_t t[N];

    CHECK_EQ(sem_init(&sem, 0, 0), 0);
    if (!all_wait(t, for_sem))
        return;
    for (int i = 0; i < N; i++) {
        CHECK_EQ(sem_post(&sem), 0);
        await_at_least(&served, i + 1);
    }
    in_order(t);
}
