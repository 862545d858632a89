/* world.c - the calls of gshim.h that have to do with preemption.
 *
 *   stop      while the world is stopped no counter of any thread moves: tight loops, loops
 *             over malloc, over a mutex, over short sleeps and over yields; afterwards all move
 *   maxprocs  every thread gets on with 1, 4 and 2 at a time, also those that sleep
 *   off       between gshim_preempt_off and _on, and in a GSHIM_UNSAFE function, no other
 *             thread gets the only processor; without them it does (at GSHIM_MAXPROCS=1).  The
 *             former under preemptus=100 only, where two milliseconds see many requests: in 15
 *             a busy machine takes the CPU away for so long that the processor is handed on.
 *
 * Needs the library: natively it says so and ends. */

#include "compat-tests/stress/stress.h"
#include "shim/gshim.h"

enum { KINDS = 5, EACH = 2, THREADS = KINDS * EACH, STOPS = 30, TRIES = 30 };

static volatile unsigned long count[THREADS][16]; /* a cache line each */
static volatile bool enough;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void one_round(long id)
{
    switch (id % KINDS) {
    case 1:
        free(malloc(100));
        break;
    case 2:
        OK0(pthread_mutex_lock(&mutex));
        OK0(pthread_mutex_unlock(&mutex));
        break;
    case 3:
        stress_sleep_ns(100000);
        break;
    case 4:
        sched_yield();
        break;
    default:
        break;
    }
}

static void *worker(void *arg)
{
    long id = (long)arg;

    while (!enough) {
        one_round(id);
        count[id][0]++;
    }
    return arg;
}

static void snapshot(unsigned long *out)
{
    for (int i = 0; i < THREADS; i++)
        out[i] = count[i][0];
}

static void busy_ns(int64_t ns)
{
    int64_t end = stress_now_ns() + ns;

    while (stress_now_ns() < end)
        ;
}

static void all_move(const char *when)
{
    unsigned long before[THREADS], now[THREADS];
    int still = THREADS;

    stress_where = when;
    snapshot(before);
    while (still > 0) {
        stress_sleep_ns(1000000);
        snapshot(now);
        still = 0;
        for (int i = 0; i < THREADS; i++)
            still += now[i] == before[i];
    }
}

static void stop_and_look(int i)
{
    unsigned long before[THREADS], after[THREADS];

    gshim_stop_the_world("test");
    if (i % 3 == 0)
        gshim_stop_the_world("nested");
    snapshot(before);
    busy_ns(3000000);
    snapshot(after);
    if (i % 3 == 0)
        gshim_start_the_world();
    for (int k = 0; k < THREADS; k++)
        CHECK(before[k] == after[k], "thread %d ran on in a stopped world", k);
    gshim_start_the_world();
    stress_progress++;
}

/* ---- preemption off -------------------------------------------------------------------- */

/* Each returns whether another thread got on meanwhile; what was put off comes after that. */
static bool hold(int64_t ns)
{
    gshim_preempt_off("test");
    unsigned long before = count[0][0];
    busy_ns(ns);
    bool moved = count[0][0] != before;
    gshim_preempt_on();
    return moved;
}

static GSHIM_UNSAFE bool hold_unsafe(int64_t ns)
{
    unsigned long before = count[0][0];
    /* No clock: that is a call, and what is called is not covered. */
    for (volatile int64_t i = 0; i < ns; i++)
        ;
    return count[0][0] != before;
}

static bool hold_nothing(int64_t ns)
{
    unsigned long before = count[0][0];
    busy_ns(ns);
    return count[0][0] != before;
}

/* A busy machine may take the CPU away for longer than that, so more than one try. */
static bool ever(bool moved, bool (*fn)(int64_t), int64_t ns)
{
    for (int i = 0; i < TRIES; i++) {
        if (fn(ns) == moved)
            return true;
        sched_yield();
    }
    return false;
}

static void off_and_on(void)
{
    stress_where = "preemption off";
    gshim_set_maxprocs(1);
    const char *debug = getenv("GSHIM_DEBUG");
    if (debug != NULL && strstr(debug, "preemptus") != NULL) {
        CHECK(ever(false, hold, 2000000), "gshim_preempt_off did not keep others off");
        CHECK(ever(false, hold_unsafe, 1000000), "GSHIM_UNSAFE did not keep others off");
        CHECK(ever(true, hold_nothing, 2000000), "something kept others off");
    }
    CHECK(ever(true, hold_nothing, 40000000), "something kept others off");
    gshim_set_maxprocs(0);
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];
    static const unsigned procs[] = {1, 4, 2};

    stress_begin("world", argc, argv);
    if (!gshim_stop_the_world)
        return stress_end("needs the library");
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], worker, (void *)i);
    all_move("start");
    do {
        for (int i = 0; i < STOPS; i++) {
            stress_where = "stop";
            stop_and_look(i);
            if (i % 5 == 0)
                all_move("started");
        }
        for (size_t i = 0; i < sizeof(procs) / sizeof(procs[0]); i++) {
            gshim_set_maxprocs(procs[i]);
            CHECK(gshim_maxprocs() == procs[i], "maxprocs is %u", gshim_maxprocs());
            all_move("maxprocs");
        }
        gshim_set_maxprocs(0);
    } while (stress_running());
    off_and_on();
    enough = true;
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
    return stress_end("%lu stops", stress_progress);
}
