/* signal.c - the scheduler's half of signals; what they mean is in shim/posix/sig*.c.
 *
 * The kernel's mask of an M is that of the G it runs (g.sigmask, less rt_preempt_bit), so
 * that the kernel itself delivers to whom it may.  m.sigmask is what we set last; a switch
 * costs a system call only where the two differ.
 *
 * A signal that comes while its M is in a runtime section or on g0 cannot be acted upon: the
 * handler leaves it in the M's slot [Z1], with all signals blocked from then on.  It is taken
 * from there at the first place that may lock: rt_exit of the G (g.attention is set), the next
 * switch (m.sigmask, all ones, differs from any G's), the scheduler's sleep (rt_landed wakes
 * it), sysmon's loop.
 *
 * For the kernel a parked G does not exist.  So sysmon catches what is sent to the process: it
 * blocks exactly what all Gs block (sched.catch_want), and passes on what it gets to a G that
 * does not.  An idle M blocks all as soon as some G has ever blocked something: else it might be
 * given what all Gs block, which has to stay pending in the process.
 * SIGPIPE of a write is sent to the kernel thread that made it.  If the G blocks it, it stays
 * pending there, and the G goes on somewhere else.  So before the mask opens for the next G, it is
 * taken out and put into the G's own queue (take_left).
 *
 * Rejected: the catcher blocks nothing, and gives back what nobody wants: a sequence of
 * queued signals would lose its order on the way.
 */
#include "shim/rt/signal.h"

/* sysmon's, for its mask and its slot: never on allm, no P, no g0.  Otherwise sysmon is a foreign
 * thread, for it calls libc, and libc the program's allocator, and that our mutexes. */
static struct m *sysmon_m;
static uintptr_t sysmon_tp;

/* The G that ran here last made calls that sent it signals which it blocks.  They are its own, but
 * the kernel holds them for this thread, on which they would hit the next G. */
static void take_left(struct m *mp)
{
    uint64_t info[16]; /* siginfo_t */
    int sig;
    while ((sig = os_signal_take(RT_SIG_OWN_CALL, info)) != 0)
        rt_hooks->left(mp->last_run, sig, info);
}

void rt_mask_load(struct m *mp, struct g *gp)
{
    rt_land(mp);
    uint64_t mask = rt_mask_of(gp);
    if (mp->sigmask == mask)
        return;
    if (mp->last_run != NULL && mp->last_run != gp &&
        (mp->sigmask & ~mask & RT_SIG_OWN_CALL) != 0)
        take_left(mp);
    mp->sigmask = mask;
    os_sigmask(RT_SIG_SETMASK, &mask, NULL);
}

void rt_masks_used(void)
{
    if (likely(ld_rlx(&sched.masks_used)))
        return;
    st_sc(&sched.masks_used, true);
    for (struct m *mp = ld_acq(&sched.allm); mp != NULL; mp = mp->alllink)
        proc_look(mp); /* who sleeps already */
}

void rt_mask_idle(struct m *mp)
{
    uint64_t all = RT_SIG_ALL;
    /* A bound G's signals come to its M only. */
    if (!ld_rlx(&sched.masks_used) || mp->sigmask == all || mp->lockedg != NULL)
        return;
    mp->sigmask = all;
    os_sigmask(RT_SIG_SETMASK, &all, NULL);
}

void rt_mask_end(struct g *gp)
{
    uint64_t all = RT_SIG_ALL;
    gp->m->sigmask = all;
    os_sigmask(RT_SIG_SETMASK, &all, NULL);
    rt_land(gp->m);
}

struct m *rt_sysmon_m(void)
{
    return arch_tp() == sysmon_tp ? sysmon_m : NULL;
}

void rt_landed(struct m *mp)
{
    struct g *gp = rt_self();
    if (gp == NULL) /* sysmon, perhaps about to sleep in the poller, after its look */
        rt_sysmon_kick();
    else if (!rt_is_g0(gp))
        st_rlx(&gp->attention, true);
    else if (mp->curg != NULL) /* it wears the M's identity, see sync/pshared.c */
        st_rlx(&mp->curg->attention, true);
    else
        proc_look(mp);
}

void rt_sysmon_begin(void)
{
    struct m *mp = proc_m_alloc();
    RT_ASSERT(mp != NULL, "no memory for the monitor");
    mp->tid = os_gettid();
    mp->sigmask = RT_SIG_ALL;
    os_sigmask(RT_SIG_SETMASK, &mp->sigmask, NULL);
    st_rlx(&sched.catch_have, RT_SIG_ALL);
    sysmon_m = mp;
    fence_sig();
    sysmon_tp = arch_tp();
}

static void wake_askers(void)
{
    add_ar(&sched.catch_word, 1);
    os_futex_wake(&sched.catch_word, 1 << 30);
}

void rt_sysmon_signals(void)
{
    struct m *mp = sysmon_m;
    uint32_t asked = ld_acq(&sched.catch_asked); /* MO: acquire <- [Z6] */
    rt_land(mp);
    if (unlikely(asked != sched.catch_done)) {
        st_rel(&sched.catch_done, asked); /* MO: release -> [Z6] */
        wake_askers();
    }
    /* MO: acquire <- [Z2] in posix/sigmask.c */
    uint64_t want = ld_acq(&sched.catch_want);
    if (mp->sigmask == want)
        return;
    mp->sigmask = want;
    os_sigmask(RT_SIG_SETMASK, &want, NULL);
    st_rel(&sched.catch_have, want); /* MO: release -> [Z2] */
    wake_askers();
}

void rt_sysmon_barrier(void)
{
    if (!rt_is_started()) /* the child of a fork: nobody else catches signals */
        return;
    struct rt_section s;
    uint32_t number = add_ar(&sched.catch_asked, 1) + 1; /* MO: release -> [Z6] */
    rt_enter(&s); /* a handler that waits must not come between a kick's two halves */
    rt_sysmon_kick();
    rt_exit(&s);
    for (;;) {
        uint32_t word = ld_acq(&sched.catch_word);
        if ((int32_t)(ld_acq(&sched.catch_done) - number) >= 0) /* MO: acquire <- [Z6] */
            return;
        rt_block_begin(true);
        os_futex_wait(&sched.catch_word, word, RT_FOREVER);
        rt_block_end();
    }
}

bool rt_in_handler(struct g *gp, uintptr_t sp)
{
    uintptr_t frame = gp->in_handler, alt = (uintptr_t)gp->altstack.sp;
    if (likely(frame == 0))
        return false;
    bool frame_on_alt = frame - alt < gp->altstack.bytes;
    bool sp_on_alt = sp - alt < gp->altstack.bytes;
    /* The outermost one is on the ordinary stack, or it was left, if we are there now. */
    return frame_on_alt == sp_on_alt ? sp <= frame : sp_on_alt;
}
