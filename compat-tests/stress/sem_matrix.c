/* sem_matrix.c - lost or doubled semaphore posts, between every pair of threads.
 *
 * Round r of a batch pairs thread i with i ^ r, so that after N - 1 rounds everybody has
 * met everybody. Partners exchange a value through a box guarded by nothing but the
 * semaphores: each writes its box, posts to the partner, waits for the partner's post and
 * reads the partner's box. A lost post hangs; a doubled post lets somebody run ahead,
 * which shows as a wrong sequence number or as a semaphore that is not 0 after the
 * batch. */

#include "stress.h"

#define N 16
#define LAPS 20

static sem_t sem[N][N]; /* sem[i][j]: i posts, j waits */
static long box[N][N];  /* box[i][j]: written by i, read by j */
static pthread_barrier_t bar;
static _Atomic bool go_on;

static void meet(int i, int j, long seq, uint64_t *rng)
{
    box[i][j] = seq * N + i;
    OKSYS(sem_post(&sem[i][j]));
    if (stress_rand(rng) % 16 == 0)
        sched_yield();
    if (stress_rand(rng) & 1) {
        stress_sem_wait(&sem[j][i]);
    } else {
        while (sem_trywait(&sem[j][i]) == -1) {
            CHECK(errno == EAGAIN || errno == EINTR, "sem_trywait: errno %d", errno);
            sched_yield();
        }
    }
    CHECK(box[j][i] == seq * N + j, "%d read %ld from %d, expected %ld", i, box[j][i], j,
          seq * N + j);
    /* The partner may overwrite its box only when it knows that it was read. */
    OKSYS(sem_post(&sem[i][j]));
    stress_sem_wait(&sem[j][i]);
}

static void *worker(void *arg)
{
    int i = (int)(intptr_t)arg;
    uint64_t rng = stress_seed_for((uint64_t)i);
    long seq = 0;
    int rc;

    do {
        for (int lap = 0; lap < LAPS; lap++)
            for (int r = 1; r < N; r++)
                meet(i, i ^ r, ++seq, &rng);
        rc = pthread_barrier_wait(&bar);
        CHECK(rc == 0 || rc == PTHREAD_BARRIER_SERIAL_THREAD, "barrier: %d", rc);
        for (int j = 0; j < N; j++) {
            int value = -1;

            OKSYS(sem_getvalue(&sem[i][j], &value));
            CHECK(value == 0, "sem[%d][%d] is %d after a batch", i, j, value);
        }
        if (i == 0) {
            stress_progress++;
            go_on = stress_running();
        }
        pthread_barrier_wait(&bar);
    } while (go_on);
    return (void *)(intptr_t)seq;
}

int main(int argc, char **argv)
{
    pthread_t threads[N];
    void *seq, *first = NULL;

    stress_begin("sem_matrix", argc, argv);
    OK0(pthread_barrier_init(&bar, NULL, N));
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            OKSYS(sem_init(&sem[i][j], 0, 0));
    for (int i = 0; i < N; i++)
        stress_create(&threads[i], worker, (void *)(intptr_t)i);
    for (int i = 0; i < N; i++) {
        OK0(pthread_join(threads[i], &seq));
        first = i ? first : seq;
        CHECK(seq == first, "thread %d ran %ld rounds, thread 0 ran %ld", i,
              (long)(intptr_t)seq, (long)(intptr_t)first);
    }
    return stress_end("%ld rounds of %d threads", (long)(intptr_t)first, N);
}
