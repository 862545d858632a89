/* signal_fd.c - signalfd: a thread reads, and is told of, what is pending for itself and for the
 * process, and nothing of other threads'. */
#include "conform.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/uio.h>

static void block(int sig)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, sig);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

static int fd_for(int sig, int flags)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, sig);
    int fd = signalfd(-1, &set, flags);
    CHECK(fd >= 0);
    return fd;
}

static int poll_in(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, ms);
}

/* ---- ways to wait ------------------------------------------------------------------------ */

struct reader {
    int fd, sig, ready, done, spare[2];
    struct signalfd_siginfo info;
};

static void way_read(struct reader *r)
{
    (void)r; /* the read itself waits */
}

static void way_poll(struct reader *r)
{
    struct pollfd p[2] = {{.fd = r->spare[0], .events = POLLIN},
                          {.fd = r->fd, .events = POLLIN | POLLOUT}};

    CHECK_EQ(poll(p, 2, -1), 1);
    CHECK_EQ(p[0].revents, 0);
    CHECK_EQ(p[1].revents, POLLIN);
}

static void way_ppoll(struct reader *r)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    struct timespec t = {60, 0};

    CHECK_EQ(ppoll(&p, 1, &t, NULL), 1);
    CHECK_EQ(p.revents, POLLIN);
}

static void way_select(struct reader *r)
{
    fd_set in;

    FD_ZERO(&in);
    FD_SET(r->fd, &in);
    FD_SET(r->spare[0], &in);
    int n = r->fd > r->spare[0] ? r->fd : r->spare[0];
    CHECK_EQ(select(n + 1, &in, NULL, NULL, NULL), 1);
    CHECK(FD_ISSET(r->fd, &in) && !FD_ISSET(r->spare[0], &in));
}

static void in_epoll(struct reader *r, uint32_t flags)
{
    int ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN | flags, .data.u64 = 0x123456789abcdefull};
    struct epoll_event got[4], other = {.events = EPOLLIN};

    CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, r->spare[0], &other), 0);
    CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, r->fd, &ev), 0);
    CHECK_EQ(epoll_wait(ep, got, 4, -1), 1);
    CHECK_EQ(got[0].events, EPOLLIN);
    CHECK(got[0].data.u64 == ev.data.u64);
    CHECK_EQ(epoll_wait(ep, got, 4, 0), flags == 0 ? 1 : 0);
    close(ep);
}

static void way_epoll(struct reader *r)
{
    in_epoll(r, 0);
}

static void way_epoll_once(struct reader *r)
{
    in_epoll(r, EPOLLONESHOT);
}

static void way_epoll_edge(struct reader *r)
{
    in_epoll(r, EPOLLET);
}

static void (*wait_way)(struct reader *);

static void *reads(void *arg)
{
    struct reader *r = arg;

    block(r->sig);
    set(&r->ready, 1);
    wait_way(r);
    CHECK_EQ(read(r->fd, &r->info, sizeof r->info), sizeof r->info);
    set(&r->done, 1);
    return arg;
}

/* SIG is open in every other thread: it is the reader's alone. */
static void sent_to_waiter(void (*way)(struct reader *), int flags)
{
    wait_way = way;
    for (int settled = 0; settled < 2; settled++)
        for (int queue = 0; queue < 2; queue++) {
            struct reader r = {.sig = queue ? SIGRTMIN + 2 : SIGUSR1};
            union sigval v = {.sival_ptr = &r};

            r.fd = fd_for(r.sig, flags);
            CHECK_EQ(pipe(r.spare), 0);
            pthread_t t = spawn(reads, &r);
            await_at_least(&r.ready, 1);
            if (settled)
                settle();
            CHECK_EQ(get(&r.done), 0);
            CHECK_EQ(queue ? pthread_sigqueue(t, r.sig, v) : pthread_kill(t, r.sig), 0);
            join(t);
            CHECK_EQ(r.info.ssi_signo, r.sig);
            CHECK_EQ(r.info.ssi_code, queue ? SI_QUEUE : SI_TKILL);
            CHECK_EQ(r.info.ssi_pid, getpid());
            CHECK_EQ(r.info.ssi_uid, getuid());
            CHECK(r.info.ssi_ptr == (queue ? (uintptr_t)&r : 0));
            close(r.fd);
            close(r.spare[0]);
            close(r.spare[1]);
        }
}

#define WAY(name, flags)                                                                 \
    TEST(sent_to_a_thread_in_##name)                                                     \
    {                                                                                    \
        sent_to_waiter(way_##name, flags);                                               \
    }
WAY(read, 0)
WAY(poll, 0)
WAY(ppoll, SFD_NONBLOCK)
WAY(select, SFD_NONBLOCK)
WAY(epoll, SFD_NONBLOCK)
WAY(epoll_once, SFD_NONBLOCK)
WAY(epoll_edge, SFD_NONBLOCK)

/* ---- without waiting --------------------------------------------------------------------- */

struct looks {
    int fd, readable;
};

static void *look(void *arg)
{
    struct looks *l = arg;
    struct signalfd_siginfo info;

    l->readable = poll_in(l->fd, 0);
    CHECK_ERR(read(l->fd, &info, sizeof info), EAGAIN);
    return NULL;
}

static void *own_only(void *arg)
{
    struct signalfd_siginfo info[4];
    struct timeval none = {0, 0};
    struct epoll_event ev = {.events = EPOLLIN}, got[2];
    fd_set in;
    int fd = fd_for(SIGUSR1, SFD_NONBLOCK | SFD_CLOEXEC), ep = epoll_create1(0);
    struct looks other = {.fd = fd};

    block(SIGUSR1);
    CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
    CHECK_EQ(poll_in(fd, 0), 0);
    CHECK_ERR(read(fd, info, sizeof info), EAGAIN);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    join(spawn(look, &other)); /* which has inherited the mask */
    CHECK_EQ(other.readable, 0);
    CHECK_EQ(poll_in(fd, 0), 1);
    CHECK_EQ(poll_in(fd, -1), 1);
    CHECK_EQ(epoll_wait(ep, got, 2, 0), 1);
    FD_ZERO(&in);
    FD_SET(fd, &in);
    CHECK_EQ(select(fd + 1, &in, NULL, NULL, &none), 1);
    CHECK_ERR(read(fd, info, sizeof info[0] - 1), EINVAL);
    CHECK_EQ(read(fd, info, sizeof info), sizeof info[0]); /* a standard signal: once */
    CHECK_EQ(info[0].ssi_signo, SIGUSR1);
    CHECK_EQ(poll_in(fd, 0), 0);
    CHECK_EQ(epoll_wait(ep, got, 2, 0), 0);
    FD_SET(fd, &in);
    CHECK_EQ(select(fd + 1, &in, NULL, NULL, &none), 0);
    CHECK_ERR(read(fd, info, sizeof info), EAGAIN);
    close(ep);
    close(fd);
    return arg;
}

TEST(own_without_waiting)
{
    join(spawn(own_only, NULL));
}

static void *queued(void *arg)
{
    struct signalfd_siginfo info[8];
    struct iovec v[3] = {
        {info, 100}, {(char *)info + 100, 200}, {(char *)info + 300, 724}};
    int fd = dup(fd_for(SIGRTMIN + 1, 0));

    block(SIGRTMIN + 1);
    for (int i = 1; i <= 5; i++)
        CHECK_EQ(pthread_sigqueue(pthread_self(), SIGRTMIN + 1, (union sigval){i}), 0);
    CHECK_EQ(read(fd, info, 2 * sizeof info[0] + 5), 2 * sizeof info[0]);
    CHECK_EQ(info[0].ssi_int, 1);
    CHECK_EQ(info[1].ssi_int, 2);
    CHECK_EQ(readv(fd, v, 3), 3 * sizeof info[0]);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(info[i].ssi_int, 3 + i);
    CHECK_EQ(poll_in(fd, 0), 0);
    close(fd);
    return arg;
}

TEST(queued_in_order)
{
    join(spawn(queued, NULL));
}

static void *another_pending(void *arg)
{
    int fds[2], fd = fd_for(SIGUSR2, 0);
    struct signalfd_siginfo info;
    char c;

    block(SIGUSR1);
    block(SIGUSR2);
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    CHECK_EQ(poll_in(fd, 0), 0);
    CHECK_EQ(poll_in(fd, 30), 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(read(fds[0], &c, 1), 1); /* no signalfd */
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
    CHECK_EQ(poll_in(fds[0], 0), 0);
    CHECK_EQ(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQ(info.ssi_signo, SIGUSR2);
    close(fd);
    close(fds[0]);
    close(fds[1]);
    return arg;
}

TEST(pending_and_not_in_its_mask)
{
    join(spawn(another_pending, NULL));
}

/* ---- for the process --------------------------------------------------------------------- */

TEST(own_before_the_process_s)
{
    struct signalfd_siginfo info[3];
    int fd = fd_for(SIGUSR1, 0);

    block(SIGUSR1);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    CHECK_EQ(read(fd, info, sizeof info), 2 * sizeof info[0]);
    CHECK_EQ(info[0].ssi_code, SI_TKILL);
    CHECK_EQ(info[1].ssi_code, SI_USER);
    close(fd);
}

static void *reads_one(void *arg)
{
    struct reader *r = arg;

    set(&r->ready, 1);
    CHECK_EQ(read(r->fd, &r->info, sizeof r->info), sizeof r->info);
    return NULL;
}

TEST(the_process_s_is_for_whoever_reads)
{
    struct reader r = {.sig = SIGUSR1};

    block(SIGUSR1);
    r.fd = fd_for(SIGUSR1, 0);
    for (int i = 0; i < 4; i++) {
        r.ready = 0;
        pthread_t t = spawn(reads_one, &r);
        await_at_least(&r.ready, 1);
        if (i % 2 != 0)
            settle();
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
        join(t);
        CHECK_EQ(r.info.ssi_code, SI_USER);
    }
    close(r.fd);
}

MODE(pending_first)
{
    struct reader r = {.sig = SIGUSR1};
    pthread_t t;

    block(SIGUSR1);
    r.fd = fd_for(SIGUSR1, 0);
    kill(getpid(), SIGUSR1); /* there is no thread yet but this one */
    pthread_kill(pthread_self(), SIGUSR1);
    if (pthread_create(&t, NULL, reads_one, &r) != 0)
        return 2;
    pthread_join(t, NULL);
    CHECK_EQ(r.info.ssi_code, SI_USER);
    CHECK_EQ(read(r.fd, &r.info, sizeof r.info), sizeof r.info);
    CHECK_EQ(r.info.ssi_code, SI_TKILL);
    return conform_failures;
}

TEST(pending_before_there_are_threads)
{
    CHECK_EQ(run_mode("pending_first", NULL, 0), 0);
}

/* ---- many --------------------------------------------------------------------------------- */

enum { THREADS = 8, EACH = 200 };

struct crowd {
    pthread_t t;
    int fd, own, got, ready;
};

static void *counts(void *arg)
{
    struct crowd *c = arg;
    struct signalfd_siginfo info;

    block(SIGRTMIN + 3);
    set(&c->ready, 1);
    while (c->got < EACH) {
        if (c->own % 2 != 0)
            CHECK_EQ(poll_in(c->fd, -1), 1);
        CHECK_EQ(read(c->fd, &info, sizeof info), sizeof info);
        CHECK_EQ(info.ssi_int, c->own * 1000 + c->got);
        c->got++;
    }
    return NULL;
}

TEST(each_its_own)
{
    struct crowd c[THREADS];
    int fd = fd_for(SIGRTMIN + 3, 0);

    for (int i = 0; i < THREADS; i++) {
        c[i] = (struct crowd){.fd = fd, .own = i};
        c[i].t = spawn(counts, &c[i]);
    }
    for (int i = 0; i < THREADS; i++)
        await_at_least(&c[i].ready, 1);
    for (int k = 0; k < EACH; k++)
        for (int i = 0; i < THREADS; i++) {
            union sigval v = {.sival_int = i * 1000 + k};

            CHECK_EQ(pthread_sigqueue(c[i].t, SIGRTMIN + 3, v), 0);
        }
    for (int i = 0; i < THREADS; i++)
        join(c[i].t);
    close(fd);
}
