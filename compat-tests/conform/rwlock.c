/* rwlock.c - read-write locks: both preferences, errors, timed variants. */
#include "conform.h"

enum { TRY_READ, TRY_WRITE, TIMED_READ, TIMED_WRITE };

struct op {
    pthread_rwlock_t *rw;
    int what;
    int result;
};

static void *run_op(void *arg)
{
    struct op *op = arg;
    struct timespec ts = in_ms(CLOCK_REALTIME, 5);

    switch (op->what) {
    case TRY_READ:
        op->result = pthread_rwlock_tryrdlock(op->rw);
        break;
    case TRY_WRITE:
        op->result = pthread_rwlock_trywrlock(op->rw);
        break;
    case TIMED_READ:
        op->result = pthread_rwlock_timedrdlock(op->rw, &ts);
        break;
    default:
        op->result = pthread_rwlock_timedwrlock(op->rw, &ts);
        break;
    }
    if (op->result == 0)
        CHECK_EQ(pthread_rwlock_unlock(op->rw), 0);
    return NULL;
}

/* What another thread gets (it unlocks again what it got). */
static int elsewhere(pthread_rwlock_t *rw, int what)
{
    struct op op = {rw, what, -1};

    join(spawn(run_op, &op));
    return op.result;
}

static const int kinds[] = {PTHREAD_RWLOCK_PREFER_READER_NP,
                            PTHREAD_RWLOCK_PREFER_WRITER_NP,
                            PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP};

static void init_kind(pthread_rwlock_t *rw, int kind)
{
    pthread_rwlockattr_t attr;
    int value = -1;

    CHECK_EQ(pthread_rwlockattr_init(&attr), 0);
    CHECK_EQ(pthread_rwlockattr_setkind_np(&attr, kind), 0);
    CHECK_EQ(pthread_rwlockattr_getkind_np(&attr, &value), 0);
    CHECK_EQ(value, kind);
    CHECK_EQ(pthread_rwlock_init(rw, &attr), 0);
    CHECK_EQ(pthread_rwlockattr_destroy(&attr), 0);
}

TEST(static_initialisers)
{
    static pthread_rwlock_t all[] = {PTHREAD_RWLOCK_INITIALIZER,
                                     PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP};

    for (size_t i = 0; i < COUNT_OF(all); i++) {
        CHECK_EQ(pthread_rwlock_rdlock(&all[i]), 0);
        CHECK_EQ(elsewhere(&all[i], TRY_READ), 0);      /* POSIX: readers share */
        CHECK_EQ(elsewhere(&all[i], TRY_WRITE), EBUSY); /* POSIX trywrlock */
        CHECK_EQ(pthread_rwlock_unlock(&all[i]), 0);
        CHECK_EQ(pthread_rwlock_wrlock(&all[i]), 0);
        CHECK_EQ(elsewhere(&all[i], TRY_READ), EBUSY); /* POSIX tryrdlock */
        CHECK_EQ(elsewhere(&all[i], TRY_WRITE), EBUSY);
        CHECK_EQ(pthread_rwlock_unlock(&all[i]), 0);
        CHECK_EQ(pthread_rwlock_destroy(&all[i]), 0);
    }
}

TEST(errors)
{
    struct timespec ts = in_ms(CLOCK_REALTIME, 10000);
    pthread_rwlock_t rw;

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        init_kind(&rw, kinds[i]);
        CHECK_EQ(pthread_rwlock_wrlock(&rw), 0);
        CHECK_EQ(pthread_rwlock_wrlock(&rw), EDEADLK); /* POSIX: owns the write lock */
        CHECK_EQ(pthread_rwlock_rdlock(&rw), EDEADLK);
        CHECK_EQ(pthread_rwlock_timedwrlock(&rw, &ts), EDEADLK);
        CHECK_EQ(pthread_rwlock_timedrdlock(&rw, &ts), EDEADLK);
        CHECK_EQ(pthread_rwlock_clockwrlock(&rw, CLOCK_REALTIME, &ts), EDEADLK);
        CHECK_EQ(pthread_rwlock_clockrdlock(&rw, CLOCK_REALTIME, &ts), EDEADLK);
        CHECK_EQ(pthread_rwlock_trywrlock(&rw), EBUSY);
        CHECK_EQ(pthread_rwlock_tryrdlock(&rw), EBUSY);
        CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
        CHECK_EQ(pthread_rwlock_rdlock(&rw), 0);
        CHECK_EQ(pthread_rwlock_rdlock(&rw), 0); /* POSIX: several times by one thread */
        CHECK_EQ(pthread_rwlock_trywrlock(&rw), EBUSY);
        CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
        CHECK_EQ(elsewhere(&rw, TRY_WRITE), EBUSY);
        CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
        CHECK_EQ(elsewhere(&rw, TRY_WRITE), 0);
        CHECK_EQ(pthread_rwlock_destroy(&rw), 0);
    }
}

TEST(timed)
{
    struct timespec ts, past = {1, 0}, bad = {0, 1000000000}, negative = {-1, 0};
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;

    CHECK_EQ(pthread_rwlock_timedrdlock(&rw, &past), 0); /* POSIX: free, abstime unused */
    CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
    CHECK_EQ(pthread_rwlock_timedwrlock(&rw, &past), 0);
    CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
    /* glibc: nsec is checked first. */
    CHECK_EQ(pthread_rwlock_timedrdlock(&rw, &bad), EINVAL);
    CHECK_EQ(pthread_rwlock_timedwrlock(&rw, &bad), EINVAL);

    CHECK_EQ(pthread_rwlock_rdlock(&rw), 0);
    CHECK_EQ(elsewhere(&rw, TIMED_READ), 0);
    CHECK_EQ(elsewhere(&rw, TIMED_WRITE), ETIMEDOUT);
    ts = in_ms(CLOCK_REALTIME, 20);
    CHECK_TIMES_OUT(pthread_rwlock_timedwrlock(&rw, &ts), CLOCK_REALTIME, ts);
    CHECK_EQ(pthread_rwlock_timedwrlock(&rw, &past), ETIMEDOUT);
    CHECK_EQ(pthread_rwlock_timedwrlock(&rw, &negative), ETIMEDOUT);
    CHECK_EQ(elsewhere(&rw, TRY_READ), 0); /* the writer that gave up blocks nobody */
    CHECK_EQ(pthread_rwlock_unlock(&rw), 0);

    CHECK_EQ(pthread_rwlock_wrlock(&rw), 0);
    CHECK_EQ(elsewhere(&rw, TIMED_READ), ETIMEDOUT);
    CHECK_EQ(elsewhere(&rw, TIMED_WRITE), ETIMEDOUT);
    CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
    CHECK_EQ(elsewhere(&rw, TIMED_READ), 0); /* and the lock is as it was */
    CHECK_EQ(elsewhere(&rw, TIMED_WRITE), 0);
    CHECK_EQ(pthread_rwlock_destroy(&rw), 0);
}

TEST(clock_variants)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    struct timespec ts = in_ms(CLOCK_MONOTONIC, 10000);

    CHECK_EQ(pthread_rwlock_clockrdlock(&rw, CLOCK_PROCESS_CPUTIME_ID, &ts), EINVAL);
    CHECK_EQ(pthread_rwlock_clockwrlock(&rw, CLOCK_PROCESS_CPUTIME_ID, &ts), EINVAL);
    for (size_t i = 0; i < COUNT_OF(clocks); i++) {
        CHECK_EQ(pthread_rwlock_clockwrlock(&rw, clocks[i], &ts), 0);
        CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
        CHECK_EQ(pthread_rwlock_clockrdlock(&rw, clocks[i], &ts), 0);
        ts = in_ms(clocks[i], 20);
        CHECK_TIMES_OUT(pthread_rwlock_clockwrlock(&rw, clocks[i], &ts), clocks[i], ts);
        CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
    }
    CHECK_EQ(pthread_rwlock_destroy(&rw), 0);
}

struct meeting {
    pthread_rwlock_t rw;
    int arrived, inside;
    int release;
};

static void *holding_reader(void *arg)
{
    struct meeting *me = arg;

    CHECK_EQ(pthread_rwlock_rdlock(&me->rw), 0);
    add(&me->inside, 1);
    await_at_least(&me->release, 1);
    add(&me->inside, -1);
    CHECK_EQ(pthread_rwlock_unlock(&me->rw), 0);
    return NULL;
}

static void *one_writer(void *arg)
{
    struct meeting *me = arg;

    add(&me->arrived, 1);
    CHECK_EQ(pthread_rwlock_wrlock(&me->rw), 0);
    CHECK_EQ(get(&me->inside), 0);
    CHECK_EQ(pthread_rwlock_unlock(&me->rw), 0);
    return NULL;
}

TEST(many_readers_at_once)
{
    struct meeting me = {.rw = PTHREAD_RWLOCK_INITIALIZER};
    pthread_t t[100], w;

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(holding_reader, &me);
    await_at_least(&me.inside, COUNT_OF(t)); /* POSIX: all of them hold it together */
    w = spawn(one_writer, &me);
    settle();
    set(&me.release, 1);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    join(w);
    CHECK_EQ(pthread_rwlock_destroy(&me.rw), 0);
}

TEST(reader_preference)
{
    /* glibc: unless non-recursive writer preference is set, a thread may read-lock again
     * while a writer waits (PREFER_WRITER_NP is the same as PREFER_READER_NP). */
    for (int i = 0; i < 2; i++) {
        struct meeting me = {.arrived = 0};
        pthread_t w;

        init_kind(&me.rw, kinds[i]);
        CHECK_EQ(pthread_rwlock_rdlock(&me.rw), 0);
        add(&me.inside, 1);
        w = spawn(one_writer, &me);
        await_at_least(&me.arrived, 1);
        settle();
        CHECK_EQ(pthread_rwlock_rdlock(&me.rw), 0); /* would deadlock else */
        CHECK_EQ(elsewhere(&me.rw, TRY_READ), 0);
        CHECK_EQ(pthread_rwlock_unlock(&me.rw), 0);
        add(&me.inside, -1);
        CHECK_EQ(pthread_rwlock_unlock(&me.rw), 0);
        join(w);
        CHECK_EQ(pthread_rwlock_destroy(&me.rw), 0);
    }
}

TEST(writer_preference)
{
    /* glibc, PREFER_WRITER_NONRECURSIVE_NP: new readers wait behind a waiting writer. */
    struct meeting me = {.arrived = 0};
    pthread_t w;

    init_kind(&me.rw, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    CHECK_EQ(pthread_rwlock_rdlock(&me.rw), 0);
    add(&me.inside, 1);
    w = spawn(one_writer, &me);
    await_at_least(&me.arrived, 1);
    while (elsewhere(&me.rw, TRY_READ) == 0)
        sleep_ms(1); /* until the writer is seen to wait; never would be a hang */
    CHECK_EQ(elsewhere(&me.rw, TIMED_READ), ETIMEDOUT);
    add(&me.inside, -1);
    CHECK_EQ(pthread_rwlock_unlock(&me.rw), 0);
    join(w);
    CHECK_EQ(elsewhere(&me.rw, TRY_READ), 0);
    CHECK_EQ(pthread_rwlock_destroy(&me.rw), 0);
}

static void *timed_writer(void *arg)
{
    struct meeting *me = arg;
    struct timespec ts = in_ms(CLOCK_MONOTONIC, 60);

    CHECK_TIMES_OUT(pthread_rwlock_clockwrlock(&me->rw, CLOCK_MONOTONIC, &ts),
                    CLOCK_MONOTONIC, ts);
    return NULL;
}

static void *patient_reader(void *arg)
{
    struct meeting *me = arg;

    CHECK_EQ(pthread_rwlock_rdlock(&me->rw), 0);
    CHECK_EQ(pthread_rwlock_unlock(&me->rw), 0);
    return NULL;
}

TEST(readers_go_on_after_a_writer_gave_up)
{
    /* Readers that queued behind a waiting writer must not wait for the lock's holder any
     * more when that writer has timed out. */
    struct meeting me = {.arrived = 0};
    pthread_t w, r[5];

    init_kind(&me.rw, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    CHECK_EQ(pthread_rwlock_rdlock(&me.rw), 0);
    w = spawn(timed_writer, &me);
    settle();
    for (size_t i = 0; i < COUNT_OF(r); i++)
        r[i] = spawn(patient_reader, &me);
    join(w);
    for (size_t i = 0; i < COUNT_OF(r); i++)
        join(r[i]); /* while this thread still reads */
    CHECK_EQ(pthread_rwlock_unlock(&me.rw), 0);
    CHECK_EQ(pthread_rwlock_destroy(&me.rw), 0);
}

struct data {
    pthread_rwlock_t rw;
    long a, b;
    int writers, readers;
};

#define ROUNDS 1500

static void *mixed(void *arg)
{
    struct data *d = arg;
    unsigned seed = (unsigned)(uintptr_t)&seed;

    for (int i = 0; i < ROUNDS; i++) {
        if (rand_r(&seed) % 4 == 0) {
            CHECK_EQ(pthread_rwlock_wrlock(&d->rw), 0);
            CHECK_EQ(add(&d->writers, 1), 1);
            CHECK_EQ(get(&d->readers), 0); /* POSIX: a writer excludes everybody */
            d->a++;
            if (i % 16 == 0)
                sched_yield();
            d->b++;
            add(&d->writers, -1);
        } else {
            CHECK_EQ(pthread_rwlock_rdlock(&d->rw), 0);
            add(&d->readers, 1);
            CHECK_EQ(get(&d->writers), 0);
            CHECK_EQ(d->a, d->b);
            if (i % 16 == 0)
                sched_yield();
            add(&d->readers, -1);
        }
        CHECK_EQ(pthread_rwlock_unlock(&d->rw), 0);
    }
    return NULL;
}

TEST(exclusion)
{
    pthread_t t[8];

    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct data d = {.a = 0};

        init_kind(&d.rw, kinds[k]);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(mixed, &d);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
        CHECK_EQ(d.a, d.b);
        CHECK_EQ(pthread_rwlock_destroy(&d.rw), 0);
    }
}

TEST(attributes)
{
    pthread_rwlockattr_t attr;
    int value = -1;

    CHECK_EQ(pthread_rwlockattr_init(&attr), 0);
    CHECK_EQ(pthread_rwlockattr_getkind_np(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_RWLOCK_DEFAULT_NP);
    CHECK_EQ(pthread_rwlockattr_setkind_np(&attr, 3), EINVAL);
    CHECK_EQ(pthread_rwlockattr_setkind_np(&attr, -1), EINVAL);
    CHECK_EQ(pthread_rwlockattr_getpshared(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PROCESS_PRIVATE);
    CHECK_EQ(pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_rwlockattr_getpshared(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_rwlockattr_setpshared(&attr, 2), EINVAL);
    CHECK_EQ(pthread_rwlockattr_destroy(&attr), 0);
}

static void *owner_change(void *arg)
{
    pthread_rwlock_t *rw = arg;

    CHECK_EQ(pthread_rwlock_wrlock(rw), 0);
    CHECK_EQ(pthread_rwlock_wrlock(rw), EDEADLK);
    CHECK_EQ(pthread_rwlock_unlock(rw), 0);
    return NULL;
}

TEST(write_owner_is_the_thread)
{
    /* EDEADLK compares threads: one that never held it must wait instead. */
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    pthread_t t;

    CHECK_EQ(pthread_rwlock_wrlock(&rw), 0);
    t = spawn(owner_change, &rw);
    settle();
    CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
    join(t);
    CHECK_EQ(pthread_rwlock_wrlock(&rw), 0);
    CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
    CHECK_EQ(pthread_rwlock_destroy(&rw), 0);
}
