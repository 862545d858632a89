/* spin.c - threads that spin for each other get short turns, so that a hand-over among them costs
 * little where there are fewer processors than threads.
 *
 *   spin [SECONDS]
 *
 * A token goes round among THREADS threads, each of which polls a word until it is its own. It
 * is given on LAPS times, and whoever waits burns CPU time, so that is counted, which does not
 * depend on what else the machine does: turns of 10 ms would cost at least 10 ms for each
 * hand-over, most of the time several of them.
 *   pause   the loop has the CPU's hint to wait in it
 *   calls   it has not, but each thread writes to /dev/null when it has the token */

#include "compat-tests/stress/stress.h"

#include <fcntl.h>
#include <sys/resource.h>

enum { THREADS = 4, LAPS = 200 };

static const int64_t MOST_NS = 5000000; /* for each hand-over, whatever the number of P */

static volatile int token;
static int null_fd;

static int64_t cpu_ns(void)
{
    struct timespec ts;

    OKSYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts));
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void wait_with_pause(int turn)
{
    while (token < turn)
        __builtin_ia32_pause();
}

static void wait_without(int turn)
{
    while (token < turn)
        ;
}

static void *with_pause(void *arg)
{
    for (int turn = (int)(intptr_t)arg; turn < LAPS; turn += THREADS) {
        wait_with_pause(turn);
        token = turn + 1;
    }
    return arg;
}

static void *with_calls(void *arg)
{
    for (int turn = (int)(intptr_t)arg; turn < LAPS; turn += THREADS) {
        wait_without(turn);
        OKSYS(write(null_fd, "", 1));
        token = turn + 1;
    }
    return arg;
}

static void go_round(const char *name, void *(*fn)(void *))
{
    pthread_t t[THREADS];
    int64_t begin = cpu_ns();

    stress_where = name;
    token = 0;
    for (intptr_t i = 0; i < THREADS; i++)
        stress_create(&t[i], fn, (void *)i);
    for (intptr_t i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
    int64_t each = (cpu_ns() - begin) / LAPS;
    CHECK(each < MOST_NS, "%ld us of CPU time for each hand-over", (long)(each / 1000));
}

int main(int argc, char **argv)
{
    stress_begin("spin", argc, argv);
    null_fd = open("/dev/null", O_WRONLY);
    OKSYS(null_fd);
    go_round("pause", with_pause);
    go_round("calls", with_calls);
    return stress_end("spinners have short turns");
}
