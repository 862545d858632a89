/* sleep.c - sleeping: a wait that nobody wakes, on the same path as every timed wait. */
#include "shim/sync/sync.h"

static bool always(void *arg)
{
    (void)arg;
    return true;
}

static struct park_op sleep_until(clockid_t clock, int64_t deadline_ns, unsigned ended_by)
{
    return (struct park_op){.key = &rt_self()->timer,
                            .validate = always,
                            .clock = clock,
                            .deadline_ns = deadline_ns,
                            .reason = WAIT_SLEEP,
                            .ended_by = (uint8_t)ended_by};
}

int sync_sleep(clockid_t clock, int64_t deadline_ns)
{
    struct park_op op = sleep_until(clock, deadline_ns, PARK_BY_SIGNAL | PARK_BY_CANCEL);
    struct sync_signals signals = sync_signals_now(true);
    int err;
    do {
        sync_cancel_point();
        err = park_wait(&op, NULL);
    } while (err == ECANCELED || (err == EINTR && !sync_interrupted(&signals)));
    return err == ETIMEDOUT ? 0 : err;
}

void sync_nap(int64_t ns)
{
    struct park_op op = sleep_until(CLOCK_MONOTONIC, os_now_ns() + ns, 0);
    park_wait(&op, NULL);
}
