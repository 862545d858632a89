/* test_restart.c - arch_uc_restart_call: which interrupted system calls are begun again, told
 * from the instructions before them.  x86-64 code; other CPUs keep the number in a register.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "arch/arch.h"

#ifdef __x86_64__

enum { UNTOUCHED = -EINTR };

/* What rax is after CODE was interrupted at its end: the number of the call, or UNTOUCHED. */
static long restarted(const unsigned char *code, size_t n)
{
    unsigned char text[256];
    ucontext_t uc;
    greg_t *r = uc.uc_mcontext.gregs;
    memset(text, 0xcc, sizeof text);
    memcpy(text + 128, code, n);
    memset(&uc, 0, sizeof uc);
    r[REG_RAX] = -EINTR;
    r[REG_RIP] = (greg_t)(text + 128 + n);
    _Bool done = arch_uc_restart_call(&uc);
    cr_expect_eq(done, r[REG_RAX] != UNTOUCHED);
    cr_expect_eq(r[REG_RIP], (greg_t)(text + 128 + n) - (done ? 2 : 0));
    return (long)r[REG_RAX];
}

#define RESTARTED(...)                                                                   \
    restarted((const unsigned char[]){__VA_ARGS__},                                      \
              sizeof((unsigned char[]){__VA_ARGS__}))

Test(restart, number_right_before)
{
    cr_expect_eq(RESTARTED(0xb8, 0xe8, 0, 0, 0, 0x0f, 0x05), SYS_epoll_wait);
}

Test(restart, number_before_arguments)
{
    /* mov $281, %eax; mov 4(%rsp), %edi; xor %r10d, %r10d; syscall */
    cr_expect_eq(
        RESTARTED(0xb8, 0x19, 1, 0, 0, 0x8b, 0x7c, 0x24, 4, 0x45, 0x31, 0xd2, 0x0f, 0x05),
        SYS_epoll_pwait);
}

/* poll() gave EBADF: the size of the signal set, 8, was taken for lseek. */
Test(restart, constant_in_r8_is_no_number)
{
    /* mov $271, %eax; mov $8, %r8d; syscall */
    cr_expect_eq(RESTARTED(0xb8, 0x0f, 1, 0, 0, 0x41, 0xb8, 8, 0, 0, 0, 0x0f, 0x05),
                 SYS_ppoll);
    /* the number comes from elsewhere */
    cr_expect_eq(RESTARTED(0x89, 0xd8, 0x41, 0xb8, 8, 0, 0, 0, 0x0f, 0x05), UNTOUCHED);
}

Test(restart, close_is_done)
{
    cr_expect_eq(RESTARTED(0xb8, 3, 0, 0, 0, 0x0f, 0x05), UNTOUCHED);
}

Test(restart, rax_written_in_between)
{
    /* mov $8, %eax; mov %ebx, %eax; syscall */
    cr_expect_eq(RESTARTED(0xb8, 8, 0, 0, 0, 0x89, 0xd8, 0x0f, 0x05), UNTOUCHED);
}

#endif
