/* sigtable.c - what the program wants done with each signal.
 *
 * Before the runtime starts, sigaction is the C library's.  From then on the kernel has one
 * handler for every signal that the program handles, ours (sigentry.c), always on the M's
 * signal stack and with all signals blocked; what the program has set, and reads back, is
 * `wanted`.  SIG_DFL and SIG_IGN are the kernel's business and stand there as they are, so that
 * exec'd programs inherit them; except for `claimed` signals, for which we have something
 * of our own to do first:
 *   SIGSEGV, SIGBUS  our guarded reads, and which thread overflowed its stack (not for SIG_IGN:
 *                    a fault kills all the same, and a program that is exec'd ignores it)
 *   SIGURG           preemption and kicks, see preempt/deliver_linux.c; or another number
 *   SIGQUIT          with GSHIM_DEBUG=dumponquit
 *   all others       once there has been a kick by that number (sigqueue.c) and as long as the
 *                    default is to end or stop the process: a kick that comes late must not
 * SA_RESTART, SA_NOCLDSTOP and SA_NOCLDWAIT go on to the kernel, which does what they say;
 * SA_NODEFER, SA_RESETHAND, SA_ONSTACK and sa_mask are done by us.
 * Writers hold the lock; the entry point takes it too, when it interrupted no section.
 */
#include <string.h>

#include "shim/posix/posix.h"
#include "shim/posix/signal.h"
#include "shim/rt/config.h"

static struct sigaction wanted[SIGNAL_LAST + 1]; /* under lock */
static struct rt_lock lock;
static uint64_t handled,
    ignored;             /* atomic: in which of them there is a handler, SIG_IGN */
static uint64_t claimed; /* const after start */
static uint64_t kicked;  /* atomic: numbers that have served for kicks */
static bool installed;   /* atomic [Z3] */
static void (*entry)(int, siginfo_t *, void *);
static uint64_t interrupting; /* siginterrupt: signal() sets no SA_RESTART; atomic */

/* The kernel ignores these by default. */
static const uint64_t default_ignored = 1ull << (SIGCHLD - 1) | 1ull << (SIGCONT - 1) |
                                        1ull << (SIGURG - 1) | 1ull << (SIGWINCH - 1);

static bool is_handler(sighandler_t h)
{
    return h != SIG_DFL && h != SIG_IGN;
}

static void kernel_set(int sig, const struct sigaction *w)
{
    const int passed = SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT;
    struct sigaction sa = {.sa_handler = w->sa_handler, .sa_flags = w->sa_flags & passed};
    bool fault = sig == SIGSEGV || sig == SIGBUS;
    bool ends = w->sa_handler == SIG_DFL && (default_ignored & signal_bit(sig)) == 0;
    bool claim = ((claimed | (ends ? ld_rlx(&kicked) : 0)) & signal_bit(sig)) != 0;
    if (is_handler(w->sa_handler) || (claim && !(fault && w->sa_handler == SIG_IGN))) {
        sigfillset(&sa.sa_mask);
        sa.sa_sigaction = entry;
        sa.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        if (!is_handler(w->sa_handler)) /* it is as if nothing had come */
            sa.sa_flags |= SA_RESTART;
    }
    REAL(sigaction)(sig, &sa, NULL);
}

static void put_bit(uint64_t *word, int sig, bool on)
{
    uint64_t v = ld_rlx(word);
    st_rlx(word, on ? v | signal_bit(sig) : v & ~signal_bit(sig));
}

static void set_locked(int sig, const struct sigaction *w)
{
    wanted[sig] = *w;
    put_bit(&handled, sig, is_handler(w->sa_handler));
    put_bit(&ignored, sig,
            w->sa_handler == SIG_IGN ||
                (w->sa_handler == SIG_DFL && (default_ignored & signal_bit(sig)) != 0));
    kernel_set(sig, w);
}

void signal_table_start(void (*fn)(int, siginfo_t *, void *))
{
    entry = fn;
    claimed = signal_bit(SIGSEGV) | signal_bit(SIGBUS) | rt_preempt_bit;
    if (rt_config.dumponquit)
        claimed |= signal_bit(SIGQUIT);
    for (int sig = 1; sig <= SIGNAL_LAST; sig++) {
        struct sigaction sa;
        if (!signal_valid(sig) || sig == SIGKILL || sig == SIGSTOP)
            continue;
        REAL(sigaction)(sig, NULL, &sa);
        if (installed && (void *)sa.sa_sigaction == (void *)entry)
            continue; /* a child of fork: the table still holds */
        set_locked(sig, &sa);
    }
    st_rel(&installed, true); /* MO: release -> [Z3] */
}

struct sigaction signal_wanted(int sig)
{
    rt_lock(&lock);
    struct sigaction sa = wanted[sig];
    rt_unlock(&lock);
    return sa;
}

void signal_reset(int sig)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    rt_lock(&lock);
    if ((wanted[sig].sa_flags & SA_RESETHAND) != 0) {
        dfl.sa_flags = wanted[sig].sa_flags; /* as the kernel: only the handler changes */
        set_locked(sig, &dfl);
    }
    rt_unlock(&lock);
}

bool signal_ignored(int sig)
{
    return (ld_rlx(&ignored) & signal_bit(sig)) != 0;
}

void signal_kicks(int sig)
{
    if (unlikely((ld_rlx(&kicked) & signal_bit(sig)) == 0))
        or_ar(&kicked, signal_bit(sig)); /* MO: hint */
}

bool signal_handled(int sig)
{
    return (ld_rlx(&handled) & signal_bit(sig)) != 0;
}

void signal_default(int sig)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    uint64_t set = signal_bit(sig);
    REAL(sigaction)(sig, &dfl, NULL);
    os_tgkill(os_gettid(), sig);
    os_sigmask(RT_SIG_UNBLOCK, &set, NULL);
    /* It was to stop the process, and that goes on. */
    os_sigmask(RT_SIG_BLOCK, &set, NULL);
    kernel_set(sig, &dfl);
}

static unsigned showing; /* under lock */

bool signal_show_ignored(bool on)
{
    struct rt_section s;
    uint64_t set = ld_acq(&installed) ? claimed & ld_rlx(&ignored) : 0; /* [Z3] */
    bool any = false;
    if (on && set == 0)
        return false;
    rt_lock_in(&s, &lock);
    for (int sig = 1; sig <= SIGNAL_LAST; sig++) {
        if ((claimed & signal_bit(sig)) == 0 || wanted[sig].sa_handler != SIG_IGN)
            continue;
        any = true;
        if (on && showing == 0)
            REAL(sigaction)(sig, &wanted[sig], NULL);
        else if (!on && showing == 1)
            kernel_set(sig, &wanted[sig]);
    }
    showing += on ? any : -1u;
    rt_unlock_in(&s, &lock);
    return any;
}

void signal_table_forked(void)
{
    lock.word = 0;
    showing = 0;
}

/* --- entry points ---------------------------------------------------------------------------- */

EXPORT int sigaction(int sig, const struct sigaction *set, struct sigaction *old)
{
    struct rt_section s;
    struct sigaction new, was;
    /* MO: acquire <- [Z3]: the table is filled */
    if (!ld_acq(&installed) || !signal_valid(sig) || sig == SIGKILL || sig == SIGSTOP)
        return REAL(sigaction)(sig, set, old);
    if (set != NULL)
        new = *set; /* may fault, or be OLD */
    /* One that was sent before is for the handler that goes: it may be on its way here. */
    if (set != NULL && rt_is_started() && signal_handled(sig) &&
        !is_handler(new.sa_handler))
        rt_sysmon_barrier();
    rt_enter(&s);
    rt_lock(&lock);
    was = wanted[sig];
    if (set != NULL)
        set_locked(sig, &new);
    rt_unlock(&lock);
    if (set != NULL && signal_ignored(sig))
        signal_drop(sig); /* POSIX: pending or not, blocked or not */
    rt_exit(&s);
    if (old != NULL)
        *old = was;
    return 0;
}

ALIAS(__sigaction, sigaction);

static sighandler_t set_simple(int sig, sighandler_t handler, int flags, bool mask)
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = flags}, old;
    if (handler == SIG_ERR || !signal_valid(sig)) {
        errno = EINVAL;
        return SIG_ERR;
    }
    if (mask)
        sigaddset(&sa.sa_mask, sig);
    return sigaction(sig, &sa, &old) == 0 ? old.sa_handler : SIG_ERR;
}

/* BSD's: the handler stays, the signal is blocked in it, system calls go on. */
EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
    bool stop = signal_valid(sig) && (ld_rlx(&interrupting) & signal_bit(sig)) != 0;
    return set_simple(sig, handler, stop ? 0 : SA_RESTART, true);
}

ALIAS(bsd_signal, signal);
ALIAS(ssignal, signal);

/* System V's: once, unblocked, and it interrupts. */
EXPORT sighandler_t sysv_signal(int sig, sighandler_t handler)
{
    return set_simple(sig, handler, SA_RESETHAND | SA_NODEFER | SA_INTERRUPT, false);
}

ALIAS(__sysv_signal, sysv_signal);

EXPORT int siginterrupt(int sig, int on)
{
    struct sigaction sa;
    if (sigaction(sig, NULL, &sa) != 0)
        return -1;
    put_bit(&interrupting, sig, on != 0);
    sa.sa_flags = on ? sa.sa_flags & ~SA_RESTART : sa.sa_flags | SA_RESTART;
    return sigaction(sig, &sa, NULL);
}

EXPORT int sigignore(int sig)
{
    struct sigaction sa = {.sa_handler = SIG_IGN};
    return sigaction(sig, &sa, NULL);
}

EXPORT sighandler_t sigset(int sig, sighandler_t disp)
{
    sigset_t set, was;
    struct sigaction sa = {.sa_handler = disp}, old;
    if (disp == SIG_ERR || !signal_valid(sig)) {
        errno = EINVAL;
        return SIG_ERR;
    }
    sigemptyset(&set);
    sigaddset(&set, sig);
    bool hold = disp == SIG_HOLD;
    /* One that is pending is for DISP: that is there before the mask opens. */
    if (sigaction(sig, hold ? NULL : &sa, &old) != 0 ||
        sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, &was) != 0)
        return SIG_ERR;
    return sigismember(&was, sig) ? SIG_HOLD : old.sa_handler;
}
