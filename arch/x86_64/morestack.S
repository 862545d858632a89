/* morestack.S - x86-64: what -fsplit-stack code calls at the beginning of a function; linked
 * into the program (libgshim-split.a), in the place of libgcc's.
 *
 * A function that gcc (or clang) compiled with -fsplit-stack compares its stack pointer, less
 * its frame, with the guard word of the thread, and below it calls here:
 *
 *              cmpq    %fs:0x70, %rsp          (a large frame: leaq -N(%rsp), %r11 first)
 *              jb      1f
 *      0:      ...
 *      1:      movl    $frame, %r10d           after movq %r10, %rax, if it has a static chain
 *              movl    $arguments, %r11d       bytes of arguments on the stack
 *              call    __morestack
 *              ret
 *              [movq   %rax, %r10]             static chain
 *              [leaq   24(%rbp), %r11]         variable arguments: where they are
 *              jmp     0b
 *
 * The protocol (gcc/config/i386/i386.cc, ix86_expand_split_stack_prologue): __morestack calls
 * the instruction after the `ret`, with the arguments copied to the top of the stack and rbp as
 * a frame pointer from which the function finds its arguments; when the function returns, so does
 * __morestack, to the `ret`.  Here the stack is one piece, so nothing is to be moved for its own
 * sake; but the call is what the protocol asks for, and the copy what the callee looks at.
 *
 *      +24  the function's arguments on the stack, if any
 *      +16  return address of the function
 *      + 8  address of the `ret`
 *      + 0  rbp of the function's caller   <- rbp
 *      - 8  rdi rsi rcx, or unused
 *           the arguments' copy, aligned as they are up to 64: wide vectors may be among them
 *           rbp + 8, + 1                   <- rsp in the function
 *
 *   in: r10 r11; rax rdx rcx rdi rsi r8 r9 and all vector registers may hold arguments
 *   out: as the function leaves it; clobbers before it runs: r10, r11, flags
 *
 * The guard of a thread is zero, and nobody comes here, unless libgshim is in the process: it
 * sets the word to the end of the stack, or to a value above every stack when the thread is to let
 * others run.  gold and lld turn the comparison before calls into code that was compiled
 * otherwise into one that always comes here (by __morestack_non_split), so it is made once more.
 *
 * gshim_morestack (prologue.S) decides and waits; it leaves every register as it was.  It is
 * reached through the GOT, since the resolver behind a PLT keeps neither r10 nor r11; weak, as
 * the program shall run without the library.
 *
 * CFI: until the function is called this is an ordinary frame below it.  From then on the frame
 * of the function comes twice, so the unwinder is told to go on at the function's caller (as
 * libgcc's does: the return address is at CFA + 0 and rsp is CFA + 8): a landing pad knows no
 * `ret` of a function that has not begun.
 * Rejected: to jump behind the `ret` with no frame of ours.  The function would find wrong
 * variable arguments, as only a guess at its code tells which function has any.
 */
        .text
        .globl  __morestack, __morestack_non_split
        .hidden __morestack, __morestack_non_split
        .type   __morestack, @function
        .type   __morestack_non_split, @function
        .p2align 4
__morestack_non_split:
        .cfi_startproc
        nop                             /* a place of its own, or debuggers mix up the names */
__morestack:
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register rbp
        negq    %r10
        leaq    16(%rsp, %r10), %r10    /* where the frame ends */
        cmpq    %fs:0x70, %r10
        jae     .Lgo_on
        subq    %rsp, %r10
        negq    %r10
        addq    $16, %r10
        cmpq    $0, gshim_morestack@GOTPCREL(%rip)
        je      .Lgo_on
        call    *gshim_morestack@GOTPCREL(%rip)
.Lgo_on:
        .cfi_offset rip, 0
        .cfi_escape 0x15, 7, 0x7f       /* DW_CFA_val_offset_sf: rsp = CFA + 8 */
        testq   %r11, %r11
        jnz     .Lcopy
        pushq   %rdi                    /* alignment only */
.Lcall:
        movq    8(%rbp), %r10
        incq    %r10
        call    *%r10
        movq    %rbp, %rsp
        .cfi_def_cfa_register rsp
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbp
        ret
        .cfi_def_cfa rbp, 16
        .cfi_offset rbp, -16
.Lcopy:
        pushq   %rdi
        pushq   %rsi
        pushq   %rcx
        leaq    24(%rbp), %rsi
        leaq    63(%rsi, %r11), %rcx
        subq    %rsp, %rcx
        andq    $-64, %rcx
        movq    %rsi, %rdi
        subq    %rcx, %rdi
        movq    %rdi, %rsp
        leaq    7(%r11), %rcx
        shrq    $3, %rcx
        rep movsq
        movq    -8(%rbp), %rdi
        movq    -16(%rbp), %rsi
        movq    -24(%rbp), %rcx
        jmp     .Lcall
        .cfi_endproc
        .size   __morestack, .-__morestack
        .size   __morestack_non_split, 1

/* The large code model has both sizes in r10: the frame below, the arguments above. */
        .globl  __morestack_large_model
        .hidden __morestack_large_model
        .type   __morestack_large_model, @function
        .p2align 4
__morestack_large_model:
        .cfi_startproc
        movq    %r10, %r11
        movl    %r10d, %r10d
        sarq    $32, %r11
        jmp     __morestack
        .cfi_endproc
        .size   __morestack_large_model, .-__morestack_large_model

/* void *__morestack_allocate_stack_space(size_t bytes)
 *   in: rdi      out: rax, 16-aligned; all else as after a call, but rsp is lower
 * alloca that found no room above the guard.  The caller has a frame pointer and does not
 * rely on rsp, so the memory is taken below its frame as the caller itself would have; ALLOCA_GAP
 * bytes stay below it, for arguments of calls that the caller reserved there in advance
 * (-maccumulate-outgoing-args).  The return address is pushed again rather than jumped
 * to, so that shadow stacks match.
 * CFI: between the two the return address is in rdx, and rsp need not be what it was. */
#define ALLOCA_GAP 1024
        .globl  __morestack_allocate_stack_space
        .hidden __morestack_allocate_stack_space
        .type   __morestack_allocate_stack_space, @function
        .p2align 4
__morestack_allocate_stack_space:
        .cfi_startproc
        addq    $ALLOCA_GAP + 15, %rdi
        andq    $-16, %rdi
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        cmpq    $0, gshim_morestack_alloca@GOTPCREL(%rip)
        je      .Lallocate
        call    *gshim_morestack_alloca@GOTPCREL(%rip)
.Lallocate:
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        popq    %rdx
        .cfi_adjust_cfa_offset -8
        .cfi_register rip, rdx
        subq    %rdi, %rsp
        leaq    ALLOCA_GAP(%rsp), %rax
        pushq   %rdx
        .cfi_adjust_cfa_offset 8
        .cfi_offset rip, -8
        ret
        .cfi_endproc
        .size   __morestack_allocate_stack_space, .-__morestack_allocate_stack_space

/* Tells the library, if there is one, that guard words are looked at. */
        .type   announce, @function
        .p2align 4
announce:
        .cfi_startproc
        cmpq    $0, gshim_split_stack@GOTPCREL(%rip)
        je      .Lnone
        jmp     *gshim_split_stack@GOTPCREL(%rip)
.Lnone:
        ret
        .cfi_endproc
        .size   announce, .-announce
        .section .init_array, "aw", @init_array
        .p2align 3
        .quad   announce

        .weak   gshim_morestack, gshim_morestack_alloca, gshim_split_stack
        .section .note.GNU-stack,"",@progbits
