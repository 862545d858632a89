/* cleanup.c - pthread_cleanup_push and pop. With C++ destructors: cxx_threads.cc. */
#include "conform.h"

static char trail[64];
static size_t steps;

static void note(void *arg)
{
    if (steps + 1 < sizeof(trail))
        trail[steps++] = *(const char *)arg;
}

static void start_trail(void)
{
    memset(trail, 0, sizeof(trail));
    steps = 0;
}

static void *pop_and_run(void *arg)
{
    pthread_cleanup_push(note, "a");
    pthread_cleanup_push(note, "b");
    pthread_cleanup_push(note, "c");
    pthread_cleanup_pop(1); /* POSIX: executes it if not zero */
    pthread_cleanup_pop(0); /* else just removes it */
    pthread_cleanup_pop(1);
    return arg;
}

TEST(pop)
{
    start_trail();
    join(spawn(pop_and_run, NULL));
    CHECK(strcmp(trail, "ca") == 0);
    start_trail();
    pop_and_run(NULL); /* in main as well */
    CHECK(strcmp(trail, "ca") == 0);
}

static void *exit_inside(void *arg)
{
    pthread_cleanup_push(note, "a");
    pthread_cleanup_push(note, "b");
    pthread_cleanup_push(note, "c");
    pthread_exit(arg);
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return NULL;
}

TEST(exit_runs_them_in_reverse)
{
    start_trail();
    CHECK(join(spawn(exit_inside, trail)) == trail);
    CHECK(strcmp(trail, "cba") == 0); /* POSIX pthread_exit: last in, first out */
}

static void *return_after_pop(void *arg)
{
    pthread_cleanup_push(note, "x");
    pthread_cleanup_pop(0);
    return arg;
}

TEST(removed_ones_do_not_run)
{
    start_trail();
    join(spawn(return_after_pop, NULL));
    CHECK(strcmp(trail, "") == 0);
}

static void dive(int depth, void *arg)
{
    static const char letters[] = "zyxwvutsrqponmlkjihgfedcba";

    pthread_cleanup_push(note, (void *)&letters[depth]);
    if (depth == 0)
        pthread_exit(arg);
    if (depth > 0)
        dive(depth - 1, arg);
    pthread_cleanup_pop(0);
}

static void *dive_deep(void *arg)
{
    dive(25, arg);
    return NULL;
}

TEST(through_many_frames)
{
    start_trail();
    CHECK(join(spawn(dive_deep, trail)) == trail);
    CHECK(strcmp(trail, "zyxwvutsrqponmlkjihgfedcba") == 0);
}

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t key;

static void unlock(void *arg)
{
    CHECK_EQ(pthread_mutex_unlock(arg), 0);
    note("m");
}

static void key_gone(void *value)
{
    note(value);
}

static void *exit_with_lock(void *arg)
{
    static char k[] = "k";

    CHECK_EQ(pthread_setspecific(key, k), 0);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    pthread_cleanup_push(unlock, &m);
    pthread_exit(arg);
    pthread_cleanup_pop(1);
    return NULL;
}

TEST(before_key_destructors)
{
    start_trail();
    CHECK_EQ(pthread_key_create(&key, key_gone), 0);
    join(spawn(exit_with_lock, NULL));
    CHECK(strcmp(trail, "mk") == 0); /* POSIX pthread_exit: handlers, then destructors */
    CHECK_EQ(pthread_mutex_trylock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_key_delete(key), 0);
}

static void blocking_handler(void *arg)
{
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    sleep_ms(1);
    sched_yield();
    add(arg, 1);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
}

static void *exit_into_blocking(void *arg)
{
    pthread_cleanup_push(blocking_handler, arg);
    pthread_exit(arg);
    pthread_cleanup_pop(1);
    return NULL;
}

TEST(handlers_may_block)
{
    int done = 0;
    pthread_t t[20];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(exit_into_blocking, &done);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK(join(t[i]) == &done);
    CHECK_EQ(done, COUNT_OF(t));
}
