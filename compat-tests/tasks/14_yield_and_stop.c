/* 14 - what does a yield cost, and what does it cost to stop everybody? */
#include "task.h"

enum { YIELDS = 200000, STOPS = 200, LOOPS = 2 };

static volatile int turn_errors;
static volatile long turns;
static volatile bool stop;

/* Two threads that yield to each other count turns; who counts twice in a row did not yield. */
static void *yielder(void *arg)
{
    long me = (long)(intptr_t)arg;
    static volatile long last = -1;
    for (int i = 0; i < YIELDS; i++) {
        turn_errors += last == me && !stop;
        last = me;
        turns++;
        gshim_yield();
    }
    stop = true; /* the other goes on alone */
    return arg;
}

static void *forever(void *arg)
{
    for (;;)
        __asm__ volatile("");
    return arg;
}

static void child(const char *mode)
{
    if (gshim_stop_the_world == NULL)
        die("not under libgshim");
    if (strcmp(mode, "yield") == 0) {
        int64_t begin = now_ns();
        pthread_t a = start(yielder, (void *)1), b = start(yielder, (void *)2);
        pthread_join(a, NULL);
        pthread_join(b, NULL);
        say("yield_ns", (double)(now_ns() - begin) / (2.0 * YIELDS));
        say("turns", (double)turns);
        say("errors", turn_errors);
        return;
    }
    static double us[STOPS];
    for (int i = 0; i < LOOPS; i++)
        start(forever, NULL);
    usleep(50000);
    for (int i = 0; i < STOPS; i++) {
        int64_t begin = now_ns();
        gshim_stop_the_world("exercise");
        gshim_start_the_world();
        us[i] = (double)(now_ns() - begin) / 1e3;
    }
    say("stop_us", quantile(us, STOPS, 0.5));
    _exit(0);
}

static void task(void)
{
    EXPECT(
        "a yield is a switch to the next thread, at every call, and costs well below a "
        "microsecond; stopping the world needs signals and costs many times as much");
    CHECK(run("yield", 1, NULL) == 0);
    double yield = get("yield_ns");
    OBSERVE("%.0f ns for a yield; %g turns, %g of them out of turn", yield, get("turns"),
            get("errors"));
    CHECK(get("turns") == 2.0 * YIELDS);
    CHECK(get("errors") <=
          YIELDS / 100); /* a preemption between the two lines looks so, too */
    CHECK(run("stop", 2, NULL) == 0);
    double stopping = get("stop_us");
    OBSERVE("%.1f us for stop and start with %d loops on 2 P", stopping, LOOPS);
    CHECK(stopping * 1000 > yield * 5);
    CHECK(yield < 1000);
}
