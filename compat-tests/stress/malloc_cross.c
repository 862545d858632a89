/* malloc_cross.c - memory allocated by one thread, used and freed by others.
 *
 * Threads exchange blocks through a table of slots. Every block carries its size and a
 * pattern which whoever takes it verifies; then it is freed, resized or passed on.
 * Threads end and start all the time (their arenas and caches are taken over by others)
 * and yield inside, so that an allocator that thinks it is still on the same thread gets
 * caught. */

#include "stress.h"
#include <malloc.h>

#define THREADS 12
#define SLOTS 256

struct block {
    size_t bytes;
    uint64_t seed;
    unsigned char data[];
};

static _Atomic(struct block *) slots[SLOTS];
static _Atomic long made, freed;

static size_t some_size(uint64_t *rng)
{
    switch (stress_rand(rng) % 16) {
    case 0:
        return stress_rand(rng) % 200000;
    case 1:
    case 2:
        return stress_rand(rng) % 8000;
    default:
        return stress_rand(rng) % 300;
    }
}

static struct block *fill(struct block *b, size_t bytes, uint64_t seed)
{
    CHECK(b != NULL, "out of memory");
    b->bytes = bytes;
    b->seed = seed;
    for (size_t i = 0; i < bytes; i++)
        b->data[i] = (unsigned char)(seed + i * 7);
    return b;
}

static void verify(const struct block *b, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        CHECK(b->data[i] == (unsigned char)(b->seed + i * 7), "byte %zu of %zu changed",
              i, b->bytes);
}

static struct block *make(uint64_t *rng)
{
    size_t bytes = some_size(rng), all = sizeof(struct block) + bytes;
    void *p = NULL;

    switch (stress_rand(rng) % 4) {
    case 0:
        p = calloc(1, all);
        break;
    case 1:
        OK0(posix_memalign(&p, (size_t)32 << stress_rand(rng) % 5, all));
        break;
    default:
        p = malloc(all);
    }
    made++;
    return fill(p, bytes, stress_rand(rng));
}

static struct block *work_on(struct block *b, uint64_t *rng)
{
    size_t bytes, old = b->bytes;

    verify(b, old);
    CHECK(malloc_usable_size(b) >= sizeof(*b) + old, "usable size too small");
    if (stress_rand(rng) % 3)
        return b;
    bytes = some_size(rng);
    b = realloc(b, sizeof(*b) + bytes);
    CHECK(b != NULL, "out of memory");
    verify(b, bytes < old ? bytes : old);
    return fill(b, bytes, stress_rand(rng));
}

static void *short_life(void *arg)
{
    uint64_t rng = stress_seed_for(stress_rand((uint64_t *)arg));

    for (uint32_t i = stress_rand(&rng) % 400; i > 0; i--) {
        uint32_t slot = stress_rand(&rng) % SLOTS;
        struct block *b = atomic_exchange(&slots[slot], NULL);

        b = b ? work_on(b, &rng) : make(&rng);
        if (stress_rand(&rng) % 32 == 0)
            sched_yield();
        if (stress_rand(&rng) % 3)
            b = atomic_exchange(&slots[slot], b);
        if (b) {
            verify(b, b->bytes);
            freed++;
            free(b);
        }
    }
    return arg;
}

static void *long_life(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        pthread_t t;

        stress_create(&t, short_life, &rng);
        stress_join(t, &rng);
        short_life(&rng);
        stress_progress++;
    }
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];

    stress_begin("malloc_cross", argc, argv);
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], long_life, (void *)i);
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
    for (int i = 0; i < SLOTS; i++) {
        struct block *b = slots[i];

        if (b) {
            verify(b, b->bytes);
            free(b);
            freed++;
        }
    }
    CHECK(made == freed, "%ld made, %ld freed", made, freed);
    return stress_end("%ld blocks, %lu threads", made, stress_progress);
}
