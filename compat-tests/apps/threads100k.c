/* threads100k.c - N threads that all live at the same time (default 100,000).
 *
 * Every thread counts itself in, waits on one condition variable, or, every second one,
 * on a semaphore; main counts them, wakes all and joins all, and verifies the sum of what
 * they return. Exit 0 when all N lived at once, 1 when something was wrong, 3 when
 * pthread_create refused before: then the number that lived and the error are printed,
 * and those are woken, joined and verified all the same. */

#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static pthread_cond_t leave = PTHREAD_COND_INITIALIZER;
static long waiting; /* under lock */
static bool open;    /* under lock */
static sem_t gate;

static void *wait_here(void *arg)
{
    intptr_t id = (intptr_t)arg;

    pthread_mutex_lock(&lock);
    waiting++;
    pthread_cond_signal(&arrived);
    while (id % 2 == 0 && !open)
        pthread_cond_wait(&leave, &lock);
    pthread_mutex_unlock(&lock);
    while (id % 2 && sem_wait(&gate))
        ;
    return (void *)(id * 3);
}

static int create(pthread_t *thread, long n, long *made)
{
    pthread_attr_t attr;
    int rc = 0;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 * 1024);
    for (*made = 0; *made < n; ++*made) {
        rc = pthread_create(&thread[*made], &attr, wait_here, (void *)(intptr_t)*made);
        if (rc)
            break;
    }
    pthread_attr_destroy(&attr);
    return rc;
}

static void release(long made)
{
    pthread_mutex_lock(&lock);
    open = true;
    pthread_cond_broadcast(&leave);
    pthread_mutex_unlock(&lock);
    for (long i = 0; i < made / 2; i++)
        sem_post(&gate);
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 100000, made, alive, want, sum = 0;
    pthread_t *thread = calloc((size_t)n, sizeof(*thread));
    int refused;

    if (!thread || sem_init(&gate, 0, 0))
        return 1;
    refused = create(thread, n, &made);
    pthread_mutex_lock(&lock);
    while (waiting < made)
        pthread_cond_wait(&arrived, &lock);
    alive = waiting;
    pthread_mutex_unlock(&lock);
    release(made);
    for (long i = 0; i < made; i++) {
        void *result = NULL;

        if (pthread_join(thread[i], &result))
            return 1;
        sum += (intptr_t)result;
    }
    want = made * (made - 1) / 2 * 3;
    if (refused)
        printf("%ld threads alive, then pthread_create: %s\n", alive, strerror(refused));
    else
        printf("%ld threads alive at once\n", alive);
    if (sum != want || alive != made) {
        printf("WRONG: sum %ld instead of %ld, %ld of %ld alive\n", sum, want, alive,
               made);
        return 1;
    }
    printf("all woken and joined, sum ok\n");
    return refused ? 3 : 0;
}
