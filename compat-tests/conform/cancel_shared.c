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

/* --- asynchronous: glibc's locks end at once, though POSIX promises nothing there ------------- */

enum waits { LOCK, TIMED, READ, WRITE, WAYS };

struct async {
    pthread_mutex_t m;
    pthread_rwlock_t l;
    enum waits way;
    int waiting, got;
};

static struct async *make_async(int robust, int protocol, int type)
{
    struct async *s = shared_alloc(sizeof(*s));
    pthread_mutexattr_t ma;
    pthread_rwlockattr_t ra;
    pthread_mutexattr_init(&ma);
    pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&ma, robust);
    pthread_mutexattr_setprotocol(&ma, protocol);
    pthread_mutexattr_settype(&ma, type);
    CHECK_EQ(pthread_mutex_init(&s->m, &ma), 0);
    pthread_rwlockattr_init(&ra);
    pthread_rwlockattr_setpshared(&ra, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_rwlock_init(&s->l, &ra), 0);
    return s;
}

static void *wait_async(void *arg)
{
    struct async *s = arg;
    struct timespec ts = in_ms(CLOCK_REALTIME, 1000000);
    CHECK_EQ(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL), 0);
    add(&s->waiting, 1);
    if (s->way == LOCK)
        pthread_mutex_lock(&s->m);
    else if (s->way == TIMED)
        pthread_mutex_timedlock(&s->m, &ts);
    else if (s->way == READ)
        pthread_rwlock_rdlock(&s->l);
    else
        pthread_rwlock_wrlock(&s->l);
    add(&s->got, 1);
    return arg;
}

static void *lock_and_unlock(void *arg)
{
    struct async *s = arg;
    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    add(&s->got, 1);
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    return arg;
}

/* Held all the time by the caller: nobody gets it, and afterwards it is as good as new. */
static void cancel_async(struct async *s, enum waits way, bool soon)
{
    pthread_t t[3];
    s->way = way;
    s->waiting = s->got = 0;
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(wait_async, s);
    await_at_least(&s->waiting, COUNT_OF(t));
    if (!soon)
        settle();
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(pthread_cancel(t[i]), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK(join(t[i]) == PTHREAD_CANCELED);
    CHECK_EQ(s->got, 0);
}

static void check_async(int robust, int protocol, int type)
{
    struct async *s = make_async(robust, protocol, type);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_mutex_lock(&s->m), 0);
        cancel_async(s, i < 2 ? LOCK : TIMED, i % 2);
        CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
        CHECK(join(spawn(lock_and_unlock, s)) == s);
        CHECK_EQ(s->got, 1);
    }
    CHECK_EQ(pthread_mutex_destroy(&s->m), 0);
}

TEST(async_in_robust_lock)
{
    check_async(PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_NORMAL);
    check_async(PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ERRORCHECK);
}

TEST(async_in_inheriting_lock)
{
    check_async(PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_NORMAL);
    check_async(PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_RECURSIVE);
}

TEST(async_in_shared_lock)
{
    check_async(PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_NORMAL);
    check_async(PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_RECURSIVE);
}

/* Enabled, but not asynchronous; and asynchronous, but disabled: the lock is taken. */
static void *wait_not_now(void *arg)
{
    struct async *s = arg;
    int state = s->way == LOCK ? PTHREAD_CANCEL_ENABLE : PTHREAD_CANCEL_DISABLE;
    pthread_setcancelstate(state, NULL);
    if (s->way != LOCK)
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    add(&s->waiting, 1);
    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    add(&s->got, 1);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    sleep(10); /* here at the latest */
    return arg;
}

TEST(neither_deferred_nor_disabled_ends_a_lock)
{
    for (int i = 0; i < 2; i++) {
        struct async *s =
            make_async(PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_NORMAL);
        s->way = i == 0 ? LOCK : TIMED;
        CHECK_EQ(pthread_mutex_lock(&s->m), 0);
        pthread_t t = spawn(wait_not_now, s);
        await_at_least(&s->waiting, 1);
        settle();
        CHECK_EQ(pthread_cancel(t), 0);
        settle();
        CHECK_EQ(get(&s->got), 0);
        CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK_EQ(s->got, 1);
    }
}

TEST(async_in_shared_rwlock)
{
    struct async *s =
        make_async(PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_NORMAL);
    CHECK_EQ(pthread_rwlock_wrlock(&s->l), 0);
    cancel_async(s, READ, false);
    cancel_async(s, WRITE, false);
    CHECK_EQ(pthread_rwlock_unlock(&s->l), 0);
}
