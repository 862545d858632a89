/* newm.c - the memory, the beginning and the end of an M.
 *
 * A kernel thread is never made by a thread of the program, whose signal mask, affinity and
 * half-held locks it would inherit: sysmon does it, for Ps that wait in sched.pwait; but for a
 * thread of one that has kernel state of its own, which is to be inherited (sysmon_clone_m).
 *
 * An M that ends leaves by its own g0.  Its kernel thread is joined by sysmon, which keeps the
 * struct m for the next M.  It stays on allm, for those who walk that without a lock: tid is 0 while
 * there is no thread, and whoever holds on to it may wake, ask or signal another M in vain.
 */
#include "shim/rt/rt.h"
#include "shim/rt/signal.h"

#include <string.h>

enum { GSIGNAL_ROOM = 32 * 1024 }; /* for our handlers, above the frame itself */
enum {
    M_FIRST = 4,  /* Ms get memory one by one, so as to start where it is short */
    M_CHUNK = 32, /* later ones: memory for so many is one mapping, or two */
};

void proc_m_free(struct m *mp)
{
    rt_lock(&sched.lock);
    mp->link = sched.mfree;
    sched.mfree = mp;
    rt_unlock(&sched.lock);
}

/* What others may still look at is as at its end; mp->park may say PARK_LOOK, which does no
 * harm. */
struct m *proc_m_again(void)
{
    rt_lock(&sched.lock);
    struct m *mp = sched.mfree;
    if (mp != NULL)
        sched.mfree = mp->link;
    rt_unlock(&sched.lock);
    if (mp == NULL)
        return NULL;
    mp->ending = false;
    mp->last_g = NULL;
    st_rlx(&mp->preempt_pending, 0);
    memset(mp->kicks, 0, sizeof mp->kicks);
    mp->cpu_seen = 0;
    mp->short_cycles = 0;
    return mp;
}

static size_t gsignal_bytes(void)
{
    size_t page = os_page_size();
    return (GSIGNAL_ROOM + os_min_sigstack() + page - 1) & ~(page - 1);
}

/* What little was had when memory is refused is not worth giving back. */
static bool m_memory_more_locked(void)
{
    uint32_t n = sched.m_memory.made < M_FIRST ? 1 : M_CHUNK;
    struct m *next = os_map(n * sizeof *next);
    char *stacks = os_map(n * gsignal_bytes());
    if (next == NULL || stacks == NULL)
        return false;
    sched.m_memory.next = next;
    sched.m_memory.stacks = stacks;
    sched.m_memory.left = n;
    return true;
}

/* Sysmon makes Ms, and threads that clone their own, at the same time. */
static struct m *m_memory(void)
{
    struct m *mp = NULL;
    rt_lock(&sched.m_memory.lock);
    if (sched.m_memory.left != 0 || m_memory_more_locked()) {
        mp = sched.m_memory.next++;
        mp->gsignal.bytes = gsignal_bytes();
        mp->gsignal.sp = sched.m_memory.stacks + --sched.m_memory.left * gsignal_bytes();
        sched.m_memory.made++;
    }
    rt_unlock(&sched.m_memory.lock);
    return mp;
}

struct m *proc_m_alloc(void)
{
    static uint32_t seed = 2463534242u;
    struct m *mp = m_memory();
    if (mp == NULL)
        return NULL;
    mp->g0.m = mp;
    mp->g0.in_rt = 1;
    mp->rng = add_rlx(&seed, 0x9e3779b9u) | 1;
    return mp;
}

void proc_load_gsignal(struct m *mp)
{
    os_sigaltstack(&mp->gsignal, NULL);
}

void proc_m_publish(struct m *mp)
{
    if (mp->trace == NULL)
        mp->trace = trace_m_new();
    if (!mp->listed) {
        mp->listed = true;
        mp->alllink = ld_rlx(&sched.allm);
        while (!cas_rel(&sched.allm, &mp->alllink, mp))
            ;
    }
    add_rlx(&sched.nm, 1);
}

void proc_newm_failed(void)
{
    rt_lock(&sched.lock);
    struct p *pp = sched.pwait;
    if (pp != NULL) {
        sched.pwait = pp->link;
        st_rlx(&sched.m_wanted, sched.m_wanted - 1);
        if (pp->start_spinning)
            sub_sc(&sched.nmspinning, 1);
        proc_idle_put_locked(pp);
    }
    bool idle = sched.nmidle != 0;
    rt_unlock(&sched.lock);
    if (idle) /* one became idle meanwhile: the P's work is for it */
        proc_wakep();
}

void *proc_m_main(void *arg)
{
    struct m *mp = arg;
    arch_self_set(&mp->g0);
    mp->g0.tcb = (void *)arch_tp();
    mp->g0.ctx.tp = arch_tp();
    mp->tid = os_gettid();
    os_sigmask(RT_SIG_SETMASK, NULL, &mp->sigmask);
    proc_load_gsignal(mp);
    proc_m_publish(mp);
    if (mp->lockedg == NULL) /* else made for that one */
        proc_stop(mp, false);
    sched_loop(mp);
    arch_self_set(NULL);
    return NULL;
}

void proc_m_end(struct m *mp)
{
    if (mp->owes_cover)
        cover_pay(mp);
    if (mp->p != NULL)
        proc_handoff(proc_release(mp));
    mp->lockedg = NULL;
    uint64_t all = RT_SIG_ALL; /* what comes from here on finds another thread */
    mp->sigmask = all;
    os_sigmask(RT_SIG_SETMASK, &all, NULL);
    rt_land(mp);
    st_rlx(&mp->tid, 0); /* stays on allm */
    add_rlx(&sched.nm, -1u);
    if (mp->first) /* sysmon did not make it */
        return;
    mp->link = ld_rlx(&sched.mended);
    while (!cas_rel(&sched.mended, &mp->link, mp)) /* MO: release -> [E1] in sysmon */
        ;
    rt_sysmon_kick();
}
