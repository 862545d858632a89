/* io_poll.c - waiting for one of several descriptors in threads. */
#include "conform.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>

#define POLLERS 20

struct later {
    int fd;
    long ms;
};

static void *write_later(void *arg)
{
    struct later *l = arg;

    sleep_ms(l->ms);
    CHECK_EQ(write(l->fd, "xxxxxxxx", 8), 8);
    return NULL;
}

static int64_t took_ms(int64_t start_ns)
{
    return (now_ns(CLOCK_MONOTONIC) - start_ns) / NS_PER_MS;
}

/* ---- poll ---------------------------------------------------------------------------------- */

static void *polls(void *arg)
{
    int p[2], q[2];
    struct timespec t = {0, 20 * NS_PER_MS};
    char c[8];

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(q), 0);
    struct pollfd f[4] = {
        {p[0], POLLIN, 0}, {q[0], POLLIN, 0}, {-1, POLLIN, 9}, {q[1], 0, 0}};
    CHECK_EQ(poll(f, 4, 0), 0);
    int64_t start_ns = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(poll(f, 4, 25), 0);
    CHECK(took_ms(start_ns) >= 25);
    start_ns = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(ppoll(f, 4, &t, NULL), 0);
    CHECK(took_ms(start_ns) >= 20);
    CHECK_EQ(t.tv_nsec, 20 * NS_PER_MS);
    CHECK_EQ(f[2].revents, 0);

    struct later l = {q[1], 15};
    pthread_t w = spawn(write_later, &l);
    CHECK_EQ(poll(f, 4, -1), 1);
    CHECK_EQ(f[0].revents, 0);
    CHECK_EQ(f[1].revents, POLLIN);
    join(w);
    CHECK_EQ(read(q[0], c, 8), 8);

    close(p[1]); /* a hang-up comes unasked for */
    CHECK_EQ(poll(f, 4, -1), 1);
    CHECK_EQ(f[0].revents, POLLHUP);
    close(p[0]);
    CHECK_EQ(poll(f, 4, -1), 1);
    CHECK_EQ(f[0].revents, POLLNVAL);
    t.tv_nsec = -1;
    CHECK_ERR(ppoll(f, 4, &t, NULL), EINVAL);
    CHECK_EQ(poll(NULL, 0, 10), 0);
    close(q[0]);
    close(q[1]);
    return arg;
}

TEST(poll_results_and_times)
{
    join(spawn(polls, NULL));
}

static void *hang_up_later(void *arg)
{
    settle();
    close(*(int *)arg);
    return NULL;
}

static void *poll_without_events(void *arg)
{
    int s[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    struct pollfd f = {s[0], 0, 0};
    pthread_t t = spawn(hang_up_later, &s[1]);
    CHECK_EQ(poll(&f, 1, -1), 1);
    CHECK_EQ(f.revents, POLLHUP);
    join(t);
    close(s[0]);
    return arg;
}

TEST(a_hang_up_ends_any_poll)
{
    join(spawn(poll_without_events, NULL));
}

static int woken;

static void *poll_shared(void *arg)
{
    struct pollfd f = {*(int *)arg, POLLIN, 0};

    CHECK_EQ(poll(&f, 1, -1), 1);
    add(&woken, 1);
    return NULL;
}

/* Nobody reads, so the event is everybody's. */
TEST(an_event_wakes_all_pollers)
{
    pthread_t t[POLLERS];
    int p[2];

    CHECK_EQ(pipe(p), 0);
    for (int i = 0; i < POLLERS; i++)
        t[i] = spawn(poll_shared, &p[0]);
    settle();
    CHECK_EQ(get(&woken), 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    for (int i = 0; i < POLLERS; i++)
        join(t[i]);
    CHECK_EQ(woken, POLLERS);
    close(p[0]);
    close(p[1]);
}

static void *read_shared(void *arg)
{
    char c;

    CHECK_EQ(read(*(int *)arg, &c, 1), 1);
    return NULL;
}

TEST(readers_pollers_and_writers_share)
{
    pthread_t t[3 * POLLERS];
    int s[2];
    char big[4096] = {0};

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    woken = 0;
    for (int i = 0; i < POLLERS; i++) {
        t[2 * i] = spawn(poll_shared, &s[0]);
        t[2 * i + 1] = spawn(read_shared, &s[0]);
    }
    settle();
    for (int i = 0; i < POLLERS; i++)
        CHECK_EQ(write(s[1], big, 3), 3);
    for (int i = 0; i < 2 * POLLERS; i++)
        join(t[i]);
    close(s[0]);
    close(s[1]);
}

/* More than a thread can have nodes for, and descriptors that are always ready. */
static void *large_sets(void *arg)
{
    enum { N = 200 };
    static int p[N][2];
    struct pollfd f[N];

    for (int i = 0; i < N; i++) {
        CHECK_EQ(pipe(p[i]), 0);
        f[i] = (struct pollfd){p[i][0], POLLIN, 0};
    }
    int64_t start_ns = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(poll(f, N, 20), 0);
    CHECK(took_ms(start_ns) >= 20);
    struct later l = {p[N - 1][1], 10};
    pthread_t t = spawn(write_later, &l);
    CHECK_EQ(poll(f, N, -1), 1);
    CHECK_EQ(f[N - 1].revents, POLLIN);
    join(t);
    int null = open("/dev/null", O_RDWR);
    f[0].fd = null;
    CHECK_EQ(poll(f, 1, -1), 1);
    close(null);
    for (int i = 0; i < N; i++) {
        close(p[i][0]);
        close(p[i][1]);
    }
    return arg;
}

TEST(large_sets_and_files)
{
    join(spawn(large_sets, NULL));
}

/* ---- select --------------------------------------------------------------------------------- */

static void *selects(void *arg)
{
    int p[2];
    fd_set in, out, ex;
    struct timeval tv = {0, 20000};
    struct timespec ts = {0, 20 * NS_PER_MS};

    CHECK_EQ(pipe(p), 0);
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&ex);
    FD_SET(p[0], &in);
    FD_SET(p[0], &ex);
    int64_t start_ns = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(select(p[1] + 1, &in, NULL, &ex, &tv), 0);
    CHECK(took_ms(start_ns) >= 20);
    CHECK_EQ(FD_ISSET(p[0], &in), 0);
    CHECK_EQ(tv.tv_sec * 1000000 + tv.tv_usec, 0);
    FD_SET(p[0], &in);
    start_ns = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(pselect(p[1] + 1, &in, NULL, NULL, &ts, NULL), 0);
    CHECK(took_ms(start_ns) >= 20);
    FD_SET(p[0], &in);
    FD_SET(p[1], &out);
    CHECK_EQ(select(p[1] + 1, &in, &out, NULL, NULL), 1);
    CHECK_EQ(FD_ISSET(p[0], &in), 0);
    CHECK(FD_ISSET(p[1], &out));

    struct later l = {p[1], 10};
    pthread_t t = spawn(write_later, &l);
    FD_ZERO(&out);
    FD_SET(p[0], &in);
    tv = (struct timeval){10, 0};
    CHECK_EQ(select(p[1] + 1, &in, &out, NULL, &tv), 1);
    CHECK(FD_ISSET(p[0], &in));
    CHECK(tv.tv_sec <= 9);
    join(t);
    tv = (struct timeval){0, -1};
    CHECK_ERR(select(p[1] + 1, &in, NULL, NULL, &tv), EINVAL);
    CHECK_ERR(select(-1, NULL, NULL, NULL, NULL), EINVAL);
    tv = (struct timeval){0, 5000};
    CHECK_EQ(select(0, NULL, NULL, NULL, &tv), 0);
    close(p[0]);
    close(p[1]);
    FD_ZERO(&in);
    FD_SET(p[0], &in);
    CHECK_ERR(select(p[1] + 1, &in, NULL, NULL, NULL), EBADF);
    return arg;
}

TEST(select_results_and_times)
{
    join(spawn(selects, NULL));
}

/* ---- epoll --------------------------------------------------------------------------------- */

static void *epolls(void *arg)
{
    int p[2], ep = epoll_create1(0), outer = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = 7}, got[4];
    struct timespec ts = {0, 20 * NS_PER_MS};

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e), 0);
    CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
    int64_t start_ns = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(epoll_wait(ep, got, 4, 20), 0);
    CHECK(took_ms(start_ns) >= 20);
    start_ns = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(epoll_pwait2(ep, got, 4, &ts, NULL), 0);
    CHECK(took_ms(start_ns) >= 20);
    CHECK_ERR(epoll_wait(ep, got, 0, -1), EINVAL);
    CHECK_ERR(epoll_wait(p[0], got, 4, -1), EINVAL);
    CHECK_ERR(epoll_wait(-1, got, 4, -1), EBADF);

    struct later l = {p[1], 10};
    pthread_t t = spawn(write_later, &l);
    CHECK_EQ(epoll_wait(ep, got, 4, -1), 1);
    CHECK_EQ(got[0].data.u32, 7);
    CHECK_EQ(got[0].events, EPOLLIN);
    join(t);
    /* An epoll descriptor can be waited for itself. */
    char c[8];
    CHECK_EQ(read(p[0], c, 8), 8);
    e.data.u32 = 9;
    CHECK_EQ(epoll_ctl(outer, EPOLL_CTL_ADD, ep, &e), 0);
    t = spawn(write_later, &l);
    CHECK_EQ(epoll_wait(outer, got, 4, -1), 1);
    CHECK_EQ(got[0].data.u32, 9);
    join(t);
    struct pollfd f = {ep, POLLIN, 0};
    CHECK_EQ(poll(&f, 1, -1), 1);
    close(ep);
    close(outer);
    close(p[0]);
    close(p[1]);
    return arg;
}

TEST(epoll_results_and_times)
{
    join(spawn(epolls, NULL));
}

/* Added while somebody waits already. */
static void *add_later(void *arg)
{
    int *fds = arg; /* epoll, pipe read, pipe write */
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = 3};

    settle();
    CHECK_EQ(epoll_ctl(fds[0], EPOLL_CTL_ADD, fds[1], &e), 0);
    settle();
    CHECK_EQ(write(fds[2], "x", 1), 1);
    return NULL;
}

TEST(epoll_changes_while_it_waits)
{
    int p[2], ep = epoll_create1(0);
    struct epoll_event got;

    CHECK_EQ(pipe(p), 0);
    int args[3] = {ep, p[0], p[1]};
    pthread_t t = spawn(add_later, args);
    CHECK_EQ(epoll_wait(ep, &got, 1, -1), 1);
    CHECK_EQ(got.data.u32, 3);
    join(t);
    close(ep);
    close(p[0]);
    close(p[1]);
}
