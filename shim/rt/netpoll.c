/* netpoll.c - who waits for which descriptor, and what to do with events.
 *
 * One slot per descriptor number, in a table that grows and is never given back; in a slot, a
 * list of the nodes of the Gs that wait.  A G stays linked from before its first sleep until
 * its call is over, also while it tries again: whoever closes the descriptor finds it.
 *
 * To wait:  link the node and arm the poller, under the slot's lock; then sleep unless fired.
 * To wake:  under the slot's lock mark the nodes that the event is for, set fired [W1], and,
 *           with no lock held, let io_ready wake their Gs.
 * A wake-up only means "try again".  So an event that comes late, for a file that was at this
 * number before, or twice, does no harm; and what it takes to lose none is this: a G arms
 * after it has cleared fired, and the kernel reports what is ready at the time of arming.
 *
 * Herds: of the Gs that wait to *use* a direction (read, accept) an event wakes the oldest
 * alone; when it leaves, it arms the poller for the rest, which fires at once if there is more.
 * Gs in poll are woken all.  Registrations are one-shot (but see nettrust.c), so after each
 * event the slot is armed again for the nodes that it was not for.
 *
 * Closing.  In the kernel a call that sleeps keeps its file open.  So a close with waiters
 * makes a private duplicate first, moves the waiters to it, and the last of them closes it.
 *   t0  A, asleep in read(5), is woken by an event and is about to try again
 *   t1  B closes 5;  t2  C opens another file and gets 5;  t3  A reads from C's file
 * Therefore A uses the number only while its turn is odd, and B, which has changed the number
 * in A's node, waits for A's turn to end before it really closes [W2]: "turn; fence; load fd"
 * against "fd; fence; load turn".  The calls in between do not sleep.
 * A G that has not slept yet may meet the new file: no one can tell that from a late call.
 * While a close is under way (slot.closing) nobody joins the slot [W3].
 *
 * Counting: sched.net_waiters is the number of linked nodes.  Who covers the network while
 * Gs wait: an M in find_runnable; the idle M that also covers the timers; else sysmon.
 *
 * fork: the child never touches the parent's poller; it closes it and starts without.
 * Known limit: descriptors from NET_MAX_FD on are left to calls that block.
 */
#include "shim/rt/netslot.h"

#include <errno.h>

struct net_slot *net_chunks[NET_CHUNKS]; /* atomic [W4] */
static struct os_poller poller = {.epfd = -1, .break_fd = -1, .mon_fd = -1};
static uint32_t opened;               /* atomic [W5] */
static struct rt_lock own_lock;       /* opening, and changes of poller */
static uint32_t break_asked, polling; /* atomic */
static int64_t last_look_ns;          /* of an M; atomic, hint */

static void wake_everybody(void);
static void detach_waiters(struct net_slot *s);

/* --- the poller ------------------------------------------------------------------------ */

int netpoll_open(void)
{
    struct rt_section s;
    int err = 0;
    if (likely(ld_acq(&opened) != 0)) /* MO: acquire <- [W5] */
        return 0;
    rt_lock_in(&s, &own_lock);
    if (opened == 0) {
        err = -os_poller_open(&poller);
        if (err == 0)
            st_rel(&opened, 1); /* MO: release -> [W5]: poller */
    }
    rt_unlock_in(&s, &own_lock);
    return err;
}

/* What is about to be closed and unmarked may have been given to the program already. */
static bool is_marked(struct net_slot *s)
{
    struct rt_section sec;
    if (likely(!ld_rlx(&s->ours)))
        return false;
    rt_lock_in(&sec, &s->lock);
    bool ours = s->ours;
    rt_unlock_in(&sec, &s->lock);
    return ours;
}

bool net_own_fd(int fd)
{
    struct net_slot *s = net_slot_of(fd);
    if (s != NULL && is_marked(s))
        return true;
    return ld_rlx(&opened) != 0 &&
           (fd == ld_rlx(&poller.epfd) || fd == ld_rlx(&poller.break_fd) ||
            fd == ld_rlx(&poller.mon_fd));
}

static void move_one(int *at, int fd)
{
    if (*at != fd)
        return;
    int other = os_dup_high(fd);
    if (other < 0)
        return; /* the program takes it away; see renew_poller */
    st_rlx(at, other);
    os_close(fd);
}

void net_move_own(int fd)
{
    struct rt_section s;
    rt_enter(&s);
    rt_lock(&own_lock);
    move_one(&poller.epfd, fd);
    move_one(&poller.break_fd, fd);
    move_one(&poller.mon_fd, fd);
    rt_unlock(&own_lock);
    struct net_slot *slot = net_slot_of(fd);
    if (slot != NULL && ld_rlx(&slot->ours))
        detach_waiters(slot);
    rt_exit(&s);
}

/* Our descriptors were closed behind our back: others, and all look again. */
static void renew_poller(void)
{
    struct os_poller fresh;
    rt_lock(&own_lock);
    int err = os_poller_open(&fresh);
    if (err == 0) {
        poller = fresh; /* not closed: the old numbers are somebody else's by now */
        xchg_ar(&break_asked, 0); /* MO: [M2]; the word for it went to nobody */
    }
    rt_unlock(&own_lock);
    if (err != 0)
        os_yield();
    wake_everybody();
}

/* --- slots ------------------------------------------------------------------------------ */

struct net_slot *net_slot_make(int fd)
{
    if (fd < 0 || fd >= NET_MAX_FD)
        return NULL;
    struct net_slot **at = &net_chunks[fd / NET_CHUNK], *e = NULL;
    if (ld_acq(at) == NULL) { /* MO: acquire <- [W4] */
        struct net_slot *c = os_map(NET_CHUNK * sizeof *c);
        if (c == NULL)
            return NULL;
        for (int i = 0; i < NET_CHUNK; i++)
            c[i] =
                (struct net_slot){.fd = fd / NET_CHUNK * NET_CHUNK + i, .seen = {1, 1}};
        if (!cas_ar(at, &e, c)) /* MO: release -> [W4] */
            os_unmap(c, NET_CHUNK * sizeof *c);
    }
    return net_slot_of(fd);
}

struct net_hint *net_hint(int fd)
{
    static struct net_hint none;
    struct net_slot *s = net_slot_of(fd);
    if (unlikely(s == NULL))
        s = net_slot_make(fd);
    return s != NULL ? &s->hint : &none;
}

static void link_node(struct net_slot *s, struct net_node *n)
{
    n->next = NULL;
    n->prev = s->tail;
    if (s->tail != NULL)
        s->tail->next = n;
    else
        st_sc(&s->head, n); /* MO: sc [W3] "head; fence; load closing" */
    s->tail = n;
    st_rlx(&n->slot, s);
}

static void unlink_node(struct net_slot *s, struct net_node *n)
{
    if (n->prev != NULL)
        n->prev->next = n->next;
    else
        st_rlx(&s->head, n->next);
    if (n->next != NULL)
        n->next->prev = n->prev;
    else
        s->tail = n->prev;
}

/* The node may be moved to another slot until we hold the lock of the one it is in. */
static struct net_slot *lock_slot_of(struct net_node *n)
{
    for (;;) {
        struct net_slot *s = ld_rlx(&n->slot);
        rt_lock(&s->lock);
        if (likely(ld_rlx(&n->slot) == s))
            return s;
        rt_unlock(&s->lock);
    }
}

/* What those wait for that have not been woken. */
static uint32_t wanted(const struct net_slot *s)
{
    uint32_t want = 0;
    for (const struct net_node *n = s->head; n != NULL; n = n->next)
        if (!n->woken)
            want |= n->events;
    return want;
}

static int arm_locked(struct net_slot *s, uint32_t want)
{
    bool keep = net_keeps(s), known = ld_rlx(&s->known);
    uint32_t events = keep ? ld_rlx(&s->kept) | want | OS_IO_IN | OS_IO_RDHUP : want;
    int err = -os_poller_arm(&poller, s->fd, events, keep, known, (uint64_t)s->fd);
    s->armed = err == 0 ? want : 0;
    st_rlx(&s->kept, keep && err == 0 ? events : 0);
    st_rlx(&s->known, err == 0);
    return err;
}

/* --- waiting ----------------------------------------------------------------------------- */

int net_add(struct net_node *n, struct net_wait *w, int fd, uint32_t events,
            bool exclusive, uint32_t seen)
{
    struct net_slot *s = net_slot_make(fd);
    *n = (struct net_node){.wait = NULL};
    if (s == NULL)
        return fd < 0 ? EBADF : ENOMEM;
    *n = (struct net_node){.wait = w, .fd = fd, .exclusive = exclusive};
    n->events = events | OS_IO_ERR | OS_IO_HUP; /* reported unasked for */
    add_sc(&sched.net_waiters, 1);
    rt_lock(&s->lock);
    link_node(s, n);
    fence_sc(); /* MO: [W3] */
    int err = EAGAIN;
    if (likely(ld_rlx(&s->closing) == 0))
        err = net_trusts(s, n, seen) ? 0 : arm_locked(s, wanted(s));
    if (err != 0) {
        unlink_node(s, n);
        n->wait = NULL;
    }
    rt_unlock(&s->lock);
    if (err != 0)
        sub_sc(&sched.net_waiters, 1);
    else
        cover_network();
    return err;
}

int net_again(struct net_node *n, uint32_t seen)
{
    struct net_slot *s = lock_slot_of(n);
    n->woken = false;
    int err = net_trusts(s, n, seen) ? 0 : arm_locked(s, wanted(s));
    rt_unlock(&s->lock);
    return err;
}

void net_remove(struct net_node *n)
{
    struct net_slot *s = lock_slot_of(n);
    unlink_node(s, n);
    uint32_t want = wanted(s);
    if (want != 0 && (want & ~s->armed) != 0)
        arm_locked(s, want); /* the rest's turn */
    bool drop = s->ours && s->head == NULL;
    if (drop) {
        st_rlx(&s->ours, false);
        os_poller_forget(&poller, s->fd);
    }
    rt_unlock(&s->lock);
    sub_sc(&sched.net_waiters, 1);
    if (drop)
        os_close(s->fd);
}

/* --- waking ------------------------------------------------------------------------------- */

void net_wake_ready(struct net_ready *r)
{
    for (int i = 0; i < r->n; i++)
        rt_hooks->io_ready(r->gp[i]);
    r->n = 0;
}

void net_mark(struct net_node *n, struct net_ready *r)
{
    n->woken = true;
    if (xchg_ar(&n->wait->fired, 1) == 0) /* MO: release -> [W1] */
        r->gp[r->n++] = n->wait->gp;
}

/* Marks nodes for EVENTS.  False: R is full, to be called again. */
static bool mark_nodes(struct net_slot *s, uint32_t events, uint32_t *taken,
                       struct net_ready *r)
{
    for (struct net_node *n = s->head; n != NULL; n = n->next) {
        if (n->woken || (events & n->events) == 0)
            continue;
        if (n->exclusive && (n->events & ~*taken) == 0)
            continue;
        if (r->n == NET_BATCH)
            return false;
        if (n->exclusive)
            *taken |= n->events;
        net_mark(n, r);
    }
    return true;
}

static void slot_event(struct net_slot *s, uint32_t events, struct net_ready *r)
{
    uint32_t taken = 0, both = OS_IO_ERR | OS_IO_HUP;
    rt_lock(&s->lock);
    s->armed = 0;
    if ((events & ~(uint32_t)OS_IO_OUT) != 0)
        net_bump(s, false);
    if ((events & (OS_IO_OUT | both)) != 0)
        net_bump(s, true);
    if (unlikely(net_is_noisy(s)) &&
        os_poller_arm(&poller, s->fd, 0, false, true, (uint64_t)s->fd) == 0)
        st_rlx(&s->kept, 0);
    while (!mark_nodes(s, events, &taken, r)) {
        rt_unlock(&s->lock);
        net_wake_ready(r);
        rt_lock(&s->lock);
    }
    /* Those woken alone for a direction arm it for the rest when they are done. */
    uint32_t rest = wanted(s) & ~taken;
    if ((rest & ~s->armed & ~ld_rlx(&s->kept)) != 0)
        arm_locked(s, rest);
    rt_unlock(&s->lock);
}

void netpoll_deliver(const struct net_batch *b)
{
    struct net_ready r = {.n = 0};
    for (int i = 0; i < b->n; i++) {
        struct net_slot *s = net_slot_of((int)b->ev[i].data);
        if (s == NULL)
            continue;
        if (r.n == NET_BATCH)
            net_wake_ready(&r);
        slot_event(s, b->ev[i].events, &r);
    }
    net_wake_ready(&r);
}

static void wake_everybody(void)
{
    struct net_ready r = {.n = 0};
    for (int c = 0; c < NET_CHUNKS; c++) {
        struct net_slot *s = ld_acq(&net_chunks[c]); /* MO: acquire <- [W4] */
        for (int i = 0; s != NULL && i < NET_CHUNK; i++) {
            if (ld_rlx(&s[i].head) == NULL && ld_rlx(&s[i].kept) == 0)
                continue;
            st_rlx(&s[i].kept, 0);
            slot_event(&s[i], OS_IO_ERR, &r);
            net_wake_ready(&r);
        }
    }
}

static bool fetch(struct net_batch *b, int64_t timeout_ns)
{
    bool broken = false;
    b->n = os_poller_wait(&poller, b->ev, NET_BATCH, timeout_ns, &broken);
    if (unlikely(b->n == -EBADF || b->n == -EINVAL))
        renew_poller();
    if (b->n < 0)
        b->n = 0;
    return broken;
}

static void looked(void)
{
    st_rlx(&last_look_ns, os_now_ns());
    st_rlx(&sched.net_looked, arch_cycles());
}

void netpoll_now(void)
{
    struct net_batch b;
    /* One at a time: a second one would find nothing but the kernel's lock. */
    if (ld_acq(&opened) == 0 || xchg_ar(&polling, 1) != 0) /* [W5], [W6] */
        return;
    do {
        fetch(&b, 0);
        netpoll_deliver(&b);
    } while (b.n == NET_BATCH);
    st_rel(&polling, 0); /* MO: release -> [W6] */
    if (rt_self() != NULL)
        looked();
}

bool netpoll_sleep(struct net_batch *b, int64_t timeout_ns)
{
    bool broken = fetch(b, timeout_ns);
    looked();
    if (broken)
        xchg_ar(&break_asked, 0); /* MO: [M2] "asked; load park" */
    return broken;
}

void netpoll_break(void)
{
    /* MO: [M2] "park; asked": who cleared it later sees park */
    if (xchg_ar(&break_asked, 1) == 0)
        os_poller_break(&poller);
}

void netpoll_unbreak(void)
{
    if (ld_rlx(&break_asked) == 0)
        return;
    os_poller_unbreak(&poller);
    xchg_ar(&break_asked, 0); /* MO: [M2] "asked; load park" */
    const struct m *mp = ld_acq(&sched.timer_sleeper);
    if (mp != NULL && ld_rlx(&mp->polling) && ld_rlx(&mp->park) != 0)
        netpoll_break(); /* it was for this one */
}

void netpoll_watch(int64_t timeout_ns)
{
    os_poller_watch(&poller, timeout_ns);
}

void netpoll_kick(void)
{
    os_poller_kick(&poller);
}

bool netpoll_is_stale(int64_t now_ns, int64_t ns)
{
    return now_ns - ld_rlx(&last_look_ns) >= ns;
}

/* --- closing -------------------------------------------------------------------------------- */

/* N now has another number: wait until its G does not use the old one. */
static void await_turn(struct net_node *n)
{
    fence_sc();                             /* MO: [W2] "fd; fence; load turn" */
    uint32_t turn = ld_acq(&n->wait->turn); /* MO: acquire <- [W2] */
    if ((turn & 1) == 0)
        return;
    while (ld_acq(&n->wait->turn) == turn) /* [W2] */
        os_yield();
}

/* Moves all nodes of S, locked, to the slot of the private duplicate FD. */
static void move_nodes(struct net_slot *s, struct net_slot *to)
{
    rt_lock(&to->lock); /* nobody else knows the number, so the order does not matter */
    st_rlx(&to->ours, true);
    while (s->head != NULL) {
        struct net_node *n = s->head;
        unlink_node(s, n);
        st_rlx(&n->fd, to->fd);
        n->woken = false; /* it will look again in any case */
        link_node(to, n);
    }
    st_rlx(&s->ours, false);
    for (struct net_node *n = to->head; n != NULL; n = n->next)
        await_turn(n);
    arm_locked(to, wanted(to));
    rt_unlock(&to->lock);
}

/* Without a duplicate (EMFILE) the waiters are woken and meet what is there then: EBADF. */
static void detach_waiters(struct net_slot *s)
{
    struct net_ready r = {.n = 0};
    struct net_slot *to = NULL;
    rt_lock(&s->lock);
    if (s->head != NULL) {
        int fd = os_dup_high(s->fd);
        to = fd >= 0 ? net_slot_make(fd) : NULL;
        if (to != NULL)
            move_nodes(s, to);
        else if (fd >= 0)
            os_close(fd);
    }
    bool left = s->head != NULL;
    if (ld_rlx(&s->kept) != 0) /* a duplicate of the program's would keep it alive */
        os_poller_forget(&poller, s->fd);
    net_forget_locked(s);
    rt_unlock(&s->lock);
    if (left) {
        slot_event(s, OS_IO_ERR, &r);
        net_wake_ready(&r);
    }
}

enum net_close net_close_begin(int fd)
{
    struct net_slot *s = net_slot_of(fd);
    if (net_own_fd(fd))
        return NET_OWN;
    if (s == NULL)
        return NET_PLAIN;
    st_rlx(&s->hint.kind, 0);
    st_rlx(&s->hint.row, 0);
    if (ld_rlx(&opened) == 0)
        return NET_PLAIN;
    add_sc(&s->closing, 1);
    fence_sc(); /* MO: [W3] "closing; fence; load head" */
    st_rlx(&s->known, false);
    if (unlikely(ld_rlx(&s->head) != NULL || (ld_rlx(&s->trust) & NET_SOLE) != 0)) {
        struct rt_section sec;
        rt_enter(&sec);
        detach_waiters(s);
        rt_exit(&sec);
    }
    return NET_MARKED;
}

void net_close_end(int fd, enum net_close how)
{
    if (how == NET_MARKED)
        sub_sc(&net_slot_of(fd)->closing, 1);
}

int net_next_used(int fd)
{
    if (ld_rlx(&opened) == 0 && ld_rlx(&net_held) == 0)
        return -1;
    for (fd = fd < 0 ? 0 : fd; fd < NET_MAX_FD; fd++) {
        struct net_slot *s = net_slot_of(fd);
        if (s == NULL)
            fd |= NET_CHUNK - 1;
        else if (net_own_fd(fd) || ld_rlx(&s->head) != NULL)
            return fd;
    }
    return -1;
}

/* --- fork ------------------------------------------------------------------------------------ */

void netpoll_forked(void)
{
    for (int c = 0; c < NET_CHUNKS; c++) {
        for (int i = 0; net_chunks[c] != NULL && i < NET_CHUNK; i++) {
            struct net_slot *s = &net_chunks[c][i];
            if (s->ours)
                os_close(s->fd);
            *s = (struct net_slot){.fd = s->fd, .hint = s->hint, .seen = {1, 1}};
        }
    }
    if (opened != 0)
        os_poller_close(&poller);
    opened = polling = break_asked = 0;
    own_lock.word = 0;
    net_trust_forked();
}
