/* park.h - the one wait queue under every lock: an address-keyed parking lot.
 *
 * A thread waits *on a key*, the address of an object, which the lot never dereferences; so
 * an object may be destroyed as soon as its owner knows that nobody waits, even while the
 * thread that released it is still in park_wake.  Both Gs and foreign threads may wait and
 * wake on the same key.
 *
 * Callbacks run under the lock of the key's bucket: they may read and write the object's
 * words, and nothing else; they must not call back into the lot.
 * Design after WebKit's ParkingLot and parking_lot_core (Amanieu d'Antras).
 */
#ifndef GSHIM_PARK_H
#define GSHIM_PARK_H

#include "shim/rt/rt.h"

/* PARK_BY_NEWS: g.sig_news is not g.sig_seen; such a wait ends with 0, as if woken. */
enum { PARK_BY_SIGNAL = 1, PARK_BY_CANCEL = 2, PARK_BY_NEWS = 4 };

/* What to wait for. */
struct park_op {
    const void *key;
    /* true: go to sleep; false: the state has changed, return EAGAIN */
    bool (*validate)(void *arg);
    /* after queueing, no lock held: drops the caller's mutex; or NULL */
    void (*before_sleep)(void *arg);
    void *arg;
    uintptr_t tag;       /* for park_wake_filter */
    int clock;           /* of the deadline: CLOCK_MONOTONIC or CLOCK_REALTIME */
    int64_t deadline_ns; /* absolute; RT_FOREVER = none */
    enum wait_reason reason;
    uint8_t ended_by; /* PARK_BY_*: what else ends the wait, with EINTR or ECANCELED */
    uint64_t since; /* out: TSC at the first wait with this op, kept over further ones, so
                          * that whoever loses a race for a lock again and again grows old */
    /* Set after a wait that ended with EINTR: go on with it.  before_sleep is not called.  Refused
     * with EAGAIN, the object behind KEY not touched, if somebody has requeued waiters of KEY, or
     * of one like it, since the wait began.  See cond.c. */
    bool again;
    const void *table; /* in and out, for AGAIN */
    uint32_t requeued;
    /* whatever ends the wait after it has been moved to another key counts as a wake-up: it
     * has used one */
    bool requeue_wakes;
};

/* park_wait - sleep until woken.                                            [G] foreign
 * Returns 0 woken (token in *token unless NULL) | EAGAIN validate, or AGAIN, refused | ETIMEDOUT |
 * (also when it was moved to another queue meanwhile, with requeue_wakes) |
 * EINTR a signal was sent to this thread; its handler has run | ECANCELED a cancellation is
 * pending and enabled; the caller acts on it.  before_sleep has run unless EAGAIN.
 * Order: everything before the wake happens-before the return. [G1]
 * errno: preserved.  Allocates nothing. */
int park_wait(struct park_op *op, uintptr_t *token);

/* What a wake found; given to its callback under the bucket lock. */
struct park_found {
    size_t woken; /* waiters taken off */
    bool more;    /* others are left on the key */
    bool fair;    /* the one taken off has waited long: hand the object to it */
};
typedef uintptr_t park_wake_fn(void *arg, struct park_found found);

/* park_wake_one - wake the oldest waiter on KEY, if any; FN (may be NULL) runs in any case
 * and gives the token.  Returns the number woken.                     [G] [g0] foreign */
size_t park_wake_one(const void *key, park_wake_fn *fn, void *arg);

/* park_wake_tail - wake the oldest waiter, who runs when its turn comes.  [G] [g0] foreign */
void park_wake_tail(const void *key);

/* park_wake_n - as above for up to N waiters. */
size_t park_wake_n(const void *key, size_t n, park_wake_fn *fn, void *arg);

enum park_pick { PARK_SKIP, PARK_TAKE, PARK_STOP };
typedef enum park_pick park_pick_fn(void *arg, uintptr_t tag);

typedef void park_look_fn(void *arg, uintptr_t tag);

/* park_wake_filter - PICK decides for each waiter, oldest first; before that LOOK, unless
 * NULL, is shown them all. */
size_t park_wake_filter(const void *key, park_look_fn *look, park_pick_fn *pick,
                        park_wake_fn *fn, void *arg);

/* park_requeue - wake up to NWAKE waiters of FROM and move up to NMOVE others to TO's queue.
 *   check  under both locks: may refuse, then nothing happens and SIZE_MAX is returned; may
 *          change the two numbers; may be NULL
 *   fn     under both locks, afterwards, with what was found on FROM; MOVED is how many moved
 * Returns woken + moved. */
struct park_move {
    size_t nwake, nmove; /* in: limits, out: done */
    bool any;            /* for check: somebody waits on FROM */
    bool (*check)(void *arg, struct park_move *mv);
    void (*fn)(void *arg, size_t woken, size_t moved, bool more_on_from);
    void *arg;
};
size_t park_requeue(const void *from, const void *to, struct park_move *mv);

/* park_interrupt - end GP's wait if it can be ended BY a signal or a cancellation.  The caller
 * has made the reason visible before (g.sigpend, the cancellation word): a G that is about to
 * wait looks for it after it has queued itself. */
void park_interrupt(struct g *gp, uint8_t by);

/* park_interrupt_foreign - the foreign thread with this TCB was cancelled: end its wait, if it
 * is in one that can be. */
void park_interrupt_foreign(const void *tcb);

/* park_room - make the table fit for N threads. [any], outside sections */
void park_room(size_t n);

/* park_forget - after fork: nobody waits. */
void park_forget(void);

#endif
