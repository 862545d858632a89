/* 13 - a debugger walks from the scheduler through the trampoline of preemption to the line that
 * was interrupted. */
#include "task.h"

enum { HOGS = 4, LOOKS = 5 };

static __attribute__((noinline)) void interrupted_here(void)
{
    for (;;)
        __asm__ volatile("");
}

static void *outer(void *arg)
{
    interrupted_here();
    return arg;
}

/* Has a debugger attached to itself again and again; what it prints goes to our parent. */
static void child(const char *mode)
{
    static char command[8192];
    (void)mode;
    snprintf(command, sizeof command,
             "env -u LD_PRELOAD gdb -batch -nx -iex 'set auto-load safe-path /' "
             "-iex 'set debuginfod enabled off' -p %d -ex 'source %s/shim/gshim-gdb.py' "
             "-ex 'gshim bt all'",
             (int)getpid(), getenv("GSHIM_SOURCE"));
    for (int i = 0; i < HOGS; i++)
        start(outer, NULL);
    for (int i = 0; i < LOOKS; i++) {
        usleep(50000);
        if (system(command) != 0)
            die("gdb");
    }
    say("looks", LOOKS);
    _exit(0);
}

static void task(void)
{
    int through = 0;
    if (system("gdb --version > /dev/null 2>&1") != 0)
        cannot("gdb is not installed");
    if (getenv("GSHIM_SOURCE") == NULL)
        die("GSHIM_SOURCE");
    EXPECT(
        "rt_preempt_yield, the trampoline (gdb: <signal handler called>), interrupted_here, "
        "outer: for most of %d loops, at each of %d looks",
        HOGS, LOOKS);
    CHECK(run("walk", 1, NULL) == 0);
    CHECK(get("looks") == LOOKS);
    for (const char *p = output; (p = strstr(p, "in rt_preempt_yield ()")) != NULL; p++) {
        const char *handler = strstr(p, "<signal handler called>");
        const char *here =
            handler != NULL ? strstr(handler, "interrupted_here ()") : NULL;
        const char *out = here != NULL ? strstr(here, "in outer (") : NULL;
        const char *next = strstr(p, "\nThread ");
        through += out != NULL && (next == NULL || out < next);
    }
    OBSERVE("%d stacks through the trampoline", through);
    if (through < LOOKS)
        printf("%s\n", output);
    CHECK(through >= LOOKS);
}
