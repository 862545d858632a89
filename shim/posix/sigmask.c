/* sigmask.c - the signal mask of a G, the masks that exist, and signal stacks.
 *
 * A G's mask is g.sigmask; while it runs, the kernel's mask of its M goes with it (rt/signal.c).
 *
 * sysmon, which catches what is sent to the process, must block what every G blocks, and nothing
 * else.  So masks are counted: a class for each mask that some G has, with their number.  An
 * empty mask is one counter and no class, so that programs without masks pay nothing.  More masks
 * than classes: counted as empty, which only costs detours.  A handler's sa_mask is not counted:
 * it passes.
 * What the catcher's mask should be is sched.catch_want [Z2]; sysmon sets it a little later, and
 * whoever sends to the own process or looks at what is pending there waits for that first
 * (signal_mask_sync), so that a signal sent after all have blocked it is pending, surely.
 *
 * The program's signal stack is kept here only; the kernel always has the M's own.
 */
#include <string.h>

#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

enum { CLASSES = 64 };

static struct {
    struct rt_lock lock;
    struct { /* under lock */
        uint64_t mask;
        uint32_t n;
    } at[CLASSES];
    uint32_t used;    /* under lock: at[] below this */
    uint32_t counted; /* Gs in classes; under lock, atomic as a hint */
    uint32_t empty;   /* Gs with an empty mask; atomic */
} masks;

static const uint64_t nobody = ~0ull; /* sig_counted of a G that does not count */

/* --- counting ------------------------------------------------------------------------------- */

static void want_locked(void)
{
    uint64_t want = RT_SIG_ALL;
    for (uint32_t i = 0; i < masks.used; i++)
        if (masks.at[i].n != 0)
            want &= masks.at[i].mask;
    if (ld_rlx(&masks.empty) != 0)
        want = 0;
    if (want != ld_rlx(&sched.catch_want)) {
        st_rel(&sched.catch_want, want); /* MO: release -> [Z2] in rt_sysmon_signals */
        rt_sysmon_kick();
    }
}

static uint32_t class_locked(uint64_t mask)
{
    uint32_t unused = CLASSES;
    for (uint32_t i = 0; i < masks.used; i++) {
        if (masks.at[i].mask == mask)
            return i;
        if (masks.at[i].n == 0)
            unused = i;
    }
    if (unused == CLASSES && masks.used < CLASSES)
        unused = masks.used++;
    if (unused < CLASSES)
        masks.at[unused].mask = mask;
    return unused;
}

/* Returns the mask under which it really counts. */
static uint64_t add_locked(uint64_t mask)
{
    uint32_t i = mask != 0 && mask != nobody ? class_locked(mask) : CLASSES;
    if (i < CLASSES) {
        masks.at[i].n++;
        st_rlx(&masks.counted, masks.counted + 1);
    } else if (mask != nobody) {
        add_sc(&masks.empty, 1);
        mask = 0;
    }
    return mask;
}

static void remove_locked(uint64_t mask)
{
    if (mask == 0) {
        sub_sc(&masks.empty, 1);
    } else if (mask != nobody) {
        masks.at[class_locked(mask)].n--;
        st_rlx(&masks.counted, masks.counted - 1);
    }
}

/* [Z4]: "count the empty one; fence; load counted" here, "count into a class; load empty" under
 * the lock: one of the two sees both. */
static bool count_empty(struct g *gp, uint64_t mask)
{
    if (mask == 0 && gp->sig_counted == nobody)
        add_sc(&masks.empty, 1); /* MO: sc, [Z4] */
    else if (mask == nobody && gp->sig_counted == 0)
        sub_sc(&masks.empty, 1); /* MO: sc, [Z4] */
    else
        return false;
    gp->sig_counted = mask;
    return ld_sc(&masks.counted) == 0 && ld_rlx(&sched.catch_want) == 0;
}

void signal_mask_count(struct g *gp, uint64_t mask)
{
    if (likely(mask == gp->sig_counted))
        return;
    if (likely(count_empty(gp, mask)))
        return;
    rt_lock(&masks.lock);
    if (mask != gp->sig_counted) {
        remove_locked(gp->sig_counted);
        st_rlx(&gp->sig_counted, add_locked(mask));
    }
    if (mask != 0 && mask != nobody)
        rt_masks_used();
    fence_sc(); /* MO: [Z4] */
    want_locked();
    rt_unlock(&masks.lock);
}

void signal_mask_sync(void)
{
    for (;;) {
        uint32_t word = ld_acq(&sched.catch_word);
        if (likely(ld_acq(&sched.catch_have) == ld_rlx(&sched.catch_want))) /* [Z2] */
            return;
        rt_block_begin(true);
        os_futex_wait(&sched.catch_word, word, RT_FOREVER);
        rt_block_end();
    }
}

void signal_mask_forked(void)
{
    memset(&masks, 0, sizeof masks);
}

/* --- the caller's mask ------------------------------------------------------------------------ */

/* 0 or EINVAL.  HOW: SIG_BLOCK, ... of the kernel. */
static int combine(int how, uint64_t set, uint64_t *mask)
{
    switch (how) {
    case SIG_BLOCK:
        *mask |= set;
        return 0;
    case SIG_UNBLOCK:
        *mask &= ~set;
        return 0;
    case SIG_SETMASK:
        *mask = set;
        return 0;
    default:
        return EINVAL;
    }
}

static void set_mask(struct g *gp, uint64_t mask)
{
    uint64_t opened = gp->sigmask & ~mask, held = opened & ld_rlx(&sched.catch_want);
    uint64_t closed = mask & ~gp->sigmask;
    st_rlx(&gp->sigmask, mask);
    /* What all have blocked may be pending in the process.  The G takes it before the catcher
     * sees that it may: of two that take from one queue, who knows which acts first? */
    fence_sc(); /* MO: [Z5] */
    if (held != 0 || (signal_process_pending() & opened) != 0)
        signal_take_over(gp, opened, held != 0);
    if (closed != 0)
        signal_retarget(gp, closed);
    signal_mask_count(gp, mask);
    if (signal_due(gp) != 0)
        st_rlx(&gp->attention, true);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    struct g *gp = rt_self();
    struct rt_section s;
    if (gp == NULL)
        return REAL(pthread_sigmask)(how, set, old);
    uint64_t was = gp->sigmask, mask = was;
    int err = set != NULL ? combine(how, signal_mask_of(set), &mask) : 0;
    if (err == 0 && mask != was) {
        rt_enter(&s);
        set_mask(gp, mask);
        rt_mask_load(gp->m, gp);
        rt_exit(&s); /* here handlers run that are due now */
    }
    if (err == 0 && old != NULL)
        signal_set_of(old, was);
    return err;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    EXIT_ERRNO(pthread_sigmask(how, set, old));
}

uint64_t signal_mask_wait(struct g *gp, uint64_t mask)
{
    struct rt_section s;
    uint64_t old = gp->sigmask;
    mask &= ~(signal_bit(SIGKILL) | signal_bit(SIGSTOP)) & RT_SIG_ALL;
    rt_enter(&s);
    set_mask(gp, mask);
    rt_exit(&s);
    return old;
}

void signal_mask_done(struct g *gp, uint64_t old)
{
    struct rt_section s;
    rt_enter(&s);
    set_mask(gp, old);
    rt_mask_load(gp->m, gp);
    rt_exit(&s);
}

static int change_one(int how, int sig)
{
    sigset_t set;
    sigemptyset(&set);
    if (sigaddset(&set, sig) != 0)
        return -1;
    return sigprocmask(how, &set, NULL);
}

EXPORT int sighold(int sig)
{
    return change_one(SIG_BLOCK, sig);
}

EXPORT int sigrelse(int sig)
{
    return change_one(SIG_UNBLOCK, sig);
}

/* BSD's, with the first 32 signals only. */
static int change_bsd(int how, int mask)
{
    sigset_t set, old;
    signal_set_of(&set, (uint32_t)mask);
    if (sigprocmask(how, &set, &old) != 0)
        return -1;
    return (int)signal_mask_of(&old);
}

EXPORT int sigblock(int mask)
{
    return change_bsd(SIG_BLOCK, mask);
}

EXPORT int sigsetmask(int mask)
{
    return change_bsd(SIG_SETMASK, mask);
}

EXPORT int siggetmask(void)
{
    return change_bsd(SIG_BLOCK, 0);
}

/* --- signal stacks ------------------------------------------------------------------------------ */

static bool on_altstack(const struct g *gp, const void *sp)
{
    return (uintptr_t)sp - (uintptr_t)gp->altstack.sp < gp->altstack.bytes;
}

EXPORT int sigaltstack(const stack_t *set, stack_t *old)
{
    enum { AUTODISARM = (int)(1u << 31), KERNEL_MINIMUM = 2048 };
    struct g *gp = rt_self();
    if (gp == NULL)
        return REAL(sigaltstack)(set, old);
    struct os_altstack now = gp->altstack;
    bool on = on_altstack(gp, __builtin_frame_address(0));
    if (set != NULL) {
        int mode = set->ss_flags & ~AUTODISARM;
        if (on)
            EXIT_ERRNO(EPERM);
        if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
            EXIT_ERRNO(EINVAL);
        if (mode != SS_DISABLE && set->ss_size < KERNEL_MINIMUM)
            EXIT_ERRNO(ENOMEM);
        struct os_altstack new = {set->ss_sp, set->ss_flags & AUTODISARM, set->ss_size};
        gp->altstack = mode == SS_DISABLE ? (struct os_altstack){0} : new;
    }
    if (old != NULL)
        *old = (stack_t){.ss_sp = now.sp,
                         .ss_flags = now.bytes == 0 ? SS_DISABLE
                                                    : now.flags | (on ? SS_ONSTACK : 0),
                         .ss_size = now.bytes};
    return 0;
}
