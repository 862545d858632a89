/* once.c - pthread_once and call_once.
 *
 * Word: 0 not yet; ONCE_DONE (glibc's value: code compiled into programs may test for it);
 * ONCE_BUSY with the number of forks this process has gone through, and perhaps ONCE_PARKED.
 * A child of fork that finds a routine busy under an older number runs it anew: the thread
 * that ran it did not come along.  If the routine is left by an exception, by cancellation or
 * pthread_exit, the word goes back to 0 and the next caller tries.
 */
#include "shim/sync/sync.h"

enum { ONCE_BUSY = 1, ONCE_DONE = 2, ONCE_PARKED = 4, ONCE_FORK = 8 };

static uint32_t forks; /* written by the only thread of a fresh child */

void once_forked(void)
{
    forks += ONCE_FORK;
}

static bool still_busy(void *arg)
{
    uint32_t *word = arg, v = ld_rlx(word), busy = forks | ONCE_BUSY;
    while ((v & ~(uint32_t)ONCE_PARKED) == busy)
        if (cas_rlx(word, &v, v | ONCE_PARKED))
            return true;
    return false;
}

static void finish(uint32_t *word, uint32_t value)
{
    /* MO: release -> [ON]: what the routine did */
    if ((xchg_ar(word, value) & ONCE_PARKED) != 0)
        park_wake_n(word, SIZE_MAX, NULL, NULL);
}

static void undo(uint32_t **word)
{
    if (*word != NULL)
        finish(*word, 0);
}

static void run(uint32_t *word, void (*fn)(void))
{
    uint32_t *armed __attribute__((cleanup(undo))) = word;
    fn();
    armed = NULL;
    finish(word, ONCE_DONE);
}

int once_run(pthread_once_t *once, void (*fn)(void))
{
    uint32_t *word = (uint32_t *)once;
    struct park_op op = {.key = word,
                         .validate = still_busy,
                         .arg = word,
                         .reason = WAIT_ONCE,
                         .ended_by = PARK_BY_SIGNAL,
                         .clock = CLOCK_MONOTONIC,
                         .deadline_ns = RT_FOREVER};
    for (;;) {
        uint32_t v = ld_acq(word); /* MO: acquire <- [ON] release in finish */
        if (v == ONCE_DONE)
            return 0;
        uint32_t busy = forks | ONCE_BUSY;
        if ((v & ~(uint32_t)ONCE_PARKED) == busy) {
            park_wait(&op, NULL);
        } else if (cas_acq(word, &v, busy)) { /* MO: acquire <- [ON] */
            run(word, fn);
            return 0;
        }
    }
}
