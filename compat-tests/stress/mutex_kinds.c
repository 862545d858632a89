/* mutex_kinds.c - exclusion and error codes of every kind of lock while it is contended.
 *
 * normal, recursive, errorcheck, adaptive, with priority inheritance, robust,
 * process-shared (the last three use the real futex protocol), spin locks, and C11
 * recursive timed. Each is taken by lock, trylock and timedlock; the counter is plain
 * memory under it. The owner checks the kind's promises each time: relocking gives
 * EDEADLK or counts, foreign unlock gives EPERM where promised, try by others gives
 * EBUSY. */

#include "stress.h"
#include <threads.h>

#define THREADS 8

enum how { PTHREAD, SPIN, C11 };

struct kind {
    const char *name;
    enum how how;
    int type, protocol, robust, shared;
};

static const struct kind kinds[] = {
    {"normal", PTHREAD, PTHREAD_MUTEX_NORMAL, 0, 0, 0},
    {"recursive", PTHREAD, PTHREAD_MUTEX_RECURSIVE, 0, 0, 0},
    {"errorcheck", PTHREAD, PTHREAD_MUTEX_ERRORCHECK, 0, 0, 0},
    {"adaptive", PTHREAD, PTHREAD_MUTEX_ADAPTIVE_NP, 0, 0, 0},
    {"inherit", PTHREAD, PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT, 0, 0},
    {"robust", PTHREAD, PTHREAD_MUTEX_ERRORCHECK, 0, PTHREAD_MUTEX_ROBUST, 0},
    {"shared", PTHREAD, PTHREAD_MUTEX_RECURSIVE, 0, 0, PTHREAD_PROCESS_SHARED},
    {"spin", SPIN, 0, 0, 0, 0},
    {"C11 recursive timed", C11, PTHREAD_MUTEX_RECURSIVE, 0, 0, 0},
};
static const struct kind *kind;

static pthread_mutex_t mutex;
static pthread_spinlock_t spin;
static mtx_t mtx;
static long counter; /* under the lock */
static _Atomic int owners;
static _Atomic long locks;

static int lock_pthread(uint64_t *rng)
{
    struct timespec when;

    switch (stress_rand(rng) % 4) {
    case 0:
        return pthread_mutex_trylock(&mutex);
    case 1:
        when = stress_after_ns(CLOCK_REALTIME, stress_rand(rng) % 100000);
        return pthread_mutex_timedlock(&mutex, &when);
    default:
        return pthread_mutex_lock(&mutex);
    }
}

static int lock_c11(uint64_t *rng)
{
    struct timespec when = stress_after_ns(CLOCK_REALTIME, stress_rand(rng) % 100000);

    switch (stress_rand(rng) % 3) {
    case 0:
        return mtx_trylock(&mtx) == thrd_success ? 0 : EBUSY;
    case 1:
        return mtx_timedlock(&mtx, &when) == thrd_success ? 0 : ETIMEDOUT;
    default:
        return mtx_lock(&mtx) == thrd_success ? 0 : -1;
    }
}

static int lock(uint64_t *rng)
{
    if (kind->how == PTHREAD)
        return lock_pthread(rng);
    if (kind->how == C11)
        return lock_c11(rng);
    return stress_rand(rng) & 1 ? pthread_spin_trylock(&spin) : pthread_spin_lock(&spin);
}

static void unlock(void)
{
    if (kind->how == PTHREAD)
        OK0(pthread_mutex_unlock(&mutex));
    else if (kind->how == C11)
        OK0(mtx_unlock(&mtx));
    else
        OK0(pthread_spin_unlock(&spin));
}

/* What the owner may rely on while it holds the lock. */
static void promises(void)
{
    if (kind->how == SPIN) {
        CHECK(pthread_spin_trylock(&spin) == EBUSY, "spin lock taken twice");
    } else if (kind->how == C11) {
        OK0(mtx_lock(&mtx));
        OK0(mtx_trylock(&mtx));
        OK0(mtx_unlock(&mtx));
        OK0(mtx_unlock(&mtx));
    } else if (kind->type == PTHREAD_MUTEX_RECURSIVE) {
        OK0(pthread_mutex_lock(&mutex));
        OK0(pthread_mutex_trylock(&mutex));
        OK0(pthread_mutex_unlock(&mutex));
        OK0(pthread_mutex_unlock(&mutex));
    } else if (kind->type == PTHREAD_MUTEX_ERRORCHECK) {
        int rc = pthread_mutex_trylock(&mutex);

        CHECK(pthread_mutex_lock(&mutex) == EDEADLK, "relocked");
        /* glibc's robust mutexes tell the owner by EDEADLK here, the others by EBUSY. */
        CHECK(rc == EBUSY || (rc == EDEADLK && kind->robust), "relocked by trylock, %d",
              rc);
    } else {
        CHECK(pthread_mutex_trylock(&mutex) == EBUSY, "relocked by trylock");
    }
}

static void foreign_unlock(void)
{
    if (kind->how == PTHREAD &&
        (kind->type == PTHREAD_MUTEX_ERRORCHECK || kind->type == PTHREAD_MUTEX_RECURSIVE))
        CHECK(pthread_mutex_unlock(&mutex) == EPERM, "unlocked by a stranger");
}

static void *worker(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        int rc = lock(&rng);

        CHECK(rc == 0 || rc == EBUSY || rc == ETIMEDOUT, "lock returned %d", rc);
        if (rc) {
            foreign_unlock();
            /* A loop of trylocks must let the owner run, natively too. */
            sched_yield();
            continue;
        }
        CHECK(atomic_fetch_add(&owners, 1) == 0, "two owners");
        counter++;
        promises();
        /* No yield while a spin lock is held: the others would only burn time. */
        if (kind->how != SPIN && stress_rand(&rng) % 8 == 0)
            sched_yield();
        owners--;
        locks++;
        unlock();
        stress_progress++;
    }
    return arg;
}

static void make(void)
{
    pthread_mutexattr_t attr;

    OK0(pthread_mutexattr_init(&attr));
    OK0(pthread_mutexattr_settype(&attr, kind->type));
    OK0(pthread_mutexattr_setprotocol(&attr, kind->protocol));
    OK0(pthread_mutexattr_setrobust(&attr, kind->robust));
    OK0(pthread_mutexattr_setpshared(&attr, kind->shared));
    OK0(pthread_mutex_init(&mutex, &attr));
    OK0(pthread_mutexattr_destroy(&attr));
    OK0(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE));
    OK0(mtx_init(&mtx, mtx_timed | mtx_recursive));
}

int main(int argc, char **argv)
{
    enum { N = sizeof(kinds) / sizeof(kinds[0]) };

    stress_begin("mutex_kinds", argc, argv);
    for (int k = 0; k < N; k++) {
        pthread_t t[THREADS];

        kind = &kinds[k];
        stress_phase(kind->name, 1.0 / N);
        make();
        for (long i = 0; i < THREADS; i++)
            stress_create(&t[i], worker, (void *)i);
        for (long i = 0; i < THREADS; i++)
            stress_join(t[i], (void *)i);
        CHECK(counter == locks, "%ld counted, %ld locks", counter, locks);
        OK0(pthread_mutex_destroy(&mutex));
        OK0(pthread_spin_destroy(&spin));
        mtx_destroy(&mtx);
    }
    return stress_end("%ld locks", locks);
}
