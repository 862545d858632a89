/* cond.c - condition variables between the threads of one process. */
#include "conform.h"

/* Threads wait for their ticket: a predicate, so that spurious wake-ups do no harm. */
struct gate {
    pthread_mutex_t m;
    pthread_cond_t c;
    int waiting; /* under m: threads inside wait */
    int tickets; /* under m: how many may go */
    int passed;  /* under m */
    int inside;  /* atomic: threads between wait and unlock */
};

static void gate_init(struct gate *g, const pthread_condattr_t *attr)
{
    memset(g, 0, sizeof(*g));
    CHECK_EQ(pthread_mutex_init(&g->m, NULL), 0);
    CHECK_EQ(pthread_cond_init(&g->c, attr), 0);
}

static void gate_destroy(struct gate *g)
{
    CHECK_EQ(pthread_cond_destroy(&g->c), 0);
    CHECK_EQ(pthread_mutex_destroy(&g->m), 0);
}

static void *gate_wait(void *arg)
{
    struct gate *g = arg;

    CHECK_EQ(pthread_mutex_lock(&g->m), 0);
    g->waiting++;
    while (g->tickets == 0) {
        CHECK_EQ(pthread_cond_wait(&g->c, &g->m), 0);
        CHECK_EQ(add(&g->inside, 1), 1); /* POSIX: returns with the mutex locked */
        add(&g->inside, -1);
    }
    g->tickets--;
    g->waiting--;
    g->passed++;
    CHECK_EQ(pthread_mutex_unlock(&g->m), 0);
    return NULL;
}

static void gate_await_waiting(struct gate *g, int n)
{
    for (;;) {
        int waiting;

        CHECK_EQ(pthread_mutex_lock(&g->m), 0);
        waiting = g->waiting;
        CHECK_EQ(pthread_mutex_unlock(&g->m), 0);
        if (waiting >= n)
            return;
        sleep_ms(1);
    }
}

static int gate_passed(struct gate *g)
{
    int passed;

    CHECK_EQ(pthread_mutex_lock(&g->m), 0);
    passed = g->passed;
    CHECK_EQ(pthread_mutex_unlock(&g->m), 0);
    return passed;
}

TEST(static_initialiser)
{
    static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    struct timespec ts = in_ms(CLOCK_REALTIME, 10);

    CHECK_EQ(pthread_cond_signal(&c), 0); /* POSIX: no effect without waiters */
    CHECK_EQ(pthread_cond_broadcast(&c), 0);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    /* POSIX: and it is not remembered. CLOCK_REALTIME is the default clock. */
    CHECK_WAIT_TIMES_OUT(pthread_cond_timedwait(&c, &m, &ts), CLOCK_REALTIME, ts);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_cond_destroy(&c), 0);
}

TEST(signal_wakes_one_each)
{
    struct gate g;
    pthread_t t[10];

    gate_init(&g, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(gate_wait, &g);
    gate_await_waiting(&g, COUNT_OF(t));
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        CHECK_EQ(pthread_mutex_lock(&g.m), 0);
        g.tickets++;
        if (i % 2)
            CHECK_EQ(pthread_cond_signal(&g.c), 0); /* POSIX: with the mutex held, */
        CHECK_EQ(pthread_mutex_unlock(&g.m), 0);
        if (i % 2 == 0)
            CHECK_EQ(pthread_cond_signal(&g.c), 0); /* or without it */
        while (gate_passed(&g) < (int)i + 1)
            sleep_ms(1); /* POSIX: at least one waiter wakes, else this hangs */
        CHECK_EQ(gate_passed(&g), (int)i + 1);
    }
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    gate_destroy(&g);
}

TEST(broadcast_wakes_all)
{
    struct gate g;
    pthread_t t[100];

    gate_init(&g, NULL);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(gate_wait, &g);
        gate_await_waiting(&g, COUNT_OF(t));
        CHECK_EQ(pthread_mutex_lock(&g.m), 0);
        g.tickets = COUNT_OF(t);
        g.passed = 0;
        CHECK_EQ(pthread_cond_broadcast(&g.c), 0); /* POSIX: all of them */
        CHECK_EQ(g.passed, 0); /* POSIX: a woken thread first needs the mutex */
        CHECK_EQ(pthread_mutex_unlock(&g.m), 0);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
        CHECK_EQ(g.passed, COUNT_OF(t));
        CHECK_EQ(g.waiting, 0);
    }
    gate_destroy(&g);
}

TEST(broadcast_under_a_held_mutex)
{
    /* The woken threads move to the mutex one by one; a lock by a third party in between
     * must work just as well. */
    struct gate g;
    pthread_t t[40];

    gate_init(&g, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(gate_wait, &g);
    gate_await_waiting(&g, COUNT_OF(t));
    CHECK_EQ(pthread_mutex_lock(&g.m), 0);
    g.tickets = COUNT_OF(t);
    CHECK_EQ(pthread_cond_broadcast(&g.c), 0);
    settle();
    CHECK_EQ(g.passed, 0);
    CHECK_EQ(pthread_mutex_unlock(&g.m), 0);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(pthread_mutex_lock(&g.m), 0);
        CHECK_EQ(g.passed + g.tickets, COUNT_OF(t));
        sched_yield();
        CHECK_EQ(pthread_mutex_unlock(&g.m), 0);
    }
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    gate_destroy(&g);
}

TEST(timedwait)
{
    struct timespec past = {1, 0}, negative = {-1, 0};
    struct timespec low = {0, -1}, high = {0, 1000000000};
    pthread_mutex_t m = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;

    CHECK_EQ(pthread_mutex_lock(&m), 0);
    for (int ms = 1; ms < 50; ms += 12) {
        struct timespec ts = in_ms(CLOCK_REALTIME, ms);

        CHECK_WAIT_TIMES_OUT(pthread_cond_timedwait(&c, &m, &ts), CLOCK_REALTIME, ts);
        CHECK_EQ(pthread_mutex_lock(&m), EDEADLK); /* POSIX: locked again */
    }
    CHECK_EQ(pthread_cond_timedwait(&c, &m, &past), ETIMEDOUT);
    CHECK_EQ(pthread_cond_timedwait(&c, &m, &negative), ETIMEDOUT); /* glibc */
    CHECK_EQ(pthread_cond_timedwait(&c, &m, &low), EINVAL);         /* POSIX */
    CHECK_EQ(pthread_cond_timedwait(&c, &m, &high), EINVAL);
    CHECK_EQ(pthread_mutex_unlock(&m), 0); /* POSIX: errors leave the mutex held */
    CHECK_EQ(pthread_cond_destroy(&c), 0);
}

TEST(wait_needs_the_mutex)
{
    pthread_mutex_t m = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    struct timespec ts = in_ms(CLOCK_REALTIME, 10);

    CHECK_EQ(pthread_cond_wait(&c, &m), EPERM); /* POSIX: errorcheck, not the owner */
    CHECK_EQ(pthread_cond_timedwait(&c, &m, &ts), EPERM);
    CHECK_EQ(pthread_cond_destroy(&c), 0); /* nothing was left behind */
}

TEST(clock_attribute)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    pthread_condattr_t attr;
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    clockid_t clock = 99;
    int value = -1;

    CHECK_EQ(pthread_condattr_init(&attr), 0);
    CHECK_EQ(pthread_condattr_getclock(&attr, &clock), 0);
    CHECK_EQ(clock, CLOCK_REALTIME); /* POSIX: the default */
    CHECK_EQ(pthread_condattr_getpshared(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PROCESS_PRIVATE);
    CHECK_EQ(pthread_condattr_setpshared(&attr, 7), EINVAL);
    CHECK_EQ(pthread_condattr_setclock(&attr, CLOCK_PROCESS_CPUTIME_ID), EINVAL);
    CHECK_EQ(pthread_condattr_setclock(&attr, CLOCK_BOOTTIME), EINVAL); /* glibc */
    for (size_t i = 0; i < COUNT_OF(clocks); i++) {
        pthread_cond_t c;
        struct timespec ts;

        CHECK_EQ(pthread_condattr_setclock(&attr, clocks[i]), 0);
        CHECK_EQ(pthread_condattr_getclock(&attr, &clock), 0);
        CHECK_EQ(clock, clocks[i]);
        CHECK_EQ(pthread_cond_init(&c, &attr), 0);
        CHECK_EQ(pthread_mutex_lock(&m), 0);
        ts = in_ms(clocks[i], 25);
        CHECK_WAIT_TIMES_OUT(pthread_cond_timedwait(&c, &m, &ts), clocks[i], ts);
        CHECK_EQ(pthread_mutex_unlock(&m), 0);
        CHECK_EQ(pthread_cond_destroy(&c), 0);
    }
    CHECK_EQ(pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_condattr_getpshared(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_condattr_getclock(&attr, &clock), 0);
    CHECK_EQ(clock, CLOCK_MONOTONIC); /* the fields do not overwrite each other */
    CHECK_EQ(pthread_condattr_destroy(&attr), 0);
}

TEST(clockwait)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    struct timespec ts = in_ms(CLOCK_MONOTONIC, 10), bad = {0, 1000000000};

    CHECK_EQ(pthread_mutex_lock(&m), 0);
    for (size_t i = 0; i < COUNT_OF(clocks); i++) {
        ts = in_ms(clocks[i], 25); /* POSIX.1-2024: the argument, not the attribute */
        CHECK_WAIT_TIMES_OUT(pthread_cond_clockwait(&c, &m, clocks[i], &ts), clocks[i],
                             ts);
        CHECK_EQ(pthread_cond_clockwait(&c, &m, clocks[i], &bad), EINVAL);
    }
    CHECK_EQ(pthread_cond_clockwait(&c, &m, CLOCK_PROCESS_CPUTIME_ID, &ts), EINVAL);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_cond_destroy(&c), 0);
}

static void *late_signal(void *arg)
{
    struct gate *g = arg;

    settle();
    CHECK_EQ(pthread_mutex_lock(&g->m), 0);
    g->tickets = 1;
    CHECK_EQ(pthread_cond_signal(&g->c), 0);
    CHECK_EQ(pthread_mutex_unlock(&g->m), 0);
    return NULL;
}

TEST(timed_waiter_is_signalled)
{
    for (int clocked = 0; clocked < 2; clocked++) {
        struct gate g;
        struct timespec ts = in_ms(clocked ? CLOCK_MONOTONIC : CLOCK_REALTIME, 15000);
        pthread_t t;

        gate_init(&g, NULL);
        CHECK_EQ(pthread_mutex_lock(&g.m), 0);
        t = spawn(late_signal, &g);
        while (!g.tickets) {
            CHECK_EQ(clocked ? pthread_cond_clockwait(&g.c, &g.m, CLOCK_MONOTONIC, &ts)
                             : pthread_cond_timedwait(&g.c, &g.m, &ts),
                     0);
        }
        CHECK_EQ(pthread_mutex_unlock(&g.m), 0);
        join(t);
        gate_destroy(&g);
    }
}

#define TOKENS 2000

static void *impatient(void *arg)
{
    struct gate *g = arg;

    CHECK_EQ(pthread_mutex_lock(&g->m), 0);
    while (g->passed < TOKENS) {
        struct timespec ts = in_ms(CLOCK_REALTIME, 1);

        while (g->tickets == 0 && g->passed < TOKENS) {
            int rc = pthread_cond_timedwait(&g->c, &g->m, &ts);

            CHECK(rc == 0 || rc == ETIMEDOUT);
            if (rc == ETIMEDOUT)
                break;
        }
        if (g->tickets > 0) {
            g->tickets--;
            g->passed++;
        }
    }
    CHECK_EQ(pthread_cond_broadcast(&g->c), 0);
    CHECK_EQ(pthread_mutex_unlock(&g->m), 0);
    return NULL;
}

TEST(signals_race_with_timeouts)
{
    struct gate g;
    pthread_t t[6];

    gate_init(&g, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(impatient, &g);
    for (int i = 0; i < TOKENS; i++) {
        CHECK_EQ(pthread_mutex_lock(&g.m), 0);
        g.tickets++;
        CHECK_EQ(pthread_mutex_unlock(&g.m), 0);
        CHECK_EQ(pthread_cond_signal(&g.c), 0);
        if (i % 100 == 0)
            sleep_ms(1);
    }
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(g.passed, TOKENS);
    CHECK_EQ(g.tickets, 0);
    gate_destroy(&g);
}

/* Two threads hand a token to and fro without timeouts: a lost wake-up is a hang. */
struct pingpong {
    pthread_mutex_t m;
    pthread_cond_t c[2];
    int turn;
};

static void play(struct pingpong *p, int me, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        CHECK_EQ(pthread_mutex_lock(&p->m), 0);
        while (p->turn != me)
            CHECK_EQ(pthread_cond_wait(&p->c[me], &p->m), 0);
        p->turn = !me;
        CHECK_EQ(pthread_cond_signal(&p->c[!me]), 0);
        CHECK_EQ(pthread_mutex_unlock(&p->m), 0);
    }
}

static void *second_player(void *arg)
{
    play(arg, 1, 10000);
    return NULL;
}

TEST(ping_pong)
{
    struct pingpong p = {.m = PTHREAD_MUTEX_INITIALIZER,
                         .c = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER},
                         .turn = 0};
    pthread_t t = spawn(second_player, &p);

    play(&p, 0, 10000);
    join(t);
    CHECK_EQ(p.turn, 0);
}

static void *brief_waiter(void *arg)
{
    struct gate *g = arg;

    CHECK_EQ(pthread_mutex_lock(&g->m), 0);
    add(&g->waiting, 1);
    while (g->tickets == 0)
        CHECK_EQ(pthread_cond_wait(&g->c, &g->m), 0);
    CHECK_EQ(pthread_mutex_unlock(&g->m), 0);
    add(&g->passed, 1);
    return NULL;
}

TEST(destroy_after_broadcast)
{
    /* POSIX cond_destroy: safe right after a broadcast that woke all waiters, although
     * they have not returned from their waits. */
    struct gate g;
    pthread_t t[4];

    memset(&g, 0, sizeof(g));
    CHECK_EQ(pthread_mutex_init(&g.m, NULL), 0);
    for (int round = 0; round < 200; round++) {
        CHECK_EQ(pthread_cond_init(&g.c, NULL), 0);
        set(&g.waiting, 0);
        g.tickets = 0;
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(brief_waiter, &g);
        while (get(&g.waiting) < (int)COUNT_OF(t))
            sched_yield();
        CHECK_EQ(pthread_mutex_lock(&g.m), 0);
        g.tickets = 1;
        CHECK_EQ(pthread_cond_broadcast(&g.c), 0);
        CHECK_EQ(pthread_mutex_unlock(&g.m), 0);
        CHECK_EQ(pthread_cond_destroy(&g.c), 0);
        memset(&g.c, 0x5a, sizeof(g.c));
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
    }
    CHECK_EQ(g.passed, 200 * (int)COUNT_OF(t));
}

TEST(mutex_kinds)
{
    /* A wait gives up and takes back whatever kind of mutex it was given. */
    static pthread_mutex_t all[] = {PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
                                    PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP,
                                    PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP};

    for (size_t i = 0; i < COUNT_OF(all); i++) {
        struct gate g;
        pthread_t t;

        gate_init(&g, NULL);
        g.m = all[i];
        CHECK_EQ(pthread_mutex_lock(&g.m), 0);
        t = spawn(late_signal, &g); /* can only go on when the wait gives up the mutex */
        while (!g.tickets)
            CHECK_EQ(pthread_cond_wait(&g.c, &g.m), 0);
        CHECK_EQ(pthread_mutex_unlock(&g.m), 0);
        join(t);
        gate_destroy(&g);
    }
}

/* A recursive mutex that is locked more than once is given up by one level only, as glibc does
 * it (POSIX leaves it undefined): the signal must come without the mutex. */
static pthread_mutex_t deep = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_cond_t deep_cond = PTHREAD_COND_INITIALIZER;
static int deep_state;

static void *wait_deep(void *arg)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_mutex_lock(&deep), 0);
    set(&deep_state, 1);
    CHECK_EQ(pthread_cond_wait(&deep_cond, &deep), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_mutex_unlock(&deep), 0);
    CHECK_EQ(pthread_mutex_unlock(&deep), EPERM);
    return arg;
}

TEST(recursive_mutex_locked_thrice)
{
    pthread_t t = spawn(wait_deep, NULL);
    await_at_least(&deep_state, 1);
    settle();
    CHECK_EQ(pthread_mutex_trylock(&deep), EBUSY);
    while (pthread_tryjoin_np(t, NULL) == EBUSY) { /* it may not wait yet */
        CHECK_EQ(pthread_cond_signal(&deep_cond), 0);
        sleep_ms(1);
    }
}

/* ---- handlers ------------------------------------------------------------------------------- */

static int handler_runs, waits_over;

static void on_usr1(int sig)
{
    (void)sig;
    add(&handler_runs, 1);
}

static struct gate interrupted;

static void *wait_once(void *arg)
{
    struct timespec far = in_ms(CLOCK_REALTIME, 60000);
    CHECK_EQ(pthread_mutex_lock(&interrupted.m), 0);
    interrupted.waiting++;
    CHECK_EQ(arg != NULL ? pthread_cond_timedwait(&interrupted.c, &interrupted.m, &far)
                         : pthread_cond_wait(&interrupted.c, &interrupted.m),
             0);
    set(&waits_over, 1);
    CHECK_EQ(pthread_mutex_unlock(&interrupted.m), 0);
    return NULL;
}

/* POSIX lets a wait end when a handler has run; with NPTL, and so with us, it goes on. */
TEST(handlers_do_not_end_the_wait)
{
    struct sigaction sa = {.sa_handler = on_usr1};
    CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
    for (int timed = 0; timed < 2; timed++) {
        gate_init(&interrupted, NULL);
        set(&waits_over, 0);
        pthread_t t = spawn(wait_once, timed ? &timed : NULL);
        gate_await_waiting(&interrupted, 1);
        for (int i = 0; i < 20; i++) {
            int before = get(&handler_runs);
            CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
            while (get(&handler_runs) == before)
                usleep(100);
        }
        CHECK_EQ(get(&waits_over), 0);
        CHECK_EQ(pthread_cond_signal(&interrupted.c), 0);
        join(t);
        gate_destroy(&interrupted);
    }
}

static void *interrupt(void *arg)
{
    while (!get(&waits_over)) {
        pthread_kill((pthread_t)arg, SIGUSR1);
        usleep(20);
    }
    return NULL;
}

/* A signal or a broadcast that comes while the waiter runs a handler is not lost; and whoever
 * broadcasts may destroy. */
TEST(signals_race_with_handlers)
{
    struct sigaction sa = {.sa_handler = on_usr1};
    CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
    for (int i = 0; i < 300; i++) {
        gate_init(&interrupted, NULL);
        set(&waits_over, 0);
        pthread_t t = spawn(gate_wait, &interrupted);
        pthread_t u = spawn(interrupt, (void *)t);
        gate_await_waiting(&interrupted, 1);
        CHECK_EQ(pthread_mutex_lock(&interrupted.m), 0);
        interrupted.tickets = 1;
        CHECK_EQ((i & 1) != 0 ? pthread_cond_signal(&interrupted.c)
                              : pthread_cond_broadcast(&interrupted.c),
                 0);
        CHECK_EQ(pthread_mutex_unlock(&interrupted.m), 0);
        usleep(50);
        set(&waits_over, 1);
        join(u); /* before the thread that it disturbs is gone */
        join(t);
        gate_destroy(&interrupted);
    }
}
