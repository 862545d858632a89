/* morestack_wrap.S - x86-64: gcc -fsplit-stack links with --wrap=pthread_create, for libgcc to
 * give a new thread a guard word.  libgshim does that by itself: straight to pthread_create.
 * An object of its own: without --wrap there is no __real_pthread_create.
 */
        .text
        .globl  __wrap_pthread_create
        .hidden __wrap_pthread_create
        .type   __wrap_pthread_create, @function
        .p2align 4
__wrap_pthread_create:
        .cfi_startproc
        jmp     *__real_pthread_create@GOTPCREL(%rip)
        .cfi_endproc
        .size   __wrap_pthread_create, .-__wrap_pthread_create
        .section .note.GNU-stack,"",@progbits
