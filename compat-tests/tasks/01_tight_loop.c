/* 01 - for (;;) on the only P.
 *
 * In Go the program hangs with asyncpreemptoff=1.  Here it does not: sysmon takes the P from a
 * thread that does not give it up (hand-off), which costs a kernel thread.
 */
#include "task.h"

static void *forever(void *arg)
{
    for (;;)
        __asm__ volatile("");
    return arg;
}

static void child(const char *mode)
{
    (void)mode;
    int64_t begin = now_ns();
    start(forever, NULL);
    start(forever, NULL);
    usleep(1); /* to the loops, from which only preemption comes back */
    say("back_ms", (double)(now_ns() - begin) / 1e6);
    usleep(300000);
    say("preemptions", preemptions());
    say("kernel_threads", kernel_threads());
}

static void task(void)
{
    EXPECT("main gets its turn among tight loops on 1 P: they are preempted");
    CHECK(run("loop", 1, NULL) == 0);
    OBSERVE("back after %.1f ms, %g preemptions, %g kernel threads", get("back_ms"),
            get("preemptions"), get("kernel_threads"));
    CHECK(get("preemptions") >= 10);

    EXPECT(
        "with asyncpreemptoff=1: no preemption; the P is taken instead, and the loops go on "
        "upon kernel threads of their own");
    CHECK(run("loop", 1, "GSHIM_DEBUG=asyncpreemptoff=1", NULL) == 0);
    OBSERVE("back after %.1f ms, %g preemptions, %g kernel threads", get("back_ms"),
            get("preemptions"), get("kernel_threads"));
    CHECK(get("preemptions") == 0);
    CHECK(get("kernel_threads") >= 4); /* main's, sysmon, and one for each loop */
}
