/* signal_own.c - signals that a thread's own calls bring it (XSH write: SIGPIPE, SIGXFSZ "to the
 * thread"), also when it blocks them, and by whatever function of libc it writes; and a blocked
 * thread's pending signals once a signalfd exists. */
#include "conform.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

static __thread volatile int calls;
static int elsewhere; /* atomic */
static __thread bool writes;

static void on_signal(int sig)
{
    (void)sig;
    calls++;
    if (!writes)
        add(&elsewhere, 1);
}

static void handle(int sig)
{
    struct sigaction sa = {.sa_handler = on_signal};
    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

static int broken_pipe(void)
{
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    close(fds[0]);
    return fds[1];
}

static int broken_socket(void)
{
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    close(fds[0]);
    return fds[1];
}

static void write_to(int way, int fd)
{
    char c = 'x';
    FILE *f;
    switch (way) {
    case 0:
        CHECK_ERR(write(fd, &c, 1), EPIPE);
        break;
    case 1:
        CHECK_ERR(send(fd, &c, 1, 0), EPIPE);
        break;
    default: /* a write inside libc */
        f = fdopen(dup(fd), "w");
        CHECK(f != NULL);
        setvbuf(f, NULL, _IONBF, 0);
        CHECK_EQ(fputc(c, f), EOF);
        fclose(f);
    }
}

enum { WAYS = 3 };

static int broken(int way)
{
    return way == 1 ? broken_socket() : broken_pipe();
}

static void *gets_sigpipe(void *arg)
{
    writes = true;
    for (int way = 0; way < WAYS; way++) {
        for (int i = 0; i < 10; i++) {
            int fd = broken(way);
            calls = 0;
            write_to(way, fd);
            CHECK_EQ(calls, 1); /* at once, here */
            close(fd);
        }
    }
    return arg;
}

/* main is the kernel's first choice for what is sent to the process, and not blocked. */
TEST(sigpipe_is_for_the_writer)
{
    pthread_t t[3];
    handle(SIGPIPE);
    elsewhere = 0;
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(gets_sigpipe, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(get(&elsewhere), 0);
    signal(SIGPIPE, SIG_DFL);
}

static bool is_pending(int sig)
{
    sigset_t set;
    CHECK_EQ(sigpending(&set), 0);
    return sigismember(&set, sig);
}

static int stop; /* atomic */

/* Anybody else's kernel thread: the default action would end the process. */
static void *not_blocked(void *arg)
{
    while (!get(&stop)) {
        CHECK(!is_pending(SIGPIPE));
        sched_yield();
        usleep(20);
    }
    return arg;
}

static void *blocks_sigpipe(void *arg)
{
    sigset_t set = set_of(SIGPIPE);
    struct timespec none = {0, 0};
    mask_signal(SIG_BLOCK, SIGPIPE);
    for (int way = 0; way < 2; way++) {
        for (int i = 0; i < 5; i++) {
            int fd = broken(way);
            CHECK(!is_pending(SIGPIPE));
            write_to(way, fd);
            if (i % 2)
                usleep(1000);
            CHECK(is_pending(SIGPIPE));
            for (int k = 0; k < i; k++)
                sched_yield();
            CHECK_EQ(sigtimedwait(&set, NULL, &none), SIGPIPE);
            CHECK(!is_pending(SIGPIPE));
            CHECK_ERR(sigtimedwait(&set, NULL, &none), EAGAIN);
            close(fd);
        }
    }
    return arg;
}

TEST(blocked_sigpipe_stays_with_the_writer)
{
    pthread_t t[3], u[3];
    set(&stop, 0);
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        u[i] = spawn(not_blocked, NULL);
        t[i] = spawn(blocks_sigpipe, NULL);
    }
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    set(&stop, 1);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(u[i]);
}

/* Ends with it pending: nobody else's then. */
static void *leaves_it(void *arg)
{
    mask_signal(SIG_BLOCK, SIGPIPE);
    int fd = broken_pipe();
    write_to(0, fd);
    close(fd);
    return arg;
}

TEST(pending_sigpipe_ends_with_its_thread)
{
    for (int i = 0; i < 20; i++) {
        join(spawn(leaves_it, NULL));
        join(spawn((void *(*)(void *))(void *)getpid, NULL));
        CHECK(!is_pending(SIGPIPE));
    }
}

static void *writes_too_much(void *arg)
{
    char path[] = "/tmp/gshim-own-XXXXXX", c = 'x';
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    unlink(path);
    writes = true;
    calls = 0;
    CHECK_ERR(pwrite(fd, &c, 1, 1 << 20), EFBIG);
    CHECK_EQ(calls, 1);
    close(fd);
    return arg;
}

static void limit_files(void *arg)
{
    struct rlimit r = {4096, 4096};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &r), 0);
    handle(SIGXFSZ);
    join(spawn(writes_too_much, NULL));
    CHECK_EQ(get(&elsewhere), 0);
    (void)arg;
}

TEST(file_size_limit)
{
    elsewhere = 0;
    CHECK_CHILD_OK(start_child(limit_files, NULL));
}

/* A signal to a thread that blocks it stays there, though others have it open. */
static void *pending_here(void *arg)
{
    sigset_t usr1 = set_of(SIGUSR1), none;
    struct timespec no_time = {0, 0};
    int fd = signalfd(-1, &usr1, SFD_NONBLOCK);
    CHECK(fd >= 0);
    mask_signal(SIG_BLOCK, SIGUSR1);
    writes = true;
    for (int i = 0; i < 10; i++) {
        calls = 0;
        CHECK_EQ(raise(SIGUSR1), 0);
        settle();
        CHECK_EQ(calls, 0);
        CHECK(is_pending(SIGUSR1));
        sigemptyset(&none);
        CHECK_ERR(sigsuspend(&none), EINTR);
        CHECK_EQ(calls, 1);
        CHECK_EQ(raise(SIGUSR1), 0);
        CHECK_EQ(sigtimedwait(&usr1, NULL, &no_time), SIGUSR1);
    }
    close(fd);
    return arg;
}

TEST(pending_on_a_thread_beside_a_signalfd)
{
    handle(SIGUSR1);
    elsewhere = 0;
    join(spawn(pending_here, NULL));
    CHECK_EQ(get(&elsewhere), 0);
    signal(SIGUSR1, SIG_DFL);
}
