/* rt.h - the machine: running Gs on Ms with Ps, park and ready, run queues, timers, stacks.
 *
 * The objects themselves, with their states and the order of locks, are in objects.h.
 *
 * Context tags in docstrings: [G] on a G's stack, may park; [g0]; [any]; [rt] inside an
 * rt_section or on g0; [sig] async-signal-safe.
 */
#ifndef GSHIM_RT_H
#define GSHIM_RT_H

#include "shim/rt/objects.h"

/* --- guard words ---------------------------------------------------------------------

 * Code compiled with -fsplit-stack compares its stack pointer with a word of its thread's TCB
 * at the beginning of each function, and calls us when it is below (preempt/prologue.c).  A
 * G's word is the end of its stack, or above every stack while the G is asked to yield.  That
 * of main is zero: its stack is the kernel's to grow.  So are all words while no module with
 * such code has been loaded, and those of threads that are no Gs.
 * The word and g.preempt are written by who asks and by the G, in no order that matters: a
 * word that asks without reason costs one look, a lost request is made again a tick later. */

#define RT_GUARD_ASKED ((uintptr_t)0xfffffffffffffade) /* Go's stackPreempt */
extern bool rt_guards_used; /* some module has such code; atomic, set once */

/* rt_guard_ask - GP, which runs, should yield at its next prologue.                [any] */
static inline void rt_guard_ask(struct g *gp)
{
    if (likely(!ld_rlx(&rt_guards_used)))
        return;
    st_rlx(&gp->preempt, true);
    st_rlx(arch_split_guard(gp->tcb), RT_GUARD_ASKED);
}

/* rt_guard_reset - it need not, or has done so.  GP itself, or whoever is about to run it. */
static inline void rt_guard_reset(struct g *gp)
{
    uintptr_t end = (uintptr_t)gp->stack_lo + RT_GUARD_RESERVE;
    st_rlx(arch_split_guard(gp->tcb), gp->block_lo != NULL ? end : 0);
    st_rlx(&gp->preempt, false);
}

/* --- failures ---------------------------------------------------------------------- */

_Noreturn void rt_throw(const char *what);
#define RT_ASSERT(cond, what)                                                            \
    do {                                                                                 \
        if (unlikely(!(cond)))                                                           \
            rt_throw(what);                                                              \
    } while (0)

/* --- runtime sections (section.c) --------------------------------------------------- */

/* Between enter and exit: signal handlers of the program are put off, the G keeps its M,
 * and its P, if it still has one, cannot be taken.  A foreign thread blocks signals. */
struct rt_section {
    struct g *gp; /* NULL: foreign */
    uint64_t sigmask;
};

struct rt_hooks {
    void *(*sysmon)(void *); /* body of the monitor thread; begins with rt_sysmon_ready */
    void (*prepare)(void); /* all checks have passed; no G runs yet.  May be called again
                              * in a child of fork */
    void (*main_exit)(void);      /* where pthread_exit in main ends, on main's stack */
    void (*ended)(struct g *);    /* m.last_g: on sysmon, its kernel thread is gone */
    void (*io_ready)(struct g *); /* wake it, if it waits for descriptors; [g0] sysmon */
    /* g.attention was set: on that G, outside the runtime */
    void (*attention)(struct g *);
    /* m.sig_no was set: on that M, in a section or on g0, no lock held; empties it.  The
     * kernel's mask has been opened or will be by the caller. */
    void (*landed)(struct m *);
    /* signal SIG with INFO, a siginfo_t, was left pending on this M by GP, which blocks it.
     *                                                                                   [rt] */
    void (*left)(struct g *gp, int sig, void *info);
};
extern const struct rt_hooks *rt_hooks; /* const after rt_start */

void rt_enter_lost(struct g *gp);
void rt_exit_slow(struct g *gp);
void rt_enter_foreign(struct rt_section *s);
void rt_exit_foreign(struct rt_section *s);

/* rt_enter - begin a runtime section; nests.                                     [G]
 * Order: acquire on the P; what its former holder queued is visible. [P1] */
static inline void rt_enter(struct rt_section *s)
{
    struct g *gp = rt_self();
    s->gp = gp;
    if (unlikely(gp == NULL)) {
        rt_enter_foreign(s);
        return;
    }
    if (gp->in_rt++ != 0)
        return;
    fence_sig(); /* from here on handlers are deferred, so gp->m cannot change */
    struct m *mp = gp->m;
    struct p *pp = mp->p;
    uintptr_t e = (uintptr_t)mp | P_USER;
    /* MO: acquire <- [P1] release in rt_exit or hand-off */
    if (unlikely(pp == NULL || !cas_acq(&pp->owner, &e, (uintptr_t)mp | P_RT)))
        rt_enter_lost(gp);
}

/* rt_exit - end it; may yield or, if the P was lost, wait for one. errno: untouched. */
static inline void rt_exit(struct rt_section *s)
{
    struct g *gp = s->gp;
    if (unlikely(gp == NULL)) {
        rt_exit_foreign(s);
        return;
    }
    if (gp->in_rt > 1) {
        gp->in_rt--;
        return;
    }
    struct m *mp = gp->m;
    struct p *pp = mp->p;
    if (unlikely(pp == NULL || ld_rlx(&pp->preempt) != 0)) {
        rt_exit_slow(gp);
        return;
    }
    st_rel(&pp->owner, (uintptr_t)mp | P_USER); /* MO: release -> [P1] */
    fence_sig();
    gp->in_rt = 0;
    fence_sig(); /* what a handler on this thread left before is seen; others kick [C1] */
    if (unlikely(ld_rlx(&gp->attention)))
        rt_hooks->attention(gp);
}

/* rt_lock_in, rt_unlock_in - the same as rt_lock and rt_unlock in a section of their own: a handler
 * of the program, which may wait, must not run while others wait for L with their Ps.         [any] */
static inline void rt_lock_in(struct rt_section *s, struct rt_lock *l)
{
    rt_enter(s);
    rt_lock(l);
}

static inline void rt_unlock_in(struct rt_section *s, struct rt_lock *l)
{
    rt_unlock(l);
    rt_exit(s);
}

/* proc_world_starts - let go who waits at proc_gate.  [rt] [any]
 * proc_gate - GP is about to leave the runtime: wait while somebody else has stopped the world.
 * Its M runs other Gs meanwhile.                                                 [rt] [G] */
void proc_world_starts(void);
void proc_gate(struct g *gp);

/* rt_block_begin/end - around a call that may block in the kernel.               [G]
 * begin lets sysmon take the P at once; with LONG it is handed off straight away.
 * A request to preempt that is on its way arrives before begin returns, so the call is not
 * interrupted by it.
 * On a foreign thread both do nothing.  errno: preserved. */
void rt_block_begin(bool is_long);
void rt_block_end(void);

/* rt_may_risk - may GP, the caller, make a call that probably does not block, as one that may?  If
 * it does block it has a kernel thread for itself.  Not when there are a few such already,
 * nor without an idle P for whoever becomes runnable meanwhile.  A hint.                [G] */
bool rt_may_risk(struct g *gp);

/* --- M and P (proc.c) ---------------------------------------------------------------- */
void proc_init_p(uint32_t n);
/* proc_set_maxprocs - N Ps from now on; the caller has stopped the world.  Returns how many
 * there were.                                                                (maxprocs.c) */
uint32_t proc_set_maxprocs(uint32_t n);
/* proc_retire - give up the P of MP for good if it is one too many.  True: it was. */
bool proc_retire(struct m *mp);
/* proc_make_ps - see that N Ps exist, those added retired; how many there are now. */
uint32_t proc_make_ps(uint32_t n);
static inline bool proc_is_surplus(const struct p *pp)
{
    return pp->id >= ld_rlx(&sched.np);
}
/* proc_wakep - one more M should look for work, unless one already does.      [any]  */
void proc_wakep(void);
/* proc_hurry_sysmon - work waits and no P is idle: sysmon is to know, if it sleeps for long.  [any] */
void proc_hurry_sysmon(void);
/* proc_handoff - the P is ours (owner 0): give it to an M that has work for it, or idle. */
void proc_handoff(struct p *pp);
/* proc_release - give up the P of MP; [g0] or [rt]. */
struct p *proc_release(struct m *mp);
void proc_acquire(struct m *mp, struct p *pp);
struct p *proc_idle_get_locked(void);
void proc_idle_put_locked(struct p *pp);
/* proc_stop - sleep until given a P; [g0], without P.  Returns with one, or with mp->ending. */
void proc_stop(struct m *mp, bool timers);
/* proc_nudge - let an idle M, if there is one, see whether it should cover timers and network.
 */
void proc_nudge(void);
/* proc_look - MP, if it sleeps or is about to: look again.                         [any] [sig] */
void proc_look(struct m *mp);
void proc_stop_locked_m(struct m *mp);
void proc_start_locked_m(struct m *mp, struct g *gp);
/* proc_move_g - [g0] GP, which has just left MP, goes on on any other M. */
void proc_move_g(struct m *mp, struct g *gp);

/* --- making Ms (newm.c) ----------------------------------------------------------------- */

/* proc_load_gsignal - give the kernel MP's signal stack; on MP, standing on no such stack. */
void proc_load_gsignal(struct m *mp);
void proc_newm_failed(void);
void *proc_m_main(void *arg); /* body of an M's kernel thread */
struct m *proc_m_alloc(void);
/* proc_m_free, proc_m_again - keep MP, which has no thread any more, for another; one of those, or
 * NULL.                                                                         sysmon [rt] */
void proc_m_free(struct m *mp);
struct m *proc_m_again(void);
void proc_m_publish(struct m *mp);
/* proc_m_end - [g0] MP gives its P away and is forgotten; its thread then ends. */
void proc_m_end(struct m *mp);

/* --- scheduling (sched.c) ------------------------------------------------------------ */

/* rt_park - sleep until rt_ready; returns at once if it came first.          [rt] [G]
 * The caller has published, under some lock it has dropped, that it waits.  P and M may
 * be others afterwards.  Order: what the readier did before happens-before. [G1] */
void rt_park(struct g *gp, enum wait_reason why);

/* rt_ready - let a parked G run; exactly once per park.                  [rt] [g0] [any]
 *   next  run it next on this P (it continues what we did), else at the tail */
void rt_ready(struct g *gp, bool next);

/* rt_leaving - GP, the caller, will leave its P at once: no other M need be woken for a single
 * G that it readies before. */
void rt_leaving(struct g *gp);

/* rt_yield - go to the tail of the run queue.  False: nobody else is there.   [rt] [G] */
bool rt_yield(struct g *gp);

/* rt_preempt_yield - called by arch_async_preempt: an interrupted G gives up its P to others
 * and returns when it was scheduled again.                                         [G] */
void rt_preempt_yield(void);

/* rt_exit_g - never returns; the next context releases the stack.            [rt] [G] */
_Noreturn void rt_exit_g(struct g *gp);

/* sched_loop - the scheduler of an M; [g0]. */
void sched_loop(struct m *mp); /* returns when MP is ending */
/* g_wait_off_stack - until GP, queued or dead, has left its stack: some instructions. [any] */
void g_wait_off_stack(struct g *gp);
void sched_first_run(void *arg, void *cookie);
uint32_t sched_random(struct m *mp);
/* sched_unask - P's request to preempt is served.  Its flag stays up all the same when each
 * runtime exit is to take the slow way: for torture (yieldrandom), or while the world stops. */
void sched_unask(struct p *pp);
void sched_requeue(struct g *gp);
void sched_switch_to_g0(struct g *gp);
/* sched_preempted - GP goes to the end of the global queue.                    [rt] [G] */
void sched_preempted(struct g *gp);

/* --- run queues (runq.c) -------------------------------------------------------------- */
void runq_put(struct p *pp, struct g *gp, bool next);
struct g *runq_get(struct p *pp);
bool runq_empty(const struct p *pp);
struct g *runq_steal(struct p *pp, struct p *victim, bool next_too);
void globq_put_locked(struct g *gp);
void globq_put_woken_locked(struct g *gp);
void globq_put_batch(struct g *head, struct g *tail, uint32_t n);
struct g *globq_get(struct p *pp, uint32_t max);

/* --- timers (timer.c) ------------------------------------------------------------------ */

/* rt_timer_start - call FN(gp, seq) when the deadline has passed.                 [rt]
 *   clock  CLOCK_MONOTONIC or CLOCK_REALTIME; real-time deadlines follow clock changes
 * FN runs on g0 or sysmon, no lock held; it may come late and with a stale SEQ. */
void rt_timer_start(struct g *gp, int clock, int64_t when_ns, rt_timer_fn *fn,
                    uint64_t seq);
void rt_timer_stop(struct g *gp);
/* rt_timers_run - fire what is due on all Ps; returns the next deadline (monotonic). */
int64_t rt_timers_run(int64_t now_ns);
int64_t rt_timers_next(int64_t now_ns);

/* rt_sleep - sleep until the deadline; [G].  0, or EINTR when rt_interrupt came. */
int rt_sleep(int clock, int64_t deadline_ns);

/* --- who wakes for timers and descriptors (cover.c) ---------------------------------- */

/* cover_timer - a timer at WHEN was added.  cover_network - a G waits for a descriptor.  See that
 * somebody wakes for it; who calls is about to park.                                       [rt] */
void cover_timer(int64_t when_ns);
void cover_network(void);
/* cover_pay - MP goes on with another G: what its last one waits for is somebody else's.
 *                                                                                [g0] or [rt] */
void cover_pay(struct m *mp);
/* cover_begin - MP, idle, becomes the sleeper for timers and network, if there are any and nobody
 * is; until when?  cover_leave - it is no more, and sysmon is told of what is left.           [g0] */
int64_t cover_begin(struct m *mp);
void cover_leave(struct m *mp);

/* --- threads (gthread.c, gtable.c) --------------------------------------------------------------- */

struct g_attr {
    size_t stack_bytes, guard_bytes;
    void *user_stack; /* lowest byte, or NULL */
    bool detached;
};

/* g_new - a G that will run BODY(gp).                                             [G]
 * Returns 0, EAGAIN or ENOMEM.  Allocates: outside runtime sections. */
int g_new(struct g **out, const struct g_attr *attr, void (*body)(struct g *));
void g_start(struct g *gp); /* make it runnable; [G] or foreign */
void g_main(struct g *gp);
/* rt_begin - the calling G, just started, may be unwound from here on. */
void rt_begin(struct g *gp);
void g_free(struct g *gp);       /* after exit; off its CPU, or soon */
void g_cache_drop(struct p *pp); /* finished Gs that PP keeps: to their classes */
void g_abandon(struct g *gp);    /* give back one that was never started */
struct g *g_of_tcb(void *tcb);   /* the G behind a pthread_t, or NULL: foreign */
struct g *g_of_slot(uint32_t slot);
struct g *g_of_tid(uint32_t tid);
uint32_t g_slots(void);
/* g_first, g_next - every living G, main first; a snapshot nobody promises.           [any] [sig]
 * g_number - what it is called in dumps and traces: 1 is main. */
struct g *g_first(void);
struct g *g_next(struct g *gp);
uint32_t g_number(const struct g *gp);
/* g_trim - sysmon's duty: have memory of finished Gs given back; returns when to ask again
 * (gtrim.c). */
int64_t g_trim(int64_t now_ns);

/* --- start (start.c) -------------------------------------------------------------------- */
/* rt_start - bring the runtime up, once; the main thread, if it calls, becomes a G.
 * Returns true when threads are Gs from now on, false: pass through to NPTL.    [any]  */
bool rt_start(const struct rt_hooks *hooks);
bool rt_is_started(void);
/* rt_note_main - remember the main thread, if it calls: from the constructor. */
void rt_note_main(void);
/* rt_adopt_main - make the calling thread the main G if it is the main thread and a foreign
 * thread has started the runtime. */
void rt_adopt_main(void);
/* rt_hook_main_exit - see that unwinding GP, if it is the main thread, ends in main_exit. */
void rt_hook_main_exit(struct g *gp);
struct g *rt_main_g(void); /* NULL: the main thread is foreign */
void rt_sysmon_kick(void);
void rt_sysmon_ready(void);
/* rt_fork_child - the caller is the only thread left; forget every other G, M and P. */
void rt_fork_child(void);

/* rt_preempt_off - the calling G is neither interrupted nor made to yield; nests.  WHY: a string
 * that stays.  rt_preempt_on - undo one; yields if asked to meanwhile.  Both work before the
 * runtime starts.                                                            [G] foreign */
void rt_preempt_off(const char *why);
void rt_preempt_on(void);

/* rt_lock_m - bind the calling G to its M; nests.  rt_unlock_m - undo one. */
void rt_lock_m(void);
void rt_unlock_m(void);
/* A run that is shorter than this counts by the time stamp counter: some 0.1 ms. */
enum { RT_SHORT_CYCLES = 1 << 18 };
/* rt_cpu_long - on MP, the caller's, FROM ends a run of CYCLES, no short one.             [g0] */
void rt_cpu_long(struct m *mp, struct g *from, uint64_t cycles);
int64_t rt_cpu_ns(struct g *gp);
/* rt_cycles_to_ns - waits until a millisecond has passed since rt_ticks_start, the first one. */
int64_t rt_cycles_to_ns(uint64_t cycles);
void rt_ticks_start(void);
/* rt_native_thread - a kernel thread for BODY(ARG), with STACK bytes and all signals blocked; its
 * handle in *T, or detached where T is NULL.  0 or an errno value.  Who makes one while threads run
 * holds sched.makers.                                                                        [M] */
int rt_native_thread(pthread_t *t, size_t stack, void *(*body)(void *), void *arg);
extern uint32_t rt_helper_threads; /* kernel threads of ours that are no M; atomic */
extern bool rt_cpu_accounting;

#endif
