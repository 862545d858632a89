/* 03 - four CPU-bound workers on one P share it fairly. */
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
    double best = INFINITY;
    EXPECT("each gets a quarter of the only P: max/min at most 1.5, by preemption");
    for (int i = 0; i < TRIES && !(best <= 1.5); i++) {
        CHECK(run("share", 1, "GSHIM_DEBUG=schedtrace=20", NULL) == 0);
        observe_share();
        CHECK(get("preemptions") >= 20);
        CHECK(get("least") > 0);
        if (get("ratio") < best)
            best = get("ratio");
    }
    CHECK(best <= 1.5);
}
