/* toy.c - the tests that selftest.py shows to the runner.
 *
 * One program under several names; the name says what it does.  All pass natively.  Under
 * doctored.c, which breaks getppid in the ways that a library can break a program, those
 * whose name begins with "bad" do not.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PASS = 0, FAIL = 1 };

/* Leaves a process behind that no signal to a group or session reaches. */
static int left_behind(void)
{
    if (fork() != 0)
        return PASS;
    setsid();
    if (fork() == 0)
        sleep(1000);
    _exit(0);
}

/* Runs twice, under two names: what the first leaves must not be there for the second. */
static int named(void)
{
    return sem_open("/gshim-suites-toy", O_CREAT | O_EXCL, 0600, 1) != SEM_FAILED ? PASS
                                                                                  : FAIL;
}

static int may_not_set_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return clock_settime(CLOCK_REALTIME, &now) == -1 && errno == EPERM ? PASS : FAIL;
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') + 1;
    (void)argc;
    if (strcmp(name, "left-behind") == 0)
        return left_behind();
    if (strncmp(name, "named", 5) == 0)
        return named();
    if (strcmp(name, "clock") == 0)
        return may_not_set_clock();
    if (strncmp(name, "bad", 3) == 0) {
        setenv("TOY", name, 1);
        return getppid() > 0 ? PASS : FAIL;
    }
    return PASS;
}
