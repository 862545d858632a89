/* gthread.c - making, finishing and reusing Gs.
 *
 * A G's memory is a block of stack.c: stack, TLS, TCB and struct g.  With a stack given by the
 * program the block holds only the last three, so nothing of ours dies with that memory.
 * Blocks are type-stable: a finished G waits on a free list (first on its P's, for the default
 * class, then on its class's) with its libc identity, and the next thread takes both over.
 * A G may be on a free list while its M still runs the last instructions on its stack; the
 * taker waits for on_cpu to fall [G2].
 *
 * Three ways to a G, the cheapest first: a warm one from a free list; a cold one, whose memory
 * went back to the kernel (gtrim.c) and which keeps its place; a new block.
 */
#include "shim/rt/rt.h"

#include <errno.h>

#include "shim/libc/libc.h"
#include "shim/rt/gtable.h"
#include "shim/rt/stack.h"

enum {
    P_FREE_MAX = 64, /* finished Gs a P keeps; half goes to the class then */
};

static bool memory_short; /* atomic, hint: a block was refused once */

static size_t top_bytes(void)
{
    return libc_layout.tls_size + libc_layout.tcb_size + libc_layout.tls_align +
           sizeof(struct g) + 64;
}

/* Lay out the top of a block: struct g at the very end, TCB below it. */
static struct g *carve(char *block, struct stack_class *c)
{
    uintptr_t end = (uintptr_t)block + c->block_bytes;
    struct g *gp = (struct g *)((end - sizeof *gp) & ~(uintptr_t)63);
    uintptr_t tcb = ((uintptr_t)gp - libc_layout.tcb_size) & ~(libc_layout.tls_align - 1);
    gp->tcb = (void *)tcb;
    gp->block_lo = block + c->guard_bytes;
    gp->block_hi = (char *)(tcb - libc_layout.tls_size);
    gp->cls = c;
    return gp;
}

/* GP has its place in a block and in the table, and an identity yet to be made. */
static struct g *with_identity(struct g *gp)
{
    gp->tid = g_next_tid(gp);
    if (libc_tcb_make(gp->tcb, gp->tid) != 0) {
        gp->wstate = G_DEAD;
        gp->tid = 0;
        return NULL;
    }
    *(struct g **)((char *)gp->tcb + arch_self_offset()) = gp;
    gp->waiter.gp = gp;
    /* No timer of an earlier life of this memory can have the number of a wait to come. */
    gp->waiter.seq = arch_cycles();
    return gp;
}

static struct g *from_cold(struct stack_class *c)
{
    uint32_t slot;
    if (!g_cold_pop(c, &slot))
        return NULL;
    struct g_row *row = g_row_of(slot);
    char *block = stack_block_at(c, row->gp);
    stack_block_reguard(c, block);
    __builtin_memset(row->gp, 0,
                     sizeof *row->gp); /* a stale handle may have been written through */
    struct g *gp = carve(block, c);
    gp->slot = slot;
    gp->generation = row->generation;
    struct g *made = with_identity(gp);
    if (made == NULL)
        g_cold_push(c, slot);
    else
        st_rel(&row->state, ROW_WARM); /* MO: release -> [N1] in g_of_slot */
    return made;
}

/* What fails here leaves address space unused, nothing more: only its top was touched. */
static struct g *from_scratch(struct stack_class *c)
{
    char *block = stack_block_new(c);
    if (block == NULL)
        return NULL;
    struct g *gp = carve(block, c);
    return g_row_take(gp) ? with_identity(gp) : NULL;
}

static struct g *pop_free(struct stack_class *c)
{
    struct rt_section s;
    struct g *gp = NULL;
    rt_enter(&s);
    struct p *pp = s.gp != NULL ? s.gp->m->p : NULL;
    if (pp != NULL && pp->gfree != NULL && pp->gfree->cls == c) {
        gp = pp->gfree;
        pp->gfree = gp->link;
        pp->ngfree--;
    }
    rt_exit(&s);
    return gp != NULL ? gp : stack_class_pop(c);
}

void g_caches_drop_idle(void)
{
    struct rt_section s;
    struct g *all = NULL;
    rt_enter(&s);
    rt_lock(&sched.lock); /* keeps them idle */
    for (struct p *pp = sched.pidle; pp != NULL; pp = pp->link) {
        while (pp->gfree != NULL) {
            struct g *gp = pp->gfree;
            pp->gfree = gp->link;
            gp->link = all;
            all = gp;
        }
        pp->ngfree = 0;
    }
    rt_unlock(&sched.lock);
    while (all != NULL) {
        struct g *gp = all;
        all = gp->link;
        stack_class_push(gp->cls, gp);
    }
    rt_exit(&s);
}

/* Memory is short: what Ps that idle have kept for themselves goes to the classes now, and
 * nobody keeps anything from here on. */
static struct g *from_idle_ps(struct stack_class *c)
{
    g_caches_drop_idle();
    return stack_class_pop(c);
}

static struct g *renew(struct g *gp, struct stack_class *c)
{
    if (gp == NULL)
        return NULL;
    g_wait_off_stack(gp);
    gp->tid = g_next_tid(gp);
    if (libc_tcb_reuse(gp->tcb, gp->tid) != 0) {
        stack_class_push(c, gp);
        return NULL;
    }
    *(struct g **)((char *)gp->tcb + arch_self_offset()) = gp;
    return gp;
}

static void set_stack(struct g *gp, const struct g_attr *attr)
{
    gp->user_stack = attr->user_stack != NULL;
    if (gp->user_stack) {
        gp->stack_lo = attr->user_stack;
        gp->stack_hi = gp->stack_lo + attr->stack_bytes;
    } else {
        gp->stack_lo = gp->block_lo;
        gp->stack_hi =
            gp->block_lo + stack_class_usable(gp->cls, gp->block_hi - gp->block_lo);
    }
    gp->stack_used = !gp->user_stack;
    gp->stack_bytes = attr->stack_bytes;
    gp->guard_bytes = attr->guard_bytes;
    if (unlikely(ld_rlx(&rt_guards_used)))
        rt_guard_reset(gp);
}

int g_new(struct g **out, const struct g_attr *attr, void (*body)(struct g *))
{
    bool user = attr->user_stack != NULL;
    struct stack_class *c = stack_class_get(user ? 0 : attr->stack_bytes,
                                            user ? 0 : attr->guard_bytes, top_bytes());
    if (c == NULL)
        return EAGAIN;
    struct g *gp = renew(pop_free(c), c);
    if (gp == NULL)
        gp = from_cold(c);
    if (gp == NULL)
        gp = from_scratch(c);
    if (gp == NULL) {
        st_rlx(&memory_short, true);
        gp = renew(from_idle_ps(c), c);
    }
    if (gp == NULL)
        return EAGAIN;
    set_stack(gp, attr);
    arch_ctx_init(&gp->ctx, gp->stack_hi, (uintptr_t)gp->tcb, sched_first_run, gp);
    gp->body = body;
    gp->in_rt = 1; /* begins inside the runtime, g_main leaves it */
    gp->on_cpu = 0;
    gp->lockedm = NULL;
    gp->lock_count = 0;
    gp->m = NULL;
    gp->ret = NULL;
    gp->joining = NULL;
    gp->exiting = false;
    gp->attention = false;
    gp->preempt_off = 0;
    gp->spin = (struct spin){0};
    gp->blocking = false;
    gp->sched_set = gp->affinity_set = gp->sched_pending = gp->has_ceilings = false;
    gp->mask_shown = gp->slack_own = gp->kernel_own = gp->kernel_state = gp->nice_set =
        false;
    gp->join = attr->detached ? JOIN_DETACHED : 0;
    gp->wstate = G_PARKED; /* until g_start */
    gp->wait_reason = WAIT_NONE;
    gp->call_nr = CALL_UNKNOWN;
    gp->soon = 0;
    gp->readied_at = 0;
    gp->run_cycles = 0;
    gp->cpu_ns = gp->cpu_since = gp->cpu_told = 0;
    gp->name[0] = '\0';
    gp->named = false;
    gp->in_call = CALL_NONE;
    gp->hold = false;
    *out = gp;
    return 0;
}

void g_start(struct g *gp)
{
    struct rt_section s;
    add_rlx(&sched.ng, 1);
    rt_enter(&s);
    struct p *pp = s.gp != NULL ? s.gp->m->p : NULL;
    /* Threads begin in the order in which they were made: next only if nobody is before it. */
    rt_ready(gp, pp != NULL && pp->runnext == NULL && runq_empty(pp));
    rt_exit(&s);
}

/* Called on the G's own stack, first of all.  What others have left for it to do (handlers,
 * cancellation) may unwind, so it waits until BODY has a frame to unwind to: rt_begin. */
void g_main(struct g *gp)
{
    struct rt_section s = {.gp = gp};
    gp->starting = true;
    rt_exit(&s);
    gp->body(gp);
    rt_throw("thread body returned");
}

void rt_begin(struct g *gp)
{
    gp->starting = false;
    if (unlikely(ld_rlx(&gp->attention)))
        rt_hooks->attention(gp);
}

static void spill(struct p *pp, uint32_t n)
{
    for (; n > 0; n--) {
        struct g *gp = pp->gfree;
        pp->gfree = gp->link;
        pp->ngfree--;
        stack_class_push(gp->cls, gp);
    }
}

void g_cache_drop(struct p *pp)
{
    spill(pp, pp->ngfree);
}

void g_free(struct g *gp)
{
    struct g *self = rt_self();
    struct p *pp = self != NULL && self->in_rt != 0 ? self->m->p : NULL;
    gp->tid = 0;
    g_trim_later();
    if (unlikely(ld_rlx(&memory_short) && pp != NULL)) {
        spill(pp, pp->ngfree);
        pp = NULL;
    }
    /* A P keeps one class at a time; the first one it sees is the common one. */
    if (pp != NULL && (pp->gfree == NULL || pp->gfree->cls == gp->cls)) {
        gp->link = pp->gfree;
        pp->gfree = gp;
        if (++pp->ngfree > P_FREE_MAX)
            spill(pp, pp->ngfree / 2);
        return;
    }
    stack_class_push(gp->cls, gp);
}

void g_abandon(struct g *gp)
{
    struct rt_section s;
    st_rlx(&gp->join, JOIN_GONE);
    rt_enter(&s);
    g_free(gp);
    rt_exit(&s);
}

/* After fork: the surviving G keeps its block; nothing else is remembered. */
void g_forget_all(void)
{
    g_table_forget();
    g_trim_forget();
    stack_forget();
}

/* --- CPU time --------------------------------------------------------------------------- */

/* Until somebody asks, a run that is short is counted by the time stamp counter.  One that is not
 * may have been that long because the kernel had the thread off its CPU, preempted or blocked: it is
 * what the CPU clock of the M says has passed since the last look at it, less the short runs since
 * then; so the sum for all threads does not exceed the process's time by more than what was lost in
 * short runs.  From the first question on that clock is read at each switch (about 150 ns).
 * Rejected: that from the beginning, for a switch takes a fifth of it. */
bool rt_cpu_accounting;

static uint64_t start_cycles; /* both const after rt_ticks_start */
static int64_t start_ns;

void rt_ticks_start(void)
{
    if (start_ns != 0)
        return;
    start_cycles = arch_cycles();
    start_ns = os_now_ns();
}

/* Ns per tick, from the time since then; 0: too short yet to be right to 1 in 10,000. */
static double tick_ns(void)
{
    uint64_t cycles = arch_cycles() - start_cycles;
    int64_t ns = os_now_ns() - start_ns;
    return ns >= 1000000 ? (double)ns / (double)cycles : 0;
}

int64_t rt_cycles_to_ns(uint64_t cycles)
{
    double tick;
    rt_ticks_start();
    while ((tick = tick_ns()) == 0)
        ;
    return (int64_t)((double)cycles * tick);
}

/* Of a run of CYCLES up to now that is no short one, while MP's CPU clock shows CPU. */
static int64_t long_ns(const struct m *mp, uint64_t cycles, int64_t cpu)
{
    double tick = tick_ns();
    int64_t ns = cpu - mp->cpu_seen - (int64_t)((double)mp->short_cycles * tick);
    int64_t most = tick != 0 ? (int64_t)((double)cycles * tick) : ns;
    return ns < 0 ? 0 : ns < most ? ns : most;
}

void rt_cpu_long(struct m *mp, struct g *from, uint64_t cycles)
{
    int64_t cpu = os_clock_ns(3 /* CLOCK_THREAD_CPUTIME_ID */);
    from->cpu_ns += long_ns(mp, cycles, cpu);
    mp->cpu_seen = cpu;
    mp->short_cycles = 0;
}

/* GP, running on MP: what this run has taken so far. */
static int64_t this_run_ns(struct g *gp, struct m *mp)
{
    int64_t cpu = os_thread_cpu_ns(mp->tid), since = ld_rlx(&gp->cpu_since);
    if (since != 0)
        return cpu - since;
    uint64_t cycles = arch_cycles() - mp->run_since;
    int64_t ns =
        cycles < RT_SHORT_CYCLES ? rt_cycles_to_ns(cycles) : long_ns(mp, cycles, cpu);
    if (gp == rt_self()) { /* from here on by the clock */
        gp->cpu_ns += ns;
        mp->cpu_seen = cpu;
        mp->short_cycles = 0;
        st_rlx(&gp->cpu_since, cpu);
        return 0;
    }
    return ns;
}

int64_t rt_cpu_ns(struct g *gp)
{
    struct m *mp = ld_rlx(&gp->m);
    bool running = ld_rlx(&gp->on_cpu) != 0 && mp != NULL && ld_rlx(&mp->curg) == gp;
    st_rlx(&rt_cpu_accounting, true);
    int64_t ns = running ? this_run_ns(gp, mp) : 0;
    ns += gp->cpu_ns + rt_cycles_to_ns(gp->run_cycles);
    int64_t told = ld_rlx(&gp->cpu_told);
    if (ns < told) /* a short run has become a long one */
        return told;
    st_rlx(&gp->cpu_told, ns);
    return ns;
}
