/* short_calls.c - threads that are hardly ever met in their own code do not keep the others waiting.
 *
 *   short_calls [SECONDS]
 *
 * Two threads make calls of some 0.4 ms each, one after the other, and a third one only wants its
 * turn now and then. Whenever somebody looks, the two are in a call, which is short, or in the
 * runtime: there nobody is to be interrupted, but they must give way between two calls. What the
 * third one waits is counted in CPU time of the process, so that it does not depend on what else the
 * machine does.
 *   read    of a file in memory
 *   signal  pthread_kill of a thread that blocks the signal */

#include "compat-tests/stress/stress.h"

#include <fcntl.h>
#include <signal.h>

enum { BYTES = 4 << 20 };

static const int64_t MOST_NS =
    250000000; /* CPU time: some ticks of each, on each processor */

static int file;

static int64_t cpu_ns(void)
{
    struct timespec ts;

    OKSYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts));
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void *reads(void *arg)
{
    char *buf = malloc(BYTES);

    while (stress_now_ns() < stress_deadline_ns)
        CHECK(pread(file, buf, BYTES, 0) == BYTES, "pread");
    free(buf);
    return arg;
}

static void *signals(void *arg)
{
    sigset_t usr1;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    OK0(pthread_sigmask(SIG_BLOCK, &usr1, NULL));
    while (stress_now_ns() < stress_deadline_ns)
        for (int i = 0; i < 100; i++)
            OK0(pthread_kill(pthread_self(), SIGUSR1));
    return arg;
}

static void *takes_turns(void *arg)
{
    int64_t *longest = arg;

    while (stress_now_ns() < stress_deadline_ns) {
        int64_t began = cpu_ns();
        sched_yield();
        int64_t waited = cpu_ns() - began;
        *longest = waited > *longest ? waited : *longest;
        stress_progress++;
    }
    return arg;
}

static void beside(const char *name, void *(*fn)(void *))
{
    pthread_t calls[2], turns;
    int64_t longest = 0;

    stress_phase(name, 0.5);
    for (intptr_t i = 0; i < 2; i++)
        stress_create(&calls[i], fn, (void *)i);
    stress_create(&turns, takes_turns, &longest);
    stress_join(turns, &longest);
    for (intptr_t i = 0; i < 2; i++)
        stress_join(calls[i], (void *)i);
    CHECK(longest < MOST_NS, "waited for %ld ms of CPU time", (long)(longest / 1000000));
}

int main(int argc, char **argv)
{
    char name[] = "/tmp/short_calls.XXXXXX";

    stress_begin("short_calls", argc, argv);
    OKSYS(file = mkostemp(name, O_CLOEXEC));
    OKSYS(unlink(name));
    OKSYS(ftruncate(file, BYTES));
    beside("read", reads);
    beside("signal", signals);
    OKSYS(close(file));
    return stress_end("who makes short calls gives way");
}
