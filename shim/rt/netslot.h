/* netslot.h - the table of descriptors: what netpoll.c and nettrust.c share. */
#ifndef GSHIM_NETSLOT_H
#define GSHIM_NETSLOT_H

#include "shim/rt/netpoll.h"

enum { NET_CHUNK = 1024, NET_CHUNKS = 4096, NET_MAX_FD = NET_CHUNK * NET_CHUNKS };

struct net_slot {
    struct rt_lock lock;
    uint32_t closing;             /* closes under way; atomic [W3] */
    struct net_node *head, *tail; /* under lock; head is looked at without, [W3] */
    uint32_t armed; /* under lock: what the poller was last asked for and has not told */
    /* what the poller goes on reporting, edge-triggered; 0: it is asked for one event at a
     * time.  under lock; atomic, hint */
    uint32_t kept;
    uint32_t seen[2]; /* events so far, to read and to write; never 0; under lock [W7] */
    uint32_t trust;   /* NET_SOLE | ..., and a version above; atomic [W8] */
    int fd;           /* const: the number */
    struct net_hint hint;
    uint8_t noise; /* events that nobody waited for; under lock */
    bool known;    /* the poller has had this descriptor; atomic, hint */
    /* a private duplicate: the last waiter closes it; or see nethold.c.  atomic */
    bool ours;
} __attribute__((aligned(64)));

extern struct net_slot *net_chunks[NET_CHUNKS]; /* atomic [W4] */

static inline struct net_slot *net_slot_of(int fd)
{
    if (fd < 0 || fd >= NET_MAX_FD)
        return NULL;
    struct net_slot *c = ld_acq(&net_chunks[fd / NET_CHUNK]); /* MO: acquire <- [W4] */
    return c != NULL ? &c[fd % NET_CHUNK] : NULL;
}

struct net_slot *net_slot_make(int fd);

/* Gs to be woken when no lock is held; they cannot vanish, their memory stays. */
struct net_ready {
    int n;
    struct g *gp[NET_BATCH];
};
void net_wake_ready(struct net_ready *r);
/* net_mark - N is woken.  R has room. */
void net_mark(struct net_node *n, struct net_ready *r);

static inline bool net_is_out(uint32_t events)
{
    return (events & OS_IO_OUT) != 0;
}

/* --- nethold.c -------------------------------------------------------------------------- */
extern uint32_t net_held;

/* --- nettrust.c ------------------------------------------------------------------------- */

/* net_forget_locked - another file is or will be at S's number. */
void net_forget_locked(struct net_slot *s);
/* net_bump - S's events so far, of one direction: one more. */
void net_bump(struct net_slot *s, bool out);
/* net_trusts - may N sleep without a word to the poller, as its G saw SEEN before it tried?
 * Then it is told to look again if that is not the last.  Under the lock of S, its slot. */
bool net_trusts(struct net_slot *s, struct net_node *n, uint32_t seen);
/* net_keeps - S is armed: for good?
 * net_is_noisy - an event has come for S: is it time to be told no more when nobody waits? */
bool net_keeps(struct net_slot *s);
bool net_is_noisy(struct net_slot *s);

#endif
