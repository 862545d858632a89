/* context.S - x86-64: where the function of a context that makecontext made returns to.
 *
 * arch_context_end
 *   in: rbx the address of uc_link, above the function's arguments, as glibc's makecontext leaves
 *   it for the code of its own that this stands in for (arch_uc_return).
 * Calls arch_context_next with that link, which does not return.  The undefined return address
 * ends every unwinder's walk here; the entry lies one byte into the function, since unwinders
 * look up the byte before a return address.                                                */
        .text
        .globl  arch_context_end
        .hidden arch_context_end
        .type   arch_context_end, @function
        .p2align 4
        .cfi_startproc
        .cfi_undefined rip
        nop
arch_context_end:
        movq    (%rbx), %rdi
        movq    %rbx, %rsp
        andq    $-16, %rsp
        call    *arch_context_next(%rip)
        ud2
        .cfi_endproc
        .size   arch_context_end, .-arch_context_end
        .hidden arch_context_next
        .section .note.GNU-stack,"",@progbits
