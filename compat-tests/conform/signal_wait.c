/* signal_wait.c - sigwait and its family, sigsuspend, pause. */
#include "conform.h"

#include <semaphore.h>
#include <sys/resource.h>

static __thread volatile int calls;
static int handled;

static void note(int sig)
{
    (void)sig;
    calls++;
    add(&handled, 1);
}

static void install(int sig, int flags)
{
    struct sigaction sa = {.sa_handler = note, .sa_flags = flags};

    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

/* ---- sigwait -------------------------------------------------------------------------------- */

struct waiter {
    int ready, got;
    siginfo_t info;
};

static void *waits(void *arg)
{
    struct waiter *w = arg;
    sigset_t mask = set_of(SIGUSR1);

    sigaddset(&mask, SIGRTMIN);
    set(&w->ready, 1);
    set(&w->got, sigwaitinfo(&mask, &w->info));
    return NULL;
}

TEST(each_way_to_send)
{
    mask_signal(SIG_BLOCK, SIGUSR1);
    mask_signal(SIG_BLOCK, SIGRTMIN);
    for (int how = 0; how < 5; how++) {
        for (int early = 0; early < 2; early++) {
            struct waiter w = {0};
            union sigval v = {.sival_int = how};
            pthread_t t = spawn(waits, &w);

            if (!early) {
                await_at_least(&w.ready, 1);
                settle();
            }
            switch (how) {
            case 0:
                CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
                break;
            case 1:
                CHECK_EQ(kill(getpid(), SIGUSR1), 0);
                break;
            case 2:
                CHECK_EQ(pthread_sigqueue(t, SIGRTMIN, v), 0);
                break;
            case 3:
                CHECK_EQ(sigqueue(getpid(), SIGRTMIN, v), 0);
                break;
            default:
                CHECK_EQ(pthread_kill(t, SIGRTMIN), 0);
                break;
            }
            join(t);
            CHECK_EQ(w.got, how < 2 ? SIGUSR1 : SIGRTMIN);
            CHECK_EQ(w.info.si_signo, w.got);
            CHECK_EQ(w.info.si_pid, getpid());
            if (how == 2 || how == 3) {
                CHECK_EQ(w.info.si_code, SI_QUEUE);
                CHECK_EQ(w.info.si_value.sival_int, how);
            }
        }
    }
    mask_signal(SIG_UNBLOCK, SIGUSR1);
    mask_signal(SIG_UNBLOCK, SIGRTMIN);
}

static int taken;

static void *takes_one(void *arg)
{
    sigset_t mask = set_of(SIGUSR2);
    int sig = 0;

    CHECK_EQ(sigwait(&mask, &sig), 0);
    CHECK_EQ(sig, SIGUSR2);
    add(&taken, 1);
    return arg;
}

TEST(one_signal_one_taker)
{
    pthread_t t[8];

    mask_signal(SIG_BLOCK, SIGUSR2);
    set(&taken, 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(takes_one, NULL);
    settle();
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        CHECK_EQ(get(&taken), (int)i); /* POSIX sigwait: no more than one */
        CHECK_EQ(kill(getpid(), SIGUSR2), 0);
        await_at_least(&taken, (int)i + 1);
    }
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    mask_signal(SIG_UNBLOCK, SIGUSR2);
}

TEST(values_in_order)
{
    sigset_t mask = set_of(SIGRTMIN + 2);
    siginfo_t info;
    union sigval v;

    mask_signal(SIG_BLOCK, SIGRTMIN + 2);
    for (int i = 0; i < 10; i++) {
        v.sival_int = i;
        CHECK_EQ(sigqueue(getpid(), SIGRTMIN + 2, v), 0);
    }
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(sigwaitinfo(&mask, &info), SIGRTMIN + 2);
        CHECK_EQ(info.si_value.sival_int, i);
    }
    mask_signal(SIG_UNBLOCK, SIGRTMIN + 2);
}

TEST(time_limits)
{
    sigset_t mask = set_of(SIGUSR1);
    struct timespec zero = {0, 0}, some = {0, 20000000}, bad = {0, -1};
    int64_t before;

    mask_signal(SIG_BLOCK, SIGUSR1);
    CHECK_ERR(sigtimedwait(&mask, NULL, &zero), EAGAIN); /* POSIX */
    before = now_ns(CLOCK_MONOTONIC);
    CHECK_ERR(sigtimedwait(&mask, NULL, &some), EAGAIN);
    CHECK(now_ns(CLOCK_MONOTONIC) - before >= 20000000);
    CHECK_ERR(sigtimedwait(&mask, NULL, &bad), EINVAL);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(sigtimedwait(&mask, NULL, &zero), SIGUSR1);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(sigtimedwait(&mask, NULL, &zero), SIGUSR1);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
}

static void *waits_interrupted(void *arg)
{
    struct waiter *w = arg;
    sigset_t mask = set_of(SIGUSR1);

    set(&w->ready, 1);
    CHECK_ERR(sigwaitinfo(&mask, NULL), EINTR); /* POSIX: by another signal's handler */
    CHECK_EQ(calls, 1);
    set(&w->ready, 2);
    int sig = 0;
    CHECK_EQ(sigwait(&mask, &sig), 0); /* which sigwait does not fail by */
    CHECK_EQ(calls, 2);
    return NULL;
}

TEST(interrupted)
{
    struct waiter w = {0};

    install(SIGUSR2, SA_RESTART);
    mask_signal(SIG_BLOCK, SIGUSR1);
    set(&handled, 0);
    pthread_t t = spawn(waits_interrupted, &w);
    await_at_least(&w.ready, 1);
    settle();
    pthread_kill(t, SIGUSR2);
    await_at_least(&w.ready, 2);
    settle();
    pthread_kill(t, SIGUSR2);
    await_at_least(&handled, 2);
    pthread_kill(t, SIGUSR1);
    join(t);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
}

/* ---- sigsuspend -------------------------------------------------------------------------------- */

struct ping {
    pthread_t peer;
    int n, ready;
    struct ping *other;
};

static __thread volatile int came;

static void count(int sig)
{
    (void)sig;
    came++;
}

/* Each waits for the other's signal: lost, if mask and wait were not one step. */
static void *plays(void *arg)
{
    struct ping *p = arg;
    sigset_t open, now;

    pthread_sigmask(SIG_SETMASK, NULL, &open);
    sigdelset(&open, SIGUSR1);
    p->peer = pthread_self(); /* pthread_create may not have returned yet */
    set(&p->ready, 1);
    await_at_least(&p->other->ready, 1);
    for (int i = 0; i < p->n; i++) {
        if (p < p->other)
            pthread_kill(p->other->peer, SIGUSR1);
        while (came <= i)
            CHECK_ERR(sigsuspend(&open), EINTR);
        if (p > p->other)
            pthread_kill(p->other->peer, SIGUSR1);
    }
    CHECK_EQ(came, p->n);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    CHECK_EQ(sigismember(&now, SIGUSR1), 1); /* POSIX: restored */
    return NULL;
}

TEST(suspend_is_atomic)
{
    struct ping p[2] = {{.n = 500, .other = &p[1]}, {.n = 500, .other = &p[0]}};
    struct sigaction sa = {.sa_handler = count};

    CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
    mask_signal(SIG_BLOCK, SIGUSR1);
    pthread_t t[2] = {spawn(plays, &p[0]), spawn(plays, &p[1])};
    join(t[0]);
    join(t[1]);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
}

static void *suspends(void *arg)
{
    struct waiter *w = arg;
    sigset_t empty;

    sigemptyset(&empty);
    set(&w->ready, 1);
    CHECK_ERR(sigsuspend(&empty), EINTR);
    CHECK_EQ(calls, 1);
    return NULL;
}

TEST(suspend_takes_what_was_pending)
{
    struct waiter w = {0};

    install(SIGUSR1, 0);
    mask_signal(SIG_BLOCK, SIGUSR1);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0); /* in the process; nobody has it open */
    pthread_t t = spawn(suspends, &w);
    join(t);
    t = spawn(suspends, &w);
    pthread_kill(t, SIGUSR1);
    join(t);
    /* Sent to the process while the only one that takes it is suspended. */
    set(&w.ready, 0);
    t = spawn(suspends, &w);
    await_at_least(&w.ready, 1);
    settle();
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    join(t);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
}

static void *crowd(void *arg)
{
    sem_t *s = arg;
    sigset_t all;

    sigfillset(&all);
    sigdelset(&all, SIGUSR2);
    sem_post(s);
    while (calls == 0)
        sigsuspend(&all);
    return NULL;
}

MODE(pending_first)
{
    struct waiter w = {0};
    pthread_t t;

    install(SIGUSR1, 0);
    mask_signal(SIG_BLOCK, SIGUSR1);
    kill(getpid(), SIGUSR1); /* there is no thread yet but this one */
    if (pthread_create(&t, NULL, suspends, &w) != 0)
        return 2;
    pthread_join(t, NULL);
    return conform_failures;
}

TEST(pending_in_the_process_before_there_are_threads)
{
    CHECK_EQ(run_mode("pending_first", NULL, 0), 0);
}

TEST(many_suspended)
{
    pthread_t t[200];
    sem_t s;

    install(SIGUSR2, 0);
    sem_init(&s, 0, 0);
    mask_signal(SIG_BLOCK, SIGUSR2);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(crowd, &s);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        while (sem_wait(&s) != 0)
            continue;
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(pthread_kill(t[i], SIGUSR2), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    mask_signal(SIG_UNBLOCK, SIGUSR2);
}

/* ---- more than may be pending -------------------------------------------------------------- */

enum { QUEUED = 3 };

static int queued_came;

static void count_queued(int sig)
{
    (void)sig;
    queued_came++;
}

static void *waits_for_a_queued(void *arg)
{
    sigset_t set = set_of(SIGRTMIN + QUEUED);
    siginfo_t info;

    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + QUEUED);
    CHECK_EQ(info.si_value.sival_int, 2);
    return arg;
}

static int queue_one(int value)
{
    return sigqueue(getpid(), SIGRTMIN + QUEUED, (union sigval){.sival_int = value});
}

static struct rlimit room;

static void allow(rlim_t n)
{
    struct rlimit r = {n, room.rlim_max};

    CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &r), 0);
}

/* Blocked by all; handled and open; waited for. */
static void no_room(bool handler)
{
    struct sigaction sa = {.sa_handler = handler ? count_queued : SIG_DFL};

    CHECK_EQ(sigaction(SIGRTMIN + QUEUED, &sa, NULL), 0);
    mask_signal(SIG_BLOCK, SIGRTMIN + QUEUED);
    pthread_t t = spawn(waits_for_a_queued, NULL);
    settle();
    allow(0);
    CHECK_ERR(queue_one(1), EAGAIN);
    allow(room.rlim_cur);
    CHECK_EQ(queue_one(2), 0);
    join(t);
    allow(0);
    CHECK_ERR(queue_one(3), EAGAIN);
    if (handler) {
        mask_signal(SIG_UNBLOCK, SIGRTMIN + QUEUED);
        CHECK_ERR(queue_one(4), EAGAIN);
        CHECK_EQ(queued_came, 0);
    }
    allow(room.rlim_cur);
}

TEST(sigqueue_says_that_no_more_may_be_pending)
{
    CHECK_EQ(getrlimit(RLIMIT_SIGPENDING, &room), 0);
    no_room(false);
    no_room(true);
}

TEST(what_is_pending_stays_so_when_less_may_be)
{
    struct sigaction sa = {.sa_handler = count_queued};

    CHECK_EQ(getrlimit(RLIMIT_SIGPENDING, &room), 0);
    CHECK_EQ(sigaction(SIGRTMIN + QUEUED, &sa, NULL), 0);
    queued_came = 0;
    mask_signal(SIG_BLOCK, SIGRTMIN + QUEUED);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(queue_one(i), 0);
    allow(0);
    mask_signal(SIG_UNBLOCK, SIGRTMIN + QUEUED);
    CHECK_EQ(queued_came, 3);
    allow(room.rlim_cur);
}
