/* arch_impl.h - x86-64: inline half of arch.h.  System V ABI, AMD64 supplement 1.0. */
#ifndef GSHIM_ARCH_IMPL_H
#define GSHIM_ARCH_IMPL_H

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

struct arch_ctx {
    void *sp;     /* offset 0, used by switch.S */
    uintptr_t tp; /* offset 8: FS base          */
};

struct g;

/* For a function that is jumped to, not called: realigns the stack pointer. */
#define ARCH_JUMP_TARGET __attribute__((force_align_arg_pointer))

/* Defines NAME, which asks CHOOSE() where to go and goes on there with the caller's stack as
 * it was.  For vfork: a frame of ours would be gone when the parent returns through it. */
#define ARCH_JUMP_CHOSEN(name, choose)                                                   \
    __asm__(".text\n.globl " #name "\n.type " #name ", @function\n.p2align 4\n" #name    \
            ":\n"                                                                        \
            "\t.cfi_startproc\n\tsubq $8, %rsp\n\t.cfi_adjust_cfa_offset 8\n"            \
            "\tcall " #choose "\n\taddq $8, %rsp\n\t.cfi_adjust_cfa_offset -8\n"         \
            "\tjmp *%rax\n\t.cfi_endproc\n.size " #name ", .-" #name "\n")

/* One load of the slot, one of its offset from the GOT.  The asm is volatile and claims
 * memory, so the compiler may neither keep the value across a switch nor hoist it. */
static inline struct g *arch_self(void)
{
    struct g *gp;
    __asm__ volatile("movq gshim_self_tls@gottpoff(%%rip), %0\n\t"
                     "movq %%fs:(%0), %0"
                     : "=r"(gp)
                     :
                     : "memory");
    return gp;
}

static inline void arch_self_set(struct g *gp)
{
    uintptr_t off;
    __asm__ volatile("movq gshim_self_tls@gottpoff(%%rip), %0\n\t"
                     "movq %1, %%fs:(%0)"
                     : "=&r"(off)
                     : "r"(gp)
                     : "memory");
}

/* Where, relative to a thread pointer, the slot lies: to fill it for another thread. */
static inline intptr_t arch_self_offset(void)
{
    intptr_t off;
    __asm__("movq gshim_self_tls@gottpoff(%%rip), %0" : "=r"(off));
    return off;
}

static inline uintptr_t arch_tp(void)
{
    uintptr_t tp;
    __asm__ volatile("movq %%fs:0x10, %0" : "=r"(tp) : : "memory");
    return tp;
}

/* 32-bit word of the running thread's TCB at OFF (its tid lives there). */
static inline uint32_t arch_tcb_u32(uintptr_t off)
{
    uint32_t v;
    __asm__ volatile("movl %%fs:(%1), %0" : "=r"(v) : "r"(off) : "memory");
    return v;
}

static inline void arch_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

enum { ARCH_UC_REGS = 16 };

static inline void arch_uc_regs(const void *uc, unsigned char digest[ARCH_UC_REGS])
{
    const greg_t *r =
        ((const ucontext_t *)uc)->uc_mcontext.gregs; /* r8 .. rsp, then rip */
    for (int i = 0; i < ARCH_UC_REGS; i++)
        digest[i] = (unsigned char)((uint64_t)r[i] * 0x9e3779b97f4a7c15 >> 56);
}

static inline _Bool arch_has_pause(const unsigned char *code, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (code[i] == 0xf3 && code[i + 1] == 0x90)
            return 1;
    return 0;
}

static inline uint64_t arch_cycles(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return ((uint64_t)hi << 32) | lo;
}

static inline long arch_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

/* TCB header words that the compiler's ABI fixes (GCC and Clang emit %fs:0x28). */
enum {
    ARCH_TCB_SELF = 0x10,
    ARCH_TCB_MULTIPLE_THREADS = 0x18,
    ARCH_TCB_STACK_GUARD = 0x28,
    ARCH_TCB_POINTER_GUARD = 0x30,
    ARCH_TCB_FEATURE_1 = 0x48,
    /* TARGET_THREAD_SPLIT_STACK_OFFSET in gcc/config/i386/linux64.h; clang has it too. */
    ARCH_TCB_SPLIT_GUARD = 0x70,
};

static inline uintptr_t *arch_split_guard(void *tcb)
{
    return (uintptr_t *)((char *)tcb + ARCH_TCB_SPLIT_GUARD);
}

/* Fields of a jmp_buf, as indices of longs. */
enum { ARCH_JB_SP = 6, ARCH_JB_PC = 7 };

/* How the C library hides code and stack addresses in a jmp_buf: xor with the TCB's
 * pointer guard, rotate left by 17.  Verified at start on a jmp_buf of our own. */
static inline uintptr_t arch_mangle(uintptr_t v, uintptr_t guard)
{
    v ^= guard;
    return (v << 17) | (v >> 47);
}

static inline uintptr_t arch_demangle(uintptr_t v, uintptr_t guard)
{
    v = (v >> 17) | (v << 47);
    return v ^ guard;
}

/* Registers in call frame information (AMD64 supplement, figure 3.36). */
enum { ARCH_DWARF_REGS = 17, ARCH_DWARF_SP = 7, ARCH_DWARF_PC = 16 };

/* --- signal frames ---------------------------------------------------------------------- */

enum { ARCH_RED_ZONE = 128 };

static inline uintptr_t *arch_uc_pc(void *uc)
{
    return (uintptr_t *)&((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
}

static inline uintptr_t *arch_uc_sp(void *uc)
{
    return (uintptr_t *)&((ucontext_t *)uc)->uc_mcontext.gregs[REG_RSP];
}

#endif
