/* preempt.h - policy: who loses its P, when, and whether that is safe.
 *
 * The way of one preemption
 *   sysmon.c           retake: a G has held its P for long while others wait
 *   request.c          preempt_request: the P's flag, and a signal to the M
 *   deliver_linux.c    preempt_on_signal: on that M, in its signal handler
 *   safepoint.c        preempt_decide: may the interrupted code be left here?
 *     yes              arch_push_call: it goes on in arch_async_preempt, rt_preempt_yield;
 *                      spin.c: does it spin there, so that its next turn is to be short?
 *     no               the P's flag stays, and is honoured at the next runtime exit; after
 *                      two more looks sysmon hands the P to another M
 *   prologue.c         or, when that comes first, at the beginning of a function that was
 *                      compiled with -fsplit-stack
 */
#ifndef GSHIM_PREEMPT_H
#define GSHIM_PREEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct g;
struct m;
struct p;

/* What preempt_decide says, and how often it did. */
enum preempt_verdict {
    PREEMPT_YES,
    PREEMPT_NO_STALE,         /* the G that was meant is not the one that runs */
    PREEMPT_NO_G0,            /* the scheduler's stack, or a foreign thread */
    PREEMPT_NO_RUNTIME,       /* inside the runtime */
    PREEMPT_NO_USER_HANDLER,  /* in a signal handler of the program */
    PREEMPT_NO_SWITCHED_OFF,  /* gshim_preempt_off */
    PREEMPT_NO_RUNTIME_CODE,  /* this library's text, outside a runtime section */
    PREEMPT_NO_LIBC_CODE,     /* libc, loader, vDSO, allocator, unwinder */
    PREEMPT_NO_UNKNOWN_CODE,  /* no loaded object */
    PREEMPT_NO_UNSAFE_CODE,   /* GSHIM_UNSAFE */
    PREEMPT_NO_FOREIGN_STACK, /* SP outside the G's own stack */
    PREEMPT_NO_STACK_ROOM,
    PREEMPT_NO_OTHER_MASK, /* the kernel's mask of the M is not ours */
    PREEMPT_NO_CPU_STATE,  /* single-stepped, alignment checks */
    PREEMPT_YES_PROLOGUE,  /* at the beginning of a function, not by a signal */
    PREEMPT_VERDICTS
};
extern const char *const preempt_verdict_names[PREEMPT_VERDICTS];
extern uint64_t preempt_counts[PREEMPT_VERDICTS]; /* atomic, statistics only */

/* --- sysmon.c --- */
/* sysmon_main - body of the monitor thread. */
void *sysmon_main(void *arg);
/* sysmon_clone_m - make a kernel thread for GP, which has not started and is bound to it from now
 * on: by the caller's own, from which it inherits.  0 or an errno value.              [G] */
int sysmon_clone_m(struct g *gp);

/* --- request.c --- */
/* preempt_request - ask the G that MP runs to give up its P, PP; PP NULL: MP has none.
 * At most one request is under way to an M; a second one returns without a signal.   [any]
 * Returns true when a signal was sent. */
bool preempt_request(struct m *mp, struct p *pp);

/* --- stw.c --- */
/* preempt_stop_the_world - returns when no other thread runs code of the program; nests.
 * preempt_start_the_world - undo one.  A foreign thread may do both.               [G]  */
void preempt_stop_the_world(const char *reason);
void preempt_start_the_world(void);

/* --- safepoint.c --- */
/* preempt_decide - may GP, which runs on MP, be switched away at PC with stack SP?   [sig]
 * Asked of the thread that is interrupted there. */
enum preempt_verdict preempt_decide(const struct m *mp, struct g *gp, uintptr_t pc,
                                    uintptr_t sp);

/* preempt_unsafe_range - code between the two is never left (GSHIM_UNSAFE); false: too many.
 * preempt_safe_again - it is unloaded. */
bool preempt_unsafe_range(const void *lo, const void *hi);
void preempt_safe_again(const void *lo);
/* preempt_forked - in the child of fork: whoever held a lock of ours is gone. */
void preempt_forked(void);
/* preempt_unsafe_get - the range number I, LO = 0: it is free; false: there is no such. */
bool preempt_unsafe_get(uint32_t i, uintptr_t *lo, uintptr_t *hi);

/* preempt_room - bytes below SP that a preemption takes.                            [sig] */
size_t preempt_room(void);

/* --- spin.c --- */
/* spin_note - GP, the caller, was interrupted at PC, which is code of the program, with REGS, from
 * arch_uc_regs, in its registers: does it spin there?                                [sig] */
void spin_note(struct g *gp, uintptr_t pc, const uint8_t *regs);

/* --- prologue.c: upcalls of gshim_morestack --- */
/* preempt_look - the running thread is about to take BYTES of stack below SP, in a function
 * whose code is around PC.  0: it goes on; 1: preempt_at_prologue is to be called, with every
 * register saved; else the address beyond the end of its stack, for it has no room.
 * Uses no vector registers. */
uintptr_t preempt_look(uintptr_t sp, size_t bytes, uintptr_t pc);
/* preempt_at_prologue - let others run, if that is still wanted and may be; SP: about there. */
void preempt_at_prologue(uintptr_t sp);
extern size_t preempt_prologue_room; /* const after preempt_prepare */

/* --- deliver_*.c --- */
/* preempt_prepare - choose the signal and find out whether asynchronous preemption works
 * here; from rt_hooks.prepare.  Returns the signal that posix/ is to install. */
int preempt_prepare(void);

/* preempt_deliver - send request NUMBER to MP.  0 or -errno.                         [any] */
int preempt_deliver(struct m *mp, uint32_t number);

/* preempt_kick - send MP the signal without a request: its handler shall look around (posix/:
 * cancellation of a call that blocks).                                                [any] */
void preempt_kick(struct m *mp);

/* preempt_on_signal - the preemption signal arrived: deal with our request, if any.  [sig]
 *   info, uc  siginfo_t, that kick_came has seen; ucontext_t, NULL: leave it as it is
 * Returns true when it was ours alone; false: it is the program's, which must see it. */
bool preempt_on_signal(void *info, void *uc);

/* May preempt_request send signals?  Atomic: false once the kernel has refused one. */
extern bool preempt_async;

/* --- kick_linux.c --- */
/* si_code of what we send to our own kernel threads; the kernel's and libc's own end at -60. */
enum {
    KICK_PREEMPT = -71,  /* by the preemption signal: a request, by number */
    KICK_ANY = -72,      /* by the same: look around */
    KICK_LOOK = -0x4753, /* by any: look at what is pending on your G (posix/) */
};
/* kick_send - send MP, another than the caller's, SIG with CODE.  0 or -errno; -EAGAIN: a real-time
 * one, and RLIMIT_SIGPENDING is used up.                                             [any]
 * kick_send_self - send SIG with KICK_LOOK to MP, the caller's own. */
int kick_send(struct m *mp, int sig, int code, uint32_t number);
int kick_send_self(struct m *mp, int sig);
/* kick_preempts_under_way - has MP been sent a preemption signal that has not come yet?  A hint: it
 * may have come together with another.                                               [any] */
bool kick_preempts_under_way(const struct m *mp);
/* kick_came - is INFO, a siginfo_t that has come to MP (NULL: to a thread that is never sent any),
 * of these?  Then its si_code says which, also when the kernel had no memory for it.
 * Once for each that came.                                                           [sig] */
bool kick_came(struct m *mp, void *info);

/* --- watch.c --- */
/* watch_sleep - sysmon's sleep until UNTIL or a kick; sees to the network. */
void watch_sleep(int64_t until, int64_t now);
/* watch_was_busy - did Gs run since the last call, while others wait for descriptors? */
bool watch_was_busy(void);

#endif
