/* sigqueue.c - signals pending on a G, and to whom one for the process goes.
 *
 * A signal for a thread never goes to the kernel, which does not know our threads: it is in the
 * queue of the G (sigpend.c).
 *
 * To send: put the entry in, set g.attention, then make the G look:
 *   parked                    park_interrupt ends its wait; it looks at its next rt_exit
 *   running, or blocked in    a kick: the same signal number, marked by KICK_LOOK, sent to its
 *   the kernel                M.  So the kernel does what SA_RESTART asks for to the system call,
 *                             and makes the frame; the entry point takes the entry (sigentry.c)
 *   in sigwait                a kick by the preemption signal, which ends the call as well
 *   in the runtime            the kick finds g.in_rt set, and nothing more: rt_exit looks
 * A kick that comes too late finds another G without anything due, and is dropped.  [C1], in
 * block.c, says why none comes too early.
 * To be sent: with all signals blocked, take what is due under the mask (lowest number first),
 * and before the mask opens kick yourself if more is due, so that handlers nest as the
 * kernel's do.
 *
 * Who gets what was sent to the process?  The main thread, if it does not block it, as in
 * Linux: programs rely on their main thread's sleep being interrupted.  Except that timers of
 * CPU time hit the thread that runs.  Then the thread where it arrived, then any.
 *
 * A signal leaves the G to which it was given, if that blocks it, or waits for it no more, before
 * it has looked: "put in; fence; does it take it?" [Z5] "it does not; fence; look into the queue";
 * either finds it and looks for another, as Linux's retarget_shared_pending does.
 *
 * What nobody takes stays in the queue of `unclaimed`, which is no G: whoever opens its mask, or
 * waits in sigwait, looks there first and then in the kernel, where what came later is.
 * "Put in; fence; look for a taker" [Z5] "open the mask; fence; look into the queue".
 * Rejected: giving it back to the kernel: only the process's first kernel thread may send itself
 * a siginfo of another's, and what came later would overtake it.
 * Rejected: real signals to the M with the entry in their siginfo: an M that goes on to a G
 * that blocks the number would keep somebody else's signal.
 */
#include <string.h>
#include <sys/syscall.h>

#include "preempt/preempt.h"
#include "shim/posix/posix.h"
#include "shim/posix/sigfd.h"
#include "shim/posix/signal.h"

static struct g unclaimed = {.sig_open = true}; /* only its signal queue is used */

void signal_drop(int sig)
{
    siginfo_t info;
    if (!signal_any_pending())
        return;
    while (signal_take(&unclaimed, signal_bit(sig), &info) != 0)
        ;
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp))
        while (signal_take(gp, signal_bit(sig), &info) != 0)
            ;
}

/* --- making a G look -------------------------------------------------------------------------- */

void signal_kick_self(struct g *gp)
{
    uint64_t due = signal_due(gp);
    if (due == 0)
        return;
    int sig = __builtin_ctzll(due) + 1;
    signal_kicks(sig);
    kick_send_self(gp->m, sig);
}

/* GP, another than the caller, has SIG pending.  Section or foreign. */
static void make_look(struct g *gp, int sig)
{
    st_rel(&gp->attention, true);
    park_interrupt(gp, PARK_BY_SIGNAL); /* begins with a fence [C1] [Z7] */
    if (ld_rlx(&gp->on_cpu) == 0) {
        if (ld_rlx(&gp->wstate) == G_PARKED)
            return;
        os_membarrier(); /* MO: [C1] */
        if (ld_rlx(&gp->on_cpu) == 0)
            return;
    }
    struct m *mp = ld_rlx(&gp->m);
    if (mp == NULL)
        return;
    /* One that it waits for in sigwait has no handler, perhaps, and comes to an M that blocks it no
     * more, perhaps: that would be the end of the process. */
    if (signal_handled(sig) && (ld_rlx(&gp->sig_wait) & signal_bit(sig)) == 0) {
        signal_kicks(sig);
        if (kick_send(mp, sig, KICK_LOOK, 0) != -EAGAIN)
            return;
    }
    preempt_kick(mp);
}

bool signal_accepts(const struct g *gp, int sig)
{
    return ((~ld_rlx(&gp->sigmask) | ld_rlx(&gp->sig_wait)) & signal_bit(sig)) != 0;
}

/* Empty the M's slot and open its mask.  What the kernel held back comes meanwhile, one by
 * one, to the slot again; a loop here, and not in rt_exit, keeps the stack flat. */
static void land_all(struct g *gp)
{
    struct rt_section s;
    gp->sig_landing = true;
    while (unlikely(ld_rlx(&gp->m->sig_no) != 0 || gp->m->sigmask != rt_mask_of(gp))) {
        rt_enter(&s);
        rt_mask_load(gp->m, gp);
        rt_exit(&s);
    }
    gp->sig_landing = false;
}

void signal_attention(struct g *gp)
{
    struct rt_section s;
    siginfo_t info;
    land_all(gp);
    uint64_t due = signal_due(gp);
    if (likely(due == 0))
        return;
    for (; due != 0; due &= due - 1) {
        int sig = __builtin_ctzll(due) + 1;
        if (!signal_ignored(sig))
            continue;
        rt_enter(&s);
        while (signal_take(gp, signal_bit(sig), &info) != 0)
            ;
        rt_exit(&s);
    }
    signal_kick_self(gp);
}

void signal_fd_news(struct g *gp)
{
    if (likely(!ld_rlx(&sigfd_used)))
        return;
    for (struct g *g = gp != NULL ? gp : g_first(); g != NULL;
         g = gp != NULL ? NULL : g_next(g)) {
        add_rel(&g->sig_news, 1); /* MO: release -> [Z9] in sync/io.c: what is pending */
        park_interrupt(g, PARK_BY_NEWS); /* begins with a fence [Z9] */
    }
}

int signal_send(struct g *gp, int sig, const siginfo_t *info)
{
    struct rt_section s;
    bool now = signal_accepts(gp, sig);
    if (now && signal_ignored(sig) && (ld_rlx(&gp->sig_wait) & signal_bit(sig)) == 0)
        return 0;
    rt_enter(&s);
    int err = signal_push(gp, sig, info, false);
    fence_sc(); /* MO: [Z5] the mask as it is now: GP may have opened it meanwhile */
    if (err == 0 && gp == s.gp)
        st_rlx(&gp->attention, true);
    else if (err == 0 && signal_accepts(gp, sig))
        make_look(gp, sig);
    else if (err == 0)
        signal_fd_news(gp);
    rt_exit(&s);
    return err == ESRCH ? 0 : err; /* glibc: a thread that has ended is no error */
}

/* --- for the process --------------------------------------------------------------------------- */

static bool of_cpu_time(int sig)
{
    return sig == SIGPROF || sig == SIGVTALRM;
}

/* 0, ESRCH: it does not take it, or EAGAIN. */
static int give(struct g *gp, int sig, const siginfo_t *info)
{
    struct g *self = rt_self();
    if (!ld_rlx(&gp->sig_open) || !signal_accepts(gp, sig))
        return ESRCH;
    int err = signal_push(gp, sig, info, true);
    if (err != 0)
        return err;
    signal_arrived(sig); /* before it can run: it is counted once, and in time */
    if (gp != self)
        make_look(gp, sig);
    else
        st_rlx(&gp->attention, true);
    fence_sc(); /* MO: [Z5] "put in; fence; does it still take it?" */
    if (unlikely(!signal_accepts(gp, sig)))
        signal_retarget(gp, signal_bit(sig));
    return 0;
}

bool signal_main_first(struct g *gp, int sig)
{
    struct g *main_gp = rt_main_g();
    return main_gp != NULL && main_gp != gp && !of_cpu_time(sig) &&
           ld_rlx(&main_gp->sig_open) && signal_accepts(main_gp, sig);
}

bool signal_wanted_now(int sig)
{
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp))
        if (ld_rlx(&gp->sig_open) && signal_accepts(gp, sig))
            return true;
    return false;
}

int signal_dispatch(int sig, const siginfo_t *info, struct g *prefer)
{
    struct g *main_gp = rt_main_g();
    struct g *first = of_cpu_time(sig) ? prefer : main_gp;
    struct g *second = of_cpu_time(sig) ? main_gp : prefer;
    int err = first != NULL ? give(first, sig, info) : ESRCH;
    if (err == ESRCH && second != NULL)
        err = give(second, sig, info);
    for (struct g *gp = g_first(); err == ESRCH && gp != NULL; gp = g_next(gp))
        err = give(gp, sig, info);
    return err;
}

/* SIG has been left to whoever takes it: perhaps somebody does by now. */
static void look_for_takers(int sig, struct g *prefer)
{
    siginfo_t info;
    fence_sc(); /* MO: [Z5] */
    while (signal_wanted_now(sig) && signal_take(&unclaimed, signal_bit(sig), &info) != 0)
        if (signal_dispatch(sig, &info, prefer) != 0)
            signal_push(&unclaimed, sig, &info, true);
}

int signal_to_process(int sig, const siginfo_t *info, struct g *prefer)
{
    int err = ESRCH;
    if ((ld_rlx(&unclaimed.sigpend) & signal_bit(sig)) == 0)
        err = signal_dispatch(sig, info, prefer);
    if (err != ESRCH)
        return err;
    err = signal_push(&unclaimed, sig, info, true);
    signal_fd_news(NULL);
    look_for_takers(sig, prefer);
    return err;
}

void signal_retarget(struct g *gp, uint64_t set)
{
    set &= ld_rlx(&gp->sigmask) & ~ld_rlx(&gp->sig_wait);
    set &= ld_rlx(&gp->sigpend);
    if (likely(set == 0))
        return;
    signal_move(gp, &unclaimed, set, true);
    signal_fd_news(NULL);
    for (; set != 0; set &= set - 1)
        look_for_takers(__builtin_ctzll(set) + 1, NULL);
}

uint64_t signal_process_pending(void)
{
    return ld_rlx(&unclaimed.sigpend);
}

int signal_process_take(uint64_t set, siginfo_t *info)
{
    return signal_take(&unclaimed, set, info);
}

/* What the kernel has of SET: sent to this kernel thread, for GP, to the process for TAKER. */
static void take_from_kernel(struct g *gp, struct g *taker, uint64_t set)
{
    siginfo_t info;
    int sig;
    while ((sig = os_signal_take(set, &info)) != 0) {
        bool process = info.si_code != SI_TKILL;
        if (!kick_came(gp->m, &info))
            signal_push(process ? taker : gp, sig, &info, process);
    }
}

void signal_take_over(struct g *gp, uint64_t set, bool kernel)
{
    if ((ld_rlx(&unclaimed.sigpend) & set) != 0)
        signal_move(gp, &unclaimed, set, false);
    if (kernel)
        take_from_kernel(gp, gp, set);
}

void signal_take_first(struct g *gp, uint64_t set)
{
    take_from_kernel(gp, &unclaimed, set);
}

/* Was it sent to this kernel thread, by somebody who knows it?  Then to the G on it. */
static bool thread_directed(const siginfo_t *info, const struct g *gp)
{
    return info->si_code == SI_TKILL || signal_of_own_call(info) ||
           signal_for_bound(info, gp);
}

bool signal_for_bound(const siginfo_t *info, const struct g *gp)
{
    int sig = info->si_signo, code = info->si_code;
    if (gp->lockedm == NULL)
        return false;
    if (code == SI_TIMER || !ld_rlx(&gp->io_owner))
        return code == SI_TIMER;
    /* By F_SETSIG any number, with why; else one of two, without. */
    bool plain = code == SI_KERNEL && (sig == SIGIO || sig == SIGURG);
    return plain || code == SI_SIGIO ||
           (code >= POLL_IN && code <= POLL_HUP && sig != SIGCHLD);
}

/* It looks as if sent by kill from this process, which does not come this way if handled. */
bool signal_of_own_call(const siginfo_t *info)
{
    return info->si_code == SI_USER &&
           (signal_bit(info->si_signo) & RT_SIG_OWN_CALL) != 0 &&
           info->si_pid == os_getpid();
}

void signal_own_call(void)
{
    struct rt_section s;
    siginfo_t info;
    struct g *gp = rt_self();
    uint64_t set = gp != NULL ? gp->sigmask & RT_SIG_OWN_CALL : 0;
    int sig;
    if (set == 0)
        return;
    rt_enter(&s);
    while ((sig = os_signal_take(set, &info)) != 0)
        signal_left(gp, sig, &info);
    rt_exit(&s);
}

void signal_left(struct g *gp, int sig, void *info)
{
    if (kick_came(rt_self()->m, info))
        return; /* late, since the mask was closed */
    if (!signal_of_own_call(info))
        signal_to_process(sig, info, NULL);
    else if (signal_push(gp, sig, info, false) == 0 && signal_accepts(gp, sig))
        make_look(gp, sig);
}

void signal_landed(struct m *mp)
{
    struct g *gp = rt_self();
    siginfo_t info;
    int sig = mp->sig_no;
    memcpy(&info, mp->sig_info, sizeof info);
    fence_sig();
    st_rlx(&mp->sig_no, 0); /* [Z1] the next may come */
    if (gp == NULL || rt_is_g0(gp))
        gp = mp->lockedg;
    if (gp != NULL && thread_directed(&info, gp)) {
        if (signal_push(gp, sig, &info, false) != 0)
            return; /* it ends: for nobody else */
        signal_arrived(sig);
        if (gp == rt_self())
            st_rlx(&gp->attention, true);
        else
            make_look(gp, sig);
        signal_fd_news(gp);
        return;
    }
    signal_to_process(sig, &info, gp);
}

/* --- life --------------------------------------------------------------------------------------- */

void signal_begin(struct g *gp)
{
    struct rt_section s;
    gp->altstack = (struct os_altstack){0};
    gp->bind_wanted = gp->sig_landing = gp->io_owner = false;
    gp->in_handler = 0;
    gp->sig_last = NULL;
    gp->sigpend = gp->sig_wait = 0;
    gp->sig_news = gp->sig_seen = gp->sig_edge = 0;
    gp->sig_counted = ~0ull; /* not yet */
    rt_enter(&s);
    signal_mask_count(gp, gp->sigmask);
    rt_lock(&gp->sig_lock);
    st_rlx(&gp->sig_open, true);
    rt_unlock(&gp->sig_lock); /* a fence [Z5] */
    if (unlikely((ld_rlx(&unclaimed.sigpend) & ~gp->sigmask) != 0)) {
        signal_take_over(gp, ~gp->sigmask, false);
        st_rlx(&gp->attention, true);
    }
    rt_exit(&s);
}

void signal_end(struct g *gp)
{
    struct rt_section s;
    siginfo_t info;
    bool process;
    int sig;
    signal_own_call(); /* the next thread in this memory is somebody else */
    rt_enter(&s);
    rt_lock(&gp->sig_lock);
    st_rlx(&gp->sig_open, false);
    rt_unlock(&gp->sig_lock);
    while ((sig = signal_take_for(gp, ~0ull, &info, &process)) != 0)
        if (process)
            signal_to_process(sig, &info, NULL);
    signal_mask_count(gp, ~0ull);
    rt_exit(&s);
}

void signal_queue_forked(void)
{
    struct g *gp = rt_self();
    unclaimed = (struct g){.sig_open = true};
    signal_pend_forked();
    if (gp != NULL) { /* entries of other Gs are lost, and those of this one with them */
        gp->sig_lock.word = 0;
        gp->sig_last = NULL;
        gp->sigpend = gp->sig_wait = 0;
        gp->sig_open = false;
    }
}
