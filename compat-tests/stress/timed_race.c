/* timed_race.c - timed waits whose deadlines race with the wakes.
 *
 * With deadlines about as long as a wake takes, waits end by either; exact books tell a
 * wake that was lost or counted twice, and no wait may report ETIMEDOUT early.
 *
 *   sem     posts == successful waits + final value
 *   mutex   successful timed locks == protected counter, never two owners
 *   rwlock  the same for writers; readers never overlap a writer
 *   cond    rounds: two untimed and three briefly timed waiters, two tokens, two signals.
 *           Whoever finds a token after any kind of return takes it; a timed waiter that
 *           finds none leaves. A signal that is lost leaves an untimed one asleep beside
 *           a token (POSIX lets a waiter that times out consume a signal, but it then
 *           takes the token here). */

#include "stress.h"

#define THREADS 8

static int64_t tiny(uint64_t *rng)
{
    switch (stress_rand(rng) % 4) {
    case 0:
        return 0;
    case 1:
        return stress_rand(rng) % 5000;
    case 2:
        return stress_rand(rng) % 60000;
    default:
        return stress_rand(rng) % 300000;
    }
}

static clockid_t some_clock(uint64_t *rng)
{
    return stress_rand(rng) & 1 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

static void check_timeout(int rc, clockid_t clock, const struct timespec *when)
{
    if (rc == 0)
        return;
    CHECK(rc == ETIMEDOUT, "timed wait returned %d", rc);
    CHECK(stress_passed(clock, when), "ETIMEDOUT before the deadline");
}

static void run_threads(const char *name, int n, void *(*fn)(void *))
{
    pthread_t t[THREADS];

    stress_phase(name, 0.25);
    for (long i = 0; i < n; i++)
        stress_create(&t[i], fn, (void *)i);
    for (long i = 0; i < n; i++)
        stress_join(t[i], (void *)i);
}

/* --- sem: even threads post, odd ones wait --------------------------------------- */

static sem_t sem;
static _Atomic long posts, gets, timeouts;

static void sem_get(uint64_t *rng)
{
    clockid_t clock = some_clock(rng);
    struct timespec when = stress_after_ns(clock, tiny(rng));
    int rc;

    if (clock == CLOCK_REALTIME && (stress_rand(rng) & 1))
        rc = sem_timedwait(&sem, &when);
    else
        rc = sem_clockwait(&sem, clock, &when);
    if (rc == -1 && errno == EINTR)
        return;
    rc = rc ? errno : 0;
    check_timeout(rc, clock, &when);
    if (rc)
        timeouts++;
    else
        gets++;
}

static void *sem_thread(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        if ((uintptr_t)arg % 2) {
            sem_get(&rng);
        } else {
            for (uint32_t k = stress_rand(&rng) % 4; k > 0; k--) {
                posts++;
                OKSYS(sem_post(&sem));
            }
            stress_sleep_ns(stress_rand(&rng) % 100000);
        }
        stress_progress++;
    }
    return arg;
}

/* --- mutex and rwlock ------------------------------------------------------------- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static long counter; /* under mutex, or under rwlock for writing */
static _Atomic int owners, readers;
static _Atomic long successes;

static void hold(uint64_t *rng)
{
    CHECK(atomic_fetch_add(&owners, 1) == 0, "two owners");
    CHECK(readers == 0, "a reader beside a writer");
    counter++;
    if (stress_rand(rng) % 8 == 0)
        stress_sleep_ns(stress_rand(rng) % 100000);
    else if (stress_rand(rng) % 4 == 0)
        sched_yield();
    owners--;
    successes++;
}

static void *mutex_thread(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        clockid_t clock = some_clock(&rng);
        struct timespec when = stress_after_ns(clock, tiny(&rng));
        int rc = clock == CLOCK_REALTIME ? pthread_mutex_timedlock(&mutex, &when)
                                         : pthread_mutex_clocklock(&mutex, clock, &when);

        check_timeout(rc, clock, &when);
        if (rc == 0) {
            hold(&rng);
            OK0(pthread_mutex_unlock(&mutex));
        } else {
            timeouts++;
        }
        stress_progress++;
    }
    return arg;
}

static int rw_lock(bool write, clockid_t clock, const struct timespec *when)
{
    if (write)
        return clock == CLOCK_REALTIME ? pthread_rwlock_timedwrlock(&rwlock, when)
                                       : pthread_rwlock_clockwrlock(&rwlock, clock, when);
    return clock == CLOCK_REALTIME ? pthread_rwlock_timedrdlock(&rwlock, when)
                                   : pthread_rwlock_clockrdlock(&rwlock, clock, when);
}

static void *rwlock_thread(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        bool write = stress_rand(&rng) % 4 == 0;
        clockid_t clock = some_clock(&rng);
        struct timespec when = stress_after_ns(clock, tiny(&rng));
        int rc = rw_lock(write, clock, &when);

        check_timeout(rc, clock, &when);
        stress_progress++;
        if (rc) {
            timeouts++;
            continue;
        }
        if (write) {
            hold(&rng);
        } else {
            readers++;
            CHECK(owners == 0, "a writer beside a reader");
            stress_jitter(&rng);
            readers--;
        }
        OK0(pthread_rwlock_unlock(&rwlock));
    }
    return arg;
}

/* --- cond ------------------------------------------------------------------------- */

enum { UNTIMED = 2, TIMED = 3, TOKENS = 2 };

static pthread_mutex_t c_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c_real = PTHREAD_COND_INITIALIZER;
static pthread_cond_t c_idle = PTHREAD_COND_INITIALIZER;
static pthread_cond_t c_round = PTHREAD_COND_INITIALIZER;
/* under c_lock */
static int c_tokens, c_waiting, c_busy;
static long c_taken, c_generation;
static bool c_over, c_stop;

/* One round of a waiter; c_lock is held. Untimed ones leave with a token or when the
 * round is over, timed ones also on their deadline. */
static void cond_play(bool timed, uint64_t *rng)
{
    clockid_t clock = timed ? some_clock(rng) : CLOCK_REALTIME;
    struct timespec when = {0};
    int rc = 0;

    if (timed)
        when = stress_after_ns(clock, tiny(rng));
    while (!c_tokens && !c_over && rc == 0) {
        if (!timed)
            OK0(pthread_cond_wait(&c_real, &c_lock));
        else if (clock == CLOCK_REALTIME)
            rc = pthread_cond_timedwait(&c_real, &c_lock, &when);
        else
            rc = pthread_cond_clockwait(&c_real, &c_lock, clock, &when);
        check_timeout(rc, clock, &when);
    }
    if (rc)
        timeouts++;
    if (c_tokens) {
        c_tokens--;
        c_taken++;
    }
}

static void *cond_thread(void *arg)
{
    bool timed = (uintptr_t)arg >= UNTIMED;
    uint64_t rng = stress_seed_for((uintptr_t)arg);
    long generation = 0;

    OK0(pthread_mutex_lock(&c_lock));
    for (;;) {
        while (c_generation == generation && !c_stop)
            OK0(pthread_cond_wait(&c_round, &c_lock));
        if (c_stop)
            break;
        generation = c_generation;
        c_waiting += !timed;
        OK0(pthread_cond_signal(&c_idle));
        cond_play(timed, &rng);
        c_busy--;
        OK0(pthread_cond_signal(&c_idle));
    }
    OK0(pthread_mutex_unlock(&c_lock));
    return arg;
}

/* One round: start everybody, wait until the untimed ones sleep, hand out the tokens at
 * random moments, wait until both were taken, then end the round for those still
 * waiting. */
static void cond_one_round(uint64_t *rng)
{
    long before;

    OK0(pthread_mutex_lock(&c_lock));
    before = c_taken;
    c_generation++;
    c_over = false;
    c_waiting = 0;
    c_busy = UNTIMED + TIMED;
    OK0(pthread_cond_broadcast(&c_round));
    while (c_waiting < UNTIMED)
        OK0(pthread_cond_wait(&c_idle, &c_lock));
    for (int i = 0; i < TOKENS; i++) {
        OK0(pthread_mutex_unlock(&c_lock));
        stress_sleep_ns(tiny(rng));
        OK0(pthread_mutex_lock(&c_lock));
        c_tokens++;
        if (stress_rand(rng) & 1) {
            OK0(pthread_cond_signal(&c_real));
        } else {
            OK0(pthread_mutex_unlock(&c_lock));
            OK0(pthread_cond_signal(&c_real));
            OK0(pthread_mutex_lock(&c_lock));
        }
    }
    while (c_tokens)
        OK0(pthread_cond_wait(&c_idle, &c_lock));
    CHECK(c_taken == before + TOKENS, "%ld taken", c_taken - before);
    c_over = true;
    OK0(pthread_cond_broadcast(&c_real));
    while (c_busy)
        OK0(pthread_cond_wait(&c_idle, &c_lock));
    OK0(pthread_mutex_unlock(&c_lock));
}

static void run_cond(void)
{
    pthread_t t[UNTIMED + TIMED];
    uint64_t rng = stress_seed_for(77);

    stress_phase("cond", 0.25);
    for (long i = 0; i < UNTIMED + TIMED; i++)
        stress_create(&t[i], cond_thread, (void *)i);
    while (stress_running()) {
        cond_one_round(&rng);
        stress_progress++;
    }
    OK0(pthread_mutex_lock(&c_lock));
    c_stop = true;
    OK0(pthread_cond_broadcast(&c_round));
    OK0(pthread_mutex_unlock(&c_lock));
    for (long i = 0; i < UNTIMED + TIMED; i++)
        stress_join(t[i], (void *)i);
}

int main(int argc, char **argv)
{
    int left;

    stress_begin("timed_race", argc, argv);
    OKSYS(sem_init(&sem, 0, 0));
    run_threads("sem", THREADS, sem_thread);
    OKSYS(sem_getvalue(&sem, &left));
    CHECK(posts == gets + left, "%ld posts, %ld gets, %d left", posts, gets, left);
    run_threads("mutex", THREADS, mutex_thread);
    CHECK(counter == successes, "mutex: counter %ld, %ld locks", counter, successes);
    run_threads("rwlock", THREADS, rwlock_thread);
    CHECK(counter == successes, "rwlock: counter %ld, %ld locks", counter, successes);
    run_cond();
    return stress_end("%ld gets, %ld locks, %ld tokens, %ld timeouts", gets, successes,
                      c_taken, timeouts);
}
