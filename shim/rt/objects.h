/* objects.h - G, M, P and sched: what the runtime is made of, their states and who owns which field.
 * What can be done with them is in rt.h.
 *
 * WORDS
 *   G  a thread of the program: a stack, a libc identity (TCB + TLS), a state.
 *   M  a kernel thread.  Its own stack and TCB form g0, on which the scheduler runs when
 *      there is no G to go to directly.
 *   P  the right to run Gs; there are GSHIM_MAXPROCS of them.
 *   A *foreign* thread is one that never became a G: libc's helper threads, threads made
 *   behind our back, and every thread of a program before its first pthread_create.
 *
 * THE ONE RULE OF USER CODE
 *   Application code owns its P only provisionally, as Go's system calls do.  While a G
 *   runs outside the runtime its P is marked P_USER (or P_SYSCALL in a wrapped blocking
 *   call) and sysmon may take it.  rt_enter claims it back with one compare-and-swap, and
 *   if it is gone, the G continues without P inside the runtime and, at rt_exit, gets an
 *   idle P or queues itself and lets its M sleep.  So a G stuck in a libc lock, an inline
 *   futex or a slow call never stops another G.
 *
 * STATES OF A G (wstate, with the queue it is on and who owns its stack)
 *   G_RUN, on_cpu = 1      runs on m; its M owns the stack
 *   G_RUN, on_cpu = 0      runnable: on exactly one run queue; whoever dequeues it owns it
 *   G_PARKED               waits; on no run queue; the waker that moves it to G_RUN owns it
 *   G_NOTIFIED             readied while still on its way to park; it will not park
 *   G_DEAD                 finished; owned by the joiner or the free list
 *   on_cpu stays 1 from the moment a G is chosen to the moment its registers are saved;
 *   whoever resumes a G waits for 0 first, so a G may be queued before it is off its CPU.
 *
 * STATES OF A P (owner word)
 *   0               idle, on the idle list, or in the hands of whoever popped it
 *   mp|P_RT         its M is inside the runtime: nobody may take it
 *   mp|P_USER       its M runs application code: sysmon may take it
 *   mp|P_SYSCALL    its M is in a blocking call that said so
 *
 * LOCKS, in rank order (a holder of one takes only later ones)
 *   start < stack < bucket < timer < sched.  Held only between rt_enter and rt_exit or on
 *   g0; never across a switch.
 */
#ifndef GSHIM_RT_OBJECTS_H
#define GSHIM_RT_OBJECTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "arch/arch.h"
#include "arch/atomic.h"
#include "shim/os/os.h"
#include "shim/rt/trace.h"

/* --- constants --------------------------------------------------------------------- */

enum {
    RT_MAX_P = 1024,
    RT_RING = 256,       /* slots of a P's run queue; a power of two, as in Go       */
    RT_GLOBAL_TICK = 61, /* every 61st pick looks at the global queue first (Go)     */
    RT_OWN_TICK = 4, /* every 4th pick prefers the own queue to Gs woken from outside */
    RT_NEXT_LIMIT = 64,     /* picks of runnext in a row before the ring gets its turn  */
    RT_FIRST_TID = 1 << 22, /* above any kernel tid: PID_MAX_LIMIT                     */
    RT_MAX_G = 1 << 21,     /* slots; a tid is slot + generation, below 2^28            */
    RT_NAME = 16,
    /* Above the end of a stack: a frame below 256 bytes is not counted by the compiler, and
     * gshim_morestack itself takes about as much. */
    RT_GUARD_RESERVE = 1024,
};

#define RT_FOREVER OS_FOREVER

enum g_wstate { G_RUN, G_PARKED, G_NOTIFIED, G_DEAD };

enum p_mode { P_RT = 1, P_USER = 2, P_SYSCALL = 3, P_MODE = 3 };

enum wait_reason {
    WAIT_NONE,
    WAIT_MUTEX,
    WAIT_COND,
    WAIT_RWLOCK,
    WAIT_SEM,
    WAIT_BARRIER,
    WAIT_ONCE,
    WAIT_JOIN,
    WAIT_FUTEX,
    WAIT_SLEEP,
    WAIT_IO,
    WAIT_CALL,
    WAIT_SIGNAL,
    WAIT_REASONS
};
extern const char *const rt_wait_names[WAIT_REASONS];

/* What a G is about that parking does not tell. */
enum g_call {
    CALL_NONE,
    CALL_KERNEL, /* in a system call that is a cancellation point (posix/block.c) */
    CALL_LIBC,   /* in a function of libc that is one itself (posix/io_handoff.c) */
    CALL_NATIVE, /* runs with the identity of its M (sync/pshared.c); arch_self is g0 */
};

/* bits of g.join */
enum { CALL_UNKNOWN = -1 };
enum { JOIN_DETACHED = 1, JOIN_EXITED = 2, JOIN_CLAIMED = 4, JOIN_GONE = 8 };

struct g;
struct m;
struct p;
struct stack_class;
struct sig_entry; /* posix/sigpend.c */

/* --- locks ------------------------------------------------------------------------- */

/* A short spin, then a futex.  0 free, 1 held, 2 held and somebody sleeps. */
struct rt_lock {
    uint32_t word;
};

void rt_lock_slow(struct rt_lock *l);

static inline void rt_lock(struct rt_lock *l)
{
    uint32_t e = 0;
    if (unlikely(
            !cas_acq(&l->word, &e, 1))) /* MO: acquire <- [K1] release in rt_unlock */
        rt_lock_slow(l);
}

static inline void rt_unlock(struct rt_lock *l)
{
    if (unlikely(xchg_rel(&l->word, 0) == 2)) /* MO: release -> [K1] */
        os_futex_wake(&l->word, 1);
}

/* --- timers ------------------------------------------------------------------------ */

typedef void rt_timer_fn(struct g *gp, uint64_t seq);

/* One per G, since a G waits for one thing at a time.  Under the heap lock of pp. */
struct rt_timer {
    int64_t when_ns; /* on CLOCK */
    struct p *pp;    /* whose heap it is on, NULL: none.  atomic, see timer.c */
    uint32_t index;
    uint8_t clock; /* 0 monotonic, 1 real time */
    uint64_t seq;  /* the wait it belongs to; stale firings are told by it */
    rt_timer_fn *fn;
};

struct timer_heap {
    struct rt_timer **at;
    uint32_t n, cap;
};

/* --- waiting ----------------------------------------------------------------------- */

/* Node of the parking lot (sync/park.c), here because it is part of a G. */
struct park_waiter {
    struct park_waiter *next, *prev; /* under the bucket lock of key */
    uintptr_t key;                   /* written under the lock of the old key's bucket */
    struct g *gp;                    /* NULL: a foreign thread */
    uint32_t word;                   /* foreign: futex, 0 asleep, 1 woken */
    bool queued;                     /* under the bucket lock */
    uint8_t ended_by;                /* PARK_BY_*; under that too, atomic as a hint */
    uint8_t result;                  /* errno value, by whoever dequeued */
    uintptr_t tag, token;            /* of the waiter, of the waker */
    uint64_t since;                  /* TSC at the start, for eventual fairness */
    uint64_t seq;                    /* number of the wait */
    void *tcb;                       /* foreign: whose it is, for cancellation */
};

/* Where a G was interrupted, and with what in its registers; for preempt/spin.c. */
struct spin {
    struct spin_place {
        uintptr_t pc;
        uint8_t regs[ARCH_UC_REGS];
    } last, before;
    uint8_t laps; /* how often in a row it has not got on */
    bool brief;   /* its turns are short; atomic, read by sysmon */
};

/* --- G ----------------------------------------------------------------------------- */

struct g {
    struct arch_ctx ctx; /* valid while off CPU */
    void *tcb;           /* const */
    struct m *m;         /* M that runs it; own thread and that M only */
    uint32_t in_rt;  /* depth of rt_enter; own thread only, read by its signal handler */
    uint32_t wstate; /* enum g_wstate, atomic [G1] */
    uint32_t on_cpu; /* atomic [G2] */
    uint32_t tid;    /* const while alive */
    struct g *link;  /* run queue or free list */
    struct m *lockedm; /* own thread: runs on this M only */
    uint32_t lock_count;
    uint8_t wait_reason;
    bool preempt;    /* its guard word asks it to yield, see rt_guard_ask; atomic */
    int16_t call_nr; /* of the system call that is about to block, CALL_UNKNOWN */
    uint16_t yields; /* calls of sched_yield; own thread */
    bool call_lost; /* its last such call lost the P to others, or was long; own thread */
    uint64_t handed_on;  /* when its P went to others for the call, TSC; 0: it did not */
    int8_t soon;         /* how regularly it parks right after readying (sched.c) */
    bool soon_doubt;     /* its last runs were too long to be sure of that */
    uint64_t readied_at; /* when it last readied one G alone, TSC; 0: not since parking */
    bool is_main;
    bool exiting;   /* pthread_exit was called: ret is valid */
    bool starting;  /* before rt_begin: attention has to wait; own thread */
    bool hold;      /* no asynchronous cancellation just now, see sync_hold; own thread */
    bool attention; /* hooks->attention is wanted at the next runtime exit; atomic */

    /* preemption; own thread, its signal handler included */
    bool blocking; /* between rt_block_begin and _end: not to be signalled; atomic [V2] */
    uint32_t preempt_off;    /* gshim_preempt_off nests */
    const char *preempt_why; /* its reason */
    uintptr_t preempt_pc;    /* where it was interrupted last */
    struct spin spin;
    bool moved; /* it parked, or made a call that the library sees, since then */

    struct park_waiter waiter;
    struct rt_timer timer;
    uint8_t io; /* its address: what it waits on for descriptors (sync/io.c) */

    /* thread; written before it starts, then as said */
    void *(*start)(void *);
    void *arg;
    void *ret;                 /* before JOIN_EXITED */
    uint32_t join;             /* JOIN_*, atomic [J1] */
    struct g *joining;         /* whom it joins; for EDEADLK */
    char *stack_lo, *stack_hi; /* its stack, whoever gave it */
    size_t stack_bytes;        /* asked for; the stack may be a little larger */
    size_t guard_bytes;
    void (*body)(struct g *); /* posix/thread.c: what runs on it */
    struct stack_class *cls;  /* const: whose block it is, and the block's own stack */
    char *block_lo, *block_hi;
    uint32_t slot; /* const: index in the slot table */
    uint16_t generation;
    bool user_stack;
    bool stack_used; /* its own stack, since pages below its top were given back */
    bool c11;
    bool sched_explicit; /* by attribute, not inherited; for pthread_getattr_np */
    bool named;          /* name was set for it or a thread it descends from */
    char name[RT_NAME];
    int32_t policy, priority;
    bool sched_set, affinity_set; /* the kernel must know: bound to an M that has them */
    bool sched_pending;           /* to be taken up by the G itself */
    bool kernel_own;              /* bound for good: its M has attributes for it; [SO] */
    bool kernel_state; /* its M has state that new threads inherit; own thread */
    bool slack_own;    /* its timer slack is its own; own thread */
    bool nice_set;
    int8_t nice;           /* wanted, when nice_set */
    bool has_ceilings;     /* bound for good, see sync/pshared.c */
    uint64_t affinity[16]; /* wanted, when affinity_set */
    /* signals, see rt/signal.c and posix/signal.h */
    uint64_t sigmask;     /* blocked; own thread writes, atomic for readers */
    bool mask_shown;      /* the kernel blocks all of it (posix/exec.c); own thread */
    uint64_t sig_counted; /* the mask it is counted under; own thread */
    struct os_altstack altstack; /* the program's; size 0: none; own thread */
    uintptr_t in_handler;        /* frame of its outermost handler, see rt_in_handler */
    uint64_t handler_over;       /* sigmask of what that interrupted */
    /* handlers run on this G, all / those without SA_RESTART; own thread */
    uint32_t sig_ran, sig_eintr;
    uint32_t in_call; /* enum g_call: where a cancellation finds it; own thread [C2] */
    /* the call of posix/block.c that it makes; own thread, its signal handler included */
    uint32_t call_off; /* not begun yet, it is not to be made */
    bool call_any;     /* any handler is a reason for that, since sig_ran was call_ran */
    uint32_t call_ran;
    bool file_call;     /* counts in posix/io_wait.c; own thread */
    bool io_owner;      /* descriptors signal it (posix/io_owner.c); atomic */
    bool bind_wanted;   /* binds itself when it looks (posix/timers.c); atomic */
    bool sig_landing;   /* empties its M's slot; own thread */
    uint64_t off_since; /* TSC when it last left its CPU */
    /* under sig_lock */
    struct rt_lock sig_lock;
    bool sig_open;              /* takes signals: it lives */
    struct sig_entry *sig_last; /* a ring, oldest next */
    uint64_t sigpend;           /* numbers that are in it; atomic for readers */
    uint64_t sig_wait;          /* it waits for these in sigwait; atomic for readers */
    uint32_t sig_news; /* what a signalfd may show has come, so often; atomic [Z9] */
    uint32_t sig_seen, /* of these, before its last look; own thread */
        sig_edge;      /* and before it last told of an edge (posix/sigfd.c) */
    /* CPU time of finished runs (gthread.c) */
    uint64_t run_cycles;  /* of short ones, in TSC ticks */
    int64_t cpu_ns;       /* of the others */
    int64_t cpu_since;    /* M's CPU clock when this run began; 0: not known */
    int64_t cpu_told;     /* what was said last: it does not go back; atomic */
    struct trace_g trace; /* see there */
};

/* --- M ----------------------------------------------------------------------------- */

/* Signals of ours, of one number, to an M (preempt/kick_linux.c); atomic, they wrap. */
struct m_kicks {
    uint16_t begun, done, seen;
};

struct m {
    struct g g0;
    struct g *curg;    /* own thread; sysmon reads it as a hint */
    struct p *p;       /* claimed P; valid only if p->owner agrees */
    uint32_t park;     /* futex, atomic [M1]: 1 = wake */
    struct p *nextp;   /* P given with the wake; before park */
    struct g *nextg;   /* locked G given with it */
    struct g *lockedg; /* the G bound to this M */
    bool spinning;     /* own thread, or its starter before the wake */
    bool ending;       /* its locked G has exited, or it idles: its kernel thread goes */
    struct g *last_g;  /* that G, if its end is to be told when the thread is gone */
    bool first;        /* const: the process's first thread; bound to main only */
    struct g *moving;  /* has left this M to go on on another */
    bool idle;         /* on the idle list; under sched.lock */
    bool listed;       /* on allm; by who publishes it */
    uint32_t rng;
    int tid;           /* 0: no kernel thread, see newm.c; else const */
    bool polling;      /* sleeps in the network poller, not on park; atomic [M2] */
    bool look_now;     /* own thread: look at the network before anything else */
    bool owes_cover;   /* own thread: sysmon does not know of a timer or descriptor yet */
    struct m *link;    /* idle list, under sched.lock; mended, mfree */
    struct m *alllink; /* const after publication */
    uint64_t sigmask;  /* the kernel's mask of this thread, as far as we set it */
    struct g *last_run; /* the last G here; atomic, own thread */
    struct os_altstack
        gsignal; /* const: the kernel's signal stack for this thread, always */
    /* a signal that came in a runtime section or on g0: 0, or its number; own thread [Z1] */
    int sig_no;
    uint64_t sig_info[16]; /* its siginfo_t */
    uint64_t run_since;    /* TSC at the last switch */
    struct m_kicks kicks[64];
    int64_t cpu_seen;      /* its CPU clock when last looked at (rt_cpu_long) */
    uint64_t short_cycles; /* of short runs since then; both own thread, others' hint */

    /* the pending request to preempt (preempt/request.c) */
    uint32_t preempt_pending; /* its number, 0: none.  atomic [V1] */
    uint64_t preempt_run;     /* run_since of the run it is for; before preempt_pending */
    int64_t preempt_sent;     /* when */
    uint32_t preempt_sig_ran; /* sig_ran of the G then */
    bool stray;               /* sysmon only: went on without its P, to be asked again */
    int64_t stop_cpu,
        stop_seen;     /* stop-the-world only: CPU clock, and when it was read */
    int64_t stray_cpu; /* sysmon only: its CPU clock at the last look */
    /* sysmon only: the run in which it was asked last; when first in that, and its CPU clock then */
    struct {
        uint64_t run;
        int64_t when, cpu;
    } asked;
    struct m *stray_link;       /* sysmon only */
    struct trace_buffer *trace; /* const after publication; NULL: no trace */
} __attribute__((aligned(64)));

/* --- P ----------------------------------------------------------------------------- */

struct p {
    /* shared, atomic [P1] */
    uintptr_t owner;
    uint32_t preempt; /* set by sysmon: yield at the next exit */
    /* owner M only; sysmon reads as hints */
    uint32_t schedtick, syscalltick;
    uint32_t next_run; /* picks of runnext in a row */
    uint32_t deferred; /* a wake-up of another M was put off, see rt_ready */
    struct g *gfree;   /* finished Gs of the default class */
    uint32_t ngfree;
    uint32_t id;
    /* run queue: head moved by thieves, tail by the owner only [Q1] */
    uint32_t head __attribute__((aligned(64)));
    uint32_t tail __attribute__((aligned(64)));
    struct g *runnext;
    struct g *ring[RT_RING];
    /* under tlock */
    struct rt_lock tlock;
    struct timer_heap heap[2];
    int64_t next_ns[2]; /* earliest of each heap; atomic, hint */
    /* under sched.lock */
    struct p *link;
    bool start_spinning;
    bool retired;         /* maxprocs.c */
    struct trace_p trace; /* who holds the P */
    /* sysmon only */
    struct sysmontick {
        uint32_t schedtick, syscalltick, strikes;
        int64_t syscall_when, cpu_when, cpu_at, cpu_used;
        struct m *mp, *syscall_mp; /* whose clock, whose call */
    } mon;
};

/* --- lists of Gs ------------------------------------------------------------------------ */

/* First in, first out, linked by g.link; under whatever lock its user says. */
struct g_list {
    struct g *head, *tail;
};

/* g_list_join - put the chain from HEAD to TAIL behind what is in L. */
static inline void g_list_join(struct g_list *l, struct g *head, struct g *tail)
{
    tail->link = NULL;
    if (l->tail != NULL)
        l->tail->link = head;
    else
        l->head = head;
    l->tail = tail;
}

static inline void g_list_put(struct g_list *l, struct g *gp)
{
    g_list_join(l, gp, gp);
}

/* g_list_pop - take the first of L, which has one. */
static inline struct g *g_list_pop(struct g_list *l)
{
    struct g *gp = l->head;
    l->head = gp->link;
    if (l->head == NULL)
        l->tail = NULL;
    return gp;
}

/* --- global state ------------------------------------------------------------------ */

struct sched {
    struct rt_lock lock;
    /* under lock; counts are atomic hints for readers without it */
    struct g_list runq;
    struct g_list woken;        /* by who has no P; looked at first [B1] */
    uint32_t runq_size;         /* both lists */
    uint32_t nwoken, woken_row; /* of them woken; taken in a row */
    struct g_list stopped;      /* wait for the world to start [W1] */
    struct m *midle;
    uint32_t nmidle;
    struct p *pidle;
    uint32_t npidle;
    struct p *pwait; /* Ps given to Ms that sysmon has yet to make */
    uint32_t m_wanted;
    struct m *mended; /* ended, to be joined by sysmon; linked by link; atomic [E1] */
    struct m *ended;  /* taken from there, to be joined; sysmon only */
    struct m *mfree;  /* joined, for new Ms; under lock */
    /* atomic */
    uint32_t nmspinning;
    uint32_t nm;             /* Ms that exist */
    uint32_t np;             /* Ps in use; const after start but for proc_set_maxprocs */
    uint32_t npall;          /* Ps that exist: those beyond np retire, never go away */
    uint32_t nstray;         /* Ms whose G runs on though they lost their P */
    struct g *stw_owner;     /* who has stopped the world, or is at it [W1] */
    bool hogged;             /* every P has run one G for long: tell sysmon of wake-ups */
    uint32_t ng;             /* living Gs, main included */
    uint32_t net_waiters;    /* waits for descriptors, netpoll.c */
    uint64_t net_looked;     /* when an M looked for events last, TSC; hint */
    bool sysmon_watches;     /* sysmon sleeps in the network poller; atomic [M3] */
    struct m *timer_sleeper; /* idle M that sleeps until the earliest timer or event */
    int64_t timer_wake_ns;   /* until when whoever covers the timers sleeps */
    uint32_t sysmon_word;    /* futex: 1 = kicked */
    int64_t sysmon_until_ns; /* when sysmon wakes by itself */
    struct m *allm;
    struct p *allp[RT_MAX_P];
    bool started;
    /* held while sysmon makes a kernel thread, or ids change in all (posix/setxid.c); taken before
     * every other lock, in no section */
    struct rt_lock makers;
    /* memory for Ms; after every other lock */
    struct {
        struct rt_lock lock;
        struct m *next; /* under lock, as the rest: LEFT structs from here on */
        char *stacks;   /* and as many signal stacks */
        uint32_t left, made;
    } m_memory;
    unsigned long slack_ns; /* timer slack that the program knows; const after start */
    int sysmon_tid; /* its kernel thread is as the process began; const after start */
    /* signals, see signal.c; atomic */
    uint64_t catch_want, catch_have;  /* sysmon's mask: wanted, and set */
    uint32_t catch_word;              /* futex: catch_have or catch_done has changed */
    uint32_t catch_asked, catch_done; /* rt_sysmon_barrier [Z6] */
    bool masks_used;                  /* some thread has blocked some signal */
    char name[RT_NAME]; /* what kernel threads are called; const after start */
    uint32_t ntimers_wall;
};
extern struct sched sched;

/* The preemption signal as a bit of a signal mask; 0: none is used.  No M ever blocks it,
 * whatever the mask of its G.  const after rt_start. */
extern uint64_t rt_preempt_bit;

/* What the kernel's mask of an M is while its G blocks MASK. */
static inline uint64_t rt_kernel_mask(uint64_t mask)
{
    return mask & ~rt_preempt_bit;
}

extern __thread struct g *gshim_self_tls;

/* rt_self - the running G; a g0 on the scheduler's stack; NULL on a foreign thread. [any] */
static inline struct g *rt_self(void)
{
    return arch_self();
}

static inline bool rt_is_g0(const struct g *gp)
{
    return gp == &gp->m->g0;
}

#endif
