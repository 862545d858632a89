/* fork.c - fork with threads around. Process-shared objects: pshared.c. */
#include "conform.h"

#include <spawn.h>

extern char **environ;

struct noise {
    pthread_mutex_t m;
    pthread_cond_t c;
    int stop;
    long rounds;
};

/* Keeps locks, allocations and wake-ups going while others fork. */
static void *make_noise(void *arg)
{
    struct noise *n = arg;

    while (!get(&n->stop)) {
        struct timespec ts = in_ms(CLOCK_REALTIME, 1);

        pthread_mutex_lock(&n->m);
        n->rounds++;
        pthread_cond_signal(&n->c);
        if (n->rounds % 3 == 0)
            pthread_cond_timedwait(&n->c, &n->m, &ts);
        pthread_mutex_unlock(&n->m);
        free(malloc((size_t)n->rounds % 5000));
        sched_yield();
    }
    return NULL;
}

static void start_noise(struct noise *n, pthread_t *t, size_t count)
{
    pthread_mutex_init(&n->m, NULL);
    pthread_cond_init(&n->c, NULL);
    n->stop = 0;
    n->rounds = 0;
    for (size_t i = 0; i < count; i++)
        t[i] = spawn(make_noise, n);
}

static void stop_noise(struct noise *n, pthread_t *t, size_t count)
{
    set(&n->stop, 1);
    for (size_t i = 0; i < count; i++)
        join(t[i]);
}

static int plain;
static __thread int tls = 5;

static void just_look(void *arg)
{
    CHECK_EQ(gettid(), getpid()); /* the only thread is the first one */
    CHECK_EQ(plain, (int)(intptr_t)arg);
    CHECK_EQ(tls, (int)(intptr_t)arg);
}

TEST(from_main)
{
    plain = tls = 77;
    for (int i = 0; i < 20; i++)
        CHECK_CHILD_OK(start_child(just_look, (void *)77));
}

TEST(from_main_while_others_run)
{
    struct noise n;
    pthread_t t[6];

    start_noise(&n, t, COUNT_OF(t));
    plain = tls = 78;
    for (int i = 0; i < 20; i++)
        CHECK_CHILD_OK(start_child(just_look, (void *)78));
    stop_noise(&n, t, COUNT_OF(t));
}

static void *fork_here(void *arg)
{
    tls = (int)(intptr_t)arg;
    CHECK_CHILD_OK(start_child(just_look, arg)); /* POSIX: a copy of the calling thread */
    CHECK_EQ(tls, (int)(intptr_t)arg);
    return NULL;
}

TEST(from_threads_while_others_run)
{
    struct noise n;
    pthread_t t[4], f[8];

    plain = 79;
    start_noise(&n, t, COUNT_OF(t));
    for (size_t i = 0; i < COUNT_OF(f); i++)
        f[i] = spawn(fork_here, (void *)79);
    for (size_t i = 0; i < COUNT_OF(f); i++)
        join(f[i]);
    stop_noise(&n, t, COUNT_OF(t));
}

static void *echo(void *arg)
{
    sleep_ms(1);
    return arg;
}

static void use_threads(void *arg)
{
    pthread_t t[8];
    struct noise n;

    (void)arg;
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(echo, &t[i]);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK(join(t[i]) == &t[i]);
    start_noise(&n, t, 4);
    sleep_ms(5);
    stop_noise(&n, t, 4);
}

TEST(child_creates_threads)
{
    /* POSIX allows only async-signal-safe calls here; glibc allows it, programs do it. */
    struct noise n;
    pthread_t t[4];

    CHECK_CHILD_OK(start_child(use_threads, NULL));
    start_noise(&n, t, COUNT_OF(t));
    for (int i = 0; i < 10; i++)
        CHECK_CHILD_OK(start_child(use_threads, NULL));
    stop_noise(&n, t, COUNT_OF(t));
}

static void fork_on(void *arg)
{
    intptr_t depth = (intptr_t)arg;

    use_threads(NULL);
    if (depth > 0)
        CHECK_CHILD_OK(start_child(fork_on, (void *)(depth - 1)));
}

TEST(grandchildren)
{
    CHECK_CHILD_OK(start_child(fork_on, (void *)5));
}

static void *exit_in_child(void *arg)
{
    pid_t pid = fork();

    if (pid == 0) {
        watchdog();
        return arg; /* POSIX: the last thread returns: as exit(0) */
    }
    CHECK_EXITS(wait_status(pid), 0);
    return arg;
}

TEST(child_returns_from_its_thread)
{
    int x;

    for (int i = 0; i < 5; i++)
        CHECK(join(spawn(exit_in_child, &x)) == &x);
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void unlock_in_child(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_mutex_trylock(&held), EBUSY);
    CHECK_EQ(pthread_mutex_unlock(&held), 0); /* glibc: the child's thread is the owner */
    CHECK_EQ(pthread_mutex_lock(&held), 0);
    CHECK_EQ(pthread_mutex_unlock(&held), 0);
}

TEST(locks_held_by_the_caller)
{
    CHECK_EQ(pthread_mutex_lock(&held), 0);
    CHECK_CHILD_OK(start_child(unlock_in_child, NULL));
    CHECK_EQ(pthread_mutex_unlock(&held), 0);
}

static int order[6], steps;

static void record(int what)
{
    order[steps++ % 6] = what;
}

static void prepare1(void)
{
    record(1);
}
static void prepare2(void)
{
    record(2);
}
static void parent1(void)
{
    record(3);
}
static void parent2(void)
{
    record(4);
}
static void child1(void)
{
    record(5);
}
static void child2(void)
{
    record(6);
}

static void check_child_order(void *arg)
{
    (void)arg;
    CHECK_EQ(steps, 4);
    CHECK(order[0] == 2 && order[1] == 1 && order[2] == 5 && order[3] == 6);
}

static void *fork_in_order(void *arg)
{
    steps = 0;
    CHECK_CHILD_OK(start_child(check_child_order, NULL));
    CHECK_EQ(steps, 4);
    CHECK(order[0] == 2 && order[1] == 1 && order[2] == 3 && order[3] == 4);
    return arg;
}

TEST(atfork_handlers)
{
    CHECK_EQ(pthread_atfork(prepare1, parent1, child1), 0);
    CHECK_EQ(pthread_atfork(prepare2, parent2, child2), 0);
    fork_in_order(NULL); /* POSIX: prepare in reverse order, the others in order */
    join(spawn(fork_in_order, NULL));
}

static void *spawn_program(void *arg)
{
    char sh[] = "/bin/sh", c[] = "-c", text[] = "exit 9";
    char *argv[] = {sh, c, text, NULL};
    pid_t pid = -1;

    (void)arg;
    CHECK_EQ(posix_spawn(&pid, sh, NULL, NULL, argv, environ), 0);
    CHECK_EXITS(wait_status(pid), 9);
    pid = vfork();
    if (pid == 0) {
        execve(sh, argv, environ);
        _exit(127);
    }
    CHECK_EXITS(wait_status(pid), 9);
    return NULL;
}

TEST(spawn_and_vfork_from_threads)
{
    struct noise n;
    pthread_t t[3], s[6];

    start_noise(&n, t, COUNT_OF(t));
    for (size_t i = 0; i < COUNT_OF(s); i++)
        s[i] = spawn(spawn_program, NULL);
    for (size_t i = 0; i < COUNT_OF(s); i++)
        join(s[i]);
    stop_noise(&n, t, COUNT_OF(t));
}
