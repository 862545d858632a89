/* pshared_signal.c - signal handlers run in threads that wait for process-shared and robust
 * objects, as they do in any other wait; the wait then goes on (XSH pthread_mutex_lock,
 * pthread_cond_wait, pthread_rwlock_wrlock, sem_wait), and can still be cancelled. */
#include "conform.h"

#include <semaphore.h>
#include <ucontext.h>

enum wait { COND, MUTEX, ROBUST, RWLOCK, BARRIER, N_WAITS };

static struct shared {
    pthread_mutex_t m, robust, cond_mutex;
    pthread_cond_t c;
    pthread_rwlock_t rw;
    pthread_barrier_t b;
    int waiting, over, go;
} * s;

static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
static __thread int tls;
static int caught; /* atomic */

static void set_up(void)
{
    pthread_mutexattr_t ma;
    pthread_condattr_t ca;
    pthread_rwlockattr_t ra;
    pthread_barrierattr_t ba;
    s = shared_alloc(sizeof(*s));
    pthread_mutexattr_init(&ma);
    pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_mutex_init(&s->m, &ma), 0);
    pthread_mutexattr_settype(&ma, PTHREAD_MUTEX_ERRORCHECK);
    CHECK_EQ(pthread_mutex_init(&s->cond_mutex, &ma), 0);
    pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
    CHECK_EQ(pthread_mutex_init(&s->robust, &ma), 0);
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_cond_init(&s->c, &ca), 0);
    pthread_rwlockattr_init(&ra);
    pthread_rwlockattr_setpshared(&ra, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_rwlock_init(&s->rw, &ra), 0);
    pthread_barrierattr_init(&ba);
    pthread_barrierattr_setpshared(&ba, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_barrier_init(&s->b, &ba, 2), 0);
    set(&caught, 0);
}

/* It has its own identity in there, and may switch. */
static void handler(int sig)
{
    int before = errno;
    CHECK_EQ(sig, SIGUSR1);
    CHECK_EQ(tls, 5);
    CHECK_EQ(pthread_mutex_lock(&plain), 0);
    sched_yield();
    CHECK_EQ(pthread_mutex_unlock(&plain), 0);
    errno = before;
    add(&caught, 1);
}

static void unlock(void *arg)
{
    CHECK_EQ(pthread_mutex_unlock(arg), 0);
}

static void *wait_for(void *arg)
{
    tls = 5;
    set(&s->waiting, 1);
    switch ((enum wait)(intptr_t)arg) {
    case COND:
        CHECK_EQ(pthread_mutex_lock(&s->cond_mutex), 0);
        pthread_cleanup_push(unlock, &s->cond_mutex);
        while (!s->go)
            CHECK_EQ(pthread_cond_wait(&s->c, &s->cond_mutex), 0);
        pthread_cleanup_pop(1);
        break;
    case MUTEX:
        CHECK_EQ(pthread_mutex_lock(&s->m), 0);
        CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
        break;
    case ROBUST:
        CHECK_EQ(pthread_mutex_lock(&s->robust), 0);
        CHECK_EQ(pthread_mutex_unlock(&s->robust), 0);
        break;
    case RWLOCK:
        CHECK_EQ(pthread_rwlock_wrlock(&s->rw), 0);
        CHECK_EQ(pthread_rwlock_unlock(&s->rw), 0);
        break;
    default:
        pthread_barrier_wait(&s->b);
    }
    CHECK_EQ(tls, 5);
    set(&s->over, 1);
    return arg;
}

static void hold_all(void)
{
    CHECK_EQ(pthread_mutex_lock(&s->m), 0);
    CHECK_EQ(pthread_mutex_lock(&s->robust), 0);
    CHECK_EQ(pthread_rwlock_wrlock(&s->rw), 0);
}

static void let_go(enum wait w)
{
    pthread_mutex_lock(&s->cond_mutex);
    s->go = 1;
    pthread_cond_broadcast(&s->c);
    pthread_mutex_unlock(&s->cond_mutex);
    CHECK_EQ(pthread_mutex_unlock(&s->m), 0);
    CHECK_EQ(pthread_mutex_unlock(&s->robust), 0);
    CHECK_EQ(pthread_rwlock_unlock(&s->rw), 0);
    if (w == BARRIER)
        pthread_barrier_wait(&s->b);
}

TEST(handlers_run_while_it_waits)
{
    struct sigaction sa = {.sa_handler = handler};
    for (int flags = 0; flags < 2; flags++) {
        sa.sa_flags = flags ? SA_RESTART : 0;
        CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
        for (enum wait w = COND; w < N_WAITS; w++) {
            set_up();
            hold_all();
            pthread_t t = spawn(wait_for, (void *)(intptr_t)w);
            await_at_least(&s->waiting, 1);
            settle();
            for (int i = 1; i <= 5; i++) {
                CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
                await_at_least(&caught, i);
                CHECK_EQ(get(&s->over), 0);
            }
            let_go(w);
            join(t);
            CHECK_EQ(s->over, 1);
        }
    }
}

TEST(cancelled_after_a_handler)
{
    for (int i = 0; i < 10; i++) {
        set_up();
        pthread_t t = spawn(wait_for, (void *)COND);
        await_at_least(&s->waiting, 1);
        if (i % 2)
            settle();
        CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
        await_at_least(&caught, 1);
        settle(); /* not in the handler: the C library would cancel it there */
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK_EQ(pthread_mutex_trylock(&s->cond_mutex), 0);
    }
}

static int of_process; /* atomic */

static void on_usr2(int sig)
{
    (void)sig;
    add(&of_process, 1);
}

/* A signal to the process is not held up by a thread that waits so, whoever takes it. */
TEST(signals_to_the_process)
{
    pthread_t t[4];
    signal(SIGUSR2, on_usr2);
    set_up();
    hold_all();
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        set(&s->waiting, 0);
        t[i] = spawn(wait_for, (void *)(intptr_t)(enum wait)(i % BARRIER));
        await_at_least(&s->waiting, 1);
    }
    settle();
    for (int i = 1; i <= 20; i++) {
        CHECK_EQ(kill(getpid(), SIGUSR2), 0);
        await_at_least(&of_process, i);
    }
    let_go(COND);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    signal(SIGUSR2, SIG_DFL);
}

/* ---- whenever it comes, on whatever stack ---------------------------------------------------- */

static struct meeting {
    sem_t posted;
    int round, over;
} * met;

static void post(int sig)
{
    (void)sig;
    sem_post(&met->posted);
}

static void wait_for_post(void)
{
    while (sem_wait(&met->posted) != 0)
        CHECK_EQ(errno, EINTR);
}

static void *wait_for_posts(void *arg)
{
    for (int i = 1; !get(&met->over); i++) {
        set(&met->round, i);
        wait_for_post();
    }
    return arg;
}

static void meet(int flags)
{
    struct sigaction sa = {.sa_handler = post, .sa_flags = flags};
    met = shared_alloc(sizeof(*met));
    CHECK_EQ(sem_init(&met->posted, 1, 0), 0);
    CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
}

/* Only the handler ends the wait: so it must run, as early or late as the signal comes. */
static void signal_as_it_begins(bool process)
{
    enum { FOR_MS = 300, DELAYS = 2500, STEP = 7 };
    int64_t until = now_ns(CLOCK_MONOTONIC) + FOR_MS * NS_PER_MS;
    meet(SA_RESTART);
    pthread_t t = spawn(wait_for_posts, NULL);
    if (process)
        mask_signal(SIG_BLOCK, SIGUSR1);
    for (int i = 1; !met->over; i++) {
        while (get(&met->round) < i)
            sched_yield();
        for (volatile int n = i * STEP % DELAYS; n > 0; n--)
            continue;
        set(&met->over, now_ns(CLOCK_MONOTONIC) > until);
        CHECK_EQ(process ? kill(getpid(), SIGUSR1) : pthread_kill(t, SIGUSR1), 0);
    }
    join(t);
    if (process)
        mask_signal(SIG_UNBLOCK, SIGUSR1);
}

TEST(a_signal_as_the_wait_begins)
{
    signal_as_it_begins(false);
    signal_as_it_begins(true);
}

static void wait_in_handler(int sig)
{
    (void)sig;
    set(&met->round, 1);
    wait_for_post();
}

static void *wait_on_signal_stack(void *arg)
{
    static char stack[1 << 17];
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
    CHECK_EQ(sigaltstack(&ss, NULL), 0);
    raise(SIGUSR2);
    return arg;
}

static ucontext_t outside, coroutine;

static void *wait_in_coroutine(void *arg)
{
    static char stack[1 << 17];
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = sizeof(stack);
    coroutine.uc_link = &outside;
    makecontext(&coroutine, (void (*)(void))wait_in_handler, 1, 0);
    CHECK_EQ(swapcontext(&outside, &coroutine), 0);
    return arg;
}

TEST(a_handler_while_it_waits_on_another_stack)
{
    struct sigaction sa = {.sa_handler = wait_in_handler, .sa_flags = SA_ONSTACK};
    void *(*const bodies[])(void *) = {wait_on_signal_stack, wait_in_coroutine};
    CHECK_EQ(sigaction(SIGUSR2, &sa, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        meet(SA_RESTART);
        pthread_t t = spawn(bodies[i], NULL);
        await_at_least(&met->round, 1);
        settle();
        CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
        join(t);
    }
    signal(SIGUSR2, SIG_DFL);
}
