/* kick_linux.c - our own signals to our kernel threads, and how they are known again.
 *
 * A signal of ours carries a si_code that nobody else uses.  But the kernel keeps the siginfo in
 * memory that RLIMIT_SIGPENDING limits, for all processes of a user together.  When that is used
 * up, or 0, a standard signal comes all the same, bare: as if from kill by process 0 of user 0;
 * a real-time one does not come, and the sender knows (-EAGAIN).
 *   To itself  a thread may send what looks like a kill, and for that the limit does not hold: so
 *              these are known by their si_pid.  (Real-time ones come bare.)
 *   To others  that is refused.  So what is sent is counted, for each M and number; and what
 *              comes bare while something sent has not come is taken for ours, if the memory is
 *              used up.  It may be the program's own: a kill by root from outside the process's
 *              PID namespace looks the same.
 * To send: begun + 1; send; done + 1.  What has come is `seen`, in steps of what was sent until
 * then; two that were sent may come as one.  After one of others with a code, all that were done are
 * taken to have come, which may be wrong by what is sent at that moment; but there is memory.  After
 * a bare one, and one of its own, it is found out exactly: nobody is about to send, and the kernel
 * has none pending, while the handler blocks all.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "preempt/preempt.h"
#include "shim/rt/rt.h"

static struct m_kicks *count_of(struct m *mp, int sig)
{
    return &mp->kicks[sig - 1];
}

/* MO: relaxed; the kernel's locks order both counts with the handler. */
static int send_counted(struct m *mp, int tid, siginfo_t *info)
{
    struct m_kicks *k = count_of(mp, info->si_signo);
    add_rlx(&k->begun, 1);
    int r = os_tgsigqueue(tid, info->si_signo, info);
    add_rlx(&k->done, 1);
    return r;
}

int kick_send(struct m *mp, int sig, int code, uint32_t number)
{
    int tid = ld_rlx(&mp->tid);
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = sig;
    info.si_code = code;
    info.si_value.sival_int = (int)number;
    return tid != 0 ? send_counted(mp, tid, &info) : -ESRCH;
}

int kick_send_self(struct m *mp, int sig)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = sig;
    info.si_code = SI_USER;
    info.si_pid = KICK_LOOK;
    return send_counted(mp, os_gettid(), &info);
}

bool kick_preempts_under_way(const struct m *mp)
{
    if (rt_preempt_bit == 0)
        return false;
    const struct m_kicks *k = &mp->kicks[__builtin_ctzll(rt_preempt_bit)];
    return ld_rlx(&k->begun) != ld_rlx(&k->seen);
}

/* --- knowing them again ----------------------------------------------------------------- */

/* The next number at or behind AT. */
static uint64_t number_at(const char *at, const char **end)
{
    uint64_t n = 0;
    while (*at != '\0' && *at != '\n' && (*at < '0' || *at > '9'))
        at++;
    for (; *at >= '0' && *at <= '9'; at++)
        n = 10 * n + (uint64_t)(*at - '0');
    *end = at;
    return n;
}

/* "SigQ: 3/96365" of /proc/self/status; where there is none, it may be so. */
static bool used_up_by_all(void)
{
    char buf[2048];
    os_read_text("/proc/self/status", buf, sizeof buf);
    const char *at = strstr(buf, "\nSigQ:");
    if (at == NULL)
        return true;
    uint64_t used = number_at(at + sizeof "\nSigQ:" - 1, &at);
    return used >= number_at(at, &at);
}

static bool memory_used_up(void)
{
    struct rlimit r = {.rlim_cur = RLIM_INFINITY};
    arch_syscall6(SYS_prlimit64, 0, RLIMIT_SIGPENDING, 0, (long)&r, 0, 0);
    return r.rlim_cur == 0 || (r.rlim_cur != RLIM_INFINITY && used_up_by_all());
}

/* All that was sent has come, if this one was the last. */
static void all_seen(struct m_kicks *k, int sig)
{
    uint64_t pending = 0;
    uint16_t begun = ld_rlx(&k->begun); /* MO: relaxed, the system call lies between */
    arch_syscall6(SYS_rt_sigpending, (long)&pending, sizeof pending, 0, 0, 0, 0);
    if ((pending >> (sig - 1) & 1) == 0 && ld_rlx(&k->done) == begun &&
        ld_rlx(&k->begun) == begun)
        st_rlx(&k->seen, begun);
}

static bool is_bare(const siginfo_t *info)
{
    return info->si_code == SI_USER && info->si_pid == 0 && info->si_uid == 0;
}

bool kick_came(struct m *mp, void *si)
{
    siginfo_t *info = si;
    int code = info->si_code;
    if (code == SI_USER && info->si_pid == KICK_LOOK)
        code = KICK_LOOK;
    if (code == KICK_LOOK || code == KICK_ANY || code == KICK_PREEMPT) {
        if (mp != NULL) {
            struct m_kicks *k = count_of(mp, info->si_signo);
            if (info->si_code == SI_USER) /* what others sent may be behind it, bare */
                all_seen(k, info->si_signo);
            else
                st_rlx(&k->seen, ld_rlx(&k->done));
        }
        info->si_code = code;
        return true;
    }
    if (likely(!is_bare(info)) || mp == NULL)
        return false;
    struct m_kicks *k = count_of(mp, info->si_signo);
    if (ld_rlx(&k->begun) == ld_rlx(&k->seen) || !memory_used_up())
        return false;
    all_seen(k, info->si_signo);
    uint32_t request = ld_rlx(&mp->preempt_pending);
    bool preempts = (rt_preempt_bit >> (info->si_signo - 1) & 1) != 0;
    info->si_code = !preempts ? KICK_LOOK : request != 0 ? KICK_PREEMPT : KICK_ANY;
    info->si_value.sival_int = (int)request;
    return true;
}
