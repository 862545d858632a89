/* signal.c - the signal mask of a thread, and signals sent to a thread.
 *
 * A G's mask is g.sigmask; while it runs, the kernel's mask of its M is the same (sched.c
 * carries it over when two Gs differ), so what the kernel delivers or keeps pending is right.
 * One bit differs: the preemption signal is never blocked in the kernel; that a G blocks it is
 * known here only, and one of the program's own that comes meanwhile is kept in g.sigpend.
 */
#include <signal.h>
#include <string.h>

#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

/* Does the G block the preemption signal after this change? */
static uint64_t preempt_bit_after(const struct g *gp, int how, uint64_t set)
{
    switch (how) {
    case SIG_BLOCK:
        return (gp->sigmask | set) & rt_preempt_bit;
    case SIG_UNBLOCK:
        return gp->sigmask & ~set & rt_preempt_bit;
    default:
        return set & rt_preempt_bit;
    }
}

static int change(int how, const sigset_t *set, sigset_t *old)
{
    struct rt_section s;
    uint64_t new;
    rt_enter(&s);
    struct g *gp = s.gp;
    if (old != NULL) {
        memset(old, 0, sizeof *old);
        memcpy(old, &gp->sigmask, sizeof gp->sigmask);
    }
    int err = 0;
    if (set != NULL) {
        memcpy(&new, set, sizeof new);
        uint64_t bit = preempt_bit_after(gp, how, new);
        new = rt_kernel_mask(new);
        err = -os_sigmask(how, &new, NULL);
        if (err == 0) {
            os_sigmask(SIG_SETMASK, NULL, &gp->sigmask);
            gp->sigmask |= bit;
        }
        gp->m->sigmask = gp->sigmask;
        if ((ld_rlx(&gp->sigpend) & ~gp->sigmask) != 0)
            gp->attention = true;
    }
    rt_exit(&s);
    return err;
}

/* The two signals that the C library keeps for itself are never blocked by a program. */
static const sigset_t *without_internal(const sigset_t *set, sigset_t *copy)
{
    if (set == NULL)
        return NULL;
    *copy = *set;
    ((unsigned long *)copy)[0] &= ~(3ul << 31); /* 32 and 33, which sigdelset refuses */
    return copy;
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    sigset_t copy, result;
    if (rt_self() == NULL)
        return REAL(pthread_sigmask)(how, set, old);
    /* SET and OLD may be the same object. */
    int err = change(how, without_internal(set, &copy), &result);
    if (err == 0 && old != NULL)
        *old = result;
    return err;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    EXIT_ERRNO(pthread_sigmask(how, set, old));
}

/* --- signal stacks ------------------------------------------------------------------------ */

void signal_keep_altstack(struct g *gp, const stack_t *set)
{
    struct rt_section s;
    rt_enter(&s);
    if ((set->ss_flags & SS_DISABLE) != 0) {
        gp->altstack = NULL;
        proc_load_altstack(gp->m, gp);
    } else {
        gp->own_altstack = (struct os_altstack){
            .sp = set->ss_sp, .flags = set->ss_flags, .bytes = set->ss_size};
        gp->altstack = &gp->own_altstack;
        gp->m->altstack = gp->altstack; /* loaded already */
    }
    rt_exit(&s);
}

/* --- sending ------------------------------------------------------------------------------ */

void signal_attention(struct g *gp)
{
    uint64_t blocked = gp->sigmask, set = and_ar(&gp->sigpend, blocked) & ~blocked;
    for (; set != 0; set &= set - 1)
        os_tgkill(os_gettid(), __builtin_ctzll(set) + 1);
}

EXPORT int pthread_kill(pthread_t t, int sig)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_kill)(t, sig);
    if (sig < 0 || sig > 64 || sig == 32 || sig == 33)
        return EINVAL;
    if (sig == 0 || (ld_acq(&gp->join) & (JOIN_EXITED | JOIN_GONE)) != 0) /* [J1] */
        return 0; /* glibc 2.34: a thread that has ended is no error */
    struct m *mp = ld_rlx(&gp->m);
    /* Outside the runtime it has its kernel thread, perhaps blocked there (in sigwait, say):
     * the kernel delivers, or keeps the signal pending, as it should. */
    if (ld_acq(&gp->on_cpu) != 0 && ld_rlx(&gp->in_rt) == 0 && mp != NULL) { /* [G2] */
        os_tgkill(mp->tid, sig);
        return 0;
    }
    or_ar(&gp->sigpend, 1ull << (sig - 1));
    st_rel(&gp->attention, true);
    struct rt_section s;
    rt_enter(&s);
    park_interrupt(gp, PARK_BY_SIGNAL);
    rt_exit(&s);
    return 0;
}
