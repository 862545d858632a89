/* 04 - the same with asyncpreemptoff=1, compiled with -fsplit-stack: a thread gives way at the
 * beginning of a function, but the loops call none, so nothing in them can be asked.
 *
 * In Go one worker then has the P for good.  Here sysmon takes the P from each, and the kernel
 * shares the CPUs: all go on, but each upon a kernel thread of its own.
 */
#include "workers.h"

static void *count(void *arg)
{
    struct worker *w = arg;
    for (;;)
        w->rounds++;
    return NULL;
}

static void child(const char *mode)
{
    (void)mode;
    share(count, 1000);
}

static void task(void)
{
    EXPECT("no preemption, yet every worker goes on; it costs a kernel thread each");
    CHECK(run("share", 1, "GSHIM_DEBUG=asyncpreemptoff=1,schedtrace=20", NULL) == 0);
    observe_share();
    CHECK(get("preemptions") <= 2); /* at the beginning of the workers themselves */
    CHECK(get("least") > 0);
    CHECK(median_field("threadswithoutp=") >= WORKERS - 1); /* one may have the P */
}
