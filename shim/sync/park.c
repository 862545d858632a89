/* park.c - the parking lot; see park.h.
 *
 * A hash table of buckets, each a lock and a doubly linked list of waiters in order of
 * arrival, of those that wait anew with the same op their first one, and those with a real-time
 * priority before those with a lower one, as the kernel's futex orders them; waiters of different
 * keys share a list.  The node of a G is part of it, so a timer that fires late finds valid
 * memory; a foreign thread's node is on its stack, and it does not leave before it is off the list.
 *
 * Who may touch a node: while queued, whoever holds the lock of its key's bucket; once taken
 * off, the one who took it off, until rt_ready or the futex word is set; then its owner.
 * Taking off is what decides between wake-up, timeout and interrupt: one of them finds
 * queued set, the others find it clear.
 *
 * w->key changes only under the locks of both buckets (requeue), or when the next wait begins, in
 * the new one's; who has only the node reads the key, locks its bucket, and looks again, at queued
 * first: queued, and the key is that of the bucket, so it is in there [P6].
 *
 * The table grows with the number of threads; growing takes all locks of the old table, and
 * everybody who locked a bucket checks afterwards that its table is still the one [T2].
 * Old tables are kept: a thread may be about to lock one of their buckets.
 */
#include "shim/sync/park.h"

#include <errno.h>

#include "shim/libc/libc.h"

struct bucket {
    struct rt_lock lock;
    struct park_waiter *head, *tail;
    uint32_t requeued; /* park_requeue from here, how often; for park_op.again */
};

struct table {
    uint32_t bits;
    struct bucket *b; /* 1 << bits of them */
};

enum { FIRST_BITS = 8 };

/* About a millisecond of TSC ticks: a waiter older than that is handed the lock. */
static const uint64_t FAIR_CYCLES = 2500000;

static struct bucket first_buckets[1 << FIRST_BITS];
static struct table first = {FIRST_BITS, first_buckets};

static struct table *table = &first; /* atomic [T2] */
static struct rt_lock grow_lock;

/* --- buckets ------------------------------------------------------------------------- */

static inline size_t hash(uintptr_t key, uint32_t bits)
{
    return (size_t)((key * 0x9e3779b97f4a7c15ull) >> (64 - bits)); /* Fibonacci hashing */
}

static struct bucket *lock_bucket(uintptr_t key)
{
    for (;;) {
        struct table *t = ld_acq(&table); /* MO: acquire <- [T2] release in park_room */
        struct bucket *b = &t->b[hash(key, t->bits)];
        rt_lock(&b->lock);
        if (likely(t == ld_rlx(&table)))
            return b;
        rt_unlock(&b->lock);
    }
}

struct pair {
    struct bucket *from, *to;
};

static struct pair lock_pair(uintptr_t from, uintptr_t to)
{
    for (;;) {
        struct table *t = ld_acq(&table); /* MO: acquire <- [T2] */
        struct bucket *a = &t->b[hash(from, t->bits)], *b = &t->b[hash(to, t->bits)];
        rt_lock(a < b ? &a->lock : &b->lock);
        if (a != b)
            rt_lock(a < b ? &b->lock : &a->lock);
        if (likely(t == ld_rlx(&table)))
            return (struct pair){a, b};
        rt_unlock(&a->lock);
        if (a != b)
            rt_unlock(&b->lock);
    }
}

static void unlock_pair(struct pair p)
{
    rt_unlock(&p.from->lock);
    if (p.from != p.to)
        rt_unlock(&p.to->lock);
}

/* Real-time priority; 0 under the default policy, and for a foreign thread. */
static int priority(const struct park_waiter *w)
{
    return w->gp != NULL ? w->gp->priority : 0;
}

/* Before whom W goes: the first waiter for the same key whose priority is lower.  NULL: at
 * the end. */
static struct park_waiter *overtaken(const struct bucket *b, const struct park_waiter *w)
{
    struct park_waiter *at = NULL;
    if (likely(priority(w) == 0))
        return NULL;
    for (struct park_waiter *o = b->tail; o != NULL; o = o->prev) {
        if (ld_rlx(&o->key) != ld_rlx(&w->key))
            continue;
        if (priority(o) >= priority(w))
            break;
        at = o;
    }
    return at;
}

/* Before whom W goes that goes on waiting, after a handler or for a lock that it just missed:
 * the first for the same key who came later, so that it keeps its place. */
static struct park_waiter *younger(const struct bucket *b, const struct park_waiter *w)
{
    struct park_waiter *o = b->head;
    while (o != NULL &&
           (ld_rlx(&o->key) != ld_rlx(&w->key) || priority(o) > priority(w) ||
            (priority(o) == priority(w) && o->since <= w->since)))
        o = o->next;
    return o;
}

/* W goes before NEXT; NULL: to the end. */
static void insert(struct bucket *b, struct park_waiter *w, struct park_waiter *next)
{
    w->next = next;
    w->prev = next != NULL ? next->prev : b->tail;
    if (w->prev != NULL)
        w->prev->next = w;
    else
        b->head = w;
    if (next != NULL)
        next->prev = w;
    else
        b->tail = w;
    st_rel(&w->queued, true); /* MO: release -> [P6] in take_off: key */
}

static void unlink_waiter(struct bucket *b, struct park_waiter *w)
{
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        b->head = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        b->tail = w->prev;
    w->queued = false;
}

void park_room(size_t n)
{
    struct table *old = ld_acq(&table); /* MO: acquire <- [T2] */
    if (likely(n <= (size_t)1 << (old->bits + 1)))
        return;
    struct rt_section s;
    rt_lock_in(&s, &grow_lock);
    old = ld_rlx(&table);
    uint32_t bits = old->bits;
    while (n > (size_t)1 << (bits + 1))
        bits += 2;
    struct table *t = NULL;
    if (bits != old->bits)
        t = os_map(sizeof *t + ((size_t)1 << bits) * sizeof t->b[0]);
    if (t != NULL) { /* without memory the old one just gets slower */
        t->bits = bits;
        t->b = (struct bucket *)(t + 1);
        size_t size = (size_t)1 << old->bits;
        for (size_t i = 0; i < size; i++)
            rt_lock(&old->b[i].lock);
        for (size_t i = 0; i < size; i++) {
            struct park_waiter *w = old->b[i].head, *next;
            for (; w != NULL; w = next) {
                next = w->next;
                insert(&t->b[hash(w->key, bits)], w, NULL); /* in the same order */
            }
        }
        st_rel(&table, t); /* MO: release -> [T2] */
        for (size_t i = 0; i < size; i++)
            rt_unlock(&old->b[i].lock);
    }
    rt_unlock_in(&s, &grow_lock);
}

void park_forget(void)
{
    struct table *t = table;
    for (size_t i = 0; i < (size_t)1 << t->bits; i++)
        t->b[i] = (struct bucket){0};
    grow_lock.word = 0;
}

static void wake_up(struct park_waiter *w, bool next)
{
    if (w->gp != NULL) {
        rt_ready(w->gp, next);
        return;
    }
    /* The node dies with this store; the wake goes to an address only. */
    st_rel(&w->word, 1); /* MO: release -> [P4] */
    os_futex_wake(&w->word, 1);
}

/* --- ending a wait from outside -------------------------------------------------------- */

/* Take W off its queue, if it still waits in the wait SEQ, or, with BY, in one that this ends. */
static bool take_off(struct park_waiter *w, uint64_t seq, uint8_t by, int result)
{
    for (;;) {
        uintptr_t key = ld_rlx(&w->key);
        struct bucket *b = lock_bucket(key);
        /* In this order: else it leaves, and queues up elsewhere, between the two. */
        bool mine = ld_acq(&w->queued); /* MO: acquire <- [P6]: key */
        bool same = ld_rlx(&w->key) == key;
        mine = mine && same && (by != 0 ? (w->ended_by & by) != 0 : w->seq == seq);
        if (mine) {
            unlink_waiter(b, w);
            w->result = (uint8_t)result;
        }
        rt_unlock(&b->lock);
        if (same)
            return mine;
    }
}

static void on_timeout(struct g *gp, uint64_t seq)
{
    if (take_off(&gp->waiter, seq, 0, ETIMEDOUT))
        rt_ready(gp, false);
}

void park_interrupt(struct g *gp, uint8_t by)
{
    struct park_waiter *w = &gp->waiter;
    fence_sc(); /* MO: [P5] "reason; fence; load queued" */
    /* A hint that saves the lock: by then it may be in another wait. */
    if ((ld_rlx(&w->ended_by) & by) == 0)
        return;
    int result = by == PARK_BY_SIGNAL ? EINTR : by == PARK_BY_NEWS ? 0 : ECANCELED;
    if (take_off(w, 0, by, result))
        rt_ready(gp, false);
}

void park_interrupt_foreign(const void *tcb)
{
    struct rt_section s;
    bool found;
    rt_enter(&s);
    do {
        struct table *t = ld_acq(&table); /* MO: acquire <- [T2] */
        found = false;
        for (size_t i = 0; i < (size_t)1 << t->bits && !found; i++) {
            struct bucket *b = &t->b[i];
            rt_lock(&b->lock);
            struct park_waiter *w = t == ld_rlx(&table) ? b->head : NULL;
            while (w != NULL && (w->gp != NULL || w->tcb != tcb ||
                                 (w->ended_by & PARK_BY_CANCEL) == 0))
                w = w->next;
            found = w != NULL;
            if (found) {
                unlink_waiter(b, w);
                w->result = ECANCELED;
            }
            rt_unlock(&b->lock);
            if (found)
                wake_up(w, false);
        }
        /* Waiters have moved to a larger table: look there. */
        found = found || t == ld_rlx(&table);
    } while (!found);
    rt_exit(&s);
}

/* --- waiting -------------------------------------------------------------------------- */

/* Who may be cancelled at any moment may be so in a wait that is no cancellation point; it
 * then unwinds from the end of the runtime section (attention). */
static uint8_t ended_by(const struct g *gp, const struct park_op *op)
{
    bool async = gp != NULL && !gp->hold && libc_cancel_async(gp->tcb);
    return op->ended_by | (async ? PARK_BY_CANCEL : 0);
}

static bool enqueue(struct park_waiter *w, struct park_op *op)
{
    uintptr_t key = (uintptr_t)op->key;
    struct bucket *b = lock_bucket(key);
    bool go = !op->again || (op->table == ld_rlx(&table) && op->requeued == b->requeued);
    go = go && op->validate(op->arg);
    if (go) {
        op->table = ld_rlx(&table);
        op->requeued = b->requeued;
        st_rlx(&w->key, key);
        w->tag = op->tag;
        w->token = 0;
        w->result = 0;
        w->seq++;
        st_rlx(&w->ended_by, ended_by(w->gp, op));
        bool goes_on = op->since != 0;
        if (!goes_on)
            op->since = arch_cycles();
        w->since = op->since;
        if (w->gp == NULL)
            w->tcb = (void *)arch_tp();
        insert(b, w, unlikely(goes_on) ? younger(b, w) : overtaken(b, w));
    }
    rt_unlock(&b->lock);
    return go;
}

/* Did a reason to end the wait come before we were queued?  Then nobody else will tell. */
static void look_for_reason(struct g *gp)
{
    uint8_t by = gp->waiter.ended_by;
    fence_sc(); /* MO: [P5] "queued; fence; load reason" */
    if ((by & PARK_BY_SIGNAL) != 0 && (ld_rlx(&gp->sigpend) & ~gp->sigmask) != 0)
        park_interrupt(gp, PARK_BY_SIGNAL);
    else if ((by & PARK_BY_CANCEL) != 0 && libc_cancel_pending(gp->tcb))
        park_interrupt(gp, PARK_BY_CANCEL);
    else if ((by & PARK_BY_NEWS) != 0 && ld_rlx(&gp->sig_news) != gp->sig_seen)
        park_interrupt(gp, PARK_BY_NEWS); /* [Z9] */
}

static void sleep_g(struct g *gp, const struct park_op *op)
{
    if (gp->waiter.ended_by != 0)
        look_for_reason(gp);
    bool timed = op->deadline_ns != RT_FOREVER;
    if (timed)
        rt_timer_start(gp, op->clock, op->deadline_ns, on_timeout, gp->waiter.seq);
    rt_park(gp, op->reason);
    if (timed)
        rt_timer_stop(gp);
}

static void sleep_foreign(struct park_waiter *w, const struct park_op *op)
{
    for (;;) {
        int r = op->clock == CLOCK_REALTIME
                    ? os_futex_wait_wall(&w->word, 0, op->deadline_ns)
                    : os_futex_wait(&w->word, 0, op->deadline_ns);
        if (ld_acq(&w->word) != 0) /* MO: acquire <- [P4] release in wake_up */
            return;
        if (r != -ETIMEDOUT && !(r == -EINTR && (op->ended_by & PARK_BY_SIGNAL) != 0))
            continue;
        struct rt_section s;
        rt_enter_foreign(&s); /* a handler must not find us holding a bucket */
        bool off = take_off(w, w->seq, 0, -r);
        rt_exit_foreign(&s);
        if (off)
            return;
    }
}

int park_wait(struct park_op *op, uintptr_t *token)
{
    struct rt_section s;
    struct park_waiter local = {.seq = 0}, *w = &local;
    rt_enter(&s);
    if (likely(s.gp != NULL))
        w = &s.gp->waiter;
    if (!enqueue(w, op)) {
        rt_exit(&s);
        return EAGAIN;
    }
    if (op->before_sleep != NULL && !op->again)
        op->before_sleep(op->arg);
    if (likely(s.gp != NULL)) {
        sleep_g(s.gp, op);
    } else {
        if ((op->ended_by & PARK_BY_CANCEL) != 0 && libc_cancel_pending(w->tcb) &&
            take_off(w, w->seq, 0, ECANCELED))
            st_rlx(&w->word, 1);
        rt_exit_foreign(&s); /* its handlers run while it sleeps */
        sleep_foreign(w, op);
    }
    int result = w->result;
    if (result != 0 && op->requeue_wakes && ld_rlx(&w->key) != (uintptr_t)op->key)
        result = 0;
    if (token != NULL)
        *token = w->token;
    if (likely(s.gp != NULL))
        rt_exit(&s);
    return result;
}

/* --- waking ---------------------------------------------------------------------------- */

/* Wake all of LIST (linked by next); with NEXT the first runs next here: it continues our
 * work. */
static void wake_list(struct park_waiter *list, uintptr_t token, bool next)
{
    while (list != NULL) {
        struct park_waiter *w = list;
        list = w->next;
        w->token = token;
        wake_up(w, next);
        next = false;
    }
}

static enum park_pick pick_any(void *arg, uintptr_t tag)
{
    (void)arg;
    (void)tag;
    return PARK_TAKE;
}

/* Collects up to N picked waiters of KEY off B into *LIST, in order. */
static struct park_found collect(struct bucket *b, uintptr_t key, size_t n,
                                 park_pick_fn *pick, void *arg, struct park_waiter **list)
{
    struct park_found found = {0};
    struct park_waiter *w = b->head, *next;
    struct park_waiter **end = list;
    *list = NULL;
    for (; w != NULL; w = next) {
        next = w->next;
        if (ld_rlx(&w->key) != key)
            continue;
        if (found.woken == n) {
            found.more = true;
            break;
        }
        enum park_pick p = pick(arg, w->tag);
        if (p != PARK_TAKE) {
            found.more = true;
            if (p == PARK_STOP)
                break;
            continue;
        }
        unlink_waiter(b, w);
        found.fair |= arch_cycles() - w->since > FAIR_CYCLES;
        found.woken++;
        *end = w;
        end = &w->next;
    }
    *end = NULL;
    return found;
}

static void look_at_all(const struct bucket *b, uintptr_t key, park_look_fn *look,
                        void *arg)
{
    for (struct park_waiter *w = b->head; w != NULL; w = w->next)
        if (ld_rlx(&w->key) == key)
            look(arg, w->tag);
}

static size_t wake(const void *key, size_t n, park_look_fn *look, park_pick_fn *pick,
                   park_wake_fn *fn, void *arg)
{
    struct rt_section s;
    struct park_waiter *list;
    uintptr_t token = 0;
    rt_enter(&s);
    struct bucket *b = lock_bucket((uintptr_t)key);
    if (look != NULL)
        look_at_all(b, (uintptr_t)key, look, arg);
    struct park_found found = collect(b, (uintptr_t)key, n, pick, arg, &list);
    if (fn != NULL)
        token = fn(arg, found);
    rt_unlock(&b->lock);
    wake_list(list, token, true);
    rt_exit(&s);
    return found.woken;
}

size_t park_wake_one(const void *key, park_wake_fn *fn, void *arg)
{
    return wake(key, 1, NULL, pick_any, fn, arg);
}

void park_wake_tail(const void *key)
{
    struct rt_section s;
    struct park_waiter *list;
    rt_enter(&s);
    struct bucket *b = lock_bucket((uintptr_t)key);
    collect(b, (uintptr_t)key, 1, pick_any, NULL, &list);
    rt_unlock(&b->lock);
    wake_list(list, 0, false);
    rt_exit(&s);
}

size_t park_wake_n(const void *key, size_t n, park_wake_fn *fn, void *arg)
{
    return wake(key, n, NULL, pick_any, fn, arg);
}

size_t park_wake_filter(const void *key, park_look_fn *look, park_pick_fn *pick,
                        park_wake_fn *fn, void *arg)
{
    return wake(key, SIZE_MAX, look, pick, fn, arg);
}

/* Moves up to N waiters of FROM to the end of P.to. */
static size_t move(struct pair p, uintptr_t from, uintptr_t to, size_t n)
{
    size_t moved = 0;
    struct park_waiter *w = p.from->head, *next;
    struct park_waiter *last =
        p.from->tail; /* ours go behind it when both are one bucket */
    for (; w != NULL && moved < n; w = next) {
        next = w != last ? w->next : NULL;
        if (ld_rlx(&w->key) != from)
            continue;
        unlink_waiter(p.from, w);
        st_rlx(&w->key, to);
        insert(p.to, w, overtaken(p.to, w));
        moved++;
    }
    return moved;
}

static bool has_waiter(const struct bucket *b, uintptr_t key)
{
    for (struct park_waiter *w = b->head; w != NULL; w = w->next)
        if (ld_rlx(&w->key) == key)
            return true;
    return false;
}

size_t park_requeue(const void *from, const void *to, struct park_move *mv)
{
    struct rt_section s;
    struct park_waiter *list;
    rt_enter(&s);
    struct pair p = lock_pair((uintptr_t)from, (uintptr_t)to);
    p.from->requeued++;
    mv->any = has_waiter(p.from, (uintptr_t)from);
    if (mv->check != NULL && !mv->check(mv->arg, mv)) {
        unlock_pair(p);
        rt_exit(&s);
        return SIZE_MAX;
    }
    struct park_found found =
        collect(p.from, (uintptr_t)from, mv->nwake, pick_any, NULL, &list);
    size_t moved = move(p, (uintptr_t)from, (uintptr_t)to, mv->nmove);
    if (mv->fn != NULL)
        mv->fn(mv->arg, found.woken, moved, has_waiter(p.from, (uintptr_t)from));
    unlock_pair(p);
    wake_list(list, 0, true);
    mv->nwake = found.woken;
    mv->nmove = moved;
    rt_exit(&s);
    return found.woken + moved;
}
