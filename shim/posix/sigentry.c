/* sigentry.c - the one handler that the kernel knows, and calling the program's.
 *
 * The kernel calls on_signal on the M's signal stack with everything blocked.  What follows
 * depends on where the M was:
 *   a wait in libc's code    on the identity of its M (sync/pshared.c): as user code, with the
 *                            G's own identity meanwhile
 *   in a section, on g0      the signal goes to the M's slot (rt/signal.c), everything stays
 *                            blocked until it is taken from there; a kick is dropped, since
 *                            the section's end looks by itself
 *   user code of a G         what is to be done is decided here (`pick`), and done on the G's
 *                            own stack: the frame is moved there (arch_sigframe_move), so that the
 *                            handler may block, switch and migrate, and leave by longjmp
 *   a foreign thread         the program's handler is called right here
 *
 * Calling a handler on a G.  The stack: the program's signal stack if SA_ONSTACK and not on it
 *   already, else the interrupted one, below the red zone.  run_handler sets the mask that the
 *   handler wants, for the G and for the M, and calls it; what is due in spite of that mask
 *   interrupts it at its first instruction, as the kernel stacks frames.  Afterwards, with
 *   everything blocked again, the frame gets what belongs to the M that now runs the G, its
 *   signal stack, and the mask that the G had or the handler has written into the context; and
 *   the kernel resumes it.  What the handler changed of the registers takes effect.
 *   The mask of the interrupted code is what the frame says: inside libc (system) that may be
 *   more than g.sigmask; the G's is put back as it was unless the handler changed the context's.
 *   The kernel's never has the preemption signal (rt_kernel_mask): whether the G blocks that, only
 *   g.sigmask says, and a handler that changes the context's mask does not change it.
 * errno is untouched, as only system calls of our own are made.
 *
 * A thread before rt_begin runs no handler, which might unwind: kicks are dropped then, for it looks
 * there, and the rest goes to the slot, as in a section.
 * A G that is interrupted as it empties its M's slot (land_all) looks at signals as usual in the
 * handler, which may wait, and after a jump out of it; what it went about goes on afterwards.
 *
 * g.in_handler is the outermost handler's frame; a handler that was left by longjmp is known by
 * the stack pointer being above it (rt_in_handler).
 *
 * A fault (si_code > 0) in a section cannot be put off: the handler runs where we are; if
 * it returns, the instruction faults again.
 *
 * Rejected: running handlers on the M's signal stack and pinning the G: a handler that waits, as
 * garbage collectors' do, would hold the M, and one that never returns would keep it.
 */
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "preempt/preempt.h"
#include "shim/posix/block.h"
#include "shim/posix/posix.h"
#include "shim/posix/signal.h"
#include "shim/rt/config.h"
#include "shim/rt/debug.h"

static int preempt_sig; /* const after start */

/* What is to be done on the G's stack. */
struct call {
    int sig;
    bool pass_on; /* not a call: the signal is for another thread */
    bool native;  /* the G waits with the identity of its M */
    bool landing; /* the G was emptying its M's slot */
    /* Those of the G's call that was interrupted; the handler's calls have their own. */
    bool call_any;
    uint32_t call_ran;
    struct sigaction sa;
    siginfo_t *info;
    ucontext_t *uc;
    uint64_t g_mask, uc_mask; /* before: the G's, and the kernel's */
};

static uint64_t *mask_in(void *uc)
{
    return (uint64_t *)(void *)&((ucontext_t *)uc)->uc_sigmask;
}

static bool is_fault(int sig, const siginfo_t *info)
{
    const uint64_t faults = signal_bit(SIGSEGV) | signal_bit(SIGBUS) |
                            signal_bit(SIGFPE) | signal_bit(SIGILL) |
                            signal_bit(SIGTRAP) | signal_bit(SIGSYS);
    return info->si_code > 0 && (faults & signal_bit(sig)) != 0;
}

/* --- faults ------------------------------------------------------------------------------- */

static const char *name_of(const struct g *gp)
{
    return gp->name[0] != '\0' ? gp->name : gp->is_main ? "main" : "unnamed";
}

static void tell_overflow(const struct g *gp, uintptr_t addr, void *uc)
{
    bool on_purpose = *arch_uc_pc(uc) == (uintptr_t)arch_overflow_probe;
    uintptr_t sp = *arch_uc_sp(uc);
    uintptr_t lo = (uintptr_t)gp->stack_lo, page = os_page_size();
    uintptr_t guard = gp->guard_bytes > page ? gp->guard_bytes : page;
    if (gp->block_lo == NULL || gp->user_stack)
        return;
    /* In the guard area, or below it by a frame that skipped it. */
    if (addr >= lo || addr < lo - guard - 16 * page)
        return;
    if (sp > lo + 16 * page && !on_purpose)
        return;
    os_log("stack overflow in thread %s (tid %u), stack of %lu bytes", name_of(gp),
           gp->tid, (unsigned long)gp->stack_bytes);
}

/* SIG has no handler of the program.  Signals are blocked; this M's G is to blame, if any. */
static void no_handler(int sig, const siginfo_t *info)
{
    if (is_fault(sig,
                 info)) { /* dies at the instruction, with the core that it would leave */
        struct sigaction dfl = {.sa_handler = SIG_DFL};
        REAL(sigaction)(sig, &dfl, NULL);
        return;
    }
    if (sig == SIGQUIT && rt_config.dumponquit)
        return;
    if (!signal_ignored(sig))
        signal_default(sig);
}

/* --- calling ------------------------------------------------------------------------------- */

static void call_program(const struct call *c)
{
    if ((c->sa.sa_flags & SA_SIGINFO) != 0)
        c->sa.sa_sigaction(c->sig, c->info, c->uc);
    else
        c->sa.sa_handler(c->sig);
}

static uint64_t handler_mask(const struct call *c, uint64_t mask)
{
    mask |= signal_mask_of(&c->sa.sa_mask);
    return (c->sa.sa_flags & SA_NODEFER) != 0 ? mask : mask | signal_bit(c->sig);
}

static void set_m_mask(struct g *gp, uint64_t mask)
{
    gp->m->sigmask = mask;
    os_sigmask(RT_SIG_SETMASK, &mask, NULL);
}

/* The signal stack as the kernel would show it, and disarm it. */
static void show_altstack(struct g *gp, stack_t *st, uintptr_t sp)
{
    enum { AUTODISARM = (int)(1u << 31) };
    struct os_altstack *a = &gp->altstack;
    *st = (stack_t){.ss_sp = a->sp,
                    .ss_flags = a->bytes == 0 ? SS_DISABLE : a->flags,
                    .ss_size = a->bytes};
    if ((a->flags & AUTODISARM) != 0 && sp - (uintptr_t)a->sp < a->bytes)
        *a = (struct os_altstack){0};
}

/* GP goes on waiting in libc's code, with its M's identity.  With all signals blocked. */
static void go_on_natively(struct g *gp, void *uc)
{
    gp->in_rt++;
    st_rlx(&gp->in_call, CALL_NATIVE);
    arch_set_tp((uintptr_t)gp->m->g0.tcb);
    fence_sc();        /* MO: [C2] "in_call; fence; load word" */
    block_on_kick(uc); /* a cancellation that came meanwhile is for that wait */
}

/* The handler has returned, on whatever M, perhaps in a child of fork; everything is blocked. */
static void prepare_resume(struct call *c)
{
    ucontext_t *uc = c->uc;
    struct g *gp = rt_self();
    uint64_t mask = *mask_in(uc);
    stack_t shown = uc->uc_stack;
    if (gp == NULL) /* the child has no runtime: its own signal stack is the kernel's */
        return;
    bool changed = mask != c->uc_mask;
    uint64_t hidden = c->g_mask & rt_preempt_bit;
    st_rlx(&gp->sigmask, changed ? signal_mask_of(&uc->uc_sigmask) | hidden : c->g_mask);
    if (changed)
        *mask_in(uc) = rt_mask_of(gp);
    else
        *mask_in(uc) = (c->uc_mask & ~rt_preempt_bit) | (rt_mask_of(gp) & rt_preempt_bit);
    gp->m->sigmask = rt_mask_of(gp);
    gp->altstack = (shown.ss_flags & SS_DISABLE) != 0
                       ? (struct os_altstack){0}
                       : (struct os_altstack){shown.ss_sp, shown.ss_flags & ~SS_ONSTACK,
                                              shown.ss_size};
    struct os_altstack *g = &gp->m->gsignal;
    uc->uc_stack = (stack_t){.ss_sp = g->sp, .ss_size = g->bytes};
    gp->call_ran = c->call_ran;
    gp->call_any = c->call_any;
    block_resume(uc);
    fence_sc(); /* MO: [Z5] */
    if (unlikely((signal_process_pending() & ~gp->sigmask) != 0))
        signal_take_over(gp, ~gp->sigmask, false);
    signal_mask_count(gp, gp->sigmask);
    gp->sig_landing = c->landing;
    signal_kick_self(gp);
    if (c->native)
        go_on_natively(gp, uc);
}

static void run_handler(struct g *gp, struct call *c, uintptr_t frame)
{
    bool outermost = !rt_in_handler(gp, frame);
    if (outermost) {
        gp->in_handler = frame;
        gp->handler_over = c->g_mask;
    }
    gp->sig_ran++;
    if ((c->sa.sa_flags & SA_RESTART) == 0)
        gp->sig_eintr++;
    gp->sig_landing = gp->call_any = false;
    show_altstack(gp, &c->uc->uc_stack, frame);
    st_rlx(&gp->sigmask, handler_mask(c, c->uc_mask | (c->g_mask & rt_preempt_bit)));
    signal_kick_self(gp);
    set_m_mask(gp, rt_kernel_mask(gp->sigmask));
    call_program(c);
    uint64_t all = RT_SIG_ALL;
    os_sigmask(RT_SIG_SETMASK, &all, NULL);
    if (outermost && rt_self() != NULL)
        gp->in_handler = 0;
}

/* Not for this G: find another for it. */
static void pass_on(struct g *gp, struct call *c)
{
    struct rt_section s;
    gp->m->sigmask = RT_SIG_ALL; /* which is so: a switch must not take it for the G's */
    show_altstack(gp, &c->uc->uc_stack, 0);
    rt_enter(&s);
    if (signal_for_bound(c->info, gp))
        signal_push(gp, c->sig, c->info, false);
    else
        signal_to_process(c->sig, c->info, gp);
    rt_exit(&s);
    uint64_t all = RT_SIG_ALL;
    os_sigmask(RT_SIG_SETMASK, &all, NULL);
}

/* On the stack where the handler is to run, right below the moved frame. */
static void on_own_stack(void *base, void *arg)
{
    struct call *c = arg;
    struct g *gp = rt_self();
    if (c->pass_on)
        pass_on(gp, c);
    else
        run_handler(gp, c, (uintptr_t)base);
    prepare_resume(c);
}

/* --- moving the frame ------------------------------------------------------------------------- */

struct room {
    uintptr_t lo, top; /* lo 0: not known */
};

static struct room choose_stack(struct g *gp, const struct call *c, uintptr_t sp)
{
    uintptr_t alt = (uintptr_t)gp->altstack.sp;
    if (sp - alt < gp->altstack.bytes)
        return (struct room){alt, sp - ARCH_RED_ZONE};
    if ((c->sa.sa_flags & SA_ONSTACK) != 0 && gp->altstack.bytes != 0)
        return (struct room){alt, alt + gp->altstack.bytes};
    uintptr_t lo = (uintptr_t)gp->stack_lo, hi = (uintptr_t)gp->stack_hi;
    bool own = lo != 0 && sp >= lo - ARCH_RED_ZONE && sp <= hi;
    return (struct room){own ? lo : 0, sp - ARCH_RED_ZONE};
}

static void move_and_run(struct g *gp, struct call *c, siginfo_t *info, void *uc)
{
    enum { CALLS = 512 }; /* what our own functions take before the program's is called */
    struct os_altstack *from = &gp->m->gsignal;
    uintptr_t from_top = (uintptr_t)from->sp + from->bytes;
    struct room r = choose_stack(gp, c, *arch_uc_sp(uc));
    size_t need = arch_sigframe_room(uc, from_top) + sizeof *c + CALLS;
    if (r.lo != 0 && r.top - need - r.lo > r.top - r.lo) { /* as the kernel: SIGSEGV */
        signal_default(SIGSEGV);
        return;
    }
    struct call *to = (struct call *)((r.top - sizeof *c) & ~(uintptr_t)15);
    char *old = arch_sigframe_base(uc);
    char *base = arch_sigframe_move(uc, from_top, (uintptr_t)to);
    *to = *c;
    to->uc = (ucontext_t *)(base + ((char *)uc - old));
    to->info = (siginfo_t *)(base + ((char *)info - old));
    arch_sigframe_run(base, on_own_stack, to);
}

/* --- deciding ----------------------------------------------------------------------------------- */

/* SIG for the running G, which is in user code.  False: nothing is to be done. */
static bool pick(struct g *gp, struct call *c, siginfo_t *info)
{
    if (info->si_code == KICK_LOOK) {
        c->sig = signal_take(gp, ~gp->sigmask, info);
        if (c->sig == 0)
            return false;
    } else if (!is_fault(c->sig, info) && info->si_code != SI_TKILL) {
        /* Or it is one that the kernel blocks on no M, though the G does. */
        bool open = (gp->sigmask & rt_preempt_bit & signal_bit(c->sig)) != 0;
        bool own = signal_for_bound(info, gp);
        c->pass_on =
            open || (!own && signal_main_first(gp, c->sig) && !signal_of_own_call(info));
        if (c->pass_on)
            return true;
        if (!own)
            signal_arrived(c->sig);
    }
    c->sa = signal_wanted(c->sig);
    if (c->sa.sa_handler == SIG_DFL || c->sa.sa_handler == SIG_IGN) {
        no_handler(c->sig, info);
        return false;
    }
    if ((c->sa.sa_flags & SA_RESETHAND) != 0)
        signal_reset(c->sig);
    return true;
}

static void on_user_code(struct g *gp, int sig, siginfo_t *info, void *uc, bool native)
{
    struct call c = {.sig = sig,
                     .uc_mask = *mask_in(uc),
                     .g_mask = gp->sigmask,
                     .native = native,
                     .landing = gp->sig_landing,
                     .call_any = gp->call_any,
                     .call_ran = gp->call_ran};
    if (is_fault(sig, info))
        tell_overflow(gp, (uintptr_t)info->si_addr, uc);
    if (pick(gp, &c, info))
        move_and_run(gp, &c, info, uc);
}

/* The G that waits in libc's own code with the identity of its M, G0 (sync/pshared.c), on whatever
 * stack; NULL: this is the scheduler, or a switch. */
static struct g *waits_natively(struct g *g0)
{
    struct g *gp = g0->m->curg;
    return gp != NULL && gp->in_call == CALL_NATIVE && gp->in_rt == 1 ? gp : NULL;
}

/* For its handlers it has its own identity again, until prepare_resume. */
static void on_native_wait(struct g *gp, int sig, siginfo_t *info, void *uc)
{
    arch_set_tp((uintptr_t)gp->tcb);
    st_rlx(&gp->in_call, CALL_NONE);
    gp->in_rt--;
    on_user_code(gp, sig, info, uc, true); /* returns if no handler is to run */
    go_on_natively(gp, uc);
}

/* In a section, on g0 or on sysmon; or before rt_begin. */
static void put_off(struct m *mp, int sig, siginfo_t *info, void *uc)
{
    if (mp->sig_no != 0) {
        /* The mask was opened over a full slot: once more, for when it is empty. */
        arch_syscall6(SYS_rt_tgsigqueueinfo, os_getpid(), os_gettid(), sig, (long)info, 0,
                      0);
    } else {
        memcpy(mp->sig_info, info, sizeof mp->sig_info);
        fence_sig();
        mp->sig_no = sig; /* [Z1] */
    }
    *mask_in(uc) = RT_SIG_ALL;
    mp->sigmask = RT_SIG_ALL;
    rt_landed(mp);
}

static void on_foreign(int sig, siginfo_t *info, void *uc)
{
    struct call c = {.sig = sig, .info = info, .uc = uc};
    bool process = !is_fault(sig, info) && info->si_code != SI_TKILL;
    if (process && rt_is_started() && signal_main_first(NULL, sig) &&
        signal_dispatch(sig, info, NULL) == 0)
        return;
    c.sa = signal_wanted(sig);
    if (c.sa.sa_handler == SIG_DFL || c.sa.sa_handler == SIG_IGN) {
        no_handler(sig, info);
        return;
    }
    if ((c.sa.sa_flags & SA_RESETHAND) != 0)
        signal_reset(sig);
    uint64_t mask = handler_mask(&c, *mask_in(uc));
    os_sigmask(RT_SIG_SETMASK, &mask, NULL);
    call_program(&c);
}

/* A fault inside the runtime, by an object of the program's that is not there, or by a bug. */
static void on_fault_inside(struct g *gp, int sig, siginfo_t *info, void *uc)
{
    struct call c = {.sig = sig, .info = info, .uc = uc, .sa = signal_wanted(sig)};
    if (!rt_is_g0(gp))
        tell_overflow(gp, (uintptr_t)info->si_addr, uc);
    if (c.sa.sa_handler == SIG_DFL || c.sa.sa_handler == SIG_IGN)
        no_handler(sig, info);
    else
        call_program(&c);
}

static void on_signal(int sig, siginfo_t *info, void *uc)
{
    struct g *gp = rt_self();
    if (*arch_uc_pc(uc) == (uintptr_t)arch_load_begin && is_fault(sig, info)) {
        *arch_uc_pc(uc) = (uintptr_t)arch_load_fixup;
        return;
    }
    struct m *sysmon = gp == NULL ? rt_sysmon_m() : NULL;
    bool kick = kick_came(gp != NULL ? gp->m : sysmon, info);
    if (sig == preempt_sig) {
        bool kicked = block_on_kick(uc);
        if (preempt_on_signal(info, kicked ? NULL : uc)) {
            /* A standard signal is pending only once: ours may have swallowed a kick. */
            if (gp != NULL && gp->in_rt == 0)
                signal_kick_self(gp);
            return;
        }
    }
    if (sig == SIGQUIT && rt_config.dumponquit && !kick)
        debug_want_dump();
    struct g *native = gp != NULL && rt_is_g0(gp) ? waits_natively(gp) : NULL;
    if (kick && native == NULL && (gp == NULL || gp->in_rt != 0 || gp->starting)) {
        if (gp != NULL && gp->starting)
            st_rlx(&gp->attention, true); /* rt_begin looks */
        return;                           /* the end of the section looks by itself */
    }
    if (sysmon != NULL && !is_fault(sig, info))
        put_off(sysmon, sig, info, uc);
    else if (gp == NULL)
        on_foreign(sig, info, uc);
    else if (gp->in_rt == 0 && (!gp->starting || is_fault(sig, info)))
        on_user_code(gp, sig, info, uc, false);
    else if (native != NULL)
        on_native_wait(native, sig, info, uc);
    else if (is_fault(sig, info))
        on_fault_inside(gp, sig, info, uc);
    else
        put_off(gp->m, sig, info, uc);
}

void signal_prepare(int sig)
{
    preempt_sig = sig;
    signal_table_start(on_signal);
}

static bool started; /* in this process, not before its fork */

void signal_start(void)
{
    struct g *gp = rt_main_g();
    struct rt_section s;
    if (likely(ld_rlx(&started)) || xchg_ar(&started, true) || gp == NULL)
        return;
    struct os_altstack alt = gp->altstack;
    signal_begin(gp);
    gp->altstack = alt;
    /* What it has blocked may be pending on its kernel thread, which is not its own from now. */
    rt_enter(&s);
    signal_take_first(gp, gp->sigmask);
    rt_exit(&s);
}

void signal_forked(void)
{
    struct g *gp = rt_self();
    started = false;
    signal_table_forked();
    signal_queue_forked();
    signal_mask_forked();
    if (gp !=
        NULL) /* without kicks, the preemption signal is blocked as the program says */
        os_sigmask(RT_SIG_SETMASK, &gp->sigmask, NULL);
}
