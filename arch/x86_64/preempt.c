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
 * preemption.  Sources: Intel SDM vol. 1, chapter 13; vol. 2, RDSSP.
 */
#include "arch/arch.h"

#include <cpuid.h>
#include <errno.h>
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

_Bool arch_preempt_init(void)
{
    unsigned a, b, c, d;
    if (shadow_stack())
        return 0;
    __cpuid(1, a, b, c, d);
    arch_xsave_kind = BY_FXSAVE;
    arch_xsave_mask = 0;
    arch_xsave_bytes = LEGACY;
    if ((c & bit_OSXSAVE) == 0)
        return 1;
    arch_xsave_mask = enabled_states();
    __cpuid_count(STATE_LEAF, 1, a, b, c, d);
    arch_xsave_kind = (a & 2) != 0 ? BY_XSAVEC : BY_XSAVE;
    arch_xsave_bytes = compacted_bytes(arch_xsave_mask);
    if (arch_xsave_kind == BY_XSAVE) {
        __cpuid_count(STATE_LEAF, 0, a, b, c, d);
        arch_xsave_bytes = b;
    }
    return 1;
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

/* The number of the call is gone from the registers; the C library loads it as a constant
 * right before the instruction: mov $nr, %eax; syscall = b8 nr nr nr nr 0f 05. */
_Bool arch_uc_restart_call(void *uc)
{
    greg_t *r = ((ucontext_t *)uc)->uc_mcontext.gregs;
    const unsigned char *pc = (const unsigned char *)r[REG_RIP];
    int32_t nr;
    if (r[REG_RAX] != -EINTR || ((uintptr_t)pc & 4095) < 7)
        return 0;
    if (pc[-2] != 0x0f || pc[-1] != 0x05 || pc[-7] != 0xb8)
        return 0;
    memcpy(&nr, pc - 6, sizeof nr);
    if (nr == SYS_close) /* Linux has closed it already */
        return 0;
    r[REG_RAX] = nr;
    r[REG_RIP] -= 2;
    return 1;
}
