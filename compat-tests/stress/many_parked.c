/* many_parked.c - thousands of threads parked at the same time, woken in random order.
 *
 *   many_parked [seconds] [threads]      default 10,000 threads
 *
 * Each thread waits on a semaphore of its own (even ones) or in a bucket of threads that
 * share a mutex and condition (odd ones), several times. Main wakes them one by one in a
 * random order and checks that exactly the right one ran; then all at once. */

#include "stress.h"

#define LAPS 3
#define BUCKETS 2048

struct waiter {
    sem_t sem;
    bool turn; /* under the bucket's lock */
    int laps;  /* owner only, read after the acknowledgement */
    uint64_t magic;
};

static struct bucket {
    pthread_mutex_t lock;
    pthread_cond_t cond;
} buckets[BUCKETS];

static struct waiter *waiters;
static sem_t ack, ready;
static _Atomic long last;
static long n_threads = 10000;

static void wait_turn(struct waiter *w, long id)
{
    struct bucket *b = &buckets[(id / 2) % BUCKETS];

    if (id % 2 == 0) {
        stress_sem_wait(&w->sem);
        return;
    }
    OK0(pthread_mutex_lock(&b->lock));
    while (!w->turn)
        OK0(pthread_cond_wait(&b->cond, &b->lock));
    w->turn = false;
    OK0(pthread_mutex_unlock(&b->lock));
}

static void give_turn(long id)
{
    struct waiter *w = &waiters[id];
    struct bucket *b = &buckets[(id / 2) % BUCKETS];

    if (id % 2 == 0) {
        OKSYS(sem_post(&w->sem));
        return;
    }
    OK0(pthread_mutex_lock(&b->lock));
    w->turn = true;
    OK0(pthread_cond_broadcast(&b->cond));
    OK0(pthread_mutex_unlock(&b->lock));
}

static void *waiter_main(void *arg)
{
    long id = (long)(intptr_t)arg;
    struct waiter *w = &waiters[id];
    volatile uint64_t on_stack = (uint64_t)id * 0x9e3779b97f4a7c15u;

    OKSYS(sem_post(&ready));
    for (int lap = 0; lap < LAPS; lap++) {
        wait_turn(w, id);
        CHECK(on_stack == (uint64_t)id * 0x9e3779b97f4a7c15u, "stack of %ld changed", id);
        w->laps++;
        last = id;
        OKSYS(sem_post(&ack));
    }
    return (void *)(intptr_t)(id * 7);
}

static void shuffle(long *order, uint64_t *rng)
{
    for (long i = n_threads - 1; i > 0; i--) {
        long j = (long)(stress_rand(rng) % (uint32_t)(i + 1)), t = order[i];

        order[i] = order[j];
        order[j] = t;
    }
}

static void one_round(long *order, pthread_t *t, uint64_t *rng)
{
    memset(waiters, 0, sizeof(*waiters) * (size_t)n_threads);
    for (long i = 0; i < n_threads; i++) {
        order[i] = i;
        OKSYS(sem_init(&waiters[i].sem, 0, 0));
        stress_create_small(&t[i], waiter_main, (void *)(intptr_t)i);
    }
    for (long i = 0; i < n_threads; i++)
        stress_sem_wait(&ready);
    for (int lap = 0; lap < LAPS; lap++) {
        shuffle(order, rng);
        for (long i = 0; i < n_threads; i++) {
            give_turn(order[i]);
            if (lap == LAPS - 1)
                continue; /* the last lap: all at once */
            stress_sem_wait(&ack);
            CHECK(last == order[i], "woke %ld, but %ld ran", order[i], last);
        }
        stress_progress++;
    }
    for (long i = 0; i < n_threads; i++)
        stress_sem_wait(&ack);
    for (long i = 0; i < n_threads; i++) {
        stress_join(t[order[i]], (void *)(intptr_t)(order[i] * 7));
        CHECK(waiters[order[i]].laps == LAPS, "%d laps", waiters[order[i]].laps);
    }
}

int main(int argc, char **argv)
{
    uint64_t rng;
    pthread_t *t;
    long *order, rounds = 0;

    stress_begin("many_parked", argc, argv);
    if (argc > 2)
        n_threads = atol(argv[2]);
    rng = stress_seed_for(3);
    waiters = calloc((size_t)n_threads, sizeof(*waiters));
    order = calloc((size_t)n_threads, sizeof(*order));
    t = calloc((size_t)n_threads, sizeof(*t));
    CHECK(waiters && order && t, "out of memory");
    OKSYS(sem_init(&ack, 0, 0));
    OKSYS(sem_init(&ready, 0, 0));
    for (int i = 0; i < BUCKETS; i++) {
        OK0(pthread_mutex_init(&buckets[i].lock, NULL));
        OK0(pthread_cond_init(&buckets[i].cond, NULL));
    }
    do {
        one_round(order, t, &rng);
        rounds++;
    } while (stress_running());
    return stress_end("%ld rounds of %ld threads", rounds, n_threads);
}
