/* signal_native.c - signals reach threads that wait for objects of the C library's own protocol:
 * robust, priority and process-shared ones. */
#include "conform.h"

static __thread volatile int calls;
static int handled;
static pthread_mutex_t m;
static pthread_rwlock_t rw;
static pthread_cond_t c;
static int go;

static void note(int sig)
{
    (void)sig;
    calls++;
    sched_yield();
    add(&handled, 1);
}

static void *on_mutex(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    *(int *)arg = calls;
    return NULL;
}

static void *on_rwlock(void *arg)
{
    CHECK_EQ(pthread_rwlock_rdlock(&rw), 0);
    CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
    *(int *)arg = calls;
    return NULL;
}

static void *on_cond(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    while (!get(&go))
        CHECK_EQ(pthread_cond_wait(&c, &m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    *(int *)arg = calls;
    return NULL;
}

/* POSIX: the handler runs while the thread waits, and then it waits on. */
static void signal_it(pthread_t t)
{
    int n = get(&handled);

    settle();
    for (int i = 1; i <= 5; i++) {
        CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
        await_at_least(&handled, n + i);
    }
}

static void with_mutex(int robust, int protocol, int shared)
{
    pthread_mutexattr_t attr;
    int ran = 0;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, robust);
    pthread_mutexattr_setprotocol(&attr, protocol);
    pthread_mutexattr_setpshared(&attr, shared);
    CHECK_EQ(pthread_mutex_init(&m, &attr), 0);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    pthread_t t = spawn(on_mutex, &ran);
    signal_it(t);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    join(t);
    CHECK_EQ(ran, 5);
    CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

TEST(mutexes)
{
    struct sigaction sa = {.sa_handler = note};

    for (int flags = 0; flags < 2; flags++) {
        sa.sa_flags = flags ? SA_RESTART : 0;
        CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
        with_mutex(PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE, PTHREAD_PROCESS_PRIVATE);
        with_mutex(PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT, PTHREAD_PROCESS_PRIVATE);
        with_mutex(PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE, PTHREAD_PROCESS_SHARED);
    }
}

TEST(shared_rwlock_and_condition)
{
    pthread_rwlockattr_t ra;
    pthread_mutexattr_t ma;
    pthread_condattr_t ca;
    int ran = 0;

    pthread_rwlockattr_init(&ra);
    pthread_rwlockattr_setpshared(&ra, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_rwlock_init(&rw, &ra), 0);
    CHECK_EQ(pthread_rwlock_wrlock(&rw), 0);
    pthread_t t = spawn(on_rwlock, &ran);
    signal_it(t);
    CHECK_EQ(pthread_rwlock_unlock(&rw), 0);
    join(t);
    CHECK_EQ(ran, 5);
    pthread_mutexattr_init(&ma);
    pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_mutex_init(&m, &ma), 0);
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_cond_init(&c, &ca), 0);
    ran = 0;
    t = spawn(on_cond, &ran);
    signal_it(t);
    pthread_mutex_lock(&m);
    set(&go, 1);
    pthread_cond_broadcast(&c);
    pthread_mutex_unlock(&m);
    join(t);
    CHECK_EQ(ran, 5);
}
