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
 * is not; "unknown", of no loaded object, where it is not either.  Functions marked GSHIM_UNSAFE
 * follow; they lie in ranges before. */
GSHIM_WEAK void gshim_dump_code(int fd);

/* gshim_set_maxprocs - from now on N threads run at the same time; 0: as at the start.  Returns
 * the number before; 0 when the library passes everything through to libc. */
GSHIM_WEAK unsigned gshim_set_maxprocs(unsigned n);

/* gshim_preempt_off - the calling thread is not interrupted and gives way to nobody, not even
 * where it waits for nothing, until gshim_preempt_on; nests.  For short stretches: others
 * wait, and a stop of the world does.  REASON: a string that stays, for diagnostics.  A thread
 * may still wait for a lock or in a call.
 * GSHIM_UNSAFE - the same for the whole of a function:
 *     GSHIM_UNSAFE void f(void) { ... }
 * What it calls is not covered. */
GSHIM_WEAK void gshim_preempt_off(const char *reason);
GSHIM_WEAK void gshim_preempt_on(void);
#define GSHIM_UNSAFE __attribute__((noinline, section("gshim_unsafe")))

/* gshim_stop_the_world - returns when no other thread runs code of the program; a thread that is
 * blocked in the kernel counts as stopped.  They may have been stopped with locks held: until
 * gshim_start_the_world do not wait for other threads, nor allocate with an allocator of the
 * program's own.  Nests.  Threads that the library does not run are not stopped. */
GSHIM_WEAK void gshim_stop_the_world(const char *reason);
GSHIM_WEAK void gshim_start_the_world(void);

/* gshim_preemptions - how often a thread was interrupted in its own code to let others run, or
 * did so at the beginning of a function compiled with -fsplit-stack, since the process began. */
GSHIM_WEAK unsigned long long gshim_preemptions(void);

/* For libgshim-split.a only, which such a program links: some module looks at the guard words of
 * its threads; and what its __morestack calls, not by the rules of C. */
GSHIM_WEAK void gshim_split_stack(void);
GSHIM_WEAK void gshim_morestack(void);
GSHIM_WEAK void gshim_morestack_alloca(void);

/* Where this module's GSHIM_UNSAFE functions are, told to the library by the header itself. */
GSHIM_WEAK int gshim_unsafe_range(const void *begin, const void *end);
GSHIM_WEAK void gshim_unsafe_gone(const void *begin);
extern const char __start_gshim_unsafe[] __attribute__((weak, visibility("hidden")));
extern const char __stop_gshim_unsafe[] __attribute__((weak, visibility("hidden")));

static __attribute__((constructor, unused)) void gshim_unsafe_register_(void)
{
    if (gshim_unsafe_range)
        gshim_unsafe_range(__start_gshim_unsafe, __stop_gshim_unsafe);
}

static __attribute__((destructor, unused)) void gshim_unsafe_unregister_(void)
{
    if (gshim_unsafe_gone)
        gshim_unsafe_gone(__start_gshim_unsafe);
}

#ifdef __cplusplus
}
#endif

#endif
