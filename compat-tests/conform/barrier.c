/* barrier.c - barriers. Across fork: pshared.c. */
#include "conform.h"

TEST(arguments)
{
    pthread_barrier_t b;
    pthread_barrierattr_t attr;
    int value = -1;

    CHECK_EQ(pthread_barrier_init(&b, NULL, 0), EINVAL);       /* POSIX barrier_init */
    CHECK_EQ(pthread_barrier_init(&b, NULL, INT_MAX), EINVAL); /* glibc: UINT_MAX / 2 */
    CHECK_EQ(pthread_barrier_init(&b, NULL, INT_MAX - 1), 0);
    CHECK_EQ(pthread_barrier_destroy(&b), 0);
    CHECK_EQ(pthread_barrierattr_init(&attr), 0);
    CHECK_EQ(pthread_barrierattr_getpshared(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PROCESS_PRIVATE); /* POSIX: the default */
    CHECK_EQ(pthread_barrierattr_setpshared(&attr, 2), EINVAL);
    CHECK_EQ(pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_barrierattr_getpshared(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_barrierattr_destroy(&attr), 0);
}

TEST(count_of_one)
{
    pthread_barrier_t b;

    CHECK_EQ(pthread_barrier_init(&b, NULL, 1), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(pthread_barrier_wait(&b), PTHREAD_BARRIER_SERIAL_THREAD);
    CHECK_EQ(pthread_barrier_destroy(&b), 0);
}

#define THREADS 16
#define ROUNDS 200

struct party {
    pthread_barrier_t b;
    int arrived;
    int serial;
};

static void *attend(void *arg)
{
    struct party *p = arg;

    for (int round = 1; round <= ROUNDS; round++) {
        int rc;

        add(&p->arrived, 1);
        rc = pthread_barrier_wait(&p->b);
        CHECK(rc == 0 || rc == PTHREAD_BARRIER_SERIAL_THREAD);
        if (rc == PTHREAD_BARRIER_SERIAL_THREAD)
            add(&p->serial, 1);
        CHECK(get(&p->arrived) >= round * THREADS); /* POSIX: nobody leaves early */
        rc = pthread_barrier_wait(&p->b);
        if (rc == PTHREAD_BARRIER_SERIAL_THREAD)
            add(&p->serial, 1);
        CHECK_EQ(get(&p->arrived) > (round + 1) * THREADS, 0); /* nor enters twice */
    }
    return NULL;
}

TEST(reuse_and_one_serial_thread)
{
    struct party p = {.arrived = 0, .serial = 0};
    pthread_t t[THREADS];

    CHECK_EQ(pthread_barrier_init(&p.b, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(attend, &p);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
    CHECK_EQ(p.arrived, THREADS * ROUNDS);
    CHECK_EQ(p.serial, 2 * ROUNDS); /* POSIX: exactly one per round, unspecified which */
    CHECK_EQ(pthread_barrier_destroy(&p.b), 0);
}

static void *wait_once(void *arg)
{
    int rc = pthread_barrier_wait(arg);

    return (void *)(intptr_t)(rc == PTHREAD_BARRIER_SERIAL_THREAD);
}

static void *wait_and_destroy(void *arg)
{
    pthread_barrier_t *b = arg;
    int rc = pthread_barrier_wait(b);

    if (rc == PTHREAD_BARRIER_SERIAL_THREAD) {
        /* POSIX.1-2017 rationale: the serial thread may destroy it while the others have
         * not returned; destroy waits for them. */
        CHECK_EQ(pthread_barrier_destroy(b), 0);
        memset(b, 0xa5, sizeof(*b));
    }
    return (void *)(intptr_t)(rc == PTHREAD_BARRIER_SERIAL_THREAD);
}

TEST(destroy_by_the_serial_thread)
{
    pthread_barrier_t b;
    pthread_t t[4];

    for (int round = 0; round < 300; round++) {
        intptr_t serial = 0;

        CHECK_EQ(pthread_barrier_init(&b, NULL, COUNT_OF(t) + 1), 0);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(wait_and_destroy, &b);
        serial += (intptr_t)wait_and_destroy(&b);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            serial += (intptr_t)join(t[i]);
        CHECK_EQ(serial, 1);
    }
}

TEST(more_threads_than_the_count)
{
    /* POSIX: 60 threads at a barrier of 20 are three rounds. */
    pthread_barrier_t b;
    pthread_t t[60];
    intptr_t serial = 0;

    CHECK_EQ(pthread_barrier_init(&b, NULL, 20), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(wait_once, &b);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        serial += (intptr_t)join(t[i]);
    CHECK_EQ(serial, 3);
    CHECK_EQ(pthread_barrier_destroy(&b), 0);
}

#define WRITERS 200

struct board {
    pthread_barrier_t b;
    int next;
    int note[WRITERS]; /* plain memory: the barrier is what orders it */
};

static void *write_and_read(void *arg)
{
    struct board *board = arg;
    int missing = 0;

    board->note[add(&board->next, 1) - 1] = 1;
    pthread_barrier_wait(&board->b);
    for (int i = 0; i < WRITERS; i++)
        missing += board->note[i] != 1;
    CHECK_EQ(missing, 0); /* POSIX 4.12: stores before the barrier are seen after it */
    return NULL;
}

TEST(publishes_memory)
{
    static struct board board;
    pthread_t t[WRITERS - 1];

    CHECK_EQ(pthread_barrier_init(&board.b, NULL, WRITERS), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(write_and_read, &board);
    await_at_least(&board.next, WRITERS - 1);
    settle(); /* all but one are parked: a wake of many */
    write_and_read(&board);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(pthread_barrier_destroy(&board.b), 0);
}
