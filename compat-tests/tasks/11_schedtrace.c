/* 11 - schedtrace: one line every so often, with the fields of Go's. */
#include "task.h"

enum { EVERY_MS = 100, LINES = 10 };

static void *wait_for_nothing(void *arg)
{
    pause();
    return arg;
}

static void child(const char *mode)
{
    (void)mode;
    start(wait_for_nothing, NULL); /* the runtime starts with the first thread */
    usleep((LINES + 1) * EVERY_MS * 1000);
    say("done", 1);
    exit(0);
}

static void task(void)
{
    char setting[64];
    int n = 0, odd = 0;
    long ms, last = 0, shortest = 1000000;
    unsigned procs, idle, threads, spinning, idle_threads, without, queue, q0, q1;
    snprintf(setting, sizeof setting, "GSHIM_DEBUG=schedtrace=%d", EVERY_MS);
    EXPECT("about %d lines in %d ms, each with the counters of 2 Ps", LINES,
           (LINES + 1) * EVERY_MS);
    CHECK(run("trace", 2, setting, NULL) == 0);
    CHECK(get("done") == 1);
    for (char *line = strtok(output, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strncmp(line, "SCHED ", 6) != 0)
            continue;
        int got = sscanf(line,
                         "SCHED %ldms: gomaxprocs=%u idleprocs=%u threads=%u "
                         "spinningthreads=%u idlethreads=%u threadswithoutp=%u "
                         "runqueue=%u [%u %u]",
                         &ms, &procs, &idle, &threads, &spinning, &idle_threads, &without,
                         &queue, &q0, &q1);
        odd += got != 10 || procs != 2 || idle > 2 || threads < 2;
        if (n > 0 && ms - last < shortest)
            shortest = ms - last;
        last = ms;
        n++;
    }
    OBSERVE("%d lines, %d of them odd, none sooner than %ld ms after the one before", n,
            odd, shortest);
    CHECK(odd == 0);
    CHECK(n >= LINES / 2 && n <= LINES + 2);
    CHECK(shortest >= EVERY_MS / 10);
}
