/* signal_storm.c - thousands of signals a second against threads in every kind of wait.
 *
 * Senders give each target a numbered sequence of real-time signals (pthread_sigqueue), one
 * number per sender, and let a few be under way at a time. The handler, on the target,
 * checks that the numbers of each sender come without gap, twice or out of order, and
 * counts. Standard signals (pthread_kill) come in between: not more than were sent, and at the
 * end one that surely arrives. Others are sent to the process (sigqueue, kill) and counted over
 * all threads. Targets meanwhile lock, wait, sleep, read, suspend themselves, compute, and must
 * see every wait end as it should. */

#include "stress.h"

#include <poll.h>
#include <sys/syscall.h>
#include <linux/futex.h>

enum { KINDS = 12, TARGETS = 2 * KINDS, SENDERS = 3, UNDER_WAY = 8 };

struct target {
    pthread_t t;
    int kind;
    _Atomic long got[SENDERS]; /* by the handler */
    _Atomic long ordinary, ordinary_sent;
    long sent[SENDERS]; /* each by one sender */
    long rounds;
    _Atomic bool stop;
};

static struct target targets[TARGETS];
static __thread struct target *self;
static _Atomic long process_got, process_sent;
static _Atomic int up;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t sem;
static uint32_t word;
static int fds[2];

static void on_numbered(int sig, siginfo_t *info, void *uc)
{
    int err = errno, k = sig - SIGRTMIN;
    long want = self->got[k] + 1;

    (void)uc;
    CHECK(info->si_code == SI_QUEUE, "si_code %d", info->si_code);
    CHECK(info->si_value.sival_int == (int)want, "sender %d: %d instead of %ld", k,
          info->si_value.sival_int, want);
    self->got[k] = want;
    if (want % 64 == 0)
        sched_yield(); /* a handler may be switched away */
    errno = err;
}

static void on_ordinary(int sig)
{
    (void)sig;
    self->ordinary++;
}

static void on_process(int sig)
{
    (void)sig;
    process_got++;
}

/* --- targets --------------------------------------------------------------------------- */

static void pause_a_little(void)
{
    struct timespec ts = {0, 200000};

    nanosleep(&ts, NULL);
}

static void poll_with_mask(struct target *me)
{
    struct timespec ts = {0, 300000};
    struct pollfd none = {.fd = -1};
    sigset_t mask, old;

    sigfillset(&mask);
    OK0(pthread_sigmask(SIG_SETMASK, &mask, &old));
    if (!me->stop && ppoll(&none, 1, &ts, &old) < 0)
        CHECK(errno == EINTR, "ppoll: %d", errno);
    OK0(pthread_sigmask(SIG_SETMASK, &old, NULL));
}

/* Never for good: the last signal ends it. */
static void suspend(struct target *me)
{
    sigset_t mask, old;

    sigfillset(&mask);
    OK0(pthread_sigmask(SIG_SETMASK, &mask, &old));
    if (!me->stop)
        sigsuspend(&old);
    OK0(pthread_sigmask(SIG_SETMASK, &old, NULL));
}

static void wait_once(struct target *me)
{
    struct timespec ts = {0, 300000}, at;
    sigset_t mask, old;
    char c;

    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += 300000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    switch (me->kind) {
    case 0:
        OK0(pthread_mutex_lock(&lock));
        if (me->rounds % 8 == 0)
            pause_a_little();
        OK0(pthread_mutex_unlock(&lock));
        break;
    case 1: {
        OK0(pthread_mutex_lock(&lock));
        int rc = pthread_cond_timedwait(&cond, &lock, &at);
        CHECK(rc == 0 || rc == ETIMEDOUT, "cond_timedwait: %d", rc);
        OK0(pthread_mutex_unlock(&lock));
        break;
    }
    case 2:
        if (me->rounds % 2)
            OK0(pthread_rwlock_rdlock(&rwlock));
        else
            OK0(pthread_rwlock_wrlock(&rwlock));
        if (me->rounds % 8 == 0)
            pause_a_little();
        OK0(pthread_rwlock_unlock(&rwlock));
        break;
    case 3:
        if (sem_timedwait(&sem, &at) != 0)
            CHECK(errno == ETIMEDOUT || errno == EINTR, "sem_timedwait: %d", errno);
        break;
    case 4:
        if (nanosleep(&ts, NULL) != 0)
            CHECK(errno == EINTR, "nanosleep: %d", errno);
        break;
    case 5:
        if (read(fds[0], &c, 1) != 1)
            CHECK(errno == EINTR, "read: %d", errno);
        break;
    case 6:
        if (syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, word, &ts, NULL, 0) != 0)
            CHECK(errno == EINTR || errno == ETIMEDOUT || errno == EAGAIN, "futex: %d",
                  errno);
        break;
    case 7:
        poll_with_mask(me);
        break;
    case 8: /* everything blocked for a moment */
        sigfillset(&mask);
        OK0(pthread_sigmask(SIG_SETMASK, &mask, &old));
        sched_yield();
        OK0(pthread_sigmask(SIG_SETMASK, &old, NULL));
        break;
    case 9:
        suspend(me);
        break;
    case 10:
        for (volatile int i = 0; i < 20000; i++)
            continue;
        break;
    default:
        sched_yield();
        break;
    }
}

static void *target_main(void *arg)
{
    struct target *me = self = arg;

    up++;
    while (!me->stop) {
        wait_once(me);
        me->rounds++;
    }
    return NULL;
}

/* --- senders ------------------------------------------------------------------------------ */

static void *sender_main(void *arg)
{
    int k = (int)(intptr_t)arg;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (unsigned long n = 0; stress_now_ns() < stress_deadline_ns; n++) {
        struct target *tp = &targets[n % TARGETS];
        union sigval v = {.sival_int = (int)tp->sent[k] + 1};

        if (tp->sent[k] - tp->got[k] < UNDER_WAY) {
            int rc = pthread_sigqueue(tp->t, SIGRTMIN + k, v);
            CHECK(rc == 0 || rc == EAGAIN, "pthread_sigqueue: %d", rc);
            tp->sent[k] += rc == 0;
        }
        if (n % 16 == 0) {
            tp->ordinary_sent++;
            OK0(pthread_kill(tp->t, SIGUSR1));
        }
        if (n % 32 == 0 && process_sent - process_got < UNDER_WAY) {
            process_sent++;
            v.sival_int = 0;
            OKSYS(sigqueue(getpid(), SIGRTMIN + SENDERS, v));
        }
        if (n % 64 == 0)
            sched_yield();
        stress_progress++;
    }
    return NULL;
}

/* Gives those that wait for something what they wait for. */
static void *helper_main(void *arg)
{
    _Atomic bool *stop = arg;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    while (!*stop) {
        sem_post(&sem);
        pthread_cond_broadcast(&cond);
        OKSYS(write(fds[1], "x", 1));
        __atomic_add_fetch(&word, 1, __ATOMIC_RELAXED);
        syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        pause_a_little();
    }
    return NULL;
}

static bool all_arrived(const struct target *tp)
{
    for (int k = 0; k < SENDERS; k++)
        if (tp->got[k] != tp->sent[k])
            return false;
    return true;
}

static long check_counts(void)
{
    long total = 0;

    stress_where = "what is under way arrives";
    for (int i = 0; i < TARGETS; i++) {
        while (!all_arrived(&targets[i]))
            pause_a_little();
        for (int k = 0; k < SENDERS; k++)
            total += targets[i].sent[k];
    }
    while (process_got != process_sent)
        pause_a_little();
    stress_where = "the last signal of each";
    for (int i = 0; i < TARGETS; i++) {
        struct target *tp = &targets[i];
        long before = tp->ordinary;

        CHECK(before <= tp->ordinary_sent, "%ld of %ld", before, (long)tp->ordinary_sent);
        tp->stop = true;
        tp->ordinary_sent++;
        OK0(pthread_kill(tp->t, SIGUSR1));
        OK0(pthread_join(tp->t, NULL));
        CHECK(all_arrived(tp), "kind %d", tp->kind);
        CHECK(tp->ordinary <= tp->ordinary_sent, "kind %d", tp->kind);
    }
    CHECK(total > 0 && process_got == process_sent, "nothing was sent");
    return total;
}

int main(int argc, char **argv)
{
    struct sigaction sa = {.sa_sigaction = on_numbered, .sa_flags = SA_SIGINFO};
    pthread_t senders[SENDERS], helper;
    _Atomic bool stop = false;
    sigset_t process;

    stress_begin("signal_storm", argc, argv);
    for (int k = 0; k < SENDERS; k++)
        OKSYS(sigaction(SIGRTMIN + k, &sa, NULL));
    sa = (struct sigaction){.sa_handler = on_process, .sa_flags = SA_RESTART};
    OKSYS(sigaction(SIGRTMIN + SENDERS, &sa, NULL));
    sa = (struct sigaction){.sa_handler = on_ordinary};
    OKSYS(sigaction(SIGUSR1, &sa, NULL));
    OKSYS(sem_init(&sem, 0, 0));
    OKSYS(pipe(fds));
    for (int i = 0; i < TARGETS; i++) {
        targets[i].kind = i % KINDS;
        OK0(pthread_create(&targets[i].t, NULL, target_main, &targets[i]));
    }
    while (up < TARGETS)
        pause_a_little();
    sigemptyset(&process); /* main is no target of the process's: it only waits */
    sigaddset(&process, SIGRTMIN + SENDERS);
    pthread_sigmask(SIG_BLOCK, &process, NULL);
    stress_phase("storm", 1);
    OK0(pthread_create(&helper, NULL, helper_main, &stop));
    for (int k = 0; k < SENDERS; k++)
        OK0(pthread_create(&senders[k], NULL, sender_main, (void *)(intptr_t)k));
    for (int k = 0; k < SENDERS; k++)
        OK0(pthread_join(senders[k], NULL));
    long total = check_counts();
    stop = true;
    OK0(pthread_join(helper, NULL));
    return stress_end("%ld numbered signals, %ld to the process", total,
                      (long)process_got);
}
