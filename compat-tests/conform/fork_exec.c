/* fork_exec.c - running other programs from threads: exec, posix_spawn, system, popen, daemon;
 * and how a process with threads ends: exit, quick_exit, _exit, abort, return from main,
 * pthread_exit of the last thread (XSH exec, posix_spawn, system, popen, exit, abort). */
#include "conform.h"

#include <spawn.h>
#include <sys/resource.h>

extern char **environ;

static void *busy(void *arg)
{
    for (;;) {
        free(malloc(100));
        if (arg)
            usleep(10);
        else
            sched_yield();
    }
    return arg;
}

static void start_busy(int n)
{
    for (int i = 0; i < n; i++)
        pthread_detach(spawn(busy, (void *)(intptr_t)(i % 2)));
}

static void say(const char *text)
{
    CHECK_EQ(write(1, text, strlen(text)), (ssize_t)strlen(text));
}

/* --- exec ---------------------------------------------------------------------------------- */

/* What the new program finds: mask, dispositions, and one thread. */
MODE(after_exec)
{
    sigset_t set;
    struct sigaction sa;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    CHECK(sigismember(&set, SIGUSR1)); /* XSH exec: the mask is inherited */
    CHECK(!sigismember(&set, SIGUSR2));
    CHECK(!sigismember(&set, SIGURG));
    for (int sig = 1; sig < SIGRTMAX; sig++) {
        if (sigaction(sig, NULL, &sa) != 0)
            continue;
        /* handlers become the default, SIG_IGN stays */
        CHECK(sa.sa_handler == (sig == SIGHUP ? SIG_IGN : SIG_DFL));
    }
    stack_t now;
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK_EQ(now.ss_flags, SS_DISABLE);
    say("executed");
    return get(&conform_failures) ? 1 : 4;
}

static void handler(int sig)
{
    (void)sig;
}

static void *exec_self(void *arg)
{
    char self[] = "/proc/self/exe", mode[] = "@after_exec";
    char *argv[] = {self, mode, NULL};
    sigset_t set;
    (void)arg;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    execv(self, argv);
    _exit(127);
}

static void prepare_exec(void)
{
    /* A shell ignores some in what it runs behind it. */
    for (int sig = 1; sig < SIGRTMAX; sig++)
        signal(sig, SIG_DFL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR1, handler);
    signal(SIGSEGV, handler);
    start_busy(6);
    settle();
}

MODE(exec_from_thread)
{
    prepare_exec();
    join(spawn(exec_self, NULL));
    return 1;
}

MODE(exec_from_main)
{
    prepare_exec();
    exec_self(NULL);
    return 1;
}

TEST(exec)
{
    char out[64] = "";
    CHECK_EXITS(run_mode("exec_from_main", out, sizeof(out)), 4);
    CHECK(strcmp(out, "executed") == 0);
    CHECK_EXITS(run_mode("exec_from_thread", out, sizeof(out)), 4);
    CHECK(strcmp(out, "executed") == 0);
}

/* --- posix_spawn, system, popen --------------------------------------------------------------- */

static void *run_programs(void *arg)
{
    char sh[] = "sh", c[] = "-c", line[] = "exit 6";
    char *argv[] = {sh, c, line, NULL};
    for (int i = 0; i < 5; i++) {
        pid_t pid;
        char text[64] = "";
        CHECK_EQ(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
        CHECK_EXITS(wait_status(pid), 6);
        CHECK_EQ(posix_spawnp(&pid, "/nonexistent/program", NULL, NULL, argv, environ),
                 ENOENT);
        CHECK_EXITS(system("exit 5"), 5);
        FILE *f = popen("echo said", "r");
        CHECK(f != NULL);
        if (f) {
            CHECK(fgets(text, sizeof(text), f) != NULL);
            CHECK(strcmp(text, "said\n") == 0);
            CHECK_EXITS(pclose(f), 0);
        }
    }
    return arg;
}

/* Each thread waits for its own children only: wait_status gives a pid. */
TEST(programs_from_many_threads)
{
    pthread_t t[6];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(run_programs, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    run_programs(NULL);
}

static void *spawn_with_attributes(void *arg)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t fa;
    sigset_t set;
    char self[] = "/proc/self/exe", mode[] = "@after_exec", text[64] = "";
    char *argv[] = {self, mode, NULL};
    int fds[2];
    pid_t pid;
    CHECK_EQ(pipe(fds), 0);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_init(&fa);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    posix_spawnattr_setsigmask(&attr, &set);
    sigfillset(&set);
    sigdelset(&set, SIGHUP);
    posix_spawnattr_setsigdefault(&attr, &set);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_adddup2(&fa, fds[1], 1);
    posix_spawn_file_actions_addclose(&fa, fds[0]);
    CHECK_EQ(posix_spawn(&pid, self, &fa, &attr, argv, environ), 0);
    close(fds[1]);
    CHECK_EQ(read(fds[0], text, sizeof(text)), 8);
    CHECK(strcmp(text, "executed") == 0);
    CHECK_EXITS(wait_status(pid), 4);
    close(fds[0]);
    return arg;
}

TEST(spawn_attributes)
{
    signal(SIGHUP, SIG_IGN);
    join(spawn(spawn_with_attributes, NULL));
    spawn_with_attributes(NULL);
    signal(SIGHUP, SIG_DFL);
}

static void become_daemon(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char c = 'd';
    start_busy(2);
    CHECK_EQ(daemon(0, 1), 0);
    watchdog();
    join(spawn((void *(*)(void *))(void *)getpid, NULL)); /* threads work in it */
    CHECK_EQ(write(fd, &c, 1), 1);
}

TEST(daemon)
{
    int fds[2];
    char c = 0;
    CHECK_EQ(pipe(fds), 0);
    pid_t pid = start_child(become_daemon, (void *)(intptr_t)fds[1]);
    CHECK_CHILD_OK(pid); /* the parent half has left with 0 */
    close(fds[1]);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(c, 'd');
    close(fds[0]);
}

/* --- the end of a process ----------------------------------------------------------------------- */

static int ticks;

static void *tick(void *arg)
{
    for (;;) {
        add(&ticks, 1);
        usleep(100);
    }
    return arg;
}

/* XSH exit ends the other threads only at the very end: they run on while handlers run. */
static void others_still_run(void)
{
    int before = get(&ticks);
    await_at_least(&ticks, before + 5);
    say("handler;");
}

static void last_handler(void)
{
    say("first registered;");
}

static void *exit_in_thread(void *arg)
{
    exit((int)(intptr_t)arg);
}

static void start_ticks(void)
{
    atexit(last_handler);
    atexit(others_still_run);
    pthread_detach(spawn(tick, NULL));
    start_busy(4);
}

MODE(exit_from_thread)
{
    start_ticks();
    join(spawn(exit_in_thread, (void *)21));
    return 1;
}

MODE(exit_from_main)
{
    start_ticks();
    exit(22);
}

MODE(return_from_main)
{
    start_ticks();
    return 23;
}

TEST(exit_with_threads)
{
    static const struct {
        const char *mode;
        int code;
    } rows[] = {
        {"exit_from_thread", 21}, {"exit_from_main", 22}, {"return_from_main", 23}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[64] = "";
        CHECK_EXITS(run_mode(rows[i].mode, out, sizeof(out)), rows[i].code);
        CHECK(strcmp(out, "handler;first registered;") == 0);
    }
}

static void quick_handler(void)
{
    say("quick;");
}

static void *quick_exit_in_thread(void *arg)
{
    quick_exit((int)(intptr_t)arg);
}

MODE(quick_exit)
{
    atexit(last_handler); /* not for quick_exit */
    at_quick_exit(quick_handler);
    start_busy(4);
    join(spawn(quick_exit_in_thread, (void *)24));
    return 1;
}

static void *underscore_exit(void *arg)
{
    _exit((int)(intptr_t)arg);
}

MODE(underscore_exit)
{
    atexit(last_handler);
    start_busy(4);
    join(spawn(underscore_exit, (void *)25));
    return 1;
}

TEST(exit_without_handlers)
{
    char out[64] = "";
    CHECK_EXITS(run_mode("quick_exit", out, sizeof(out)), 24);
    CHECK(strcmp(out, "quick;") == 0);
    CHECK_EXITS(run_mode("underscore_exit", out, sizeof(out)), 25);
    CHECK(strcmp(out, "") == 0);
}

static void *abort_in_thread(void *arg)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (arg) {
        sigset_t set;
        sigfillset(&set);
        pthread_sigmask(SIG_BLOCK, &set, NULL); /* XSH abort: also then */
        signal(SIGABRT, SIG_IGN);
    }
    abort();
}

MODE(abort)
{
    atexit(last_handler);
    start_busy(4);
    join(spawn(abort_in_thread, NULL));
    return 1;
}

MODE(abort_blocked)
{
    start_busy(4);
    join(spawn(abort_in_thread, &ticks));
    return 1;
}

TEST(abort_from_threads)
{
    char out[64] = "";
    int status = run_mode("abort", out, sizeof(out));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strcmp(out, "") == 0);
    status = run_mode("abort_blocked", out, sizeof(out));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static pthread_t main_thread;

static void *outlive_main(void *arg)
{
    CHECK_EQ(pthread_join(main_thread, NULL), 0);
    say("thread;");
    return arg;
}

/* XSH pthread_exit: the process ends with 0 when its last thread does; handlers run. */
MODE(last_thread)
{
    atexit(last_handler);
    main_thread = pthread_self();
    pthread_detach(spawn(outlive_main, NULL));
    pthread_exit(NULL);
}

TEST(last_thread_ends_the_process)
{
    char out[64] = "";
    for (int i = 0; i < 10; i++) {
        CHECK_EXITS(run_mode("last_thread", out, sizeof(out)), 0);
        CHECK(strcmp(out, "thread;first registered;") == 0);
    }
}

static void *exit_late(void *arg)
{
    usleep(1000);
    pthread_exit(arg);
}

MODE(many_last_threads)
{
    for (int i = 0; i < 20; i++)
        pthread_detach(spawn(exit_late, NULL));
    pthread_exit(NULL);
}

TEST(any_thread_may_be_the_last)
{
    for (int i = 0; i < 20; i++)
        CHECK_EXITS(run_mode("many_last_threads", NULL, 0), 0);
}
