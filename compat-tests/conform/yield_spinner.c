/* yield_spinner.c - who spins with sched_yield for what another thread does leaves that the
 * CPU (sched_yield(2)), also when the other one runs on a kernel thread of its own that shares
 * the CPU. */
#include "conform.h"

static int done;
static volatile unsigned sink;

/* A fixed amount. */
static void *work(void *arg)
{
    unsigned x = 1;
    for (int i = 0; i < 60000000; i++)
        x = x * 1664525 + 1013904223;
    sink = x;
    set(&done, 1);
    return arg;
}

static void *spin(void *arg)
{
    while (!get(&done))
        sched_yield();
    return arg;
}

/* CPU time of the process for the work with N that wait for it. */
static int64_t cost(size_t n)
{
    pthread_t t[4], worker;
    int64_t start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    set(&done, 0);
    worker = spawn(work, NULL);
    for (size_t i = 0; i < n; i++)
        t[i] = spawn(spin, NULL);
    join(worker);
    for (size_t i = 0; i < n; i++)
        join(t[i]);
    return now_ns(CLOCK_PROCESS_CPUTIME_ID) - start;
}

/* On one CPU, so that the worker and those that wait for it are in each other's way. */
TEST(spinners_leave_the_worker_the_cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
    int64_t alone = cost(0);
    for (size_t n = 1; n <= 4; n += 3) {
        int64_t spun = cost(n);
        CHECK(spun < alone + alone / 2);
    }
}
