/* cancel_storm.c - threads in every kind of wait are cancelled at every moment.
 *
 * Each round starts a batch of threads that loop over one kind of wait, or burn CPU with
 * asynchronous cancelability, and cancels them after a random while: before they begin, on their
 * way into the wait, in it, on their way out. Every thread must end cancelled, with its handler
 * run once and its mutex given back; and what was there to take must not be lost: tokens that
 * go round between the threads are counted at the end of each round. */

#include "stress.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/socket.h>

#define BATCH 24

enum kind {
    IN_READ,
    IN_RECV,
    IN_POLL,
    IN_SLEEP,
    IN_SEM,
    IN_SHARED_SEM,
    IN_COND,
    IN_TIMED_COND,
    IN_SHARED_COND,
    IN_JOIN,
    IN_PAUSE,
    IN_SPIN,
    IN_MUTEX,
    IN_TESTCANCEL,
    IN_SWITCH,
    N_KINDS
};

struct victim {
    pthread_t t;
    enum kind kind;
    _Atomic int cleaned;
    bool held; /* own mutex */
};

static int pipe_fd[2], pair_fd[2];
static sem_t sem, shared_sem;
static pthread_mutex_t cond_mutex, shared_mutex, quiet = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER, shared_cond;
static pthread_t endless;
static sem_t endless_stop;
static _Atomic long cancelled, takes;

static void handler(void *arg)
{
    struct victim *v = arg;
    v->cleaned++;
    if (v->held)
        OK0(pthread_mutex_unlock(v->kind == IN_SHARED_COND ? &shared_mutex
                                                           : &cond_mutex));
}

static void wait_cond(struct victim *v)
{
    pthread_mutex_t *m = v->kind == IN_SHARED_COND ? &shared_mutex : &cond_mutex;
    pthread_cond_t *c = v->kind == IN_SHARED_COND ? &shared_cond : &cond;
    OK0(pthread_mutex_lock(m));
    v->held = true;
    if (v->kind == IN_TIMED_COND) {
        struct timespec ts = stress_after_ns(CLOCK_REALTIME, 200000);
        int rc = pthread_cond_timedwait(c, m, &ts);
        CHECK(rc == 0 || rc == ETIMEDOUT, "timedwait: %d", rc);
    } else {
        OK0(pthread_cond_wait(c, m));
    }
    v->held = false;
    OK0(pthread_mutex_unlock(m));
}

static void spin(void)
{
    static volatile unsigned long n;
    int old;
    OK0(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old));
    for (int i = 0; i < 20000; i++)
        n++;
    OK0(pthread_setcanceltype(old, NULL));
}

/* The call may be cancelled before it has an effect, not after it. */
static void take_byte(enum kind kind)
{
    char c = 0;
    ssize_t n = kind == IN_READ ? read(pipe_fd[0], &c, 1) : recv(pair_fd[0], &c, 1, 0);
    int old;
    OK0(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old));
    CHECK(n == 1 && c == 'x', "took %zd", n);
    takes++;
    OKSYS(write(kind == IN_READ ? pipe_fd[1] : pair_fd[1], "x", 1)); /* give it back */
    OK0(pthread_setcancelstate(old, NULL));
}

static void wait_somewhere(struct victim *v, uint64_t *rng)
{
    struct timespec us = {0, 100000};
    struct pollfd p = {.fd = -1};
    switch (v->kind) {
    case IN_READ:
    case IN_RECV:
        take_byte(v->kind);
        break;
    case IN_POLL:
        poll(&p, 1, 1);
        break;
    case IN_SLEEP:
        nanosleep(&us, NULL);
        break;
    case IN_SEM:
        if (sem_wait(&sem) == 0)
            OKSYS(sem_post(&sem));
        break;
    case IN_SHARED_SEM:
        if (sem_wait(&shared_sem) == 0)
            OKSYS(sem_post(&shared_sem));
        break;
    case IN_COND:
    case IN_TIMED_COND:
    case IN_SHARED_COND:
        wait_cond(v);
        break;
    case IN_JOIN:
        pthread_join(endless, NULL);
        break;
    case IN_PAUSE:
        pause();
        break;
    case IN_SPIN:
        spin();
        break;
    case IN_MUTEX:
        OK0(pthread_mutex_lock(&quiet));
        OK0(pthread_mutex_unlock(&quiet));
        pthread_testcancel();
        break;
    case IN_SWITCH:
        OK0(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL));
        stress_jitter(rng);
        OK0(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL));
        pthread_testcancel();
        break;
    default:
        stress_jitter(rng);
        pthread_testcancel();
    }
}

static void wait_for_ever(struct victim *v)
{
    uint64_t rng = stress_seed_for((uintptr_t)v);
    for (;;)
        wait_somewhere(v, &rng);
}

static void *victim(void *arg)
{
    pthread_cleanup_push(handler, arg);
    wait_for_ever(arg);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *sleep_on(void *arg)
{
    (void)arg;
    stress_sem_wait(&endless_stop);
    return NULL;
}

static void *waker(void *arg)
{
    while (stress_running()) {
        OK0(pthread_cond_signal(&cond));
        OK0(pthread_cond_broadcast(&shared_cond));
        stress_sleep_ns(50000);
    }
    return arg;
}

static void count_tokens(void)
{
    char c;
    int value;
    OKSYS(read(pipe_fd[0], &c, 1));
    OKSYS(write(pipe_fd[1], &c, 1));
    OKSYS(recv(pair_fd[0], &c, 1, MSG_DONTWAIT));
    OKSYS(write(pair_fd[1], &c, 1));
    OKSYS(sem_getvalue(&sem, &value));
    OK0(pthread_mutex_trylock(&quiet));
    OK0(pthread_mutex_unlock(&quiet));
}

static void round_of(uint64_t *rng)
{
    static struct victim v[BATCH];
    for (size_t i = 0; i < BATCH; i++) {
        v[i] = (struct victim){.kind = (enum kind)(stress_rand(rng) % N_KINDS)};
        /* one joiner at a time */
        for (size_t k = 0; k < i && v[i].kind == IN_JOIN; k++)
            if (v[k].kind == IN_JOIN)
                v[i].kind = IN_SPIN;
        stress_create(&v[i].t, victim, &v[i]);
    }
    for (size_t i = 0; i < BATCH; i++) {
        stress_jitter(rng);
        OK0(pthread_cancel(v[i].t));
        if (stress_rand(rng) % 4 == 0)
            OK0(pthread_cancel(v[i].t));
    }
    for (size_t i = 0; i < BATCH; i++) {
        stress_join(v[i].t, PTHREAD_CANCELED);
        /* one that had not begun has no handler yet: it could not act before */
        CHECK(v[i].cleaned == 1, "kind %d: handler ran %d times", v[i].kind,
              v[i].cleaned);
        cancelled++;
        stress_progress++;
    }
    count_tokens();
}

int main(int argc, char **argv)
{
    uint64_t rng;
    pthread_mutexattr_t ma;
    pthread_condattr_t ca;
    pthread_t w;

    stress_begin("cancel_storm", argc, argv);
    rng = stress_seed_for(1);
    OKSYS(pipe(pipe_fd));
    OKSYS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair_fd));
    OKSYS(write(pipe_fd[1], "x", 1));
    OKSYS(write(pair_fd[1], "x", 1));
    OKSYS(sem_init(&sem, 0, 1));
    OKSYS(sem_init(&shared_sem, 1, 1));
    OKSYS(sem_init(&endless_stop, 0, 0));
    OK0(pthread_mutexattr_init(&ma));
    OK0(pthread_mutexattr_settype(&ma, PTHREAD_MUTEX_ERRORCHECK));
    OK0(pthread_mutex_init(&cond_mutex, &ma));
    OK0(pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED));
    OK0(pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST));
    OK0(pthread_mutex_init(&shared_mutex, &ma));
    OK0(pthread_condattr_init(&ca));
    OK0(pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED));
    OK0(pthread_cond_init(&shared_cond, &ca));
    stress_create(&endless, sleep_on, NULL);
    stress_create(&w, waker, NULL);
    while (stress_running())
        round_of(&rng);
    stress_join(w, NULL);
    OKSYS(sem_post(&endless_stop));
    stress_join(endless, NULL);
    return stress_end("%ld threads cancelled, %ld bytes taken", cancelled, takes);
}
