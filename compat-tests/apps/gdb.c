/* gdb.c - threads in every kind of wait, to be looked at by a debugger.
 *
 *   gdb READY-FILE
 *
 * Creates READY-FILE when all are there. Ends when the file is removed: it then checks that
 * what the threads did in between was right, however often a debugger stopped them. */

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t ping, pong;
static volatile int stop;
static unsigned long spun, sums;

void *wait_in_cond(void *arg)
{
    pthread_mutex_lock(&lock);
    while (!stop)
        pthread_cond_wait(&never, &lock);
    pthread_mutex_unlock(&lock);
    return arg;
}

void *wait_in_poll(void *arg)
{
    while (!stop)
        poll(NULL, 0, 20);
    return arg;
}

void *busy(void *arg)
{
    while (!stop)
        __atomic_fetch_add(&spun, 1, __ATOMIC_RELAXED);
    return arg;
}

void *play(void *arg)
{
    for (unsigned long i = 0; !stop; i++) {
        sem_post(&ping);
        sem_wait(&pong);
        sums += i & 1;
    }
    sem_post(&ping);
    return arg;
}

void *answer(void *arg)
{
    do {
        sem_wait(&ping);
        sem_post(&pong);
    } while (!stop);
    sem_post(&pong); /* the other may have played once more */
    return arg;
}

int main(int argc, char **argv)
{
    void *(*const run[])(void *) = {wait_in_cond, wait_in_cond, wait_in_poll,
                                    busy,         play,         answer};
    enum { N = sizeof(run) / sizeof(run[0]) };
    pthread_t t[N];

    if (argc < 2)
        return 2;
    sem_init(&ping, 0, 0);
    sem_init(&pong, 0, 0);
    for (long i = 0; i < N; i++)
        if (pthread_create(&t[i], NULL, run[i], (void *)i) != 0)
            return 3;
    usleep(50000);
    close(open(argv[1], O_CREAT | O_WRONLY, 0600));
    while (access(argv[1], F_OK) == 0)
        usleep(10000);
    pthread_mutex_lock(&lock);
    stop = 1;
    pthread_cond_broadcast(&never);
    pthread_mutex_unlock(&lock);
    for (long i = 0; i < N; i++) {
        void *r;

        if (pthread_join(t[i], &r) != 0 || r != (void *)i)
            return 4;
    }
    printf("all ended, %s\n", spun > 1000 && sums > 1000 ? "busy" : "IDLE");
    return 0;
}
