/* sigev.c - timer_create with SIGEV_THREAD: libc starts a kernel thread for each expiry,
 * behind the back of whoever replaces pthread_create. Those threads use mutexes,
 * conditions, malloc and threads of their own, and so meet the threads of the program.
 *
 *   sigev TIMERS EXPIRIES
 *
 * Each timer counts EXPIRIES runs and is then deleted; every tenth run creates and joins a
 * thread. Another mq_notify with SIGEV_THREAD runs once for each message. */

#define _GNU_SOURCE
#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long runs[64], made, finished;
static int expiries;
static sem_t notified;

static void *helper(void *arg)
{
    free(arg);
    pthread_mutex_lock(&lock);
    made++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void expired(union sigval v)
{
    pthread_mutex_lock(&lock);
    if (runs[v.sival_int] < expiries && ++runs[v.sival_int] % 10 == 0) {
        pthread_t t;

        pthread_mutex_unlock(&lock);
        if (pthread_create(&t, NULL, helper, malloc(100)) != 0)
            abort();
        pthread_join(t, NULL);
        pthread_mutex_lock(&lock);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void *timer_user(void *arg)
{
    long i = (long)arg;
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD,
                          .sigev_notify_function = expired,
                          .sigev_value.sival_int = (int)i};
    struct itimerspec when = {.it_interval.tv_nsec = 2000000,
                              .it_value.tv_nsec = 1000000};
    timer_t timer;

    if (timer_create(CLOCK_MONOTONIC, &ev, &timer) != 0 ||
        timer_settime(timer, 0, &when, NULL) != 0)
        abort();
    pthread_mutex_lock(&lock);
    while (runs[i] < expiries)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    timer_delete(timer);
    pthread_mutex_lock(&lock);
    finished++;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void message(union sigval v)
{
    (void)v;
    sem_post(&notified);
}

/* messages - N notifications of one queue; 0 or what went wrong. */
static int messages(int n)
{
    struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 8};
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = message};
    char name[64], text[8];
    mqd_t q;

    snprintf(name, sizeof(name), "/sigev-%d", (int)getpid());
    q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    if (q < 0)
        return 1;
    mq_unlink(name);
    for (int i = 0; i < n; i++) {
        if (mq_notify(q, &ev) != 0 || mq_send(q, "hello", 5, 0) != 0)
            return 2;
        sem_wait(&notified);
        if (mq_receive(q, text, sizeof(text), NULL) != 5)
            return 3;
    }
    return mq_close(q);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 8, bad;
    pthread_t t[64];

    expiries = argc > 2 ? atoi(argv[2]) : 50;
    if (n > 64)
        return 2;
    sem_init(&notified, 0, 0);
    for (long i = 0; i < n; i++)
        if (pthread_create(&t[i], NULL, timer_user, (void *)i) != 0)
            return 3;
    bad = messages(expiries);
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    pthread_mutex_lock(&lock);
    while (made < n * (expiries / 10))
        pthread_cond_wait(&changed, &lock);
    printf("%ld timers ran %d times each, %ld threads, messages %d\n", finished, expiries,
           made, bad);
    pthread_mutex_unlock(&lock);
    return bad;
}
