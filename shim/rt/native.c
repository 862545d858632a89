/* native.c - kernel threads of our own: sysmon, Ms, and helpers that are neither.
 *
 * Each is born with every signal blocked but libc's own two: until it can tell what to do with one,
 * or for good.  By the attribute, not by the maker's mask: a thread that blocks libc's signals as
 * well would never take part in a setuid of the process, which would wait for it for ever.
 * Detached means its own id is of no use to anybody.
 */
#include <pthread.h>
#include <signal.h>

#include "shim/libc/real.h"
#include "shim/rt/rt.h"

uint32_t rt_helper_threads;

int rt_native_thread(pthread_t *t, size_t stack, void *(*body)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t unused;
    sigset_t all;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, stack);
    pthread_attr_setsigmask_np(&attr, &all);
    if (t == NULL)
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int err = REAL(pthread_create)(t != NULL ? t : &unused, &attr, body, arg);
    pthread_attr_destroy(&attr);
    return err;
}
