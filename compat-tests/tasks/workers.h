/* workers.h - four CPU-bound workers, for exercises 3 to 5: who gets how much? */
#ifndef WORKERS_H
#define WORKERS_H

#include "task.h"

enum { WORKERS = 4, TRIES = 5 };

static struct worker {
    volatile unsigned long rounds;
    char pad[120];
} workers[WORKERS];

/* Starts BODY four times and says after MS milliseconds what each did.  With schedtrace=20. */
static inline void share(void *(*body)(void *), int ms)
{
    char name[16];
    double v[WORKERS], min = INFINITY, max = 0;
    unsigned long before[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        start(body, &workers[i]);
    usleep(100000); /* until all have begun */
    for (int i = 0; i < WORKERS; i++)
        before[i] = workers[i].rounds;
    usleep((useconds_t)ms * 1000);
    for (int i = 0; i < WORKERS; i++)
        v[i] = (double)(workers[i].rounds - before[i]);
    for (int i = 0; i < WORKERS; i++) {
        snprintf(name, sizeof name, "worker%d", i);
        say(name, v[i]);
        min = v[i] < min ? v[i] : min;
        max = v[i] > max ? v[i] : max;
    }
    say("ratio", max / min);
    say("least", min);
    say("preemptions", preemptions());
}

static inline void observe_share(void)
{
    OBSERVE(
        "%.3g %.3g %.3g %.3g rounds, max/min %.2f, %g preemptions, %g threads without P",
        get("worker0"), get("worker1"), get("worker2"), get("worker3"), get("ratio"),
        get("preemptions"), median_field("threadswithoutp="));
}

#endif
