/* fork.c - the variants that must not run as they are.
 *
 * fork itself is libc's: in the child its first atfork handler is ours (init.c).  vfork would
 * share our state with a child that runs on the parent's stack: it is fork here.  _Fork runs
 * no handlers, so we call ours.
 */
#include <unistd.h>

#include "shim/posix/posix.h"

EXPORT pid_t vfork(void)
{
    return fork();
}

EXPORT pid_t _Fork(void)
{
    pid_t pid = REAL(_Fork)();
    if (pid == 0)
        posix_fork_child();
    return pid;
}
