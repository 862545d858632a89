/* trace.c - the recording half of GSHIM_TRACE; see trace.h.  trace_write.c makes the file.
 *
 * To record:  take the next slot of the own chunk, fill it, set its type [R1].  A signal handler
 *             between the steps takes the slot after; nothing is lost or torn.
 * To write:   read from the first slot on until one has no type yet; when a chunk is full, go on
 *             to the next [R2] and free it.
 * Chunks come from a common pool.  When the writer cannot keep up (a slow disk), MAX_CHUNKS bounds
 * the memory, and records are counted as lost instead of holding up the program.
 *
 * Times are TSC ticks, turned into nanoseconds by the writer.  A kernel thread that moves to
 * another CPU may read a slightly earlier one; so times of one G, and of one P, are never let go
 * back.
 * Rejected: begin and end as two records (a lost half confuses everything behind it); a lock-free
 * list of full chunks per process (all Ms would meet at its head).
 */
#include "shim/rt/trace.h"

#include "shim/rt/config.h"
#include "shim/rt/trace_buffer.h"

enum { MAX_CHUNKS = 1600 }; /* 64 MB */

bool trace_on;
uint64_t trace_tsc;
struct trace_buffer *trace_buffers;
static struct trace_buffer *sysmon_buffer;

static struct rt_lock pool_lock;
static struct trace_chunk *pool; /* under pool_lock */
static uint32_t nchunks;         /* that exist; under pool_lock */

/* --- buffers ------------------------------------------------------------------------------ */

static struct trace_chunk *new_chunk(void)
{
    rt_lock(&pool_lock);
    struct trace_chunk *c = pool;
    bool more = c == NULL && nchunks < MAX_CHUNKS;
    if (c != NULL)
        pool = c->next;
    nchunks += more;
    rt_unlock(&pool_lock);
    if (more)
        return os_map(sizeof *c);
    if (c != NULL)
        __builtin_memset(c, 0, sizeof *c);
    return c;
}

void trace_chunk_free(struct trace_chunk *c)
{
    rt_lock(&pool_lock);
    c->next = pool;
    pool = c;
    rt_unlock(&pool_lock);
}

void trace_pool_forked(void)
{
    pool_lock.word = 0;
}

struct trace_buffer *trace_buffer_new(void)
{
    struct trace_buffer *b = os_map(sizeof *b);
    if (b == NULL)
        return NULL;
    b->first = b->last = new_chunk();
    if (b->first == NULL)
        return NULL;
    b->next = ld_rlx(&trace_buffers);
    while (!cas_rel(&trace_buffers, &b->next, b)) /* MO: release -> [R3] in drain_all */
        ;
    return b;
}

struct trace_buffer *trace_m_new(void)
{
    return trace_on ? trace_buffer_new() : NULL;
}

/* A slot to fill, or NULL: lost. */
static struct trace_record *take_slot(struct trace_buffer *b, bool in_handler)
{
    struct trace_chunk *c = b->last;
    uint32_t i = add_rlx(&c->n, 1);
    if (likely(i < TRACE_CHUNK))
        return &c->at[i];
    struct trace_chunk *fresh = in_handler ? NULL : new_chunk();
    if (fresh == NULL) {
        add_rlx(&b->lost, 1);
        return NULL;
    }
    fresh->n = 1;
    b->last = fresh;
    st_rel(&c->next, fresh); /* MO: release -> [R2] in drain */
    return &fresh->at[0];
}

static void put(struct trace_buffer *b, struct trace_record r, enum trace_type type)
{
    struct trace_record *to = b != NULL ? take_slot(b, false) : NULL;
    if (to == NULL)
        return;
    *to = r;                 /* its type is TRACE_NONE */
    st_rel(&to->type, type); /* MO: release -> [R1] in drain */
}

/* --- threads -------------------------------------------------------------------------------- */

static uint64_t time_of(struct g *gp, uint64_t now)
{
    if (now < gp->trace.last)
        now = gp->trace.last;
    return gp->trace.last = now;
}

static void tell_name(struct trace_buffer *b, struct g *gp)
{
    struct trace_record r = {.g = g_number(gp)};
    __builtin_memcpy(gp->trace.name, gp->name, sizeof gp->trace.name);
    __builtin_memcpy(&r.begin, gp->name, 8);
    __builtin_memcpy(&r.end, gp->name + 8, 8);
    put(b, r, TRACE_NAME);
}

static uint8_t how_it_ended(struct m *mp, struct g *gp)
{
    if (ld_rlx(&gp->wstate) == G_DEAD)
        return TRACE_EXITED;
    if (gp->wait_reason != WAIT_NONE)
        return gp->wait_reason;
    if (gp->trace.preempted)
        return TRACE_PREEMPTED;
    return mp->p == NULL ? TRACE_LOST_P : TRACE_YIELDED;
}

/* GP stops running on MP, on whose P its slice may have begun later, or not at all. */
static void run_ends(struct m *mp, struct g *gp, uint64_t now)
{
    struct p *pp = mp->p;
    struct trace_record r = trace_run_of(gp, mp);
    r.how = how_it_ended(mp, gp);
    gp->trace.preempted = false;
    r.end = gp->trace.off = time_of(gp, now);
    st_rel(&gp->trace.runs, false); /* MO: release -> [R3] in close_slices */
    if (pp != NULL && pp->trace.gp == gp && pp->trace.begin == r.begin) {
        r.p = (uint16_t)pp->id;
        pp->trace.gp = NULL;
        pp->trace.end = r.end;
        put(mp->trace, r, TRACE_RUN);
    } else {
        put(mp->trace, r, TRACE_RUN_G);
        if (pp != NULL)
            trace_p_end(pp, mp);
    }
    if (__builtin_memcmp(gp->trace.name, gp->name, sizeof gp->name) != 0)
        tell_name(mp->trace, gp);
    if (r.how == TRACE_EXITED) {
        gp->trace.born = false;
        put(mp->trace, (struct trace_record){.g = r.g, .begin = r.end}, TRACE_GONE);
    }
}

static void first_run(struct m *mp, struct g *gp, uint64_t now)
{
    struct trace_record r = {.g = g_number(gp), .extra = ld_rlx(&gp->tid)};
    gp->trace.off = r.begin = gp->trace.ready < now ? gp->trace.ready : now;
    gp->trace.born = true;
    put(mp->trace, r, TRACE_BORN);
    tell_name(mp->trace, gp);
}

/* GP, chosen by MP, begins to run.  What it did since it last ran is told when the run ends. */
static void run_begins(struct m *mp, struct g *gp, uint64_t now)
{
    struct trace_g *t = &gp->trace;
    if (!t->born)
        first_run(mp, gp, now);
    if (now < mp->p->trace.end)
        now = mp->p->trace.end;
    t->on = time_of(gp, now);
    t->waited = gp->wait_reason;
    t->woken = t->waited == WAIT_NONE || t->ready < t->off ? t->off : t->ready;
    if (t->woken > t->on)
        t->woken = t->on;
    t->by = t->waker;
    t->waker = 0;
    st_rel(&t->runs, true); /* MO: release -> [R3] in close_slices */
    mp->p->trace.begin = t->on;
    mp->p->trace.gp = gp;
}

void trace_main(struct m *mp, struct g *gp)
{
    gp->trace.ready = trace_tsc;
    run_begins(mp, gp, trace_tsc);
}

void trace_switch(struct m *mp, struct g *from, struct g *to)
{
    uint64_t now = arch_cycles();
    if (!rt_is_g0(from)) {
        if (unlikely(!from->trace.born)) /* main, adopted late */
            first_run(mp, from, now);
        run_ends(mp, from, now);
    }
    if (!rt_is_g0(to))
        run_begins(mp, to, now);
}

void trace_ready(struct g *gp)
{
    struct g *self = rt_self();
    gp->trace.ready = arch_cycles();
    gp->trace.waker = self != NULL && !rt_is_g0(self) ? g_number(self) : 0;
}

void trace_call_begin(struct g *gp)
{
    gp->trace.call = time_of(gp, arch_cycles());
}

void trace_call_end(struct g *gp)
{
    struct trace_record r = {.g = g_number(gp), .begin = gp->trace.call};
    if (r.begin == 0 || r.begin < gp->trace.on) /* it began before the trace */
        return;
    r.extra = gp->call_nr;
    gp->call_nr = CALL_UNKNOWN;
    r.end = time_of(gp, arch_cycles());
    gp->trace.call = 0;
    put(gp->m->trace, r, TRACE_CALL);
}

/* --- Ps --------------------------------------------------------------------------------------- */

void trace_p_begin(struct p *pp, struct g *gp)
{
    uint64_t now = arch_cycles();
    pp->trace.begin = time_of(gp, now < pp->trace.end ? pp->trace.end : now);
    pp->trace.gp = gp;
}

static void p_ends(struct p *pp, struct trace_buffer *b, int tid)
{
    struct g *gp = pp->trace.gp;
    uint64_t now = arch_cycles();
    if (gp == NULL)
        return;
    struct trace_record r = {.g = g_number(gp), .p = (uint16_t)pp->id};
    r.begin = pp->trace.begin;
    r.end = now < r.begin ? r.begin : now;
    r.how = TRACE_LOST_P;
    r.extra = (uint64_t)tid;
    pp->trace.gp = NULL;
    pp->trace.end = r.end;
    put(b, r, TRACE_RUN_P);
}

void trace_p_end(struct p *pp, struct m *mp)
{
    p_ends(pp, mp->trace, mp->tid);
}

void trace_p_taken(struct p *pp, struct m *mp)
{
    struct g *gp = pp->trace.gp;
    struct trace_record r = {.begin = arch_cycles(), .p = (uint16_t)pp->id};
    r.extra = (uint64_t)mp->tid;
    r.g = gp != NULL ? g_number(gp) : 0;
    p_ends(pp, sysmon_buffer, mp->tid);
    put(sysmon_buffer, r, TRACE_TAKEN);
}

void trace_verdict(struct m *mp, struct g *gp, uint8_t verdict, uintptr_t pc)
{
    struct trace_record *r = mp->trace != NULL ? take_slot(mp->trace, true) : NULL;
    struct p *pp = mp->p;
    if (r == NULL)
        return;
    r->begin = r->end = arch_cycles();
    r->g = rt_is_g0(gp) ? 0 : g_number(gp);
    r->p = (uint16_t)(pp != NULL ? pp->id : UINT16_MAX);
    r->how = verdict;
    r->extra = pc;
    st_rel(&r->type, TRACE_VERDICT); /* MO: release -> [R1] in drain */
}

/* --- start and end ------------------------------------------------------------------------------ */

void trace_start(void)
{
    if (rt_config.trace_path == NULL || trace_on)
        return;
    sysmon_buffer = trace_buffer_new();
    if (sysmon_buffer != NULL && trace_write_start(rt_config.trace_path))
        st_rlx(&trace_on, true);
}
