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
    int err;
    do {
        sync_cancel_point();
        err = park_wait(&op, NULL);
    } while (err == ECANCELED);
    return err == ETIMEDOUT ? 0 : err;
}
