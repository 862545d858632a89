/* switch.S - x86-64: change stack and thread pointer.
 *
 * System V ABI, AMD64 supplement, section 3.2.1: rbx rbp r12-r15, the MXCSR control bits
 * and the x87 control word belong to the caller; all else is dead at a call.
 *
 * Stack picture of a switched-out context (addresses grow upwards):
 *
 *      +56  return address
 *      +48  rbp
 *      +40  rbx
 *      +32  r12
 *      +24  r13
 *      +16  r14
 *      + 8  r15
 *      + 6  unused
 *      + 4  x87 control word
 *      + 0  MXCSR              <- ctx->sp
 */
        .text
        .globl  arch_switch_begin, arch_switch_end, arch_switch_resume
        .hidden arch_switch_begin, arch_switch_end, arch_switch_resume
arch_switch_begin:

/* void *arch_switch(struct arch_ctx *from, const struct arch_ctx *to, void *cookie)
 *   in: rdi from, rsi to, rdx cookie      out: rax cookie of whoever switches back
 *   clobbers: rcx r8 r9 r10 r11 and the caller-saved rest of the ABI                  */
        .globl  arch_switch
        .hidden arch_switch
        .type   arch_switch, @function
        .p2align 5
arch_switch:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r15, 0
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        stmxcsr 0(%rsp)
        fnstcw  4(%rsp)
        movl    0(%rsp), %r8d
        movzwl  4(%rsp), %r9d

        movq    %rsp, 0(%rdi)
        movq    0(%rsi), %rsp
        movq    8(%rsi), %rcx
        cmpb    $0, arch_have_wrfsbase(%rip)
        je      .Lprctl
        wrfsbase %rcx
.Lswitched:
arch_switch_resume:
        /* Same frame layout on the new stack, so the CFI above still describes it. */
        movq    %rdx, %rax
        cmpl    0(%rsp), %r8d
        jne     .Lmxcsr
.Lmxcsr_done:
        cmpw    4(%rsp), %r9w
        jne     .Lfpucw
.Lfpucw_done:
        .cfi_remember_state
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbp
        ret
        .cfi_restore_state
.Lmxcsr:
        ldmxcsr 0(%rsp)
        jmp     .Lmxcsr_done
.Lfpucw:
        fldcw   4(%rsp)
        jmp     .Lfpucw_done
.Lprctl:
        /* arch_prctl(ARCH_SET_FS = 0x1002, tp); the kernel clobbers rcx and r11 only */
        movq    %rdx, %r10
        movl    $158, %eax
        movl    $0x1002, %edi
        movq    %rcx, %rsi
        syscall
        movq    %r10, %rdx
        jmp     .Lswitched
        .cfi_endproc
        .size   arch_switch, .-arch_switch
arch_switch_end:

/* First instruction of a new context: r12 argument, r13 entry, rax cookie.
 * The undefined return address ends every unwinder's walk here.                        */
        .globl  arch_first_run
        .hidden arch_first_run
        .type   arch_first_run, @function
        .p2align 4
arch_first_run:
        .cfi_startproc
        .cfi_undefined rip
        xorl    %ebp, %ebp
        movq    %r12, %rdi
        movq    %rax, %rsi
        call    *%r13
        ud2
        .cfi_endproc
        .size   arch_first_run, .-arch_first_run

        .hidden arch_have_wrfsbase
        .section .note.GNU-stack,"",@progbits
