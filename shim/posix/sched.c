/* sched.c - scheduling attributes: policy, priority, affinity.
 *
 * The default policy is ours to give: a G has it by being on a run queue.  Anything else
 * (SCHED_FIFO, _RR, _BATCH, _IDLE, an affinity of its own) only the kernel can give, to a
 * kernel thread.  So such a G is bound to its M, and the M gets the attribute; when the G
 * ends, the M ends with it.
 * Attributes of another thread are left with it (g.sched_set, g.affinity_set) and taken up by
 * its attention hook, at its next runtime exit at the latest.  Whether the kernel would allow
 * them is found out at once, by trying them on the calling kernel thread and undoing that.
 */
#include "shim/posix/sched.h"

#include <sched.h>
#include <string.h>
#include <sys/syscall.h>

#include "shim/posix/posix.h"

static long sys(long nr, long a, const void *b, const void *c)
{
    return arch_syscall6(nr, a, (long)b, (long)c, 0, 0, 0);
}

static bool ended(struct g *gp)
{
    return (ld_acq(&gp->join) & (JOIN_EXITED | JOIN_GONE)) != 0; /* MO: acquire <- [J1] */
}

/* Would the kernel let this thread have POLICY?  0 or an errno value. */
static int try_policy(int policy, const struct sched_param *param)
{
    struct sched_param old = {0};
    long old_policy = sys(SYS_sched_getscheduler, 0, NULL, NULL);
    sys(SYS_sched_getparam, 0, &old, NULL);
    long r = sys(SYS_sched_setscheduler, 0, (void *)(long)policy, param);
    if (r == 0)
        sys(SYS_sched_setscheduler, 0, (void *)old_policy, &old);
    return (int)-r;
}

static void apply(struct g *gp)
{
    struct sched_param param = {.sched_priority = gp->priority};
    rt_lock_m();
    /* By libc, which keeps what it set in the TCB and consults it for priority ceilings. */
    if (gp->sched_set)
        REAL(pthread_setschedparam)((pthread_t)gp->m->g0.tcb, gp->policy, &param);
    if (gp->affinity_set)
        sys(SYS_sched_setaffinity, 0, (void *)sizeof gp->affinity, gp->affinity);
}

void sched_attention(struct g *gp)
{
    if (gp->sched_pending) {
        gp->sched_pending = false;
        apply(gp);
    }
}

static void take_up(struct g *gp)
{
    gp->sched_pending = true;
    if (gp == rt_self())
        sched_attention(gp);
    else
        st_rel(&gp->attention, true);
}

int sched_set_policy(struct g *gp, int policy, int priority)
{
    struct sched_param param = {.sched_priority = priority};
    int err = try_policy(policy, &param);
    if (err != 0)
        return err;
    gp->policy = policy;
    gp->priority = priority;
    if (policy != SCHED_OTHER || gp->sched_set) {
        gp->sched_set = true;
        take_up(gp);
    }
    return 0;
}

EXPORT int pthread_setschedparam(pthread_t t, int policy, const struct sched_param *param)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_setschedparam)(t, policy, param);
    return ended(gp) ? ESRCH : sched_set_policy(gp, policy, param->sched_priority);
}

EXPORT int pthread_setschedprio(pthread_t t, int priority)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_setschedprio)(t, priority);
    return ended(gp) ? ESRCH : sched_set_policy(gp, gp->policy, priority);
}

EXPORT int pthread_getschedparam(pthread_t t, int *policy, struct sched_param *param)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_getschedparam)(t, policy, param);
    if (ended(gp))
        return ESRCH;
    *policy = gp->policy;
    param->sched_priority = gp->priority;
    return 0;
}

/* --- affinity --------------------------------------------------------------------------- */

EXPORT int pthread_getaffinity_np(pthread_t t, size_t n, cpu_set_t *set)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_getaffinity_np)(t, n, set);
    if (ended(gp))
        return ESRCH;
    if (gp->affinity_set) {
        size_t k = n < sizeof gp->affinity ? n : sizeof gp->affinity;
        memset(set, 0, n);
        memcpy(set, gp->affinity, k);
        return 0;
    }
    long r = sys(SYS_sched_getaffinity, 0, (void *)n, set);
    if (r < 0)
        return (int)-r;
    memset((char *)set + r, 0, n - (size_t)r);
    return 0;
}

int sched_set_affinity(struct g *gp, size_t n, const cpu_set_t *set)
{
    uint64_t old[16];
    long got = sys(SYS_sched_getaffinity, 0, (void *)sizeof old, old);
    long r = sys(SYS_sched_setaffinity, 0, (void *)n, set);
    if (r < 0)
        return (int)-r;
    sys(SYS_sched_setaffinity, 0, (void *)got, old);
    memset(gp->affinity, 0, sizeof gp->affinity);
    memcpy(gp->affinity, set, n < sizeof gp->affinity ? n : sizeof gp->affinity);
    gp->affinity_set = true;
    take_up(gp);
    return 0;
}

EXPORT int pthread_setaffinity_np(pthread_t t, size_t n, const cpu_set_t *set)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_setaffinity_np)(t, n, set);
    return ended(gp) ? ESRCH : sched_set_affinity(gp, n, set);
}

/* --- at creation ------------------------------------------------------------------------- */

int sched_from_attr(struct g *gp, const pthread_attr_t *attr)
{
    int inherit, policy;
    struct sched_param param;
    cpu_set_t set;
    pthread_attr_getinheritsched(attr, &inherit);
    if (inherit == PTHREAD_EXPLICIT_SCHED) {
        pthread_attr_getschedpolicy(attr, &policy);
        pthread_attr_getschedparam(attr, &param);
        int err = sched_set_policy(gp, policy, param.sched_priority);
        if (err != 0)
            return err;
    }
    /* An affinity that was never set reads as all ones, also beyond the last CPU. */
    if (pthread_attr_getaffinity_np(attr, sizeof set, &set) == 0 &&
        !CPU_ISSET(CPU_SETSIZE - 1, &set))
        return sched_set_affinity(gp, sizeof set, &set);
    return 0;
}
