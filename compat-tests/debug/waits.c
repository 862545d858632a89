/* waits.c - threads that wait in every way there is, for dumps, debugger and deadlock report.
 *
 *   waits all        one thread per kind of wait, named after it, each inside a function in_KIND
 *   waits deadlock   two threads hold one lock each and want the other's; main joins them
 *   waits sleep | read | timed | alarm | foreign | spin
 *                    a thread waits for a lock, and something may yet end that: its holder
 *                    sleeps, reads a pipe, waits with a timeout, a timer of the kernel is armed,
 *                    a thread that libgshim never saw exists, the holder runs
 *   waits hogs       four threads that run and one that waits for a lock
 *   waits dump       all, and main calls gshim_dump_threads(1)
 *
 * Prints "ready" when every thread has been started, and ends when stdin does.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "shim/gshim.h"

#define APART __attribute__((noinline, noclone))
/* After the wait, so that the call is no tail call and the function stays on the stack. */
#define STAY() __asm__ volatile("" : : : "memory")

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t other = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t cond_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t sem;
static uint32_t futex_word;
static int pipe_fds[2];
static pthread_t sleeper;

static APART void *in_mutex(void *arg)
{
    pthread_mutex_lock(&held);
    STAY();
    return arg;
}

static APART void *in_condition(void *arg)
{
    pthread_mutex_lock(&cond_lock);
    for (;;)
        pthread_cond_wait(&never, &cond_lock);
    return arg;
}

static APART void *in_rwlock(void *arg)
{
    pthread_rwlock_rdlock(&rwlock);
    STAY();
    return arg;
}

static APART void *in_semaphore(void *arg)
{
    while (sem_wait(&sem) != 0)
        STAY();
    return arg;
}

static APART void *in_barrier(void *arg)
{
    pthread_barrier_wait(&barrier);
    STAY();
    return arg;
}

static APART void *in_futex(void *arg)
{
    for (;;)
        syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return arg;
}

static APART void *in_join(void *arg)
{
    pthread_join(sleeper, NULL);
    STAY();
    return arg;
}

static APART void *in_sleep(void *arg)
{
    for (;;)
        sleep(1000);
    return arg;
}

static APART void *in_read(void *arg)
{
    char c;
    while (read(pipe_fds[0], &c, 1) != 0)
        STAY();
    return arg;
}

static APART void *in_timed(void *arg)
{
    for (;;) {
        struct timespec ts;
        clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_sec += 1000;
        sem_timedwait(&sem, &ts);
    }
    return arg;
}

static volatile unsigned long spins;

static APART void *in_spin(void *arg)
{
    for (;;)
        spins++;
    return arg;
}

static pthread_t start(const char *name, void *(*fn)(void *))
{
    pthread_t t;
    int err = pthread_create(&t, NULL, fn, NULL);
    if (err != 0) {
        fprintf(stderr, "pthread_create: %s\n", strerror(err));
        exit(1);
    }
    pthread_setname_np(t, name);
    return t;
}

static void start_all(void)
{
    pthread_mutex_lock(&held);
    pthread_rwlock_wrlock(&rwlock);
    sleeper = start("sleep", in_sleep);
    start("mutex", in_mutex);
    start("condition", in_condition);
    start("rwlock", in_rwlock);
    start("semaphore", in_semaphore);
    start("barrier", in_barrier);
    start("futex", in_futex);
    start("join", in_join);
    start("read", in_read);
}

static void start_hogs(void)
{
    pthread_mutex_lock(&held);
    for (int i = 0; i < 4; i++)
        start("spin", in_spin);
    start("mutex", in_mutex);
}

/* --- deadlocks, true and false ------------------------------------------------------------ */

static pthread_barrier_t both_hold;

static APART void *in_embrace(void *arg)
{
    pthread_mutex_t *mine = arg != NULL ? &held : &other;
    pthread_mutex_t *yours = arg != NULL ? &other : &held;
    pthread_mutex_lock(mine);
    pthread_barrier_wait(&both_hold);
    pthread_mutex_lock(yours);
    STAY();
    return arg;
}

static void deadlock(void)
{
    pthread_t t[2];
    pthread_barrier_init(&both_hold, NULL, 2);
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, in_embrace, (void *)i);
    pthread_join(t[0], NULL);
}

static void on_timer(union sigval v)
{
    (void)v;
}

static void maybe(const char *kind)
{
    struct itimerval it = {.it_value = {.tv_sec = 1000}};
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD,
                          .sigev_notify_function = on_timer};
    timer_t timer;
    pthread_mutex_lock(&held);
    if (strcmp(kind, "sleep") == 0)
        start(kind, in_sleep);
    else if (strcmp(kind, "read") == 0)
        start(kind, in_read);
    else if (strcmp(kind, "timed") == 0)
        start(kind, in_timed);
    else if (strcmp(kind, "spin") == 0)
        start(kind, in_spin);
    else if (strcmp(kind, "alarm") == 0)
        setitimer(ITIMER_REAL, &it, NULL);
    else if (strcmp(kind, "foreign") == 0)
        timer_create(CLOCK_MONOTONIC, &ev, &timer);
    pthread_join(start("mutex", in_mutex), NULL);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "all";
    char c;
    pthread_barrier_init(&barrier, NULL, 2);
    sem_init(&sem, 0, 0);
    if (pipe(pipe_fds) != 0)
        return 1;
    if (strcmp(mode, "deadlock") == 0)
        deadlock();
    else if (strcmp(mode, "hogs") == 0)
        start_hogs();
    else if (strcmp(mode, "all") != 0 && strcmp(mode, "dump") != 0)
        maybe(mode);
    if (strcmp(mode, "hogs") != 0)
        start_all();
    if (strcmp(mode, "dump") == 0) {
        usleep(200000);
        if (gshim_dump_threads)
            gshim_dump_threads(1);
        return 0;
    }
    puts("ready");
    fflush(stdout);
    while (read(0, &c, 1) > 0)
        STAY();
    return 0;
}
