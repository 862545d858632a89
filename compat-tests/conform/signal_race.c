/* signal_race.c - signals that come at a bad moment: as their thread looks at others, begins, ends,
 * closes its mask, or has just stopped waiting for them. */
#include "conform.h"

#include <semaphore.h>
#include <setjmp.h>
#include <sys/syscall.h>

static int handled; /* atomic */

static void install(int sig, void (*handler)(int))
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};

    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

static void note(int sig)
{
    (void)sig;
    add(&handled, 1);
}

static void pause_a_little(unsigned *seed)
{
    for (int n = rand_r(seed) % 2000; n > 0; n--)
        __asm__ volatile("");
}

/* How long a test tries: its moment is a short one. */
static bool go_on(int64_t *until)
{
    if (*until == 0)
        *until = now_ns(CLOCK_MONOTONIC) + NS_PER_S;
    return now_ns(CLOCK_MONOTONIC) < *until;
}

/* Soon, without sleeping for a clock's tick; false: not within ten seconds. */
static bool soon_at_least(const int *flag, int value)
{
    int64_t until = now_ns(CLOCK_MONOTONIC) + 10 * NS_PER_S;

    while (get(flag) < value) {
        if (now_ns(CLOCK_MONOTONIC) > until)
            return false;
        sched_yield();
    }
    return true;
}

/* ---- as the thread looks at its signals ---------------------------------------------------- */

enum { SUSPEND = SIGUSR1, RESTART = SIGUSR2, HELD = SIGWINCH, LATER = SIGHUP };

static int suspended, stop; /* atomic */

/* As garbage collectors stop the world. */
static void suspend(int sig)
{
    sigset_t all;

    (void)sig;
    sigfillset(&all);
    sigdelset(&all, RESTART);
    add(&suspended, 1);
    sigsuspend(&all);
}

/* It looks at its signals all the time: one that it blocks is pending. */
static void *looks(void *arg)
{
    mask_signal(SIG_BLOCK, HELD);
    while (!get(&stop))
        raise(HELD);
    return arg;
}

static void install_suspend(void)
{
    struct sigaction sa = {.sa_handler = suspend, .sa_flags = SA_RESTART};

    sigfillset(&sa.sa_mask);
    CHECK_EQ(sigaction(SUSPEND, &sa, NULL), 0);
    install(RESTART, note);
    install(HELD, note);
}

TEST(a_handler_waits_that_began_as_its_thread_looked_at_its_signals)
{
    unsigned seed = 1;
    int64_t until = 0;
    bool came = true;
    int n = 0;
    pthread_t t;

    install_suspend();
    t = spawn(looks, NULL);
    while (go_on(&until) && came) {
        pause_a_little(&seed);
        pthread_kill(t, SUSPEND);
        came = soon_at_least(&suspended, ++n);
        pthread_kill(t, RESTART);
    }
    CHECK(came);
    set(&stop, 1);
    join(t);
}

static __thread sigjmp_buf out;

static void leave(int sig)
{
    (void)sig;
    add(&suspended, 1);
    siglongjmp(out, 1);
}

/* After each jump its signals come as before.  No signal comes before there is a place to jump to,
 * nor while it is written. */
static void *looks_and_leaves(void *arg)
{
    volatile int mine = 0;

    mask_signal(SIG_BLOCK, HELD);
    while (!get(&stop)) {
        if (sigsetjmp(out, 1) != 0) {
            handled = 0;
            raise(RESTART);
            mine += handled != 1;
        }
        mask_signal(SIG_UNBLOCK, SUSPEND);
        /* Not in libc's or our own code while it holds what a jump would leave locked. */
        for (int i = 0; i < 1000 && !get(&stop); i++)
            raise(HELD);
        mask_signal(SIG_BLOCK, SUSPEND);
    }
    CHECK_EQ(mine, 0);
    return arg;
}

TEST(signals_come_after_a_jump_out_of_a_handler_that_began_as_its_thread_looked)
{
    unsigned seed = 1;
    int64_t until = 0;
    bool came = true;
    int n = 0;
    pthread_t t;

    install(SUSPEND, leave);
    install(RESTART, note);
    install(HELD, note);
    set(&suspended, 0);
    set(&stop, 0);
    mask_signal(SIG_BLOCK, SUSPEND); /* it inherits that */
    t = spawn(looks_and_leaves, NULL);
    mask_signal(SIG_UNBLOCK, SUSPEND);
    while (go_on(&until) && came) {
        pause_a_little(&seed);
        pthread_kill(t, SUSPEND);
        came = soon_at_least(&suspended, ++n);
    }
    CHECK(came);
    set(&stop, 1);
    join(t);
}

/* ---- as the thread begins ------------------------------------------------------------------ */

static void leave_thread(int sig)
{
    (void)sig;
    pthread_exit((void *)1);
}

static void *waits(void *arg)
{
    sem_t never;

    sem_init(&never, 0, 0);
    while (sem_wait(&never) != 0)
        ;
    return arg;
}

TEST(a_handler_ends_the_thread_that_has_hardly_begun)
{
    unsigned seed = 1;
    int64_t until = 0;

    install(SUSPEND, leave_thread);
    while (go_on(&until)) {
        pthread_t t = spawn(waits, NULL);

        pause_a_little(&seed);
        CHECK_EQ(pthread_kill(t, SUSPEND), 0);
        CHECK(join(t) == (void *)1);
    }
}

/* ---- as the thread ends -------------------------------------------------------------------- */

static __thread volatile int aimed_at; /* the thread's own number */
static int astray;                     /* atomic */

static void is_mine(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)uc;
    if (info->si_value.sival_int != aimed_at)
        add(&astray, 1);
    add(&handled, 1);
}

struct ending {
    int number;
    unsigned seed;
};

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* A timer for this thread alone, which goes on after its end. */
static void *ends_under_a_timer(void *arg)
{
    struct ending *e = arg;
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 1};
    struct itimerspec every = {{0, 20000}, {0, 20000}};
    timer_t *timer = malloc(sizeof(*timer));

    aimed_at = e->number;
    ev.sigev_value.sival_int = e->number;
    ev.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &ev, timer), 0);
    CHECK_EQ(timer_settime(*timer, 0, &every, NULL), 0);
    for (int n = 0; n < 20; n++)
        pause_a_little(&e->seed);
    return timer;
}

TEST(a_signal_for_a_thread_that_ends_is_for_nobody_else)
{
    struct sigaction sa = {.sa_sigaction = is_mine, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct ending e = {.seed = 1};
    int64_t until = 0;

    CHECK_EQ(sigaction(SIGRTMIN + 1, &sa, NULL), 0);
    set(&handled, 0);
    while (go_on(&until)) {
        e.number++;
        timer_t *timer = join(spawn(ends_under_a_timer, &e));

        CHECK_EQ(timer_delete(*timer), 0);
        free(timer);
    }
    CHECK(get(&handled) > 0);
    CHECK_EQ(get(&astray), 0);
}

/* ---- as the thread closes its mask --------------------------------------------------------- */

static void *sends(void *arg)
{
    unsigned seed = 2;
    int *round = arg;

    mask_signal(SIG_BLOCK, LATER);
    for (int i = 1; !get(&stop); i++) {
        while (get(round) < i && !get(&stop))
            sched_yield();
        if (get(&stop))
            break;
        pause_a_little(&seed);
        kill(getpid(), LATER);
    }
    return NULL;
}

static void *has_it_open(void *arg)
{
    sem_t *s = arg;

    mask_signal(SIG_UNBLOCK, LATER);
    while (sem_wait(s) != 0)
        ;
    return NULL;
}

TEST(a_signal_for_the_process_leaves_a_thread_that_blocks_it)
{
    unsigned seed = 1;
    int64_t until = 0;
    bool came = true;
    int round = 0;
    sem_t end;

    install(LATER, note);
    set(&handled, 0);
    set(&stop, 0);
    sem_init(&end, 0, 0);
    pthread_t other = spawn(has_it_open, &end), sender = spawn(sends, &round);
    while (go_on(&until) && came) {
        mask_signal(SIG_UNBLOCK, LATER);
        add(&round, 1);
        pause_a_little(&seed);
        mask_signal(SIG_BLOCK, LATER);
        came = soon_at_least(&handled, round);
    }
    CHECK(came);
    set(&stop, 1);
    join(sender);
    sem_post(&end);
    join(other);
    mask_signal(SIG_UNBLOCK, LATER);
}

/* ---- as the thread stops waiting for it ---------------------------------------------------- */

static int got; /* atomic */

/* EINTR where the kernel woke it for a signal that the other one then took. */
static void *waits_on(void *arg)
{
    sigset_t set = set_of(LATER);

    while (!get(&stop))
        if (sigwaitinfo(&set, NULL) == LATER)
            add(&got, 1);
    return arg;
}

static void *waits_briefly(void *arg)
{
    sigset_t set = set_of(LATER);
    int *round = arg, seen = 0;
    unsigned seed = 1;

    while (!get(&stop)) {
        struct timespec ts = {0, rand_r(&seed) % 60000};

        if (!soon_at_least(round, seen + 1))
            break;
        seen = get(round);
        if (sigtimedwait(&set, NULL, &ts) == LATER)
            add(&got, 1);
    }
    return NULL;
}

TEST(a_signal_that_a_thread_no_longer_waits_for_goes_to_one_that_does)
{
    unsigned seed = 3;
    int64_t until = 0;
    bool came = true;
    int round = 0;

    install(LATER, note); /* so it is given to a thread at once */
    mask_signal(SIG_BLOCK, LATER);
    set(&got, 0);
    set(&stop, 0);
    pthread_t brief = spawn(waits_briefly, &round), longer = spawn(waits_on, NULL);
    while (go_on(&until) && came) {
        add(&round, 1);
        for (int n = rand_r(&seed) % 40; n > 0; n--)
            pause_a_little(&seed);
        kill(getpid(), LATER);
        came = soon_at_least(&got, round);
    }
    CHECK(came);
    set(&stop, 1);
    add(&round, 1);
    join(brief);
    pthread_kill(longer, LATER);
    join(longer);
}
