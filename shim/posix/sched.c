/* sched.c - scheduling attributes: policy, priority, affinity, nice value, I/O priority.
 *
 * The default policy is ours to give: a G has it by being on a run queue.  Anything else
 * (SCHED_FIFO, _RR, _BATCH, _IDLE, an affinity or a nice value of its own) only the kernel can
 * give, to a kernel thread.  So such a G is bound to its M for good, and the M gets the
 * attribute; when the G ends, the M ends with it (take_over, g.kernel_own).
 * Of a bound G the kernel is asked and told directly, by whoever calls.  Attributes for another
 * G that has no M of its own yet are left with it (g.sched_pending) and taken up by its attention
 * hook: when it begins, at its next runtime exit, or when it is preempted for that.  Whether
 * the kernel would allow them is found out at once, by trying them on the calling kernel thread
 * and undoing that, where it can be undone.
 * Other Ms are all alike, as the process was when the runtime started; sysmon, which nobody
 * can change, tells how.  A new thread inherits what its creator has.
 * Rejected: binding a thread created with PTHREAD_SCOPE_SYSTEM.  It is NPTL's default and only
 * scope, and programs set it by habit for all their threads; what it promises, that a thread
 * is scheduled against all others of the system, every G has by the M it runs on.
 */
#include "shim/posix/sched.h"

#include <linux/ioprio.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "preempt/preempt.h"
#include "shim/posix/posix.h"

static long sys(long nr, long a, const void *b, const void *c)
{
    return arch_syscall6(nr, a, (long)b, (long)c, 0, 0, 0);
}

bool sched_ended(struct g *gp)
{
    return (ld_acq(&gp->join) & (JOIN_EXITED | JOIN_GONE)) != 0; /* MO: acquire <- [J1] */
}

/* --- the kernel thread of a G ---------------------------------------------------------------- */

static void take_over(struct g *self)
{
    if (!self->kernel_own) {
        rt_lock_m();
        st_rel(&self->kernel_own, true); /* MO: release -> [SO] in own_m: lockedm */
    }
}

static void give_back(struct g *self)
{
    self->kernel_own = false;
    rt_unlock_m();
}

/* The M that GP has for itself, or NULL. */
static struct m *own_m(struct g *gp)
{
    /* MO: acquire <- [SO] */
    return ld_acq(&gp->kernel_own) ? ld_rlx(&gp->lockedm) : NULL;
}

/* Where to look when nothing was set: 0 is the caller. */
static int tid_to_ask(struct g *gp)
{
    struct m *mp = own_m(gp);
    return mp != NULL ? ld_rlx(&mp->tid) : sched.sysmon_tid;
}

/* Set it in the kernel now: EAGAIN when GP has no M of its own and is not the caller. */
static int set_now(struct g *gp, int (*set)(struct m *, const void *), const void *arg)
{
    struct m *mp = own_m(gp);
    if (mp != NULL)
        return set(mp, arg);
    if (gp != rt_self())
        return EAGAIN;
    take_over(gp);
    int err = set(gp->m, arg);
    if (err != 0)
        give_back(gp);
    return err;
}

/* GP has something to take up. */
static void leave_for(struct g *gp)
{
    gp->sched_pending = true;
    st_rel(&gp->attention, true);
    struct m *mp = ld_rlx(&gp->m);
    if (ld_acq(&gp->on_cpu) != 0 && mp != NULL) /* MO: acquire <- [G2] */
        preempt_request(mp, ld_rlx(&mp->p));
}

/* --- policy and priority ------------------------------------------------------------------------ */

struct policy {
    int policy;
    struct sched_param param;
};

/* By libc, which keeps what it set in the TCB and consults it for priority ceilings. */
static int policy_to_kernel(struct m *mp, const void *arg)
{
    const struct policy *p = arg;
    int err = REAL(pthread_setschedparam)((pthread_t)mp->g0.tcb, p->policy, &p->param);
    /* glibc 2.43 takes the TCB that we made for the first kernel thread for an ended one's. */
    if (err == ESRCH && mp->first)
        err = (int)-sys(SYS_sched_setscheduler, mp->tid, (void *)(long)p->policy,
                        &p->param);
    return err;
}

/* Would the kernel let this thread have it?  A better one can be taken back, a worse one
 * (SCHED_IDLE) perhaps not, but that is never refused. */
static int try_policy(const struct policy *p)
{
    int base = p->policy & ~SCHED_RESET_ON_FORK;
    if (base == SCHED_OTHER || base == SCHED_BATCH || base == SCHED_IDLE)
        return p->param.sched_priority == 0 ? 0 : EINVAL;
    struct sched_param old = {0};
    long old_policy = sys(SYS_sched_getscheduler, 0, NULL, NULL);
    sys(SYS_sched_getparam, 0, &old, NULL);
    long r = sys(SYS_sched_setscheduler, 0, (void *)(long)p->policy, &p->param);
    if (r == 0)
        sys(SYS_sched_setscheduler, 0, (void *)old_policy, &old);
    return (int)-r;
}

int sched_set_policy(struct g *gp, int policy, int priority)
{
    struct policy p = {policy, {.sched_priority = priority}};
    int policy_now, priority_now;
    sched_get_policy(gp, &policy_now, &priority_now);
    if (!gp->sched_set && policy == policy_now && priority == priority_now)
        return 0;
    int err = set_now(gp, policy_to_kernel, &p);
    bool later = err == EAGAIN;
    if (later)
        err = try_policy(&p);
    if (err != 0)
        return err;
    gp->policy = policy;
    gp->priority = priority;
    gp->sched_set = true;
    if (later)
        leave_for(gp);
    return 0;
}

void sched_get_policy(struct g *gp, int *policy, int *priority)
{
    struct sched_param param = {.sched_priority = gp->priority};
    *policy = gp->policy;
    if (!gp->sched_set) {
        *policy = (int)sys(SYS_sched_getscheduler, sched.sysmon_tid, NULL, NULL);
        sys(SYS_sched_getparam, sched.sysmon_tid, &param, NULL);
    }
    *priority = param.sched_priority;
}

EXPORT int pthread_setschedparam(pthread_t t, int policy, const struct sched_param *param)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_setschedparam)(t, policy, param);
    return sched_ended(gp) ? ESRCH : sched_set_policy(gp, policy, param->sched_priority);
}

EXPORT int pthread_setschedprio(pthread_t t, int priority)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_setschedprio)(t, priority);
    return sched_ended(gp) ? ESRCH : sched_set_policy(gp, gp->policy, priority);
}

EXPORT int pthread_getschedparam(pthread_t t, int *policy, struct sched_param *param)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_getschedparam)(t, policy, param);
    if (sched_ended(gp))
        return ESRCH;
    sched_get_policy(gp, policy, &param->sched_priority);
    return 0;
}

/* --- affinity --------------------------------------------------------------------------- */

struct affinity {
    size_t n;
    const void *set;
};

static int affinity_to_kernel(struct m *mp, const void *arg)
{
    const struct affinity *a = arg;
    return (int)-sys(SYS_sched_setaffinity, mp->tid, (void *)a->n, a->set);
}

static int try_affinity(const struct affinity *a)
{
    uint64_t old[128];
    long got = sys(SYS_sched_getaffinity, 0, (void *)sizeof old, old);
    long r = sys(SYS_sched_setaffinity, 0, (void *)a->n, a->set);
    if (r == 0 && got > 0)
        sys(SYS_sched_setaffinity, 0, (void *)got, old);
    return (int)-r;
}

int sched_set_affinity(struct g *gp, size_t n, const cpu_set_t *set)
{
    struct affinity a = {n, set};
    int err = set_now(gp, affinity_to_kernel, &a);
    bool later = err == EAGAIN;
    if (later)
        err = try_affinity(&a);
    if (err != 0)
        return err;
    memset(gp->affinity, 0, sizeof gp->affinity);
    memcpy(gp->affinity, set, n < sizeof gp->affinity ? n : sizeof gp->affinity);
    gp->affinity_set = true;
    if (later)
        leave_for(gp);
    return 0;
}

long sched_get_affinity(struct g *gp, size_t n, cpu_set_t *set)
{
    long r = sys(SYS_sched_getaffinity, tid_to_ask(gp), (void *)n, set);
    if (r > 0 && gp->affinity_set && own_m(gp) == NULL) { /* not taken up yet */
        size_t k = (size_t)r < sizeof gp->affinity ? (size_t)r : sizeof gp->affinity;
        memcpy(set, gp->affinity, k);
    }
    return r;
}

EXPORT int pthread_getaffinity_np(pthread_t t, size_t n, cpu_set_t *set)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_getaffinity_np)(t, n, set);
    if (sched_ended(gp))
        return ESRCH;
    long r = sched_get_affinity(gp, n < INT_MAX ? n : INT_MAX, set);
    if (r < 0)
        return (int)-r;
    memset((char *)set + r, 0, n - (size_t)r);
    return 0;
}

EXPORT int pthread_setaffinity_np(pthread_t t, size_t n, const cpu_set_t *set)
{
    struct g *gp = posix_g(t);
    if (gp == NULL)
        return REAL(pthread_setaffinity_np)(t, n, set);
    return sched_ended(gp) ? ESRCH : sched_set_affinity(gp, n, set);
}

/* --- nice value, I/O priority, and the rest ---------------------------------------------------- */

static int nice_to_kernel(struct m *mp, const void *arg)
{
    return (int)-sys(SYS_setpriority, PRIO_PROCESS, (void *)(long)mp->tid,
                     (void *)(long)*(const int *)arg);
}

int sched_get_nice(struct g *gp)
{
    if (gp->nice_set && own_m(gp) == NULL)
        return gp->nice;
    return 20 -
           (int)sys(SYS_getpriority, PRIO_PROCESS, (void *)(long)tid_to_ask(gp), NULL);
}

/* As for the policy: only a better one needs to be tried. */
static int try_nice(int value)
{
    int old = 20 - (int)sys(SYS_getpriority, PRIO_PROCESS, 0, NULL);
    if (value >= old)
        return 0;
    long r = sys(SYS_setpriority, PRIO_PROCESS, 0, (void *)(long)value);
    sys(SYS_setpriority, PRIO_PROCESS, 0, (void *)(long)old);
    return (int)-r;
}

int sched_set_nice(struct g *gp, int value)
{
    value = value < -20 ? -20 : value > 19 ? 19 : value;
    int err = set_now(gp, nice_to_kernel, &value);
    bool later = err == EAGAIN;
    if (later)
        err = try_nice(value);
    if (err != 0)
        return err;
    gp->nice = (int8_t)value;
    gp->nice_set = true;
    if (later)
        leave_for(gp);
    return 0;
}

struct by_number {
    long nr;
    const long *a;
    long result;
};

static int number_to_kernel(struct m *mp, const void *arg)
{
    struct by_number *c = (struct by_number *)(uintptr_t)arg;
    const long *a = c->a;
    bool io = c->nr == SYS_ioprio_set || c->nr == SYS_ioprio_get;
    c->result = io ? arch_syscall6(c->nr, a[0], mp->tid, a[2], 0, 0, 0)
                   : arch_syscall6(c->nr, mp->tid, a[1], a[2], a[3], 0, 0);
    return c->result < 0 ? (int)-c->result : 0;
}

/* What sched_setattr has set. */
static void note_policy(struct g *gp, int tid)
{
    struct sched_param param = {0};
    gp->policy = (int)sys(SYS_sched_getscheduler, tid, NULL, NULL);
    sys(SYS_sched_getparam, tid, &param, NULL);
    gp->priority = param.sched_priority;
    gp->sched_set = true;
}

long sched_by_kernel(struct g *gp, long nr, const long *a)
{
    struct by_number c = {nr, a, 0};
    bool sets = nr == SYS_sched_setattr || nr == SYS_ioprio_set;
    if (!sets) { /* asks */
        struct m like = {.tid = tid_to_ask(gp)};
        number_to_kernel(&like, &c);
        return c.result;
    }
    int err = set_now(gp, number_to_kernel, &c);
    if (err == EAGAIN) /* Linux may refuse these for other threads too */
        return -EPERM;
    if (err == 0 && nr == SYS_sched_setattr)
        note_policy(gp, tid_to_ask(gp));
    return err == 0 ? c.result : -err;
}

/* --- taking up, and inheriting ------------------------------------------------------------------ */

static void apply(struct g *gp)
{
    struct policy p = {gp->policy, {.sched_priority = gp->priority}};
    struct affinity a = {sizeof gp->affinity, gp->affinity};
    int value = gp->nice;
    if (!gp->kernel_own)
        rt_lock_m();
    if (gp->sched_set)
        policy_to_kernel(gp->m, &p);
    if (gp->affinity_set)
        affinity_to_kernel(gp->m, &a);
    if (gp->nice_set)
        nice_to_kernel(gp->m, &value);
    /* Not before: whoever asks meanwhile would ask the kernel. */
    st_rel(&gp->kernel_own,
           true); /* MO: release -> [SO] in own_m: lockedm, and the above */
}

void sched_attention(struct g *gp)
{
    if (gp->sched_pending) {
        gp->sched_pending = false;
        apply(gp);
    }
}

void sched_inherit(struct g *gp)
{
    struct g *self = rt_self();
    gp->policy = gp->priority = 0;
    if (self == NULL)
        return;
    /* SCHED_RESET_ON_FORK: children do not get what it came with. */
    bool reset = (self->policy & SCHED_RESET_ON_FORK) != 0;
    if (!reset) {
        gp->policy = self->policy;
        gp->priority = self->priority;
        gp->sched_set = self->sched_set;
        gp->nice = self->nice;
        gp->nice_set = self->nice_set;
    }
    gp->affinity_set = self->affinity_set;
    if (gp->affinity_set)
        memcpy(gp->affinity, self->affinity, sizeof gp->affinity);
    gp->sched_pending = gp->sched_set || gp->affinity_set || gp->nice_set;
    gp->attention |= gp->sched_pending;
}

int sched_from_attr(struct g *gp, const pthread_attr_t *attr)
{
    int inherit, policy;
    struct sched_param param;
    cpu_set_t set;
    pthread_attr_getinheritsched(attr, &inherit);
    /* As glibc: what was not set in it is inherited in any case. */
    unsigned given = libc_attr_sched(attr);
    if (inherit == PTHREAD_EXPLICIT_SCHED && given != 0) {
        policy = gp->policy;
        param.sched_priority = gp->priority;
        if ((given & LIBC_ATTR_POLICY) != 0)
            pthread_attr_getschedpolicy(attr, &policy);
        if ((given & LIBC_ATTR_PRIORITY) != 0)
            pthread_attr_getschedparam(attr, &param);
        gp->sched_set = false;
        gp->policy = gp->priority = 0;
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
