/* cond_storm.c - broadcast and signal storms with exact counts.
 *
 * broadcast: W waiters; the caster raises a generation and broadcasts; every waiter must
 *   see every generation exactly once, in order, before the caster goes on.
 * signal: the caster adds k tokens and sends k signals while all waiters sleep; all k
 *   must be taken before it goes on. k signals wake at least k distinct waiters, so one
 *   lost signal hangs.
 * Both run with a CLOCK_REALTIME and a CLOCK_MONOTONIC condition, signalled with and
 * without the mutex held. */

#include "stress.h"

#define MAX_WAITERS 200

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change, back = PTHREAD_COND_INITIALIZER;
static int n_waiters;
/* under lock */
static long generation, tokens, taken;
static int acks, asleep;
static bool stop;

static void *generation_waiter(void *arg)
{
    long seen = 0;

    OK0(pthread_mutex_lock(&lock));
    while (!stop) {
        while (generation == seen && !stop)
            OK0(pthread_cond_wait(&change, &lock));
        if (generation == seen)
            break;
        CHECK(generation == seen + 1, "saw generation %ld after %ld", generation, seen);
        seen++;
        if (++acks == n_waiters)
            OK0(pthread_cond_signal(&back));
    }
    OK0(pthread_mutex_unlock(&lock));
    *(long *)arg = seen;
    return arg;
}

static void *token_waiter(void *arg)
{
    long *mine = arg;

    OK0(pthread_mutex_lock(&lock));
    for (;;) {
        asleep++;
        OK0(pthread_cond_signal(&back));
        while (!tokens && !stop)
            OK0(pthread_cond_wait(&change, &lock));
        asleep--;
        if (!tokens)
            break;
        tokens--;
        taken++;
        ++*mine;
        OK0(pthread_cond_signal(&back));
    }
    OK0(pthread_mutex_unlock(&lock));
    return arg;
}

static void cast_generations(uint64_t *rng)
{
    while (stress_running()) {
        bool inside = stress_rand(rng) & 1;

        OK0(pthread_mutex_lock(&lock));
        acks = 0;
        generation++;
        if (inside)
            OK0(pthread_cond_broadcast(&change));
        OK0(pthread_mutex_unlock(&lock));
        if (!inside)
            OK0(pthread_cond_broadcast(&change));
        OK0(pthread_mutex_lock(&lock));
        while (acks < n_waiters)
            OK0(pthread_cond_wait(&back, &lock));
        OK0(pthread_mutex_unlock(&lock));
        stress_progress++;
    }
}

static void cast_tokens(uint64_t *rng)
{
    while (stress_running()) {
        int k = 1 + (int)(stress_rand(rng) % (unsigned)n_waiters);
        bool inside = stress_rand(rng) & 1;
        long before;

        OK0(pthread_mutex_lock(&lock));
        while (asleep < n_waiters)
            OK0(pthread_cond_wait(&back, &lock));
        before = taken;
        tokens = k;
        for (int i = 0; inside && i < k; i++)
            OK0(pthread_cond_signal(&change));
        OK0(pthread_mutex_unlock(&lock));
        for (int i = 0; !inside && i < k; i++)
            OK0(pthread_cond_signal(&change));
        OK0(pthread_mutex_lock(&lock));
        while (tokens)
            OK0(pthread_cond_wait(&back, &lock));
        CHECK(taken == before + k, "%ld tokens taken of %d", taken - before, k);
        OK0(pthread_mutex_unlock(&lock));
        stress_progress++;
    }
}

static void run(const char *name, int waiters, clockid_t clock, bool broadcast)
{
    pthread_t threads[MAX_WAITERS];
    static long counts[MAX_WAITERS];
    uint64_t rng = stress_seed_for((uint64_t)waiters);
    pthread_condattr_t attr;
    long sum = 0;

    stress_phase(name, 0.24);
    memset(counts, 0, sizeof(counts));
    generation = tokens = taken = 0;
    acks = asleep = 0;
    stop = false;
    n_waiters = waiters;
    OK0(pthread_condattr_init(&attr));
    OK0(pthread_condattr_setclock(&attr, clock));
    OK0(pthread_cond_init(&change, &attr));
    OK0(pthread_condattr_destroy(&attr));
    for (int i = 0; i < waiters; i++)
        stress_create(&threads[i], broadcast ? generation_waiter : token_waiter,
                      &counts[i]);
    if (broadcast)
        cast_generations(&rng);
    else
        cast_tokens(&rng);
    OK0(pthread_mutex_lock(&lock));
    stop = true;
    OK0(pthread_cond_broadcast(&change));
    OK0(pthread_mutex_unlock(&lock));
    for (int i = 0; i < waiters; i++) {
        stress_join(threads[i], &counts[i]);
        sum += counts[i];
        CHECK(!broadcast || counts[i] == generation, "waiter %d saw %ld of %ld", i,
              counts[i], generation);
    }
    CHECK(broadcast || sum == taken, "%ld counted, %ld taken", sum, taken);
    OK0(pthread_cond_destroy(&change));
}

int main(int argc, char **argv)
{
    stress_begin("cond_storm", argc, argv);
    run("broadcast to 3", 3, CLOCK_REALTIME, true);
    run("broadcast to 200", 200, CLOCK_MONOTONIC, true);
    run("signal to 2", 2, CLOCK_MONOTONIC, false);
    run("signal to 40", 40, CLOCK_REALTIME, false);
    return stress_end("%lu rounds", stress_progress);
}
