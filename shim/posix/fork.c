/* fork.c - making processes from a G.
 *
 * fork itself is libc's, which runs it with its own locks taken; so are all that call it inside
 * libc (daemon, forkpty) or need none of it (posix_spawn, system and popen clone with shared
 * memory and a stack of their own).  In the child one thread is left, the G that forked, on
 * its own stack: the runtime is forgotten (posix_fork_child), before any other handler of the
 * child runs, which may lock, wake or create threads.
 *   To be the first, our handler is registered ahead of the first that anybody registers: the
 *   constructors of other libraries may run before ours.
 * The world is not stopped: nothing that another thread may have half done at that moment is
 * looked at in the child; locks are set free and lists emptied, and of memory only what was
 * never published is lost.
 * vfork would share our state with a child that runs on the parent's stack: it is fork in a
 * process with threads of ours.  Without, nothing of ours is in use, and it is libc's: a
 * program that starts many others need not copy its page tables for each.
 * _Fork and clone without shared memory run no handlers, so we call ours.  A child of clone
 * with shared memory that its parent waits for (CLONE_VM, CLONE_VFORK) sees our state with no
 * kernel thread of it: it runs as a foreign thread, for which our entry points touch none.
 */
#include <sched.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim/posix/fork.h"
#include "shim/posix/posix.h"
#include "shim/rt/netpoll.h"

static void before(void)
{
    net_shared_all();
    net_fork_begin();
}

static void after(void)
{
    net_shared_all();
    net_fork_end();
}

void fork_register(void)
{
    static bool done;
    if (!xchg_ar(&done, true)) /* MO: nothing is published; once only */
        REAL(__register_atfork)(before, after, posix_fork_child, NULL);
}

EXPORT int __register_atfork(void (*prepare)(void), void (*parent)(void),
                             void (*child)(void), void *dso)
{
    fork_register();
    return REAL(__register_atfork)(prepare, parent, child, dso);
}

static __attribute__((used)) void *vfork_choose(void)
{
    return rt_is_started() ? (void *)fork : (void *)REAL(vfork);
}

ARCH_JUMP_CHOSEN(vfork, vfork_choose);

EXPORT pid_t _Fork(void)
{
    net_fork_begin();
    pid_t pid = REAL(_Fork)();
    if (pid == 0)
        posix_fork_child();
    else
        after();
    return pid;
}

/* --- clone --------------------------------------------------------------------------------- */

struct clone_start {
    int (*fn)(void *);
    void *arg;
    uint64_t sigmask;
};

/* In a copy of the memory.  libc would end the kernel thread only, which is the process when
 * there is no other; now sysmon may be there. */
static int run_copy(void *arg)
{
    struct clone_start s = *(struct clone_start *)arg;
    posix_fork_child();
    _exit(s.fn(s.arg));
}

/* In the parent's memory, while that waits. */
static int run_shared(void *arg)
{
    struct clone_start s = *(struct clone_start *)arg;
    os_sigmask(SIG_SETMASK, &s.sigmask, NULL);
    return s.fn(s.arg);
}

static int clone_shared(struct clone_start *s, void *stack, int flags, pid_t *ptid,
                        void *tls, pid_t *ctid)
{
    struct g *gp = rt_self();
    uint64_t all = ~0ull;
    rt_block_begin(true);
    os_sigmask(SIG_SETMASK, &all, &s->sigmask);
    arch_self_set(NULL);
    int pid = REAL(clone)(run_shared, stack, flags, s, ptid, tls, ctid);
    arch_self_set(gp);
    os_sigmask(SIG_SETMASK, &s->sigmask, NULL);
    rt_block_end();
    return pid;
}

EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
    struct clone_start s = {.fn = fn, .arg = arg};
    va_list ap;
    va_start(ap, arg);
    pid_t *ptid = va_arg(ap, pid_t *);
    void *tls = va_arg(ap, void *);
    pid_t *ctid = va_arg(ap, pid_t *);
    va_end(ap);
    if (rt_self() == NULL || fn == NULL)
        return REAL(clone)(fn, stack, flags, arg, ptid, tls, ctid);
    if ((flags & CLONE_VM) == 0) {
        net_fork_begin();
        int pid = REAL(clone)(run_copy, stack, flags, &s, ptid, tls, ctid);
        after();
        return pid;
    }
    if ((flags & CLONE_VFORK) != 0 && (flags & CLONE_SETTLS) == 0)
        return clone_shared(&s, stack, flags, ptid, tls, ctid);
    return REAL(clone)(fn, stack, flags, arg, ptid, tls, ctid);
}

void fork_after_syscall(long nr, const long *a, long ret)
{
    if (ret < 0 || rt_self() == NULL)
        return;
    bool copy = nr == SYS_clone && (a[0] & CLONE_VM) == 0;
#ifdef SYS_fork
    copy |= nr == SYS_fork;
#endif
    copy |= nr == SYS_clone3 && (*(const uint64_t *)a[0] & CLONE_VM) == 0;
    if (copy && ret == 0)
        posix_fork_child();
    else if (copy)
        net_shared_all();
}
