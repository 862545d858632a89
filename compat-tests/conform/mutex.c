/* mutex.c - kinds, errors and timed locks of private mutexes.
 *
 * Robust mutexes are in mutex_robust.c, protocols in mutex_proto.c, process-shared ones
 * in pshared.c. */
#include "conform.h"

enum { OP_LOCK, OP_TRYLOCK, OP_UNLOCK, OP_TIMEDLOCK };

struct op {
    pthread_mutex_t *m;
    int what;
    int result;
};

static const int kinds[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
                            PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP};

static void init_kind(pthread_mutex_t *m, int kind)
{
    pthread_mutexattr_t attr;

    CHECK_EQ(pthread_mutexattr_init(&attr), 0);
    CHECK_EQ(pthread_mutexattr_settype(&attr, kind), 0);
    CHECK_EQ(pthread_mutex_init(m, &attr), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&attr), 0);
}

static void *run_op(void *arg)
{
    struct op *op = arg;
    struct timespec ts = in_ms(CLOCK_REALTIME, 5);

    switch (op->what) {
    case OP_LOCK:
        op->result = pthread_mutex_lock(op->m);
        break;
    case OP_TRYLOCK:
        op->result = pthread_mutex_trylock(op->m);
        break;
    case OP_UNLOCK:
        op->result = pthread_mutex_unlock(op->m);
        break;
    default:
        op->result = pthread_mutex_timedlock(op->m, &ts);
        break;
    }
    return NULL;
}

/* What the operation returns to a thread that is not the owner. */
static int elsewhere(pthread_mutex_t *m, int what)
{
    struct op op = {m, what, -1};

    join(spawn(run_op, &op));
    return op.result;
}

TEST(static_initialisers)
{
    static pthread_mutex_t all[] = {
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
        PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP, PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP};

    for (size_t i = 0; i < COUNT_OF(all); i++) {
        CHECK_EQ(pthread_mutex_lock(&all[i]), 0); /* POSIX: usable without init */
        CHECK_EQ(elsewhere(&all[i], OP_TRYLOCK), EBUSY);
        CHECK_EQ(pthread_mutex_unlock(&all[i]), 0);
        CHECK_EQ(pthread_mutex_trylock(&all[i]), 0);
        CHECK_EQ(pthread_mutex_unlock(&all[i]), 0);
    }
    /* glibc: each *_NP initialiser selects the kind its name says. */
    CHECK_EQ(pthread_mutex_lock(&all[1]), 0);
    CHECK_EQ(pthread_mutex_lock(&all[1]), 0);
    CHECK_EQ(pthread_mutex_unlock(&all[1]), 0);
    CHECK_EQ(pthread_mutex_unlock(&all[1]), 0);
    CHECK_EQ(pthread_mutex_lock(&all[2]), 0);
    CHECK_EQ(pthread_mutex_lock(&all[2]), EDEADLK);
    CHECK_EQ(pthread_mutex_unlock(&all[2]), 0);
    for (size_t i = 0; i < COUNT_OF(all); i++)
        CHECK_EQ(pthread_mutex_destroy(&all[i]), 0);
}

TEST(normal)
{
    pthread_mutex_t m;
    struct timespec ts;

    init_kind(&m, PTHREAD_MUTEX_NORMAL);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_trylock(&m), EBUSY);       /* POSIX: also for the owner */
    CHECK_EQ(elsewhere(&m, OP_TRYLOCK), EBUSY);       /* POSIX trylock */
    CHECK_EQ(elsewhere(&m, OP_TIMEDLOCK), ETIMEDOUT); /* POSIX timedlock */
    ts = in_ms(CLOCK_REALTIME, 10);
    CHECK_TIMES_OUT(pthread_mutex_timedlock(&m, &ts), CLOCK_REALTIME, ts); /* deadlocks */
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

TEST(recursive)
{
    pthread_mutex_t m;
    struct timespec past = {0, 0};

    init_kind(&m, PTHREAD_MUTEX_RECURSIVE);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(pthread_mutex_lock(&m), 0); /* POSIX: relock by the owner counts */
    CHECK_EQ(pthread_mutex_trylock(&m), 0);
    CHECK_EQ(pthread_mutex_timedlock(&m, &past), 0); /* POSIX: no wait, no timeout */
    CHECK_EQ(elsewhere(&m, OP_UNLOCK), EPERM);       /* POSIX unlock: not the owner */
    for (int i = 0; i < 1001; i++)
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(elsewhere(&m, OP_TRYLOCK), EBUSY); /* one level is left */
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m),
             EPERM); /* POSIX unlock: unlocked recursive mutex */
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

TEST(errorcheck)
{
    pthread_mutex_t m;
    struct timespec ts = in_ms(CLOCK_REALTIME, 10000);

    init_kind(&m, PTHREAD_MUTEX_ERRORCHECK);
    CHECK_EQ(pthread_mutex_unlock(&m), EPERM); /* POSIX unlock: not locked */
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_lock(&m), EDEADLK);           /* POSIX lock */
    CHECK_EQ(pthread_mutex_timedlock(&m, &ts), EDEADLK); /* POSIX timedlock, at once */
    CHECK_EQ(pthread_mutex_clocklock(&m, CLOCK_REALTIME, &ts), EDEADLK);
    CHECK_EQ(pthread_mutex_trylock(&m), EBUSY); /* POSIX: trylock never says EDEADLK */
    CHECK_EQ(elsewhere(&m, OP_UNLOCK), EPERM);
    CHECK_EQ(elsewhere(&m, OP_TIMEDLOCK), ETIMEDOUT);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

TEST(adaptive)
{
    pthread_mutex_t m;
    struct timespec ts;

    init_kind(&m, PTHREAD_MUTEX_ADAPTIVE_NP);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_trylock(&m), EBUSY);
    CHECK_EQ(elsewhere(&m, OP_TIMEDLOCK), ETIMEDOUT);
    ts = in_ms(CLOCK_REALTIME, 10);
    CHECK_TIMES_OUT(pthread_mutex_timedlock(&m, &ts), CLOCK_REALTIME, ts);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

TEST(timedlock_arguments)
{
    struct timespec bad_low = {0, -1}, bad_high = {0, 1000000000}, past = {1, 0};
    struct timespec negative = {-5, 0};
    pthread_mutex_t m;

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        init_kind(&m, kinds[i]);
        /* POSIX: abstime need not be valid, nor in the future, if the mutex is free. */
        CHECK_EQ(pthread_mutex_timedlock(&m, &bad_high), 0);
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
        CHECK_EQ(pthread_mutex_timedlock(&m, &past), 0);
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
        CHECK_EQ(pthread_mutex_destroy(&m), 0);
    }
    init_kind(&m, PTHREAD_MUTEX_NORMAL);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_timedlock(&m, &bad_low), EINVAL); /* POSIX: would block */
    CHECK_EQ(pthread_mutex_timedlock(&m, &bad_high), EINVAL);
    CHECK_EQ(pthread_mutex_timedlock(&m, &past), ETIMEDOUT);
    CHECK_EQ(pthread_mutex_timedlock(&m, &negative),
             ETIMEDOUT); /* glibc: just the past */
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

TEST(clocklock)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    struct timespec ts = in_ms(CLOCK_MONOTONIC, 10000);
    struct timespec bad = {0, 1000000000};
    pthread_mutex_t m;

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        init_kind(&m, kinds[i]);
        /* glibc: the clock is checked even when the mutex is free. */
        CHECK_EQ(pthread_mutex_clocklock(&m, CLOCK_PROCESS_CPUTIME_ID, &ts), EINVAL);
        CHECK_EQ(pthread_mutex_clocklock(&m, 1000, &ts), EINVAL);
        CHECK_EQ(pthread_mutex_clocklock(&m, CLOCK_MONOTONIC, &ts), 0);
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
        CHECK_EQ(pthread_mutex_destroy(&m), 0);
    }
    init_kind(&m, PTHREAD_MUTEX_NORMAL);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    for (size_t i = 0; i < COUNT_OF(clocks); i++) {
        ts = in_ms(clocks[i], 20);
        CHECK_TIMES_OUT(pthread_mutex_clocklock(&m, clocks[i], &ts), clocks[i], ts);
        CHECK_EQ(pthread_mutex_clocklock(&m, clocks[i], &bad), EINVAL);
    }
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

static void *timed_locker(void *arg)
{
    pthread_mutex_t *m = arg;
    struct timespec ts = in_ms(CLOCK_MONOTONIC, 15000);

    CHECK_EQ(pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &ts), 0);
    CHECK_EQ(pthread_mutex_unlock(m), 0);
    return NULL;
}

TEST(timed_waiters_get_the_lock)
{
    pthread_mutex_t m;
    pthread_t t[4];

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        init_kind(&m, kinds[i]);
        CHECK_EQ(pthread_mutex_lock(&m), 0);
        for (size_t k = 0; k < COUNT_OF(t); k++)
            t[k] = spawn(timed_locker, &m);
        settle();
        CHECK_EQ(pthread_mutex_unlock(&m),
                 0); /* POSIX: waiters are served before abstime */
        for (size_t k = 0; k < COUNT_OF(t); k++)
            join(t[k]);
        CHECK_EQ(pthread_mutex_destroy(&m), 0);
    }
}

TEST(destroy)
{
    pthread_mutex_t m;

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        init_kind(&m, kinds[i]);
        CHECK_EQ(pthread_mutex_lock(&m), 0);
        CHECK_EQ(pthread_mutex_destroy(&m), EBUSY); /* glibc: locked */
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
        CHECK_EQ(pthread_mutex_destroy(&m), 0);
        CHECK_EQ(pthread_mutex_lock(&m), EINVAL); /* glibc: a destroyed one is marked */
        CHECK_EQ(pthread_mutex_trylock(&m), EINVAL);
    }
    CHECK_EQ(pthread_mutex_init(&m, NULL), 0); /* POSIX: may be initialised again */
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

/* An object with a mutex and a count of its users: whoever drops it last, destroys it. */
struct object {
    pthread_mutex_t m;
    int users;
};

static void *drop(void *arg)
{
    struct object *o = arg;
    bool last;

    CHECK_EQ(pthread_mutex_lock(&o->m), 0);
    last = --o->users == 0;
    CHECK_EQ(pthread_mutex_unlock(&o->m), 0);
    if (last) {
        CHECK_EQ(pthread_mutex_destroy(&o->m), 0);
        memset(o, 0xa5, sizeof(*o));
    }
    return NULL;
}

TEST(destroy_right_after_unlock)
{
    /* POSIX mutex_destroy, rationale: safe as soon as the mutex is unlocked, even if the
     * previous owner's unlock has not returned yet. */
    struct object o;
    pthread_t t[3];

    for (int round = 0; round < 300; round++) {
        init_kind(&o.m, kinds[round % (int)COUNT_OF(kinds)]);
        o.users = COUNT_OF(t) + 1;
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(drop, &o);
        drop(&o);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
    }
}

struct counter {
    pthread_mutex_t m;
    int inside;
    long total;
};

#define ROUNDS 4000

static void *count_up(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < ROUNDS; i++) {
        if (i % 3 == 0) {
            while (pthread_mutex_trylock(&c->m) != 0)
                sched_yield();
        } else {
            CHECK_EQ(pthread_mutex_lock(&c->m), 0);
        }
        CHECK_EQ(add(&c->inside, 1), 1);
        c->total++;
        if (i % 64 == 0)
            sched_yield(); /* the others meet a locked mutex, also on one processor */
        add(&c->inside, -1);
        CHECK_EQ(pthread_mutex_unlock(&c->m), 0);
    }
    return NULL;
}

TEST(mutual_exclusion)
{
    pthread_t t[8];

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct counter c = {.inside = 0, .total = 0};

        init_kind(&c.m, kinds[i]);
        for (size_t k = 0; k < COUNT_OF(t); k++)
            t[k] = spawn(count_up, &c);
        for (size_t k = 0; k < COUNT_OF(t); k++)
            join(t[k]);
        CHECK_EQ(c.total,
                 (long)COUNT_OF(t) * ROUNDS); /* POSIX: exclusion and visibility */
        CHECK_EQ(pthread_mutex_destroy(&c.m), 0);
    }
}

struct queue {
    pthread_mutex_t m;
    int arrived, passed;
};

static void *pass(void *arg)
{
    struct queue *q = arg;

    add(&q->arrived, 1);
    CHECK_EQ(pthread_mutex_lock(&q->m), 0);
    q->passed++;
    CHECK_EQ(pthread_mutex_unlock(&q->m), 0);
    return NULL;
}

TEST(every_waiter_is_served)
{
    struct queue q = {.m = PTHREAD_MUTEX_INITIALIZER, .arrived = 0, .passed = 0};
    pthread_t t[100];

    CHECK_EQ(pthread_mutex_lock(&q.m), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(pass, &q);
    await_at_least(&q.arrived, COUNT_OF(t));
    settle();
    CHECK_EQ(q.passed, 0);
    CHECK_EQ(pthread_mutex_unlock(&q.m), 0); /* POSIX: each unlock lets a waiter in */
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(q.passed, COUNT_OF(t));
}

TEST(attributes)
{
    pthread_mutexattr_t attr;
    int value = -1;

    CHECK_EQ(pthread_mutexattr_init(&attr), 0);
    CHECK_EQ(pthread_mutexattr_gettype(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_MUTEX_DEFAULT); /* POSIX: the default */
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        CHECK_EQ(pthread_mutexattr_settype(&attr, kinds[i]), 0);
        CHECK_EQ(pthread_mutexattr_gettype(&attr, &value), 0);
        CHECK_EQ(value, kinds[i]);
    }
    CHECK_EQ(pthread_mutexattr_settype(&attr, 4), EINVAL); /* POSIX settype */
    CHECK_EQ(pthread_mutexattr_settype(&attr, -1), EINVAL);

    CHECK_EQ(pthread_mutexattr_getpshared(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PROCESS_PRIVATE);
    CHECK_EQ(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_mutexattr_getpshared(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_mutexattr_setpshared(&attr, 2), EINVAL);

    CHECK_EQ(pthread_mutexattr_getprotocol(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PRIO_NONE);
    CHECK_EQ(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT), 0);
    CHECK_EQ(pthread_mutexattr_getprotocol(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PRIO_INHERIT);
    CHECK_EQ(pthread_mutexattr_setprotocol(&attr, 3), EINVAL);

    CHECK_EQ(pthread_mutexattr_getrobust(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_MUTEX_STALLED);
    CHECK_EQ(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
    CHECK_EQ(pthread_mutexattr_getrobust(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_MUTEX_ROBUST);
    CHECK_EQ(pthread_mutexattr_setrobust(&attr, 2), EINVAL);

    CHECK_EQ(pthread_mutexattr_setprioceiling(&attr, 0), EINVAL); /* glibc: FIFO range */
    CHECK_EQ(pthread_mutexattr_setprioceiling(&attr, 1000), EINVAL);
    CHECK_EQ(pthread_mutexattr_setprioceiling(&attr, 7), 0);
    CHECK_EQ(pthread_mutexattr_getprioceiling(&attr, &value), 0);
    CHECK_EQ(value, 7);
    /* The fields do not overwrite each other. */
    CHECK_EQ(pthread_mutexattr_gettype(&attr, &value), 0);
    CHECK_EQ(value, kinds[COUNT_OF(kinds) - 1]);
    CHECK_EQ(pthread_mutexattr_destroy(&attr), 0);
}

TEST(attributes_are_copied)
{
    pthread_mutexattr_t attr;
    pthread_mutex_t m;

    CHECK_EQ(pthread_mutexattr_init(&attr), 0);
    CHECK_EQ(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE), 0);
    CHECK_EQ(pthread_mutex_init(&m, &attr), 0);
    /* POSIX mutexattr: a change does not affect mutexes already initialised. */
    CHECK_EQ(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK), 0);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&attr), 0);
}

TEST(locks_before_any_thread)
{
    /* In a process that never made a thread: fast paths must not depend on a runtime. */
    CHECK_EXITS(run_mode("no_threads", NULL, 0), 0);
}

MODE(no_threads)
{
    static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    static pthread_mutex_t e = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
    struct timespec ts = in_ms(CLOCK_REALTIME, 10);

    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_trylock(&m), EBUSY);
    CHECK_TIMES_OUT(pthread_mutex_timedlock(&m, &ts), CLOCK_REALTIME, ts);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&e), EPERM);
    CHECK_EQ(pthread_mutex_lock(&e), 0);
    CHECK_EQ(pthread_mutex_lock(&e), EDEADLK);
    /* Held from before the first thread exists until after it: still the same owner. */
    CHECK_EQ(elsewhere(&e, OP_UNLOCK), EPERM);
    CHECK_EQ(elsewhere(&e, OP_TRYLOCK), EBUSY);
    CHECK_EQ(pthread_mutex_lock(&e), EDEADLK);
    CHECK_EQ(pthread_mutex_unlock(&e), 0);
    CHECK_EQ(elsewhere(&e, OP_TRYLOCK), 0);
    return get(&conform_failures) ? 1 : 0;
}
