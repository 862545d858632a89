/* deadline.c - timespecs into deadlines; see sync.h. */
#include "shim/sync/sync.h"

enum { NS_PER_S = 1000000000 };

int deadline_clock(struct deadline d)
{
    return d.clock == CLOCK_MONOTONIC || d.clock == CLOCK_REALTIME ? 0 : EINVAL;
}

int deadline_set(struct park_op *op, struct deadline d)
{
    op->clock = d.clock;
    op->deadline_ns = RT_FOREVER;
    if (d.at == NULL)
        return 0;
    if (d.at->tv_nsec < 0 || d.at->tv_nsec >= NS_PER_S)
        return EINVAL;
    if (d.at->tv_sec < 0)
        return ETIMEDOUT;
    if (d.at->tv_sec < INT64_MAX / NS_PER_S - 1)
        op->deadline_ns = (int64_t)d.at->tv_sec * NS_PER_S + d.at->tv_nsec;
    return 0;
}

int deadline_check(struct deadline d)
{
    if (d.at != NULL && (d.at->tv_nsec < 0 || d.at->tv_nsec >= NS_PER_S))
        return EINVAL;
    return deadline_clock(d);
}
