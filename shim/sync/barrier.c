/* barrier.c - barriers private to the process.
 *
 * The object is glibc's struct pthread_barrier; ours: how many have arrived in this round,
 * the round, the count; its mark of sharing keeps its place.  All under the bucket lock.
 * The last to arrive starts the next round and wakes those of its own, told by their tag,
 * since threads of the next may queue up before it gets to waking.  Nobody touches the
 * barrier after waking, so the serial thread may destroy it at once.
 */
#include "shim/sync/sync.h"

struct barrier {
    uint32_t arrived, round, count;
    int shared; /* glibc's place, see libc_barrier_is_shared */
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
    return libc_barrier_is_shared(b) ? REAL(pthread_barrier_destroy)(b) : 0;
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

static enum park_pick of_round(void *arg, uintptr_t tag)
{
    return tag == *(uintptr_t *)arg ? PARK_TAKE : PARK_SKIP;
}

int barrier_wait(pthread_barrier_t *b)
{
    if (libc_barrier_is_shared(b))
        return pshared_barrier_wait(b);
    struct park_op op = {.key = b,
                         .validate = arrive,
                         .reason = WAIT_BARRIER,
                         .clock = CLOCK_MONOTONIC,
                         .deadline_ns = RT_FOREVER};
    struct arrival a = {(struct barrier *)(void *)b, &op, false};
    op.arg = &a;
    park_wait(&op, NULL);
    if (!a.last)
        return 0;
    park_wake_filter(b, NULL, of_round, NULL, &op.tag);
    return PTHREAD_BARRIER_SERIAL_THREAD;
}
