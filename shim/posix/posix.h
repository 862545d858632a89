/* posix.h - shared by the interposed entry points.
 *
 * Each entry is at most ten lines: cast, call, return.  With GSHIM_DEBUG=off=1 it calls the
 * C library instead (PASS).  Exported names carry EXPORT; the table symbols.def lists them.
 */
#ifndef GSHIM_POSIX_H
#define GSHIM_POSIX_H

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>

#include "shim/libc/real.h"
#include "shim/sync/sync.h"

#define EXPORT __attribute__((visibility("default")))

/* Set by the constructor from the environment; never changes afterwards. */
extern bool posix_off;

#define PASS(name, ...)                                                                  \
    do {                                                                                 \
        if (unlikely(posix_off))                                                         \
            return REAL(name)(__VA_ARGS__);                                              \
    } while (0)

/* The one place where errno is set: ERR (0, positive, or SYNC_ERRNO) as a -1-and-errno
 * result. */
#define EXIT_ERRNO(err)                                                                  \
    do {                                                                                 \
        int exit_err_ = (err);                                                           \
        if (exit_err_ == 0)                                                              \
            return 0;                                                                    \
        if (exit_err_ != SYNC_ERRNO)                                                     \
            errno = exit_err_;                                                           \
        return -1;                                                                       \
    } while (0)

/* A second name, as glibc has it. */
#define ALIAS(name, target)                                                              \
    EXPORT extern __typeof__(target) name __attribute__((alias(#target), nothrow, leaf))

/* posix_start - the runtime runs, or comes up now; false: threads are NPTL's. */
bool posix_start(void);

/* posix_g - the G behind a pthread_t, NULL: a foreign thread, for the C library. */
static inline struct g *posix_g(pthread_t t)
{
    return rt_is_started() ? g_of_tcb((void *)t) : NULL;
}

/* setxid_start - take part in setuid & co, see setxid.c; once sysmon is there. */
void setxid_start(void);
/* system_forked - in a child of fork: nobody is in system() any more. */
void system_forked(void);
/* posix_fork_child - in a child of fork, before anything else (init.c). */
void posix_fork_child(void);

#endif
