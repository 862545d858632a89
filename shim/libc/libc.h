/* libc.h - what the runtime needs from the C library that no public interface gives.
 *
 * A G has its own libc identity: a thread control block (TCB) with static TLS that the C
 * library itself laid out, in memory that we choose.  glibc*.c implement this header and
 * are the only files with private knowledge.  Where the layout is not what is expected,
 * libc_probe says why and the library passes everything through to NPTL.
 *
 * A TCB is made once and then reused for one thread after another: the part of its TLS
 * that belongs to libc (malloc's thread cache, resolver state) is kept, the application
 * modules' part is reset to its initial image.  libc has it on its list of threads all the
 * while (dlopen initialises TLS through that); it leaves the list when its memory is given up.
 */
#ifndef GSHIM_LIBC_H
#define GSHIM_LIBC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <semaphore.h>

#include "arch/arch.h"
#include "arch/atomic.h"
#include "shim/os/os.h"

/* const after libc_probe; tid_offset already after libc_early */
struct libc_layout {
    size_t tcb_size;      /* sizeof (struct pthread)                      */
    size_t tls_size;      /* static TLS below the TCB, surplus included   */
    size_t tls_align;     /* alignment of the TCB                         */
    uintptr_t tid_offset; /* of the tid word in the TCB                   */
};
extern struct libc_layout libc_layout;

/* libc_probe - read the layout and check it on the calling thread.               [any]
 *   tcb      its TCB
 *   on_main  it is the process's first thread
 * Returns NULL, or why this C library cannot be used: a phrase for one line on stderr.
 * May allocate.  To be called once, while the caller is the only thread. */
const char *libc_probe(void *tcb, bool on_main);

/* libc_probe_native - the rest of the probe, run on a thread made by libc itself.
 * Returns as libc_probe. */
const char *libc_probe_native(void);

/* libc_selftest - run with the identity under test loaded: errno, ctype, stdio, malloc,
 * TLS.  Returns as libc_probe.                                                        */
const char *libc_selftest(void *tcb);

/* libc_tcb_make - turn zeroed memory into the identity of a thread.              [any]
 *   tcb  aligned to tls_align; tls_size bytes below and tcb_size above are its own
 *   tid  non-zero, unique among living threads, below 2^30
 * Returns 0 or ENOMEM.  Allocates with the process's malloc: no runtime lock held. */
int libc_tcb_make(void *tcb, uint32_t tid);

/* libc_tcb_reuse - prepare the identity of a finished thread for the next.   [nopreempt]
 * Returns 0, or ENOMEM when modules' dynamic TLS could not be renewed. */
int libc_tcb_reuse(void *tcb, uint32_t tid);

/* Giving up the identity of a finished thread.                              [any], foreign
 * libc_tcb_unlist - take it off libc's list; threads of libc that walk the list may still be on
 *   it, so its memory must stay as it is until their walks have ended.
 * libc_tcb_list - back again.
 * libc_tcb_drop - then: free what it owns; what malloc has cached for it goes to an identity
 *   yet to be made.  False: no memory to save that in, nothing was done. */
void libc_tcb_unlist(void *tcb);
void libc_tcb_list(void *tcb);
bool libc_tcb_drop(void *tcb);

/* libc_thread_run - BODY(ARG), then everything that ends a thread: C++ thread_local and key
 * destructors, and libc's own per-thread state put back to that of a new thread.  The frame is
 * the one at which pthread_exit and cancellation end, also when a destructor calls them.
 * Returns true when BODY returned, false when the thread was unwound.            [G]    */
bool libc_thread_run(void (*body)(void *), void *arg);

/* libc_unwound - was the running thread unwound, by pthread_exit or cancellation? */
bool libc_unwound(void *tcb);

/* libc_cancel_frame - BODY(ARG) as the cancellation point of a kernel thread of ours, on its
 * own identity; with ASYNC, one that can be cancelled at every instruction.  Returns false when
 * it was cancelled in there, and unwound to here; the thread is then as if it had never been
 * cancelled. */
bool libc_cancel_frame(bool async, void (*body)(void *), void *arg);

/* libc_thread_begin - first thing on a new thread: locale tables, resolver.      [G]    */
void libc_thread_begin(void);

/* libc_main_finish - what libc does when the main thread exits by pthread_exit.  [G]    */
void libc_main_finish(void);

/* libc_main_exit_hook - make the unwinding of the main thread's stack (pthread_exit in
 * main) end in FN instead of libc's start-up code, which would end the kernel thread.
 * Returns false when the frame was not found. */
bool libc_main_exit_hook(void *main_tcb, void (*fn)(void));

/* Cancellation of the thread with this TCB, as libc keeps it: request it (false: it was
 * before); is one pending and enabled; and is it to be acted upon at any moment?  The last is
 * also so inside libc's own blocking calls.                                          [sig] */
bool libc_cancel_request(void *tcb);
bool libc_cancel_pending(void *tcb);
/* From glibc 2.41 on its blocking calls end for a cancellation only by a signal of its own, whose
 * handler it installs at its first pthread_cancel.
 * libc_cancel_ready - see that it has; before a request that may need the next.    [G] foreign
 * libc_cancel_signal - send it to TID, the calling kernel thread, which is in a signal handler and
 *   has libc_cancel_request behind it: it comes when the handler returns to what it has
 *   interrupted, which is what libc's own handler looks at.                               [sig] */
void libc_cancel_ready(void);
void libc_cancel_signal(int tid);
/* libc_cancel_signal_over - the thread has been unwound, perhaps out of that signal's handler. */
void libc_cancel_signal_over(void);
/* libc_cancel_requested - was it cancelled, enabled or not? */
bool libc_cancel_requested(void *tcb);
bool libc_cancel_at_once(void *tcb);
/* libc_setxid_marked - is setuid or the like under way, and this thread's turn to come? */
bool libc_setxid_marked(void *tcb);
/* libc_cancel_async - would a cancellation that comes now be one at once? */
bool libc_cancel_async(void *tcb);
/* For arch_syscall_cp: (*word & RELEVANT) == PENDING means pending and enabled. */
extern const uint32_t libc_cancel_relevant, libc_cancel_set;
const uint32_t *libc_cancel_word(void *tcb);

/* Kernel registrations (robust list, rseq, clear-tid) belong to the kernel thread; when
 * the main thread's TCB becomes a G's, its kernel thread gets another TCB for them.
 * libc_kernel_adopt registers TCB for the calling kernel thread in place of OLD.        */
void libc_kernel_adopt(void *tcb, void *old_tcb);
/* libc_robust_held - does the kernel thread with this TCB hold robust mutexes? */
bool libc_robust_held(void *tcb);
/* libc_kernel_move - what of that libc's fork does not do in the child by itself. */
void libc_kernel_move(void *tcb, void *old_tcb);

/* libc_list_reset - after fork: put TCB, the only survivor, on libc's list of threads. */
void libc_list_reset(void *tcb);

/* --- layout of synchronisation objects -------------------------------------------------
 * Objects that other processes or the kernel take part in keep the C library's protocol;
 * its initialisers leave these marks in them (nptl/pthreadP.h, sysdeps/nptl/internaltypes.h;
 * the same in 2.34 to 2.43).  Checked at start by libc_probe_objects. */
enum {
    LIBC_MUTEX_KIND = 3, /* normal, recursive, errorcheck, adaptive */
    LIBC_MUTEX_SPECIAL =
        0xf0, /* robust 16, priority inherit 32, protect 64, shared 128 */
    LIBC_MUTEX_PROTECT = 64,
    LIBC_MUTEX_SHARED = 128,
    LIBC_COND_SHARED = 1, /* in the word that libc_cond_flags finds */
    LIBC_COND_MONOTONIC = 2,
    LIBC_COND_OURS =
        16, /* bytes at the start of a condition variable that are not that */
};

/* libc_cond_flags - the word of a condition variable with its flags.  It moved in glibc 2.41,
 * so it is measured, at first use since that may come before every constructor.      [any] */
extern uint32_t libc_cond_flags_at; /* its offset; atomic, 0: not measured yet */
uint32_t libc_cond_flags_find(void);
static inline uint32_t *libc_cond_flags(const pthread_cond_t *c)
{
    uint32_t at = ld_rlx(&libc_cond_flags_at); /* MO: relaxed, the same for everybody */
    if (unlikely(at == 0))
        at = libc_cond_flags_find();
    return (uint32_t *)((uintptr_t)c + at);
}

static inline bool libc_sem_is_shared(const sem_t *sem)
{
    return ((const int *)sem)[2] != 0; /* struct new_sem: value, then "private" */
}

static inline bool libc_barrier_is_shared(const pthread_barrier_t *b)
{
    return ((const int *)b)[3] !=
           0; /* struct pthread_barrier: in, round, count, shared */
}

enum { LIBC_ATTR_PRIORITY = 0x20, LIBC_ATTR_POLICY = 0x40 };

/* libc_attr_sched - which scheduling attributes were set in ATTR (LIBC_ATTR_*). */
static inline unsigned libc_attr_sched(const pthread_attr_t *attr)
{
    /* struct pthread_attr: sched_param, policy, flags */
    return ((const unsigned *)attr)[2] & (LIBC_ATTR_PRIORITY | LIBC_ATTR_POLICY);
}

/* libc_probe_objects - does the C library mark its shared objects as we believe? */
const char *libc_probe_objects(void);

static inline uint32_t *libc_tid_word(void *tcb)
{
    return (uint32_t *)((char *)tcb + libc_layout.tid_offset);
}

/* --- loaded objects (glibc_objects.c) --------------------------------------------------------- */

enum libc_text {
    LIBC_TEXT_APP,    /* the program and its libraries */
    LIBC_TEXT_OURS,   /* this library */
    LIBC_TEXT_LIBC,   /* libc, loader, vDSO, allocator, unwinder */
    LIBC_TEXT_UNKNOWN /* no object: made at run time, perhaps */
};

struct libc_object {
    const char *name; /* path, empty for the program; NULL when unknown */
    uintptr_t base;
    enum libc_text kind;
};

/* libc_object_of - what code is at PC, which some thread executes just now.       [sig] */
struct libc_object libc_object_of(uintptr_t pc);

/* libc_objects_init - before the first question; MAY_FIND false: as with glibc 2.34.
 * Takes the loader's lock: [G] or foreign, outside runtime sections. */
void libc_objects_init(bool may_find);

/* libc_early - find the tid word, from the constructor: locks need it before any thread. */
void libc_early(void);

/* libc_tid - the calling thread's tid as libc and the program see it.            [any] */
static inline uint32_t libc_tid(void)
{
    uintptr_t o = libc_layout.tid_offset;
    return o != 0 ? arch_tcb_u32(o) : (uint32_t)os_gettid();
}

#endif
