/* sleep.c - sleeping: a wait that nobody wakes, on the same path as every timed wait. */
#include "shim/sync/sync.h"

static bool always(void *arg)
{
    (void)arg;
    return true;
}

int sync_sleep(clockid_t clock, int64_t deadline_ns)
{
    struct g *gp = rt_self();
    struct park_op op = {.key = &gp->timer,
                         .validate = always,
                         .clock = clock,
                         .deadline_ns = deadline_ns,
                         .reason = WAIT_SLEEP,
                         .ended_by = PARK_BY_SIGNAL | PARK_BY_CANCEL};
    struct sync_signals signals = sync_signals_now(true);
    int err;
    do {
        sync_cancel_point();
        err = park_wait(&op, NULL);
    } while (err == ECANCELED || (err == EINTR && !sync_interrupted(&signals)));
    return err == ETIMEDOUT ? 0 : err;
}
