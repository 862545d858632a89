/* sigframe.S - x86-64: a signal handler's call on a frame that was moved, and its return.
 *
 * _Noreturn void arch_sigframe_run(void *base, void (*fn)(void *base, void *arg), void *arg)
 *   in: rdi rsi rdx.  BASE is the lowest byte of a copy of the kernel's frame, at 8 modulo 16.
 * Leaves the stack it runs on, calls FN just below BASE, and when that returns lets the kernel
 * resume what the frame holds.  The kernel's frame (arch/x86/include/asm/sigframe.h):
 *
 *      +440  siginfo
 *      + 48  general registers: r8-r15 rdi rsi rbp rbx rdx rax rcx rsp rip ...
 *      +  8  ucontext           rt_sigreturn (15) wants rsp here
 *      +  0  return address     <- BASE; unused, as FN is called by us
 *      -  8                     <- rsp at the call, 16-aligned
 *
 * The CFI gives each register of the interrupted context as an expression relative to rsp,
 * and says "signal frame", as libc's does for the kernel's own: exceptions, cancellation,
 * backtrace and gdb go through it.  (DW_CFA_def_cfa_expression 0x0f, DW_CFA_expression 0x10,
 * DW_OP_breg7 0x77 with a signed LEB128 offset, DW_OP_deref 0x06.)  Register n of the frame
 * is at rsp + 56 + 8 n.  The entry lies one byte into the function for unwinders that step
 * back all the same.                                                                      */
        .text
        .globl  arch_sigframe_run
        .hidden arch_sigframe_run
        .type   arch_sigframe_run, @function
        .p2align 4
        .cfi_startproc
        .cfi_signal_frame
        .cfi_escape 0x0f, 4, 0x77, 0xb0, 0x01, 0x06     /* CFA: rsp, 15 */
        .cfi_escape 0x10, 8, 2, 0x77, 0x38              /* r8, 0 */
        .cfi_escape 0x10, 9, 3, 0x77, 0xc0, 0x00        /* r9, 1 */
        .cfi_escape 0x10, 10, 3, 0x77, 0xc8, 0x00       /* r10, 2 */
        .cfi_escape 0x10, 11, 3, 0x77, 0xd0, 0x00       /* r11, 3 */
        .cfi_escape 0x10, 12, 3, 0x77, 0xd8, 0x00       /* r12, 4 */
        .cfi_escape 0x10, 13, 3, 0x77, 0xe0, 0x00       /* r13, 5 */
        .cfi_escape 0x10, 14, 3, 0x77, 0xe8, 0x00       /* r14, 6 */
        .cfi_escape 0x10, 15, 3, 0x77, 0xf0, 0x00       /* r15, 7 */
        .cfi_escape 0x10, 5, 3, 0x77, 0xf8, 0x00        /* rdi, 8 */
        .cfi_escape 0x10, 4, 3, 0x77, 0x80, 0x01        /* rsi, 9 */
        .cfi_escape 0x10, 6, 3, 0x77, 0x88, 0x01        /* rbp, 10 */
        .cfi_escape 0x10, 3, 3, 0x77, 0x90, 0x01        /* rbx, 11 */
        .cfi_escape 0x10, 1, 3, 0x77, 0x98, 0x01        /* rdx, 12 */
        .cfi_escape 0x10, 0, 3, 0x77, 0xa0, 0x01        /* rax, 13 */
        .cfi_escape 0x10, 2, 3, 0x77, 0xa8, 0x01        /* rcx, 14 */
        .cfi_escape 0x10, 7, 3, 0x77, 0xb0, 0x01        /* rsp, 15 */
        .cfi_escape 0x10, 16, 3, 0x77, 0xb8, 0x01       /* rip, 16 */
        nop
arch_sigframe_run:
        leaq    -8(%rdi), %rsp
        movq    %rsi, %rax
        movq    %rdx, %rsi
        xorl    %ebp, %ebp
        call    *%rax
        addq    $16, %rsp
        movl    $15, %eax
        syscall
        ud2
        .cfi_endproc
        .size   arch_sigframe_run, .-arch_sigframe_run
        .section .note.GNU-stack,"",@progbits
