/* join_races.c - every way of joining, racing with the end of the thread.
 *
 * Threads live for about as long as it takes to get to the join. They are joined by
 * pthread_join, by tryjoin in a loop, by timedjoin and clockjoin with tiny deadlines
 * until one succeeds, or after it is known that they have posted their last. Checked: the
 * result arrives exactly once, EBUSY and ETIMEDOUT only while the thread was still there,
 * no ETIMEDOUT early, joining oneself gives EDEADLK, and the joined thread's writes are
 * seen. Also a chain: each thread joins its predecessor, so that exits wake each
 * other. */

#include "stress.h"

#define PAIRS 8
#define CHAIN 50

struct life {
    uint64_t rng;
    long in, out; /* out: plain write of the thread, ordered by the join */
    sem_t last_word;
};

static _Atomic long timeouts, busies;

static void *live(void *arg)
{
    struct life *l = arg;

    CHECK(pthread_join(pthread_self(), NULL) == EDEADLK, "joining oneself");
    switch (stress_rand(&l->rng) % 4) {
    case 0:
        break;
    case 1:
        sched_yield();
        break;
    case 2:
        stress_sleep_ns(stress_rand(&l->rng) % 50000);
        break;
    default:
        for (volatile uint32_t i = stress_rand(&l->rng) % 20000; i > 0; i--)
            ;
    }
    l->out = l->in + 1;
    OKSYS(sem_post(&l->last_word));
    if (stress_rand(&l->rng) & 1)
        pthread_exit((void *)l->in);
    return (void *)l->in;
}

static void *try_until(pthread_t t)
{
    void *result;
    int rc;

    while ((rc = pthread_tryjoin_np(t, &result)) == EBUSY) {
        busies++;
        sched_yield();
    }
    OK0(rc);
    return result;
}

static void *timed_until(pthread_t t, clockid_t clock, uint64_t *rng)
{
    struct timespec when;
    void *result;
    int rc;

    do {
        when = stress_after_ns(clock, stress_rand(rng) % 30000);
        if (clock == CLOCK_REALTIME)
            rc = pthread_timedjoin_np(t, &result, &when);
        else
            rc = pthread_clockjoin_np(t, &result, clock, &when);
        CHECK(rc == 0 || rc == ETIMEDOUT, "timed join returned %d", rc);
        CHECK(rc == 0 || stress_passed(clock, &when), "ETIMEDOUT before the deadline");
        timeouts += rc != 0;
    } while (rc);
    return result;
}

static void *joiner(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);
    struct life l = {.rng = stress_seed_for((uintptr_t)arg + 1000)};

    OKSYS(sem_init(&l.last_word, 0, 0));
    while (stress_running()) {
        void *result = NULL;
        pthread_t t;

        l.in = (long)stress_rand(&rng);
        l.out = 0;
        stress_create(&t, live, &l);
        switch (stress_rand(&rng) % 5) {
        case 0:
            OK0(pthread_join(t, &result));
            break;
        case 1:
            result = try_until(t);
            break;
        case 2:
            result = timed_until(t, CLOCK_REALTIME, &rng);
            break;
        case 3:
            result = timed_until(t, CLOCK_MONOTONIC, &rng);
            break;
        default:
            stress_sem_wait(&l.last_word);
            OKSYS(sem_post(&l.last_word));
            stress_jitter(&rng);
            OK0(pthread_join(t, &result));
        }
        CHECK(result == (void *)l.in, "result %p of %#lx", result, l.in);
        CHECK(l.out == l.in + 1, "the joined thread's write is not there");
        stress_sem_wait(&l.last_word);
        stress_progress++;
    }
    OKSYS(sem_destroy(&l.last_word));
    return arg;
}

static pthread_t chain[CHAIN];
static sem_t chain_go;

static void *link_main(void *arg)
{
    intptr_t i = (intptr_t)arg;
    void *before = NULL;

    if (i == 0)
        stress_sem_wait(&chain_go);
    else
        OK0(pthread_join(chain[i - 1], &before));
    return (void *)((intptr_t)before + 1);
}

static void run_chains(void)
{
    stress_phase("chain", 0.3);
    OKSYS(sem_init(&chain_go, 0, 0));
    while (stress_running()) {
        for (intptr_t i = 0; i < CHAIN; i++)
            stress_create_small(&chain[i], link_main, (void *)i);
        OKSYS(sem_post(&chain_go));
        stress_join(chain[CHAIN - 1], (void *)CHAIN);
        stress_progress++;
    }
}

int main(int argc, char **argv)
{
    pthread_t t[PAIRS];

    stress_begin("join_races", argc, argv);
    stress_phase("races", 0.7);
    for (long i = 0; i < PAIRS; i++)
        stress_create(&t[i], joiner, (void *)i);
    for (long i = 0; i < PAIRS; i++)
        stress_join(t[i], (void *)i);
    run_chains();
    return stress_end("%lu joins and chains, %ld EBUSY, %ld ETIMEDOUT", stress_progress,
                      busies, timeouts);
}
