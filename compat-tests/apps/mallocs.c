/* mallocs.c - threads that allocate, pass the memory on and free what others allocated.
 *
 *   mallocs [LAPS]
 *
 * A ring of threads: each fills blocks of random sizes with a pattern, hands them to its
 * neighbour through a slot under a mutex and condition, verifies and frees what it gets,
 * and sometimes sleeps or starts a short-lived thread that does the freeing. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 12 };

struct block {
    size_t bytes;
    unsigned char fill;
    unsigned char data[];
};

static struct slot {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct block *block; /* under lock */
} slots[THREADS];

static int laps = 200;
static long errors; /* atomic */

static uint32_t rnd(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

static struct block *make(uint64_t *rng)
{
    size_t bytes = rnd(rng) % 16 ? rnd(rng) % 2000 : rnd(rng) % 300000;
    struct block *b =
        rnd(rng) % 2 ? malloc(sizeof(*b) + bytes) : calloc(1, sizeof(*b) + bytes);

    if (!b)
        abort();
    b->bytes = bytes;
    b->fill = (unsigned char)rnd(rng);
    memset(b->data, b->fill, bytes);
    return b;
}

static void *check_and_free(void *arg)
{
    struct block *b = arg;

    for (size_t i = 0; i < b->bytes; i++)
        if (b->data[i] != b->fill) {
            __atomic_fetch_add(&errors, 1, __ATOMIC_RELAXED);
            break;
        }
    free(b);
    return NULL;
}

static void put(struct slot *s, struct block *b)
{
    pthread_mutex_lock(&s->lock);
    while (s->block)
        pthread_cond_wait(&s->changed, &s->lock);
    s->block = b;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static struct block *get(struct slot *s)
{
    struct block *b;

    pthread_mutex_lock(&s->lock);
    while (!s->block)
        pthread_cond_wait(&s->changed, &s->lock);
    b = s->block;
    s->block = NULL;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return b;
}

static void *worker(void *arg)
{
    long id = (long)(intptr_t)arg;
    uint64_t rng = (uint64_t)id * 7919 + 1;

    for (int lap = 0; lap < laps; lap++) {
        struct block *b;
        pthread_t helper;

        put(&slots[id], make(&rng));
        b = realloc(get(&slots[(id + 1) % THREADS]), 0 + sizeof(*b) + 400000);
        if (!b)
            abort();
        if (lap % 16 == 0 && pthread_create(&helper, NULL, check_and_free, b) == 0)
            pthread_join(helper, NULL);
        else
            check_and_free(b);
        if (rnd(&rng) % 32 == 0)
            usleep(rnd(&rng) % 500);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];

    if (argc > 1)
        laps = atoi(argv[1]);
    for (int i = 0; i < THREADS; i++) {
        pthread_mutex_init(&slots[i].lock, NULL);
        pthread_cond_init(&slots[i].changed, NULL);
    }
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, worker, (void *)(intptr_t)i))
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    printf("%d threads, %d laps, %ld errors\n", THREADS, laps, errors);
    return errors != 0;
}
