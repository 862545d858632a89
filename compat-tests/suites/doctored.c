/* doctored.c - a library that breaks programs: getppid fails, hangs, kills or does so now and
 * then, as the environment variable TOY (set by toy.c) says.  See selftest.py. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pid_t getppid(void)
{
    const char *how = getenv("TOY");
    if (how == NULL)
        return 1;
    if (strcmp(how, "bad-hang") == 0)
        for (;;)
            pause();
    if (strcmp(how, "bad-crash") == 0)
        kill(getpid(), SIGSEGV);
    /* Every other time: the file tells which. */
    if (strcmp(how, "bad-sometimes") == 0 && unlink(getenv("TOY_STATE")) == 0)
        return 1;
    if (strcmp(how, "bad-sometimes") == 0)
        close(creat(getenv("TOY_STATE"), 0600));
    return -1;
}
