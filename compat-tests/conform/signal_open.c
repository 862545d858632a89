/* signal_open.c - waits that open the signal mask for as long as they last: a handler that runs at
 * whatever moment of such a call ends it (XSH sigsuspend, pselect; ppoll(2), epoll_pwait(2)).
 * One thread waits again and again, another signals it, a little later each time. */
#include "conform.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#define FOR_MS 300
#define LARGE 100 /* descriptors: more than are waited for without the kernel */

struct game {
    int (*wait)(const sigset_t *open); /* as sigsuspend */
    pthread_t waiter;
    int round, over; /* atomic */
};

static __thread volatile int came;

static void note(int sig)
{
    (void)sig;
    came++;
}

static void *waits(void *arg)
{
    struct game *g = arg;
    sigset_t open;

    pthread_sigmask(SIG_SETMASK, NULL, &open);
    sigdelset(&open, SIGUSR1);
    sigdelset(&open, SIGWINCH);
    for (int i = 1; !get(&g->over); i++) {
        /* Ignored, and pending: a reason to open the mask early. */
        pthread_kill(pthread_self(), SIGWINCH);
        set(&g->round, i);
        while (came < i)
            CHECK_ERR(g->wait(&open), EINTR);
    }
    return NULL;
}

static void spin(int n)
{
    for (volatile int i = 0; i < n; i++)
        continue;
}

static void play(int (*wait)(const sigset_t *))
{
    enum { DELAYS = 1500, STEP = 7 };
    struct game g = {.wait = wait};
    struct sigaction sa = {.sa_handler = note, .sa_flags = SA_RESTART};
    int64_t until = now_ns(CLOCK_MONOTONIC) + FOR_MS * NS_PER_MS;

    CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
    mask_signal(SIG_BLOCK, SIGUSR1);
    mask_signal(SIG_BLOCK, SIGWINCH);
    g.waiter = spawn(waits, &g);
    for (int i = 1; !g.over; i++) {
        while (get(&g.round) < i)
            sched_yield();
        spin(i * STEP % DELAYS);
        set(&g.over, now_ns(CLOCK_MONOTONIC) > until);
        CHECK_EQ(pthread_kill(g.waiter, SIGUSR1), 0);
    }
    join(g.waiter);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
    mask_signal(SIG_UNBLOCK, SIGWINCH);
}

TEST(a_signal_as_sigsuspend_begins)
{
    play(sigsuspend);
}

/* No handler and no open mask here, but the same moments. */
static int take_it(const sigset_t *open)
{
    sigset_t set = set_of(SIGUSR1);

    (void)open;
    CHECK_EQ(sigwaitinfo(&set, NULL), SIGUSR1);
    came++;
    errno = EINTR;
    return -1;
}

TEST(a_signal_as_sigwaitinfo_begins)
{
    play(take_it);
}

/* ---- descriptors ------------------------------------------------------------------------------- */

static int fds[LARGE]; /* of which nothing is ever to be read */

static int poll_n(nfds_t n, const sigset_t *open)
{
    struct pollfd p[LARGE];

    for (nfds_t i = 0; i < n; i++)
        p[i] = (struct pollfd){fds[i], POLLIN, 0};
    return ppoll(p, n, NULL, open);
}

static int poll_one(const sigset_t *open)
{
    return poll_n(1, open);
}

static int poll_large(const sigset_t *open)
{
    return poll_n(LARGE, open);
}

static int select_n(int n, const sigset_t *open)
{
    fd_set in;

    FD_ZERO(&in);
    for (int i = 0; i < n; i++)
        FD_SET(fds[i], &in);
    return pselect(fds[n - 1] + 1, &in, NULL, NULL, NULL, open);
}

static int select_one(const sigset_t *open)
{
    return select_n(1, open);
}

static int select_large(const sigset_t *open)
{
    return select_n(LARGE, open);
}

static int epolls[8], deepest;

static int epoll_flat(const sigset_t *open)
{
    struct epoll_event e;

    return epoll_pwait(epolls[0], &e, 1, -1, open);
}

static int epoll_nested(const sigset_t *open)
{
    struct epoll_event e;

    return epoll_pwait(epolls[deepest], &e, 1, -1, open);
}

static void open_fds(void)
{
    int p[2];

    CHECK_EQ(pipe(p), 0);
    for (int i = 0; i < LARGE; i++) {
        fds[i] = dup(p[0]);
        CHECK(fds[i] >= 0);
    }
    /* As deep as the kernel lets them: who waits for the last cannot do so by another epoll. */
    for (int i = 0; i < (int)COUNT_OF(epolls); i++) {
        struct epoll_event e = {.events = EPOLLIN};

        epolls[i] = epoll_create1(0);
        if (epoll_ctl(epolls[i], EPOLL_CTL_ADD, i > 0 ? epolls[i - 1] : fds[0], &e) != 0)
            break;
        deepest = i;
    }
}

static void play_with_fds(int (*wait)(const sigset_t *))
{
    if (fds[0] == 0)
        open_fds();
    play(wait);
}

TEST(a_signal_as_ppoll_begins)
{
    play_with_fds(poll_one);
    play_with_fds(poll_large);
}

TEST(a_signal_as_pselect_begins)
{
    play_with_fds(select_one);
    play_with_fds(select_large);
}

TEST(a_signal_as_epoll_pwait_begins)
{
    play_with_fds(epoll_flat);
    play_with_fds(epoll_nested);
}
