/* identity.h - a stack and, if wanted, a libc identity of our own, for tests that switch
 * to code on them.  Included by one test program each.
 *
 * The layout is that of shim/rt/stack.c, guard page included, without its arena: a stack
 * that overflows here kills the test at once.
 */
#ifndef GSHIM_TEST_IDENTITY_H
#define GSHIM_TEST_IDENTITY_H

#include <criterion/criterion.h>

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"
#include "shim/libc/libc.h"
#include "shim/libc/real.h"
#include "shim/os/os.h"

enum { TEST_STACK = 256 * 1024 };

static inline char *new_stack(void)
{
    char *p = mmap(NULL, TEST_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    cr_assert_neq((void *)p, MAP_FAILED);
    cr_assert_eq(mprotect(p, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE), 0);
    return p + TEST_STACK;
}

static inline void init_arch(void)
{
    arch_init(getauxval(AT_HWCAP2));
}

static inline void *probe_native_thread(void *arg)
{
    (void)arg;
    return (void *)(uintptr_t)libc_probe_native();
}

/* What rt_start does before it makes the first identity. */
static inline void init_libc(void)
{
    pthread_t t;
    void *why;

    libc_early();
    init_arch();
    os_init(REAL(clock_gettime));
    real_init();
    cr_assert_eq(os_gettid(), os_getpid(), "a test runs on its process's first thread");
    const char *refused = libc_probe((void *)arch_tp(), true);
    cr_assert_null(refused, "%s", refused);
    cr_assert_eq(pthread_create(&t, NULL, probe_native_thread, NULL), 0);
    cr_assert_eq(pthread_join(t, &why), 0);
    cr_assert_null(why, "%s", (char *)why);
}

/* A new identity; its memory is zeroed and never given back, as in the runtime. */
static inline void *new_identity(uint32_t tid)
{
    size_t bytes = libc_layout.tls_size + libc_layout.tcb_size + libc_layout.tls_align;
    char *p =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)p, MAP_FAILED);
    uintptr_t tcb = (uintptr_t)p + libc_layout.tls_size + libc_layout.tls_align - 1;
    tcb &= ~(uintptr_t)(libc_layout.tls_align - 1);
    cr_assert_eq(libc_tcb_make((void *)tcb, tid), 0);
    return (void *)tcb;
}

#endif
