/* signal.h - the scheduler's half of signals: masks of kernel threads, the slot of an M, sysmon as
 * catcher; see signal.c. */
#ifndef GSHIM_RT_SIGNAL_H
#define GSHIM_RT_SIGNAL_H

#include "shim/rt/rt.h"

enum { RT_SIG_BLOCK, RT_SIG_UNBLOCK, RT_SIG_SETMASK }; /* for os_sigmask */
/* All that may ever be blocked: not the two that libc keeps for itself. */
#define RT_SIG_ALL (~(3ull << 31))
/* What the kernel sends to a thread for a call of its own: SIGPIPE and SIGXFSZ. */
#define RT_SIG_OWN_CALL (1ull << 12 | 1ull << 24)
/* rt_mask_of - what the kernel's mask is while GP runs. */
static inline uint64_t rt_mask_of(const struct g *gp)
{
    return unlikely(gp->mask_shown) ? gp->sigmask : rt_kernel_mask(gp->sigmask);
}
/* rt_mask_load - set the kernel's mask of the calling M for GP, which runs here.   [rt] [G]
 * First takes care of a signal that has landed on the M. */
void rt_mask_load(struct m *mp, struct g *gp);
/* rt_masks_used - some G has blocked something; the first time, idle Ms take note.        [rt] */
void rt_masks_used(void);
/* rt_mask_idle - MP goes to sleep: it must not be chosen for what all Gs block.        [g0] */
void rt_mask_idle(struct m *mp);
/* rt_mask_end - GP, bound and the caller, is about to end: what has come to it is looked at, and
 * from here on nothing comes.                                                    [rt] [G] */
void rt_mask_end(struct g *gp);
/* rt_landed - MP's slot holds a signal: see that the scheduler looks there soon.      [sig] */
void rt_landed(struct m *mp);
/* rt_land - empty the slot if it is full.                                        [rt] [g0] */
static inline void rt_land(struct m *mp)
{
    while (unlikely(ld_rlx(&mp->sig_no) != 0))
        rt_hooks->landed(mp);
}
/* rt_sysmon_barrier - what has come to sysmon before has been passed on.        [G] foreign */
void rt_sysmon_barrier(void);
/* rt_sysmon_signals - sysmon's duty as the catcher of signals; rt_sysmon_begin before.     */
void rt_sysmon_begin(void);
/* rt_sysmon_m - the calling thread is sysmon: its M, for signals only; else NULL.      [sig] */
struct m *rt_sysmon_m(void);
void rt_sysmon_signals(void);
/* rt_in_handler - does GP, with its stack pointer at SP, run a handler of the program? [any]
 * Exact also after a handler was left by siglongjmp. */
bool rt_in_handler(struct g *gp, uintptr_t sp);

#endif
