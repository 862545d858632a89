/* arch.h - what a CPU must provide.  CPU only: no threads, no policy, no OS types.
 *
 * The build puts arch/<cpu> on the include path; arch_impl.h there defines the inline
 * half (struct arch_ctx, arch_self, arch_pause, arch_syscall6, ...), arch.c, switch.S,
 * syscall.S and sigframe.S the rest.  A port is those files and nothing else; morestack.S and
 * prologue.S only where a compiler knows -fsplit-stack.
 *
 * Upcalls, the only ones: the entry given to arch_ctx_init (first run of a G), the preemption
 * entry (preempt.S), and the two of a function's prologue (prologue.S).
 *
 * Inline part, in arch_impl.h:
 *   struct arch_ctx           saved stack pointer and thread pointer of a switched-out
 *                             context; everything else lies on its stack
 *   arch_self()               the running G, from gshim_self_tls of the current thread
 *                             pointer.  Opaque to the compiler: never cached, never moved
 *   arch_tp()                 thread pointer of the running context
 *   arch_pause()              spin-wait hint
 *   arch_uc_regs(uc, digest)  a byte for each general register of an interrupted context that
 *                             tells whether it holds something else, nearly always
 *   arch_has_pause(code, n)   is it among these N bytes of code?
 *   arch_split_guard(tcb)     the word of a TCB that -fsplit-stack code compares its stack
 *                             pointer with
 *   arch_syscall6(...)        raw system call: result or -errno, errno untouched
 *   ARCH_JB_*, arch_mangle    where a jmp_buf of this ABI keeps pc and sp, and how libc hides
 *                             them
 *   arch_uc_pc, _sp           the interrupted pc and sp in a ucontext_t
 *   ARCH_DWARF_*              how many registers the ABI's call frame information knows, and the
 *                             numbers of sp and of the return address
 *   ARCH_JUMP_CHOSEN(name, f) defines a function that jumps to what f() returns, leaving no
 *                             trace on the stack
 *   ARCH_RED_ZONE             bytes below sp that belong to the interrupted function
 */
#ifndef GSHIM_ARCH_H
#define GSHIM_ARCH_H

#include <stddef.h>
#include <stdint.h>

#include "arch_impl.h"

typedef void arch_entry_fn(void *arg, void *cookie);

/* arch_init - learn what this CPU can do.                                        [any]
 *   hwcap2  AT_HWCAP2.  Called once, before the first switch. */
void arch_init(unsigned long hwcap2);

/* arch_ctx_init - make CTX start ENTRY(ARG, cookie) on a fresh stack.            [any]
 *   stack_top  one past the highest usable byte, any alignment
 *   tp         thread pointer to load
 * The caller's floating-point control state (rounding, masks) is inherited, as a new
 * thread inherits it from its creator. */
void arch_ctx_init(struct arch_ctx *ctx, void *stack_top, uintptr_t tp,
                   arch_entry_fn *entry, void *arg);

/* arch_switch - leave FROM, continue TO; returns when somebody switches back.  [nopreempt]
 * Returns the COOKIE given by whoever switched to us.  Saves what the ABI calls
 * callee-saved, MXCSR and x87 control word included, and nothing more.
 * Order: stack first, thread pointer second; a signal between the two finds the same M
 * by either G, because both name it (rt_switch_to sets the new one's before). */
void *arch_switch(struct arch_ctx *from, const struct arch_ctx *to, void *cookie);

/* arch_set_tp - load the thread pointer (10 ns, or a system call on old CPUs).    */
void arch_set_tp(uintptr_t tp);

/* arch_load_u32 - *OUT = *P; false when P cannot be read, given a fault handler that sends a
 * fault at arch_load_begin to arch_load_fixup.                                      [any] */
_Bool arch_load_u32(const uint32_t *p, uint32_t *out);
extern const char arch_load_begin[], arch_load_fixup[];

/* arch_syscall_cp - system call NR, unless (*WORD & RELEVANT) == PENDING or *OFF is not 0: then,
 * or when a signal handler has moved the PC from [arch_cp_begin, arch_cp_end) to arch_cp_cancel,
 * it is not made (nor begun again) and ARCH_CP_CANCELED is the result.         [G] foreign */
enum { ARCH_CP_CANCELED = -4096 };
long arch_syscall_cp(const uint32_t *word, uint32_t relevant, uint32_t pending, long nr,
                     const long args[6], const uint32_t *off);
extern const char arch_cp_begin[], arch_cp_end[], arch_cp_cancel[];

/* arch_uc_divert - make the interrupted context UC (a ucontext_t) go on in FN, which does not
 * return, on the interrupted stack, so that unwinding from FN goes through the instruction
 * that was interrupted.                                                              [sig] */
void arch_uc_divert(void *uc, void (*fn)(void));

/* --- preemption at any instruction ------------------------------------------------------ */

/* arch_preempt_init - find out how to save all registers.  False: it cannot be done here.
 * Once, before any of the following.                                               [any] */
_Bool arch_preempt_init(void);

/* arch_preempt_room - bytes below the interrupted SP that arch_async_preempt takes, red zone
 * included, without what the upcall needs.                                         [sig] */
size_t arch_preempt_room(void);

/* arch_uc_preemptible - may the context UC be made to call?  Not while it is single-stepped or
 * has alignment checks on.                                                         [sig] */
_Bool arch_uc_preemptible(void *uc);

/* arch_push_call - let the interrupted context UC go on in arch_async_preempt, as if it had
 * called it.  Needs arch_preempt_room below its SP.                                [sig] */
void arch_push_call(void *uc);

/* arch_async_preempt - saves every register, calls rt_preempt_yield, restores them all.  Never
 * called, only pushed. */
void arch_async_preempt(void);

/* --- preemption at the beginning of a function (-fsplit-stack) --------------------------- */

/* gshim_morestack, gshim_morestack_alloca - what the program's __morestack calls; not by the
 * rules of C.  They ask preempt_look, and on 1 call preempt_at_prologue, everything saved. */
void gshim_morestack(void);
void gshim_morestack_alloca(void);

/* Where the first byte beyond the end of a stack is read on purpose. */
extern const char arch_overflow_probe[];

/* arch_uc_restart_call - if UC stands behind a system call that was interrupted, put it before
 * it again; false: it does not, or the call cannot be told.  Reads up to ARCH_CALL_FAR bytes of
 * code before the PC.                                                              [sig] */
enum { ARCH_CALL_FAR = 32 };
_Bool arch_uc_restart_call(void *uc);

/* arch_uc_return - UC will begin a function that makecontext gave it: where that finds its return
 * address.  If that is arch_context_end in place of libc's own, arch_context_next is called in the
 * end, with the context's uc_link, on its stack.  NULL: it must stay as it is.       [any] */
uintptr_t *arch_uc_return(const void *uc);
extern const char arch_context_end[];
extern void (*arch_context_next)(void *link); /* const after start */

/* A signal frame that is moved from the M's signal stack, where the kernel put it, to the stack
 * on which the handler is to run.  The frame reaches from arch_sigframe_base(uc) to the top of
 * the signal stack; pointers into itself are the only ones in it that matter.
 *
 * arch_sigframe_move - copy [arch_sigframe_base(uc), from_top) to below TO_TOP, aligned as the
 * CPU wants it, its inner pointers adjusted.  Returns the copy's base.               [sig]
 * arch_sigframe_room - how much below TO_TOP that may take.
 * arch_sigframe_run - leave the present stack, call FN(base, arg) right below BASE; when it
 * returns, resume the context in the frame by the kernel's sigreturn, which also sets signal
 * mask and signal stack from it. */
void *arch_sigframe_base(void *uc);
size_t arch_sigframe_room(void *uc, uintptr_t from_top);
void *arch_sigframe_move(void *uc, uintptr_t from_top, uintptr_t to_top);
_Noreturn void arch_sigframe_run(void *base, void (*fn)(void *base, void *arg),
                                 void *arg);

/* Bounds of the code in which stack and thread pointer may disagree. */
extern const char arch_switch_begin[], arch_switch_end[];

/* Where a switched-out context goes on, for an unwinder: with sp = ctx->sp, the call frame
 * information of this place finds all its registers. */
extern const char arch_switch_resume[];

#endif
