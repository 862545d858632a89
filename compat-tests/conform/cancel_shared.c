/* cancel_shared.c - cancellation in waits on process-shared objects, and with robust mutexes:
 * the mutex is held again when the handlers run (pthread_cond_wait), also when its owner has
 * died meanwhile; no signal is used up. */
#include "conform.h"

#include <semaphore.h>

struct shared {
    pthread_mutex_t m;
    pthread_cond_t c;
    sem_t sem;
    int waiting, woken, cleaned, held;
};

static struct shared *make(int robust, int type)
{
    struct shared *s = shared_alloc(sizeof(*s));
    pthread_mutexattr_t ma;
    pthread_condattr_t ca;
    pthread_mutexattr_init(&ma);
    pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_settype(&ma, type);
    pthread_mutexattr_setrobust(&ma, robust);
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_mutex_init(&s->m, &ma), 0);
    CHECK_EQ(pthread_cond_init(&s->c, &ca), 0);
    CHECK_EQ(sem_init(&s->sem, 1, 0), 0);
    return s;
}

static void unlock(void *arg)
{
    struct shared *s = arg;
    add(&s->cleaned, 1);
    if (pthread_mutex_unlock(&s->m) == 0) /* an error-checking one knows its owner */
        add(&s->held, 1);
}

static void *wait_cond(void *arg)
{
    struct shared *s = arg;
    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    pthread_cleanup_push(unlock, s);
    add(&s->waiting, 1);
    pthread_cond_wait(&s->c, &s->m);
    add(&s->woken, 1);
    pthread_cleanup_pop(1);
    return arg;
}

static void await_waiters(struct shared *s, int n)
{
    await_at_least(&s->waiting, n);
    CHECK_EQ(pthread_mutex_lock(&s->m), 0); /* they have given it up */
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
}

static void check_cond(int robust, int type)
{
    struct shared *s = make(robust, type);
    pthread_t t[3];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(wait_cond, s);
    await_waiters(s, COUNT_OF(t));
    settle();
    CHECK_EQ(pthread_cancel(t[1]), 0);
    CHECK(join(t[1]) == PTHREAD_CANCELED);
    CHECK_EQ(s->cleaned, 1);
    CHECK_EQ(s->held, 1);
    CHECK_EQ(s->woken, 0);
    /* the others are not disturbed, and a signal finds one of them */
    CHECK_EQ(pthread_cond_signal(&s->c), 0);
    await_at_least(&s->woken, 1);
    CHECK_EQ(pthread_cond_broadcast(&s->c), 0);
    CHECK(join(t[0]) == s);
    CHECK(join(t[2]) == s);
    CHECK_EQ(s->woken, 2);
    CHECK_EQ(s->held, 3);
    CHECK_EQ(pthread_mutex_trylock(&s->m), 0);
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    CHECK_EQ(pthread_cond_destroy(&s->c), 0);
    CHECK_EQ(pthread_mutex_destroy(&s->m), 0);
}

TEST(shared_cond)
{
    check_cond(PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_NORMAL);
    check_cond(PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_ERRORCHECK);
}

TEST(shared_cond_robust_mutex)
{
    check_cond(PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL);
    check_cond(PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_ERRORCHECK);
}

static void *pending_then_cond(void *arg)
{
    struct shared *s = arg;
    pthread_cancel(pthread_self());
    return wait_cond(s);
}

TEST(pending_at_entry)
{
    struct shared *s = make(PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_ERRORCHECK);
    CHECK(join(spawn(pending_then_cond, s)) == PTHREAD_CANCELED);
    CHECK_EQ(s->held, 1);
    CHECK_EQ(s->woken, 0);
}

/* Cancelled while it waits for the mutex, after the signal: then it is woken up. */
TEST(between_signal_and_mutex)
{
    for (int i = 0; i < 20; i++) {
        struct shared *s = make(PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_ERRORCHECK);
        pthread_t t = spawn(wait_cond, s);
        await_waiters(s, 1);
        CHECK_EQ(pthread_mutex_lock(&s->m), 0);
        CHECK_EQ(pthread_cond_signal(&s->c), 0);
        if (i % 2)
            settle();
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
        void *result = join(t);
        CHECK(result == PTHREAD_CANCELED || result == s);
        CHECK_EQ(s->held, 1);
        CHECK_EQ(pthread_mutex_trylock(&s->m), 0);
    }
}

static void die_with_mutex(void *arg)
{
    struct shared *s = arg;
    pthread_mutex_lock(&s->m);
    add(&s->woken, 1);
    for (;;)
        pause();
}

/* The mutex is inconsistent when it is taken again for the handlers. */
TEST(owner_dies_before_it_is_taken_again)
{
    struct shared *s = make(PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL);
    pthread_t t = spawn(wait_cond, s);
    await_waiters(s, 1);
    settle();
    pid_t pid = start_child(die_with_mutex, s);
    await_at_least(&s->woken, 1);
    CHECK_EQ(pthread_cancel(t), 0);
    settle();
    CHECK_EQ(s->cleaned, 0);
    kill(pid, SIGKILL);
    wait_status(pid);
    CHECK(join(t) == PTHREAD_CANCELED);
    CHECK_EQ(s->held, 1);
    /* unlocked without having been made consistent */
    CHECK_EQ(pthread_mutex_lock(&s->m), ENOTRECOVERABLE);
}

static void *wait_sem(void *arg)
{
    struct shared *s = arg;
    add(&s->waiting, 1);
    while (sem_wait(&s->sem) != 0)
        CHECK_EQ(errno, EINTR);
    add(&s->woken, 1);
    return arg;
}

TEST(shared_sem)
{
    struct shared *s = make(PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_NORMAL);
    pthread_t t[3];
    int value = -1;
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(wait_sem, s);
    await_at_least(&s->waiting, COUNT_OF(t));
    settle();
    CHECK_EQ(pthread_cancel(t[1]), 0);
    CHECK(join(t[1]) == PTHREAD_CANCELED);
    CHECK_EQ(s->woken, 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(sem_post(&s->sem), 0);
    CHECK(join(t[0]) == s);
    CHECK(join(t[2]) == s);
    CHECK_EQ(sem_getvalue(&s->sem, &value), 0);
    CHECK_EQ(value, 0);
}

static void *lock_shared(void *arg)
{
    struct shared *s = arg;
    add(&s->waiting, 1);
    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    return arg;
}

TEST(shared_mutex_is_no_cancellation_point)
{
    for (int robust = 0; robust < 2; robust++) {
        struct shared *s = make(robust, PTHREAD_MUTEX_ERRORCHECK);
        CHECK_EQ(pthread_mutex_lock(&s->m), 0);
        pthread_t t = spawn(lock_shared, s);
        await_at_least(&s->waiting, 1);
        settle();
        CHECK_EQ(pthread_cancel(t), 0);
        settle();
        CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
        CHECK(join(t) == s);
    }
}

/* A thread that has been cancelled in such a wait leaves nothing behind for the next one. */
TEST(again_and_again)
{
    struct shared *s = make(PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL);
    for (int i = 1; i <= 50; i++) {
        pthread_t t = spawn(wait_cond, s);
        await_at_least(&s->waiting, i);
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK_EQ(s->held, i);
    }
    CHECK_EQ(s->woken, 0);
}
