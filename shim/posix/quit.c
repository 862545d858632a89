/* quit.c - GSHIM_DEBUG=dumponquit=1: SIGQUIT (ctrl-\\) prints every thread, and the program
 * goes on, so that one that hangs can be asked twice.  The handler only leaves a mark; sysmon
 * prints, for the thread that the signal hit may hold anything.
 */
#include <signal.h>

#include "shim/posix/posix.h"
#include "shim/posix/signal.h"
#include "shim/rt/config.h"
#include "shim/rt/debug.h"

static void on_quit(int sig)
{
    (void)sig;
    debug_want_dump();
}

void quit_start(void)
{
    struct sigaction sa = {.sa_handler = on_quit, .sa_flags = SA_RESTART | SA_ONSTACK};
    if (rt_config.dumponquit)
        REAL(sigaction)(SIGQUIT, &sa, NULL);
}
