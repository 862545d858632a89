/* children.c - what commands and programs find that a thread starts: its signal mask and what the
 * process ignores (XSH system, popen, posix_spawn, exec); and what system() does to its caller. */
#include "conform.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>

extern char **environ;

/* Exit status: a bit for each of the signals that matter here. */
MODE(tell)
{
    sigset_t set;
    struct sigaction sa;
    int status = 0;
    sigprocmask(SIG_BLOCK, NULL, &set);
    if (sigismember(&set, SIGURG))
        status |= 1;
    if (sigismember(&set, SIGUSR2))
        status |= 2;
    if (sigismember(&set, SIGCHLD))
        status |= 4;
    sigaction(SIGURG, NULL, &sa);
    if (sa.sa_handler == SIG_IGN)
        status |= 8;
    sigaction(SIGINT, NULL, &sa);
    if (sa.sa_handler == SIG_IGN)
        status |= 16;
    sigaction(SIGTERM, NULL, &sa);
    if (sa.sa_handler != SIG_DFL)
        status |= 32;
    return status;
}

static char path[256];

static int by_system(void)
{
    char line[300];
    snprintf(line, sizeof(line), "exec %s @tell", path);
    return system(line);
}

static int by_popen(void)
{
    char line[300];
    snprintf(line, sizeof(line), "exec %s @tell", path);
    FILE *f = popen(line, "r");
    CHECK(f != NULL);
    return f ? pclose(f) : -1;
}

static char *args[] = {path, (char[]){"@tell"}, NULL};

static int by_spawn(void)
{
    pid_t pid;
    CHECK_EQ(posix_spawn(&pid, path, NULL, NULL, args, environ), 0);
    return wait_status(pid);
}

static int by_fork(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execv(path, args);
        _exit(127);
    }
    return wait_status(pid);
}

static int by_vfork(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execve(path, args, environ);
        _exit(127);
    }
    return wait_status(pid);
}

static int (*const ways[])(void) = {by_system, by_popen, by_spawn, by_fork, by_vfork};

static void all_find(int status)
{
    for (size_t i = 0; i < COUNT_OF(ways); i++)
        CHECK_EXITS(ways[i](), status);
}

static void on_signal(int sig)
{
    (void)sig;
}

static void *start_in_all_states(void *arg)
{
    signal(SIGTERM, on_signal); /* becomes the default in another program */
    all_find(0);
    mask_signal(SIG_BLOCK, SIGURG);
    mask_signal(SIG_BLOCK, SIGUSR2);
    all_find(1 | 2);
    signal(SIGURG, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    all_find(1 | 2 | 8 | 16);
    mask_signal(SIG_UNBLOCK, SIGURG);
    all_find(2 | 8 | 16);
    signal(SIGURG, on_signal);
    all_find(2 | 16);
    signal(SIGURG, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    mask_signal(SIG_UNBLOCK, SIGUSR2);
    all_find(0);
    return arg;
}

TEST(mask_and_ignored_signals)
{
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    CHECK(n > 0);
    signal(SIGINT,
           SIG_DFL); /* a shell ignores them for what it starts in the background */
    signal(SIGQUIT, SIG_DFL);
    join(spawn(start_in_all_states, NULL));
    start_in_all_states(NULL);
}

/* --- system ---------------------------------------------------------------------------------- */

TEST(results_of_system)
{
    CHECK(system(NULL) != 0);
    CHECK_EXITS(system("exit 3"), 3);
    CHECK_EXITS(system("nonexistent-command 2> /dev/null"), 127);
    int status = system("kill -9 $$");
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static bool ignores(int sig)
{
    struct sigaction sa;
    CHECK_EQ(sigaction(sig, NULL, &sa), 0);
    return sa.sa_handler == SIG_IGN;
}

struct command {
    char fifo[64];
    int status;
    bool blocked;
};

static void name_fifo(struct command *c)
{
    snprintf(c->fifo, sizeof(c->fifo), "/tmp/gshim-children-%d", (int)getpid());
    unlink(c->fifo);
    CHECK_EQ(mkfifo(c->fifo, 0600), 0);
}

static int chld; /* atomic */

static void on_chld(int sig)
{
    (void)sig;
    add(&chld, 1);
}

static void *await_fifo(void *arg)
{
    struct command *c = arg;
    char line[128];
    sigset_t now;
    snprintf(line, sizeof(line), "read x < %s; exit 7", c->fifo);
    c->status = system(line);
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    c->blocked = sigismember(&now, SIGCHLD);
    return arg;
}

/* SIGINT and SIGQUIT are ignored while any system() runs, and then as before. */
TEST(signals_ignored_meanwhile)
{
    struct command c = {.status = 0};
    char byte = '\n';
    name_fifo(&c);
    signal(SIGQUIT, on_signal);
    pthread_t t = spawn(await_fifo, &c);
    int fd = open(c.fifo, O_WRONLY); /* until the command is there */
    CHECK(fd >= 0);
    CHECK(ignores(SIGINT) && ignores(SIGQUIT));
    CHECK_EQ(kill(getpid(), SIGINT), 0);
    CHECK_EXITS(system("exit 1"), 1); /* the first of two to end */
    CHECK(ignores(SIGINT));
    CHECK_EQ(write(fd, &byte, 1), 1);
    close(fd);
    join(t);
    CHECK_EXITS(c.status, 7);
    CHECK(!c.blocked);
    CHECK(!ignores(SIGINT) && !ignores(SIGQUIT));
    signal(SIGQUIT, SIG_DFL);
    unlink(c.fifo);
}

/* SIGCHLD is blocked in the caller: of the only thread, its handler runs after the end, and
 * cannot take the status away. */
TEST(child_signal_comes_after)
{
    signal(SIGCHLD, on_chld);
    join(spawn(start_in_all_states, NULL)); /* there have been threads */
    chld = 0;
    CHECK_EXITS(system("exit 4"), 4);
    CHECK_EQ(get(&chld), 1);
    signal(SIGCHLD, SIG_DFL);
}

/* Cancelled, it takes its command along and leaves everything as it was. */
TEST(cancelled)
{
    struct command c = {.status = 0};
    name_fifo(&c);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 3; i++) {
        pthread_t t = spawn(await_fifo, &c);
        int fd = open(c.fifo, O_WRONLY);
        CHECK(fd >= 0);
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK(!ignores(SIGINT));
        CHECK_ERR(write(fd, "x", 1), EPIPE); /* the reader is gone */
        close(fd);
        CHECK_ERR(waitpid(-1, NULL, 0), ECHILD);
    }
    signal(SIGPIPE, SIG_DFL);
    unlink(c.fifo);
}
