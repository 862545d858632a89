/* sigwait.c - waiting for signals.
 *
 * sigwait, sigwaitinfo, sigtimedwait take what is pending on the G first; then they wait in the
 * kernel, which has what was sent to the process.  What other threads send meanwhile: g.sig_wait
 * tells them to kick in spite of the mask; the kick ends the kernel's wait as the signal
 * would, and the entry is taken.
 * "sig_wait = set, look at the queue" and "put the entry in, look at sig_wait" are both under
 * the lock of the queue, so one of the two sees the other.  The kick is for the M on which the
 * G was then; so the G looks again when it cannot leave its M any more (BLOCK_LOOK) [Z7]: "put in;
 * fence; load g.m" against "m is fixed; fence; look at the queue".
 *
 * sigsuspend and pause park: the mask is swapped (signal_mask_wait), which also tells the
 * catcher, and the park ends when a handler was run.  The kernel's mask may be open before: so
 * whether one was run already is asked in the section of the park.
 */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preempt/preempt.h"
#include "shim/posix/block.h"
#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

enum { NS_PER_S = 1000000000 };

bool signal_has_come(const struct g *gp)
{
    fence_sc(); /* MO: [Z7] */
    return (ld_rlx(&gp->sigpend) & gp->sig_wait) != 0;
}

/* --- for a set ------------------------------------------------------------------------------ */

/* Say for what we wait, and take what is there already. */
static int begin_wait(struct g *gp, uint64_t set, siginfo_t *info)
{
    struct rt_section s;
    rt_enter(&s);
    rt_lock(&gp->sig_lock);
    st_rlx(&gp->sig_wait, set);
    rt_unlock(&gp->sig_lock);
    int sig = signal_take(gp, set, info);
    if (sig == 0)
        sig = signal_process_take(set, info);
    rt_exit(&s);
    return sig;
}

/* What was sent to the process meanwhile, for us, is for another that waits. */
static void end_wait(struct g *gp, uint64_t set)
{
    struct rt_section s;
    st_rlx(&gp->sig_wait, 0);
    fence_sc(); /* MO: [Z5] */
    if (likely((ld_rlx(&gp->sigpend) & set) == 0))
        return;
    rt_enter(&s);
    signal_retarget(gp, set);
    rt_exit(&s);
}

static long in_kernel(const uint64_t *set, siginfo_t *info, int64_t deadline_ns)
{
    struct timespec left, *tp = NULL;
    unsigned flags = BLOCK_CANCEL | BLOCK_ONCE | BLOCK_LONG | BLOCK_LOOK;
    if (deadline_ns != RT_FOREVER) {
        int64_t ns = deadline_ns != 0 ? deadline_ns - os_now_ns() : 0;
        ns = ns > 0 ? ns : 0;
        if (ns == 0)
            flags &= ~(unsigned)BLOCK_LONG;
        left = (struct timespec){ns / NS_PER_S, ns % NS_PER_S};
        tp = &left;
    }
    return block_call(flags, SYS_rt_sigtimedwait, (long)set, (long)info, (long)tp,
                      sizeof *set, 0, 0);
}

/* The signal's number, or -errno. */
static long wait_for(struct g *gp, uint64_t set, siginfo_t *info, int64_t deadline_ns)
{
    long r;
    signal_mask_sync();
    do {
        r = begin_wait(gp, set, info);
        if (r == 0)
            r = in_kernel(&set, info, deadline_ns);
    } while (r == -ERESTART || (r > 0 && kick_came(gp->m, info)));
    end_wait(gp, set);
    return r;
}

/* The number, or -1 and errno. */
static int wait_info(struct g *gp, const sigset_t *set, siginfo_t *info,
                     int64_t deadline_ns)
{
    siginfo_t got;
    long r = wait_for(gp, signal_mask_of(set), &got, deadline_ns);
    if (r < 0) {
        errno = (int)-r;
        return -1;
    }
    if (info != NULL) {
        *info = got;
        if (got.si_code == SI_TKILL) /* as glibc: how raise is made is its own affair */
            info->si_code = SI_USER;
    }
    return (int)r;
}

EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info,
                        const struct timespec *timeout)
{
    struct g *gp = rt_self();
    if (gp == NULL)
        return REAL(sigtimedwait)(set, info, timeout);
    if (timeout == NULL)
        return wait_info(gp, set, info, RT_FOREVER);
    if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= NS_PER_S) {
        errno = EINVAL;
        return -1;
    }
    if (timeout->tv_sec == 0 && timeout->tv_nsec == 0)
        return wait_info(gp, set, info, 0);
    int64_t ns = timeout->tv_sec < INT64_MAX / NS_PER_S / 2
                     ? (int64_t)timeout->tv_sec * NS_PER_S + timeout->tv_nsec
                     : INT64_MAX / 2;
    return wait_info(gp, set, info, os_now_ns() + ns);
}

EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    return sigtimedwait(set, info, NULL);
}

EXPORT int sigwait(const sigset_t *set, int *sig)
{
    struct g *gp = rt_self();
    siginfo_t info;
    long r;
    if (gp == NULL)
        return REAL(sigwait)(set, sig);
    do
        r = wait_for(gp, signal_mask_of(set), &info, RT_FOREVER);
    while (r == -EINTR); /* POSIX: none such */
    if (r < 0)
        return (int)-r;
    *sig = (int)r;
    return 0;
}

EXPORT int sigpending(sigset_t *set)
{
    struct g *gp = rt_self();
    uint64_t pending = 0;
    if (gp == NULL)
        return REAL(sigpending)(set);
    signal_mask_sync();
    arch_syscall6(SYS_rt_sigpending, (long)&pending, sizeof pending, 0, 0, 0, 0);
    pending |= ld_rlx(&gp->sigpend) | signal_process_pending();
    signal_set_of(set, pending & gp->sigmask);
    return 0;
}

/* --- for any handler ------------------------------------------------------------------------- */

struct suspended {
    struct g *gp;
    uint32_t ran; /* gp->sig_ran before the mask opened */
};

/* In the section of the wait, where no handler runs any more. */
static bool none_ran(void *arg)
{
    const struct suspended *s = arg;
    return s->gp->sig_ran == s->ran;
}

void signal_suspend(struct g *gp, uint64_t mask)
{
    struct suspended s = {gp, gp->sig_ran};
    struct park_op op = {.key = &gp->sig_ran,
                         .validate = none_ran,
                         .arg = &s,
                         .deadline_ns = RT_FOREVER,
                         .reason = WAIT_SIGNAL,
                         .ended_by = PARK_BY_SIGNAL | PARK_BY_CANCEL};
    uint64_t old = signal_mask_wait(gp, mask);
    sync_cancel_point();
    while (gp->sig_ran == s.ran) {
        if (park_wait(&op, NULL) == ECANCELED)
            sync_cancel_point();
    }
    signal_mask_done(gp, old);
}

EXPORT int sigsuspend(const sigset_t *set)
{
    struct g *gp = rt_self();
    if (gp == NULL)
        return REAL(sigsuspend)(set);
    signal_suspend(gp, signal_mask_of(set));
    EXIT_ERRNO(EINTR);
}

ALIAS(__sigsuspend, sigsuspend);

EXPORT int pause(void)
{
    struct g *gp = rt_self();
    if (gp == NULL)
        return REAL(pause)();
    signal_suspend(gp, gp->sigmask);
    EXIT_ERRNO(EINTR);
}

/* IS_SIG: wait with that signal open, else with BSD's mask. */
EXPORT int __sigpause(int sig_or_mask, int is_sig)
{
    sigset_t set;
    if (!is_sig) {
        signal_set_of(&set, (uint32_t)sig_or_mask);
        return sigsuspend(&set);
    }
    if (sigprocmask(SIG_BLOCK, NULL, &set) != 0 || sigdelset(&set, sig_or_mask) != 0)
        return -1;
    return sigsuspend(&set);
}

EXPORT int __xpg_sigpause(int sig)
{
    return __sigpause(sig, 1);
}

/* <signal.h> may rename it. */
EXPORT int bsd_sigpause(int mask) __asm__("sigpause");
EXPORT int bsd_sigpause(int mask)
{
    return __sigpause(mask, 0);
}
