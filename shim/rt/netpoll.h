/* netpoll.h - waiting for descriptors: the OS-independent half; see netpoll.c.
 *
 * A waiting G has one net_wait and a net_node for each descriptor, on its own stack.  All of
 * it inside one runtime section (rt_enter), so that no handler of the program, and no
 * unwinding, can leave the stack while nodes on it are linked:
 *     net_add all nodes; loop: sleep until fired or else; use the descriptors between
 *     net_begin and net_end, by the numbers in the nodes; done, or net_again; net_remove all.
 * The sleep is the caller's (sync/io.c): rt_hooks->io_ready is told which G to wake.
 */
#ifndef GSHIM_NETPOLL_H
#define GSHIM_NETPOLL_H

#include "shim/rt/rt.h"

struct net_slot;

/* One waiting G. */
struct net_wait {
    struct g *gp;   /* const */
    uint32_t fired; /* an event came since it was last cleared; atomic [W1] */
    uint32_t turn;  /* odd while the G uses the numbers in its nodes; atomic [W2] */
};

/* One descriptor it waits for.  Under the lock of the slot, unless said otherwise. */
struct net_node {
    struct net_node *next, *prev;
    struct net_wait *wait;
    struct net_slot *slot; /* changes under the locks of both slots; atomic */
    int fd;                /* the number to use; changes with slot; atomic [W2] */
    uint32_t events;       /* OS_IO_* */
    bool exclusive;        /* one such waiter is woken for each event and direction */
    bool woken;            /* it was given an event since it was armed */
    bool trusts;           /* it sleeps on trust, nettrust.c */
    uint32_t since;        /* and the review that was the last before */
};

/* netpoll_open - make the poller, once; 0 or an errno value.                      [G] */
int netpoll_open(void);

/* net_add - wait for EVENTS on FD from now on; what is ready already fires.      [rt] [G]
 *   seen  net_seen from before the caller tried in vain, or 0: the poller is asked
 * Returns 0 | EPERM: always ready, cannot be waited for | EAGAIN: FD is being closed, look
 * again | another errno value: use a call that blocks.  Unless 0, the node is not linked, and its
 * wait is NULL. */
int net_add(struct net_node *n, struct net_wait *w, int fd, uint32_t events,
            bool exclusive, uint32_t seen);

/* net_again - after a fruitless look: arm anew.  Results as of net_add, but the node stays
 * linked.  Clear w->fired before. */
int net_again(struct net_node *n, uint32_t seen);
void net_remove(struct net_node *n);

/* net_begin/net_end - around the use of the numbers, which must not sleep: a close of one of
 * them by another thread waits for the end. */
static inline void net_begin(struct net_wait *w)
{
    st_sc(&w->turn, w->turn + 1); /* MO: sc [W2] "turn; fence; load fd" */
    fence_sc();
}

static inline void net_end(struct net_wait *w)
{
    st_rel(&w->turn, w->turn + 1); /* MO: release -> [W2]: the call is over */
}

static inline int net_fd(const struct net_node *n)
{
    return ld_rlx(&n->fd);
}

/* --- descriptors that the program closes ------------------------------------------------ */

/* net_close_begin/end - around every call of the program that closes FD, or puts another file
 * there.  Who waits for FD goes on waiting for the file it was.                    [any]
 * NET_OWN: FD is one of our own, for the program there is nothing; no end then. */
enum net_close { NET_PLAIN, NET_MARKED, NET_OWN };
enum net_close net_close_begin(int fd);
void net_close_end(int fd, enum net_close how);
/* net_own_fd - is FD ours? */
bool net_own_fd(int fd);
/* net_move_own - the program wants the number FD, which is ours: take another. */
void net_move_own(int fd);
/* net_hold - what OPEN(ARG) returns becomes one of our own with a high number; false: not now.
 * net_release - close it, unless another file is there by now; false: once more later. sysmon */
struct net_hold {
    int fd;
    uint64_t id[2]; /* of the file */
};
bool net_hold(struct net_hold *h, int (*open)(int), int arg);
bool net_release(const struct net_hold *h);
/* net_replace_begin/end - around a call that puts a file of the program's at FD. */
void net_replace_begin(int fd);
void net_replace_end(void);
/* net_fork_begin/end - around a call that copies the process; in the child net_hold_forked. */
void net_fork_begin(void);
void net_fork_end(void);
void net_hold_forked(void);
/* net_next_used - the first number from FD on that net_close_begin is wanted for, or -1. */
int net_next_used(int fd);

/* --- what need not be asked again (nettrust.c) --------------------------------------------- */

enum {
    NET_SOLE = 1,      /* the program's one descriptor of a file that nobody shares */
    NET_WAITS = 2,     /* without O_NONBLOCK */
    NET_WAITS_IN = 4,  /* and without SO_RCVTIMEO */
    NET_WAITS_OUT = 8, /* and without SO_SNDTIMEO */
    NET_INET = 16,     /* a stream of IPv4 or IPv6 */
    NET_VERSION = 32,
};
enum { NET_PLAIN_ONE = NET_WAITS | NET_WAITS_IN | NET_WAITS_OUT };
/* net_sole - socket, accept or pipe has given FD to the program; BITS, of NET_*, are true from
 * the beginning.                                                             [G] foreign */
void net_sole(int fd, uint32_t bits);
/* net_trust - what is known of FD: NET_* and a version.
 * net_learn - BITS were found true after FD's trust was WORD. */
uint32_t net_trust(int fd);
void net_learn(int fd, uint32_t word, uint32_t bits);
/* net_changed - O_NONBLOCK or an option of FD was set: after that.
 * net_shared - FD is about to be reachable in another way.  net_shared_all: all are. */
void net_changed(int fd);
void net_shared(int fd);
void net_shared_all(void);
/* net_seen - to be asked before a try, whose failure is given to net_add or net_again together
 * with it.  0: the poller must be asked. */
uint32_t net_seen(int fd, uint32_t events);
/* net_review - sysmon: see to waits that have trusted for long; when to be called next. */
int64_t net_review(int64_t now_ns);
void net_trust_forked(void);

/* net_hint - room for the caller's idea of what FD is, 0 after FD was closed.  A hint: libc's own
 * closes are not seen.                                                            [any] */
struct net_hint {
    uint8_t kind, row; /* atomic */
};
struct net_hint *net_hint(int fd);

/* --- events ------------------------------------------------------------------------------ */

enum { NET_BATCH = 64 };
struct net_batch {
    int n;
    struct os_event ev[NET_BATCH];
};

/* netpoll_waiting - does any G wait for a descriptor? */
static inline bool netpoll_waiting(void)
{
    return ld_rlx(&sched.net_waiters) != 0;
}

/* netpoll_now - wake whose descriptors are ready, without sleeping.           [g0] sysmon */
void netpoll_now(void);
/* netpoll_sleep - fetch events for up to TIMEOUT_NS.  Returns true when broken. */
bool netpoll_sleep(struct net_batch *b, int64_t timeout_ns);
void netpoll_deliver(const struct net_batch *b);
void netpoll_break(void);
/* netpoll_unbreak - a word to break off that came when the sleeper had just left by itself stays to
 * be read, and would end sysmon's sleep again and again: take it.                        sysmon */
void netpoll_unbreak(void);
/* netpoll_watch, netpoll_kick - sysmon's sleep, and its end. */
void netpoll_watch(int64_t timeout_ns);
void netpoll_kick(void);
/* netpoll_is_stale - no M has looked at the network for NS. */
bool netpoll_is_stale(int64_t now_ns, int64_t ns);
void netpoll_forked(void);

#endif
