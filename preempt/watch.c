/* watch.c - the monitor's half of waiting for descriptors: how sysmon sleeps while Gs do.
 *
 * Ms fetch events themselves, when they are out of work and every so many switches.  What is
 * left to sysmon are Ps that do neither, for a G keeps them busy, and Ps without an M:
 *   - an idle M covers the network, or can be made to: sleep as always;
 *   - Ms look by themselves (netpoll_is_stale says no): sleep for LATE_NS at most and look if
 *     they have stopped to; being woken for each event would cost them a CPU;
 *   - else sleep in the poller.  So readiness reaches a G in LATE_NS at worst.
 * While Gs wait, sysmon goes to sleep for good only after a look between which and the last
 * one nothing ran: else an M that wakes for each event would have to kick it each time.
 */
#include "preempt/preempt.h"
#include "shim/rt/netpoll.h"

static const int64_t LATE_NS = 1000000; /* promised: 1 ms */

static void sleep_plain(int64_t until)
{
    os_futex_wait(&sched.sysmon_word, 0, until);
}

static void sleep_in_poller(int64_t until, int64_t now)
{
    netpoll_unbreak();
    st_rlx(&sched.sysmon_watches, true);
    fence_sc(); /* MO: [M3] "watches; fence; load word" */
    if (ld_rlx(&sched.sysmon_word) == 0)
        netpoll_watch(until == RT_FOREVER ? until : until - now);
    st_rlx(&sched.sysmon_watches, false);
    netpoll_now();
}

void watch_sleep(int64_t until, int64_t now)
{
    if (!netpoll_waiting() || ld_acq(&sched.timer_sleeper) != NULL) { /* [T1] */
        sleep_plain(until);
        return;
    }
    int64_t soon = now + LATE_NS < until ? now + LATE_NS : until;
    if (ld_rlx(&sched.npidle) != 0 && ld_rlx(&sched.nmidle) != 0) {
        proc_nudge();
        sleep_plain(soon);
    } else if (netpoll_is_stale(now, LATE_NS)) {
        sleep_in_poller(until, now);
    } else {
        sleep_plain(soon);
        if (netpoll_is_stale(os_now_ns(), LATE_NS))
            netpoll_now();
    }
}

bool watch_was_busy(void)
{
    static uint32_t before; /* sysmon only */
    uint32_t ticks = 0, np = ld_rlx(&sched.npall);
    if (!netpoll_waiting())
        return false;
    for (uint32_t i = 0; i < np; i++)
        ticks += ld_rlx(&sched.allp[i]->schedtick);
    bool moved = ticks != before;
    before = ticks;
    return moved;
}
