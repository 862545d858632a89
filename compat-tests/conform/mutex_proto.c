/* mutex_proto.c - priority inheritance and priority ceilings.
 *
 * Ceilings need real-time threads: where the right to be one is missing, the tests accept
 * EPERM and leave that part out. */
#include "conform.h"

static void init_pi(pthread_mutex_t *m, int type, int robust)
{
    pthread_mutexattr_t attr;

    CHECK_EQ(pthread_mutexattr_init(&attr), 0);
    CHECK_EQ(pthread_mutexattr_settype(&attr, type), 0);
    CHECK_EQ(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT), 0);
    CHECK_EQ(pthread_mutexattr_setrobust(&attr, robust), 0);
    CHECK_EQ(pthread_mutex_init(m, &attr), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&attr), 0);
}

static void *try_it(void *arg)
{
    int rc = pthread_mutex_trylock(arg);

    if (rc == 0)
        CHECK_EQ(pthread_mutex_unlock(arg), 0);
    return (void *)(intptr_t)rc;
}

static void *timed_try(void *arg)
{
    struct timespec ts = in_ms(CLOCK_REALTIME, 20);
    int rc = pthread_mutex_timedlock(arg, &ts);

    if (rc == ETIMEDOUT)
        CHECK(now_ns(CLOCK_REALTIME) >= ts_ns(ts));
    return (void *)(intptr_t)rc;
}

TEST(inherit_basics)
{
    pthread_mutex_t m;

    init_pi(&m, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ((intptr_t)join(spawn(try_it, &m)), EBUSY);
    CHECK_EQ((intptr_t)join(spawn(timed_try, &m)), ETIMEDOUT);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ((intptr_t)join(spawn(try_it, &m)), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);

    init_pi(&m, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
    CHECK_EQ(pthread_mutex_unlock(&m), EPERM);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_lock(&m), EDEADLK);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);

    init_pi(&m, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ((intptr_t)join(spawn(try_it, &m)), EBUSY);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ((intptr_t)join(spawn(try_it, &m)), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

struct counter {
    pthread_mutex_t m;
    pthread_cond_t c;
    int inside, go, arrived;
    long total;
};

static void *count(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < 500; i++) {
        CHECK_EQ(pthread_mutex_lock(&c->m), 0);
        CHECK_EQ(add(&c->inside, 1), 1);
        c->total++;
        if (i % 20 == 0)
            sched_yield();
        if (i % 100 == 0)
            sleep_ms(1); /* held while this thread is off its processor */
        add(&c->inside, -1);
        CHECK_EQ(pthread_mutex_unlock(&c->m), 0);
    }
    return NULL;
}

TEST(inherit_contended)
{
    static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
                                PTHREAD_MUTEX_ERRORCHECK};
    pthread_t t[8];

    for (size_t k = 0; k < COUNT_OF(types); k++) {
        struct counter c = {.total = 0};

        init_pi(&c.m, types[k], PTHREAD_MUTEX_STALLED);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(count, &c);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
        CHECK_EQ(c.total, 8 * 500);
        CHECK_EQ(pthread_mutex_destroy(&c.m), 0);
    }
}

static void *wait_with_pi(void *arg)
{
    struct counter *c = arg;

    CHECK_EQ(pthread_mutex_lock(&c->m), 0);
    c->arrived++;
    while (!c->go)
        CHECK_EQ(pthread_cond_wait(&c->c, &c->m), 0);
    c->total++;
    CHECK_EQ(pthread_mutex_unlock(&c->m), 0);
    return NULL;
}

TEST(inherit_with_condition)
{
    struct counter c = {.c = PTHREAD_COND_INITIALIZER};
    pthread_t t[10];
    int arrived = 0;

    init_pi(&c.m, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(wait_with_pi, &c);
    while (arrived < (int)COUNT_OF(t)) {
        sleep_ms(1);
        CHECK_EQ(pthread_mutex_lock(&c.m), 0);
        arrived = c.arrived;
        CHECK_EQ(pthread_mutex_unlock(&c.m), 0);
    }
    CHECK_EQ(pthread_mutex_lock(&c.m), 0);
    c.go = 1;
    CHECK_EQ(pthread_cond_broadcast(&c.c), 0);
    CHECK_EQ(pthread_mutex_unlock(&c.m), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(c.total, COUNT_OF(t));
}

static void *lock_and_end(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(arg), 0);
    return NULL;
}

TEST(inherit_and_robust)
{
    pthread_mutex_t m;

    init_pi(&m, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
    join(spawn(lock_and_end, &m));
    CHECK_EQ(pthread_mutex_lock(&m), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ((intptr_t)join(spawn(try_it, &m)), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

/* As a real-time thread below the ceiling, where the system lets us be one. */
static void *use_ceiling(void *arg)
{
    struct sched_param param = {.sched_priority = 1};
    pthread_mutex_t *m = arg;
    int policy = -1, old = -1, rc;

    rc = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
    CHECK(rc == 0 || rc == EPERM);
    if (rc != 0)
        return NULL;
    CHECK_EQ(pthread_mutex_lock(m), 0);
    CHECK_EQ(pthread_mutex_trylock(m), EBUSY);
    CHECK_EQ(pthread_getschedparam(pthread_self(), &policy, &param), 0);
    CHECK_EQ(policy, SCHED_FIFO);
    CHECK_EQ(param.sched_priority, 1); /* glibc: reports the thread's own priority */
    CHECK_EQ(pthread_mutex_unlock(m), 0);
    CHECK_EQ(pthread_mutex_setprioceiling(m, 11, &old), 0);
    CHECK_EQ(old, 9); /* POSIX: the old one */
    CHECK_EQ(pthread_mutex_getprioceiling(m, &old), 0);
    CHECK_EQ(old, 11);
    param.sched_priority = 50;
    CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_FIFO, &param), 0);
    CHECK_EQ(pthread_mutex_lock(m), EINVAL); /* POSIX: above the ceiling */
    return NULL;
}

TEST(ceiling)
{
    pthread_mutexattr_t attr;
    pthread_mutex_t m, plain = PTHREAD_MUTEX_INITIALIZER;
    int value = -1;

    CHECK_EQ(pthread_mutex_getprioceiling(&plain, &value),
             EINVAL); /* POSIX: not PROTECT */
    CHECK_EQ(pthread_mutex_setprioceiling(&plain, 5, &value), EINVAL);
    CHECK_EQ(pthread_mutexattr_init(&attr), 0);
    CHECK_EQ(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_PROTECT), 0);
    CHECK_EQ(pthread_mutexattr_setprioceiling(&attr, 9), 0);
    CHECK_EQ(pthread_mutex_init(&m, &attr), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&attr), 0);
    CHECK_EQ(pthread_mutex_getprioceiling(&m, &value), 0);
    CHECK_EQ(value, 9);
    /* glibc: keeps the policy when it raises the priority, so SCHED_OTHER cannot lock. */
    CHECK_EQ(pthread_mutex_lock(&m), EINVAL);
    join(spawn(use_ceiling, &m));
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}
