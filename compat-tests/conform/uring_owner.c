/* uring_owner.c - an io_uring of a single issuer (io_uring_setup(2), IORING_SETUP_SINGLE_ISSUER)
 * answers the thread that made it, wherever that waited meanwhile: every other kernel thread
 * would get EEXIST.  Skipped where the kernel has no such rings. */
#include "conform.h"

#include <sys/syscall.h>

enum {
    SETUP = 425, /* older headers have neither these numbers nor the flags */
    ENTER = 426,
    REGISTER = 427,
    SINGLE_ISSUER = 1 << 12,
    R_DISABLED = 1 << 6,
    ENABLE_RINGS = 12,
    ROUNDS = 40,
};

static int stop;
static int mains; /* made before the first thread; -1: there are none */

static int new_ring(unsigned flags)
{
    unsigned params[30] = {0};
    params[2] = flags;
    return (int)syscall(SETUP, 4, params);
}

/* The queue is empty, so nothing is submitted; who asks is checked before. */
static void check_mine(int ring)
{
    CHECK_EQ(syscall(ENTER, ring, 1, 0, 0, NULL, 0), 0);
}

static void use(int ring)
{
    for (int i = 0; i < ROUNDS; i++) {
        check_mine(ring);
        if (i % 2)
            sched_yield();
        else
            usleep(50);
    }
}

static void *mixer(void *arg)
{
    while (!get(&stop))
        usleep(20);
    return arg;
}

static void *owner(void *arg)
{
    int ring = new_ring(SINGLE_ISSUER);
    CHECK(ring >= 0);
    use(ring);
    close(ring);
    return arg;
}

/* With R_DISABLED the owner is who enables it. */
static void *enabler(void *arg)
{
    int ring = *(int *)arg;
    CHECK_EQ(syscall(REGISTER, ring, ENABLE_RINGS, NULL, 0), 0);
    use(ring);
    return NULL;
}

static void with_mixers(void (*body)(void))
{
    pthread_t t[6];
    if (mains < 0)
        return;
    set(&stop, 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(mixer, NULL);
    body();
    set(&stop, 1);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}

static void use_mains(void)
{
    use(mains);
}

TEST(ring_made_before_the_first_thread)
{
    mains = new_ring(SINGLE_ISSUER);
    with_mixers(use_mains);
}

static void use_owners(void)
{
    pthread_t t[6];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(owner, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}

TEST(ring_of_a_thread)
{
    with_mixers(use_owners);
}

static void use_enabled(void)
{
    pthread_t t[4];
    int ring[COUNT_OF(t)];
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        ring[i] = new_ring(SINGLE_ISSUER | R_DISABLED);
        CHECK(ring[i] >= 0);
        t[i] = spawn(enabler, &ring[i]);
    }
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        join(t[i]);
        close(ring[i]);
    }
}

TEST(ring_that_a_thread_enables)
{
    with_mixers(use_enabled);
}

TEST(ring_that_cannot_be_made)
{
    CHECK_EQ(syscall(SETUP, 4, NULL), -1);
    CHECK(errno == EFAULT || mains < 0);
}
