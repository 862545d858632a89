/* sem.c - semaphores: unnamed private ones; the others are in pshared.c.
 *
 * The object is glibc's struct new_sem: a 64-bit word (value low, waiters high) and the mark
 * that tells shared from private.  sem_getvalue of libc reads the low half, and so do we.
 *   SEM_WAITERS  somebody may sleep.  Set, and cleared, under the bucket lock only.
 * To wait:  take one from the value by CAS; at 0, under the bucket lock, set SEM_WAITERS and
 *           sleep if the value is still 0.
 * To post:  without SEM_WAITERS add one by CAS.  With it, under the bucket lock, hand the
 *           unit to the oldest waiter (the value does not change), or add one.
 * A poster does not touch the semaphore after its unit can be taken, so the taker may
 * destroy it at once.  The word is one atomic object, so no wake-up falls between.
 */
#include "shim/sync/sync.h"

#include <string.h>

#define SEM_WAITERS ((uint64_t)1 << 32)
#define SEM_VALUE(w) ((uint32_t)(w))

enum { TAKEN = 1 };

static uint64_t *word_of(sem_t *s)
{
    return (uint64_t *)(void *)s;
}

int sync_sem_init(sem_t *s, int shared, unsigned value)
{
    if (value > SEM_VALUE_MAX)
        return EINVAL;
    if (shared != 0)
        return REAL(sem_init)(s, shared, value) == 0 ? 0 : EINVAL;
    memset(s, 0, sizeof *s);
    *word_of(s) = value;
    return 0;
}

static bool try_take(uint64_t *word)
{
    uint64_t w = ld_rlx(word);
    while (SEM_VALUE(w) != 0)
        if (cas_acq(word, &w, w - 1)) /* MO: acquire <- [SE] */
            return true;
    return false;
}

static bool still_zero(void *arg)
{
    uint64_t *word = arg, w = ld_rlx(word);
    while (SEM_VALUE(w) == 0)
        if (cas_rlx(word, &w, w | SEM_WAITERS))
            return true;
    return false;
}

int sync_sem_wait(sem_t *s, struct deadline d)
{
    uint64_t *word = word_of(s);
    int err = deadline_check(d);
    if (err != 0)
        return err;
    sync_cancel_point();
    if (libc_sem_is_shared(s))
        return pshared_sem_wait(s, d);
    if (likely(try_take(word)))
        return 0;
    struct park_op op = {.key = word,
                         .validate = still_zero,
                         .arg = word,
                         .reason = WAIT_SEM,
                         .ended_by = PARK_BY_SIGNAL | PARK_BY_CANCEL};
    err = deadline_set(&op, d);
    if (err != 0)
        return err;
    struct sync_signals signals = sync_signals_now(op.deadline_ns != RT_FOREVER);
    for (;;) {
        uintptr_t token;
        err = park_wait(&op, &token);
        if (err == 0 && token == TAKEN)
            return 0;
        if (err == EAGAIN) {
            if (try_take(word))
                return 0;
        } else if (err == ECANCELED) {
            sync_cancel_point();
        } else if (err != 0 && (err != EINTR || sync_interrupted(&signals))) {
            return err;
        }
    }
}

int sync_sem_trywait(sem_t *s)
{
    return try_take(word_of(s)) ? 0 : EAGAIN;
}

static uintptr_t hand_over(void *arg, struct park_found found)
{
    uint64_t *word = arg, w = ld_rlx(word), n;
    do {
        n = found.woken != 0 ? w : w + 1;
        n = found.more ? n | SEM_WAITERS : n & ~SEM_WAITERS;
    } while (!cas_rel(word, &w, n)); /* MO: release -> [SE]; last access to the object */
    return TAKEN;
}

int sync_sem_post(sem_t *s)
{
    uint64_t *word = word_of(s), w = ld_rlx(word);
    do {
        if (SEM_VALUE(w) == SEM_VALUE_MAX)
            return EOVERFLOW;
        if ((w & SEM_WAITERS) != 0) {
            park_wake_one(word, hand_over, word);
            return 0;
        }
    } while (!cas_rel(word, &w, w + 1)); /* MO: release -> [SE] */
    return 0;
}
