/* arch.c - x86-64: capabilities, first frame of a context.
 *
 * FS base: WRFSBASE from user mode when the kernel says so (AT_HWCAP2 bit 1, Linux 5.9;
 * about 10 ns), else arch_prctl (about 130 ns).
 */
#include "arch/arch.h"

#include <asm/prctl.h>
#include <string.h>
#include <sys/syscall.h>

enum { HWCAP2_FSGSBASE = 1 << 1 };

/* Read by switch.S.  const after arch_init. */
unsigned char arch_have_wrfsbase;

void arch_init(unsigned long hwcap2)
{
    arch_have_wrfsbase = (hwcap2 & HWCAP2_FSGSBASE) != 0;
}

void arch_set_tp(uintptr_t tp)
{
    if (arch_have_wrfsbase)
        __asm__ volatile("wrfsbase %0" : : "r"(tp) : "memory");
    else
        arch_syscall6(SYS_arch_prctl, ARCH_SET_FS, (long)tp, 0, 0, 0, 0);
}

void arch_first_run(void); /* switch.S */

extern const char arch_diverted[]; /* syscall.S */

/* The picture there: r8 to rip, in the order of gregset_t. */
enum { SAVED_REGS = REG_RIP + 1, RED_ZONE = 128, FLAG_DIRECTION = 1 << 10 };

void arch_uc_divert(void *uc, void (*fn)(void))
{
    greg_t *regs = ((ucontext_t *)uc)->uc_mcontext.gregs;
    uintptr_t sp = (uintptr_t)regs[REG_RSP] - RED_ZONE - SAVED_REGS * sizeof *regs;
    sp &= ~(uintptr_t)15;
    memcpy((void *)sp, regs, SAVED_REGS * sizeof *regs);
    regs[REG_RSP] = (greg_t)sp;
    regs[REG_RIP] = (greg_t)(uintptr_t)arch_diverted;
    regs[REG_RDI] = (greg_t)(uintptr_t)fn;
    regs[REG_EFL] &= ~(greg_t)FLAG_DIRECTION; /* the ABI wants it clear at a call */
}

/* The frame arch_switch pops, built by hand; see the stack picture there. */
struct first_frame {
    uint32_t mxcsr;
    uint16_t fpucw;
    uint16_t pad;
    uintptr_t r15, r14, r13, r12, rbx, rbp;
    uintptr_t rip;
    uintptr_t zero; /* return address of arch_first_run: ends a frame-pointer walk */
};

void arch_ctx_init(struct arch_ctx *ctx, void *stack_top, uintptr_t tp,
                   arch_entry_fn *entry, void *arg)
{
    /* Once rip is popped, SP points at ZERO and must be 16-aligned for the call that
     * arch_first_run makes; the frame above it is 64 bytes, so it is aligned alike. */
    uintptr_t top = (uintptr_t)stack_top & ~(uintptr_t)15;
    struct first_frame *f = (struct first_frame *)(top - 80);
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(f->mxcsr), "=m"(f->fpucw));
    f->pad = 0;
    f->r15 = f->r14 = f->rbx = f->rbp = 0;
    f->r12 = (uintptr_t)arg;
    f->r13 = (uintptr_t)entry;
    f->rip = (uintptr_t)arch_first_run;
    f->zero = 0;
    ctx->sp = f;
    ctx->tp = tp;
}

void (*arch_context_next)(void *link); /* called by context.S */

/* --- signal frames ---------------------------------------------------------------------- */

enum { FP_ALIGN = 64 }; /* XSAVE's, and the kernel's for the state in a frame */

void *arch_sigframe_base(void *uc)
{
    return (char *)uc - sizeof(uintptr_t);
}

size_t arch_sigframe_room(void *uc, uintptr_t from_top)
{
    return from_top - (uintptr_t)arch_sigframe_base(uc) + FP_ALIGN;
}

void *arch_sigframe_move(void *uc, uintptr_t from_top, uintptr_t to_top)
{
    char *from = arch_sigframe_base(uc);
    uintptr_t fp = (uintptr_t)((ucontext_t *)uc)->uc_mcontext.fpregs;
    /* Without floating-point state: the frame's own alignment, 8 modulo 16. */
    uintptr_t to_fp = fp != 0 ? fp - (uintptr_t)from : FP_ALIGN - 8;
    size_t bytes = from_top - (uintptr_t)from;
    char *to = (char *)(((to_top - bytes + to_fp) & ~(uintptr_t)(FP_ALIGN - 1)) - to_fp);
    memcpy(to, from, bytes);
    ucontext_t *copy = (ucontext_t *)(to + ((char *)uc - from));
    if (fp != 0)
        copy->uc_mcontext.fpregs = (fpregset_t)(to + to_fp);
    return to;
}
