/* fault.S - x86-64: reads that may fault.
 *
 * bool arch_load_u32(const uint32_t *p, uint32_t *out)
 *   in: rdi, rsi   out: eax = 1 and *out set, or 0 when p cannot be read
 * The fault handler sends a fault at arch_load_begin to arch_load_fixup.  Nothing is saved,
 * nothing but eax is changed: a leaf without frame.
 */
        .text
        .globl  arch_load_u32, arch_load_begin, arch_load_fixup
        .hidden arch_load_u32, arch_load_begin, arch_load_fixup
        .type   arch_load_u32, @function
        .p2align 4
arch_load_u32:
        .cfi_startproc
arch_load_begin:
        movl    (%rdi), %eax
        movl    %eax, (%rsi)
        movl    $1, %eax
        ret
arch_load_fixup:
        xorl    %eax, %eax
        ret
        .cfi_endproc
        .size   arch_load_u32, .-arch_load_u32
        .section .note.GNU-stack,"",@progbits
