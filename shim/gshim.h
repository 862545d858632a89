/* gshim.h - what a program may ask of libgshim beyond pthreads.
 *
 * Link with -lgshim, or declare nothing and preload.  Every function is declared weak, so a
 * program that uses them also runs without the library: test the address first.
 *
 *     if (gshim_num_threads)
 *         printf("%zu threads\n", gshim_num_threads());
 */
#ifndef GSHIM_H
#define GSHIM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GSHIM_WEAK __attribute__((weak))

/* gshim_yield - let other threads run; returns when this one was scheduled again. */
GSHIM_WEAK void gshim_yield(void);

/* gshim_num_threads - threads that exist now, the main thread included. */
GSHIM_WEAK size_t gshim_num_threads(void);

/* gshim_maxprocs - how many threads run at the same time (GSHIM_MAXPROCS); 0 when the library
 * passes everything through to libc. */
GSHIM_WEAK unsigned gshim_maxprocs(void);

/* gshim_lock_os_thread - from now on the calling thread runs on one kernel thread, which runs
 * nothing else; for libraries that keep state per kernel thread.  Nests.
 * gshim_unlock_os_thread - undo one.  A thread that ends while locked takes the kernel thread
 * with it. */
GSHIM_WEAK void gshim_lock_os_thread(void);
GSHIM_WEAK void gshim_unlock_os_thread(void);

/* gshim_dump_threads - every thread onto a file descriptor: number, name, tid, what it does or
 * waits for and since when, and for those that wait who called whom.  Takes no lock and
 * allocates nothing, so it may be called from a signal handler or a debugger. */
GSHIM_WEAK void gshim_dump_threads(int fd);

/* gshim_dump_code - every range of code in the process onto a file descriptor, one "LO-HI KIND
 * FILE" a line: "safe", where a thread may be interrupted to let others run; "unsafe", where it
 * is not; "unknown", of no loaded object, where it is not either. */
GSHIM_WEAK void gshim_dump_code(int fd);

/* gshim_preemptions - how often a thread was interrupted in its own code to let others run,
 * since the process began. */
GSHIM_WEAK unsigned long long gshim_preemptions(void);

#ifdef __cplusplus
}
#endif

#endif
