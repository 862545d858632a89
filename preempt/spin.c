/* spin.c - which threads only wait, in a loop of theirs, and so get short turns.
 *
 * A thread that spins until others have done something holds these up, when they wait for its
 * P, for as long as its turn lasts; with turns of TICK_NS a program that hands its work to and
 * fro that way is a hundred times slower.  But shorter turns for everybody cost those that
 * compute some per cent.  The handler of a preemption sees where the thread is:
 *   - elsewhere than before: it has a full turn next;
 *   - within NEAR bytes of a place where it was interrupted before: in a loop, of some kind.
 *     Is the CPU's hint to wait (arch_pause) in it?  Then its turns are short, SPIN_TURN_NS.
 *   - else, are most registers as they were then?  One that computes changes them all the time
 *     (measured: 4 to 8 of 16 are the same in compressors, 9 to 16 in loops that poll).  So
 *     it has FIRM short turns; thereafter full ones, as it just counts, or what it waits
 *     for takes long; until it has done something else, for then it spins anew: it
 *     parked, or made a call that we see (g.moved).
 * Two places are remembered, as who spins until there is work may do so elsewhere until it is
 * done; of three, the one seen longest ago is forgotten.
 *
 * Rejected: any loop that small, with FIRM turns for each; compressors were interrupted three
 * times as often.  To tell loops by their instructions: much code for each CPU.
 * Known limit: who waits without that hint, and makes no calls while it works, has full turns.
 */
#include "preempt/preempt.h"
#include "preempt/retake.h"

#include <string.h>

#include "shim/rt/rt.h"

enum { NEAR = 64, AROUND = 48, PAGE = 4096, MOST = 9, FIRM = 8 };

static bool is_near(uintptr_t a, uintptr_t b)
{
    return (a > b ? a - b : b - a) < NEAR;
}

/* Text of a loaded object, on the page that was just executed. */
static bool has_pause(uintptr_t pc)
{
    uintptr_t lo = pc - AROUND, hi = pc + AROUND, page = pc & ~(uintptr_t)(PAGE - 1);
    lo = lo < page ? page : lo; /* the next one may be another object's, or nobody's */
    hi = hi > page + PAGE ? page + PAGE : hi;
    return arch_has_pause((const unsigned char *)lo, hi - lo);
}

static bool most_are_same(const uint8_t *a, const uint8_t *b)
{
    int n = 0;
    for (int i = 0; i < ARCH_UC_REGS; i++)
        n += a[i] == b[i];
    return n >= MOST;
}

void spin_note(struct g *gp, uintptr_t pc, const uint8_t *regs)
{
    struct spin *s = &gp->spin;
    bool here = is_near(pc, s->last.pc), near = here || is_near(pc, s->before.pc);
    bool same = near && most_are_same(regs, here ? s->last.regs : s->before.regs);
    if (!same || gp->moved)
        s->laps = 0;
    if (same)
        s->laps += s->laps <= FIRM;
    st_rlx(&s->brief, (same && s->laps <= FIRM) || (near && has_pause(pc)));
    gp->moved = false;
    if (!here)
        s->before = s->last;
    s->last.pc = pc;
    memcpy(s->last.regs, regs, sizeof s->last.regs);
}

int64_t spin_turn_ns(const struct g *gp)
{
    return ld_rlx(&gp->spin.brief) ? SPIN_TURN_NS : TICK_NS;
}
