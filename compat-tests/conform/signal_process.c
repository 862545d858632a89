/* signal_process.c - signals sent to the process: who gets them, what is kept pending, timers,
 * and what goes on to children. */
#include "conform.h"

#include <semaphore.h>
#include <sys/syscall.h>
#include <sys/time.h>

static __thread volatile int calls;
static int handled;
static pthread_t last;
static siginfo_t last_info;

static void note(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)uc;
    last = pthread_self();
    last_info = *info;
    calls++;
    add(&handled, 1);
}

static void install(int sig)
{
    struct sigaction sa = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};

    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

static bool pending(int sig)
{
    sigset_t set;

    CHECK_EQ(sigpending(&set), 0);
    return sigismember(&set, sig) == 1;
}

struct peer {
    sem_t wait;
    int ready, go, ended;
    int block, open_later;
};

static void *parked(void *arg)
{
    struct peer *p = arg;

    if (p->block)
        mask_signal(SIG_BLOCK, p->block);
    set(&p->ready, 1);
    while (sem_wait(&p->wait) != 0)
        CHECK_EQ(errno, EINTR);
    if (p->open_later)
        mask_signal(SIG_UNBLOCK, p->open_later);
    return (void *)(intptr_t)calls;
}

static pthread_t park(struct peer *p)
{
    pthread_t t;

    sem_init(&p->wait, 0, 0);
    t = spawn(parked, p);
    await_at_least(&p->ready, 1);
    settle();
    return t;
}

static int let_go(struct peer *p, pthread_t t)
{
    sem_post(&p->wait);
    return (int)(intptr_t)join(t);
}

/* ---- from outside -------------------------------------------------------------------------- */

struct outside {
    pid_t to;
    int sig;
};

static void send_one(void *arg)
{
    struct outside *o = arg;

    sleep_ms(20);
    CHECK_EQ(kill(o->to, o->sig), 0);
}

TEST(reaches_a_process_whose_threads_all_wait)
{
    struct outside o = {getpid(), SIGUSR1};
    struct peer p[5] = {0};
    pthread_t t[5];

    install(SIGUSR1);
    set(&handled, 0);
    for (int i = 0; i < 5; i++)
        t[i] = park(&p[i]);
    pid_t pid = start_child(send_one, &o);
    await_at_least(&handled, 1);
    CHECK_EQ(last_info.si_code, SI_USER);
    CHECK_EQ(last_info.si_pid, pid);
    CHECK_CHILD_OK(pid);
    for (int i = 0; i < 5; i++)
        let_go(&p[i], t[i]);
    CHECK_EQ(get(&handled), 1);
}

TEST(goes_to_the_one_that_does_not_block_it)
{
    struct outside o = {getpid(), SIGUSR1};
    struct peer a[3] = {{.block = SIGUSR1}, {.block = SIGUSR1}, {.block = SIGUSR1}};
    struct peer open = {0};
    pthread_t t[3], taker;

    install(SIGUSR1);
    set(&handled, 0);
    taker = park(&open);
    mask_signal(SIG_BLOCK, SIGUSR1);
    for (int i = 0; i < 3; i++)
        t[i] = park(&a[i]);
    pid_t pid = start_child(send_one, &o);
    await_at_least(&handled,
                   1); /* POSIX: one of those that do not block it; here, parked */
    CHECK(pthread_equal(last, taker));
    CHECK_CHILD_OK(pid);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    await_at_least(&handled, 2);
    CHECK(pthread_equal(last, taker));
    CHECK_EQ(let_go(&open, taker), 2);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(let_go(&a[i], t[i]), 0);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
    CHECK_EQ(get(&handled), 2);
}

TEST(stays_pending_while_all_block_it)
{
    struct peer a[3] = {{.block = SIGUSR1}, {.block = SIGUSR1}, {.block = SIGUSR1}};
    pthread_t t[3];

    install(SIGUSR1);
    mask_signal(SIG_BLOCK, SIGUSR1);
    set(&handled, 0);
    for (int i = 0; i < 3; i++)
        t[i] = park(&a[i]);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK(pending(SIGUSR1));
    settle();
    CHECK(pending(SIGUSR1));
    CHECK_EQ(get(&handled), 0);
    a[1].open_later = SIGUSR1;
    CHECK_EQ(let_go(&a[1], t[1]), 1); /* POSIX: to the thread that unblocks it, at once */
    CHECK(!pending(SIGUSR1));
    CHECK_EQ(let_go(&a[0], t[0]), 0);
    CHECK_EQ(let_go(&a[2], t[2]), 0);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
    CHECK_EQ(get(&handled), 1);
}

static int order[64], n_order;

static void note_order(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)uc;
    CHECK_EQ(info->si_code, SI_QUEUE);
    order[n_order++ % 64] = info->si_value.sival_int;
}

TEST(queued_in_order)
{
    struct sigaction sa = {.sa_sigaction = note_order, .sa_flags = SA_SIGINFO};
    struct peer p = {.block = SIGRTMIN + 1};
    union sigval v;

    CHECK_EQ(sigaction(SIGRTMIN + 1, &sa, NULL), 0);
    for (int round = 0; round < 20; round++) {
        n_order = 0;
        pthread_t t = round % 2 ? park(&p) : 0;
        mask_signal(SIG_BLOCK, SIGRTMIN + 1);
        for (int i = 0; i < 30; i++) {
            v.sival_int = i;
            CHECK_EQ(sigqueue(getpid(), SIGRTMIN + 1, v), 0);
        }
        CHECK_EQ(n_order, 0);
        CHECK(pending(SIGRTMIN + 1));
        mask_signal(SIG_UNBLOCK, SIGRTMIN + 1);
        CHECK_EQ(n_order, 30); /* POSIX sigqueue: as many, in order */
        for (int i = 0; i < 30; i++)
            CHECK_EQ(order[i], i);
        CHECK(!pending(SIGRTMIN + 1));
        if (round % 2)
            let_go(&p, t);
        p.ready = 0;
    }
}

static void *kills(void *arg)
{
    int sig = *(int *)arg;

    calls = 0;
    CHECK_EQ(kill(getpid(), sig), 0);
    return (void *)(intptr_t)calls;
}

TEST(own_kill_is_delivered_before_it_returns)
{
    int sig = SIGUSR1;

    install(SIGUSR1);
    calls = 0;
    CHECK_EQ(kill(getpid(), SIGUSR1), 0); /* main: Linux prefers it */
    CHECK_EQ(calls, 1);
    mask_signal(SIG_BLOCK, SIGUSR1);
    struct peer p = {.block = SIGUSR1};
    pthread_t t = park(&p);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
    pthread_t k;
    pthread_attr_t attr;
    /* POSIX kill: the caller, when it is the only one that does not block it */
    mask_signal(SIG_BLOCK, SIGUSR1);
    sigset_t empty;
    sigemptyset(&empty);
    pthread_attr_init(&attr);
    pthread_attr_setsigmask_np(&attr, &empty);
    CHECK_EQ(pthread_create(&k, &attr, kills, &sig), 0);
    CHECK_EQ((intptr_t)join(k), 1);
    let_go(&p, t);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
    CHECK_EQ(kill(getpid(), 0), 0);
    CHECK_ERR(kill(getpid(), 1000), EINVAL);
}

static int kill_0(int sig)
{
    return kill(0, sig);
}

static int kill_group(int sig)
{
    return killpg(getpgrp(), sig);
}

static int kill_by_number(int sig)
{
    return (int)syscall(SYS_kill, -getpgrp(), sig);
}

static void *kills_group(void *arg)
{
    int (*const ways[])(int) = {kill_0, kill_group, kill_by_number};
    for (int i = 0; i < 100; i++) {
        for (size_t k = 0; k < COUNT_OF(ways); k++) {
            calls = 0;
            CHECK_EQ(ways[k](SIGUSR1), 0);
            CHECK_EQ(calls, 1);
            CHECK(pthread_equal(last, pthread_self()));
        }
    }
    return arg;
}

/* The same by way of its group, in which it is alone: first as the only thread, then beside others
 * that block the signal. */
MODE(kill_the_group)
{
    struct peer p = {.block = SIGUSR1};
    pthread_t t, k;
    pthread_attr_t attr;
    sigset_t empty;
    CHECK_EQ(setpgid(0, 0), 0);
    install(SIGUSR1);
    kills_group(NULL);
    mask_signal(SIG_BLOCK, SIGUSR1);
    t = park(&p);
    sigemptyset(&empty);
    pthread_attr_init(&attr);
    pthread_attr_setsigmask_np(&attr, &empty);
    CHECK_EQ(pthread_create(&k, &attr, kills_group, NULL), 0);
    join(k);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
    kills_group(NULL);
    let_go(&p, t);
    return conform_failures != 0;
}

TEST(own_group_is_signalled_before_kill_returns)
{
    CHECK_EXITS(run_mode("kill_the_group", NULL, 0), 0);
}

static void *interrupts_main(void *arg)
{
    settle();
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    return arg;
}

TEST(main_is_interrupted)
{
    struct timespec ts = {10, 0};

    install(SIGUSR1);
    for (int i = 0; i < 5; i++) {
        pthread_t t = spawn(interrupts_main, NULL);
        CHECK_ERR(nanosleep(&ts, NULL),
                  EINTR); /* Linux: the main thread is first choice */
        CHECK(pthread_equal(last, pthread_self()));
        join(t);
    }
}

/* ---- timers ------------------------------------------------------------------------------------ */

TEST(alarms)
{
    struct itimerval it = {.it_value = {0, 20000}, .it_interval = {0, 5000}};
    struct itimerval off = {{0, 0}, {0, 0}};
    struct peer p = {0};
    pthread_t t = park(&p);
    struct sigaction old;

    alarm(0);
    sigaction(SIGALRM, NULL, &old);
    install(SIGALRM);
    set(&handled, 0);
    alarm(1);
    pause();
    CHECK_EQ(get(&handled), 1);
    setitimer(ITIMER_REAL, &it, NULL);
    for (int i = 0; i < 5; i++)
        pause();
    setitimer(ITIMER_REAL, &off, NULL);
    CHECK(get(&handled) >= 6);
    let_go(&p, t);
    sigaction(SIGALRM, &old, NULL);
    watchdog();
}

static int fired;

static void on_timer(union sigval v)
{
    CHECK_EQ(v.sival_int, 99);
    add(&fired, 1);
}

TEST(posix_timers)
{
    struct itimerspec it = {.it_value = {0, 10000000}, .it_interval = {0, 2000000}};
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct peer p = {0};
    pthread_t t = park(&p);
    timer_t timer;

    install(SIGUSR1);
    set(&handled, 0);
    ev.sigev_value.sival_int = 42;
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
    CHECK_EQ(timer_settime(timer, 0, &it, NULL), 0);
    while (get(&handled) < 5)
        pause();
    CHECK_EQ(last_info.si_code, SI_TIMER); /* POSIX */
    CHECK_EQ(last_info.si_value.sival_int, 42);
    CHECK_EQ(timer_delete(timer), 0);
    ev.sigev_notify = SIGEV_THREAD;
    ev.sigev_notify_function = on_timer;
    ev.sigev_notify_attributes = NULL;
    ev.sigev_value.sival_int = 99;
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
    CHECK_EQ(timer_settime(timer, 0, &it, NULL), 0);
    await_at_least(&fired, 5);
    CHECK_EQ(timer_delete(timer), 0);
    let_go(&p, t);
}

static void *timed_thread(void *arg)
{
    struct itimerspec it = {.it_value = {0, 5000000}, .it_interval = {0, 1000000}};
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
    timer_t timer;

    calls = 0;
    ev._sigev_un._tid = gettid();
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
    CHECK_EQ(timer_settime(timer, 0, &it, NULL), 0);
    while (calls < 20)
        sleep(1);
    CHECK_EQ(timer_delete(timer), 0);
    return arg;
}

TEST(timers_of_a_thread)
{
    pthread_t t[5];

    install(SIGUSR2);
    for (int i = 0; i < 5; i++)
        t[i] = spawn(timed_thread, NULL); /* Linux: to this thread and no other */
    for (int i = 0; i < 5; i++)
        join(t[i]);
}

/* ---- children ---------------------------------------------------------------------------------- */

static void in_child(void *arg)
{
    struct sigaction sa;

    (void)arg;
    CHECK(!pending(SIGUSR1)); /* POSIX fork: no pending signals */
    CHECK(!pending(SIGUSR2));
    sigset_t mask;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGUSR1),
             1); /* its mask is that of the thread that forked */
    CHECK_EQ(sigismember(&mask, SIGTERM), 0);
    CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
    CHECK(sa.sa_sigaction == note);
    CHECK(signal(SIGUSR2, SIG_DFL) != SIG_ERR); /* takes away a handler from before */
    install(SIGUSR2);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
    calls = 0;
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(calls, 2);
    struct peer p = {0};
    pthread_t t = park(&p); /* and with threads again */
    CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
    CHECK_EQ(let_go(&p, t), 1);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(calls, 3);
}

static void *forks(void *arg)
{
    mask_signal(SIG_BLOCK, SIGUSR1);
    mask_signal(SIG_BLOCK, SIGUSR2);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);
    CHECK(pending(SIGUSR1));
    CHECK_CHILD_OK(start_child(in_child, NULL));
    CHECK(pending(SIGUSR1));
    return arg;
}

TEST(fork_from_a_thread)
{
    install(SIGUSR1);
    install(SIGUSR2);
    mask_signal(SIG_BLOCK, SIGUSR2);
    join(spawn(forks, NULL));
    CHECK(pending(SIGUSR2));
    mask_signal(SIG_UNBLOCK, SIGUSR2);
}

MODE(tells_inherited)
{
    struct sigaction u1, u2, segv;
    sigset_t mask;

    sigaction(SIGUSR1, NULL, &u1);
    sigaction(SIGUSR2, NULL, &u2);
    sigaction(SIGSEGV, NULL, &segv);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    printf("%d %d %d %d %d\n", u1.sa_handler == SIG_DFL, u2.sa_handler == SIG_IGN,
           segv.sa_handler == SIG_DFL, sigismember(&mask, SIGHUP),
           sigismember(&mask, SIGURG));
    return 0;
}

static void *execs(void *arg)
{
    mask_signal(SIG_BLOCK, SIGHUP);
    mask_signal(SIG_BLOCK, SIGURG);
    CHECK_EQ(run_mode("tells_inherited", arg, 64), 0);
    return NULL;
}

TEST(exec_from_a_thread)
{
    char out[64];

    install(SIGUSR1);
    install(SIGSEGV);
    signal(SIGUSR2, SIG_IGN);
    join(spawn(execs, out));
    CHECK(strcmp(out, "1 1 1 1 1\n") == 0); /* POSIX exec */
    signal(SIGSEGV, SIG_DFL);
    install(SIGUSR2);
}

static void *ends(void *arg)
{
    return arg;
}

TEST(nothing_is_lost_when_threads_end)
{
    int sent = 0;

    install(SIGUSR1);
    set(&handled, 0);
    for (int i = 0; i < 100; i++) {
        pthread_t t[4];
        for (int k = 0; k < 4; k++)
            t[k] = spawn(ends, NULL);
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
        sent++;
        for (int k = 0; k < 4; k++)
            join(t[k]);
        await_at_least(&handled, sent);
    }
    CHECK_EQ(get(&handled), sent);
}
