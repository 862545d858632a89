/* jobs.c - a pool of threads that work off jobs of some 20 us each, one mutex and two conditions:
 * some 50,000 jobs a second and CPU, each of which wakes a thread or two.
 *
 *   jobs NUMBER
 *
 * Prints its CPU time as a line "name value unit", as bench.c does. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WORKERS = 8, MOST = 4, ROUNDS = 10000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, room = PTHREAD_COND_INITIALIZER;
static int queued; /* under mutex */
static bool ended;

static uint64_t do_job(uint64_t x)
{
    for (int i = 0; i < ROUNDS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

static void *worker(void *arg)
{
    static volatile uint64_t sink __attribute__((unused)); /* or there would be no job */

    pthread_mutex_lock(&mutex);
    for (;;) {
        while (queued == 0 && !ended)
            pthread_cond_wait(&work, &mutex);
        if (queued == 0)
            break;
        queued--;
        pthread_cond_signal(&room);
        pthread_mutex_unlock(&mutex);
        sink = do_job(88172645463325252u);
        pthread_mutex_lock(&mutex);
    }
    pthread_mutex_unlock(&mutex);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[WORKERS];
    struct timespec ts;

    for (int i = 0; i < WORKERS; i++)
        if (pthread_create(&t[i], NULL, worker, NULL) != 0)
            return 1;
    for (long n = argc > 1 ? atol(argv[1]) : 0; n > 0; n--) {
        pthread_mutex_lock(&mutex);
        while (queued >= MOST)
            pthread_cond_wait(&room, &mutex);
        queued++;
        pthread_cond_signal(&work);
        pthread_mutex_unlock(&mutex);
    }
    pthread_mutex_lock(&mutex);
    ended = true;
    pthread_cond_broadcast(&work);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(t[i], NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    printf("jobs_cpu %.0f ns\n", (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec);
    return 0;
}
