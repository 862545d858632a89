/* once_race.c - many threads reach many pthread_once controls at the same moment.
 *
 * A round has a fresh set of controls; all threads go through them in the same order,
 * each init routine runs exactly once, and its plain writes are seen by everybody whose
 * pthread_once has returned. Some init routines yield, sleep, take a lock, or call
 * pthread_once on another control. */

#include "stress.h"

#define THREADS 12
#define CONTROLS 64

static struct control {
    pthread_once_t once;
    _Atomic int runs;
    long value; /* written by the init routine, ordered by pthread_once */
} controls[CONTROLS];

static pthread_once_t inner;
static _Atomic int inner_runs;
static long inner_value;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t bar;
static _Atomic bool go_on;
static long round_no; /* written by thread 0 between the barriers */
static __thread int current;

static void init_inner(void)
{
    sched_yield();
    inner_runs++;
    inner_value = round_no;
}

static void init(void)
{
    struct control *c = &controls[current];

    CHECK(atomic_fetch_add(&c->runs, 1) == 0, "control %d initialised twice", current);
    switch (current % 5) {
    case 0:
        sched_yield();
        break;
    case 1:
        stress_sleep_ns(20000);
        break;
    case 2:
        OK0(pthread_mutex_lock(&lock));
        OK0(pthread_mutex_unlock(&lock));
        break;
    case 3:
        OK0(pthread_once(&inner, init_inner));
        CHECK(inner_value == round_no, "inner value %ld", inner_value);
        break;
    default:
        break;
    }
    c->value = round_no * 1000 + current;
}

static void reset(void)
{
    static const pthread_once_t fresh = PTHREAD_ONCE_INIT;

    round_no++;
    inner = fresh;
    inner_runs = 0;
    for (int i = 0; i < CONTROLS; i++) {
        controls[i].once = fresh;
        controls[i].runs = 0;
    }
    go_on = stress_running();
    stress_progress++;
}

static void *worker(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    for (;;) {
        if (arg == NULL)
            reset();
        pthread_barrier_wait(&bar);
        for (current = 0; current < CONTROLS; current++) {
            int mine = current;

            if (stress_rand(&rng) % 16 == 0)
                sched_yield();
            OK0(pthread_once(&controls[mine].once, init));
            CHECK(current == mine, "thread-local index changed to %d", current);
            CHECK(controls[mine].value == round_no * 1000 + mine, "value %ld of %d",
                  controls[mine].value, mine);
        }
        CHECK(inner_runs == 1, "inner control ran %d times", inner_runs);
        if (!go_on)
            return arg;
        pthread_barrier_wait(&bar);
    }
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];

    stress_begin("once_race", argc, argv);
    OK0(pthread_barrier_init(&bar, NULL, THREADS));
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], worker, (void *)i);
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
    return stress_end("%ld rounds of %d controls", round_no, CONTROLS);
}
