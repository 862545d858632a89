/* timers.c - timers whose signal or whose clock is a thread's.
 *
 * The kernel knows kernel threads only.  So the G that such a timer means is bound to its M, and
 * the timer made for that: whatever it sends, overruns included, arrives on the G and no
 * other.  Another thread's G binds itself at its next look (g.bind_wanted); we wait for that.
 * Source: timer_create(2), SIGEV_THREAD_ID.
 */
#include <signal.h>
#include <time.h>

#include "preempt/preempt.h"
#include "shim/posix/block.h"
#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

void timers_attention(struct g *gp)
{
    if (unlikely(gp->bind_wanted)) {
        gp->bind_wanted = false;
        rt_lock_m();
    }
}

/* GP, if it computes, looks when it is preempted. */
static void interrupt(struct g *gp)
{
    struct m *mp = ld_rlx(&gp->m);
    if (ld_acq(&gp->on_cpu) != 0 && mp != NULL) /* MO: acquire <- [G2] */
        preempt_request(mp, ld_rlx(&mp->p));
}

/* What was sent to bring GP here is waited for as well: a signal of ours that is pending would hide
 * one of the kernel's with the same number.  After it no more are sent to the owner of a descriptor
 * (preempt/request.c). */
static const int64_t LOOK_NS = 100000;
enum { SETTLE_LOOKS = 100 };

int timers_bind(struct g *gp, bool io_owner)
{
    struct rt_section s;
    if (gp == rt_self()) {
        gp->io_owner |= io_owner;
        rt_lock_m();
        return os_gettid();
    }
    st_rlx(&gp->bind_wanted, true);
    st_rel(&gp->attention, true);
    rt_enter(&s);
    park_interrupt(gp, PARK_BY_SIGNAL);
    block_kick(gp);
    rt_exit(&s);
    struct m *mp;
    while ((mp = ld_acq(&gp->lockedm)) == NULL) { /* MO: acquire, m.tid is const */
        if ((ld_acq(&gp->join) & (JOIN_EXITED | JOIN_GONE)) != 0) /* [J1] */
            return 0;
        interrupt(gp);
        sync_nap(LOOK_NS);
    }
    if (io_owner)
        st_rlx(&gp->io_owner, true);
    for (int i = 0; i < SETTLE_LOOKS && kick_preempts_under_way(mp); i++)
        sync_nap(LOOK_NS);
    return ld_rlx(&mp->tid);
}

static struct g *g_of(int tid)
{
    if (tid == os_getpid())
        return rt_main_g();
    return tid > 0 ? g_of_tid((uint32_t)tid) : NULL;
}

EXPORT int timer_create(clockid_t clock, struct sigevent *ev, timer_t *timer)
{
    struct sigevent copy;
    if (rt_self() == NULL)
        return REAL(timer_create)(clock, ev, timer);
    if (clock == CLOCK_THREAD_CPUTIME_ID)
        rt_lock_m();
    if (ev == NULL || ev->sigev_notify != SIGEV_THREAD_ID)
        return REAL(timer_create)(clock, ev, timer);
    struct g *gp = g_of(ev->_sigev_un._tid);
    copy = *ev;
    if (gp != NULL && (copy._sigev_un._tid = timers_bind(gp, false)) == 0)
        EXIT_ERRNO(EINVAL);
    return REAL(timer_create)(clock, &copy, timer);
}
