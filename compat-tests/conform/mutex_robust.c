/* mutex_robust.c - robust mutexes: the owner ends, as a thread or as a process. */
#include "conform.h"

#define CASES 4 /* bit 0: process-shared attribute, bit 1: errorcheck */

static pthread_mutex_t *new_robust(int variant)
{
    pthread_mutex_t *m = shared_alloc(sizeof(*m));
    pthread_mutexattr_t attr;

    CHECK_EQ(pthread_mutexattr_init(&attr), 0);
    CHECK_EQ(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
    if (variant & 1)
        CHECK_EQ(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    if (variant & 2)
        CHECK_EQ(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK), 0);
    CHECK_EQ(pthread_mutex_init(m, &attr), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&attr), 0);
    return m;
}

static void drop_robust(pthread_mutex_t *m)
{
    CHECK_EQ(pthread_mutex_destroy(m), 0);
    munmap(m, sizeof(*m));
}

static void *lock_and_end(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(arg), 0);
    return NULL;
}

static void *try_it(void *arg)
{
    int rc = pthread_mutex_trylock(arg);

    if (rc == 0)
        CHECK_EQ(pthread_mutex_unlock(arg), 0);
    return (void *)(intptr_t)rc;
}

TEST(ordinary_use)
{
    for (int v = 0; v < CASES; v++) {
        pthread_mutex_t *m = new_robust(v);
        struct timespec ts;

        CHECK_EQ(pthread_mutex_consistent(m), EINVAL); /* POSIX: not inconsistent */
        CHECK_EQ(pthread_mutex_lock(m), 0);
        CHECK_EQ(pthread_mutex_consistent(m), EINVAL);
        CHECK_EQ((intptr_t)join(spawn(try_it, m)), EBUSY);
        /* glibc: says EDEADLK here, although POSIX has only EBUSY for trylock. */
        CHECK_EQ(pthread_mutex_trylock(m), v & 2 ? EDEADLK : EBUSY);
        ts = in_ms(CLOCK_REALTIME, 10);
        CHECK_EQ(pthread_mutex_timedlock(m, &ts), v & 2 ? EDEADLK : ETIMEDOUT);
        CHECK_EQ(pthread_mutex_unlock(m), 0);
        CHECK_EQ(pthread_mutex_unlock(m), EPERM); /* POSIX: robust, not the owner */
        CHECK_EQ((intptr_t)join(spawn(try_it, m)), 0);
        drop_robust(m);
    }
}

TEST(consistent_needs_a_robust_mutex)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

    CHECK_EQ(pthread_mutex_consistent(&m), EINVAL); /* POSIX mutex_consistent */
}

TEST(owner_thread_ends)
{
    for (int v = 0; v < CASES; v++) {
        for (int how = 0; how < 3; how++) {
            pthread_mutex_t *m = new_robust(v);
            struct timespec ts = in_ms(CLOCK_REALTIME, 15000);
            int rc;

            join(spawn(lock_and_end, m));
            if (how == 0)
                rc = pthread_mutex_lock(m);
            else if (how == 1)
                rc = pthread_mutex_trylock(m);
            else
                rc = pthread_mutex_timedlock(m, &ts);
            CHECK_EQ(rc, EOWNERDEAD); /* POSIX mutex_lock: and it is ours now */
            CHECK_EQ((intptr_t)join(spawn(try_it, m)), EBUSY);
            CHECK_EQ(pthread_mutex_consistent(m), 0);
            CHECK_EQ(pthread_mutex_consistent(m), EINVAL);
            CHECK_EQ(pthread_mutex_unlock(m), 0);
            CHECK_EQ((intptr_t)join(spawn(try_it, m)), 0); /* as good as new */
            CHECK_EQ(pthread_mutex_lock(m), 0);
            CHECK_EQ(pthread_mutex_unlock(m), 0);
            drop_robust(m);
        }
    }
}

static void *lock_unrecoverable(void *arg)
{
    return (void *)(intptr_t)pthread_mutex_lock(arg);
}

TEST(not_made_consistent)
{
    for (int v = 0; v < CASES; v++) {
        pthread_mutex_t *m = new_robust(v);
        struct timespec ts = in_ms(CLOCK_REALTIME, 15000);

        join(spawn(lock_and_end, m));
        CHECK_EQ(pthread_mutex_lock(m), EOWNERDEAD);
        CHECK_EQ(pthread_mutex_unlock(m), 0);
        /* POSIX mutex_lock: unusable for good. (Trylock comes last, and once: in glibc
         * it keeps the lock of an unrecoverable mutex, so the next one would wait.) */
        CHECK_EQ(pthread_mutex_lock(m), ENOTRECOVERABLE);
        CHECK_EQ(pthread_mutex_timedlock(m, &ts), ENOTRECOVERABLE);
        CHECK_EQ((intptr_t)join(spawn(lock_unrecoverable, m)), ENOTRECOVERABLE);
        CHECK_EQ(pthread_mutex_trylock(m), ENOTRECOVERABLE);
        drop_robust(m); /* POSIX: all that is left to do */
    }
}

static void *inherit_and_end(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(arg), EOWNERDEAD);
    return NULL; /* dies holding it, without having made it consistent */
}

TEST(owner_ends_again)
{
    pthread_mutex_t *m = new_robust(0);

    join(spawn(lock_and_end, m));
    for (int i = 0; i < 5; i++)
        join(spawn(inherit_and_end, m));
    CHECK_EQ(pthread_mutex_lock(m), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(m), 0);
    CHECK_EQ(pthread_mutex_unlock(m), 0);
    drop_robust(m);
}

struct scene {
    pthread_mutex_t *m;
    int stage;
    int waiting, dead, alive;
};

static void *hold_until_told(void *arg)
{
    struct scene *s = arg;

    CHECK_EQ(pthread_mutex_lock(s->m), 0);
    set(&s->stage, 1);
    await_at_least(&s->stage, 2);
    return NULL;
}

static void *wait_for_it(void *arg)
{
    struct scene *s = arg;
    int rc;

    add(&s->waiting, 1);
    rc = pthread_mutex_lock(s->m);
    if (rc == EOWNERDEAD) {
        add(&s->dead, 1);
        CHECK_EQ(pthread_mutex_consistent(s->m), 0);
    } else {
        CHECK_EQ(rc, 0);
        add(&s->alive, 1);
    }
    CHECK_EQ(pthread_mutex_unlock(s->m), 0);
    return NULL;
}

TEST(waiters_learn_of_a_thread_that_ended)
{
    for (int v = 0; v < CASES; v++) {
        struct scene s = {.m = new_robust(v)};
        pthread_t owner = spawn(hold_until_told, &s), t[10];

        await_at_least(&s.stage, 1);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(wait_for_it, &s);
        await_at_least(&s.waiting, COUNT_OF(t));
        settle();
        set(&s.stage, 2);
        join(owner);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
        CHECK_EQ(s.dead, 1); /* POSIX: the next owner is told, and repairs it */
        CHECK_EQ(s.alive, COUNT_OF(t) - 1);
        drop_robust(s.m);
    }
}

static void die_holding(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(arg), 0);
}

static void killed_holding(void *arg)
{
    struct scene *s = arg;

    CHECK_EQ(pthread_mutex_lock(s->m), 0);
    set(&s->stage, 1);
    for (;;)
        pause();
}

TEST(owner_process_ends)
{
    for (int v = 1; v < CASES; v += 2) {
        pthread_mutex_t *m = new_robust(v);

        CHECK_CHILD_OK(start_child(die_holding, m));
        CHECK_EQ(pthread_mutex_lock(m), EOWNERDEAD);
        CHECK_EQ(pthread_mutex_consistent(m), 0);
        CHECK_EQ(pthread_mutex_unlock(m), 0);
        CHECK_EQ(pthread_mutex_lock(m), 0);
        CHECK_EQ(pthread_mutex_unlock(m), 0);
        drop_robust(m);
    }
}

TEST(owner_process_is_killed)
{
    struct scene *s = shared_alloc(sizeof(*s));
    pthread_t t[10];
    int status;
    pid_t pid;

    s->m = new_robust(1);
    pid = start_child(killed_holding, s);
    await_at_least(&s->stage, 1);
    CHECK_EQ(pthread_mutex_trylock(s->m), EBUSY);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(wait_for_it, s);
    await_at_least(&s->waiting, COUNT_OF(t));
    settle();
    CHECK_EQ(kill(pid, SIGKILL), 0);
    status = wait_status(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(s->dead, 1);
    CHECK_EQ(s->alive, COUNT_OF(t) - 1);
    drop_robust(s->m);
    munmap(s, sizeof(*s));
}

static pthread_mutex_t *several[10];

static void *hold_several(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < COUNT_OF(several); i++)
        CHECK_EQ(pthread_mutex_lock(several[i]), 0);
    CHECK_EQ(pthread_mutex_unlock(several[3]), 0); /* out of the middle of the list */
    CHECK_EQ(pthread_mutex_unlock(several[9]), 0);
    return NULL;
}

TEST(several_at_once)
{
    for (size_t i = 0; i < COUNT_OF(several); i++)
        several[i] = new_robust((int)i % CASES);
    join(spawn(hold_several, NULL));
    for (size_t i = 0; i < COUNT_OF(several); i++) {
        int rc = pthread_mutex_lock(several[i]);

        CHECK_EQ(rc, i == 3 || i == 9 ? 0 : EOWNERDEAD);
        if (rc == EOWNERDEAD)
            CHECK_EQ(pthread_mutex_consistent(several[i]), 0);
        CHECK_EQ(pthread_mutex_unlock(several[i]), 0);
    }
    for (size_t i = 0; i < COUNT_OF(several); i++)
        drop_robust(several[i]);
}

/* A robust mutex around a condition variable. */
struct with_cond {
    pthread_mutex_t *m;
    pthread_cond_t c;
    int waiting, go;
};

static void *signal_and_end(void *arg)
{
    struct with_cond *w = arg;

    CHECK_EQ(pthread_mutex_lock(w->m), 0);
    w->go = 1;
    CHECK_EQ(pthread_cond_broadcast(&w->c), 0);
    return NULL;
}

TEST(wait_returns_ownerdead)
{
    struct with_cond w = {.m = new_robust(0), .c = PTHREAD_COND_INITIALIZER};
    pthread_t t;
    int rc = 0;

    CHECK_EQ(pthread_mutex_lock(w.m), 0);
    t = spawn(signal_and_end, &w);
    while (!w.go && rc == 0)
        rc = pthread_cond_wait(&w.c, w.m);
    CHECK_EQ(w.go, 1);
    CHECK_EQ(rc, EOWNERDEAD); /* POSIX cond_wait: and the mutex is locked */
    CHECK_EQ(pthread_mutex_consistent(w.m), 0);
    CHECK_EQ(pthread_mutex_unlock(w.m), 0);
    join(t);
    CHECK_EQ(pthread_cond_destroy(&w.c), 0);
    drop_robust(w.m);
}

struct counter {
    pthread_mutex_t *m;
    long total;
};

static void *count_and_die(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < 50; i++) {
        int rc = pthread_mutex_lock(c->m);

        if (rc == EOWNERDEAD)
            CHECK_EQ(pthread_mutex_consistent(c->m), 0);
        else
            CHECK_EQ(rc, 0);
        c->total++;
        sched_yield();
        if (i == 49)
            return NULL; /* keeps it */
        CHECK_EQ(pthread_mutex_unlock(c->m), 0);
    }
    return NULL;
}

TEST(contention_with_dying_owners)
{
    struct counter c = {new_robust(0), 0};
    pthread_t t[20];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(count_and_die, &c);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(c.total, 20 * 50);
    CHECK_EQ(pthread_mutex_lock(c.m), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(c.m), 0);
    CHECK_EQ(pthread_mutex_unlock(c.m), 0);
    drop_robust(c.m);
}
