/* sigsend.c - sending signals: to threads, to the own process, and by system call number.
 *
 * To a thread: sigqueue.c.  To the own process: when the program handles the signal and some G
 * does not block it, that G gets it without a detour through the kernel, so that kill of the
 * own process has delivered before it returns where POSIX wants that (the caller is the
 * only one that can take it; or it is the main thread, which is first choice in any case).
 * What is sent to the own process group comes by way of the kernel, perhaps on another kernel
 * thread; so when the caller alone can take it, it waits for that (to_group).
 * When all block it, it stays pending here: for the kernel some M between two Gs might have it
 * open, and the default action ends the process.  Otherwise the kernel acts.
 * signalfd reads what the kernel holds (and more: sigfd.c).  So from the first one on, what is sent
 * to the process, and all block, goes there.
 */
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shim/posix/block.h"
#include "shim/posix/posix.h"
#include "shim/posix/sigfd.h"
#include "shim/posix/signal.h"

static siginfo_t info_of(int sig, int code, union sigval value)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = sig;
    info.si_code = code;
    info.si_pid = os_getpid();
    info.si_uid = (uid_t)arch_syscall6(SYS_getuid, 0, 0, 0, 0, 0, 0);
    info.si_value = value;
    return info;
}

static long kernel_kill(long pid, int sig)
{
    return arch_syscall6(SYS_kill, pid, sig, 0, 0, 0, 0);
}

/* 0 or an errno value. */
static int to_thread(struct g *gp, int sig, const siginfo_t *info)
{
    if (sig != 0 && !signal_valid(sig))
        return EINVAL;
    if (sig == 0 || (ld_acq(&gp->join) & (JOIN_EXITED | JOIN_GONE)) != 0) /* [J1] */
        return 0; /* glibc 2.34: a thread that has ended is no error */
    if (sig == SIGKILL || sig == SIGSTOP)
        return (int)-kernel_kill(os_getpid(), sig);
    return signal_send(gp, sig, info);
}

EXPORT int pthread_kill(pthread_t t, int sig)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_kill)(t, sig);
    siginfo_t info = info_of(sig, SI_TKILL, (union sigval){0});
    return to_thread(gp, sig, &info);
}

EXPORT int pthread_sigqueue(pthread_t t, int sig, const union sigval value)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_sigqueue)(t, sig, value);
    siginfo_t info = info_of(sig, SI_QUEUE, value);
    return to_thread(gp, sig, &info);
}

EXPORT int raise(int sig)
{
    struct g *gp = rt_self();
    if (gp == NULL)
        return REAL(raise)(sig);
    siginfo_t info = info_of(sig, SI_TKILL, (union sigval){0});
    EXIT_ERRNO(to_thread(gp, sig, &info));
}

ALIAS(gsignal, raise);

/* --- by tid --------------------------------------------------------------------------------- */

/* The G that TID names to the program; the main thread has the process's. */
static struct g *g_of(long tid)
{
    if (!rt_is_started())
        return NULL;
    return tid == os_getpid() ? rt_main_g() : g_of_tid((uint32_t)tid);
}

/* INFO NULL: made here.  0 or -errno; or 1: for the kernel. */
static long to_tid(long tgid, long tid, int sig, const siginfo_t *info)
{
    struct g *gp = tgid > 0 && tid > 0 ? g_of(tid) : NULL;
    if (gp == NULL)
        return 1;
    if (tgid != os_getpid())
        return -ESRCH;
    siginfo_t made;
    if (info == NULL) {
        made = info_of(sig, SI_TKILL, (union sigval){0});
        info = &made;
    }
    return -to_thread(gp, sig, info);
}

/* --- to the process --------------------------------------------------------------------------- */

/* 0, EAGAIN, or ESRCH: it is for the kernel. */
static int to_own_process(int sig, const siginfo_t *info)
{
    struct rt_section s;
    if (!rt_is_started())
        return ESRCH;
    rt_enter(&s);
    int err = signal_handled(sig) ? signal_dispatch(sig, info, s.gp) : ESRCH;
    if (err == ESRCH && !ld_rlx(&sigfd_used) && !signal_wanted_now(sig))
        err = signal_to_process(sig, info, s.gp);
    rt_exit(&s); /* here its handler runs, if it is for us */
    if (err == ESRCH)
        signal_mask_sync();
    return err;
}

/* Signals that were sent to the process and have found their G, by number; futexes. */
static uint32_t arrived[SIGNAL_LAST + 1]; /* atomic */
static bool group_used;                   /* somebody looks there; atomic */

void signal_arrived(int sig)
{
    if (likely(!ld_rlx(&group_used)))
        return;
    add_rel(&arrived[sig], 1); /* MO: release -> [Z8] */
    os_futex_wake(&arrived[sig], INT_MAX);
}

static bool others_take(const struct g *self, int sig)
{
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp))
        if (gp != self && ld_rlx(&gp->sig_open) && signal_accepts(gp, sig))
            return true;
    return false;
}

/* POSIX kill: when the signal is for the own process as well, and nobody but the caller can
 * take it, it has been delivered on return.  The program may ignore it at any moment. */
static long to_group(struct g *gp, long pid, int sig)
{
    enum { AGAIN_NS = 10 * 1000 * 1000 };
    struct rt_section s;
    st_rlx(&group_used, true);
    uint32_t before = ld_acq(&arrived[sig]); /* MO: acquire <- [Z8] */
    long r = kernel_kill(pid, sig);
    rt_block_begin(true);
    while (r == 0 && ld_acq(&arrived[sig]) == before && /* MO: acquire <- [Z8] */
           signal_handled(sig))
        os_futex_wait(&arrived[sig], before, os_now_ns() + AGAIN_NS);
    rt_block_end();
    rt_enter(&s);
    if (signal_due(gp) != 0)
        st_rlx(&gp->attention, true);
    rt_exit(&s); /* here its handler runs */
    return r;
}

static bool to_own_group(long pid)
{
    return pid == 0 || (pid < -1 && -pid == arch_syscall6(SYS_getpgid, 0, 0, 0, 0, 0, 0));
}

static long do_kill(long pid, int sig)
{
    struct g *gp = rt_self();
    if (pid <= 0 && gp != NULL && signal_valid(sig) && signal_handled(sig) &&
        !ld_rlx(&sigfd_used) && to_own_group(pid) && signal_accepts(gp, sig) &&
        !others_take(gp, sig))
        return to_group(gp, pid, sig);
    if (pid == os_getpid() && signal_valid(sig)) {
        siginfo_t info = info_of(sig, SI_USER, (union sigval){0});
        int err = to_own_process(sig, &info);
        if (err != ESRCH)
            return -err;
    }
    return kernel_kill(pid, sig);
}

static long do_queue(long pid, int sig, const siginfo_t *info)
{
    int err = pid == os_getpid() && signal_valid(sig) ? to_own_process(sig, info) : ESRCH;
    if (err != ESRCH)
        return -err;
    return arch_syscall6(SYS_rt_sigqueueinfo, pid, sig, (long)info, 0, 0, 0);
}

EXPORT int kill(pid_t pid, int sig)
{
    EXIT_ERRNO((int)-do_kill(pid, sig));
}

EXPORT int killpg(pid_t group, int sig)
{
    if (group < 0)
        EXIT_ERRNO(EINVAL);
    return kill(-group, sig);
}

EXPORT int sigqueue(pid_t pid, int sig, const union sigval value)
{
    siginfo_t info = info_of(sig, SI_QUEUE, value);
    EXIT_ERRNO((int)-do_queue(pid, sig, &info));
}

EXPORT int tgkill(pid_t tgid, pid_t tid, int sig)
{
    long r = to_tid(tgid, tid, sig, NULL);
    if (r == 1)
        r = arch_syscall6(SYS_tgkill, tgid, tid, sig, 0, 0, 0);
    EXIT_ERRNO((int)-r);
}

/* --- system calls by number ------------------------------------------------------------------- */

/* The kernel's struct sigaction. */
struct kernel_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

static long raw_action(int sig, const struct kernel_action *set,
                       struct kernel_action *old)
{
    struct sigaction sa = {.sa_flags = 0}, was;
    if (set != NULL) {
        sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))set->handler;
        sa.sa_flags = (int)set->flags;
        signal_set_of(&sa.sa_mask, set->mask);
    }
    if (sigaction(sig, set != NULL ? &sa : NULL, old != NULL ? &was : NULL) != 0)
        return -errno;
    if (old != NULL)
        *old = (struct kernel_action){.handler = (void *)was.sa_sigaction,
                                      .flags = (unsigned)was.sa_flags,
                                      .mask = signal_mask_of(&was.sa_mask)};
    return 0;
}

static long raw_mask(int how, const uint64_t *set, uint64_t *old)
{
    sigset_t new, was;
    if (set != NULL)
        signal_set_of(&new, *set);
    int err = pthread_sigmask(how, set != NULL ? &new : NULL, &was);
    if (err == 0 && old != NULL)
        *old = signal_mask_of(&was);
    return -err;
}

/* The kernel looks at 32 bits of a pid, and the program may have given no more. */
bool signal_syscall(long *ret, long nr, const long *a)
{
    long r = 1;
    if (!rt_is_started())
        return false;
    switch (nr) {
    case SYS_tkill:
        r = to_tid(os_getpid(), (pid_t)a[0], (int)a[1], NULL);
        break;
    case SYS_tgkill:
        r = to_tid((pid_t)a[0], (pid_t)a[1], (int)a[2], NULL);
        break;
    case SYS_rt_tgsigqueueinfo:
        r = to_tid((pid_t)a[0], (pid_t)a[1], (int)a[2], (const siginfo_t *)a[3]);
        break;
    case SYS_rt_sigqueueinfo:
        r = do_queue((pid_t)a[0], (int)a[1], (const siginfo_t *)a[2]);
        break;
    case SYS_kill:
        r = do_kill((pid_t)a[0], (int)a[1]);
        break;
    case SYS_signalfd:
    case SYS_signalfd4:
        st_rlx(&sigfd_used, true);
        break;
    case SYS_rt_sigaction:
        if (a[3] == sizeof(uint64_t) && signal_valid((int)a[0]))
            r = raw_action((int)a[0], (const struct kernel_action *)a[1],
                           (struct kernel_action *)a[2]);
        break;
    case SYS_rt_sigprocmask:
        if (a[3] == sizeof(uint64_t))
            r = raw_mask((int)a[0], (const uint64_t *)a[1], (uint64_t *)a[2]);
        break;
    case SYS_sigaltstack:
        r = sigaltstack((const stack_t *)a[0], (stack_t *)a[1]) == 0 ? 0 : -errno;
        break;
    default:
        break;
    }
    *ret = r;
    return r <= 0;
}
