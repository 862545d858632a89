/* request.c - asking an M to give up its P.
 *
 * To ask:     p.preempt is set, for the runtime's own exits; then mp.preempt_pending goes
 *             from 0 to the request's number by CAS [V1], and the signal is sent.
 * To answer:  the handler, on that M, puts preempt_pending back to 0 by CAS; whoever does
 *             that decides the request.  A signal whose number is no longer pending is stale.
 * So at most one request is under way to an M, however often it is asked.
 *
 * A request is for one run of one G: preempt_run is the time stamp at which that run began,
 * and the handler compares.  The M may have switched in between.
 *
 * Code compiled with -fsplit-stack is asked in a second way at the same time: by the guard word
 * of the G that runs (rt_guard_ask), which it looks at when a function begins.  Whichever comes
 * first is served; the other then finds another run, or nothing to do, and counts as stale.
 *
 * An M that enters a blocking call must not be interrupted there: it marks its P P_SYSCALL and
 * its G blocking, and then waits until nothing is pending; we look once more after the request is
 * pending, and take it back when the M is no longer in user code [V2].
 *
 * A thread that the kernel signals for descriptors (g.io_owner) is not asked by signal, except to
 * stop the world: while ours is pending the kernel would drop one of the same number that is for the
 * program. It loses its P like one that cannot be interrupted (retake.c).
 *
 * A signal can get lost while the program has the kernel ignore it for a moment (posix_spawn)
 * or a handler of the program blocks it for long; after OVERDUE_NS it is sent again.
 */
#include "preempt/preempt.h"

#include "shim/rt/rt.h"

static const int64_t OVERDUE_NS = 100000000; /* ten ticks: a lost signal costs no more */

static uint32_t last_number; /* atomic */

static bool in_user_code(const struct m *mp, const struct p *pp)
{
    if (pp != NULL)
        return ld_rlx(&pp->owner) == ((uintptr_t)mp | P_USER);
    const struct g *gp = ld_rlx(&mp->curg);
    return gp != NULL && ld_rlx(&gp->in_rt) == 0 && !ld_rlx(&gp->blocking);
}

static bool by_signal(const struct m *mp, const struct g *gp)
{
    if (!ld_rlx(&preempt_async) || ld_rlx(&mp->tid) == 0)
        return false;
    return gp == NULL || !ld_rlx(&gp->io_owner) || ld_rlx(&sched.stw_owner) != NULL;
}

bool preempt_request(struct m *mp, struct p *pp)
{
    struct g *gp = ld_rlx(&mp->curg);
    if (pp != NULL)
        st_rlx(&pp->preempt, 1);
    if (gp != NULL)
        rt_guard_ask(gp);
    if (!by_signal(mp, gp))
        return false;
    int64_t now = os_now_ns();
    uint32_t e = ld_rlx(&mp->preempt_pending);
    if (e != 0 && now - ld_rlx(&mp->preempt_sent) < OVERDUE_NS)
        return false;
    uint32_t number = add_rlx(&last_number, 1) + 1;
    number += number == 0;
    st_rlx(&mp->preempt_run, ld_rlx(&mp->run_since));
    st_rlx(&mp->preempt_sig_ran, gp != NULL ? ld_rlx(&gp->sig_ran) : 0);
    st_rlx(&mp->preempt_sent, now);
    if (!cas_sc(&mp->preempt_pending, &e, number)) /* MO: sc, [V1] and [V2] */
        return false;
    if (!in_user_code(mp, pp) || preempt_deliver(mp, number) != 0) {
        /* MO: release -> [V2]: nothing will come */
        cas_rel(&mp->preempt_pending, &number, 0);
        return false;
    }
    return true;
}
