/* 07 - how soon does a thread notice that it was cancelled? */
#include "task.h"

enum { ROUNDS = 40, TRIES = 5 };

static volatile int64_t noticed;
static volatile bool running;

static void note(void *arg)
{
    (void)arg;
    noticed = now_ns();
}

static void *poll_for_it(void *arg)
{
    pthread_cleanup_push(note, NULL);
    running = true;
    for (;;)
        pthread_testcancel();
    pthread_cleanup_pop(0);
    return arg;
}

static void *never_look(void *arg)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    pthread_cleanup_push(note, NULL);
    running = true;
    for (;;)
        __asm__ volatile("");
    pthread_cleanup_pop(0);
    return arg;
}

static void *blocked(void *arg)
{
    pthread_cleanup_push(note, NULL);
    running = true;
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return arg;
}

static void measure(const char *name, void *(*fn)(void *))
{
    double ms[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        void *ret;
        running = false;
        pthread_t t = start(fn, NULL);
        while (!running)
            sched_yield();
        usleep(100);
        int64_t asked = now_ns();
        pthread_cancel(t);
        pthread_join(t, &ret);
        if (ret != PTHREAD_CANCELED)
            die("not cancelled");
        ms[i] = (double)(noticed - asked) / 1e6;
    }
    say(name, quantile(ms, ROUNDS, 0.5));
}

static void child(const char *mode)
{
    (void)mode;
    measure("polling", poll_for_it);
    measure("asynchronous", never_look);
    measure("blocked", blocked);
}

static void task(void)
{
    double best = INFINITY;
    EXPECT(
        "less than 1 ms in the median: a loop that calls pthread_testcancel, one that never "
        "looks (asynchronous type), and a thread that is blocked in the kernel");
    for (int i = 0; i < TRIES && !(best < 1); i++) {
        CHECK(run("cancel", 2, NULL) == 0);
        double a = get("polling"), b = get("asynchronous"), c = get("blocked");
        OBSERVE("%.3f ms, %.3f ms, %.3f ms", a, b, c);
        best = fmax(a, fmax(b, c));
    }
    CHECK(best < 1);
}
