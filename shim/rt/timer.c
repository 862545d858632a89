/* timer.c - timers: per P two 4-ary heaps (monotonic and real time) under one lock.
 *
 * One path for every timed wait: rt_timer_start, wait, rt_timer_stop.  A timer lives in its
 * G, and a G's memory is never unmapped, so a firing that comes late finds valid memory; the
 * sequence number tells it that the wait it was for is over.
 *
 * Real-time deadlines stay in real time.  Whoever computes how long to sleep converts the
 * earliest with the offset of now, and sleeps at most WALL_CHECK_NS while any exist, so a
 * clock set forwards is noticed within that; one set backwards only causes a look too early.
 *
 * t->pp says on whose heap the timer is; it changes under that heap's lock.  stop() takes the
 * lock of the P it read and looks again.
 */
#include "shim/rt/rt.h"

enum { HEAP_FIRST = 64, MONO = 0, WALL = 1 };
static const int64_t WALL_CHECK_NS = 500000000; /* half a second: NPTL notices at once */

/* --- heap, under pp->tlock ---------------------------------------------------------- */

static void place(struct timer_heap *h, uint32_t i, struct rt_timer *t)
{
    h->at[i] = t;
    t->index = i;
}

static void sift_up(struct timer_heap *h, uint32_t i, struct rt_timer *t)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / 4;
        if (h->at[parent]->when_ns <= t->when_ns)
            break;
        place(h, i, h->at[parent]);
        i = parent;
    }
    place(h, i, t);
}

static void sift_down(struct timer_heap *h, uint32_t i, struct rt_timer *t)
{
    for (;;) {
        uint32_t best = 4 * i + 1;
        if (best >= h->n)
            break;
        for (uint32_t c = best + 1; c < best + 4 && c < h->n && c < 4 * i + 5; c++)
            if (h->at[c]->when_ns < h->at[best]->when_ns)
                best = c;
        if (h->at[best]->when_ns >= t->when_ns)
            break;
        place(h, i, h->at[best]);
        i = best;
    }
    place(h, i, t);
}

static void heap_remove(struct timer_heap *h, uint32_t i)
{
    struct rt_timer *last = h->at[--h->n];
    if (i == h->n)
        return;
    if (i > 0 && last->when_ns < h->at[(i - 1) / 4]->when_ns)
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
}

static void publish_next(struct p *pp, int clock)
{
    struct timer_heap *h = &pp->heap[clock];
    st_rlx(&pp->next_ns[clock], h->n != 0 ? h->at[0]->when_ns : RT_FOREVER);
}

static bool heap_room(struct timer_heap *h)
{
    if (h->n < h->cap)
        return true;
    uint32_t cap = h->cap != 0 ? 2 * h->cap : HEAP_FIRST;
    struct rt_timer **at = os_map(cap * sizeof *at);
    if (at == NULL)
        return false;
    for (uint32_t i = 0; i < h->n; i++)
        at[i] = h->at[i];
    if (h->at != NULL)
        os_unmap(h->at, h->cap * sizeof *at);
    h->at = at;
    h->cap = cap;
    return true;
}

/* --- start, stop ---------------------------------------------------------------------- */

static struct p *any_p(struct g *gp)
{
    struct p *pp = gp->m != NULL ? gp->m->p : NULL;
    return pp != NULL ? pp : sched.allp[gp->tid % ld_rlx(&sched.np)];
}

void rt_timer_start(struct g *gp, int clock, int64_t when_ns, rt_timer_fn *fn,
                    uint64_t seq)
{
    struct rt_timer *t = &gp->timer;
    struct p *pp = any_p(gp);
    int c = clock == CLOCK_REALTIME ? WALL : MONO;
    t->when_ns = when_ns < 0 ? 0 : when_ns;
    t->clock = (uint8_t)c;
    t->fn = fn;
    t->seq = seq;
    rt_lock(&pp->tlock);
    RT_ASSERT(heap_room(&pp->heap[c]), "no memory for timers");
    sift_up(&pp->heap[c], pp->heap[c].n++, t);
    bool first = t->index == 0;
    st_rlx(&t->pp, pp);
    publish_next(pp, c);
    rt_unlock(&pp->tlock);
    if (c == WALL)
        add_rlx(&sched.ntimers_wall, 1);
    if (first) {
        int64_t mono = when_ns;
        if (c == WALL)
            mono = when_ns - os_wall_ns() + os_now_ns();
        cover_timer(mono);
    }
}

static void take_off_locked(struct p *pp, struct rt_timer *t)
{
    int c = t->clock;
    heap_remove(&pp->heap[c], t->index);
    st_rlx(&t->pp, NULL);
    publish_next(pp, c);
    if (c == WALL)
        add_rlx(&sched.ntimers_wall, -1u);
}

void rt_timer_stop(struct g *gp)
{
    struct rt_timer *t = &gp->timer;
    struct p *pp = ld_rlx(&t->pp);
    if (pp == NULL) /* fired; only its own G starts it again */
        return;
    rt_lock(&pp->tlock);
    if (ld_rlx(&t->pp) == pp)
        take_off_locked(pp, t);
    rt_unlock(&pp->tlock);
}

/* --- firing ---------------------------------------------------------------------------- */

static struct g *g_of_timer(struct rt_timer *t)
{
    return (struct g *)((char *)t - offsetof(struct g, timer));
}

/* Pop one due timer of PP and call it, lock dropped. */
static bool fire_one(struct p *pp, int clock, int64_t now_ns)
{
    rt_lock(&pp->tlock);
    struct timer_heap *h = &pp->heap[clock];
    if (h->n == 0 || h->at[0]->when_ns > now_ns) {
        rt_unlock(&pp->tlock);
        return false;
    }
    struct rt_timer *t = h->at[0];
    rt_timer_fn *fn = t->fn;
    uint64_t seq = t->seq;
    take_off_locked(pp, t);
    rt_unlock(&pp->tlock);
    fn(g_of_timer(t), seq);
    return true;
}

int64_t rt_timers_run(int64_t now_ns)
{
    int64_t wall = ld_rlx(&sched.ntimers_wall) != 0 ? os_wall_ns() : 0;
    uint32_t np = ld_acq(&sched.npall); /* MO: acquire <- [P2] */
    for (uint32_t i = 0; i < np; i++) {
        struct p *pp = sched.allp[i];
        while (ld_rlx(&pp->next_ns[MONO]) <= now_ns && fire_one(pp, MONO, now_ns))
            ;
        while (ld_rlx(&pp->next_ns[WALL]) <= wall && fire_one(pp, WALL, wall))
            ;
    }
    return rt_timers_next(now_ns);
}

int64_t rt_timers_next(int64_t now_ns)
{
    int64_t mono = RT_FOREVER, wall = RT_FOREVER;
    uint32_t np = ld_acq(&sched.npall); /* MO: acquire <- [P2] */
    for (uint32_t i = 0; i < np; i++) {
        struct p *pp = sched.allp[i];
        int64_t m = ld_rlx(&pp->next_ns[MONO]), w = ld_rlx(&pp->next_ns[WALL]);
        mono = m < mono ? m : mono;
        wall = w < wall ? w : wall;
    }
    if (wall != RT_FOREVER) {
        if (now_ns == 0)
            now_ns = os_now_ns();
        int64_t left = wall - os_wall_ns();
        left = left < WALL_CHECK_NS ? left : WALL_CHECK_NS;
        left = left > 0 ? left : 0;
        mono = now_ns + left < mono ? now_ns + left : mono;
    }
    return mono;
}
