/* signal_open.c - waits that open the signal mask for as long as they last: a handler that runs at
 * whatever moment of such a call ends it (XSH sigsuspend, pselect; ppoll(2), epoll_pwait(2)).
 * One thread waits again and again, another signals it, a little later each time. */
#include "conform.h"

#define FOR_MS 400

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
