/* barrier.c - barriers private to the process.
 *
 * The object is glibc's struct pthread_barrier; ours: how many have arrived in this round,
 * the round, the count; its mark of sharing keeps its place.  All under the bucket lock.
 * The last to arrive starts the next round and wakes those of its own, told by their tag,
 * since threads of the next may queue up before it gets to waking.  Nobody touches the
 * barrier after waking, so the serial thread may destroy it at once.
 * A waiter that is out, running a signal handler, comes back to the barrier to look at the round.
 * `out` counts those whose round has ended: the serial thread adds as many as it missed when
 * waking, each takes itself off, in whatever order; destroying waits for the sum to be 0.
 */
#include "shim/sync/sync.h"

struct barrier {
    uint32_t arrived, round, count;
    int shared;  /* glibc's place, see libc_barrier_is_shared */
    int32_t out; /* interrupted waiters still to come back; atomic for barrier_destroy */
};

_Static_assert(sizeof(struct barrier) <= sizeof(pthread_barrier_t), "size is ABI");

int barrier_init(pthread_barrier_t *b, const pthread_barrierattr_t *attr, unsigned count)
{
    int err =
        REAL(pthread_barrier_init)(b, attr, count); /* checks, and marks a shared one */
    if (err != 0 || libc_barrier_is_shared(b))
        return err;
    *(struct barrier *)(void *)b = (struct barrier){.count = count};
    return 0;
}

int barrier_destroy(pthread_barrier_t *b)
{
    struct barrier *own = (struct barrier *)(void *)b;
    if (libc_barrier_is_shared(b))
        return REAL(pthread_barrier_destroy)(b);
    while (unlikely(ld_acq(&own->out) != 0)) /* MO: acquire <- [BA1] */
        os_yield();
    return 0;
}

struct arrival {
    struct barrier *b;
    struct park_op *op;
    bool last;
};

static bool arrive(void *arg)
{
    struct arrival *a = arg;
    a->op->tag = a->b->round;
    a->last = ++a->b->arrived == a->b->count;
    if (a->last) {
        a->b->arrived = 0;
        a->b->round++;
    }
    return !a->last;
}

/* Back from a handler: has the round ended meanwhile? */
static bool same_round(void *arg)
{
    struct arrival *a = arg;
    if (a->op->tag == a->b->round)
        return true;
    st_rel(&a->b->out,
           a->b->out - 1); /* MO: release -> [BA1]; last access to the object */
    return false;
}

static enum park_pick of_round(void *arg, uintptr_t tag)
{
    struct arrival *a = arg;
    return tag == a->op->tag ? PARK_TAKE : PARK_SKIP;
}

static uintptr_t note_missing(void *arg, struct park_found found)
{
    struct arrival *a = arg;
    uint32_t missing = a->b->count - 1 - (uint32_t)found.woken;
    if (unlikely(missing != 0))
        st_rel(&a->b->out, a->b->out + (int32_t)missing); /* MO: release -> [BA1] */
    return 0;
}

int barrier_wait(pthread_barrier_t *b)
{
    if (libc_barrier_is_shared(b))
        return pshared_barrier_wait(b);
    struct park_op op = {.key = b,
                         .validate = arrive,
                         .reason = WAIT_BARRIER,
                         .ended_by = PARK_BY_SIGNAL,
                         .clock = CLOCK_MONOTONIC,
                         .deadline_ns = RT_FOREVER};
    struct arrival a = {(struct barrier *)(void *)b, &op, false};
    op.arg = &a;
    while (park_wait(&op, NULL) == EINTR)
        op.validate = same_round;
    if (!a.last)
        return 0;
    park_wake_filter(b, NULL, of_round, note_missing, &a);
    return PTHREAD_BARRIER_SERIAL_THREAD;
}
