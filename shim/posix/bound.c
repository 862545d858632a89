/* bound.c - system calls whose object is one kernel thread.
 *
 * Of two kinds.  Some change what only the kernel keeps, for the calling thread: namespaces,
 * credentials, filters, tracing.  A G that succeeds with one is bound to its M for good, so
 * that the M is its own from then on, and ends with it (rt_lock_m); so, too, a G that opens an
 * io_uring which one thread alone may use, also when it is main before the first thread.  (A
 * library that makes that call itself is not seen: liburing.)  The others name a thread
 * by its tid, 0 for the caller; a G's tid means nothing to the kernel, so it is translated:
 *   - scheduling (policy, priority, affinity, nice value, I/O priority) is kept by sched.c,
 *     for any G, bound or not;
 *   - for the rest a bound G is its M, and any other G the process, of which it is a part.
 * The main thread's tid is the process's pid and means the main G, on whatever M it runs.
 * Both ways in, libc's function and syscall(2), come to bound_syscall.
 *
 * What a kernel thread's state is, only the kernel knows; so a thread that is created by a G which
 * has changed its own gets a kernel thread for good as well, made by the creator's (bound_inherit).
 */
#include "shim/posix/bound.h"

#include <linux/ioprio.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "preempt/preempt.h"
#include "shim/posix/posix.h"
#include "shim/posix/sched.h"

enum { SECCOMP_MODES = 1, SECCOMP_TSYNC = 1, KEYCTL_JOIN_SESSION = 1 };

/* <linux/io_uring.h> of the oldest kernel headers does not have these. */
enum {
    IO_URING_SETUP = 425,
    IO_URING_REGISTER = 427,
    URING_FLAGS_OFFSET = 8,         /* in struct io_uring_params */
    URING_SINGLE_ISSUER = 1u << 12, /* others get EEXIST */
    URING_R_DISABLED = 1u << 6,     /* who enables it is the single issuer */
    URING_REGISTER_ENABLE_RINGS = 12,
    URING_REGISTER_RING_FDS = 20, /* numbers that only this thread can use */
};

static long raw(long nr, const long *a)
{
    return arch_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* --- calls that change the calling kernel thread ------------------------------------------- */

static bool prctl_changes_thread(long option)
{
    switch (option) {
    case PR_SET_PDEATHSIG:
    case PR_SET_UNALIGN:
    case PR_SET_KEEPCAPS:
    case PR_SET_FPEMU:
    case PR_SET_FPEXC:
    case PR_SET_TIMING:
    case PR_SET_ENDIAN:
    case PR_SET_SECCOMP:
    case PR_CAPBSET_DROP:
    case PR_SET_TSC:
    case PR_SET_SECUREBITS:
    case PR_SET_TIMERSLACK:
    case PR_TASK_PERF_EVENTS_DISABLE:
    case PR_TASK_PERF_EVENTS_ENABLE:
    case PR_MCE_KILL:
    case PR_SET_NO_NEW_PRIVS:
    case PR_SET_FP_MODE:
    case PR_CAP_AMBIENT:
    case PR_SVE_SET_VL:
    case PR_SET_SPECULATION_CTRL:
    case PR_PAC_RESET_KEYS:
    case PR_SET_TAGGED_ADDR_CTRL:
    case PR_SET_IO_FLUSHER:
    case PR_SET_SYSCALL_USER_DISPATCH:
        return true;
    default:
        return option == 62 /* PR_SCHED_CORE */ || option == 63 /* PR_SME_SET_VL */;
    }
}

static bool changes_thread(long nr, const long *a)
{
    switch (nr) {
    case IO_URING_SETUP:
        return true; /* if it stays so: stays_changed */
    case IO_URING_REGISTER:
        return a[1] == URING_REGISTER_ENABLE_RINGS || a[1] == URING_REGISTER_RING_FDS;
    case SYS_unshare:
    case SYS_setns:
    case SYS_setfsuid:
    case SYS_setfsgid:
    case SYS_setuid: /* by number these are of the kernel thread; libc's are not */
    case SYS_setgid:
    case SYS_setreuid:
    case SYS_setregid:
    case SYS_setresuid:
    case SYS_setresgid:
    case SYS_setgroups:
    case SYS_capset:
    case SYS_set_mempolicy:
    case SYS_set_robust_list:
    case SYS_ptrace:
    case SYS_rseq:
    case 446: /* landlock_restrict_self */
#ifdef SYS_ioperm
    case SYS_ioperm:
    case SYS_iopl:
#endif
        return true;
    case SYS_personality:
        return (unsigned)a[0] != 0xffffffffu;
    case SYS_seccomp:
        return a[0] <= SECCOMP_MODES && (a[1] & SECCOMP_TSYNC) == 0;
    case SYS_keyctl:
        return a[0] == KEYCTL_JOIN_SESSION;
    case SYS_perf_event_open:
        return a[1] == 0;
    case SYS_prctl:
        return prctl_changes_thread(a[0]);
    default:
        return false;
    }
}

/* Does a new thread inherit it? */
static bool is_inherited(long nr, const long *a)
{
    switch (nr) {
    case SYS_set_robust_list:
    case SYS_rseq:
    case SYS_ptrace:
    case SYS_perf_event_open:
    case IO_URING_SETUP:
    case IO_URING_REGISTER:
        return false;
    case SYS_prctl:
        return a[0] != PR_SET_PDEATHSIG && a[0] != PR_SET_SYSCALL_USER_DISPATCH &&
               a[0] != PR_TASK_PERF_EVENTS_DISABLE && a[0] != PR_TASK_PERF_EVENTS_ENABLE;
    default:
        return true;
    }
}

/* NR has succeeded, so the kernel could read its argument. */
static bool stays_changed(long nr, const long *a)
{
    if (nr != IO_URING_SETUP)
        return true;
    uint32_t flags;
    memcpy(&flags, (const char *)a[1] + URING_FLAGS_OFFSET, sizeof flags);
    return (flags & (URING_SINGLE_ISSUER | URING_R_DISABLED)) == URING_SINGLE_ISSUER;
}

/* GP NULL: main, before there are threads. */
static long change_thread(struct g *gp, long nr, const long *a)
{
    rt_lock_m();
    long r = raw(nr, a);
    if (gp != NULL && r >= 0 && is_inherited(nr, a))
        gp->kernel_state = true;
    if (gp != NULL && r >= 0 && nr == SYS_prctl && a[0] == PR_SET_TIMERSLACK)
        gp->slack_own = true;
    if (r < 0 || !stays_changed(nr, a) || (gp != NULL && gp->kernel_own))
        rt_unlock_m();
    else if (gp != NULL)
        st_rel(&gp->kernel_own, true); /* MO: release -> [SO] */
    return r;
}

int bound_inherit(struct g *gp)
{
    struct g *self = rt_self();
    if (likely(self == NULL || !self->kernel_state))
        return 0;
    int err = sysmon_clone_m(gp);
    if (err != 0)
        return err;
    gp->slack_own = self->slack_own;
    gp->kernel_state = true;
    st_rel(&gp->kernel_own, true); /* MO: release -> [SO] */
    return 0;
}

/* Ms have less timer slack than the program was started with (sysmon.c). */
unsigned long bound_show_slack(void)
{
    struct g *gp = rt_self();
    if (gp == NULL || gp->slack_own)
        return 0;
    unsigned long now = os_timer_slack();
    if (now == sched.slack_ns)
        return 0;
    os_set_timer_slack(sched.slack_ns);
    return now;
}

static bool asks_slack(const struct g *gp, long nr, const long *a)
{
    return nr == SYS_prctl && a[0] == PR_GET_TIMERSLACK && !gp->slack_own;
}

/* --- calls that name a thread ---------------------------------------------------------------- */

/* The G that TID means; false: none of ours, the kernel knows. *GP NULL: it has ended. */
static bool find(long tid, struct g **gp)
{
    uint32_t t = (uint32_t)tid;
    if (t == 0)
        *gp = rt_self();
    else if (t >= RT_FIRST_TID && t < RT_FIRST_TID * 64u)
        *gp = g_of_tid(t);
    else
        return t == (uint32_t)os_getpid() && (*gp = rt_main_g()) != NULL;
    return t != 0 || *gp != NULL;
}

/* Which argument is a tid that the kernel should know; -1: none. */
static int tid_argument(long nr)
{
    switch (nr) {
    case SYS_get_robust_list:
    case SYS_prlimit64:
    case SYS_process_vm_readv:
    case SYS_process_vm_writev:
    case SYS_move_pages:
    case SYS_migrate_pages:
    case SYS_getpgid:
    case SYS_getsid:
        return 0;
    case SYS_perf_event_open:
        return 1;
    default:
        return -1;
    }
}

static bool translate(long *ret, long nr, const long *a)
{
    int i = tid_argument(nr);
    struct g *gp;
    if (i < 0 || (uint32_t)a[i] < RT_FIRST_TID || !find(a[i], &gp))
        return false;
    long b[6];
    memcpy(b, a, sizeof b);
    struct m *mp = gp != NULL ? ld_rlx(&gp->lockedm) : NULL;
    b[i] = mp != NULL ? mp->tid : os_getpid();
    *ret = gp != NULL ? raw(nr, b) : -ESRCH;
    return true;
}

/* --- scheduling -------------------------------------------------------------------------------- */

static int set_param(struct g *gp, int policy, const struct sched_param *param)
{
    return param != NULL ? sched_set_policy(gp, policy, param->sched_priority) : EINVAL;
}

static long get_param(struct g *gp, struct sched_param *param)
{
    int policy;
    if (param == NULL)
        return -EINVAL;
    sched_get_policy(gp, &policy, &param->sched_priority);
    return 0;
}

static long get_scheduler(struct g *gp)
{
    int policy, priority;
    sched_get_policy(gp, &policy, &priority);
    return policy;
}

static bool is_sched(long nr, const long *a, long *tid)
{
    *tid = a[0];
    switch (nr) {
    case SYS_sched_setscheduler:
    case SYS_sched_getscheduler:
    case SYS_sched_setparam:
    case SYS_sched_getparam:
    case SYS_sched_setaffinity:
    case SYS_sched_getaffinity:
    case SYS_sched_rr_get_interval:
    case SYS_sched_setattr:
    case SYS_sched_getattr:
        return true;
    case SYS_setpriority:
    case SYS_getpriority:
        *tid = a[1];
        return a[0] == PRIO_PROCESS;
    case SYS_ioprio_set:
    case SYS_ioprio_get:
        *tid = a[1];
        return a[0] == IOPRIO_WHO_PROCESS;
    default:
        return false;
    }
}

static long do_sched(struct g *gp, long nr, const long *a)
{
    switch (nr) {
    case SYS_sched_setscheduler:
        return -set_param(gp, (int)a[1], (const void *)a[2]);
    case SYS_sched_setparam:
        return -set_param(gp, (int)get_scheduler(gp), (const void *)a[1]);
    case SYS_sched_getscheduler:
        return get_scheduler(gp);
    case SYS_sched_getparam:
        return get_param(gp, (void *)a[1]);
    case SYS_sched_setaffinity:
        return -sched_set_affinity(gp, (size_t)a[1], (const void *)a[2]);
    case SYS_sched_getaffinity:
        return sched_get_affinity(gp, (size_t)a[1], (void *)a[2]);
    case SYS_setpriority:
        return -sched_set_nice(gp, (int)a[2]);
    case SYS_getpriority:
        return 20 - sched_get_nice(gp); /* as the kernel returns it */
    default:
        return sched_by_kernel(gp, nr, a);
    }
}

bool bound_syscall(long *ret, long nr, const long *a)
{
    struct g *self = rt_self(), *gp;
    long tid;
    if (!rt_is_started() && nr != IO_URING_SETUP && nr != IO_URING_REGISTER)
        return false;
    if (self != NULL && asks_slack(self, nr, a)) {
        *ret = (long)sched.slack_ns;
        return true;
    }
    if ((self != NULL || !rt_is_started()) && changes_thread(nr, a)) {
        *ret = change_thread(self, nr, a);
        return true;
    }
    if (!is_sched(nr, a, &tid))
        return translate(ret, nr, a);
    if (!find(tid, &gp))
        return false;
    *ret = gp != NULL && !sched_ended(gp) ? do_sched(gp, nr, a) : -ESRCH;
    return true;
}

/* --- libc's functions ------------------------------------------------------------------------- */

static long call(long nr, long a, long b, long c)
{
    const long args[6] = {a, b, c};
    long r;
    if (!bound_syscall(&r, nr, args))
        r = raw(nr, args);
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

EXPORT int sched_setscheduler(pid_t pid, int policy, const struct sched_param *param)
{
    return (int)call(SYS_sched_setscheduler, pid, policy, (long)param);
}

EXPORT int sched_getscheduler(pid_t pid)
{
    return (int)call(SYS_sched_getscheduler, pid, 0, 0);
}

EXPORT int sched_setparam(pid_t pid, const struct sched_param *param)
{
    return (int)call(SYS_sched_setparam, pid, (long)param, 0);
}

EXPORT int sched_getparam(pid_t pid, struct sched_param *param)
{
    return (int)call(SYS_sched_getparam, pid, (long)param, 0);
}

EXPORT int sched_rr_get_interval(pid_t pid, struct timespec *ts)
{
    return (int)call(SYS_sched_rr_get_interval, pid, (long)ts, 0);
}

EXPORT int sched_setaffinity(pid_t pid, size_t n, const cpu_set_t *set)
{
    return (int)call(SYS_sched_setaffinity, pid, (long)n, (long)set);
}

EXPORT int sched_getaffinity(pid_t pid, size_t n, cpu_set_t *set)
{
    /* As libc: the kernel says how much it wrote. */
    long r =
        call(SYS_sched_getaffinity, pid, (long)(n < INT_MAX ? n : INT_MAX), (long)set);
    if (r < 0)
        return -1;
    memset((char *)set + r, 0, n - (size_t)r);
    return 0;
}

EXPORT int setpriority(__priority_which_t which, id_t who, int nice_value)
{
    return (int)call(SYS_setpriority, (long)which, (long)who, nice_value);
}

EXPORT int getpriority(__priority_which_t which, id_t who)
{
    long r = call(SYS_getpriority, (long)which, (long)who, 0);
    return r < 0 ? -1 : (int)(20 - r);
}

EXPORT int nice(int inc)
{
    int before = errno;
    errno = 0;
    int now = getpriority(PRIO_PROCESS, 0);
    if (now == -1 && errno != 0)
        return -1;
    errno = before;
    if (setpriority(PRIO_PROCESS, 0, now + inc) == 0)
        return getpriority(PRIO_PROCESS, 0);
    if (errno == EACCES)
        errno = EPERM; /* POSIX's word for it */
    return -1;
}

EXPORT int unshare(int flags)
{
    return (int)call(SYS_unshare, flags, 0, 0);
}

EXPORT int setns(int fd, int type)
{
    return (int)call(SYS_setns, fd, type, 0);
}

EXPORT int setfsuid(uid_t uid)
{
    return (int)call(SYS_setfsuid, (long)uid, 0, 0);
}

EXPORT int setfsgid(gid_t gid)
{
    return (int)call(SYS_setfsgid, (long)gid, 0, 0);
}

EXPORT int personality(unsigned long persona)
{
    return (int)call(SYS_personality, (long)persona, 0, 0);
}

EXPORT int capset(void *header, const void *data)
{
    return (int)call(SYS_capset, (long)header, (long)data, 0);
}

/* libc's reads results through memory, so the call is left to it. */
EXPORT long ptrace(int request, ...)
{
    va_list ap;
    struct g *gp = rt_self();
    va_start(ap, request);
    pid_t pid = va_arg(ap, pid_t);
    void *addr = va_arg(ap, void *), *data = va_arg(ap, void *);
    va_end(ap);
    if (gp != NULL && !gp->kernel_own) {
        rt_lock_m();                   /* the tracer is a kernel thread */
        st_rel(&gp->kernel_own, true); /* MO: release -> [SO] */
    }
    return REAL(ptrace)(request, pid, addr, data);
}

/* --- what a thread has used -------------------------------------------------------------------- */

EXPORT int getrusage(__rusage_who_t who, struct rusage *r)
{
    struct g *gp = rt_self();
    if (gp == NULL || who != RUSAGE_THREAD || ld_rlx(&gp->lockedm) != NULL)
        return (int)call(SYS_getrusage, who, (long)r, 0);
    /* The CPU time is its own; how it divides, and the rest, only a kernel thread has. */
    struct rusage m;
    if (call(SYS_getrusage, who, (long)&m, 0) != 0)
        return -1;
    int64_t ns = rt_cpu_ns(gp);
    memset(r, 0, sizeof *r);
    r->ru_utime = (struct timeval){ns / 1000000000, ns % 1000000000 / 1000};
    r->ru_maxrss = m.ru_maxrss;
    return 0;
}
