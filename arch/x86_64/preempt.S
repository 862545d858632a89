/* preempt.S - x86-64: where an interrupted G goes on when it is to give up its P.
 *
 * Two trampolines that differ in their upcall: arch_async_preempt, pushed by a signal handler,
 * and arch_prologue_preempt, called at the beginning of a function (prologue.S).
 *
 * arch_push_call has made the interrupted code look as if it had called
 * arch_async_preempt at the interrupted instruction, below its red zone (System V ABI, AMD64
 * supplement, section 3.2.2).  Nothing is dead at an arbitrary instruction: all general
 * registers, the flags and everything that XSAVE knows are saved, the upcall switches to
 * other Gs, and all is restored, perhaps by another M.
 *
 *   in: rsp = interrupted rsp - 136      out: everything as it was; clobbers: nothing
 *   upcall: rdi = interrupted rsp
 * At a call there is no red zone (RED = 0), and all numbers are less by 128.
 *
 * Stack picture, offsets from the interrupted rsp, which is the CFA:
 *
 *      -128 ... -1   red zone of the interrupted function
 *      -136          interrupted rip            <- rsp at entry
 *      -144          rflags
 *      -152          rbp                        <- rbp
 *      -160 ... -264 rax rcx rdx rbx rsi rdi r8 ... r15
 *      below         XSAVE area, 64-aligned     <- rsp at the call
 *
 * XSAVEC writes no more of the header than its first 16 bytes, and XRSTOR refuses others
 * that are not zero, so the header is cleared first.  The C code of the runtime is entered
 * as the ABI wants it: DF clear, x87 empty, exceptions masked, upper halves clean.
 * .cfi_signal_frame, of the first: the saved rip is the next instruction to run, not one after
 * a call.
 */
        .macro  trampoline name, upcall, red
        .text
        .globl  \name
        .hidden \name, \upcall
        .type   \name, @function
        .p2align 5
\name:
        .cfi_startproc
        .if     \red
        .cfi_signal_frame
        .endif
        .cfi_def_cfa rsp, 8+\red
        .cfi_offset rip, -8-\red
        pushfq
        .cfi_adjust_cfa_offset 8
        .cfi_offset 49, -16-\red        /* rflags */
        cld
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_offset rbp, -24-\red
        movq    %rsp, %rbp
        .cfi_def_cfa_register rbp
        pushq   %rax
        .cfi_offset rax, -32-\red
        pushq   %rcx
        .cfi_offset rcx, -40-\red
        pushq   %rdx
        .cfi_offset rdx, -48-\red
        pushq   %rbx
        .cfi_offset rbx, -56-\red
        pushq   %rsi
        .cfi_offset rsi, -64-\red
        pushq   %rdi
        .cfi_offset rdi, -72-\red
        pushq   %r8
        .cfi_offset r8, -80-\red
        pushq   %r9
        .cfi_offset r9, -88-\red
        pushq   %r10
        .cfi_offset r10, -96-\red
        pushq   %r11
        .cfi_offset r11, -104-\red
        pushq   %r12
        .cfi_offset r12, -112-\red
        pushq   %r13
        .cfi_offset r13, -120-\red
        pushq   %r14
        .cfi_offset r14, -128-\red
        pushq   %r15
        .cfi_offset r15, -136-\red

        subq    arch_xsave_bytes(%rip), %rsp
        andq    $-64, %rsp
        movl    arch_xsave_mask(%rip), %eax
        movl    4+arch_xsave_mask(%rip), %edx
        cmpb    $1, arch_xsave_kind(%rip)
        jb      .Lfxsave\@
        xorl    %ecx, %ecx
        movq    %rcx, 512(%rsp)
        movq    %rcx, 520(%rsp)
        movq    %rcx, 528(%rsp)
        movq    %rcx, 536(%rsp)
        movq    %rcx, 544(%rsp)
        movq    %rcx, 552(%rsp)
        movq    %rcx, 560(%rsp)
        movq    %rcx, 568(%rsp)
        je      .Lxsave\@
        xsavec64 (%rsp)
.Lsaved\@:
        testb   $4, arch_xsave_mask(%rip)
        jz      .Lno_avx\@
        vzeroupper
.Lno_avx\@:
        fninit
        ldmxcsr .Lmxcsr_default(%rip)
        leaq    24+\red(%rbp), %rdi
        call    \upcall

        movl    arch_xsave_mask(%rip), %eax
        movl    4+arch_xsave_mask(%rip), %edx
        cmpb    $0, arch_xsave_kind(%rip)
        je      .Lfxrstor\@
        xrstor64 (%rsp)
.Lrestored\@:
        leaq    -112(%rbp), %rsp
        .cfi_remember_state
        popq    %r15
        .cfi_restore r15
        popq    %r14
        .cfi_restore r14
        popq    %r13
        .cfi_restore r13
        popq    %r12
        .cfi_restore r12
        popq    %r11
        .cfi_restore r11
        popq    %r10
        .cfi_restore r10
        popq    %r9
        .cfi_restore r9
        popq    %r8
        .cfi_restore r8
        popq    %rdi
        .cfi_restore rdi
        popq    %rsi
        .cfi_restore rsi
        popq    %rbx
        .cfi_restore rbx
        popq    %rdx
        .cfi_restore rdx
        popq    %rcx
        .cfi_restore rcx
        popq    %rax
        .cfi_restore rax
        popq    %rbp
        .cfi_restore rbp
        .cfi_def_cfa rsp, 16+\red
        popfq
        .cfi_adjust_cfa_offset -8
        ret     $\red
        .cfi_restore_state
.Lxsave\@:
        xsave64 (%rsp)
        jmp     .Lsaved\@
.Lfxsave\@:
        fxsave64 (%rsp)
        jmp     .Lno_avx\@
.Lfxrstor\@:
        fxrstor64 (%rsp)
        jmp     .Lrestored\@
        .cfi_endproc
        .size   \name, .-\name
        .endm

        trampoline arch_async_preempt, rt_preempt_yield, 128
        trampoline arch_prologue_preempt, preempt_at_prologue, 0

        .section .rodata
        .p2align 2
.Lmxcsr_default:
        .long   0x1f80

        .hidden arch_xsave_bytes, arch_xsave_mask, arch_xsave_kind
        .section .note.GNU-stack,"",@progbits
