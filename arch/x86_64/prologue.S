/* prologue.S - x86-64: the library's half of __morestack (morestack.S, in the program).
 *
 * gshim_morestack: the function that called __morestack is about to begin with R10 bytes of
 * frame and R11 bytes of arguments on the stack; may it, and should it let others run before?
 *   in: r10 r11 and the frame of __morestack: rbp, 8(rbp) in the function, 16(rbp) its rsp
 *   out: every register as it was, the flags excepted
 *
 * preempt_look is compiled without vector registers, so the general ones are enough to save for
 * it.  What it says:
 *      0  go on
 *      1  others are to run: arch_prologue_preempt saves the rest (preempt.S)
 *      an address: the stack is at its end.  The byte there is in the guard area; reading it
 *         makes the fault that the function would have made, or would have jumped over.
 * Stack picture, offsets from the CFA:
 *       - 8  return address
 *       -16  rax rdi rsi rdx rcx r8 r9 r10 r11, 8 bytes unused      <- rsp at the calls
 */
        .text
        .globl  gshim_morestack
        .type   gshim_morestack, @function
        .p2align 4
gshim_morestack:
        .cfi_startproc
        pushq   %rax
        .cfi_adjust_cfa_offset 8
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        pushq   %rdx
        .cfi_adjust_cfa_offset 8
        pushq   %rcx
        .cfi_adjust_cfa_offset 8
        pushq   %r8
        .cfi_adjust_cfa_offset 8
        pushq   %r9
        .cfi_adjust_cfa_offset 8
        pushq   %r10
        .cfi_adjust_cfa_offset 8
        pushq   %r11
        .cfi_adjust_cfa_offset 8
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        leaq    16(%rbp), %rdi
        leaq    (%r10, %r11), %rsi
        movq    8(%rbp), %rdx
        call    preempt_look
        cmpq    $1, %rax
        jb      .Lout
        je      .Lpreempt
        call    arch_overflow_probe
.Lout:
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r11
        .cfi_adjust_cfa_offset -8
        popq    %r10
        .cfi_adjust_cfa_offset -8
        popq    %r9
        .cfi_adjust_cfa_offset -8
        popq    %r8
        .cfi_adjust_cfa_offset -8
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        popq    %rdx
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        popq    %rax
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_adjust_cfa_offset 80
.Lpreempt:
        call    arch_prologue_preempt
        jmp     .Lout
        .cfi_endproc
        .size   gshim_morestack, .-gshim_morestack

/* void gshim_morestack_alloca(size_t bytes)
 *   in: rdi; 16(rsp) is the stack pointer of the function that allocates
 * The same before an alloca; called as C code is, so nothing needs to be kept. */
        .globl  gshim_morestack_alloca
        .type   gshim_morestack_alloca, @function
        .p2align 4
gshim_morestack_alloca:
        .cfi_startproc
        movq    %rdi, %rsi
        leaq    24(%rsp), %rdi
        movq    16(%rsp), %rdx
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    preempt_look
        cmpq    $1, %rax
        jb      .Lalloca_out
        je      .Lalloca_preempt
        call    arch_overflow_probe
.Lalloca_out:
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_adjust_cfa_offset 8
.Lalloca_preempt:
        movq    %rsp, %rdi
        call    preempt_at_prologue
        jmp     .Lalloca_out
        .cfi_endproc
        .size   gshim_morestack_alloca, .-gshim_morestack_alloca

/* Reads the byte at RAX, which is in a guard area: the fault handler knows it by this place. */
        .globl  arch_overflow_probe
        .hidden arch_overflow_probe
        .type   arch_overflow_probe, @function
        .p2align 4
arch_overflow_probe:
        .cfi_startproc
        testb   $0, (%rax)
        ret
        .cfi_endproc
        .size   arch_overflow_probe, .-arch_overflow_probe

        .hidden preempt_look, preempt_at_prologue, arch_prologue_preempt
        .section .note.GNU-stack,"",@progbits
