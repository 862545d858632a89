/* signal.h - signals of Gs.
 *
 * The parts, each with its own essay:
 *   rt/signal.c    masks of kernel threads, the slot of an M, sysmon as catcher
 *   sigmask.c      the mask of a G, which masks exist (for the catcher), signal stacks
 *   sigtable.c     what the program wants done with each signal
 *   sigpend.c      the queue of signals pending on a G
 *   sigqueue.c     making it look; to whom a signal for the process goes
 *   sigentry.c     the one handler that the kernel knows, and calling the program's
 *   sigsend.c      pthread_kill, kill, sigqueue, ... and system calls by number
 *   sigfd.c        signalfd
 *   sigwait.c      sigwait, sigtimedwait, sigsuspend, pause, sigpending
 *   timers.c       timers that signal one thread
 *   sigjmp.c       leaving a handler by longjmp, contexts with masks
 */
#ifndef GSHIM_POSIX_SIGNAL_H
#define GSHIM_POSIX_SIGNAL_H

#include <signal.h>

#include "shim/rt/rt.h"
#include "shim/rt/signal.h"

enum {
    SIGNAL_FIRST_RT = 32, /* the kernel's; from here on they queue */
    SIGNAL_LAST = 64,
};

static inline uint64_t signal_bit(int sig)
{
    return 1ull << (sig - 1);
}

/* A number that a program may use: not the two that libc keeps for itself. */
static inline bool signal_valid(int sig)
{
    return sig >= 1 && sig <= SIGNAL_LAST && sig != 32 && sig != 33;
}

static inline uint64_t signal_mask_of(const sigset_t *set)
{
    uint64_t keep = signal_bit(SIGKILL) | signal_bit(SIGSTOP) | ~RT_SIG_ALL;
    uint64_t mask;
    __builtin_memcpy(&mask, set, sizeof mask);
    return mask & ~keep;
}

static inline void signal_set_of(sigset_t *set, uint64_t mask)
{
    __builtin_memset(set, 0, sizeof *set);
    __builtin_memcpy(set, &mask, sizeof mask);
}

/* What is pending on GP and not blocked. */
static inline uint64_t signal_due(const struct g *gp)
{
    return ld_rlx(&gp->sigpend) & ~ld_rlx(&gp->sigmask);
}

/* signal_has_come - does GP, the caller, wait in sigwait for what is pending on it?  [G] */
bool signal_has_come(const struct g *gp);

/* --- life (sigqueue.c, init.c) --------------------------------------------------------- */

/* signal_prepare - the runtime comes up: take the handlers over.  PREEMPT_SIG is ours as well.
 * signal_start - it is up, and the caller, perhaps, the main G.  Idempotent. */
void signal_prepare(int preempt_sig);
void signal_start(void);
/* signal_begin - GP, about to start with its sigmask set, takes signals from now on. */
void signal_begin(struct g *gp);
/* signal_end - it does not any more: what was sent to the process goes to another.      [G] */
void signal_end(struct g *gp);
/* signal_forked - in a child of fork, before rt_fork_child. */
void signal_forked(void);
void signal_table_forked(void);
void signal_queue_forked(void);
void signal_pend_forked(void);
void signal_mask_forked(void);
/* signal_show_ignored - ON: let the kernel have SIG_IGN, where the program wants it, for the
 * signals that are ours as well, until the same with false; returns whether there is one.
 *                                                                                     (exec.c) */
bool signal_show_ignored(bool on);
/* signal_attention - GP, the caller, outside the runtime: run handlers that are due.     [G] */
void signal_attention(struct g *gp);
/* signal_landed, signal_left - rt_hooks.landed, .left. */
void signal_landed(struct m *mp);
void signal_left(struct g *gp, int sig, void *info);
/* signal_own_call - the caller's system call has failed with EPIPE or EFBIG, and it has not left its
 * kernel thread since: a signal that it blocks is made its own.               [G] foreign */
void signal_own_call(void);
/* signal_for_bound - has INFO come to the kernel thread of GP, which is bound, because a timer or
 * a descriptor was to signal that thread? */
bool signal_for_bound(const siginfo_t *info, const struct g *gp);
/* signal_of_own_call - did the kernel send INFO's signal to a thread for a call of its own? */
bool signal_of_own_call(const siginfo_t *info);

/* --- table (sigtable.c) ------------------------------------------------------------------ */

void signal_table_start(void (*entry)(int, siginfo_t *, void *));
/* signal_wanted - what the program wants done with SIG.           [rt] or signals blocked */
struct sigaction signal_wanted(int sig);
/* signal_reset - SIG was delivered with SA_RESETHAND: the default from now on.     as above */
void signal_reset(int sig);
/* signal_ignored - is SIG, not blocked, thrown away?                                   [any] */
bool signal_ignored(int sig);
/* signal_handled - does the program have a handler for SIG?                            [any] */
bool signal_handled(int sig);
/* signal_kicks - SIG is about to be used for a kick, which may come late.               [any] */
void signal_kicks(int sig);
/* signal_default - let the default action of SIG happen now.            signals blocked [sig] */
void signal_default(int sig);

/* --- pending (sigpend.c, sigqueue.c): in a section, or with all signals blocked ----------- */

/* signal_push - make SIG pending on GP.  PROCESS: any G may have it.
 * Returns 0, ESRCH (it ends) or EAGAIN (no memory). */
int signal_push(struct g *gp, int sig, const siginfo_t *info, bool process);
/* signal_take - the lowest of SET that is pending on GP: its number, 0: none. */
int signal_take(struct g *gp, uint64_t set, siginfo_t *info);
/* signal_take_for - as above; PROCESS: it was sent to the process. */
int signal_take_for(struct g *gp, uint64_t set, siginfo_t *info, bool *process);
/* signal_move - what is pending of SET in REST, the queue of what nobody took, is pending on GP, if
 * that lives; with BACK what GP has of it, and was sent to the process, in REST, before what came
 * later.  No limit counts: it was pending before. */
void signal_move(struct g *gp, struct g *rest, uint64_t set, bool back);
/* signal_any_pending - is there one, on whatever G?  A hint. */
bool signal_any_pending(void);
/* signal_fd_news - a signal that GP blocks is pending on it, which a signalfd may show it; NULL: in
 * the process, for all. */
void signal_fd_news(struct g *gp);
/* signal_drop - throw away what is pending of SIG, on every G. */
void signal_drop(int sig);
/* signal_dispatch - SIG was sent to the process: give it to a G that does not block it.
 * Returns 0, ESRCH (there is none) or EAGAIN (as signal_push).                   [rt] foreign */
int signal_dispatch(int sig, const siginfo_t *info, struct g *prefer);
/* signal_to_process - as above; without a taker it stays pending in the process.  0 or EAGAIN. */
int signal_to_process(int sig, const siginfo_t *info, struct g *prefer);
/* signal_retarget - what GP does not accept any more of SET, and was sent to the process, goes to
 * another.  After a fence [Z5] since GP's mask, or what it waits for, changed.              [rt] */
void signal_retarget(struct g *gp, uint64_t set);
/* signal_accepts - would SIG, if pending on GP, be acted upon at once? */
bool signal_accepts(const struct g *gp, int sig);
/* signal_wanted_now - is there a G that does not block SIG, or waits for it? */
bool signal_wanted_now(int sig);
/* What stayed so (and is not the kernel's), and taking one of SET of it. */
uint64_t signal_process_pending(void);
int signal_process_take(uint64_t set, siginfo_t *info);
/* signal_main_first - should GP, on which SIG arrived, leave it to the main thread? */
bool signal_main_first(struct g *gp, int sig);
/* signal_take_over - what is pending of SET in the process comes to GP, the caller, in order; with
 * KERNEL also what the kernel has of it, for the process and this kernel thread. */
void signal_take_over(struct g *gp, uint64_t set, bool kernel);
/* signal_take_first - threads begin: of SET, which GP, main and the caller, blocks, the kernel has
 * nothing from now on; what was sent to the process is for any thread. */
void signal_take_first(struct g *gp, uint64_t set);
/* signal_kick_self - interrupt the calling thread, whose G has something due.       [sig] */
void signal_kick_self(struct g *gp);
/* signal_send - to GP alone.  0 or an errno value.                             [any], outside */
int signal_send(struct g *gp, int sig, const siginfo_t *info);

/* --- masks (sigmask.c) --------------------------------------------------------------------- */

/* signal_mask_count - GP's mask counts as MASK for the catcher.  In a section or signals blocked */
void signal_mask_count(struct g *gp, uint64_t mask);
/* signal_mask_wait - replace the caller's mask for the length of one wait, as pselect does.
 * The G must then park (signals end the wait: PARK_BY_SIGNAL) or make a system call that sets
 * MASK itself; the kernel's mask is not changed here, so nothing comes between.  Returns the
 * old mask.  signal_mask_done - the wait is over: handlers that are due under MASK have run
 * on return from the park; put OLD back.                                                 [G] */
uint64_t signal_mask_wait(struct g *gp, uint64_t mask);
void signal_mask_done(struct g *gp, uint64_t old);
/* signal_mask_sync - the catcher's mask is what it should be.                       [G] foreign */
void signal_mask_sync(void);

/* --- waiting (sigwait.c) ---------------------------------------------------------------------- */

/* signal_suspend - sigsuspend for GP, the caller. */
void signal_suspend(struct g *gp, uint64_t mask);

/* timers_attention - GP, the caller: bind yourself, if a timer of yours wants it (timers.c). [G] */
void timers_attention(struct g *gp);
/* timers_bind - bind GP to its kernel thread for good: its tid, 0: GP has ended.  IO_OWNER:
 * the kernel is to signal it for descriptors, so no signal to preempt it is under way or
 * will be.                                                                               [G] */
int timers_bind(struct g *gp, bool io_owner);

/* --- sending (sigsend.c) ---------------------------------------------------------------------- */

/* signal_arrived - SIG, sent to the process, has found its G.                           [any] */
void signal_arrived(int sig);
/* signal_syscall - system call NR about signals, for the program's syscall(): true when it was
 * one for us, with the result or -errno in *ret. */
bool signal_syscall(long *ret, long nr, const long *a);

#endif
