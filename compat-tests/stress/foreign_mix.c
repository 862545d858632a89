/* foreign_mix.c - threads made behind the program's back use every object together with
 * ordinary ones.
 *
 * timer_create(SIGEV_THREAD) has its own helper in libc that starts a thread for each
 * expiry; no pthread_create of the program made it. Those threads lock, wait, signal,
 * post, join barriers and create ordinary threads. Every expiry's effect is counted in
 * exactly one way per object, and each foreign thread's wait is answered by an ordinary
 * thread and the other way round. */

#include "stress.h"

#define TIMERS 4
#define WORKERS 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t pair;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static sem_t ask, answer, posted;
static _Atomic long expiries, finished, once_runs, children, key_deaths, pair_serials;
static long counter, written, tokens, taken; /* under lock; written: under rwlock */
static _Atomic bool over;
static __thread long mark;

static void key_dead(void *value)
{
    (void)value;
    key_deaths++;
}

static void init_once(void)
{
    once_runs++;
}

static void *child(void *arg)
{
    children++;
    return arg;
}

/* Runs in a thread of libc's own making. */
static void expiry(union sigval v)
{
    struct timespec when = stress_after_ns(CLOCK_REALTIME, 100000);
    pthread_t t;

    if (over)
        return;
    expiries++;
    CHECK(mark == 0 || mark == v.sival_int + 1, "thread-local mark %ld", mark);
    mark = v.sival_int + 1;
    OK0(pthread_once(&once, init_once));
    OK0(pthread_setspecific(key, &mark));
    OK0(pthread_mutex_lock(&lock));
    counter++;
    tokens++;
    OK0(pthread_cond_broadcast(&cond));
    OK0(pthread_mutex_unlock(&lock));
    OK0(pthread_rwlock_wrlock(&rwlock));
    written++;
    OK0(pthread_rwlock_unlock(&rwlock));
    OKSYS(sem_post(&posted));
    /* Asked here, answered by an ordinary thread. */
    OKSYS(sem_post(&ask));
    stress_sem_wait(&answer);
    OK0(pthread_mutex_lock(&lock));
    pthread_cond_timedwait(&cond, &lock, &when);
    OK0(pthread_mutex_unlock(&lock));
    pair_serials += pthread_barrier_wait(&pair) == PTHREAD_BARRIER_SERIAL_THREAD;
    stress_create(&t, child, &mark);
    stress_join(t, &mark);
    CHECK(mark == v.sival_int + 1, "thread-local mark changed to %ld", mark);
    CHECK(pthread_getspecific(key) == &mark, "specific value changed");
    finished++;
    stress_progress++;
}

/* One question, answered; then one barrier with whichever foreign thread comes. */
static void *answerer(void *arg)
{
    for (;;) {
        stress_sem_wait(&ask);
        if (over && finished == expiries)
            break;
        OKSYS(sem_post(&answer));
        pair_serials += pthread_barrier_wait(&pair) == PTHREAD_BARRIER_SERIAL_THREAD;
    }
    OKSYS(sem_post(&ask));
    return arg;
}

static void *token_taker(void *arg)
{
    OK0(pthread_mutex_lock(&lock));
    for (;;) {
        while (!tokens && !over)
            OK0(pthread_cond_wait(&cond, &lock));
        if (!tokens)
            break;
        tokens--;
        taken++;
        OK0(pthread_mutex_unlock(&lock));
        OK0(pthread_rwlock_rdlock(&rwlock));
        CHECK(written >= 0, "written %ld", written);
        OK0(pthread_rwlock_unlock(&rwlock));
        OK0(pthread_mutex_lock(&lock));
    }
    OK0(pthread_mutex_unlock(&lock));
    return arg;
}

static void start_timers(timer_t *timers)
{
    for (int i = 0; i < TIMERS; i++) {
        struct sigevent ev = {.sigev_notify = SIGEV_THREAD,
                              .sigev_notify_function = expiry};
        struct itimerspec every = {.it_interval.tv_nsec = 700000 + 100000 * i,
                                   .it_value.tv_nsec = 100000};

        ev.sigev_value.sival_int = i;
        OKSYS(timer_create(CLOCK_MONOTONIC, &ev, &timers[i]));
        OKSYS(timer_settime(timers[i], 0, &every, NULL));
    }
}

int main(int argc, char **argv)
{
    timer_t timers[TIMERS];
    pthread_t a[WORKERS], k[WORKERS];
    int value;

    stress_begin("foreign_mix", argc, argv);
    OK0(pthread_key_create(&key, key_dead));
    OK0(pthread_barrier_init(&pair, NULL, 2));
    OKSYS(sem_init(&ask, 0, 0));
    OKSYS(sem_init(&answer, 0, 0));
    OKSYS(sem_init(&posted, 0, 0));
    for (long i = 0; i < WORKERS; i++) {
        stress_create(&a[i], answerer, (void *)i);
        stress_create(&k[i], token_taker, (void *)i);
    }
    start_timers(timers);
    while (stress_running())
        stress_sleep_ns(5000000);
    for (int i = 0; i < TIMERS; i++)
        OKSYS(timer_delete(timers[i]));
    /* Expiries may still be on their way; they come to an end, then nobody asks any
     * more. */
    do {
        value = (int)expiries;
        stress_sleep_ns(50000000);
    } while (finished != expiries || value != expiries);
    OK0(pthread_mutex_lock(&lock));
    over = true;
    OK0(pthread_cond_broadcast(&cond));
    OK0(pthread_mutex_unlock(&lock));
    OKSYS(sem_post(&ask));
    for (long i = 0; i < WORKERS; i++) {
        stress_join(a[i], (void *)i);
        stress_join(k[i], (void *)i);
    }
    OKSYS(sem_getvalue(&posted, &value));
    CHECK(expiries > 0, "no timer expired");
    CHECK(value == expiries && counter == expiries && written == expiries,
          "%ld expiries, %d posts, %ld and %ld counted", expiries, value, counter,
          written);
    CHECK(taken == expiries && children == expiries,
          "%ld expiries, %ld taken, %ld children", expiries, taken, children);
    CHECK(pair_serials == expiries && once_runs == 1, "%ld serials, %ld once runs",
          pair_serials, once_runs);
    while (key_deaths < expiries)
        sched_yield();
    return stress_end("%ld foreign threads", expiries);
}
