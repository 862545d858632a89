/* preempt.c - x86-64: how to interrupt a G at any instruction; the other half of preempt.S.
 *
 * The save area holds every state component that the kernel has enabled (XCR0): x87, SSE,
 * AVX, AVX-512, AMX tiles, PKRU and whatever comes.  Its size is added up from CPUID leaf
 * 0xd: compacted with XSAVEC, else the standard format's total.  FXSAVE serves only where
 * there is no XSAVE, hence no AVX either.
 * Rejected: keeping the kernel's signal frame as the save area (as other CPUs must): it
 * would hold the G in a handler on a copied frame whose uc_stack and mask are patched for
 * each migration, for the 0.1 us that XSAVEC takes.
 * Shadow stacks: a faked call would not match; so where they are on, no asynchronous
 * preemption; the one at prologues is a real call.
 * Sources: Intel SDM vol. 1, chapter 13; vol. 2, RDSSP.
 */
#include "arch/arch.h"

#include <cpuid.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

enum { RED_ZONE = 128, REGISTERS = 136, LEGACY = 512, HEADER = 64, STATE_LEAF = 0xd };
enum { FL_TRAP = 1 << 8, FL_NESTED = 1 << 14, FL_ALIGN = 1 << 18 };
enum { BY_FXSAVE, BY_XSAVE, BY_XSAVEC };

/* Read by preempt.S.  const after arch_preempt_init. */
uint64_t arch_xsave_bytes, arch_xsave_mask;
unsigned char arch_xsave_kind;

static uint64_t enabled_states(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return ((uint64_t)hi << 32) | lo;
}

static uint64_t compacted_bytes(uint64_t mask)
{
    uint64_t bytes = LEGACY + HEADER;
    for (unsigned i = 2; i < 63; i++) {
        unsigned size, offset, flags, d;
        if ((mask >> i & 1) == 0)
            continue;
        __cpuid_count(STATE_LEAF, i, size, offset, flags, d);
        if ((flags & 2) != 0)
            bytes = (bytes + 63) & ~63ull;
        bytes += size;
    }
    return bytes;
}

static _Bool shadow_stack(void)
{
    uint64_t ssp = 0;
    __asm__ volatile("rdsspq %0" : "+r"(ssp)); /* does nothing where there is none */
    return ssp != 0;
}

uintptr_t *arch_uc_return(const void *uc)
{
    greg_t sp = ((const ucontext_t *)uc)->uc_mcontext.gregs[REG_RSP];
    return shadow_stack() ? NULL : (uintptr_t *)sp;
}

_Bool arch_preempt_init(void)
{
    unsigned a, b, c, d;
    __cpuid(1, a, b, c, d);
    arch_xsave_kind = BY_FXSAVE;
    arch_xsave_mask = 0;
    arch_xsave_bytes = LEGACY;
    if ((c & bit_OSXSAVE) == 0)
        return !shadow_stack();
    arch_xsave_mask = enabled_states();
    __cpuid_count(STATE_LEAF, 1, a, b, c, d);
    arch_xsave_kind = (a & 2) != 0 ? BY_XSAVEC : BY_XSAVE;
    arch_xsave_bytes = compacted_bytes(arch_xsave_mask);
    if (arch_xsave_kind == BY_XSAVE) {
        __cpuid_count(STATE_LEAF, 0, a, b, c, d);
        arch_xsave_bytes = b;
    }
    return !shadow_stack();
}

size_t arch_preempt_room(void)
{
    return RED_ZONE + REGISTERS + arch_xsave_bytes + 64;
}

_Bool arch_uc_preemptible(void *uc)
{
    greg_t flags = ((ucontext_t *)uc)->uc_mcontext.gregs[REG_EFL];
    return (flags & (FL_TRAP | FL_NESTED | FL_ALIGN)) == 0;
}

void arch_push_call(void *uc)
{
    greg_t *r = ((ucontext_t *)uc)->uc_mcontext.gregs;
    r[REG_RSP] -= RED_ZONE + 8;
    *(greg_t *)r[REG_RSP] = r[REG_RIP];
    r[REG_RIP] = (greg_t)arch_async_preempt;
}

/* --- system calls -------------------------------------------------------------------------- */

/* Length of the instruction at P if it is a move or an exclusive-or into another register than
 * rax, of the kinds that fill arguments; 0: another one.  SDM vol. 2, chapter 2. */
static size_t argument_move(const unsigned char *p)
{
    const unsigned char *begin = p;
    unsigned rex = (*p & 0xf0) == 0x40 ? *p++ : 0, op = *p++;
    if ((op & 0xf8) == 0xb8) /* constant to register */
        return (rex & 8) != 0 || op + (rex & 1) * 8 == 0xb8 ? 0 : (size_t)(p - begin) + 4;
    if (op != 0x8b && op != 0x89 && op != 0x31 && op != 0x33)
        return 0;
    unsigned mod = *p >> 6, reg = *p >> 3 & 7, rm = *p & 7;
    bool to_rm = op == 0x89 || op == 0x31;
    p++;
    if (to_rm ? mod != 3 || rm + (rex & 1) * 8 == 0 : reg + (rex & 4) * 2 == 0)
        return 0;
    if (mod != 3 && rm == 4)
        p++; /* SIB; with base rbp and no displacement there are four bytes more: not used */
    if (mod == 1)
        p += 1;
    else if (mod == 2 || (mod == 0 && rm == 5))
        p += 4;
    return (size_t)(p - begin);
}

/* Do nothing but argument moves stand between FROM and TO? */
static bool only_moves(const unsigned char *from, const unsigned char *to)
{
    while (from < to) {
        size_t n = argument_move(from);
        if (n == 0)
            return 0;
        from += n;
    }
    return from == to;
}

/* The number of the call is gone from the registers; the C library loads it as a constant
 * shortly before the instruction: mov $nr, %eax = b8 nr nr nr nr, moves, syscall = 0f 05. */
_Bool arch_uc_restart_call(void *uc)
{
    enum { NEAR = 7, FAR = ARCH_CALL_FAR, LAST_NR = 1024 };
    greg_t *r = ((ucontext_t *)uc)->uc_mcontext.gregs;
    const unsigned char *pc = (const unsigned char *)r[REG_RIP];
    if (r[REG_RAX] != -EINTR || pc[-2] != 0x0f || pc[-1] != 0x05)
        return 0;
    for (const unsigned char *p = pc - NEAR; p >= pc - FAR; p--) {
        uint32_t nr;
        memcpy(&nr, p + 1, sizeof nr);
        /* 41 b8 fills r8: the size of a signal set, 8, is no lseek. */
        if (*p != 0xb8 || p[-1] == 0x41 || nr > LAST_NR || !only_moves(p + 5, pc - 2))
            continue;
        if (nr == SYS_close) /* Linux has closed it already */
            return 0;
        r[REG_RAX] = nr;
        r[REG_RIP] -= 2;
        return 1;
    }
    return 0;
}
