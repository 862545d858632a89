/* io_eintr.c - signal handlers and calls that wait for descriptors: which of them end with
 * EINTR, which go on; masks for the time of a call; the same calls by number. */
#include "conform.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

static int handled, restart;

static void on_signal(int sig)
{
    (void)sig;
    add(&handled, 1);
}

static void handle(int sig, bool with_restart)
{
    struct sigaction sa = {.sa_handler = on_signal,
                           .sa_flags = with_restart ? SA_RESTART : 0};

    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
    set(&handled, 0);
    restart = with_restart;
}

struct call {
    ssize_t (*fn)(int fd);
    int fd, done, err;
    ssize_t result;
};

static void *in_call(void *arg)
{
    struct call *c = arg;

    errno = 0;
    c->result = c->fn(c->fd);
    c->err = errno;
    set(&c->done, 1);
    return NULL;
}

static ssize_t call_read(int fd)
{
    char c;
    return read(fd, &c, 1);
}

static ssize_t call_recv(int fd)
{
    char c;
    return recv(fd, &c, 1, 0);
}

static ssize_t call_read_by_number(int fd)
{
    char c;
    return syscall(SYS_read, fd, &c, 1);
}

static ssize_t call_poll(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, -1);
}

static ssize_t call_ppoll_by_number(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return syscall(SYS_ppoll, &p, 1, NULL, NULL, 8);
}

static ssize_t call_select(int fd)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, NULL);
}

static ssize_t call_epoll(int fd)
{
    struct epoll_event e = {.events = EPOLLIN};
    int ep = epoll_create1(0);
    CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), 0);
    ssize_t r = epoll_wait(ep, &e, 1, -1);
    int err = errno;
    close(ep);
    errno = err;
    return r;
}

/* Signals until the call has ended. */
static void ends(ssize_t (*fn)(int), int fd)
{
    struct call c = {.fn = fn, .fd = fd};
    pthread_t t = spawn(in_call, &c);

    settle();
    CHECK_EQ(get(&c.done), 0);
    while (get(&c.done) == 0) {
        pthread_kill(t, SIGUSR1);
        sleep_ms(2);
    }
    join(t);
    CHECK_EQ(c.result, -1);
    CHECK_EQ(c.err, EINTR);
    CHECK(get(&handled) > 0);
}

/* Signals do not end it, a byte does. */
static void goes_on(ssize_t (*fn)(int), int fd, int out)
{
    struct call c = {.fn = fn, .fd = fd};
    pthread_t t = spawn(in_call, &c);
    int before = get(&handled);

    settle();
    for (int i = 0; i < 3; i++) {
        pthread_kill(t, SIGUSR1);
        await_at_least(&handled, before + i + 1);
    }
    settle();
    CHECK_EQ(get(&c.done), 0);
    CHECK_EQ(write(out, "x", 1), 1);
    join(t);
    CHECK_EQ(c.result, 1);
}

TEST(handlers_without_restart)
{
    int p[2], s[2];

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    handle(SIGUSR1, false);
    ends(call_read, p[0]);
    ends(call_read, s[0]);
    ends(call_recv, s[0]);
    ends(call_read_by_number, p[0]);
    ends(call_poll, p[0]);
    ends(call_ppoll_by_number, p[0]);
    ends(call_select, p[0]);
    ends(call_epoll, p[0]);
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(s[i]);
    }
}

TEST(handlers_with_restart)
{
    int p[2], s[2];

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    handle(SIGUSR1, true);
    goes_on(call_read, p[0], p[1]);
    goes_on(call_read, s[0], s[1]);
    goes_on(call_recv, s[0], s[1]);
    goes_on(call_read_by_number, p[0], p[1]);
    ends(call_poll, p[0]);
    ends(call_ppoll_by_number, p[0]);
    ends(call_select, p[0]);
    ends(call_epoll, p[0]);
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(s[i]);
    }
}

/* signal(7): a socket with a timeout of its own is not restarted. */
TEST(sockets_with_timeouts)
{
    int s[2];
    struct timeval tv = {20, 0};

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    CHECK_EQ(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
    handle(SIGUSR1, true);
    ends(call_recv, s[0]);
    close(s[0]);
    close(s[1]);
}

static ssize_t call_big_write(int fd)
{
    char *big = calloc(1, 1 << 20);
    ssize_t r = write(fd, big, 1 << 20);
    int err = errno;
    free(big);
    errno = err;
    return r;
}

TEST(a_handler_ends_a_write_with_its_part)
{
    int p[2];
    struct call c = {.fn = call_big_write};

    CHECK_EQ(pipe(p), 0);
    c.fd = p[1];
    handle(SIGUSR1, true);
    pthread_t t = spawn(in_call, &c);
    struct pollfd f = {p[0], POLLIN, 0};
    CHECK_EQ(poll(&f, 1, -1), 1);
    settle();
    while (get(&c.done) == 0) {
        pthread_kill(t, SIGUSR1);
        sleep_ms(2);
    }
    join(t);
    CHECK(c.result > 0 && c.result < 1 << 20);
    close(p[0]);
    close(p[1]);
}

/* ---- masks ------------------------------------------------------------------------- */

/* A signal that is blocked and pending is let in by the call, which it ends. */
static void *masks(void *arg)
{
    sigset_t block, none, now;
    struct timespec ts = {20, 0};
    struct epoll_event got;
    int ep = epoll_create1(0);

    handle(SIGUSR2, true);
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR2);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &block, NULL), 0);
    pthread_kill(pthread_self(), SIGUSR2);
    CHECK_EQ(handled, 0);
    CHECK_ERR(ppoll(NULL, 0, &ts, &none), EINTR);
    CHECK_EQ(handled, 1);
    pthread_kill(pthread_self(), SIGUSR2);
    CHECK_ERR(pselect(0, NULL, NULL, NULL, &ts, &none), EINTR);
    CHECK_EQ(handled, 2);
    pthread_kill(pthread_self(), SIGUSR2);
    CHECK_ERR(epoll_pwait(ep, &got, 1, 20000, &none), EINTR);
    CHECK_EQ(handled, 3);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
    CHECK(sigismember(&now, SIGUSR2));
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &block, NULL), 0);
    close(ep);
    return arg;
}

TEST(masks_for_the_time_of_the_call)
{
    join(spawn(masks, NULL));
}
