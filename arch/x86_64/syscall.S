/* syscall.S - x86-64: the system call of a cancellation point, and diverted contexts.
 *
 * long arch_syscall_cp(const uint32_t *word, uint32_t relevant, uint32_t pending, long nr,
 *                      const long args[6], const uint32_t *off)
 *   in: rdi rsi rdx rcx r8 r9   out: rax result, -errno, or ARCH_CP_CANCELED
 *   clobbers: what a call clobbers.  A leaf without frame.
 * Between arch_cp_begin and arch_cp_end (exclusive) nothing has happened yet that could be
 * lost: the call has not begun, or the kernel has put the PC back onto its instruction to
 * begin it again.  A signal handler that finds the PC there, and a reason not to make the call,
 * sets it to arch_cp_cancel, one that comes earlier sets *off; so there is no window between the
 * check and the call.  From arch_cp_end on the call has had its effect, and its result must be
 * returned.
 * System V ABI, AMD64 supplement, A.2.1: nr rax, arguments rdi rsi rdx r10 r8 r9, the kernel
 * destroys rcx and r11.
 */
        .text
        .globl  arch_syscall_cp, arch_cp_begin, arch_cp_end, arch_cp_cancel
        .hidden arch_syscall_cp, arch_cp_begin, arch_cp_end, arch_cp_cancel
        .type   arch_syscall_cp, @function
        .p2align 4
arch_syscall_cp:
        .cfi_startproc
        movq    %rcx, %rax
        movq    %r8, %r11
arch_cp_begin:
        cmpl    $0, (%r9)
        jne     arch_cp_cancel
        andl    (%rdi), %esi
        cmpl    %edx, %esi
        je      arch_cp_cancel
        movq    0(%r11), %rdi
        movq    8(%r11), %rsi
        movq    16(%r11), %rdx
        movq    24(%r11), %r10
        movq    32(%r11), %r8
        movq    40(%r11), %r9
        syscall
arch_cp_end:
        ret
arch_cp_cancel:
        movq    $-4096, %rax    /* ARCH_CP_CANCELED: no errno value reaches so far */
        ret
        .cfi_endproc
        .size   arch_syscall_cp, .-arch_syscall_cp

/* arch_diverted - where arch_uc_divert lets an interrupted context go on.
 *   in: rdi the function to call, which does not return; rsp the saved registers, 16-aligned:
 *
 *      +128  rip of the interrupted context
 *      +120  rsp
 *      +112  rcx    +104 rax    +96 rdx    +88 rbx    +80 rbp    +72 rsi    +64 rdi
 *      + 56  r15    + 48 r14    +40 r13    +32 r12    +24 r11    +16 r10
 *      +  8  r9
 *      +  0  r8                 <- rsp
 *
 * The CFI says so in DWARF expressions (DW_CFA_def_cfa_expression 0x0f, DW_CFA_expression
 * 0x10, DW_OP_breg7 0x77, DW_OP_deref 0x06), as the C library's does for the kernel's signal
 * frame; and it says "signal frame": the interrupted PC is exact, not a return address.  The
 * entry lies one byte into the function for unwinders that step back all the same.       */
        .globl  arch_diverted
        .hidden arch_diverted
        .type   arch_diverted, @function
        .p2align 4
        .cfi_startproc
        .cfi_signal_frame
        .cfi_escape 0x0f, 4, 0x77, 0xf8, 0x00, 0x06
        .cfi_escape 0x10, 8, 2, 0x77, 0
        .cfi_escape 0x10, 9, 2, 0x77, 8
        .cfi_escape 0x10, 10, 2, 0x77, 16
        .cfi_escape 0x10, 11, 2, 0x77, 24
        .cfi_escape 0x10, 12, 2, 0x77, 32
        .cfi_escape 0x10, 13, 2, 0x77, 40
        .cfi_escape 0x10, 14, 2, 0x77, 48
        .cfi_escape 0x10, 15, 2, 0x77, 56
        .cfi_escape 0x10, 5, 3, 0x77, 0xc0, 0x00
        .cfi_escape 0x10, 4, 3, 0x77, 0xc8, 0x00
        .cfi_escape 0x10, 6, 3, 0x77, 0xd0, 0x00
        .cfi_escape 0x10, 3, 3, 0x77, 0xd8, 0x00
        .cfi_escape 0x10, 1, 3, 0x77, 0xe0, 0x00
        .cfi_escape 0x10, 0, 3, 0x77, 0xe8, 0x00
        .cfi_escape 0x10, 2, 3, 0x77, 0xf0, 0x00
        .cfi_escape 0x10, 7, 3, 0x77, 0xf8, 0x00
        .cfi_escape 0x10, 16, 3, 0x77, 0x80, 0x01
        nop
arch_diverted:
        call    *%rdi
        ud2
        .cfi_endproc
        .size   arch_diverted, .-arch_diverted
        .section .note.GNU-stack,"",@progbits
