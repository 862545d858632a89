/* fault.c - SIGSEGV and SIGBUS: what the runtime says and does before the program's own action.
 *
 * The runtime handles both signals from its start on, on the signal stack of the M (or that of
 * the thread, if the program gave it one):
 *   - a fault of our own guarded read (futex on a bad address) goes to its fix-up;
 *   - a fault in the guard area of the running G's stack prints which thread overflowed and how
 *     large its stack is;
 *   - then the program's action follows: its handler is called with the same arguments, or the
 *     default is restored and the instruction run again, so that the process dies of the
 *     signal, at the instruction, with the core that it would have left.
 * What the program sets and asks by sigaction is kept here in `wanted`; the kernel always has
 * our handler, with the program's mask and flags, so that nesting works as asked for.
 */
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "preempt/preempt.h"
#include "shim/posix/block.h"
#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

static struct owned {
    int sig;
    struct sigaction wanted; /* under lock; read by the handler */
} owned[] = {{.sig = SIGSEGV}, {.sig = SIGBUS}, {.sig = 0 /* the preemption signal */}};
enum { PREEMPT_ROW = 2 };

static struct rt_lock lock;
static bool installed;

static struct owned *find(int sig)
{
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        if (owned[i].sig == sig)
            return &owned[i];
    return NULL;
}

static const char *name_of(const struct g *gp)
{
    return gp->name[0] != '\0' ? gp->name : gp->is_main ? "main" : "unnamed";
}

static void tell_overflow(const struct g *gp, uintptr_t addr, uintptr_t sp)
{
    uintptr_t lo = (uintptr_t)gp->stack_lo, page = os_page_size();
    uintptr_t guard = gp->guard_bytes > page ? gp->guard_bytes : page;
    if (gp->block_lo == NULL || gp->user_stack)
        return;
    /* In the guard area, or below it by a frame that skipped it. */
    if (addr >= lo || addr < lo - guard - 16 * page || sp > lo + 16 * page)
        return;
    os_log("stack overflow in thread %s (tid %u), stack of %lu bytes", name_of(gp),
           gp->tid, (unsigned long)gp->stack_bytes);
}

static void pass_on(int sig, siginfo_t *info, void *uc, struct sigaction *sa)
{
    if ((sa->sa_flags & SA_SIGINFO) != 0) {
        sa->sa_sigaction(sig, info, uc);
        return;
    }
    if (sa->sa_handler != SIG_DFL && sa->sa_handler != SIG_IGN) {
        sa->sa_handler(sig);
        return;
    }
    /* A sent signal that is ignored stays so; a fault kills even then. */
    if (sa->sa_handler == SIG_IGN && info->si_code <= 0)
        return;
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    REAL(sigaction)(sig, &dfl, NULL);
    if (info->si_code <= 0) /* sent, so running on would not raise it again */
        os_tgkill(os_gettid(), sig);
}

static void on_fault(int sig, siginfo_t *info, void *uc)
{
    struct g *gp = rt_self();
    uintptr_t *pc = arch_uc_pc(uc);
    if (*pc == (uintptr_t)arch_load_begin) {
        *pc = (uintptr_t)arch_load_fixup;
        return;
    }
    if (gp != NULL && info->si_code > 0)
        tell_overflow(gp, (uintptr_t)info->si_addr, *arch_uc_sp(uc));
    struct sigaction sa = find(sig)->wanted;
    if ((sa.sa_flags & SA_RESETHAND) != 0)
        find(sig)->wanted.sa_handler = SIG_DFL;
    pass_on(sig, info, uc, &sa);
}

/* The program's handler runs as the kernel would run it; ours had blocked all signals. */
static void run_wanted(int sig, siginfo_t *info, void *uc, struct sigaction *sa)
{
    uint64_t mask, more, old;
    memcpy(&mask, &((ucontext_t *)uc)->uc_sigmask, sizeof mask);
    memcpy(&more, &sa->sa_mask, sizeof more);
    mask |= more;
    if ((sa->sa_flags & SA_NODEFER) == 0)
        mask |= 1ull << (sig - 1);
    os_sigmask(SIG_SETMASK, &mask, &old);
    pass_on(sig, info, uc, sa);
    os_sigmask(SIG_SETMASK, &old, NULL);
}

static bool is_handled(const struct sigaction *sa)
{
    return (sa->sa_flags & SA_SIGINFO) != 0 ||
           (sa->sa_handler != SIG_DFL && sa->sa_handler != SIG_IGN);
}

static void on_preempt(int sig, siginfo_t *info, void *uc)
{
    struct g *gp = rt_self();
    bool kicked = block_on_kick(uc);
    if (preempt_on_signal(info, kicked ? NULL : uc))
        return;
    struct sigaction sa = owned[PREEMPT_ROW].wanted;
    bool handled = is_handled(&sa);
    if (sa.sa_handler == SIG_IGN || (!handled && sig == SIGURG)) /* ignored by default */
        return;
    if (gp != NULL && (gp->sigmask & 1ull << (sig - 1)) != 0) {
        or_ar(&gp->sigpend, 1ull << (sig - 1)); /* raised when it is unblocked */
        return;
    }
    if ((sa.sa_flags & SA_RESETHAND) != 0)
        owned[PREEMPT_ROW].wanted.sa_handler = SIG_DFL;
    run_wanted(sig, info, uc, &sa);
}

static void install_preempt(struct owned *o)
{
    struct sigaction sa = {.sa_sigaction = on_preempt};
    bool handled =
        (o->wanted.sa_flags & SA_SIGINFO) != 0 || o->wanted.sa_handler > SIG_IGN;
    sa.sa_flags = SA_SIGINFO | SA_ONSTACK |
                  (handled ? o->wanted.sa_flags & SA_RESTART : SA_RESTART);
    sigfillset(&sa.sa_mask);
    REAL(sigaction)(o->sig, &sa, NULL);
}

static void install(struct owned *o)
{
    struct sigaction sa = o->wanted;
    if (o == &owned[PREEMPT_ROW]) {
        install_preempt(o);
        return;
    }
    sa.sa_sigaction = on_fault;
    sa.sa_flags = (sa.sa_flags & (SA_NODEFER | SA_RESTART)) | SA_SIGINFO | SA_ONSTACK;
    REAL(sigaction)(o->sig, &sa, NULL);
}

static void claim(struct owned *o)
{
    REAL(sigaction)(o->sig, NULL, &o->wanted);
    install(o);
}

void fault_start(int preempt_sig)
{
    if (owned[PREEMPT_ROW].sig == 0 && preempt_sig != 0) {
        owned[PREEMPT_ROW].sig = preempt_sig;
        claim(&owned[PREEMPT_ROW]);
    }
    if (xchg_ar(&installed, true))
        return;
    for (size_t i = 0; i < PREEMPT_ROW; i++)
        claim(&owned[i]);
    quit_start();
}

void fault_fork_child(void)
{
    struct owned *o = &owned[PREEMPT_ROW];
    lock.word = 0;
    if (o->sig != 0)
        REAL(sigaction)(o->sig, &o->wanted, NULL);
    o->sig = 0;
}

EXPORT int sigaction(int sig, const struct sigaction *set, struct sigaction *old)
{
    struct owned *o = ld_acq(&installed) && sig > 0 ? find(sig) : NULL;
    struct rt_section s;
    struct sigaction new;
    if (o == NULL)
        return REAL(sigaction)(sig, set, old);
    if (set != NULL)
        new = *set;
    rt_enter(&s);
    rt_lock(&lock);
    if (old != NULL)
        *old = o->wanted;
    if (set != NULL) {
        o->wanted = new;
        install(o);
    }
    rt_unlock(&lock);
    rt_exit(&s);
    return 0;
}

EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    sigaddset(&sa.sa_mask, sig);
    return sigaction(sig, &sa, &old) == 0 ? old.sa_handler : SIG_ERR;
}

EXPORT int sigaltstack(const stack_t *set, stack_t *old)
{
    struct g *gp = rt_self();
    struct os_altstack now = {.flags = SS_DISABLE};
    if (gp == NULL || gp->m == NULL)
        return REAL(sigaltstack)(set, old);
    /* The kernel knows whether we stand on it, and checks the new one. */
    os_sigaltstack(NULL, &now);
    bool ours = gp->altstack == NULL;
    if (set != NULL && REAL(sigaltstack)(set, NULL) != 0)
        return -1;
    if (old != NULL && ours)
        *old = (stack_t){.ss_flags = SS_DISABLE};
    else if (old != NULL)
        *old = (stack_t){.ss_sp = now.sp, .ss_flags = now.flags, .ss_size = now.bytes};
    if (set != NULL)
        signal_keep_altstack(gp, set);
    return 0;
}
