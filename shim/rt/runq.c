/* runq.c - run queues: a ring of 256 per P with one owner and many thieves, and the global
 * list.
 *
 * Protocol of the ring (after Go's runtime/proc.go, runqput/runqget/runqgrab)
 *   To put:   only the owner M.  Store the slot, then tail with release [Q1].
 *   To get:   load head with acquire [Q2], read the slot, move head by CAS.
 *   To steal: load head acquire [Q2], tail acquire [Q1], copy half, move head by CAS
 *             release [Q2]: the copies were read before the slots may be reused.
 *   runnext is one more slot, taken by CAS by anybody, filled by the owner.
 * Invariants: tail - head <= RT_RING; a G is in at most one slot of one queue.
 * A full ring gives half of itself to the global list, so a burst of wake-ups is shared.
 *
 * Stealing runnext: two Gs that hand work to and fro live in their P's runnext, and a thief
 * that took one of them would turn a 100 ns switch into two cross-CPU wake-ups.  So a thief
 * takes it only from a P whose schedtick stood still while the thief waited a few
 * microseconds: then its M runs one G for long, and the G in runnext would wait.
 */
#include "shim/rt/rt.h"

static bool ring_to_global(struct p *pp, struct g *gp, uint32_t h, uint32_t t)
{
    struct g *batch[RT_RING / 2 + 1];
    uint32_t n = (t - h) / 2;
    for (uint32_t i = 0; i < n; i++)
        batch[i] = ld_rlx(&pp->ring[(h + i) % RT_RING]);
    if (!cas_rel(&pp->head, &h, h + n)) /* MO: release -> [Q2] */
        return false;
    batch[n] = gp;
    for (uint32_t i = 0; i < n; i++)
        batch[i]->link = batch[i + 1];
    globq_put_batch(batch[0], batch[n], n + 1);
    return true;
}

void runq_put(struct p *pp, struct g *gp, bool next)
{
    if (next) {
        gp = xchg_ar(&pp->runnext, gp); /* MO: release -> [Q1] at the taker */
        if (gp == NULL)
            return;
    }
    for (;;) {
        uint32_t h = ld_acq(&pp->head); /* MO: acquire <- [Q2]: the slot was read */
        uint32_t t = pp->tail;
        if (t - h < RT_RING) {
            st_rlx(&pp->ring[t % RT_RING], gp);
            st_rel(&pp->tail, t + 1); /* MO: release -> [Q1] */
            return;
        }
        if (ring_to_global(pp, gp, h, t))
            return;
    }
}

struct g *runq_get(struct p *pp)
{
    struct g *next = ld_rlx(&pp->runnext);
    if (next != NULL && pp->next_run < RT_NEXT_LIMIT &&
        cas_acq(&pp->runnext, &next, NULL)) { /* MO: acquire <- [Q1] */
        pp->next_run++;
        return next;
    }
    pp->next_run = 0;
    for (;;) {
        uint32_t h = ld_acq(&pp->head); /* MO: acquire <- [Q2] */
        if (pp->tail == h)
            break;
        struct g *gp = ld_rlx(&pp->ring[h % RT_RING]);
        if (cas_rel(&pp->head, &h, h + 1)) /* MO: release -> [Q2] */
            return gp;
    }
    next = ld_rlx(&pp->runnext);
    if (next != NULL && cas_acq(&pp->runnext, &next, NULL)) /* MO: acquire <- [Q1] */
        return next;
    return NULL;
}

bool runq_empty(const struct p *pp)
{
    /* A G moves from runnext to the ring between the two reads; tail tells. */
    for (;;) {
        uint32_t t = ld_acq(&pp->tail);        /* MO: acquire <- [Q1] */
        uint32_t h = ld_acq(&pp->head);        /* MO: acquire <- [Q2] */
        struct g *next = ld_acq(&pp->runnext); /* MO: acquire <- [Q1] */
        if (t == ld_acq(&pp->tail))            /* MO: acquire <- [Q1] */
            return h == t && next == NULL;
    }
}

static struct g *steal_next(struct p *victim)
{
    uint32_t tick = ld_rlx(&victim->schedtick);
    struct g *next = ld_rlx(&victim->runnext);
    if (next == NULL)
        return NULL;
    if ((ld_rlx(&victim->owner) & P_MODE) != 0) {
        for (int i = 0; i < 100; i++)
            arch_pause();
        if (ld_rlx(&victim->schedtick) != tick)
            return NULL;
    }
    return cas_acq(&victim->runnext, &next, NULL) ? next : NULL; /* MO: acquire <- [Q1] */
}

/* Takes half of VICTIM's ring into PP's; returns one of them to run. */
struct g *runq_steal(struct p *pp, struct p *victim, bool next_too)
{
    uint32_t t = pp->tail;
    for (;;) {
        uint32_t h = ld_acq(&victim->head);  /* MO: acquire <- [Q2] */
        uint32_t vt = ld_acq(&victim->tail); /* MO: acquire <- [Q1] */
        uint32_t n = vt - h;
        n -= n / 2;
        if (n == 0)
            return next_too ? steal_next(victim) : NULL;
        if (n > RT_RING / 2)
            continue; /* head and tail were read at different times */
        struct g *gp = ld_rlx(&victim->ring[h % RT_RING]);
        for (uint32_t i = 1; i < n; i++)
            st_rlx(&pp->ring[(t + i - 1) % RT_RING],
                   ld_rlx(&victim->ring[(h + i) % RT_RING]));
        if (!cas_rel(&victim->head, &h, h + n)) /* MO: release -> [Q2] */
            continue;
        if (n > 1)
            st_rel(&pp->tail, t + n - 1); /* MO: release -> [Q1] */
        return gp;
    }
}

/* --- global list, under sched.lock -------------------------------------------------- */

void globq_put_locked(struct g *gp)
{
    g_list_put(&sched.runq, gp);
    st_rlx(&sched.runq_size, sched.runq_size + 1);
}

void globq_put_batch(struct g *head, struct g *tail, uint32_t n)
{
    rt_lock(&sched.lock);
    g_list_join(&sched.runq, head, tail);
    st_rlx(&sched.runq_size, sched.runq_size + n);
    rt_unlock(&sched.lock);
}

void globq_put_woken_locked(struct g *gp)
{
    g_list_put(&sched.woken, gp);
    st_rlx(&sched.nwoken, sched.nwoken + 1);
    st_rlx(&sched.runq_size, sched.runq_size + 1);
}

/* The woken first, but not for ever: the others get a turn as runnext gives one to the ring. */
static struct g *globq_pop_locked(void)
{
    bool woken = sched.runq.head == NULL ||
                 (sched.woken.head != NULL && sched.woken_row < RT_NEXT_LIMIT);
    struct g *gp = g_list_pop(woken ? &sched.woken : &sched.runq);
    sched.woken_row = woken ? sched.woken_row + 1 : 0;
    if (woken)
        st_rlx(&sched.nwoken, sched.nwoken - 1);
    st_rlx(&sched.runq_size, sched.runq_size - 1);
    return gp;
}

/* One G to run and this P's fair share of the rest, at most MAX (0: no limit). */
struct g *globq_get(struct p *pp, uint32_t max)
{
    if (ld_rlx(&sched.runq_size) == 0)
        return NULL;
    rt_lock(&sched.lock);
    uint32_t n = sched.runq_size / ld_rlx(&sched.np) + 1;
    if (n > sched.runq_size)
        n = sched.runq_size;
    if (max != 0 && n > max)
        n = max;
    if (n > RT_RING / 2)
        n = RT_RING / 2;
    if (sched.nwoken != 0 && n > 1) /* they shall not wait in a ring behind others */
        n = 1;
    struct g *gp = n != 0 ? globq_pop_locked() : NULL;
    while (n > 1) {
        /* The ring may be filling up; runq_put would then want the lock we hold. */
        if (pp->tail - ld_acq(&pp->head) >= RT_RING) /* MO: acquire <- [Q2] */
            break;
        runq_put(pp, globq_pop_locked(), false);
        n--;
    }
    rt_unlock(&sched.lock);
    return gp;
}
