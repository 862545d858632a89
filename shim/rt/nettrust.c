/* nettrust.c - what need not be asked of a socket again each time somebody waits for it.
 *
 * A wait has three questions to the kernel: is the descriptor still without O_NONBLOCK, has it
 * a timeout of its own, and will the poller tell?  For a *sole* one they are asked once.  Sole
 * is what socket, accept, pipe or socketpair gave to the program, until it is closed, shared
 * (dup, fork, SCM_RIGHTS) or made a stream of (fclose closes behind our back): so whatever
 * changes it comes through a wrapper, and that forgets the answers:
 *   close, dup2 onto it              everything                          net_close_begin
 *   dup, fork, sendmsg, fdopen       that it is sole, and the answers    net_shared
 *   fcntl, ioctl, setsockopt         O_NONBLOCK and timeouts             net_changed
 * What socket and pipe make answers to the first two by itself; accept's has its timeouts from the
 * listener.  An answer is learnt with the version under which it was asked [W8]: "load version; ask; CAS" in
 * who learns, "change; count the version up" in who changes.
 *
 * The poller's registration of a sole socket is kept: edge-triggered, not one-shot.  Then an
 * event may come when nobody waits, so they are counted, and the count is what makes waiting
 * safe [W7]:
 *   to wait: load count; try; link under the slot's lock; if the count has changed, try again
 *   to wake: fetch the event; under the lock count, and mark who is linked
 * Data that came after the try is an event that is counted after the load, or marks the node.
 * What a waiter leaves behind that was woken alone, netpoll.c tells to the next one.  The model
 * is nettrust.pml.
 * Registrations to write are added at the first wait for that.  A socket whose events find
 * nobody waiting again and again (one thread reads what never runs dry) goes back to one-shot
 * for a while: each such event would wake an idle M.
 *
 * The net below.  A program may still close and reuse numbers by system calls of its own, or a
 * process may change O_NONBLOCK on what posix_spawn or pidfd_getfd gave it.  Therefore a wait
 * that has lasted a second on trust is made to ask (net_review, by sysmon): to have trusted
 * wrongly delays a thread by two seconds at most, it does not lose it.  This costs a wake-up for
 * each long wait, and nothing for the rest of it.
 *
 * Rejected: a registration for good of every descriptor, as in Go, which owns all closes; the
 * one-shot registration made again at each wait, for all (three system calls a wait, a sixth
 * of the CPU time of an echo server): what is not sole still has that.
 */
#include "shim/rt/netslot.h"

enum {
    NOISE_MAX =
        8, /* events for nobody, more than waits, until a socket is no more kept */
};
static const int64_t REVIEW_NS =
    1000000000; /* how long a wait may last on trust, at least */

static uint32_t epoch; /* reviews so far; atomic, hint */
static bool trusting;  /* some wait has begun on trust since the last review; atomic */
static int64_t due_ns; /* sysmon only: the next review */

/* --- sole ------------------------------------------------------------------------------- */

/* Forget BITS of S and whatever somebody is learning. */
static void forget(struct net_slot *s, uint32_t bits)
{
    uint32_t w = ld_rlx(&s->trust);
    while (!cas_sc(&s->trust, &w, (w & ~bits) + NET_VERSION)) /* MO: sc [W8] */
        ;
}

void net_bump(struct net_slot *s, bool out)
{
    uint32_t next = s->seen[out] + 1;
    st_rel(&s->seen[out], next != 0 ? next : 1); /* MO: release -> [W7] */
}

void net_forget_locked(struct net_slot *s)
{
    forget(s, NET_VERSION - 1);
    st_rlx(&s->kept, 0);
    st_rlx(&s->known, false);
    s->armed = 0;
    s->noise = 0;
    net_bump(s, false);
    net_bump(s, true);
}

void net_sole(int fd, uint32_t bits)
{
    /* libc itself puts other files at the first three (daemon, freopen). */
    struct net_slot *s = fd > 2 && rt_is_started() ? net_slot_make(fd) : NULL;
    struct rt_section sec;
    if (s == NULL)
        return;
    rt_lock_in(&sec, &s->lock);
    net_forget_locked(s);
    add_sc(&s->trust, NET_SOLE | bits); /* MO: sc [W8] */
    rt_unlock_in(&sec, &s->lock);
}

uint32_t net_trust(int fd)
{
    const struct net_slot *s = net_slot_of(fd);
    return s != NULL ? ld_sc(&s->trust) : 0; /* MO: sc [W8] */
}

void net_learn(int fd, uint32_t word, uint32_t bits)
{
    struct net_slot *s = net_slot_of(fd);
    if ((word & NET_SOLE) != 0 && s != NULL)
        cas_sc(&s->trust, &word, word | bits); /* MO: sc [W8] */
}

static void forget_fd(int fd, uint32_t bits)
{
    struct net_slot *s = net_slot_of(fd);
    if (s != NULL && (ld_sc(&s->trust) & NET_SOLE) != 0) /* MO: sc [W8] */
        forget(s, bits);
}

void net_changed(int fd)
{
    forget_fd(fd, NET_PLAIN_ONE);
}

void net_shared(int fd)
{
    forget_fd(fd, NET_VERSION - 1);
}

void net_shared_all(void)
{
    for (int c = 0; c < NET_CHUNKS; c++)
        for (int i = 0; ld_rlx(&net_chunks[c]) != NULL && i < NET_CHUNK; i++)
            net_shared(c * NET_CHUNK + i);
}

/* --- waiting on trust --------------------------------------------------------------------- */

static bool covers(const struct net_slot *s, uint32_t events)
{
    uint32_t want = events & ~(uint32_t)(OS_IO_ERR | OS_IO_HUP);
    return (want & ~ld_rlx(&s->kept)) == 0 && (ld_rlx(&s->trust) & NET_SOLE) != 0;
}

uint32_t net_seen(int fd, uint32_t events)
{
    const struct net_slot *s = net_slot_of(fd);
    if (s == NULL || !covers(s, events))
        return 0;
    return ld_acq(&s->seen[net_is_out(events)]); /* MO: acquire <- [W7] */
}

bool net_trusts(struct net_slot *s, struct net_node *n, uint32_t seen)
{
    n->trusts = seen != 0 && covers(s, n->events);
    if (!n->trusts)
        return false;
    n->since = ld_rlx(&epoch);
    if (s->noise > 0)
        s->noise--;
    if (unlikely(s->seen[net_is_out(n->events)] != seen)) /* under lock [W7] */
        st_rlx(&n->wait->fired, 1);
    if (unlikely(!ld_rlx(&trusting))) {
        st_sc(&trusting, true); /* MO: sc [W9] "head; fence; trusting" */
        rt_sysmon_kick();
    }
    return true;
}

bool net_keeps(struct net_slot *s)
{
    if ((ld_rlx(&s->trust) & NET_SOLE) == 0)
        return false;
    if (s->noise == 0)
        return true;
    s->noise--; /* somebody waits */
    return false;
}

bool net_is_noisy(struct net_slot *s)
{
    if (ld_rlx(&s->kept) == 0 || s->head != NULL)
        return false;
    return ++s->noise >= NOISE_MAX;
}

/* --- the review --------------------------------------------------------------------------- */

/* Whoever waits on trust since before the last review is made to ask.  True: others do. */
static bool review_slot(struct net_slot *s, struct net_ready *r)
{
    bool left = false, old = false;
    rt_lock(&s->lock);
    for (struct net_node *n = s->head; n != NULL; n = n->next) {
        left |= n->trusts && n->since == epoch;
        old |= n->trusts && n->since != epoch;
    }
    if (old) {
        forget(s, NET_PLAIN_ONE);
        st_rlx(&s->kept, 0);
    }
    for (struct net_node *n = s->head; old && n != NULL; n = n->next) {
        if (n->woken || !n->trusts)
            continue;
        if (r->n == NET_BATCH) { /* the next review's */
            left = true;
            break;
        }
        net_mark(n, r);
    }
    rt_unlock(&s->lock);
    return left;
}

int64_t net_review(int64_t now_ns)
{
    if (!ld_rlx(&trusting))
        return RT_FOREVER;
    if (due_ns == 0)
        due_ns = now_ns + REVIEW_NS;
    if (now_ns < due_ns)
        return due_ns;
    bool left = false;
    st_sc(&trusting, false); /* MO: sc [W9] "trusting; fence; load head" */
    fence_sc();
    for (int c = 0; c < NET_CHUNKS; c++) {
        struct net_slot *s = ld_acq(&net_chunks[c]); /* MO: acquire <- [W4] */
        for (int i = 0; s != NULL && i < NET_CHUNK; i++) {
            if (ld_rlx(&s[i].head) == NULL)
                continue;
            struct net_ready r = {.n = 0};
            left |= review_slot(&s[i], &r);
            net_wake_ready(&r);
        }
    }
    st_rlx(&epoch, epoch + 1);
    due_ns = now_ns + REVIEW_NS;
    if (left)
        st_sc(&trusting, true);
    if (!ld_rlx(&trusting)) {
        due_ns = 0;
        return RT_FOREVER;
    }
    return due_ns;
}

void net_trust_forked(void)
{
    trusting = false;
    due_ns = 0;
}
