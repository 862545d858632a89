/* io_close.c - descriptors that are closed, replaced and used again while threads wait for
 * them: who waits goes on waiting for the file it was. */
#include "conform.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct wait {
    int fd, begun, done;
    ssize_t result;
    char c;
};

static void *in_read(void *arg)
{
    struct wait *w = arg;

    set(&w->begun, 1);
    w->result = read(w->fd, &w->c, 1);
    set(&w->done, 1);
    return NULL;
}

static pthread_t start(struct wait *w, int fd)
{
    *w = (struct wait){.fd = fd};
    pthread_t t = spawn(in_read, w);
    await_at_least(&w->begun, 1);
    settle();
    CHECK_EQ(get(&w->done), 0);
    return t;
}

/* The writer is told nothing, the reader gets what is written. */
TEST(a_reader_outlives_the_close)
{
    struct wait w;
    int p[2];

    CHECK_EQ(pipe(p), 0);
    pthread_t t = start(&w, p[0]);
    CHECK_EQ(close(p[0]), 0);
    CHECK_ERR(fcntl(p[0], F_GETFD), EBADF);
    settle();
    CHECK_EQ(get(&w.done), 0);
    CHECK_EQ(write(p[1], "a", 1), 1);
    join(t);
    CHECK_EQ(w.result, 1);
    CHECK_EQ(w.c, 'a');
    /* With that the file is gone. */
    signal(SIGPIPE, SIG_IGN);
    CHECK_ERR(write(p[1], "a", 1), EPIPE);
    signal(SIGPIPE, SIG_DFL);
    close(p[1]);
}

static void reused(void (*replace)(int fd, int by))
{
    struct wait w, x;
    int p[2], q[2];

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(q), 0);
    pthread_t t = start(&w, p[0]);
    replace(p[0], q[0]);
    pthread_t u = start(&x, p[0]);
    CHECK_EQ(write(q[1], "q", 1), 1);
    join(u);
    CHECK_EQ(x.c, 'q');
    settle();
    CHECK_EQ(get(&w.done), 0);
    CHECK_EQ(write(p[1], "p", 1), 1);
    join(t);
    CHECK_EQ(w.result, 1);
    CHECK_EQ(w.c, 'p');
    close(p[0]);
    close(p[1]);
    close(q[0]);
    close(q[1]);
}

static void by_dup2(int fd, int by)
{
    CHECK_EQ(dup2(by, fd), fd);
}

static void by_dup3(int fd, int by)
{
    CHECK_EQ(dup3(by, fd, O_CLOEXEC), fd);
}

static void by_close(int fd, int by)
{
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(fcntl(by, F_DUPFD, fd), fd);
}

static void by_range(int fd, int by)
{
    CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, 0), 0);
    CHECK_EQ(fcntl(by, F_DUPFD, fd), fd);
}

TEST(the_number_is_used_again)
{
    reused(by_close);
    reused(by_dup2);
    reused(by_dup3);
    reused(by_range);
}

static void *in_poll(void *arg)
{
    struct wait *w = arg;
    struct pollfd f = {w->fd, POLLIN, 0};

    set(&w->begun, 1);
    w->result = poll(&f, 1, -1);
    set(&w->done, 1);
    return NULL;
}

TEST(a_poll_outlives_the_close)
{
    struct wait w;
    int p[2];

    CHECK_EQ(pipe(p), 0);
    w = (struct wait){.fd = p[0]};
    pthread_t t = spawn(in_poll, &w);
    await_at_least(&w.begun, 1);
    settle();
    CHECK_EQ(close(p[0]), 0);
    CHECK_EQ(write(p[1], "a", 1), 1);
    join(t);
    CHECK_EQ(w.result, 1);
    close(p[1]);
}

TEST(a_duplicate_keeps_the_file)
{
    struct wait w;
    int p[2];

    CHECK_EQ(pipe(p), 0);
    int copy = dup(p[0]);
    pthread_t t = start(&w, p[0]);
    CHECK_EQ(close(p[0]), 0);
    CHECK_EQ(write(p[1], "ab", 2), 2);
    join(t);
    CHECK_EQ(w.c, 'a');
    t = spawn(in_read, &(struct wait){.fd = -1});
    join(t);
    CHECK_EQ(read(copy, &w.c, 1), 1);
    CHECK_EQ(w.c, 'b');
    close(copy);
    close(p[1]);
}

/* A listener that is shut down ends accept; one that is closed does not. */
static void *in_accept(void *arg)
{
    struct wait *w = arg;

    set(&w->begun, 1);
    w->result = accept(w->fd, NULL, NULL);
    set(&w->done, errno);
    return NULL;
}

TEST(shutdown_of_a_listener)
{
    struct sockaddr sa = {.sa_family = AF_INET};
    struct wait w = {.fd = socket(AF_INET, SOCK_STREAM, 0)};

    CHECK_EQ(bind(w.fd, &sa, sizeof(sa)), 0);
    CHECK_EQ(listen(w.fd, 1), 0);
    pthread_t t = spawn(in_accept, &w);
    await_at_least(&w.begun, 1);
    settle();
    CHECK_EQ(shutdown(w.fd, SHUT_RDWR), 0);
    join(t);
    CHECK_EQ(w.result, -1);
    CHECK_EQ(w.done, EINVAL);
    close(w.fd);
}

/* ---- fork ----------------------------------------------------------------------------------- */

static void child_reads(void *arg)
{
    int *p = arg;
    struct wait w;
    char c;

    /* Its threads wait with a poller of their own. */
    int q[2];
    CHECK_EQ(pipe(q), 0);
    pthread_t t = start(&w, q[0]);
    CHECK_EQ(write(q[1], "c", 1), 1);
    join(t);
    CHECK_EQ(w.c, 'c');
    CHECK_EQ(read(p[0], &c, 1), 1);
    CHECK_EQ(c, 'f');
}

TEST(a_child_waits_by_itself)
{
    struct wait w;
    int p[2], q[2];

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(q), 0);
    pthread_t t = start(&w, q[0]);
    pid_t pid = start_child(child_reads, p);
    settle();
    CHECK_EQ(get(&w.done), 0);
    CHECK_EQ(write(q[1], "d", 1), 1);
    join(t);
    CHECK_EQ(w.c, 'd');
    CHECK_EQ(write(p[1], "f", 1), 1);
    CHECK_CHILD_OK(pid);
    close(p[0]);
    close(p[1]);
    close(q[0]);
    close(q[1]);
}

/* What keeps the file for a reader whose descriptor was closed is not inherited. */
static void just_sleep(void *arg)
{
    set(arg, 1);
    sleep_ms(15000);
}

TEST(what_waits_is_not_inherited)
{
    struct wait w;
    int p[2];

    CHECK_EQ(pipe(p), 0);
    pthread_t t = start(&w, p[0]);
    close(p[0]);
    int *running = shared_alloc(sizeof(int));
    pid_t pid = start_child(just_sleep, running);
    await_at_least(running, 1);
    CHECK_EQ(write(p[1], "x", 1), 1);
    join(t);
    signal(SIGPIPE, SIG_IGN);
    CHECK_ERR(write(p[1], "x", 1), EPIPE);
    signal(SIGPIPE, SIG_DFL);
    close(p[1]);
    kill(pid, SIGKILL);
    wait_status(pid);
}

/* ---- the program closes everything ------------------------------------------------------------ */

TEST(closing_everything)
{
    struct wait w;
    int p[2];

    CHECK_EQ(pipe(p), 0);
    pthread_t t = start(&w, p[0]);
    for (int fd = p[1] + 1; fd < 1100; fd++)
        close(fd);
    CHECK_EQ(close_range((unsigned)p[1] + 1, ~0u, 0), 0);
    closefrom(p[1] + 1);
    CHECK_EQ(write(p[1], "a", 1), 1);
    join(t);
    CHECK_EQ(w.c, 'a');
    /* A number that the program wants, whoever has it. */
    t = start(&w, p[0]);
    for (int fd = p[1] + 1; fd < 300; fd++)
        CHECK_EQ(dup2(p[1], fd), fd);
    CHECK_EQ(write(60, "b", 1), 1);
    join(t);
    CHECK_EQ(w.c, 'b');
    for (int fd = p[1] + 1; fd < 300; fd++)
        CHECK_EQ(close(fd), 0);
    t = start(&w, p[0]);
    CHECK_EQ(write(p[1], "c", 1), 1);
    join(t);
    close(p[0]);
    close(p[1]);
}

/* ---- nobody waits for one ---------------------------------------------------------------------- */

static int enough;

static void *hog(void *arg)
{
    while (!get(&enough))
        ;
    return arg;
}

/* Descriptors from FIRST on that are open. */
static int count_open(int first)
{
    int n = 0;

    for (int fd = first; fd < 1100; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void has_none(void *arg)
{
    CHECK_EQ(count_open(*(int *)arg), 0);
}

/* A monitor that keeps files open for as long as threads compete gives way at any number, takes
 * nobody else's file for its own and lets no child inherit one. */
TEST(beside_hogs_every_number_is_free)
{
    enum { HOGS = 4, ROUNDS = 2, MOST = 80 };
    pthread_t t[HOGS];
    struct stat mine, there;
    int p[2], first, before;

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(fstat(p[1], &mine), 0);
    first = p[1] + 1;
    CHECK_EQ(close_range((unsigned)first, ~0u, 0), 0);
    before = count_open(first);
    for (int i = 0; i < HOGS; i++)
        t[i] = spawn(hog, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        sleep_ms(50);
        CHECK_CHILD_OK(start_child(has_none, &first));
        for (int fd = first; fd < MOST; fd++)
            CHECK_EQ(dup2(p[1], fd), fd);
        sleep_ms(50);
        for (int fd = first; fd < MOST; fd++) {
            CHECK_EQ(fstat(fd, &there), 0);
            CHECK_EQ(there.st_ino, mine.st_ino);
            CHECK_EQ(close(fd), 0);
        }
        CHECK_EQ(close_range((unsigned)first, ~0u, 0), 0);
    }
    set(&enough, 1);
    for (int i = 0; i < HOGS; i++)
        join(t[i]);
    for (int i = 0; i < 200 && count_open(first) != before; i++)
        sleep_ms(50);
    CHECK_EQ(count_open(first), before);
    close(p[0]);
    close(p[1]);
}

/* ---- no descriptors left ----------------------------------------------------------------------- */

static int fill[2000], filled;

TEST(no_descriptors_left)
{
    struct wait w, x;
    int p[2], q[2];
    struct rlimit old, low;

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(q), 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 64;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (filled < 2000 && (fill[filled] = dup(0)) >= 0)
        filled++;
    CHECK_EQ(errno, EMFILE);
    pthread_t t = start(&w, p[0]), u = start(&x, q[0]);
    CHECK_EQ(write(p[1], "a", 1), 1);
    join(t);
    CHECK_EQ(w.c, 'a');
    CHECK_EQ(write(q[1], "b", 1), 1);
    join(u);
    while (filled > 0)
        close(fill[--filled]);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(p[0]);
    close(p[1]);
    close(q[0]);
    close(q[1]);
}
