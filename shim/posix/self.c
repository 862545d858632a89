/* self.c - what a thread is and is called: tid, name, attributes, CPU clock. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim/posix/block.h"
#include "shim/posix/bound.h"
#include "shim/posix/fork.h"
#include "shim/posix/posix.h"
#include "shim/posix/sched.h"
#include "shim/posix/signal.h"
#include "shim/posix/sys.h"

EXPORT pid_t gettid(void)
{
    struct g *gp = rt_self();
    return gp != NULL ? (pid_t)gp->tid : os_gettid();
}

static char *page_up(const char *p)
{
    uintptr_t page = os_page_size();
    return (char *)(((uintptr_t)p + page - 1) / page * page);
}

/* The reported range is whole pages, as glibc's is: a JVM maps its own guard pages at the low
 * end.  Rounding up keeps it inside what the thread was given, and every frame in it; the
 * TLS that lies above is partly in it, as in glibc. */
EXPORT int pthread_getattr_np(pthread_t t, pthread_attr_t *attr)
{
    struct g *gp = posix_g(t);
    if (gp == NULL || gp->block_lo == NULL) /* the main thread's stack is the kernel's */
        return REAL(pthread_getattr_np)(t, attr);
    bool detached = (ld_rlx(&gp->join) & JOIN_DETACHED) != 0;
    struct sched_param param = {0};
    int policy;
    sched_get_policy(gp, &policy, &param.sched_priority);
    pthread_attr_init(attr);
    char *lo = gp->stack_hi - gp->stack_bytes, *hi = gp->stack_hi;
    if (!gp->user_stack) {
        lo = page_up(lo);
        hi = page_up(hi);
    }
    pthread_attr_setstack(attr, lo, (size_t)(hi - lo));
    size_t page = os_page_size(), guard = gp->user_stack ? 0 : gp->guard_bytes;
    pthread_attr_setguardsize(attr, (guard + page - 1) / page * page);
    pthread_attr_setschedpolicy(attr, policy);
    pthread_attr_setschedparam(attr, &param);
    pthread_attr_setdetachstate(attr, detached ? PTHREAD_CREATE_DETACHED
                                               : PTHREAD_CREATE_JOINABLE);
    pthread_attr_setinheritsched(attr, gp->sched_explicit ? PTHREAD_EXPLICIT_SCHED
                                                          : PTHREAD_INHERIT_SCHED);
    cpu_set_t cpus;
    if (pthread_getaffinity_np(t, sizeof cpus, &cpus) == 0)
        pthread_attr_setaffinity_np(attr, sizeof cpus, &cpus);
    return 0;
}

/* --- names ----------------------------------------------------------------------------- */

/* The main thread's name is also the process's, shown by ps: the kernel keeps it. */
static bool kernel_named(const struct g *gp)
{
    return gp == NULL || gp->block_lo == NULL;
}

static int main_comm(int flags, char *buf, size_t n)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", os_getpid());
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return errno;
    ssize_t r = flags == O_RDONLY ? read(fd, buf, n) : write(fd, buf, n);
    int err = r < 0 ? errno : 0;
    close(fd);
    if (err == 0 && flags == O_RDONLY)
        buf[r > 0 ? r - 1 : 0] = '\0'; /* ends in a newline */
    return err;
}

EXPORT int pthread_setname_np(pthread_t t, const char *name)
{
    struct g *gp = posix_g(t);
    size_t len = strlen(name);
    if (len >= RT_NAME)
        return ERANGE;
    if (gp == NULL)
        return REAL(pthread_setname_np)(t, name);
    if (kernel_named(gp))
        return main_comm(O_RDWR, (char *)(uintptr_t)name, len);
    memcpy(gp->name, name, len + 1);
    gp->named = true;
    if (gp == rt_self() && gp->lockedm != NULL)
        os_set_name(gp->name); /* its M is its own */
    return 0;
}

EXPORT int pthread_getname_np(pthread_t t, char *buf, size_t n)
{
    struct g *gp = posix_g(t);
    if (n < RT_NAME)
        return ERANGE;
    if (gp == NULL)
        return REAL(pthread_getname_np)(t, buf, n);
    if (kernel_named(gp) || !gp->named) /* it has the name of the process */
        return main_comm(O_RDONLY, buf, n);
    memcpy(buf, gp->name, RT_NAME);
    return 0;
}

EXPORT int prctl(int option, ...)
{
    va_list ap;
    unsigned long a[4];
    struct g *gp = rt_self();
    va_start(ap, option);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(ap, unsigned long);
    va_end(ap);
    if (gp != NULL && option == PR_GET_NAME)
        EXIT_ERRNO(pthread_getname_np((pthread_t)gp->tcb, (char *)a[0], RT_NAME));
    if (gp != NULL && option == PR_SET_NAME) {
        char name[RT_NAME] = {0};
        strncpy(name, (const char *)a[0], sizeof name - 1); /* prctl(2): silently cut */
        EXIT_ERRNO(pthread_setname_np((pthread_t)gp->tcb, name));
    }
    const long args[6] = {option, (long)a[0], (long)a[1], (long)a[2], (long)a[3]};
    long r;
    if (gp == NULL || !bound_syscall(&r, SYS_prctl, args))
        return REAL(prctl)(option, a[0], a[1], a[2], a[3]);
    if (r >= 0)
        return (int)r;
    errno = (int)-r;
    return -1;
}

EXPORT int pthread_getcpuclockid(pthread_t t, clockid_t *clock)
{
    struct g *gp = posix_g(t);
    if (gp != NULL && (ld_rlx(&gp->join) & (JOIN_EXITED | JOIN_GONE)) != 0)
        return ESRCH;
    if (gp == NULL)
        return REAL(pthread_getcpuclockid)(t, clock);
    /* The kernel's form for a thread's scheduler clock, around a tid of ours (time.c). */
    *clock = (clockid_t)((~gp->tid << 3) | 6);
    return 0;
}

/* --- system calls by number --------------------------------------------------------------- */

EXPORT long syscall(long nr, ...)
{
    va_list ap;
    long a[6], ret;
    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (nr == SYS_gettid)
        return gettid();
    if (nr == SYS_set_tid_address && rt_self() != NULL)
        return gettid(); /* the word is cleared when the kernel thread ends, which is not ours */
    bool done = signal_syscall(&ret, nr, a) || (!posix_off && bound_syscall(&ret, nr, a));
    if (nr == SYS_futex && !posix_off)
        done =
            sync_futex(&ret, (uint32_t *)a[0], (int)a[1], (uint32_t)a[2],
                       (const struct timespec *)a[3], (uint32_t *)a[4], (uint32_t)a[5]);
    if (!done && !io_syscall(&ret, nr, a)) {
        if (nr == SYS_futex)
            ret = block_call(BLOCK_LONG, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
        else
            ret = arch_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
        fork_after_syscall(nr, a, ret);
    }
    if (ret < 0 && ret > -4096) {
        errno = (int)-ret;
        return -1;
    }
    return ret;
}

/* So many yields from G to G go with one of the kernel's: 1 % of what they cost. */
enum { KERNEL_YIELDS = 1024 };

EXPORT int sched_yield(void)
{
    struct rt_section s;
    struct g *gp = rt_self();
    if (gp == NULL) {
        os_yield();
        return 0;
    }
    bool bound = gp->lockedm != NULL || gp->policy != 0, alone = false;
    rt_enter(&s);
    /* A bound one leaves others to an idle P, if there is one: it would sleep until somebody gives
     * it its turn, and so be no match for those of its priority on its CPU. */
    if (unlikely(bound && ld_rlx(&sched.npidle) != 0))
        proc_wakep();
    else
        alone = !rt_yield(gp);
    rt_exit(&s);
    /* Others may share this CPU by their own kernel threads, at the same priority; and the thread
     * that a spinning one waits for may be on an M that waits for this CPU, be the spinning one
     * alone on its P or among its like. */
    if (unlikely(bound || alone || ++gp->yields % KERNEL_YIELDS == 0))
        os_yield();
    return 0;
}

/* <pthread.h> renames pthread_yield to sched_yield; old binaries import it. */
EXPORT extern __typeof__(sched_yield) old_pthread_yield __asm__("pthread_yield")
    __attribute__((alias("sched_yield"), nothrow, leaf));
