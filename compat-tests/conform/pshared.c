/* pshared.c - process-shared objects across fork, used by several threads on each side.
 *
 * While a thread waits for another process, the other threads of its own process go on:
 * every test lets a bystander run to its end in that time. */
#include "conform.h"

#include <semaphore.h>

#define CHILDREN 3
#define THREADS 3
#define ROUNDS 400

struct shared {
    pthread_mutex_t m;
    pthread_cond_t c;
    pthread_rwlock_t rw;
    pthread_barrier_t b;
    pthread_spinlock_t spin;
    sem_t s, done;
    int kind;
    int inside, writers;
    long total, other;
    int waiting, tickets, stage;
    int serial;
};

static void init_mutex(pthread_mutex_t *m, int type)
{
    pthread_mutexattr_t attr;

    CHECK_EQ(pthread_mutexattr_init(&attr), 0);
    CHECK_EQ(pthread_mutexattr_settype(&attr, type), 0);
    CHECK_EQ(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_mutex_init(m, &attr), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&attr), 0);
}

static void init_cond(pthread_cond_t *c, clockid_t clock)
{
    pthread_condattr_t attr;

    CHECK_EQ(pthread_condattr_init(&attr), 0);
    CHECK_EQ(pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_condattr_setclock(&attr, clock), 0);
    CHECK_EQ(pthread_cond_init(c, &attr), 0);
    CHECK_EQ(pthread_condattr_destroy(&attr), 0);
}

static void init_rwlock(pthread_rwlock_t *rw, int kind)
{
    pthread_rwlockattr_t attr;

    CHECK_EQ(pthread_rwlockattr_init(&attr), 0);
    CHECK_EQ(pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_rwlockattr_setkind_np(&attr, kind), 0);
    CHECK_EQ(pthread_rwlock_init(rw, &attr), 0);
    CHECK_EQ(pthread_rwlockattr_destroy(&attr), 0);
}

/* Runs FN(S) in THREADS threads of this and of each of CHILDREN processes. */
static void run_threads(void *(*fn)(void *), struct shared *s)
{
    pthread_t t[THREADS];

    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(fn, s);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
}

static void everywhere(void *(*fn)(void *), struct shared *s)
{
    pid_t pid[CHILDREN];

    for (int i = 0; i < CHILDREN; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            watchdog();
            set(&conform_failures, 0);
            run_threads(fn, s);
            _exit(get(&conform_failures) ? 1 : 0);
        }
        CHECK(pid[i] > 0);
    }
    run_threads(fn, s);
    for (int i = 0; i < CHILDREN; i++)
        CHECK_CHILD_OK(pid[i]);
}

#define USERS ((CHILDREN + 1) * THREADS)

static void *bystander(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        sched_yield();
    sleep_ms(2);
    return NULL;
}

static void others_run(void)
{
    settle();
    join(spawn(bystander, NULL));
}

static void *count_with_mutex(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(pthread_mutex_lock(&s->m), 0);
        CHECK_EQ(add(&s->inside, 1), 1);
        s->total++;
        if (i % 20 == 0)
            sched_yield();
        add(&s->inside, -1);
        CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    }
    return NULL;
}

TEST(mutex_contended)
{
    static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
                                PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP};

    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct shared *s = shared_alloc(sizeof(*s));

        init_mutex(&s->m, types[i]);
        everywhere(count_with_mutex, s);
        CHECK_EQ(s->total, USERS * ROUNDS); /* POSIX setpshared: exclusion everywhere */
        CHECK_EQ(pthread_mutex_destroy(&s->m), 0);
        munmap(s, sizeof(*s));
    }
}

static void hold_mutex(void *arg)
{
    struct shared *s = arg;

    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    set(&s->stage, 1);
    await_at_least(&s->stage, 2);
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
}

static void *lock_and_leave(void *arg)
{
    struct shared *s = arg;

    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    s->total++;
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    return NULL;
}

TEST(mutex_held_by_another_process)
{
    struct shared *s = shared_alloc(sizeof(*s));
    struct timespec ts;
    pthread_t t[12];
    pid_t pid;

    init_mutex(&s->m, PTHREAD_MUTEX_ERRORCHECK);
    pid = start_child(hold_mutex, s);
    await_at_least(&s->stage, 1);
    CHECK_EQ(pthread_mutex_trylock(&s->m), EBUSY);
    CHECK_EQ(pthread_mutex_unlock(&s->m), EPERM); /* the owner is in another process */
    ts = in_ms(CLOCK_REALTIME, 20);
    CHECK_TIMES_OUT(pthread_mutex_timedlock(&s->m, &ts), CLOCK_REALTIME, ts);
    ts = in_ms(CLOCK_MONOTONIC, 20);
    CHECK_TIMES_OUT(pthread_mutex_clocklock(&s->m, CLOCK_MONOTONIC, &ts), CLOCK_MONOTONIC,
                    ts);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(lock_and_leave, s);
    others_run();
    CHECK_EQ(s->total, 0);
    set(&s->stage, 2);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_CHILD_OK(pid);
    CHECK_EQ(s->total, COUNT_OF(t));
    munmap(s, sizeof(*s));
}

static void *wait_ticket(void *arg)
{
    struct shared *s = arg;

    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    s->waiting++;
    while (s->tickets == 0)
        CHECK_EQ(pthread_cond_wait(&s->c, &s->m), 0);
    s->tickets--;
    s->total++;
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    return NULL;
}

static void hand_out_tickets(void *arg)
{
    struct shared *s = arg;

    for (int waiting = 0; waiting < USERS; sleep_ms(1)) {
        pthread_mutex_lock(&s->m);
        waiting = s->waiting;
        pthread_mutex_unlock(&s->m);
    }
    for (int i = 0; i < 3; i++) { /* POSIX: signal reaches a waiter in any process */
        pthread_mutex_lock(&s->m);
        s->tickets++;
        pthread_mutex_unlock(&s->m);
        CHECK_EQ(pthread_cond_signal(&s->c), 0);
        for (long total = 0; total < i + 1; sleep_ms(1)) {
            pthread_mutex_lock(&s->m);
            total = s->total;
            pthread_mutex_unlock(&s->m);
        }
    }
    pthread_mutex_lock(&s->m);
    s->tickets = USERS - 3;
    CHECK_EQ(pthread_cond_broadcast(&s->c), 0); /* and broadcast all of them */
    pthread_mutex_unlock(&s->m);
}

TEST(cond_across_processes)
{
    struct shared *s = shared_alloc(sizeof(*s));
    struct timespec ts;
    pid_t pid;

    init_mutex(&s->m, PTHREAD_MUTEX_NORMAL);
    init_cond(&s->c, CLOCK_MONOTONIC);
    pid = start_child(hand_out_tickets, s);
    everywhere(wait_ticket, s);
    CHECK_CHILD_OK(pid);
    CHECK_EQ(s->total, USERS);
    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    ts = in_ms(CLOCK_MONOTONIC, 20);
    CHECK_WAIT_TIMES_OUT(pthread_cond_timedwait(&s->c, &s->m, &ts), CLOCK_MONOTONIC, ts);
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    CHECK_EQ(pthread_cond_destroy(&s->c), 0);
    munmap(s, sizeof(*s));
}

static void *read_and_write(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        if (i % 4 == 0) {
            CHECK_EQ(pthread_rwlock_wrlock(&s->rw), 0);
            CHECK_EQ(add(&s->writers, 1), 1);
            s->total++;
            if (i % 16 == 0)
                sched_yield();
            s->other++;
            add(&s->writers, -1);
        } else {
            CHECK_EQ(pthread_rwlock_rdlock(&s->rw), 0);
            CHECK_EQ(get(&s->writers), 0);
            CHECK_EQ(s->total, s->other);
        }
        CHECK_EQ(pthread_rwlock_unlock(&s->rw), 0);
    }
    return NULL;
}

TEST(rwlock_contended)
{
    static const int kinds[] = {PTHREAD_RWLOCK_PREFER_READER_NP,
                                PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP};

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct shared *s = shared_alloc(sizeof(*s));

        init_rwlock(&s->rw, kinds[i]);
        everywhere(read_and_write, s);
        CHECK_EQ(s->total, USERS * ROUNDS / 4);
        CHECK_EQ(s->other, s->total);
        CHECK_EQ(pthread_rwlock_destroy(&s->rw), 0);
        munmap(s, sizeof(*s));
    }
}

static void hold_rwlock(void *arg)
{
    struct shared *s = arg;

    CHECK_EQ(pthread_rwlock_wrlock(&s->rw), 0);
    set(&s->stage, 1);
    await_at_least(&s->stage, 2);
    CHECK_EQ(pthread_rwlock_unlock(&s->rw), 0);
}

static void *read_once(void *arg)
{
    struct shared *s = arg;

    CHECK_EQ(pthread_rwlock_rdlock(&s->rw), 0);
    add(&s->waiting, 1);
    CHECK_EQ(pthread_rwlock_unlock(&s->rw), 0);
    return NULL;
}

TEST(rwlock_held_by_another_process)
{
    struct shared *s = shared_alloc(sizeof(*s));
    struct timespec ts;
    pthread_t t[12];
    pid_t pid;

    init_rwlock(&s->rw, PTHREAD_RWLOCK_PREFER_READER_NP);
    pid = start_child(hold_rwlock, s);
    await_at_least(&s->stage, 1);
    CHECK_EQ(pthread_rwlock_tryrdlock(&s->rw), EBUSY);
    CHECK_EQ(pthread_rwlock_trywrlock(&s->rw), EBUSY);
    ts = in_ms(CLOCK_REALTIME, 20);
    CHECK_TIMES_OUT(pthread_rwlock_timedrdlock(&s->rw, &ts), CLOCK_REALTIME, ts);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(read_once, s);
    others_run();
    CHECK_EQ(get(&s->waiting), 0);
    set(&s->stage, 2);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_CHILD_OK(pid);
    munmap(s, sizeof(*s));
}

static void *through_semaphore(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(sem_wait(&s->s), 0);
        CHECK(add(&s->inside, 1) <= 2);
        if (i % 16 == 0)
            sched_yield();
        add(&s->inside, -1);
        CHECK_EQ(sem_post(&s->s), 0);
    }
    return NULL;
}

TEST(semaphore_contended)
{
    struct shared *s = shared_alloc(sizeof(*s));
    int value = -1;

    CHECK_EQ(sem_init(&s->s, 1, 2), 0);
    everywhere(through_semaphore, s);
    CHECK_EQ(sem_getvalue(&s->s, &value), 0);
    CHECK_EQ(value, 2);
    CHECK_EQ(sem_destroy(&s->s), 0);
    munmap(s, sizeof(*s));
}

static void post_when_told(void *arg)
{
    struct shared *s = arg;

    CHECK_EQ(sem_wait(&s->done), 0);
    for (int i = 0; i < 12; i++)
        CHECK_EQ(sem_post(&s->s), 0);
}

static void *take_one(void *arg)
{
    struct shared *s = arg;

    CHECK_EQ(sem_wait(&s->s), 0);
    return NULL;
}

TEST(semaphore_posted_by_another_process)
{
    struct shared *s = shared_alloc(sizeof(*s));
    struct timespec ts;
    pthread_t t[12];
    pid_t pid;

    CHECK_EQ(sem_init(&s->s, 1, 0), 0);
    CHECK_EQ(sem_init(&s->done, 1, 0), 0);
    pid = start_child(post_when_told, s);
    ts = in_ms(CLOCK_REALTIME, 20);
    CHECK_ERR(sem_timedwait(&s->s, &ts), ETIMEDOUT);
    CHECK(now_ns(CLOCK_REALTIME) >= ts_ns(ts));
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(take_one, s);
    others_run();
    CHECK_EQ(sem_post(&s->done), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_CHILD_OK(pid);
    munmap(s, sizeof(*s));
}

static void *meet(void *arg)
{
    struct shared *s = arg;

    for (int i = 1; i <= 50; i++) {
        add(&s->inside, 1);
        if (pthread_barrier_wait(&s->b) == PTHREAD_BARRIER_SERIAL_THREAD)
            add(&s->serial, 1);
        CHECK(get(&s->inside) >= i * USERS);
    }
    return NULL;
}

TEST(barrier_across_processes)
{
    struct shared *s = shared_alloc(sizeof(*s));
    pthread_barrierattr_t attr;

    CHECK_EQ(pthread_barrierattr_init(&attr), 0);
    CHECK_EQ(pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_barrier_init(&s->b, &attr, USERS), 0);
    everywhere(meet, s);
    CHECK_EQ(s->serial, 50); /* POSIX: one thread of all processes per round */
    CHECK_EQ(pthread_barrier_destroy(&s->b), 0);
    munmap(s, sizeof(*s));
}

static void *count_with_spin(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(pthread_spin_lock(&s->spin), 0);
        s->total++;
        CHECK_EQ(pthread_spin_unlock(&s->spin), 0);
    }
    return NULL;
}

TEST(spin_across_processes)
{
    struct shared *s = shared_alloc(sizeof(*s));

    CHECK_EQ(pthread_spin_init(&s->spin, PTHREAD_PROCESS_SHARED), 0);
    everywhere(count_with_spin, s);
    CHECK_EQ(s->total, USERS * ROUNDS);
    munmap(s, sizeof(*s));
}
