/* cond.c - condition variables private to the process.
 *
 * The object is 48 bytes of glibc's; ours inside it:
 *   waiters  0: nobody waits, so signal has nothing to do.  Set under the bucket lock by a
 *            waiter before it gives up its mutex, cleared under it when the last is taken.
 *            Legal to be set when nobody waits any more (a timeout); illegal the other way.
 *   mutex    the mutex of the current waiters; valid while one is queued.  NULL: the last one
 *            still holds it (a recursive one), so nobody can be moved to its queue
 *   and, further on, glibc's flags: process-shared, clock (libc_cond_flags)
 * To wait:  queue, then unlock the mutex, sleep, lock again.  A signal that comes after the
 *           unlock finds the waiter queued.
 * To wake:  move one waiter (all, for broadcast) over to the mutex's queue, when the mutex is
 *           held: it could only go to sleep again there.  Else wake one and move the rest, so
 *           a broadcast wakes them one after the other, as the mutex becomes free.
 * A handler that runs does not end the wait, as in glibc.  It runs while its thread is not queued;
 * whether somebody called signal or broadcast meanwhile, who may have destroyed the condition
 * since, is asked of the parking lot, which counts those calls.  (While nobody calls them,
 * waiters stays set, so those that come do count.)
 * A woken thread does not look at the condition again, so it may be destroyed at once.
 * Process-shared ones keep glibc's protocol (pshared.c).
 */
#include "shim/sync/sync.h"

struct cond {
    uint32_t waiters;
    uint32_t unused;
    pthread_mutex_t *mutex;
};

_Static_assert(sizeof(struct cond) <= LIBC_COND_OURS,
               "our fields must not reach glibc's flags");

static struct cond *of(pthread_cond_t *c)
{
    return (struct cond *)(void *)c;
}

static bool is_shared(const pthread_cond_t *c)
{
    return (*libc_cond_flags(c) & LIBC_COND_SHARED) != 0;
}

clockid_t cond_clock(const pthread_cond_t *c)
{
    return (*libc_cond_flags(c) & LIBC_COND_MONOTONIC) != 0 ? CLOCK_MONOTONIC
                                                            : CLOCK_REALTIME;
}

int cond_init(pthread_cond_t *c, const pthread_condattr_t *attr)
{
    *c = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    if (attr == NULL)
        return 0;
    int shared;
    clockid_t clock;
    pthread_condattr_getpshared(attr, &shared);
    pthread_condattr_getclock(attr, &clock);
    if (shared == PTHREAD_PROCESS_SHARED)
        return REAL(pthread_cond_init)(c, attr);
    *libc_cond_flags(c) = clock == CLOCK_MONOTONIC ? LIBC_COND_MONOTONIC : 0;
    return 0;
}

int cond_destroy(pthread_cond_t *c)
{
    return is_shared(c) ? REAL(pthread_cond_destroy)(c) : 0;
}

struct wait_arg {
    struct cond *c;
    pthread_mutex_t *m;
    bool stays; /* locked more than once: the wait gives up one level only, as in glibc */
};

static bool start_wait(void *arg)
{
    struct wait_arg *a = arg;
    st_rlx(&a->c->waiters, 1);
    st_rlx(&a->c->mutex, a->stays ? NULL : a->m);
    return true;
}

static void drop_mutex(void *arg)
{
    mutex_unlock(((struct wait_arg *)arg)->m);
}

int cond_wait(pthread_cond_t *c, pthread_mutex_t *m, struct deadline d)
{
    if (is_shared(c))
        return pshared_cond_wait(c, m, d);
    if (!mutex_may_unlock(m))
        return EPERM;
    bool stays = (m->__data.__kind & LIBC_MUTEX_KIND) == PTHREAD_MUTEX_RECURSIVE &&
                 m->__data.__count > 1;
    struct wait_arg a = {of(c), m, stays};
    struct park_op op = {.key = c,
                         .validate = start_wait,
                         .before_sleep = drop_mutex,
                         .arg = &a,
                         .reason = WAIT_COND,
                         .requeue_wakes = true,
                         .ended_by = PARK_BY_SIGNAL | PARK_BY_CANCEL};
    int err = deadline_set(&op, d);
    if (err == EINVAL)
        return err;
    if (err == ETIMEDOUT)
        op.deadline_ns = 0;
    sync_cancel_point();
    uintptr_t token = 0;
    sync_hold();
    int result = park_wait(&op, &token);
    for (; result == EINTR; result = park_wait(&op, &token))
        op.again = true;
    err = mutex_relock(m, token);
    sync_release(result == ECANCELED); /* with the mutex, as clean-up handlers expect */
    /* EAGAIN: woken, or others were, while a handler ran. */
    return err != 0 ? err : result == ETIMEDOUT ? ETIMEDOUT : 0;
}

struct wake_arg {
    struct cond *c;
    pthread_mutex_t *m;
    bool all;
};

/* Under both bucket locks: is M still the mutex, and where should waiters go? */
static bool choose(void *arg, struct park_move *mv)
{
    struct wake_arg *a = arg;
    if (!mv->any) {
        mv->nwake = mv->nmove = 0;
        return true;
    }
    if (ld_rlx(&a->c->mutex) != a->m)
        return false;
    if (a->m == NULL || mutex_is_special(a->m)) {
        mv->nwake = a->all ? SIZE_MAX : 1;
        mv->nmove = 0;
        return true;
    }
    bool held = (ld_rlx((unsigned *)&a->m->__data.__lock) & MU_LOCKED) != 0;
    if (held || a->all)
        held = mutex_mark_parked(a->m);
    mv->nwake = held ? 0 : 1;
    mv->nmove = a->all ? SIZE_MAX : held ? 1 : 0;
    return true;
}

static void moved(void *arg, size_t woken, size_t n, bool more)
{
    struct wake_arg *a = arg;
    (void)woken;
    (void)n;
    if (!more)
        st_rlx(&a->c->waiters, 0);
}

static int wake(pthread_cond_t *c, bool all)
{
    struct wake_arg a = {.c = of(c), .all = all};
    struct park_move mv = {.check = choose, .fn = moved, .arg = &a};
    /* A waiter queued itself under its mutex, so who locked that later sees the mark. */
    if (ld_acq(&a.c->waiters) == 0) /* MO: acquire, for the mutex pointer read next */
        return 0;
    do
        a.m = ld_rlx(&a.c->mutex);
    while (park_requeue(c, a.m, &mv) == SIZE_MAX);
    return 0;
}

int cond_signal(pthread_cond_t *c)
{
    return is_shared(c) ? REAL(pthread_cond_signal)(c) : wake(c, false);
}

int cond_broadcast(pthread_cond_t *c)
{
    return is_shared(c) ? REAL(pthread_cond_broadcast)(c) : wake(c, true);
}
