/* tsd_storm.c - thread-specific data while keys come and go and threads end.
 *
 * Threads create keys, set values, block, verify, delete keys and end; a fresh key must
 * read NULL in every thread although its number had another owner a moment ago. Values
 * have destructors: each value set and not cleared is destroyed exactly once, by the
 * thread that set it, and destructors that set values again get their further rounds. C11
 * tss_t runs along. */

#include "stress.h"
#include <limits.h>
#include <threads.h>

#define CREATORS 6
#define KEYS 24

struct value {
    pthread_t owner;
    int rounds; /* how often the destructor sets it again */
    _Atomic int alive;
};

static pthread_key_t lasting[KEYS];
static tss_t c11_key;
static _Atomic long set, destroyed, c11_set, c11_destroyed, children;

static void destroy(struct value *v, pthread_key_t key)
{
    CHECK(v->alive == 1, "a value was destroyed twice");
    CHECK(pthread_equal(v->owner, pthread_self()), "destroyed by a stranger");
    CHECK(pthread_getspecific(key) == NULL, "value not cleared before its destructor");
    sched_yield(); /* destructors may block */
    if (v->rounds-- > 0) {
        OK0(pthread_setspecific(key, v));
        return;
    }
    v->alive = 0;
    free(v);
    destroyed++;
}

/* The destructor gets no key: some keys, each with a function of its own. */
#define DESTRUCTOR(n)                                                                    \
    static void destroy_##n(void *v)                                                     \
    {                                                                                    \
        destroy(v, lasting[n]);                                                          \
    }
DESTRUCTOR(0)
DESTRUCTOR(1)
DESTRUCTOR(2)
DESTRUCTOR(3)
static void (*const destructors[])(void *) = {destroy_0, destroy_1, destroy_2, destroy_3};

static void destroy_c11(void *v)
{
    CHECK(v != NULL, "destructor called with NULL");
    c11_destroyed++;
}

static struct value *new_value(uint64_t *rng)
{
    struct value *v = calloc(1, sizeof(*v));

    v->owner = pthread_self();
    v->rounds = (int)(stress_rand(rng) % PTHREAD_DESTRUCTOR_ITERATIONS);
    v->alive = 1;
    set++;
    return v;
}

/* A child keeps values under all lasting keys and its own brief ones, across blocking. */
static void *child(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);
    struct value *v[4] = {NULL};
    pthread_key_t brief;

    for (int k = 0; k < KEYS; k++)
        CHECK(pthread_getspecific(lasting[k]) == NULL, "a new thread has a value");
    for (int k = 0; k < 4; k++)
        if (stress_rand(&rng) & 1)
            OK0(pthread_setspecific(lasting[k], v[k] = new_value(&rng)));
    for (intptr_t k = 4; k < KEYS; k++)
        OK0(pthread_setspecific(lasting[k], (char *)arg + k));
    if (stress_rand(&rng) & 1) {
        c11_set++;
        OK0(tss_set(c11_key, &rng));
    }
    stress_jitter(&rng);
    OK0(pthread_key_create(&brief, NULL));
    CHECK(pthread_getspecific(brief) == NULL, "a fresh key has a value");
    OK0(pthread_setspecific(brief, &brief));
    stress_jitter(&rng);
    CHECK(pthread_getspecific(brief) == &brief, "the brief key's value changed");
    OK0(pthread_key_delete(brief));
    for (int k = 0; k < 4; k++)
        CHECK(pthread_getspecific(lasting[k]) == v[k], "value of key %d changed", k);
    for (intptr_t k = 4; k < KEYS; k++)
        CHECK(pthread_getspecific(lasting[k]) == (char *)arg + k, "key %ld changed", k);
    if (v[0] && (stress_rand(&rng) & 1)) { /* cleared by hand: no destructor */
        OK0(pthread_setspecific(lasting[0], NULL));
        free(v[0]);
        set--;
    }
    if (stress_rand(&rng) & 1)
        pthread_exit(arg);
    return arg;
}

static void *creator(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        pthread_t t[8];

        for (uintptr_t i = 0; i < 8; i++)
            stress_create(&t[i], child, (void *)(uintptr_t)(stress_rand(&rng) | 64));
        for (int i = 0; i < 8; i++) {
            void *result;

            OK0(pthread_join(t[i], &result));
            children++;
        }
        stress_progress++;
    }
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[CREATORS];

    stress_begin("tsd_storm", argc, argv);
    for (int k = 0; k < KEYS; k++)
        OK0(pthread_key_create(&lasting[k], k < 4 ? destructors[k] : NULL));
    OK0(tss_create(&c11_key, destroy_c11));
    for (long i = 0; i < CREATORS; i++)
        stress_create(&t[i], creator, (void *)i);
    for (long i = 0; i < CREATORS; i++)
        stress_join(t[i], (void *)i);
    CHECK(set == destroyed, "%ld values set, %ld destroyed", set, destroyed);
    CHECK(c11_set == c11_destroyed, "C11: %ld set, %ld destroyed", c11_set,
          c11_destroyed);
    return stress_end("%ld threads, %ld values", children, set);
}
