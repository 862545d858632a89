/* blocking.c - a thread that waits in the kernel, or for a lock inside the C library,
 * must not keep the others from running.
 *
 * In each test more threads block than there are processors to run on, and only after
 * other threads have demonstrably worked is the blockade lifted: a stall is a hang. */
#include "conform.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>

#define BLOCKED 12

/* ---- the others: two threads in lock step, and new threads ------------------------- */

struct steps {
    pthread_mutex_t m;
    pthread_cond_t c;
    int turn;
};

static void *walk(void *arg, int me)
{
    struct steps *s = arg;

    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&s->m);
        while (s->turn != me)
            pthread_cond_wait(&s->c, &s->m);
        s->turn = !me;
        pthread_cond_signal(&s->c);
        pthread_mutex_unlock(&s->m);
    }
    return NULL;
}

static void *left_foot(void *arg)
{
    return walk(arg, 0);
}

static void *right_foot(void *arg)
{
    return walk(arg, 1);
}

static void make_progress(void)
{
    struct steps s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    pthread_t left = spawn(left_foot, &s), right = spawn(right_foot, &s);

    join(left);
    join(right);
}

/* ---- descriptors ------------------------------------------------------------------- */

struct fds {
    int in[2]; /* what the blocked threads read */
    int arrived, passed;
    ssize_t filled; /* bytes that were in the pipe before */
};

static void with_blocked(void *(*fn)(void *), struct fds *f,
                         void (*release)(struct fds *))
{
    pthread_t t[BLOCKED];

    f->arrived = f->passed = 0;
    for (int i = 0; i < BLOCKED; i++)
        t[i] = spawn(fn, f);
    await_at_least(&f->arrived, BLOCKED);
    settle();
    make_progress();
    CHECK_EQ(get(&f->passed), 0);
    release(f);
    for (int i = 0; i < BLOCKED; i++)
        join(t[i]);
    CHECK_EQ(f->passed, BLOCKED);
}

static void write_some(struct fds *f)
{
    CHECK_EQ(write(f->in[1], "yyyyyyyyyyyy", BLOCKED), BLOCKED);
}

static void *in_read(void *arg)
{
    struct fds *f = arg;
    char c = 0;

    add(&f->arrived, 1);
    CHECK_EQ(read(f->in[0], &c, 1), 1);
    CHECK_EQ(c, 'y');
    add(&f->passed, 1);
    return NULL;
}

TEST(read_on_a_pipe)
{
    struct fds f;

    CHECK_EQ(pipe(f.in), 0);
    with_blocked(in_read, &f, write_some);
    close(f.in[0]);
    close(f.in[1]);
}

static void *in_recv(void *arg)
{
    struct fds *f = arg;
    char c = 0;

    add(&f->arrived, 1);
    CHECK_EQ(recv(f->in[0], &c, 1, 0), 1);
    add(&f->passed, 1);
    return NULL;
}

TEST(recv_on_a_socket)
{
    struct fds f;

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, f.in), 0);
    with_blocked(in_recv, &f, write_some);
    close(f.in[0]);
    close(f.in[1]);
}

static void *in_poll(void *arg)
{
    struct fds *f = arg;
    struct pollfd p = {.fd = f->in[0], .events = POLLIN};

    add(&f->arrived, 1);
    CHECK_EQ(poll(&p, 1, -1), 1);
    CHECK(p.revents & POLLIN);
    add(&f->passed, 1);
    return NULL;
}

TEST(poll_on_a_pipe)
{
    struct fds f;

    CHECK_EQ(pipe(f.in), 0);
    with_blocked(in_poll, &f, write_some);
    close(f.in[0]);
    close(f.in[1]);
}

static void *in_select(void *arg)
{
    struct fds *f = arg;
    fd_set set;

    FD_ZERO(&set);
    FD_SET(f->in[0], &set);
    add(&f->arrived, 1);
    CHECK_EQ(select(f->in[0] + 1, &set, NULL, NULL, NULL), 1);
    add(&f->passed, 1);
    return NULL;
}

TEST(select_on_a_pipe)
{
    struct fds f;

    CHECK_EQ(pipe(f.in), 0);
    with_blocked(in_select, &f, write_some);
    close(f.in[0]);
    close(f.in[1]);
}

static void *in_write(void *arg)
{
    struct fds *f = arg;

    add(&f->arrived, 1);
    CHECK_EQ(write(f->in[1], "z", 1), 1);
    add(&f->passed, 1);
    return NULL;
}

static void drain(struct fds *f)
{
    static char buffer[1 << 16];
    ssize_t total = 0;

    while (total < f->filled + BLOCKED) {
        ssize_t n = read(f->in[0], buffer, sizeof(buffer));

        CHECK(n > 0);
        total += n;
    }
}

TEST(write_on_a_full_pipe)
{
    static char page[4096];
    struct fds f;
    ssize_t n;

    CHECK_EQ(pipe(f.in), 0);
    CHECK_EQ(fcntl(f.in[1], F_SETFL, O_NONBLOCK), 0);
    for (f.filled = 0; (n = write(f.in[1], page, sizeof(page))) > 0; f.filled += n)
        continue;
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(fcntl(f.in[1], F_SETFL, 0), 0);
    with_blocked(in_write, &f, drain);
    close(f.in[0]);
    close(f.in[1]);
}

static void *in_lock(void *arg)
{
    struct fds *f = arg;
    char path[64];
    int fd;

    /* flock() belongs to the open file, so each thread opens it for itself. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f->in[0]);
    fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    add(&f->arrived, 1);
    CHECK_EQ(flock(fd, LOCK_EX), 0);
    add(&f->passed, 1);
    close(fd);
    return NULL;
}

static void unlock_file(struct fds *f)
{
    CHECK_EQ(flock(f->in[0], LOCK_UN), 0);
}

TEST(file_locks)
{
    char path[] = "/tmp/conform-XXXXXX";
    struct fds f;

    f.in[0] = mkstemp(path);
    CHECK(f.in[0] >= 0);
    CHECK_EQ(flock(f.in[0], LOCK_EX), 0);
    with_blocked(in_lock, &f, unlock_file);
    close(f.in[0]);
    unlink(path);
}

/* ---- streams ----------------------------------------------------------------------- */

struct stream {
    FILE *file;
    int arrived, passed;
};

static void *in_fgets(void *arg)
{
    struct stream *s = arg;
    char text[16];

    add(&s->arrived, 1);
    CHECK(fgets(text, sizeof(text), s->file) != NULL);
    CHECK(strcmp(text, "line\n") == 0);
    add(&s->passed, 1);
    return NULL;
}

TEST(fgets_on_a_pipe)
{
    /* One thread waits in the kernel with the stream locked, the others for that lock. */
    struct stream s = {NULL, 0, 0};
    pthread_t t[BLOCKED];
    int fds[2];

    CHECK_EQ(pipe(fds), 0);
    s.file = fdopen(fds[0], "r");
    CHECK(s.file != NULL);
    for (int i = 0; i < BLOCKED; i++)
        t[i] = spawn(in_fgets, &s);
    await_at_least(&s.arrived, BLOCKED);
    settle();
    make_progress();
    CHECK_EQ(get(&s.passed), 0);
    for (int i = 0; i < BLOCKED; i++)
        CHECK_EQ(write(fds[1], "line\n", 5), 5);
    for (int i = 0; i < BLOCKED; i++)
        join(t[i]);
    fclose(s.file);
    close(fds[1]);
}

static void *in_flockfile(void *arg)
{
    struct stream *s = arg;

    add(&s->arrived, 1);
    flockfile(s->file); /* POSIX: waits for the owner */
    add(&s->passed, 1);
    funlockfile(s->file);
    return NULL;
}

TEST(held_stream_lock)
{
    struct stream s = {tmpfile(), 0, 0};
    pthread_t t[BLOCKED];

    CHECK(s.file != NULL);
    flockfile(s.file);
    for (int i = 0; i < BLOCKED; i++)
        t[i] = spawn(in_flockfile, &s);
    await_at_least(&s.arrived, BLOCKED);
    settle();
    make_progress();
    CHECK_EQ(get(&s.passed), 0);
    funlockfile(s.file);
    for (int i = 0; i < BLOCKED; i++)
        join(t[i]);
    fclose(s.file);
}

static void *holds_and_sleeps(void *arg)
{
    struct stream *s = arg;

    flockfile(s->file);
    add(&s->arrived, 1);
    for (int i = 0; i < 5; i++) {
        sleep_ms(2); /* gives the processor away with the lock held */
        fputc('x', s->file);
        sched_yield();
    }
    funlockfile(s->file);
    return NULL;
}

TEST(stream_lock_held_across_switches)
{
    struct stream s = {tmpfile(), 0, 0};
    pthread_t t[BLOCKED];

    CHECK(s.file != NULL);
    for (int i = 0; i < BLOCKED; i++)
        t[i] = spawn(holds_and_sleeps, &s);
    make_progress();
    for (int i = 0; i < BLOCKED; i++)
        join(t[i]);
    CHECK_EQ(ftell(s.file), BLOCKED * 5);
    fclose(s.file);
}

/* ---- time and processes ------------------------------------------------------------ */

static void *in_nanosleep(void *arg)
{
    int64_t start = now_ns(CLOCK_MONOTONIC);
    struct timespec ts = {0, 60 * NS_PER_MS};

    (void)arg;
    CHECK_EQ(nanosleep(&ts, NULL), 0);
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 60 * NS_PER_MS); /* POSIX: not less */
    CHECK_EQ(usleep(1000), 0);
    start = now_ns(CLOCK_MONOTONIC);
    ts = in_ms(CLOCK_MONOTONIC, 20);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0);
    CHECK(now_ns(CLOCK_MONOTONIC) >= ts_ns(ts));
    ts = in_ms(CLOCK_REALTIME, 5);
    CHECK_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL), 0);
    CHECK(now_ns(CLOCK_REALTIME) >= ts_ns(ts));
    return NULL;
}

TEST(sleeping)
{
    pthread_t t[400]; /* one after the other they would outlast the watchdog */
    struct timespec bad = {0, 1000000000};

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(in_nanosleep, NULL);
    make_progress();
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_ERR(nanosleep(&bad, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL), EINVAL);
}

struct family {
    int next, arrived;
    int release[BLOCKED]; /* written to by main, each lets one child end */
};

static void *in_waitpid(void *arg)
{
    int fds[2], status = -1;
    struct family *family = arg;
    pid_t pid;
    char c;

    CHECK_EQ(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        watchdog();
        _exit(read(fds[0], &c, 1) == 1 ? c : 99);
    }
    CHECK(pid > 0);
    close(fds[0]);
    family->release[add(&family->next, 1) - 1] = fds[1];
    add(&family->arrived, 1); /* after the store: main reads them all then */
    CHECK_EQ(waitpid(pid, &status, 0), pid); /* POSIX: any thread may wait for a child */
    CHECK_EXITS(status, 'y');
    return NULL;
}

TEST(waiting_for_children)
{
    struct family family = {.arrived = 0};
    pthread_t t[BLOCKED];

    for (int i = 0; i < BLOCKED; i++)
        t[i] = spawn(in_waitpid, &family);
    await_at_least(&family.arrived, BLOCKED);
    settle();
    make_progress();
    for (int i = 0; i < BLOCKED; i++)
        CHECK_EQ(write(family.release[i], "y", 1), 1);
    for (int i = 0; i < BLOCKED; i++)
        join(t[i]);
    for (int i = 0; i < BLOCKED; i++)
        close(family.release[i]);
}

TEST(system_and_popen)
{
    CHECK_EQ(system("exit 7"), 7 << 8);
    make_progress();
}

static void *in_system(void *arg)
{
    FILE *p = popen("sleep 0.05; echo out", "r");
    char text[16] = "";

    (void)arg;
    CHECK(p != NULL);
    CHECK(p && fgets(text, sizeof(text), p) != NULL);
    CHECK(strcmp(text, "out\n") == 0);
    CHECK(p && pclose(p) == 0);
    CHECK_EQ(system("exit 3"), 3 << 8);
    return NULL;
}

TEST(system_and_popen_in_threads)
{
    pthread_t t[6];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(in_system, NULL);
    make_progress();
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}
