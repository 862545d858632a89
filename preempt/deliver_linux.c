/* deliver_linux.c - a request as a signal, SIGURG unless GSHIM_DEBUG=preemptsig says other.
 *
 * Sent with a code and the request's number (kick_linux.c), so that it cannot be taken
 * for the program's own SIGURG, nor that for ours.  Where a filter refuses that call, tgkill
 * serves: then every SIGURG that this process sends itself is taken for ours.
 * Where tgkill is refused as well, one line says so, and what is left is what needs no
 * signal: runtime exits, and handing on the P of who does not come to one.
 *
 * The handler runs on the M's own signal stack with all signals blocked, takes no lock,
 * allocates nothing, and touches no thread-local variable but the running G.
 *
 * No EINTR: only an M that was running is asked, but it may have entered the kernel since.
 * Wrapped calls wait for a request under way (rt_block_begin).  Any other call that ends with
 * EINTR because of us is put back to its beginning; it had just begun, so a relative timeout
 * is still right.
 * Why SIGURG: as Go: debuggers pass it on, libc does not use it, and programs that do must
 * live with spurious ones.
 */
#include "preempt/preempt.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "shim/libc/libc.h"
#include "shim/rt/config.h"
#include "shim/rt/rt.h"

bool preempt_async;
static int signal_used; /* const after preempt_prepare */
static bool by_tgkill;  /* the better call is refused; atomic, set once */

static bool may_be_used(unsigned sig)
{
    if (sig == 0 || sig > 64 || sig == 32 || sig == 33) /* 32, 33: libc's own */
        return false;
    switch (sig) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGABRT:
    case SIGSYS:
        return false;
    default:
        return true;
    }
}

int preempt_prepare(void)
{
    int sig = SIGURG;
    if (may_be_used(rt_config.preempt_sig))
        sig = (int)rt_config.preempt_sig;
    else if (rt_config.preempt_sig != 0)
        os_log("GSHIM_DEBUG=\"preemptsig=%u\": this signal cannot be used; using %d",
               rt_config.preempt_sig, sig);
    rt_preempt_bit = 1ull << (sig - 1);
    signal_used = sig;
    trace_verdict_names = preempt_verdict_names;
    trace_verdicts = PREEMPT_VERDICTS;
    preempt_async = arch_preempt_init() && !rt_config.asyncpreemptoff;
    preempt_prologue_room = preempt_room() + 512;
    libc_objects_init(true); /* also asked at prologues */
    return sig;
}

static void give_up(int err)
{
    static bool said;          /* atomic */
    if (!xchg_ar(&said, true)) /* MO: nothing is published; one line only */
        os_log(
            "signals to own threads are refused (error %d): no asynchronous preemption",
            err);
    st_rlx(&preempt_async, false);
}

static int send(struct m *mp, int code, uint32_t number)
{
    int r = -EPERM, tid = ld_rlx(&mp->tid);
    if (tid == 0)
        return -ESRCH;
    if (!ld_rlx(&by_tgkill))
        r = kick_send(mp, signal_used, code, number);
    if (r == -EPERM || r == -ENOSYS) {
        st_rlx(&by_tgkill, true);
        r = os_tgkill(tid, signal_used);
    }
    if (r != 0 && r != -ESRCH && r != -EAGAIN)
        give_up(-r);
    return r;
}

int preempt_deliver(struct m *mp, uint32_t number)
{
    return send(mp, KICK_PREEMPT, number);
}

void preempt_kick(struct m *mp)
{
    send(mp, KICK_ANY, 0);
}

/* --- on the M that was asked ------------------------------------------------------------------ */

/* Is another mask in force than the one this M was given?  Somebody has changed it for a moment
 * and means to change it back, on this M: the program, by a bare system call. */
static bool has_other_mask(const struct m *mp, const ucontext_t *uc)
{
    uint64_t mask;
    memcpy(&mask, &uc->uc_sigmask, sizeof mask);
    return mask != mp->sigmask;
}

static enum preempt_verdict judge(struct m *mp, struct g *gp, ucontext_t *uc)
{
    if (gp != &mp->g0 && ld_rlx(&mp->preempt_run) != mp->run_since)
        return PREEMPT_NO_STALE;
    enum preempt_verdict v = preempt_decide(mp, gp, *arch_uc_pc(uc), *arch_uc_sp(uc));
    if (v != PREEMPT_YES)
        return v;
    if (has_other_mask(mp, uc))
        return PREEMPT_NO_OTHER_MASK;
    return arch_uc_preemptible(uc) ? PREEMPT_YES : PREEMPT_NO_CPU_STATE;
}

static void act(struct m *mp, struct g *gp, ucontext_t *uc)
{
    uint8_t regs[ARCH_UC_REGS];
    enum preempt_verdict v = uc != NULL ? judge(mp, gp, uc) : PREEMPT_NO_STALE;
    add_rlx(&preempt_counts[v], 1);
    if (tracing())
        trace_verdict(mp, gp, (uint8_t)v, uc != NULL ? *arch_uc_pc(uc) : 0);
    if (v != PREEMPT_YES)
        return;
    gp->preempt_pc = *arch_uc_pc(uc);
    arch_uc_regs(uc, regs);
    spin_note(gp, gp->preempt_pc, regs);
    arch_push_call(uc);
}

/* Take the request NUMBER, 0: whichever is pending.  False: there is none. */
static bool take_request(struct m *mp, uint32_t number)
{
    uint32_t e = ld_rlx(&mp->preempt_pending);
    return e != 0 && (number == 0 || e == number) &&
           cas_ar(&mp->preempt_pending, &e, 0); /* MO: acquire <- [V1] */
}

/* A handler of the program that ran since the request has ended a call just as well, and the
 * program is to see that. */
static void hide_interruption(const struct m *mp, const struct g *gp, ucontext_t *uc)
{
    uintptr_t pc = *arch_uc_pc(uc);
    if (gp->in_rt != 0 || gp->sig_ran != ld_rlx(&mp->preempt_sig_ran))
        return;
    struct libc_object o = libc_object_of(pc),
                       before = libc_object_of(pc - ARCH_CALL_FAR);
    if (o.name != NULL && o.base == before.base)
        arch_uc_restart_call(uc);
}

bool preempt_on_signal(void *si, void *uc)
{
    const siginfo_t *info = si;
    struct g *gp = rt_self();
    bool coded = info->si_code == KICK_PREEMPT;
    bool ours = coded || info->si_code == KICK_ANY;
    ours |=
        ld_rlx(&by_tgkill) && info->si_code == SI_TKILL && info->si_pid == os_getpid();
    if (gp == NULL)
        return ours;
    struct m *mp = gp->m;
    if (coded && uc != NULL)
        hide_interruption(mp, gp, uc);
    /* A standard signal is pending only once: another may have swallowed the request. */
    if (take_request(mp, coded ? (uint32_t)info->si_value.sival_int : 0))
        act(mp, gp, uc);
    else if (coded)
        add_rlx(&preempt_counts[PREEMPT_NO_STALE], 1);
    return ours;
}
