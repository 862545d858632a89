/* once.c - pthread_once. C++ call_once with exceptions: cxx_threads.cc. */
#include "conform.h"

static pthread_once_t control;
static int calls, finished;

static void slow_init(void)
{
    add(&calls, 1);
    sleep_ms(5); /* so that the other callers really wait */
    set(&finished, 1);
}

static void *call(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_once(&control, slow_init), 0);
    CHECK_EQ(get(&finished), 1); /* POSIX: on return, the routine has completed */
    return NULL;
}

TEST(called_exactly_once)
{
    pthread_t t[32];

    for (int round = 0; round < 10; round++) {
        pthread_once_t fresh = PTHREAD_ONCE_INIT;

        control = fresh;
        set(&calls, 0);
        set(&finished, 0);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(call, NULL);
        call(NULL);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
        CHECK_EQ(calls, 1);
    }
}

static pthread_once_t outer = PTHREAD_ONCE_INIT, inner = PTHREAD_ONCE_INIT;
static int inner_calls, outer_calls;

static void inner_init(void)
{
    inner_calls++;
}

static void outer_init(void)
{
    CHECK_EQ(pthread_once(&inner, inner_init), 0);
    outer_calls++;
}

TEST(nested_controls)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_once(&outer, outer_init), 0);
    CHECK_EQ(inner_calls, 1);
    CHECK_EQ(outer_calls, 1);
}

/* The initialiser hands work to another thread and waits for it. */
static pthread_once_t threaded = PTHREAD_ONCE_INIT;
static int made;

static void *make(void *arg)
{
    (void)arg;
    add(&made, 1);
    return NULL;
}

static void threaded_init(void)
{
    join(spawn(make, NULL));
}

static void *call_threaded(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_once(&threaded, threaded_init), 0);
    CHECK_EQ(get(&made), 1);
    return NULL;
}

TEST(initialiser_that_blocks)
{
    pthread_t t[8];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(call_threaded, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(made, 1);
}

/* Many controls at once, hit in different orders. */
#define CONTROLS 200

static pthread_once_t many[CONTROLS];
static int many_calls;

static void many_init(void)
{
    add(&many_calls, 1);
}

static void *call_many(void *arg)
{
    int step = (int)(intptr_t)arg;

    for (int i = 0; i < CONTROLS; i++)
        CHECK_EQ(pthread_once(&many[(i * step) % CONTROLS], many_init), 0);
    return NULL;
}

TEST(many_controls)
{
    static const int steps[] = {1, 3, 7, 9, 11, 13, 17, 199}; /* coprime to CONTROLS */
    pthread_once_t fresh = PTHREAD_ONCE_INIT;
    pthread_t t[COUNT_OF(steps)];

    for (int i = 0; i < CONTROLS; i++)
        many[i] = fresh;
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(call_many, (void *)(intptr_t)steps[i]);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(many_calls, CONTROLS);
}

static pthread_once_t exited = PTHREAD_ONCE_INIT;
static int exit_calls;

static void exit_first_time(void)
{
    if (add(&exit_calls, 1) == 1)
        pthread_exit(NULL);
}

static void *call_exited(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_once(&exited, exit_first_time), 0);
    return NULL;
}

TEST(initialiser_that_exits_the_thread)
{
    /* glibc: leaving the routine by unwinding makes the control as if never called. */
    join(spawn(call_exited, NULL));
    CHECK_EQ(exit_calls, 1);
    join(spawn(call_exited, NULL));
    CHECK_EQ(exit_calls, 2);
    CHECK_EQ(pthread_once(&exited, exit_first_time), 0);
    CHECK_EQ(exit_calls, 2);
}

static pthread_once_t waited = PTHREAD_ONCE_INIT;
static int waited_calls;

static void exit_slowly(void)
{
    if (add(&waited_calls, 1) == 1) {
        settle();
        pthread_exit(NULL);
    }
}

static void *call_waited(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_once(&waited, exit_slowly), 0);
    return NULL;
}

TEST(a_waiter_takes_over)
{
    pthread_t t[8];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(call_waited, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(waited_calls, 2);
}
