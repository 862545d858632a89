/* 06 - an execution trace shows two loops take turns on one P, about every 10 ms. */
#include "task.h"

enum { RUN_MS = 1500, TRIES = 5, MAX = 4096 };

static void *forever(void *arg)
{
    for (;;)
        __asm__ volatile("");
    return arg;
}

static void child(const char *mode)
{
    (void)mode;
    start(forever, NULL);
    start(forever, NULL);
    usleep(RUN_MS * 1000);
    say("preemptions", preemptions());
    exit(0);
}

/* Lengths in ms of the slices on P 0 that ended by preemption; how often the verdict was yes. */
static int read_slices(const char *path, double *ms, int *verdicts)
{
    static char line[4096];
    FILE *f = fopen(path, "r");
    int n = 0;
    if (f == NULL)
        die(path);
    *verdicts = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        const char *dur = strstr(line, "\"dur\":");
        if (strncmp(line, "{\"ph\":\"X\",\"pid\":1,\"tid\":0,", 26) == 0 && dur != NULL &&
            strstr(line, "\"end\":\"preempted\"") != NULL && n < MAX)
            ms[n++] = strtod(dur + 6, NULL) / 1000;
        *verdicts += strstr(line, "\"verdict\":\"yes\"") != NULL;
    }
    fclose(f);
    return n;
}

static void task(void)
{
    static double ms[MAX];
    char path[] = "/tmp/gshim-task.XXXXXX", setting[64];
    double median = 0;
    int n = 0, verdicts, fd = mkstemp(path);
    if (fd < 0)
        die("mkstemp");
    close(fd);
    snprintf(setting, sizeof setting, "GSHIM_TRACE=%s", path);
    EXPECT("slices of the P that end by preemption are 10 ms long in the median");
    for (int i = 0; i < TRIES && !(n >= 30 && median >= 9 && median <= 15); i++) {
        CHECK(run("trace", 1, setting, NULL) == 0);
        n = read_slices(path, ms, &verdicts);
        median = n > 0 ? quantile(ms, n, 0.5) : 0;
        OBSERVE(
            "%d slices in %d ms, median %.2f ms; %d times yes, %g preemptions counted", n,
            RUN_MS, median, verdicts, get("preemptions"));
        CHECK(fabs(verdicts - get("preemptions")) <= 2); /* none lost, none made up */
        CHECK(n <= verdicts);
    }
    unlink(path);
    CHECK(n >= 30);
    CHECK(median >= 9 && median <= 15);
}
