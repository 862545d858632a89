/* 15 - every preemption logged, and compared with what was counted and with the ticks. */
#include "task.h"

enum { RUN_MS = 1000, HOGS = 3, TICK_US = 10000, TRIES = 5 };

static volatile bool stop;

static void *spin(void *arg)
{
    while (!stop)
        __asm__ volatile("");
    return arg;
}

static void child(const char *mode)
{
    pthread_t t[HOGS];
    (void)mode;
    for (int i = 0; i < HOGS; i++) {
        t[i] = start(spin, NULL);
        pthread_setname_np(t[i], "spinner");
    }
    usleep(RUN_MS * 1000);
    stop = true;
    for (int i = 0; i < HOGS; i++)
        pthread_join(t[i], NULL);
    say("preemptions", preemptions());
}

static void task(void)
{
    int lines = 0, named = 0, full = 0;
    EXPECT(
        "as many lines as preemptions were counted, each with thread, place and time; most "
        "after a tick of %d ms",
        TICK_US / 1000);
    for (int i = 0; i < TRIES && full < RUN_MS * 1000 / TICK_US / 2; i++) {
        lines = named = full = 0;
        CHECK(run("log", 1, "GSHIM_DEBUG=preemptlog=1", NULL) == 0);
        double counted = get("preemptions");
        for (char *line = strtok(output, "\n"); line != NULL; line = strtok(NULL, "\n")) {
            const char *after = strstr(line, " after ");
            if (strncmp(line, "gshim: preempt: ", 16) != 0)
                continue;
            lines++;
            named +=
                strstr(line, "thread spinner ") != NULL && strstr(line, " at ") != NULL;
            full += after != NULL && strtol(after + 7, NULL, 10) >= TICK_US * 9 / 10;
        }
        OBSERVE(
            "%g counted, %d lines, %d of the loops, %d after a tick or more, in %d ms",
            counted, lines, named, full, RUN_MS);
        CHECK(lines == counted);
        CHECK(named >= lines - 2); /* main may be hit while it waits for its turn */
        CHECK(lines <= RUN_MS * 1000 / TICK_US * 2);
    }
    CHECK(full >= RUN_MS * 1000 / TICK_US / 2);
}
