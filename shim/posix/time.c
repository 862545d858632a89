/* time.c - sleeping, and the CPU-time clocks of threads. */
#include <time.h>
#include <unistd.h>

#include "shim/posix/posix.h"

enum { NS_PER_S = 1000000000, US_PER_S = 1000000 };

static bool bad(const struct timespec *ts)
{
    return ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= NS_PER_S;
}

static int64_t to_ns(const struct timespec *ts)
{
    if (ts->tv_sec >= INT64_MAX / NS_PER_S / 2)
        return INT64_MAX / 2; /* 146 years */
    return (int64_t)ts->tv_sec * NS_PER_S + ts->tv_nsec;
}

static void set_left(struct timespec *left, int64_t ns)
{
    if (left == NULL)
        return;
    ns = ns > 0 ? ns : 0;
    left->tv_sec = ns / NS_PER_S;
    left->tv_nsec = ns % NS_PER_S;
}

/* 0 or a positive errno value, as clock_nanosleep returns. */
static int sleep_on(clockid_t clock, int flags, const struct timespec *ts,
                    struct timespec *left)
{
    bool ours = clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME;
    if (!ours || rt_self() == NULL || bad(ts)) {
        rt_block_begin(true);
        int err = REAL(clock_nanosleep)(clock, flags, ts, left);
        rt_block_end();
        return err;
    }
    if ((flags & TIMER_ABSTIME) != 0)
        return sync_sleep(clock, to_ns(ts));
    /* A relative sleep is not moved by setting the clock. */
    int64_t deadline = os_now_ns() + to_ns(ts);
    int err = sync_sleep(CLOCK_MONOTONIC, deadline);
    if (err == EINTR)
        set_left(left, deadline - os_now_ns());
    return err;
}

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *ts,
                           struct timespec *left)
{
    return sleep_on(clock, flags, ts, left);
}

EXPORT int nanosleep(const struct timespec *ts, struct timespec *left)
{
    EXIT_ERRNO(sleep_on(CLOCK_REALTIME, 0, ts, left));
}

EXPORT int usleep(useconds_t us)
{
    struct timespec ts = {us / US_PER_S, (long)(us % US_PER_S) * 1000};
    EXIT_ERRNO(sleep_on(CLOCK_REALTIME, 0, &ts, NULL));
}

EXPORT unsigned sleep(unsigned seconds)
{
    struct timespec ts = {seconds, 0}, left = {0, 0};
    if (sleep_on(CLOCK_REALTIME, 0, &ts, &left) == 0)
        return 0;
    return (unsigned)left.tv_sec + (left.tv_nsec != 0);
}

/* The G that a CPU-time clock id means: CLOCK_THREAD_CPUTIME_ID or one made by
 * pthread_getcpuclockid, which holds the tid (negated, above three bits of type). */
static struct g *g_of_clock(clockid_t clock)
{
    if (clock == CLOCK_THREAD_CPUTIME_ID)
        return rt_self();
    if (clock >= 0 || (clock & 4) == 0)
        return NULL;
    uint32_t tid = (uint32_t) ~(clock >> 3);
    return tid >= RT_FIRST_TID ? g_of_tid(tid) : NULL;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ts)
{
    if (likely(clock >= 0 && clock != CLOCK_THREAD_CPUTIME_ID))
        return REAL(clock_gettime)(clock, ts);
    struct g *gp = g_of_clock(clock);
    if (gp == NULL)
        return REAL(clock_gettime)(clock, ts);
    int64_t ns = rt_cpu_ns(gp);
    ts->tv_sec = ns / NS_PER_S;
    ts->tv_nsec = ns % NS_PER_S;
    return 0;
}

EXPORT int clock_getres(clockid_t clock, struct timespec *ts)
{
    if (clock < 0 && g_of_clock(clock) != NULL)
        clock = CLOCK_THREAD_CPUTIME_ID;
    return REAL(clock_getres)(clock, ts);
}

ALIAS(__nanosleep, nanosleep);
