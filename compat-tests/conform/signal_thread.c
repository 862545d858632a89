/* signal_thread.c - signals sent to a thread: its handler runs there, at once, in whatever the
 * thread waits or computes; and what the wait does then. */
#include "conform.h"

#include <semaphore.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <linux/futex.h>

static __thread volatile int calls;
static int handled; /* all threads */
static pthread_t last;

static void note(int sig)
{
    (void)sig;
    last = pthread_self();
    calls++;
    add(&handled, 1);
}

static void install(int sig, int flags)
{
    struct sigaction sa = {.sa_handler = note, .sa_flags = flags};

    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

/* ---- every kind of wait ------------------------------------------------------------------ */

struct wait {
    const char *name;
    pthread_mutex_t m;
    pthread_cond_t c;
    pthread_rwlock_t rw;
    pthread_barrier_t b;
    pthread_once_t once;
    sem_t s;
    int word, ready, go, fds[2], result;
    pthread_t other;
};

static struct wait w;

static void *on_mutex(void *arg)
{
    w.result = pthread_mutex_lock(&w.m); /* POSIX: not interrupted */
    pthread_mutex_unlock(&w.m);
    return arg;
}

static void *on_timed_mutex(void *arg)
{
    struct timespec at = in_ms(CLOCK_REALTIME, 60000);

    w.result = pthread_mutex_timedlock(&w.m, &at);
    pthread_mutex_unlock(&w.m);
    return arg;
}

static void *on_cond(void *arg)
{
    pthread_mutex_lock(&w.m);
    while (!w.go)
        w.result |= pthread_cond_wait(&w.c, &w.m); /* POSIX: no EINTR */
    pthread_mutex_unlock(&w.m);
    return arg;
}

static void *on_timed_cond(void *arg)
{
    struct timespec at = in_ms(CLOCK_REALTIME, 60000);

    pthread_mutex_lock(&w.m);
    while (!w.go)
        w.result |= pthread_cond_timedwait(&w.c, &w.m, &at);
    pthread_mutex_unlock(&w.m);
    return arg;
}

static void *on_rdlock(void *arg)
{
    w.result = pthread_rwlock_rdlock(&w.rw);
    pthread_rwlock_unlock(&w.rw);
    return arg;
}

static void *on_wrlock(void *arg)
{
    w.result = pthread_rwlock_wrlock(&w.rw);
    pthread_rwlock_unlock(&w.rw);
    return arg;
}

static void *on_sem(void *arg)
{
    w.result = 0;
    while (sem_wait(&w.s) != 0)
        CHECK_EQ(errno, EINTR);
    return arg;
}

static void *on_barrier(void *arg)
{
    int r = pthread_barrier_wait(&w.b);

    w.result = r == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : r;
    return arg;
}

static void *sleeper(void *arg)
{
    await_at_least(&w.go, 1);
    return arg;
}

static void *on_join(void *arg)
{
    w.result = pthread_join(w.other, NULL);
    return arg;
}

static void nothing(void)
{
}

static void slow(void)
{
    await_at_least(&w.go, 1);
}

static void *first_once(void *arg)
{
    pthread_once(&w.once, slow);
    return arg;
}

static void *on_once(void *arg)
{
    w.result = pthread_once(&w.once, nothing);
    return arg;
}

static void *on_futex(void *arg)
{
    while (get(&w.word) == 0)
        syscall(SYS_futex, &w.word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return arg;
}

static void *on_read(void *arg)
{
    char c;

    while (read(w.fds[0], &c, 1) != 1)
        CHECK_EQ(errno, EINTR);
    return arg;
}

static void *on_sleep(void *arg)
{
    while (!get(&w.go))
        sleep(60); /* POSIX: ends when a handler has run */
    return arg;
}

static void *on_pause(void *arg)
{
    int before = calls;

    while (!get(&w.go)) {
        if (pause() != -1 || errno != EINTR)
            w.result = 1;
        CHECK(calls > before);
    }
    return arg;
}

static void *on_spin(void *arg)
{
    while (!get(&w.go))
        continue; /* never enters a library */
    return arg;
}

static void *on_yield(void *arg)
{
    while (!get(&w.go))
        sched_yield();
    return arg;
}

static void release(void)
{
    set(&w.go, 1);
    pthread_mutex_unlock(&w.m);
    pthread_cond_broadcast(&w.c);
    pthread_rwlock_unlock(&w.rw);
    sem_post(&w.s);
    set(&w.word, 1);
    syscall(SYS_futex, &w.word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    CHECK_EQ(write(w.fds[1], "x", 1), 1);
}

static void prepare(bool hold)
{
    memset(&w, 0, sizeof(w));
    pthread_mutex_init(&w.m, NULL);
    pthread_cond_init(&w.c, NULL);
    pthread_rwlock_init(&w.rw, NULL);
    pthread_barrier_init(&w.b, NULL, 2);
    w.once = PTHREAD_ONCE_INIT;
    sem_init(&w.s, 0, 0);
    CHECK_EQ(pipe(w.fds), 0);
    if (hold)
        pthread_mutex_lock(&w.m);
    pthread_rwlock_wrlock(&w.rw);
}

/* Signals reach it while it waits, N times, and it goes on waiting; then it ends well. */
static void check_wait(void *(*fn)(void *), bool hold, bool last_kill)
{
    pthread_t t, helper = pthread_self();
    int n = 5;

    prepare(hold);
    set(&handled, 0);
    if (fn == on_join)
        w.other = spawn(sleeper, NULL);
    if (fn == on_once) {
        helper = spawn(first_once, NULL);
        settle();
    }
    t = spawn(fn, NULL);
    settle();
    for (int i = 1; i <= n; i++) {
        CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
        await_at_least(&handled,
                       i); /* or the watchdog: the handler runs though it waits */
        CHECK(pthread_equal(last, t));
        if (i % 2 == 0)
            settle();
    }
    if (hold)
        release();
    else {
        pthread_mutex_lock(&w.m);
        release();
    }
    if (fn == on_barrier)
        pthread_barrier_wait(&w.b);
    if (last_kill)
        pthread_kill(t, SIGUSR1);
    join(t);
    if (fn == on_once)
        join(helper);
    CHECK_EQ(w.result, 0);
    CHECK_EQ(get(&handled) >= n, 1);
    close(w.fds[0]);
    close(w.fds[1]);
}

#define WAIT_TEST(fn, hold, last_kill)                                                   \
    TEST(in_##fn)                                                                        \
    {                                                                                    \
        install(SIGUSR1, 0);                                                             \
        check_wait(fn, hold, last_kill);                                                 \
        install(SIGUSR1, SA_RESTART);                                                    \
        check_wait(fn, hold, last_kill);                                                 \
    }

WAIT_TEST(on_mutex, true, false)
WAIT_TEST(on_timed_mutex, true, false)
WAIT_TEST(on_cond, false, false)
WAIT_TEST(on_timed_cond, false, false)
WAIT_TEST(on_rdlock, false, false)
WAIT_TEST(on_wrlock, false, false)
WAIT_TEST(on_sem, false, false)
WAIT_TEST(on_barrier, false, false)
WAIT_TEST(on_join, false, false)
WAIT_TEST(on_once, false, false)
WAIT_TEST(on_futex, false, false)
WAIT_TEST(on_read, false, false)
WAIT_TEST(on_sleep, false, true)
WAIT_TEST(on_pause, false, true)
WAIT_TEST(on_spin, false, false)
WAIT_TEST(on_yield, false, false)

/* ---- EINTR, or not ------------------------------------------------------------------------- */

struct call {
    int (*fn)(void);
    int result, err, entered, done;
};

static int call_sem(void)
{
    return sem_wait(&w.s);
}

static int call_sem_timed(void)
{
    struct timespec at = in_ms(CLOCK_REALTIME, 60000);

    return sem_timedwait(&w.s, &at);
}

static struct timespec left;

static int call_nanosleep(void)
{
    struct timespec ts = {60, 0};

    left = (struct timespec){0, 0};
    return nanosleep(&ts, &left);
}

static int call_clock_nanosleep(void)
{
    struct timespec at = in_ms(CLOCK_MONOTONIC, 60000);

    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    return errno ? -1 : 0;
}

static int call_read(void)
{
    char c;

    return read(w.fds[0], &c, 1) == 1 ? 0 : -1;
}

static int call_futex(void)
{
    return (int)syscall(SYS_futex, &w.word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static int call_futex_timed(void)
{
    struct timespec ts = {60, 0};

    return (int)syscall(SYS_futex, &w.word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);
}

static void *caller(void *arg)
{
    struct call *c = arg;

    set(&c->entered, 1);
    c->result = c->fn();
    c->err = c->result == -1 ? errno : 0;
    set(&c->done, 1);
    return NULL;
}

/* WANT: 0 goes on waiting after the handler; EINTR. */
static void check_call(int (*fn)(void), int flags, int want)
{
    struct call c = {.fn = fn};
    pthread_t t;

    prepare(true);
    install(SIGUSR1, flags);
    t = spawn(caller, &c);
    await_at_least(&c.entered, 1);
    settle();
    set(&handled, 0);
    /* Until it hits the wait itself; the first one nearly always does. */
    for (int i = 1; want ? !get(&c.done) : i < 4; i++) {
        pthread_kill(t, SIGUSR1);
        await_at_least(&handled, i);
        settle();
    }
    CHECK_EQ(get(&c.done), want != 0);
    release();
    join(t);
    CHECK_EQ(c.err, want);
    close(w.fds[0]);
    close(w.fds[1]);
}

TEST(which_calls_fail)
{
    check_call(call_sem, 0, EINTR);      /* POSIX sem_wait */
    check_call(call_sem, SA_RESTART, 0); /* signal(7) */
    check_call(call_sem_timed, 0, EINTR);
    check_call(call_nanosleep, 0, EINTR);
    CHECK(left.tv_sec >= 40 && left.tv_sec < 60);
    check_call(call_nanosleep, SA_RESTART,
               EINTR); /* signal(7): regardless of SA_RESTART */
    check_call(call_clock_nanosleep, SA_RESTART, EINTR);
    check_call(call_read, 0, EINTR);
    check_call(call_read, SA_RESTART, 0);
    check_call(call_futex, 0, EINTR);
    check_call(call_futex, SA_RESTART, 0);
    check_call(call_futex_timed, SA_RESTART, EINTR);
}

/* ---- pending ---------------------------------------------------------------------------------- */

static bool pending(int sig)
{
    sigset_t set;

    CHECK_EQ(sigpending(&set), 0);
    return sigismember(&set, sig) == 1;
}

struct peer {
    int blocked, look, open, opened, rt[64], n;
};

static struct peer *volatile the_peer;

static void note_value(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)uc;
    struct peer *p = the_peer;

    p->rt[p->n++ % 64] = info->si_value.sival_int;
    calls++;
}

static void *keeps_pending(void *arg)
{
    struct peer *p = arg;
    sigset_t mask = set_of(SIGUSR1);

    sigaddset(&mask, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    set(&p->blocked, 1);
    await_at_least(&p->look, 1);
    CHECK(pending(SIGUSR1) && pending(SIGRTMIN + 3)); /* POSIX: per thread */
    CHECK_EQ(calls, 0);
    set(&p->look, 2);
    await_at_least(&p->open, 1);
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    CHECK_EQ(p->n, 20); /* POSIX: queued, in order, delivered before it returns */
    for (int i = 0; i < p->n; i++)
        CHECK_EQ(p->rt[i], i);
    CHECK_EQ(calls, 21); /* and a standard one once */
    CHECK(!pending(SIGUSR1) && !pending(SIGRTMIN + 3));
    return NULL;
}

TEST(pending_on_a_thread)
{
    struct peer p = {0};
    struct sigaction sa = {.sa_sigaction = note_value, .sa_flags = SA_SIGINFO};
    union sigval v;

    the_peer = &p;
    install(SIGUSR1, 0);
    CHECK_EQ(sigaction(SIGRTMIN + 3, &sa, NULL), 0);
    pthread_t t = spawn(keeps_pending, &p);
    await_at_least(&p.blocked, 1);
    for (int i = 0; i < 20; i++) {
        v.sival_int = i;
        CHECK_EQ(pthread_sigqueue(t, SIGRTMIN + 3, v), 0);
        CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
    }
    CHECK(!pending(SIGUSR1)); /* not here */
    set(&p.look, 1);
    await_at_least(&p.look, 2);
    set(&p.open, 1);
    join(t);
}

static void *ignores_later(void *arg)
{
    struct peer *p = arg;
    sigset_t mask = set_of(SIGUSR2);

    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    set(&p->blocked, 1);
    await_at_least(&p->look, 1);
    CHECK(!pending(SIGUSR2)); /* POSIX sigaction: SIG_IGN throws it away */
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    CHECK_EQ(calls, 0);
    return NULL;
}

TEST(ignoring_discards)
{
    struct peer p = {0};
    pthread_t t;

    install(SIGUSR2, 0);
    t = spawn(ignores_later, &p);
    await_at_least(&p.blocked, 1);
    CHECK_EQ(pthread_kill(t, SIGUSR2), 0);
    signal(SIGUSR2, SIG_IGN);
    install(SIGUSR2, 0);
    set(&p.look, 1);
    join(t);
    signal(SIGUSR2, SIG_IGN);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
    install(SIGUSR2, 0);
    CHECK_EQ(pthread_kill(pthread_self(), SIGCHLD), 0); /* ignored by default */
    calls = 0;
}

/* ---- by tid ------------------------------------------------------------------------------------ */

static void *tells_tid(void *arg)
{
    int *tid = arg;

    set(tid, gettid());
    await_at_least(&handled, 3);
    CHECK_EQ(calls, 3);
    return NULL;
}

static void *on_suspend(void *arg)
{
    sigset_t none;
    sigemptyset(&none);
    set(&w.ready, 1);
    CHECK_ERR(sigsuspend(&none), EINTR);
    return arg;
}

/* Prints how long the first signal to a thread takes, in us. */
MODE(first_signal)
{
    install(SIGUSR1, 0);
    pthread_t t = spawn(on_suspend, NULL);
    while (!get(&w.ready))
        usleep(100);
    sleep_ms(5);
    int64_t start = now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
    printf("%lld", (long long)(now_ns(CLOCK_MONOTONIC) - start) / 1000);
    join(t);
    return conform_failures;
}

TEST(first_signal_is_sent_in_no_time)
{
    long best = LONG_MAX;

    for (int i = 0; i < 20 && best > 2000; i++) {
        char out[32];
        CHECK_EXITS(run_mode("first_signal", out, sizeof(out)), 0);
        if (atol(out) < best)
            best = atol(out);
    }
    CHECK(best <= 2000);
}

TEST(by_tid)
{
    int tid = 0;
    siginfo_t info = {.si_code = SI_QUEUE};

    install(SIGUSR1, 0);
    set(&handled, 0);
    pthread_t t = spawn(tells_tid, &tid);
    await_at_least(&tid, 1);
    CHECK_EQ(tgkill(getpid(), tid, SIGUSR1), 0);
    await_at_least(&handled, 1);
    CHECK_EQ(syscall(SYS_tkill, tid, SIGUSR1), 0);
    await_at_least(&handled, 2);
    info.si_signo = SIGUSR1;
    info.si_pid = getpid();
    CHECK_EQ(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGUSR1, &info), 0);
    join(t);
    CHECK_EQ(tgkill(getpid(), gettid(), 0), 0);
    CHECK_ERR(tgkill(getpid(), gettid(), 1000), EINVAL);
    CHECK_ERR(tgkill(-1, gettid(), SIGUSR1), EINVAL);
    CHECK_ERR(syscall(SYS_tgkill, 0, gettid(), SIGUSR1), EINVAL);
    CHECK_ERR(tgkill(getppid(), gettid(), 0), ESRCH);
    calls = 0;
    CHECK_EQ(tgkill(getpid(), gettid(), SIGUSR1), 0);
    CHECK_EQ(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1), 0);
    CHECK_EQ(calls, 2);
}

static void *parked(void *arg)
{
    sem_wait(arg);
    return NULL;
}

/* RLIMIT_SIGPENDING is for those that queue; it may change at any time. */
TEST(more_than_may_be_pending)
{
    sigset_t set, old;
    struct rlimit was, none;
    sem_t end;
    sem_init(&end, 0, 0);
    pthread_t t = spawn(parked, &end); /* there are threads */

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
    CHECK_EQ(getrlimit(RLIMIT_SIGPENDING, &was), 0);
    none = (struct rlimit){0, was.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &none), 0);
    CHECK_EQ(pthread_sigqueue(pthread_self(), SIGRTMIN + 3, (union sigval){0}), EAGAIN);
    CHECK_ERR(syscall(SYS_tgkill, getpid(), gettid(), SIGRTMIN + 3), EAGAIN);
    CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &was), 0);
    CHECK_EQ(pthread_sigqueue(pthread_self(), SIGRTMIN + 3, (union sigval){0}), 0);
    CHECK_EQ(sigwaitinfo(&set, NULL), SIGRTMIN + 3);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
    sem_post(&end);
    join(t);
}

/* ---- default actions ------------------------------------------------------------------------------ */

struct flip {
    int sig, rounds, handled, stop;
    pthread_t target;
};

static struct flip flips[3];

static void flip_note(int sig)
{
    for (size_t i = 0; i < COUNT_OF(flips); i++)
        if (flips[i].sig == sig)
            add(&flips[i].handled, 1);
}

static void *flip_target(void *arg)
{
    struct flip *f = arg;
    while (!get(&f->stop))
        if (get(&f->handled) % 3 == 0)
            sched_yield();
    return NULL;
}

static void *flip_sender(void *arg)
{
    struct flip *f = arg;
    for (int i = 1; i <= f->rounds; i++) {
        signal(f->sig, flip_note);
        CHECK_EQ(pthread_kill(f->target, f->sig), 0);
        await_at_least(&f->handled, i);
        signal(f->sig, SIG_DFL); /* nothing is pending, so nothing happens */
    }
    set(&f->stop, 1);
    return NULL;
}

MODE(flip)
{
    static const int sigs[] = {SIGUSR1, SIGUSR2, SIGTERM};
    pthread_t t[COUNT_OF(flips)];
    for (size_t i = 0; i < COUNT_OF(flips); i++) {
        flips[i] = (struct flip){.sig = sigs[i], .rounds = 60};
        flips[i].target = spawn(flip_target, &flips[i]);
        t[i] = spawn(flip_sender, &flips[i]);
    }
    for (size_t i = 0; i < COUNT_OF(flips); i++) {
        join(t[i]);
        join(flips[i].target);
    }
    raise(SIGUSR1); /* and that it does */
    return 0;
}

TEST(handler_that_went_after_its_last_signal)
{
    int st = run_mode("flip", NULL, 0);
    CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGUSR1);
}

static int die_of(int sig)
{
    static sem_t s;
    pthread_t t;

    sem_init(&s, 0, 0);
    t = spawn(parked, &s);
    settle();
    pthread_kill(t, sig); /* POSIX: acts on the process */
    for (int i = 0; i < 100; i++)
        sleep_ms(100);
    return 0;
}

MODE(die_usr1)
{
    return die_of(SIGUSR1);
}

MODE(die_kill)
{
    return die_of(SIGKILL);
}

MODE(die_rt)
{
    return die_of(SIGRTMAX);
}

TEST(default_action_ends_the_process)
{
    int st = run_mode("die_usr1", NULL, 0);

    CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGUSR1);
    st = run_mode("die_kill", NULL, 0);
    CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
    st = run_mode("die_rt", NULL, 0);
    CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGRTMAX);
}
