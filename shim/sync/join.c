/* join.c - the end of a thread, and waiting for it.
 *
 * g.join [J1]: JOIN_EXITED is set last by the thread itself, release, after its result;
 * JOIN_CLAIMED by the one joiner; JOIN_DETACHED by pthread_detach or at creation;
 * JOIN_GONE when the G went back to the free list.  Exactly one of these frees the G: the
 * joiner that claimed it and saw EXITED; the thread itself, if DETACHED came first; the
 * detacher, if EXITED came first.
 * Robust mutexes that a G still holds are released by the kernel, at the end of the kernel
 * thread it is bound to; whoever joins it relies on that, so its end is told only then, by
 * sysmon (m.last_g).
 * The G may still be on its stack when it is freed; whoever reuses it waits (gthread.c), and
 * the joiner of one whose stack is the program's.
 */
#include "shim/rt/signal.h"
#include "shim/sync/sync.h"

#include <stdlib.h>

static bool not_exited(void *arg)
{
    return (ld_acq((uint32_t *)arg) & JOIN_EXITED) == 0; /* MO: acquire <- [J1] */
}

/* Would SELF's join wait for a join that waits for SELF?  Not if either is being cancelled,
 * which ends one of them. */
static bool closes_circle(struct g *self, struct g *gp)
{
    if (self == NULL || (gp != self && ld_rlx(&gp->joining) != self))
        return false;
    if (gp != self && libc_cancel_requested(gp->tcb))
        return false;
    return !libc_cancel_pending(self->tcb);
}

static int claim(struct g *gp)
{
    struct g *self = rt_self();
    uint32_t v = ld_rlx(&gp->join);
    do {
        if ((v & JOIN_DETACHED) != 0) /* also of one that has ended: as glibc */
            return EINVAL;
        if ((v & JOIN_GONE) != 0)
            return ESRCH;
        if (closes_circle(self, gp))
            return EDEADLK;
        if ((v & JOIN_CLAIMED) != 0)
            return EINVAL;
    } while (!cas_ar(&gp->join, &v, v | JOIN_CLAIMED)); /* MO: acquire <- [J1] */
    if (self != NULL)
        st_rlx(&self->joining, gp);
    return 0;
}

static void unclaim(struct g *gp)
{
    struct g *self = rt_self();
    if (self != NULL)
        st_rlx(&self->joining, NULL);
    and_ar(&gp->join, ~(uint32_t)JOIN_CLAIMED);
}

static void reap(struct g *gp, void **ret)
{
    struct g *self = rt_self();
    struct rt_section s;
    if (self != NULL)
        st_rlx(&self->joining, NULL);
    if (ret != NULL)
        *ret = gp->ret;
    if (gp->user_stack)
        g_wait_off_stack(gp); /* the program may free it now */
    if (gp->is_main)
        return; /* its memory is not from our arena */
    st_rlx(&gp->join, JOIN_GONE);
    rt_enter(&s);
    g_free(gp);
    rt_exit(&s);
}

int join_wait(struct g *gp, void **ret, struct deadline d)
{
    struct park_op op = {.key = &gp->join,
                         .validate = not_exited,
                         .arg = &gp->join,
                         .reason = WAIT_JOIN,
                         .ended_by = PARK_BY_SIGNAL | PARK_BY_CANCEL};
    int err = claim(gp);
    if (err != 0)
        return err;
    sync_hold();
    if (not_exited(&gp->join)) {
        err = deadline_set(&op, d);
        while (err == 0 && not_exited(&gp->join)) {
            err = park_wait(&op, NULL);
            err = err == ETIMEDOUT || err == ECANCELED ? err : 0;
        }
    }
    if (err != 0 && not_exited(&gp->join)) {
        unclaim(gp);
        sync_release(err == ECANCELED);
        return err;
    }
    reap(gp, ret);
    sync_release(false);
    return 0;
}

int join_try(struct g *gp, void **ret)
{
    uint32_t v = ld_acq(&gp->join); /* MO: acquire <- [J1] */
    if ((v & (JOIN_EXITED | JOIN_GONE)) == 0)
        return EBUSY;
    int err = claim(gp);
    if (err == 0)
        reap(gp, ret);
    return err;
}

int join_detach(struct g *gp)
{
    uint32_t v = ld_rlx(&gp->join);
    do {
        if ((v & JOIN_DETACHED) != 0)
            return EINVAL;
        if ((v & JOIN_GONE) != 0)
            return ESRCH;
        if ((v & JOIN_CLAIMED) != 0)
            return 0; /* somebody is joining: as glibc */
    } while (!cas_ar(&gp->join, &v, v | JOIN_DETACHED)); /* MO: acquire <- [J1] */
    if ((v & JOIN_EXITED) != 0)
        reap(gp, NULL);
    return 0;
}

void join_publish(struct g *gp)
{
    uint32_t v = or_ar(&gp->join, JOIN_EXITED); /* MO: release -> [J1] */
    if ((v & JOIN_CLAIMED) != 0) {
        park_wake_one(&gp->join, NULL, NULL);
    } else if ((v & JOIN_DETACHED) != 0 && !gp->is_main) {
        st_rlx(&gp->join, JOIN_GONE | JOIN_DETACHED);
        g_free(gp);
    }
}

void join_last(void)
{
    /* So does the only one of a child of fork, which has no runtime any more. */
    if (rt_self() == NULL || sub_ar(&sched.ng, 1) == 1)
        exit(0);
}

_Noreturn void join_exit(struct g *gp, void *ret)
{
    struct rt_section s;
    gp->ret = ret;
    rt_enter(&s);
    rt_leaving(gp);
    struct m *mp = gp->m;
    /* While GP is still itself: a signal for its kernel thread is nobody else's. */
    if (gp->lockedm != NULL)
        rt_mask_end(gp);
    if (gp->lockedm != NULL && libc_robust_held(mp->g0.tcb) && !mp->first)
        mp->last_g = gp;
    else
        join_publish(gp);
    rt_exit_g(gp);
}
