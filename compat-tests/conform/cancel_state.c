/* cancel_state.c - cancelability state and type, asynchronous cancellation, what runs when a
 * thread is cancelled, and in which order (XSH 2.9.5, pthread_cancel, pthread_setcancelstate,
 * pthread_testcancel, pthread_exit). */
#include "conform.h"

#include <threads.h>

static int ready, go, cleaned, survived;

static void reset(void)
{
    ready = go = cleaned = survived = 0;
}

static void count(void *arg)
{
    add(arg, 1);
}

/* --- state and type --------------------------------------------------------------------- */

TEST(initial_state)
{
    int old = -1;
    /* POSIX: "the cancelability state and type of any newly created threads, including the
     * thread in which main() was first invoked, shall be ENABLE and DEFERRED" */
    CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old), 0);
    CHECK_EQ(old, PTHREAD_CANCEL_ENABLE);
    CHECK_EQ(pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &old), 0);
    CHECK_EQ(old, PTHREAD_CANCEL_DEFERRED);
    CHECK_EQ(pthread_setcancelstate(77, &old), EINVAL);
    CHECK_EQ(pthread_setcanceltype(77, &old), EINVAL);
}

static void *look_at_state(void *arg)
{
    int state = -1, type = -1;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    CHECK_EQ(state, PTHREAD_CANCEL_ENABLE);
    CHECK_EQ(type, PTHREAD_CANCEL_DEFERRED);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    CHECK_EQ(state, PTHREAD_CANCEL_DISABLE);
    CHECK_EQ(type, PTHREAD_CANCEL_ASYNCHRONOUS);
    return arg;
}

TEST(initial_state_in_threads)
{
    /* one after the other: a recycled thread starts anew as well */
    for (int i = 0; i < 20; i++)
        CHECK(join(spawn(look_at_state, &go)) == &go);
}

static void *disabled_then_enabled(void *arg)
{
    int fds[2];
    char c = 0;
    (void)arg;
    CHECK_EQ(pipe(fds), 0);
    pthread_cleanup_push(count, &cleaned);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    set(&ready, fds[1] + 1);
    /* POSIX: "cancellation requests are held pending" - a blocked call is not disturbed */
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(c, 'x');
    pthread_testcancel();
    set(&survived, 1);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    add(&survived, 1); /* deferred: enabling alone does nothing */
    pthread_testcancel();
    add(&survived, 1);
    pthread_cleanup_pop(0);
    return NULL;
}

TEST(held_pending_while_disabled)
{
    reset();
    pthread_t t = spawn(disabled_then_enabled, NULL);
    await_at_least(&ready, 1);
    settle();
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK_EQ(pthread_cancel(t), 0); /* twice: no more than once */
    settle();
    CHECK_EQ(write(ready - 1, "x", 1), 1);
    CHECK(join(t) == PTHREAD_CANCELED);
    CHECK_EQ(survived, 2);
    CHECK_EQ(cleaned, 1);
}

static void *enable_async(void *arg)
{
    pthread_cleanup_push(count, &cleaned);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    if (arg == NULL)
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    set(&ready, 1);
    await_at_least(&go, 1);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    set(&survived, 1);
    pthread_cleanup_pop(0);
    return NULL;
}

TEST(enabling_async_acts_on_a_pending_one)
{
    for (uintptr_t deferred = 0; deferred < 2; deferred++) {
        reset();
        pthread_t t = spawn(enable_async, (void *)deferred);
        await_at_least(&ready, 1);
        CHECK_EQ(pthread_cancel(t), 0);
        set(&go, 1);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK_EQ(survived, 0);
        CHECK_EQ(cleaned, 1);
    }
}

/* --- not at a cancellation point --------------------------------------------------------- */

static void *finish_anyway(void *arg)
{
    pthread_mutex_t *m = arg;
    pthread_cleanup_push(count, &cleaned);
    set(&ready, 1);
    /* POSIX: pthread_mutex_lock is no cancellation point */
    CHECK_EQ(pthread_mutex_lock(m), 0);
    CHECK_EQ(pthread_mutex_unlock(m), 0);
    sched_yield();
    pthread_cleanup_pop(0);
    return arg;
}

TEST(mutex_lock_is_no_cancellation_point)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    reset();
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    pthread_t t = spawn(finish_anyway, &m);
    await_at_least(&ready, 1);
    settle();
    CHECK_EQ(pthread_cancel(t), 0);
    settle();
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK(join(t) == &m);
    CHECK_EQ(cleaned, 0);
}

static void *wait_at_barrier(void *arg)
{
    int rc = pthread_barrier_wait(arg);
    CHECK(rc == 0 || rc == PTHREAD_BARRIER_SERIAL_THREAD);
    return arg;
}

TEST(barrier_wait_is_no_cancellation_point)
{
    pthread_barrier_t b;
    CHECK_EQ(pthread_barrier_init(&b, NULL, 2), 0);
    pthread_t t = spawn(wait_at_barrier, &b);
    settle();
    CHECK_EQ(pthread_cancel(t), 0);
    wait_at_barrier(&b);
    CHECK(join(t) == &b);
    CHECK_EQ(pthread_barrier_destroy(&b), 0);
}

static void *return_now(void *arg)
{
    return arg;
}

TEST(a_thread_that_has_ended)
{
    pthread_t t = spawn(return_now, &go);
    settle();
    CHECK_EQ(pthread_cancel(t), 0); /* still joinable: its ID is valid, POSIX 2.9.2 */
    CHECK(join(t) == &go);
}

static void *test_now(void *arg)
{
    pthread_testcancel();
    return arg;
}

/* A thread that has not run yet, or runs just now: either outcome, but no other. */
TEST(a_thread_that_just_starts)
{
    for (int i = 0; i < 200; i++) {
        pthread_t t = spawn(test_now, &go);
        CHECK_EQ(pthread_cancel(t), 0);
        void *result = join(t);
        CHECK(result == &go || result == PTHREAD_CANCELED);
    }
}

/* --- asynchronous ------------------------------------------------------------------------ */

static volatile unsigned long spins;

static void *spin(void *arg)
{
    pthread_cleanup_push(count, &cleaned);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    set(&ready, 1);
    for (;;)
        spins++;
    pthread_cleanup_pop(0);
    return arg;
}

TEST(async_ends_a_loop)
{
    for (int i = 0; i < 20; i++) {
        reset();
        pthread_t t = spawn(spin, NULL);
        await_at_least(&ready, 1);
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK_EQ(cleaned, 1);
    }
}

TEST(async_ends_many_loops)
{
    pthread_t t[16];
    reset();
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(spin, NULL);
    settle();
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(pthread_cancel(t[i]), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK(join(t[i]) == PTHREAD_CANCELED);
}

static void *cancel_self_async(void *arg)
{
    pthread_cleanup_push(count, &cleaned);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    pthread_cancel(pthread_self());
    set(&survived, 1);
    pthread_cleanup_pop(0);
    return arg;
}

static void *cancel_self_deferred(void *arg)
{
    pthread_cleanup_push(count, &cleaned);
    pthread_cancel(pthread_self());
    set(&survived, 1);
    pthread_testcancel();
    set(&survived, 2);
    pthread_cleanup_pop(0);
    return arg;
}

TEST(self)
{
    reset();
    CHECK(join(spawn(cancel_self_async, NULL)) == PTHREAD_CANCELED);
    CHECK_EQ(survived, 0);
    CHECK_EQ(cleaned, 1);
    reset();
    CHECK(join(spawn(cancel_self_deferred, NULL)) == PTHREAD_CANCELED);
    CHECK_EQ(survived, 1);
    CHECK_EQ(cleaned, 1);
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t written = PTHREAD_RWLOCK_INITIALIZER;

static void *lock_async(void *arg)
{
    pthread_cleanup_push(count, &cleaned);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    set(&ready, 1);
    if (arg == NULL)
        pthread_mutex_lock(&held);
    else
        pthread_rwlock_rdlock(&written);
    set(&survived, 1);
    pthread_cleanup_pop(0);
    return arg;
}

/* "acted upon at any time": also in calls that are no cancellation points. */
TEST(async_ends_any_wait)
{
    CHECK_EQ(pthread_mutex_lock(&held), 0);
    CHECK_EQ(pthread_rwlock_wrlock(&written), 0);
    for (uintptr_t i = 0; i < 2; i++) {
        reset();
        pthread_t t = spawn(lock_async, (void *)i);
        await_at_least(&ready, 1);
        settle();
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK_EQ(survived, 0);
        CHECK_EQ(cleaned, 1);
    }
    CHECK_EQ(pthread_mutex_unlock(&held), 0);
}

static void unlock_held(void *arg)
{
    add(&cleaned, pthread_mutex_unlock(arg) == 0);
}

static void *cond_async(void *arg)
{
    static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(arg);
    pthread_cleanup_push(unlock_held, arg);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    set(&ready, 1);
    pthread_cond_wait(&c, arg);
    pthread_cleanup_pop(1);
    return arg;
}

/* A condition wait takes its mutex again in any case. */
TEST(async_in_cond_wait)
{
    pthread_mutexattr_t attr;
    pthread_mutex_t m;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&m, &attr);
    for (int i = 0; i < 50; i++) {
        reset();
        pthread_t t = spawn(cond_async, &m);
        await_at_least(&ready, 1);
        if (i % 2) /* it may be on its way into the wait, or in it */
            settle();
        CHECK_EQ(pthread_mutex_lock(&m), 0);
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK_EQ(cleaned, 1);
    }
}

static void *join_async(void *arg)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    set(&ready, 1);
    pthread_join(*(pthread_t *)arg, NULL);
    return arg;
}

static void *wait_for_go(void *arg)
{
    await_at_least(&go, 1);
    return arg;
}

/* ... and a join leaves its target joinable. */
TEST(async_in_join)
{
    reset();
    pthread_t target = spawn(wait_for_go, &go), t = spawn(join_async, &target);
    await_at_least(&ready, 1);
    settle();
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK(join(t) == PTHREAD_CANCELED);
    set(&go, 1);
    CHECK(join(target) == &go);
}

/* The interrupted frames are found: handlers of each of them run, innermost first. */
static char trail[32];
static int steps;

static void note(void *arg)
{
    if (steps + 1 < (int)sizeof(trail))
        trail[steps++] = *(const char *)arg;
}

static __attribute__((noinline)) void deep(int depth)
{
    static const char letters[] = "abcdefghij";
    pthread_cleanup_push(note, (void *)&letters[depth]);
    if (depth == 9) {
        set(&ready, 1);
        for (;;)
            spins++;
    }
    if (depth < 9)
        deep(depth + 1);
    pthread_cleanup_pop(0);
}

static void *deep_async(void *arg)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    deep(0);
    return arg;
}

TEST(async_unwinds_every_frame)
{
    reset();
    steps = 0;
    memset(trail, 0, sizeof(trail));
    pthread_t t = spawn(deep_async, NULL);
    await_at_least(&ready, 1);
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK(join(t) == PTHREAD_CANCELED);
    CHECK(strcmp(trail, "jihgfedcba") == 0);
}

/* --- what runs, and in which order --------------------------------------------------------- */

static pthread_key_t key, second_key;

static void key_gone(void *value)
{
    note(value);
}

static void exit_again(void *value)
{
    note(value);
    pthread_exit("again");
}

static void *block_with_key(void *arg)
{
    pthread_setspecific(key, "k");
    pthread_cleanup_push(note, "1");
    pthread_cleanup_push(note, "2");
    set(&ready, 1);
    pause();
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return arg;
}

TEST(handlers_then_key_destructors)
{
    reset();
    steps = 0;
    memset(trail, 0, sizeof(trail));
    CHECK_EQ(pthread_key_create(&key, key_gone), 0);
    pthread_t t = spawn(block_with_key, NULL);
    await_at_least(&ready, 1);
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK(join(t) == PTHREAD_CANCELED);
    CHECK(strcmp(trail, "21k") == 0);
    CHECK_EQ(pthread_key_delete(key), 0);
}

static void *return_with_keys(void *arg)
{
    pthread_setspecific(key, "x");
    pthread_setspecific(second_key, "y");
    return arg;
}

static void *exit_with_keys(void *arg)
{
    pthread_setspecific(key, "x");
    pthread_setspecific(second_key, "y");
    pthread_exit(arg);
}

/* pthread_exit in a destructor: its value counts.  Whether the other destructors still run is
 * not said. */
TEST(exit_in_a_key_destructor)
{
    CHECK_EQ(pthread_key_create(&key, exit_again), 0);
    CHECK_EQ(pthread_key_create(&second_key, key_gone), 0);
    for (int i = 0; i < 2; i++) {
        steps = 0;
        memset(trail, 0, sizeof(trail));
        const char *result = join(spawn(i ? exit_with_keys : return_with_keys, &go));
        CHECK(result && strcmp(result, "again") == 0);
        CHECK(strncmp(trail, "x", 1) == 0);
    }
    CHECK_EQ(pthread_key_delete(key), 0);
    CHECK_EQ(pthread_key_delete(second_key), 0);
}

static void cancel_in_destructor(void *value)
{
    note(value);
    pthread_cancel(pthread_self());
    pthread_testcancel();
    note("!");
}

TEST(cancel_in_a_key_destructor)
{
    steps = 0;
    memset(trail, 0, sizeof(trail));
    CHECK_EQ(pthread_key_create(&key, cancel_in_destructor), 0);
    CHECK_EQ(pthread_key_create(&second_key, key_gone), 0);
    CHECK(join(spawn(return_with_keys, &go)) == PTHREAD_CANCELED);
    CHECK(strncmp(trail, "x", 1) == 0);
    CHECK_EQ(pthread_key_delete(key), 0);
    CHECK_EQ(pthread_key_delete(second_key), 0);
}

static void block_in_handler(void *arg)
{
    struct timespec ms = {0, 1000000};
    pthread_testcancel(); /* no second cancellation */
    CHECK_EQ(nanosleep(&ms, NULL), 0);
    add(arg, 1);
}

static void *cancelled_twice(void *arg)
{
    pthread_cleanup_push(block_in_handler, &cleaned);
    set(&ready, 1);
    pause();
    pthread_cleanup_pop(0);
    return arg;
}

TEST(handlers_are_not_cancelled)
{
    reset();
    pthread_t t = spawn(cancelled_twice, NULL);
    await_at_least(&ready, 1);
    settle();
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK(join(t) == PTHREAD_CANCELED);
    CHECK_EQ(cleaned, 1);
}

static int c11_thread(void *arg)
{
    (void)arg;
    pthread_cleanup_push(note, "t");
    thrd_exit(41);
    pthread_cleanup_pop(0);
    return 0;
}

TEST(thrd_exit_runs_handlers)
{
    thrd_t t;
    int result = 0;
    steps = 0;
    memset(trail, 0, sizeof(trail));
    CHECK_EQ(thrd_create(&t, c11_thread, NULL), thrd_success);
    CHECK_EQ(thrd_join(t, &result), thrd_success);
    CHECK_EQ(result, 41);
    CHECK(strcmp(trail, "t") == 0);
}

/* --- main --------------------------------------------------------------------------------- */

static void say(void *arg)
{
    CHECK_EQ(write(1, arg, strlen(arg)), (ssize_t)strlen(arg));
}

static void *cancel_main(void *arg)
{
    void *result = NULL;
    settle();
    CHECK_EQ(pthread_cancel(*(pthread_t *)arg), 0);
    CHECK_EQ(pthread_join(*(pthread_t *)arg, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    say("joined;");
    exit(get(&conform_failures) ? 1 : 3);
}

MODE(cancelled_main)
{
    static pthread_t self;
    self = pthread_self();
    pthread_cleanup_push(say, "handler;");
    spawn(cancel_main, &self);
    pause();
    pthread_cleanup_pop(0);
    return 1;
}

MODE(cancelled_main_alone)
{
    pthread_cleanup_push(say, "handler;");
    pthread_cancel(pthread_self());
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return 1;
}

TEST(main_can_be_cancelled)
{
    char out[64] = "";
    CHECK_EXITS(run_mode("cancelled_main", out, sizeof(out)), 3);
    CHECK(strcmp(out, "handler;joined;") == 0);
    /* XSH exit: "the process shall exit with status 0 after the last thread has terminated" */
    CHECK_EXITS(run_mode("cancelled_main_alone", out, sizeof(out)), 0);
    CHECK(strcmp(out, "handler;") == 0);
}
