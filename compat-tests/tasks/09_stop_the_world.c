/* 09 - stop the world against a tight loop, with asynchronous preemption and without.
 *
 * In Go, without it, the stop never ends.  Here the loop is asked at every look and cannot follow:
 * the stop lasts until the loop comes to a preemption point by itself.
 */
#include "task.h"

enum { LOOPS = 3, STOPS = 50, LONG_MS = 500, TRIES = 5 };

static volatile unsigned long counts[LOOPS];
static volatile bool stopping;

static void *forever(void *arg)
{
    volatile unsigned long *mine = arg;
    for (;;)
        ++*mine;
    return NULL;
}

/* A loop without a preemption point, then one that has them. */
static void *long_loop(void *arg)
{
    int64_t end = 0;
    for (;;) {
        ++counts[0];
        if (!stopping)
            continue;
        if (end == 0)
            end = now_ns() + LONG_MS * (int64_t)1000000;
        if (now_ns() > end)
            gshim_yield();
    }
    return arg;
}

static bool stands_still(void)
{
    unsigned long before[LOOPS];
    int64_t end = now_ns() + 2000000;
    for (int i = 0; i < LOOPS; i++)
        before[i] = counts[i];
    while (now_ns() < end)
        ;
    for (int i = 0; i < LOOPS; i++)
        if (counts[i] != before[i])
            return false;
    return true;
}

static void stop_often(void)
{
    double us[STOPS];
    int moved = 0;
    for (int i = 0; i < LOOPS; i++)
        start(forever, (void *)&counts[i]);
    for (int i = 0; i < LOOPS; i++)
        while (counts[i] == 0)
            usleep(1000);
    for (int i = 0; i < STOPS; i++) {
        int64_t begin = now_ns();
        gshim_stop_the_world("exercise");
        us[i] = (double)(now_ns() - begin) / 1e3;
        moved += !stands_still();
        gshim_start_the_world();
        usleep(1000);
    }
    unsigned long before = counts[0] + counts[1] + counts[2];
    usleep(100000);
    say("goes_on", (double)(counts[0] + counts[1] + counts[2] - before));
    say("moved", moved);
    say("p50_us", quantile(us, STOPS, 0.5));
    say("max_us", quantile(us, STOPS, 1));
}

static void stop_once(void)
{
    start(long_loop, NULL);
    while (counts[0] == 0)
        usleep(1000);
    int64_t begin = now_ns();
    stopping = true;
    gshim_stop_the_world("exercise");
    say("stop_ms", (double)(now_ns() - begin) / 1e6);
    say("moved", !stands_still());
    gshim_start_the_world();
    unsigned long before = counts[0];
    usleep(100000);
    say("goes_on", (double)(counts[0] - before));
}

static void child(const char *mode)
{
    if (gshim_stop_the_world == NULL)
        die("not under libgshim");
    if (strcmp(mode, "on") == 0)
        stop_often();
    else
        stop_once();
    _exit(0);
}

static void task(void)
{
    double best = INFINITY;
    EXPECT("on: %d loops on 2 P stop within a tick, none moves while stopped, all go on",
           LOOPS);
    for (int i = 0; i < TRIES && !(best < 10000); i++) {
        CHECK(run("on", 2, NULL) == 0);
        OBSERVE("stopped after %.0f us (median), %.0f us (worst); %g of %d moved",
                get("p50_us"), get("max_us"), get("moved"), STOPS);
        CHECK(get("moved") == 0);
        CHECK(get("goes_on") > 0);
        best = get("p50_us");
    }
    CHECK(best < 10000);
    EXPECT("off: the stop waits for the loop to come by itself, after %d ms", LONG_MS);
    CHECK(run("off", 2, "GSHIM_DEBUG=asyncpreemptoff=1", NULL) == 0);
    OBSERVE("stopped after %.0f ms", get("stop_ms"));
    CHECK(get("stop_ms") >= LONG_MS * 0.9);
    CHECK(get("moved") == 0);
    CHECK(get("goes_on") > 0);
}
