/* barrier_marathon.c - many rounds through barriers of several sizes.
 *
 * Each round: write my slot, wait, read all slots (plain memory: only the barrier orders
 * it), wait again. Exactly one thread a round may get PTHREAD_BARRIER_SERIAL_THREAD. A
 * thread released too early reads an old slot; one never released hangs. */

#include "stress.h"

#define MAX_THREADS 64
#define BATCH 50

static pthread_barrier_t bar;
static long slot[MAX_THREADS];
static _Atomic int serials;
static _Atomic bool go_on;
static int n_threads;

static bool wait_bar(void)
{
    int rc = pthread_barrier_wait(&bar);

    CHECK(rc == 0 || rc == PTHREAD_BARRIER_SERIAL_THREAD, "barrier_wait: %d", rc);
    return rc != 0;
}

static void one_round(int id, long round)
{
    slot[id] = round;
    if (wait_bar())
        CHECK(atomic_fetch_add(&serials, 1) == 0, "two serial threads in round %ld",
              round);
    for (int i = 0; i < n_threads; i++)
        CHECK(slot[i] == round, "%d sees round %ld of %d in round %ld", id, slot[i], i,
              round);
    if (wait_bar())
        CHECK(atomic_exchange(&serials, 0) == 1, "no serial thread in round %ld", round);
    wait_bar();
}

static void *worker(void *arg)
{
    int id = (int)(intptr_t)arg;
    long round = 0;

    do {
        for (int i = 0; i < BATCH; i++)
            one_round(id, ++round);
        if (id == 0) {
            go_on = stress_running();
            stress_progress += BATCH;
        }
        wait_bar();
    } while (go_on);
    return (void *)(intptr_t)round;
}

static void run(const char *name, int threads)
{
    pthread_t t[MAX_THREADS];
    void *rounds = NULL;

    stress_phase(name, 0.25);
    n_threads = threads;
    memset(slot, 0, sizeof(slot));
    OK0(pthread_barrier_init(&bar, NULL, (unsigned)threads));
    for (int i = 0; i < threads; i++)
        stress_create(&t[i], worker, (void *)(intptr_t)i);
    OK0(pthread_join(t[0], &rounds));
    for (int i = 1; i < threads; i++)
        stress_join(t[i], rounds);
    OK0(pthread_barrier_destroy(&bar));
}

int main(int argc, char **argv)
{
    stress_begin("barrier_marathon", argc, argv);
    run("1 thread", 1);
    run("2 threads", 2);
    run("7 threads", 7);
    run("64 threads", 64);
    return stress_end("%lu rounds", stress_progress);
}
