/* start.c - bringing the runtime up, once, at the first pthread_create.
 *
 * Order matters: nothing of the program is touched until every check has passed, so that a
 * C library we do not understand, or GSHIM_DEBUG=off=1, leaves an ordinary process behind.
 *   1. environment; 2. layout of libc (on this thread); 3. sysmon, a native thread, checks
 *   the rest of the layout; 4. a trial G runs libc's functions on an identity of ours;
 *   5. Ps; 6. the main thread becomes a G: its TCB and stack stay the main G's, and its
 *   kernel thread M0 gets a TCB and a stack of its own to schedule on.
 *
 * If a foreign thread creates the first thread (a SIGEV_THREAD callback), the main thread
 * joins at its next blocking call (rt_adopt_main).
 *
 * fork: the child has one thread.  It starts over as a process without runtime whose main
 * thread is the G that forked, on its own stack and TCB; everything else is forgotten, the
 * memory stays as it is (shared with the parent until written).
 */
#include "shim/rt/rt.h"
#include "shim/rt/signal.h"

#include <errno.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "shim/libc/libc.h"
#include "shim/libc/real.h"
#include "shim/rt/config.h"
#include "shim/rt/debug.h"
#include "shim/rt/netpoll.h"
#include "shim/rt/stack.h"

enum { STATE_NEW, STATE_STARTED, STATE_OFF };
enum { G0_STACK = 256 * 1024 };

static uint32_t state; /* enum above; atomic [I1] */
static struct rt_lock start_lock;
static uint32_t sysmon_answered;    /* futex */
static const char *sysmon_why;      /* before sysmon_answered */
static struct g first_g;            /* the main thread's */
static struct g *main_g = &first_g; /* the G that is, or will be, the main thread */
static void *main_tcb;              /* TCB of the main thread; const after rt_note_main */
static bool main_adopted, main_hooked;
/* This C library has passed the checks.  True in a child of fork: there they would only be a
 * danger, since another thread may have been in the middle of opening a library. */
static bool checked;
static uint32_t
    main_lock_count; /* rt_lock_m calls of the main thread before it was a G */
const struct rt_hooks *rt_hooks;

void rt_note_main(void)
{
    if (main_tcb == NULL && os_gettid() == os_getpid())
        main_tcb = (void *)arch_tp();
}

/* --- trial ------------------------------------------------------------------------------ */

struct trial {
    struct arch_ctx here, there;
    void *tcb;
    const char *why;
};

static void trial_entry(void *arg, void *cookie)
{
    struct trial *t = arg;
    (void)cookie;
    libc_thread_begin();
    t->why = libc_selftest(t->tcb);
    arch_switch(&t->there, &t->here, NULL);
}

static char *new_g0_block(void **tcb)
{
    struct stack_class *c = stack_class_get(G0_STACK, os_page_size(),
                                            libc_layout.tls_size + libc_layout.tcb_size +
                                                libc_layout.tls_align);
    char *block = c != NULL ? stack_block_new(c) : NULL;
    if (block == NULL)
        return NULL;
    uintptr_t top = (uintptr_t)block + c->block_bytes - libc_layout.tcb_size;
    *tcb = (void *)(top & ~(libc_layout.tls_align - 1));
    return (char *)*tcb - libc_layout.tls_size;
}

static const char *run_trial(char *stack_top, void *tcb)
{
    struct trial t = {.tcb = tcb, .why = "the trial did not run"};
    t.here.tp = arch_tp();
    arch_ctx_init(&t.there, stack_top, (uintptr_t)tcb, trial_entry, &t);
    arch_switch(&t.here, &t.there, NULL);
    return t.why;
}

/* --- sysmon's half ------------------------------------------------------------------------ */

void rt_sysmon_ready(void)
{
    sysmon_why = checked ? NULL : libc_probe_native();
    rt_sysmon_begin();
    sched.sysmon_tid = os_gettid();
    st_rel(&sysmon_answered, 1); /* MO: release -> [I2] in start_sysmon */
    os_futex_wake(&sysmon_answered, 1);
    if (sysmon_why != NULL)
        REAL(pthread_exit)(NULL);
}

void rt_sysmon_kick(void)
{
    if (xchg_ar(&sched.sysmon_word, 1) != 0)
        return;
    fence_sc(); /* MO: [M3] "word; fence; load watches" */
    if (ld_rlx(&sched.sysmon_watches))
        netpoll_kick();
    else
        os_futex_wake(&sched.sysmon_word, 1);
}

static const char *start_sysmon(void *(*body)(void *))
{
    sysmon_answered = 0;
    int err = rt_native_thread(NULL, G0_STACK, body, NULL);
    if (err != 0)
        return "the monitor thread cannot be made";
    add_rlx(&rt_helper_threads, 1);
    while (ld_acq(&sysmon_answered) == 0) /* MO: acquire <- [I2] */
        os_futex_wait(&sysmon_answered, 0, RT_FOREVER);
    return sysmon_why;
}

/* --- main thread -------------------------------------------------------------------------- */

static void m0_entry(void *arg, void *cookie)
{
    struct g *prev = cookie;
    st_rel(&prev->on_cpu, 0); /* MO: release -> [G2] */
    sched_loop(arg);
    os_exit_thread(); /* the process's first kernel thread: its frame is the main G's */
}

/* The program may have given its main thread a signal stack already. */
static void note_altstack(struct g *gp, struct m *mp)
{
    if (os_sigaltstack(NULL, &gp->altstack) != 0 ||
        (gp->altstack.flags & 2 /* SS_DISABLE */) != 0)
        gp->altstack = (struct os_altstack){0};
    proc_load_gsignal(mp);
}

/* The kernel puts the name of the program above everything else on the stack.  A limit that is
 * infinite, or is raised later, does not matter: this only bounds where a G may be preempted. */
static void note_main_stack(struct g *gp)
{
    enum { MAIN_STACK_MAX = 1 << 30 };
    if (gp->block_lo != NULL) /* it forked; its stack is ours */
        return;
    size_t bytes = os_stack_limit();
    uintptr_t hi = getauxval(AT_EXECFN);
    if (bytes > MAIN_STACK_MAX)
        bytes = MAIN_STACK_MAX;
    gp->stack_hi = (char *)hi;
    gp->stack_lo = (char *)(hi > bytes ? hi - bytes : 0);
}

void rt_hook_main_exit(struct g *gp)
{
    if (gp == &first_g && !main_hooked)
        main_hooked = libc_main_exit_hook(gp->tcb, rt_hooks->main_exit);
}

/* The calling thread, the main one, becomes MAIN_G on a new M.  STACK_TOP, TCB: for g0. */
static void adopt_main(char *stack_top, void *tcb)
{
    struct m *mp = proc_m_alloc();
    RT_ASSERT(mp != NULL, "no memory for the first M");
    struct g *gp = main_g;
    rt_ticks_start();
    mp->first = true;
    gp->is_main = true;
    gp->tcb = (void *)arch_tp();
    gp->ctx.tp = arch_tp();
    gp->tid = (uint32_t)os_getpid();
    gp->waiter.gp = gp;
    gp->wstate = G_RUN;
    gp->on_cpu = 1;
    gp->m = mp;
    gp->join = 0;
    gp->lock_count = main_lock_count;
    gp->lockedm = gp->lock_count != 0 ? mp : NULL;
    mp->lockedg = gp->lock_count != 0 ? gp : NULL;
    gp->in_rt = 0;
    gp->call_nr = CALL_UNKNOWN;
    os_sigmask(RT_SIG_SETMASK, NULL, &gp->sigmask);
    mp->sigmask = rt_kernel_mask(gp->sigmask);
    os_sigmask(RT_SIG_SETMASK, &mp->sigmask, NULL);
    note_altstack(gp, mp);
    note_main_stack(gp);
    mp->curg = gp;
    mp->tid = os_gettid();
    mp->g0.tcb = tcb;
    arch_ctx_init(&mp->g0.ctx, stack_top, (uintptr_t)tcb, m0_entry, mp);
    *(struct g **)((char *)tcb + arch_self_offset()) = &mp->g0;
    libc_kernel_adopt(tcb, gp->tcb);
    rt_hook_main_exit(
        gp); /* in a constructor there is no frame yet; then at pthread_exit */
    proc_m_publish(mp);
    add_rlx(&sched.ng, 1);
    st_rel(&main_adopted, true); /* MO: release -> [I3] in rt_main_g */
    arch_self_set(gp);
}

struct g *rt_main_g(void)
{
    return ld_acq(&main_adopted) ? main_g : NULL; /* MO: acquire <- [I3] */
}

void rt_adopt_main(void)
{
    void *tcb;
    if (main_adopted || (void *)arch_tp() != main_tcb || os_gettid() != os_getpid())
        return;
    char *top = new_g0_block(&tcb);
    if (top == NULL || libc_tcb_make(tcb, (uint32_t)os_getpid()) != 0)
        return; /* it stays foreign, which works as well */
    adopt_main(top, tcb);
}

/* libgcc's own split stacks, which the program was linked with instead of libgshim-split.a: it
 * has a guard word before anybody of ours has set one.  libgcc changes the signal mask while
 * vector registers hold arguments and the piece of stack is about to end; the C library's
 * functions for that touch neither, ours do. */
static bool has_stack_pieces(void)
{
    return !ld_rlx(&rt_guards_used) && *arch_split_guard((void *)arch_tp()) != 0;
}

/* --- start -------------------------------------------------------------------------------- */

static const char *try_start(const struct rt_hooks *hooks)
{
    bool on_main = os_gettid() == os_getpid();
    void *tcb;
    os_init(REAL(clock_gettime));
    os_get_name(sched.name);
    arch_init(getauxval(AT_HWCAP2));
    real_init();
    if (has_stack_pieces())
        return "the program's stacks come in pieces (-fsplit-stack without -lgshim-split)";
    const char *why = checked ? NULL : libc_probe((void *)arch_tp(), on_main);
    debug_start();
    st_rlx(&sched.catch_want, RT_SIG_ALL); /* until somebody knows what to do with one */
    if (why == NULL)
        why = start_sysmon(hooks->sysmon);
    if (why != NULL)
        return why;
    char *top = new_g0_block(&tcb);
    if (top == NULL || libc_tcb_make(tcb, (uint32_t)os_getpid()) != 0)
        return "no memory";
    why = checked ? NULL : run_trial(top, tcb);
    if (why != NULL)
        return why;
    checked = true;
    if (hooks->prepare != NULL)
        hooks->prepare();
    proc_init_p(rt_config.maxprocs);
    trace_start();
    if (on_main) {
        main_tcb = (void *)arch_tp();
        adopt_main(top, tcb);
        struct m *mp = rt_self()->m;
        mp->p = sched.allp[0];
        if (tracing())
            trace_main(mp, rt_self());
        st_rel(&mp->p->owner, (uintptr_t)mp | P_USER); /* MO: release -> [P1] */
    } else {
        rt_lock(&sched.lock);
        proc_idle_put_locked(sched.allp[0]);
        rt_unlock(&sched.lock);
    }
    return NULL;
}

bool rt_start(const struct rt_hooks *hooks)
{
    if (likely(ld_acq(&state) == STATE_STARTED)) /* MO: acquire <- [I1] */
        return true;
    rt_lock(&start_lock);
    if (state == STATE_NEW) {
        config_load();
        const char *why = rt_config.off ? "" : NULL;
        rt_hooks = hooks;
        if (why == NULL)
            why = try_start(hooks);
        if (why != NULL && why[0] != '\0')
            os_log("passing threads through to the C library: %s", why);
        if (why == NULL)
            st_rlx(&sched.started, true);
        /* MO: release -> [I1] */
        st_rel(&state, why == NULL ? STATE_STARTED : STATE_OFF);
    }
    rt_unlock(&start_lock);
    return ld_acq(&state) == STATE_STARTED; /* MO: acquire <- [I1] */
}

bool rt_is_started(void)
{
    return ld_acq(&state) == STATE_STARTED; /* MO: acquire <- [I1] */
}

/* --- fork --------------------------------------------------------------------------------- */

void g_forget_all(void);

void rt_fork_child(void)
{
    struct g *gp = rt_self();
    start_lock.word = 0;
    net_hold_forked();
    if (state != STATE_STARTED)
        return;
    netpoll_forked();
    state = STATE_NEW;
    trace_forked();
    main_adopted = false;
    rt_helper_threads = 0;
    sched = (struct sched){0};
    g_forget_all();
    main_tcb = (void *)arch_tp();
    main_lock_count = gp != NULL ? gp->lock_count : 0;
    if (gp == NULL) { /* a foreign thread forked */
        first_g = (struct g){0};
        main_g = &first_g;
        return;
    }
    libc_kernel_move(gp->tcb, gp->m->g0.tcb);
    libc_list_reset(gp->tcb);
    main_g = gp;
    gp->trace = (struct trace_g){0};
    gp->m = NULL;
    gp->is_main = true;
    gp->mask_shown = false;
    gp->kernel_state = false; /* it is the whole process's now */
    /* The kernel has our M's signal stack: the program's takes its place again. */
    struct os_altstack alt = gp->altstack;
    if (alt.bytes == 0)
        alt.flags = 2 /* SS_DISABLE */;
    os_sigaltstack(&alt, NULL);
    arch_self_set(NULL);
}

/* --- preemption off; binding a G to its M ---------------------------------------------------- */

/* The process's first kernel thread outlives whatever is bound to it, or ps and the debugger
 * see a dead process: other Gs bind themselves elsewhere.  In vain if there is no other M to be
 * had. */
static void leave_first_m(struct g *gp)
{
    for (int i = 0; i < 3 && gp->m->first; i++) {
        gp->m->moving = gp;
        sched_switch_to_g0(gp);
    }
}

void rt_preempt_off(const char *why)
{
    struct g *gp = rt_self();
    if (gp == NULL && (void *)arch_tp() == main_tcb)
        gp = main_g; /* what it will be */
    if (gp == NULL)
        return;
    gp->preempt_why = why;
    gp->preempt_off++;
    fence_sig(); /* the handler on this M looks at it */
}

void rt_preempt_on(void)
{
    struct rt_section s;
    struct g *gp = rt_self();
    fence_sig();
    if (gp == NULL && (void *)arch_tp() == main_tcb)
        gp = main_g;
    if (gp == NULL || gp->preempt_off == 0 || --gp->preempt_off != 0)
        return;
    gp->preempt_why = NULL;
    rt_enter(&s); /* and out again, where what was put off is served */
    rt_exit(&s);
}

void rt_lock_m(void)
{
    struct rt_section s;
    rt_enter(&s);
    struct g *gp = s.gp;
    if (gp == NULL)
        main_lock_count += (void *)arch_tp() == main_tcb;
    else if (gp->lock_count++ == 0) {
        if (!gp->is_main)
            leave_first_m(gp);
        gp->lockedm = gp->m;
        gp->m->lockedg = gp;
    }
    rt_exit(&s);
}

void rt_unlock_m(void)
{
    struct rt_section s;
    rt_enter(&s);
    struct g *gp = s.gp;
    if (gp == NULL)
        main_lock_count -= (void *)arch_tp() == main_tcb && main_lock_count != 0;
    else if (gp->lock_count != 0 && --gp->lock_count == 0) {
        gp->lockedm = NULL;
        gp->m->lockedg = NULL;
    }
    rt_exit(&s);
}
