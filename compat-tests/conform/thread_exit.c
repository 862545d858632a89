/* thread_exit.c - how threads end processes and processes end threads.
 *
 * Each case is a process of its own: its output and its status are what is compared. */
#include "conform.h"

#define EXPECT(mode, code, text)                                                         \
    do {                                                                                 \
        char out[256];                                                                   \
        CHECK_EXITS(run_mode(mode, out, sizeof(out)), code);                             \
        CHECK(strcmp(out, text) == 0);                                                   \
    } while (0)

static void *forever(void *arg)
{
    (void)arg;
    for (;;)
        pause();
    return NULL;
}

static void *late(void *arg)
{
    sleep_ms(50);
    printf("%s", (const char *)arg); /* not flushed here: exit() has to do it */
    return NULL;
}

static void at_exit(void)
{
    printf("|atexit");
}

MODE(main_exits_first)
{
    atexit(at_exit);
    spawn(late, "late");
    pthread_exit(NULL);
}

TEST(pthread_exit_in_main)
{
    /* POSIX pthread_exit: the process ends with status 0 after the last thread, as if by
     * exit(0): handlers run, streams are flushed. */
    EXPECT("main_exits_first", 0, "late|atexit");
}

static void signal_at_exit(void)
{
    kill(getpid(), SIGUSR1);
    printf("kill returned"); /* flushed, if it did */
}

MODE(last_thread_is_killed_at_exit)
{
    atexit(signal_at_exit);
    spawn(late, "late");
    pthread_exit(NULL);
}

TEST(signal_in_the_exit_handler_of_the_last_thread)
{
    /* POSIX kill: no thread blocks it, so it has been delivered before kill returns. */
    char out[256];
    int status = run_mode("last_thread_is_killed_at_exit", out, sizeof(out));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    CHECK(strcmp(out, "") == 0);
}

static void *generation(void *arg)
{
    intptr_t n = (intptr_t)arg;

    sleep_ms(2);
    if (n == 0) {
        printf("last");
        return NULL;
    }
    CHECK_EQ(pthread_detach(spawn(generation, (void *)(n - 1))), 0);
    return NULL;
}

MODE(generations)
{
    atexit(at_exit);
    spawn(generation, (void *)10);
    pthread_exit(NULL);
}

TEST(threads_after_main)
{
    EXPECT("generations", 0, "last|atexit"); /* created when main was gone already */
}

static pthread_t main_id;

static void *join_main(void *arg)
{
    void *result = NULL;

    (void)arg;
    CHECK_EQ(pthread_join(main_id, &result), 0); /* POSIX: main is a thread as well */
    printf("main said %d", (int)(intptr_t)result);
    return NULL;
}

MODE(main_is_joined)
{
    main_id = pthread_self();
    spawn(join_main, NULL);
    settle();
    pthread_exit((void *)42);
}

TEST(main_can_be_joined)
{
    EXPECT("main_is_joined", 0, "main said 42");
}

static pthread_key_t key;

static void key_gone(void *value)
{
    printf("%s", (const char *)value);
}

static void cleanup(void *arg)
{
    printf("%s", (const char *)arg);
}

MODE(main_cleans_up)
{
    static char value[] = "|key";

    CHECK_EQ(pthread_key_create(&key, key_gone), 0);
    CHECK_EQ(pthread_setspecific(key, value), 0);
    atexit(at_exit);
    pthread_cleanup_push(cleanup, "cleanup");
    pthread_exit(NULL);
    pthread_cleanup_pop(0);
    return 1;
}

TEST(main_runs_its_destructors)
{
    EXPECT("main_cleans_up", 0, "cleanup|key|atexit"); /* POSIX: in this order */
}

MODE(main_returns)
{
    static char value[] = "|key";

    CHECK_EQ(pthread_key_create(&key, key_gone), 0);
    CHECK_EQ(pthread_setspecific(key, value), 0);
    atexit(at_exit);
    for (int i = 0; i < 10; i++)
        spawn(forever, NULL);
    printf("main");
    return 3;
}

TEST(return_from_main)
{
    /* POSIX: as exit(): other threads just stop, key destructors are not run. */
    EXPECT("main_returns", 3, "main|atexit");
}

static void *call_exit(void *arg)
{
    (void)arg;
    settle();
    printf("thread");
    exit(5);
}

MODE(thread_exits)
{
    atexit(at_exit);
    spawn(forever, NULL);
    return join(spawn(call_exit, NULL)) ? 1 : 2;
}

TEST(exit_in_a_thread)
{
    EXPECT("thread_exits", 5, "thread|atexit"); /* POSIX exit: the whole process */
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

static void *blocked_on_mutex(void *arg)
{
    pthread_mutex_lock(&held);
    return arg;
}

static void *blocked_on_cond(void *arg)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&m);
    for (;;)
        pthread_cond_wait(&never, &m);
    return arg;
}

static void *blocked_in_read(void *arg)
{
    int fds[2];
    char c;

    if (pipe(fds) != 0 || read(fds[0], &c, 1) != 1)
        return NULL;
    return arg;
}

MODE(exit_past_blocked)
{
    pthread_mutex_lock(&held);
    for (int i = 0; i < 5; i++) {
        spawn(blocked_on_mutex, NULL);
        spawn(blocked_on_cond, NULL);
        spawn(blocked_in_read, NULL);
    }
    settle();
    return join(spawn(call_exit, NULL)) ? 1 : 2;
}

TEST(exit_with_blocked_threads)
{
    EXPECT("exit_past_blocked", 5, "thread");
}

static void *call_underscore_exit(void *arg)
{
    (void)arg;
    printf("lost");
    _exit(6);
}

MODE(quick)
{
    atexit(at_exit);
    join(spawn(call_underscore_exit, NULL));
    return 1;
}

TEST(underscore_exit_in_a_thread)
{
    EXPECT("quick", 6, ""); /* POSIX _exit: no handlers, no flush */
}

static void *call_abort(void *arg)
{
    (void)arg;
    abort();
}

MODE(aborts)
{
    join(spawn(call_abort, NULL));
    return 1;
}

TEST(abort_in_a_thread)
{
    int status = run_mode("aborts", NULL, 0);

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT); /* POSIX abort */
}

static void *fault(void *arg)
{
    volatile int *p = arg;

    *p = 1;
    return NULL;
}

MODE(faults)
{
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    join(spawn(fault, page));
    return 1;
}

TEST(fault_in_a_thread)
{
    int status = run_mode("faults", NULL, 0);

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

MODE(hello)
{
    printf("hello");
    return 8;
}

static void *call_exec(void *arg)
{
    char self[] = "/proc/self/exe", mode[] = "@hello";
    char *argv[] = {self, mode, NULL};

    (void)arg;
    execv(self, argv);
    return NULL;
}

MODE(execs)
{
    for (int i = 0; i < 5; i++)
        spawn(forever, NULL);
    join(spawn(call_exec, NULL));
    return 1;
}

TEST(exec_from_a_thread)
{
    EXPECT("execs", 8, "hello"); /* POSIX exec: the other threads end */
}

static void *unjoined(void *arg)
{
    return arg;
}

MODE(many_unjoined)
{
    for (int i = 0; i < 100; i++)
        spawn(unjoined, NULL);
    printf("done");
    return 0;
}

TEST(unjoined_threads_at_exit)
{
    for (int i = 0; i < 10; i++)
        EXPECT("many_unjoined", 0, "done");
}

static void *join_in_handler_body(void *arg)
{
    return arg;
}

static void join_at_exit(void)
{
    int x;

    CHECK(join(spawn(join_in_handler_body, &x)) == &x);
    printf("|joined%s", get(&conform_failures) ? "?" : "");
}

MODE(thread_in_atexit)
{
    atexit(join_at_exit);
    printf("main");
    return 0;
}

TEST(threads_made_in_atexit_handlers)
{
    EXPECT("thread_in_atexit", 0, "main|joined");
}
