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
    gp->cpu_ns = gp->cpu_since = 0;
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

/* Until somebody asks, the time stamp counter at each switch is all there is: it counts a
 * thread that its kernel preempted or blocked as running.  From the first question on the
 * kernel's CPU clock of the M is read at each switch instead (about 150 ns). */
bool rt_cpu_accounting;

int64_t rt_cycles_to_ns(uint64_t cycles)
{
    static uint64_t base_cycles;
    static int64_t base_ns;
    if (base_ns == 0) { /* a rate over one millisecond is exact to 1 in 10,000 */
        int64_t t0 = os_now_ns(), t1;
        uint64_t c0 = arch_cycles();
        do
            t1 = os_now_ns();
        while (t1 - t0 < 1000000);
        base_cycles = arch_cycles() - c0;
        base_ns = t1 - t0;
    }
    return (int64_t)((double)cycles * (double)base_ns / (double)base_cycles);
}

int64_t rt_cpu_ns(struct g *gp)
{
    struct m *mp = ld_rlx(&gp->m);
    bool running = ld_rlx(&gp->on_cpu) != 0 && mp != NULL && ld_rlx(&mp->curg) == gp;
    st_rlx(&rt_cpu_accounting, true);
    if (!running)
        return gp->cpu_ns + rt_cycles_to_ns(gp->run_cycles);
    int64_t since = ld_rlx(&gp->cpu_since);
    if (since != 0)
        return gp->cpu_ns + rt_cycles_to_ns(gp->run_cycles) + os_thread_cpu_ns(mp->tid) -
               since;
    /* It has run since before anybody asked: by the time stamp counter up to now, and for
     * the asking thread itself by the kernel's clock from here on. */
    uint64_t now = arch_cycles(), cycles = gp->run_cycles + (now - mp->run_since);
    if (gp == rt_self()) {
        gp->run_cycles = cycles;
        st_rlx(&gp->cpu_since, os_thread_cpu_ns(mp->tid));
    }
    return gp->cpu_ns + rt_cycles_to_ns(cycles);
}
