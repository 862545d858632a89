/* robust.c - two processes share robust mutexes; the owner is killed with SIGKILL while it
 * holds them, from threads and from main, and the other has to be told.
 *
 *   robust LAPS
 *
 * In each lap a child locks LOCKS mutexes from as many threads, tells the parent through a
 * pipe and is killed. Threads of the parent wait for each mutex meanwhile: one gets
 * EOWNERDEAD, repairs the state and unlocks, the others lock it normally. */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOCKS = 8, WAITERS = 3 };

struct shared {
    pthread_mutex_t lock;
    int broken; /* under lock: the owner was killed in the middle */
    long used;
};

static struct shared *shared;
static int told[2];
static long dead, normal, wrong;

static void *hold(void *arg)
{
    struct shared *s = arg;

    if (pthread_mutex_lock(&s->lock) != 0)
        _exit(9);
    s->broken = 1;
    if (write(told[1], "x", 1) != 1)
        _exit(8);
    for (;;)
        pause();
}

static void *use(void *arg)
{
    struct shared *s = arg;
    int rc = pthread_mutex_lock(&s->lock);

    if (rc == EOWNERDEAD && s->broken) {
        s->broken = 0;
        pthread_mutex_consistent(&s->lock);
        __atomic_fetch_add(&dead, 1, __ATOMIC_RELAXED);
    } else if (rc == 0 && !s->broken) {
        __atomic_fetch_add(&normal, 1, __ATOMIC_RELAXED);
    } else {
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    s->used++;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void child(void)
{
    pthread_t t;

    for (int i = 1; i < LOCKS; i++)
        if (pthread_create(&t, NULL, hold, &shared[i]) != 0)
            _exit(7);
    hold(&shared[0]);
}

static int lap(void)
{
    pthread_t t[LOCKS * WAITERS];
    char byte;
    pid_t pid = fork();

    if (pid == 0)
        child();
    for (int i = 0; i < LOCKS; i++)
        if (read(told[0], &byte, 1) != 1)
            return 1;
    for (int i = 0; i < LOCKS * WAITERS; i++)
        if (pthread_create(&t[i], NULL, use, &shared[i % LOCKS]) != 0)
            return 2;
    usleep(1000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < LOCKS * WAITERS; i++)
        pthread_join(t[i], NULL);
    return 0;
}

int main(int argc, char **argv)
{
    int laps = argc > 1 ? atoi(argv[1]) : 20, rc = 0;
    pthread_mutexattr_t attr;

    shared = mmap(NULL, sizeof(*shared) * LOCKS, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || pipe(told) != 0)
        return 3;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&shared[i].lock, &attr);
    for (int i = 0; i < laps && rc == 0; i++)
        rc = lap();
    printf("%ld owners died, %ld locked normally, %ld wrong, rc %d\n", dead, normal,
           wrong, rc);
    return rc || wrong;
}
