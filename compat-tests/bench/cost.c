/* cost.c - how long a busy thread is kept from its work by a preemption, and by a signal that
 * does nothing.
 *
 * Run it with GSHIM_MAXPROCS=1 and GSHIM_DEBUG=preemptus=50.  A loop reads the time stamp
 * counter all the time; what counts is the gap between the last reading before and the first
 * after the interruption.
 *
 *   signal_empty    a handler that does nothing, for a signal that another process sends
 *                   every 50 us; before the first thread, so the library is not at work yet
 *   preempt_switch  two loops on one P: from the last reading of one to the first of the
 *                   other; signal, decision, registers, queue, switch, registers
 *   preempt_over    the difference
 *
 * Medians over all interruptions, as lines "name value unit" like bench.c's: so the few that hit
 * while another process had the CPU do not count.  Rejected: the work that is lost, from CPU
 * time and the loop's rate; on a shared machine that varies by more than a signal costs. */

#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 20000, FEWEST = 200 };
static const int64_t RUN_NS = 1000000000, PERIOD_NS = 50000;

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* A call into the vDSO would not do: there a thread is not interrupted. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t v;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
#else
    return (uint64_t)now_ns();
#endif
}

static void sleep_ns(int64_t ns)
{
    struct timespec ts = {ns / 1000000000, ns % 1000000000};

    nanosleep(&ts, NULL);
}

static uint64_t gaps[MOST];
static volatile int ngaps;

static void note(uint64_t gap)
{
    if (ngaps < MOST)
        gaps[ngaps++] = gap;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static double ns_per_tick;

/* Of what was noted; negative: too little was. */
static double median_ns(void)
{
    int n = ngaps;

    ngaps = 0;
    if (n < FEWEST)
        return -1;
    qsort(gaps, (size_t)n, sizeof(gaps[0]), by_value);
    return (double)gaps[n / 2] * ns_per_tick;
}

/* --- an empty signal ---------------------------------------------------------------------- */

static volatile uint64_t arrived;

static void on_signal(int sig)
{
    (void)sig;
    arrived++;
}

static pid_t start_sender(volatile bool *over)
{
    pid_t parent = getpid(), pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_TIMERSLACK, 1);
    for (int64_t end = now_ns() + RUN_NS; now_ns() < end;) {
        sleep_ns(PERIOD_NS);
        kill(parent, SIGUSR1);
    }
    *over = true;
    _exit(0);
}

static double empty_signal(void)
{
    volatile bool *over = mmap(NULL, sizeof(*over), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t seen = 0;

    if (over == MAP_FAILED || signal(SIGUSR1, on_signal) == SIG_ERR)
        return -1;
    pid_t pid = start_sender(over);
    int64_t begin_ns = now_ns();
    uint64_t begin = ticks(), last = begin;
    while (!*over) {
        if (arrived != seen) {
            seen = arrived;
            note(ticks() - last);
        }
        last = ticks();
    }
    ns_per_tick = (double)(now_ns() - begin_ns) / (double)(ticks() - begin);
    waitpid(pid, NULL, 0);
    return median_ns();
}

/* --- a preemption -------------------------------------------------------------------------- */

/* When it was left last, and by whom: one word, so that none of it can be of another time. */
static volatile bool enough;
static uint64_t last_sign;

static void *hog(void *arg)
{
    uint64_t me = (uint64_t)(uintptr_t)arg;

    while (!enough) {
        uint64_t t = ticks() << 1;
        uint64_t last = __atomic_exchange_n(&last_sign, t | me, __ATOMIC_RELAXED);
        if (last != 0 && (last & 1) != me) /* perhaps since T was read */
            note(ticks() - (last >> 1));
    }
    return NULL;
}

static double preemption(void)
{
    pthread_t t[2];

    for (intptr_t i = 0; i < 2; i++)
        if (pthread_create(&t[i], NULL, hog, (void *)i) != 0)
            return -1;
    sleep_ns(RUN_NS);
    enough = true;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    return median_ns();
}

int main(void)
{
    alarm(60);
    double empty = empty_signal(), full = preemption();
    if (empty < 0 || full < 0) {
        fputs("cost: too few interruptions; run it with GSHIM_DEBUG=preemptus=50\n",
              stderr);
        return 1;
    }
    printf("signal_empty %.0f ns\n", empty);
    printf("preempt_switch %.0f ns\n", full);
    printf("preempt_over %.0f ns\n", full - empty);
    return 0;
}
