/* thread.c - create, join, detach, identity, limits. How processes end: thread_exit.c. */
#include "conform.h"

#include <sys/resource.h>

static void *echo(void *arg)
{
    return arg;
}

static void *sleeper(void *arg)
{
    await_at_least(arg, 1);
    return arg;
}

TEST(return_values)
{
    int x;
    pthread_t t;

    CHECK(join(spawn(echo, &x)) == &x); /* POSIX join: the value that was returned */
    CHECK(join(spawn(echo, NULL)) == NULL);
    CHECK(join(spawn(echo, (void *)-1)) == (void *)-1);
    t = spawn(echo, &x);
    CHECK_EQ(pthread_join(t, NULL), 0); /* POSIX: value_ptr may be null */
}

static int dig(int depth)
{
    volatile char pad[256];

    pad[0] = (char)depth;
    if (depth == 0)
        pthread_exit((void *)4711);
    return depth < 0 ? depth : dig(depth - 1) + pad[0];
}

static void *exit_deep(void *arg)
{
    return (void *)(intptr_t)dig((int)(intptr_t)arg);
}

TEST(pthread_exit_from_depth)
{
    CHECK_EQ((intptr_t)join(spawn(exit_deep, (void *)100)), 4711);
    CHECK_EQ((intptr_t)join(spawn(exit_deep, (void *)0)), 4711);
}

static pthread_t published;

static void *compare_self(void *arg)
{
    pthread_t *other = arg;

    CHECK(pthread_equal(published, pthread_self())); /* glibc: stored before it starts */
    CHECK(!pthread_equal(pthread_self(), *other));
    CHECK(pthread_self() == pthread_self());
    return NULL;
}

TEST(self_and_equal)
{
    pthread_t main_thread = pthread_self();

    for (int i = 0; i < 200; i++) {
        CHECK_EQ(pthread_create(&published, NULL, compare_self, &main_thread), 0);
        CHECK(!pthread_equal(published, main_thread));
        join(published);
    }
    CHECK(pthread_equal(main_thread, pthread_self()));
}

static void *join_self(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)pthread_join(pthread_self(), NULL);
}

TEST(self_join)
{
    CHECK_EQ((intptr_t)join(spawn(join_self, NULL)), EDEADLK); /* POSIX join */
    CHECK_EQ(pthread_join(pthread_self(), NULL), EDEADLK);
}

/* Not tested: two threads that join each other, and two that join a third. POSIX leaves
 * both undefined, and glibc 2.36 detects neither, whatever its sources intend. */

TEST(tryjoin)
{
    void *result = NULL;
    int go = 0, rc;
    pthread_t t = spawn(sleeper, &go);

    CHECK_EQ(pthread_tryjoin_np(t, &result), EBUSY); /* glibc: still runs */
    CHECK_EQ(pthread_tryjoin_np(pthread_self(), &result), EBUSY);
    set(&go, 1);
    while ((rc = pthread_tryjoin_np(t, &result)) == EBUSY)
        sleep_ms(1);
    CHECK_EQ(rc, 0);
    CHECK(result == &go);
}

TEST(timedjoin)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    struct timespec ts, past = {1, 0};
    void *result = NULL;
    int go = 0;
    pthread_t t = spawn(sleeper, &go);

    ts = in_ms(CLOCK_REALTIME, 20);
    CHECK_TIMES_OUT(pthread_timedjoin_np(t, &result, &ts), CLOCK_REALTIME, ts);
    CHECK_EQ(pthread_timedjoin_np(t, &result, &past), ETIMEDOUT);
    for (size_t i = 0; i < COUNT_OF(clocks); i++) {
        ts = in_ms(clocks[i], 20);
        CHECK_TIMES_OUT(pthread_clockjoin_np(t, &result, clocks[i], &ts), clocks[i], ts);
    }
    CHECK_EQ(pthread_clockjoin_np(t, &result, CLOCK_PROCESS_CPUTIME_ID, &ts), EINVAL);
    CHECK_EQ(pthread_timedjoin_np(pthread_self(), &result, &ts), EDEADLK);
    CHECK(result == NULL); /* untouched by failures */
    set(&go, 1);
    ts = in_ms(CLOCK_MONOTONIC, 15000);
    CHECK_EQ(pthread_clockjoin_np(t, &result, CLOCK_MONOTONIC, &ts), 0);
    CHECK(result == &go);
    t = spawn(echo, &ts);
    CHECK_EQ(pthread_timedjoin_np(t, &result, NULL), 0); /* glibc: null means no limit */
    CHECK(result == &ts);
    /* Long gone, and the limit long past: still joined. */
    t = spawn(echo, &go);
    settle();
    while (pthread_timedjoin_np(t, &result, &past) == ETIMEDOUT)
        sleep_ms(1);
    CHECK(result == &go);
}

TEST(detach)
{
    static int go, go2; /* nobody joins: the threads may outlive this function */
    pthread_attr_t attr;
    pthread_t t;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED), 0);
    CHECK_EQ(pthread_create(&t, &attr, sleeper, &go), 0);
    CHECK_EQ(pthread_join(t, NULL), EINVAL); /* POSIX join: not joinable */
    CHECK_EQ(pthread_detach(t), EINVAL);     /* POSIX detach: not joinable */
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    t = spawn(sleeper, &go2);
    CHECK_EQ(pthread_detach(t), 0);
    CHECK_EQ(pthread_join(t, NULL), EINVAL);
    CHECK_EQ(pthread_detach(t), EINVAL);
    set(&go, 1);
    set(&go2, 1);
    t = spawn(echo, NULL);
    settle();
    CHECK_EQ(pthread_detach(t), 0); /* one that has ended already */
}

static void *finish(void *arg)
{
    add(arg, 1);
    return NULL;
}

TEST(detached_threads_all_run)
{
    static int done;
    pthread_attr_t attr;
    pthread_t t;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED), 0);
    for (int i = 0; i < 500; i++)
        CHECK_EQ(pthread_create(&t, &attr, finish, &done), 0);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    await_at_least(&done, 500);
    CHECK_EQ(done, 500);
}

struct crowd {
    pthread_mutex_t m;
    pthread_cond_t c;
    int alive, leave;
};

static void *stay(void *arg)
{
    struct crowd *c = arg;
    char mine[64];

    memset(mine, (int)((uintptr_t)&mine >> 6), sizeof(mine));
    pthread_mutex_lock(&c->m);
    c->alive++;
    pthread_cond_broadcast(&c->c);
    while (!c->leave)
        pthread_cond_wait(&c->c, &c->m);
    c->alive--;
    pthread_mutex_unlock(&c->m);
    for (size_t i = 1; i < sizeof(mine); i++)
        CHECK_EQ(mine[i], mine[0]);
    return (void *)pthread_self();
}

TEST(a_thousand_alive)
{
    enum { N = 1000 };
    static pthread_t t[N];
    struct crowd c = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    pthread_attr_t attr;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attr, 128 * 1024), 0);
    for (int i = 0; i < N; i++)
        CHECK_EQ(pthread_create(&t[i], &attr, stay, &c), 0);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    pthread_mutex_lock(&c.m);
    while (c.alive < N)
        pthread_cond_wait(&c.c, &c.m);
    c.leave = 1;
    pthread_cond_broadcast(&c.c);
    pthread_mutex_unlock(&c.m);
    for (int i = N - 1; i >= 0; i--)
        CHECK(join(t[i]) == (void *)t[i]); /* every id was one thread's own */
    CHECK_EQ(c.alive, 0);
}

static void *chain(void *arg)
{
    intptr_t depth = (intptr_t)arg;

    if (depth == 0)
        return (void *)0;
    return (void *)((intptr_t)join(spawn(chain, (void *)(depth - 1))) + 1);
}

static void *tree(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    pthread_t left, right;

    if (depth == 0)
        return (void *)1;
    left = spawn(tree, (void *)(depth - 1));
    right = spawn(tree, (void *)(depth - 1));
    return (void *)((intptr_t)join(left) + (intptr_t)join(right));
}

TEST(nested_creation)
{
    CHECK_EQ((intptr_t)join(spawn(chain, (void *)100)), 100);
    CHECK_EQ((intptr_t)join(spawn(tree, (void *)7)), 128);
}

static void *join_other(void *arg)
{
    return join(*(pthread_t *)arg);
}

TEST(joined_by_any_thread)
{
    /* POSIX: any thread of the process may join, not only the creator. */
    int x;
    pthread_t a = spawn(echo, &x), b = spawn(join_other, &a);

    CHECK(join(b) == &x);
}

TEST(create_join_churn)
{
    for (int i = 0; i < 3000; i++)
        CHECK_EQ((intptr_t)join(spawn(echo, (void *)(intptr_t)i)), i);
}

TEST(ended_thread)
{
    /* glibc: a thread that ended but was not joined is still a valid id. */
    struct sched_param param;
    int policy;
    clockid_t clock;
    pthread_t t = spawn(echo, NULL);

    for (int i = 0; i < 5000 && pthread_getcpuclockid(t, &clock) == 0; i++)
        sleep_ms(1);
    CHECK_EQ(pthread_getcpuclockid(t, &clock), ESRCH); /* glibc: once it has ended */
    CHECK_EQ(pthread_kill(t, 0), 0); /* POSIX.1-2008, glibc 2.34: not an error */
    CHECK_EQ(pthread_getschedparam(t, &policy, &param), ESRCH);
    CHECK_EQ(pthread_join(t, NULL), 0);
}

TEST(create_errors)
{
    pthread_attr_t attr;
    pthread_t t;
    int rc;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setguardsize(&attr, SIZE_MAX), 0);
    CHECK_EQ(pthread_create(&t, &attr, echo, NULL), EINVAL); /* glibc: overflows */
    CHECK_EQ(pthread_attr_destroy(&attr), 0);

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attr, (size_t)1 << 47), 0);
    CHECK_EQ(pthread_create(&t, &attr, echo, NULL), EAGAIN); /* POSIX: lacks resources */
    CHECK_EQ(pthread_attr_setstacksize(&attr, 1 << 20), 0);
    CHECK_EQ(pthread_create(&t, &attr, echo, &rc), 0); /* and it did no harm */
    CHECK(join(t) == &rc);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

MODE(address_space_limit)
{
    enum { N = 4000 };
    static pthread_t t[N];
    struct rlimit limit = {1UL << 30, 1UL << 30};
    int go = 0, n = 0, rc = 0;

    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return 9;
    for (int round = 0; round < 2; round++) {
        set(&go, 0);
        for (n = 0; n < N; n++) {
            rc = pthread_create(&t[n], NULL, sleeper, &go);
            if (rc != 0)
                break;
        }
        CHECK_EQ(rc, EAGAIN); /* POSIX create: never ENOMEM */
        CHECK(n > 10);
        set(&go, 1);
        while (n-- > 0)
            CHECK(join(t[n]) == &go);
        CHECK(join(spawn(echo, &n)) == &n); /* room again */
    }
    return get(&conform_failures) ? 1 : 0;
}

static void run_with_8_mb_stacks(const char *mode)
{
    struct rlimit old, eight;

    CHECK_EQ(getrlimit(RLIMIT_STACK, &old), 0);
    eight = old;
    eight.rlim_cur = 8 << 20;
    CHECK_EQ(setrlimit(RLIMIT_STACK, &eight), 0);
    CHECK_EXITS(run_mode(mode, NULL, 0), 0);
    CHECK_EQ(setrlimit(RLIMIT_STACK, &old), 0);
}

TEST(out_of_address_space)
{
    run_with_8_mb_stacks("address_space_limit");
}

/* Room for a hundred detached threads, each of which only has to end. */
MODE(creates_again_when_refused)
{
    enum { N = 50000 };
    struct rlimit limit = {1UL << 30, 1UL << 30};
    pthread_t t;

    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return 9;
    for (int i = 0; i < N; i++) {
        int rc;
        while ((rc = pthread_create(&t, NULL, echo, NULL)) == EAGAIN)
            ;
        CHECK_EQ(rc, 0);
        CHECK_EQ(pthread_detach(t), 0);
    }
    return get(&conform_failures) ? 1 : 0;
}

TEST(refused_creator_keeps_others_from_ending)
{
    run_with_8_mb_stacks("creates_again_when_refused");
}

/* ---- joining in a circle ------------------------------------------------------------- */

static int started;

static void *joins_main(void *arg)
{
    add(&started, 1);
    pthread_join(*(pthread_t *)arg, NULL);
    return NULL;
}

TEST(join_of_a_cancelled_joiner)
{
    pthread_t self = pthread_self(), t;
    void *result = NULL;

    started = 0;
    t = spawn(joins_main, &self);
    await_at_least(&started, 1);
    settle();
    /* Cancellation ends that join, so waiting for it is no deadlock. */
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK_EQ(pthread_join(t, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
}
