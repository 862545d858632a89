/* bound_pairs.c - threads that are bound to kernel threads hand over to each other, and nobody
 * else starves beside them.
 *
 * Pairs of threads play ping-pong with semaphores: both bound, one of them, none; some change that
 * as they go.  Meanwhile a thread that only yields, one that sleeps, and one that is made and
 * joined again and again must get on.  A hand-over that gets lost is a hang. */

#include "compat-tests/stress/stress.h"

#include "shim/gshim.h"

enum { PAIRS = 4, LEAST = 20 };

static struct pair {
    sem_t ping, pong;
    long rounds;
} pairs[PAIRS];

static _Atomic bool enough;
static _Atomic long yields, sleeps, joins;

static void set_bound(bool on)
{
    if (on && gshim_lock_os_thread)
        gshim_lock_os_thread();
    if (!on && gshim_unlock_os_thread)
        gshim_unlock_os_thread();
}

/* Bound: the first of pairs 0, 1 and the second of pair 0; pair 3 changes all the time. */
static void *first(void *arg)
{
    long id = (long)arg;
    struct pair *p = &pairs[id];

    if (id < 2)
        set_bound(true);
    while (!enough) {
        bool now = id == 3 && p->rounds % 7 == 0;
        if (now)
            set_bound(true);
        OKSYS(sem_post(&p->ping));
        stress_sem_wait(&p->pong);
        if (now)
            set_bound(false);
        p->rounds++;
        stress_progress++;
    }
    OKSYS(sem_post(&p->ping));
    return arg;
}

static void *second(void *arg)
{
    long id = (long)arg;
    struct pair *p = &pairs[id];

    if (id == 0)
        set_bound(true);
    for (long n = 0;; n++) {
        if (id == 3 && n % 5 == 0)
            set_bound(true);
        stress_sem_wait(&p->ping);
        if (enough)
            break;
        OKSYS(sem_post(&p->pong));
        if (id == 3 && n % 5 == 4)
            set_bound(false);
    }
    OKSYS(sem_post(&p->pong)); /* the first may wait for one more */
    return arg;
}

static void *yielder(void *arg)
{
    for (; !enough; yields++)
        sched_yield();
    return arg;
}

static void *sleeper(void *arg)
{
    for (; !enough; sleeps++)
        stress_sleep_ns(100000);
    return arg;
}

static void *nothing(void *arg)
{
    return arg;
}

static void *maker(void *arg)
{
    pthread_t t;

    for (; !enough; joins++) {
        stress_create(&t, nothing, arg);
        stress_join(t, arg);
    }
    return arg;
}

static bool all_got_on(void)
{
    bool all = yields >= LEAST && sleeps >= LEAST && joins >= LEAST;

    for (int i = 0; i < PAIRS; i++)
        all &= *(volatile long *)&pairs[i].rounds >= LEAST;
    return all;
}

int main(int argc, char **argv)
{
    void *(*others[])(void *) = {yielder, sleeper, maker};
    pthread_t t[2 * PAIRS + 3];
    long rounds = 0;
    int n = 0;

    stress_begin("bound_pairs", argc, argv);
    for (long i = 0; i < PAIRS; i++) {
        OKSYS(sem_init(&pairs[i].ping, 0, 0));
        OKSYS(sem_init(&pairs[i].pong, 0, 0));
    }
    for (long i = 0; i < PAIRS; i++) {
        stress_create(&t[n++], first, (void *)i);
        stress_create(&t[n++], second, (void *)i);
    }
    for (long i = 0; i < 3; i++)
        stress_create(&t[n++], others[i], NULL);
    while (stress_running() || !all_got_on())
        stress_sleep_ns(1000000);
    enough = true;
    for (int i = 0; i < n; i++)
        stress_join(t[i], i < 2 * PAIRS ? (void *)(long)(i / 2) : NULL);
    for (int i = 0; i < PAIRS; i++)
        rounds += pairs[i].rounds;
    return stress_end("%ld rounds, %ld yields, %ld sleeps, %ld joins", rounds, yields,
                      sleeps, joins);
}
