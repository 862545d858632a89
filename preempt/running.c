/* running.c - is an M on a CPU, ready for one, or asleep in the kernel?  For sysmon alone.
 *
 *   on a CPU   two readings of its CPU clock in a row differ: 0.3 us each
 *   ready      else the kernel is asked, 3 us: sysmon may have taken the M's CPU by waking up,
 *              or another process has it
 *   asleep     neither
 *
 * Beside hogs on every CPU sysmon displaces one of them at each look, so it is asked about the
 * same few Ms again and again.  The files in which the kernel answers are therefore kept
 * open, since opening one costs twice as much as reading it.  They are closed when nobody has
 * anything to do.  A file belongs to a thread, not to its number: of one that has ended nothing
 * can be read, and of a number that is used again neither; then the next look opens it anew.
 *
 * Rejected: taking an M for running whose clock has advanced by nearly all the time since
 * the last look.  It may have gone to sleep just now, and must not be signalled then.
 */
#include "preempt/retake.h"
#include "shim/rt/netpoll.h"
#include "shim/rt/rt.h"

enum { KEPT = 4 };

static struct kept {
    int tid; /* 0: free */
    struct net_hold file;
} kept[KEPT];

static bool drop(struct kept *k)
{
    if (k->tid != 0 && !net_release(&k->file))
        return false;
    k->tid = 0;
    return true;
}

/* The program had taken the number of K's file from another one, and given it back. */
static void forget_others(const struct kept *k)
{
    for (int i = 0; i < KEPT; i++)
        if (&kept[i] != k && kept[i].file.fd == k->file.fd)
            kept[i].tid = 0;
}

static struct kept *file_of(int tid)
{
    static unsigned oldest;
    for (int i = 0; i < KEPT; i++)
        if (kept[i].tid == tid)
            return &kept[i];
    struct kept *k = &kept[oldest++ % KEPT];
    if (!drop(k) || !net_hold(&k->file, os_thread_stat_open, tid))
        return NULL;
    forget_others(k);
    k->tid = tid;
    return k;
}

char running_state(int tid)
{
    struct kept *k = file_of(tid);
    char state = k != NULL ? os_thread_stat_state(k->file.fd, tid) : 0;
    if (k != NULL && state == 0)
        drop(k);
    return state;
}

bool running_now(const struct m *mp, int64_t cpu)
{
    int tid = ld_rlx(&mp->tid);
    return os_thread_cpu_ns(tid) != cpu || running_state(tid) == 'R';
}

void running_rest(void)
{
    for (int i = 0; i < KEPT; i++)
        drop(&kept[i]);
}

void running_forget(void)
{
    for (int i = 0; i < KEPT; i++)
        kept[i].tid = 0;
}
