/* schedtrace.c - GSHIM_DEBUG=schedtrace=MS and scheddetail=1: the scheduler's state in lines of
 * the form that Go's runtime prints for GODEBUG, so that what reads those reads these.
 *
 *   SCHED 1004ms: gomaxprocs=2 idleprocs=0 threads=5 spinningthreads=0 idlethreads=1
 *       threadswithoutp=0 runqueue=0 [3 0]                                    (one line)
 *   threads          kernel threads of the runtime, sysmon included
 *   threadswithoutp  those that run a G whose P was taken: hogs in library code, blocked calls
 *   [...]            Gs on the queue of each P
 * With scheddetail a line for each P, M and G follows.  Status words are Go's: P 0 idle,
 * 1 running, 2 in a blocking call; G 1 runnable, 2 running, 3 in a blocking call, 4 waiting,
 * 6 dead.  M is the kernel's thread id; G 1 is the main thread.
 *
 * Written by sysmon from hints; no lock is taken, so it shows a stuck scheduler as well.
 */
#include "shim/rt/debug.h"

#include "shim/rt/config.h"

enum { LINE = 8192 }; /* 1024 Ps with queues of three digits fit */

static struct m *owner_of(const struct p *pp, uintptr_t *mode)
{
    uintptr_t o = ld_rlx(&pp->owner);
    *mode = o & P_MODE;
    return (struct m *)(o & ~(uintptr_t)P_MODE);
}

static uint32_t queued_on(const struct p *pp)
{
    return ld_rlx(&pp->tail) - ld_rlx(&pp->head) + (ld_rlx(&pp->runnext) != NULL);
}

static bool has_p(const struct m *mp)
{
    uintptr_t mode;
    const struct p *pp = ld_rlx(&mp->p);
    return pp != NULL && owner_of(pp, &mode) == mp;
}

static uint32_t count_without_p(void)
{
    uint32_t n = 0;
    for (struct m *mp = ld_acq(&sched.allm); mp != NULL; mp = mp->alllink)
        n += ld_rlx(&mp->tid) != 0 && ld_rlx(&mp->curg) != NULL && !has_p(mp);
    return n;
}

static void print_p(const struct p *pp)
{
    static const char status[] = "0112"; /* by enum p_mode; an idle P has none */
    uintptr_t mode;
    struct m *mp = owner_of(pp, &mode);
    os_print(2,
             "  P%u: status=%c schedtick=%u syscalltick=%u m=%d runqsize=%u gfreecnt=%u "
             "timerslen=%u\n",
             pp->id, status[mode], ld_rlx(&pp->schedtick), ld_rlx(&pp->syscalltick),
             mp != NULL ? ld_rlx(&mp->tid) : -1, queued_on(pp), ld_rlx(&pp->ngfree),
             ld_rlx(&pp->heap[0].n) + ld_rlx(&pp->heap[1].n));
}

static void print_m(const struct m *mp)
{
    char p[16] = "nil", curg[16] = "nil", lockedg[16] = "nil";
    const struct g *cur = ld_rlx(&mp->curg), *locked = ld_rlx(&mp->lockedg);
    if (has_p(mp))
        os_format(p, sizeof p, "%u", ld_rlx(&mp->p)->id);
    if (cur != NULL)
        os_format(curg, sizeof curg, "%u", g_number(cur));
    if (locked != NULL)
        os_format(lockedg, sizeof lockedg, "%u", g_number(locked));
    os_print(2, "  M%d: p=%s curg=%s spinning=%s blocked=%s lockedg=%s\n",
             ld_rlx(&mp->tid), p, curg, ld_rlx(&mp->spinning) ? "true" : "false",
             ld_rlx(&mp->idle) ? "true" : "false", lockedg);
}

static int g_status(struct g *gp, const struct m *mp)
{
    uintptr_t mode = 0;
    if (ld_rlx(&gp->wstate) == G_DEAD)
        return 6;
    if (ld_rlx(&gp->wstate) == G_PARKED)
        return 4;
    if (mp == NULL || ld_rlx(&gp->on_cpu) == 0)
        return 1;
    if (has_p(mp))
        owner_of(ld_rlx(&mp->p), &mode);
    return mode == P_SYSCALL ? 3 : 2;
}

static void print_g(struct g *gp)
{
    const struct m *mp = ld_rlx(&gp->on_cpu) != 0 ? ld_rlx(&gp->m) : NULL;
    const struct m *locked = ld_rlx(&gp->lockedm);
    char m[16] = "nil", lockedm[16] = "nil";
    if (mp != NULL)
        os_format(m, sizeof m, "%d", ld_rlx(&mp->tid));
    if (locked != NULL)
        os_format(lockedm, sizeof lockedm, "%d", ld_rlx(&locked->tid));
    int status = g_status(gp, mp);
    const char *why = status == 4 ? rt_wait_names[ld_rlx(&gp->wait_reason)] : "";
    os_print(2, "  G%u: status=%d(%s) m=%s lockedm=%s\n", g_number(gp), status, why, m,
             lockedm);
}

static size_t print_counters(char *line, int64_t since_start_ns)
{
    return os_format(line, LINE,
                     "SCHED %ldms: gomaxprocs=%u idleprocs=%u threads=%u "
                     "spinningthreads=%u idlethreads=%u threadswithoutp=%u runqueue=%u",
                     (long)(since_start_ns / 1000000), ld_rlx(&sched.np),
                     ld_rlx(&sched.npidle), ld_rlx(&sched.nm) + 1,
                     ld_rlx(&sched.nmspinning), ld_rlx(&sched.nmidle), count_without_p(),
                     ld_rlx(&sched.runq_size));
}

void schedtrace_print(int64_t since_start_ns, bool detail)
{
    char line[LINE];
    size_t n = print_counters(line, since_start_ns);
    uint32_t np = ld_rlx(&sched.npall);
    if (!detail) {
        for (uint32_t i = 0; i < np; i++)
            n += os_format(line + n, sizeof line - n, i == 0 ? " [%u" : " %u",
                           queued_on(sched.allp[i]));
        n += os_format(line + n, sizeof line - n, "]\n");
        os_write(2, line, n);
        return;
    }
    n += os_format(line + n, sizeof line - n, "\n");
    os_write(2, line, n);
    for (uint32_t i = 0; i < np; i++)
        print_p(sched.allp[i]);
    for (struct m *mp = ld_acq(&sched.allm); mp != NULL; mp = mp->alllink)
        if (ld_rlx(&mp->tid) != 0)
            print_m(mp);
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp))
        print_g(gp);
}
