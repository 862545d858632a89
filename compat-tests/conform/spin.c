/* spin.c - spin locks. */
#include "conform.h"

struct counter {
    pthread_spinlock_t s;
    int inside;
    long total;
};

#define ROUNDS 3000

static void *count_up(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < ROUNDS; i++) {
        if (i % 5 == 0) {
            while (pthread_spin_trylock(&c->s) != 0)
                sched_yield();
        } else {
            CHECK_EQ(pthread_spin_lock(&c->s), 0);
        }
        CHECK_EQ(add(&c->inside, 1), 1);
        c->total++;
        if (i % 256 == 0)
            sched_yield(); /* the holder loses its processor: spinners must let it run */
        add(&c->inside, -1);
        CHECK_EQ(pthread_spin_unlock(&c->s), 0);
    }
    return NULL;
}

static void exclusion(int pshared)
{
    struct counter c = {.inside = 0, .total = 0};
    pthread_t t[6];

    CHECK_EQ(pthread_spin_init(&c.s, pshared), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(count_up, &c);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(c.total, (long)COUNT_OF(t) * ROUNDS);
    CHECK_EQ(pthread_spin_destroy(&c.s), 0);
}

TEST(exclusion_private)
{
    exclusion(PTHREAD_PROCESS_PRIVATE);
}

TEST(exclusion_shared_kind)
{
    exclusion(PTHREAD_PROCESS_SHARED);
}

/* pthread_spinlock_t is volatile: in a struct it goes through void * without casts. */
struct held {
    pthread_spinlock_t s;
};

static void *try_it(void *arg)
{
    struct held *h = arg;

    return (void *)(intptr_t)pthread_spin_trylock(&h->s);
}

TEST(trylock)
{
    struct held h;

    CHECK_EQ(pthread_spin_init(&h.s, PTHREAD_PROCESS_PRIVATE), 0);
    CHECK_EQ(pthread_spin_lock(&h.s), 0);
    CHECK_EQ(pthread_spin_trylock(&h.s), EBUSY); /* POSIX spin_trylock */
    CHECK_EQ((intptr_t)join(spawn(try_it, &h)), EBUSY);
    CHECK_EQ(pthread_spin_unlock(&h.s), 0);
    CHECK_EQ((intptr_t)join(spawn(try_it, &h)), 0);
    CHECK_EQ(pthread_spin_trylock(&h.s), EBUSY);
    CHECK_EQ(pthread_spin_unlock(&h.s), 0); /* glibc: no owner is recorded */
    CHECK_EQ(pthread_spin_destroy(&h.s), 0);
}

static void *lock_it(void *arg)
{
    struct held *h = arg;

    CHECK_EQ(pthread_spin_lock(&h->s), 0);
    CHECK_EQ(pthread_spin_unlock(&h->s), 0);
    return NULL;
}

TEST(holder_that_sleeps)
{
    /* Nobody should do this; still the spinners must not keep the holder from running. */
    struct held h;
    pthread_t t[4];

    CHECK_EQ(pthread_spin_init(&h.s, PTHREAD_PROCESS_PRIVATE), 0);
    CHECK_EQ(pthread_spin_lock(&h.s), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(lock_it, &h);
    sleep_ms(30);
    CHECK_EQ(pthread_spin_unlock(&h.s), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(pthread_spin_destroy(&h.s), 0);
}
