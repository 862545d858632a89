/* real.h - calls to the C library's own functions behind the names we interpose.
 *
 * REAL(name) is a function pointer, looked up at first use (real.def names them all).
 * Lookup takes the loader's lock and may allocate: [G] or a foreign thread, never the
 * scheduler's stack; real_init() does it for all, before a second thread exists.
 */
#ifndef GSHIM_REAL_H
#define GSHIM_REAL_H

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdbool.h>
#include <threads.h>
#include <time.h>
#include <ucontext.h>

#include "arch/atomic.h"

#define REAL_ROW_V(result, name, params, version) REAL_ROW(result, name, params)
enum real_index {
#define REAL_ROW(result, name, params) REAL_##name,
#include "shim/libc/real.def"
#undef REAL_ROW
    REAL_COUNT
};

#define REAL_ROW(result, name, params) typedef result real_##name##_fn params;
#include "shim/libc/real.def"
#undef REAL_ROW
#undef REAL_ROW_V

extern void *real_slot[REAL_COUNT];

/* real_resolve - fill one slot; never returns NULL (a missing name is fatal).        */
void *real_resolve(enum real_index i);
/* real_lookup - the next definition of NAME behind ours, or NULL; VERSION may be NULL.        */
void *real_lookup(const char *name, const char *version);
void real_init(void);
void real_init_old(void); /* the same where real_old_libc */
/* real_old_libc - is this a C library before 2.34, whose calls we can only pass on?     [any] */
bool real_old_libc(void);

static inline void *real_get(enum real_index i)
{
    void *fn = ld_acq(&real_slot[i]); /* MO: acquire <- [R1] release in real_resolve */
    return likely(fn != NULL) ? fn : real_resolve(i);
}

#define REAL(name) ((real_##name##_fn *)real_get(REAL_##name))

#endif
