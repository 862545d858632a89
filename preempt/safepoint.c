/* safepoint.c - may a G be switched away at the instruction where a signal found it?
 *
 * Yes in the text of the program and of its libraries: every register is saved, thread-local
 * addresses stay right (a G takes its thread pointer along), and its locks are ours.
 * No
 *   - on g0, inside the runtime, in this library's text, on the scheduler's or any other
 *     stack than the G's own: coroutines of the program switch stacks by themselves, and one
 *     of theirs may lie on a malloc'ed block of which we do not know the end;
 *   - in a signal handler of the program: the kernel's frame below it belongs to this M;
 *   - in libc, the loader, the allocator, the unwinder: a G that stays away for 10 ms with a
 *     lock of malloc's makes every other M block on it;
 *   - in code of no loaded object (made at run time): nothing is known about it;
 *   - in what the program marked (GSHIM_UNSAFE, gshim_preempt_off).
 * A "no" costs time only: the P is handed on when it is repeated.
 *
 * Ranges of GSHIM_UNSAFE are kept in a fixed table that handlers read without a lock: a slot
 * is filled high end first and freed low end first, so a half-written one matches nothing.
 */
#include "preempt/preempt.h"

#include "shim/libc/libc.h"
#include "shim/rt/rt.h"
#include "shim/rt/signal.h"

/* For rt_preempt_yield and what it calls, and for a frame of a signal on top. */
enum { UPCALL_ROOM = 4096, UNSAFE_MAX = 256 };

uint64_t preempt_counts[PREEMPT_VERDICTS];

const char *const preempt_verdict_names[PREEMPT_VERDICTS] = {
    [PREEMPT_YES] = "yes",
    [PREEMPT_NO_STALE] = "stale",
    [PREEMPT_NO_G0] = "g0",
    [PREEMPT_NO_RUNTIME] = "runtime",
    [PREEMPT_NO_USER_HANDLER] = "handler",
    [PREEMPT_NO_SWITCHED_OFF] = "off",
    [PREEMPT_NO_RUNTIME_CODE] = "runtime-code",
    [PREEMPT_NO_LIBC_CODE] = "libc-code",
    [PREEMPT_NO_UNKNOWN_CODE] = "unknown-code",
    [PREEMPT_NO_UNSAFE_CODE] = "unsafe-code",
    [PREEMPT_NO_FOREIGN_STACK] = "foreign-stack",
    [PREEMPT_NO_STACK_ROOM] = "stack-room",
    [PREEMPT_NO_OTHER_MASK] = "other-mask",
    [PREEMPT_NO_CPU_STATE] = "cpu-state",
    [PREEMPT_YES_PROLOGUE] = "prologue",
};

/* --- GSHIM_UNSAFE -------------------------------------------------------------------------- */

static struct {
    uintptr_t lo, hi; /* atomic [V3]; lo 0: free */
} unsafe[UNSAFE_MAX];
static uint32_t unsafe_used; /* atomic: slots that were ever used */
static struct rt_lock unsafe_lock;

bool preempt_unsafe_range(const void *lo, const void *hi)
{
    bool done = false;
    if (lo == hi)
        return true;
    struct rt_section s;
    rt_lock_in(&s, &unsafe_lock);
    for (uint32_t i = 0; i < unsafe_used && !done; i++) /* each file of a module asks */
        done = unsafe[i].lo == (uintptr_t)lo;
    for (uint32_t i = 0; i < UNSAFE_MAX && !done; i++) {
        if (unsafe[i].lo != 0)
            continue;
        st_rlx(&unsafe[i].hi, (uintptr_t)hi);
        st_rel(&unsafe[i].lo, (uintptr_t)lo); /* MO: release -> [V3]: hi is there */
        if (i >= unsafe_used)
            st_rlx(&unsafe_used, i + 1);
        done = true;
    }
    rt_unlock_in(&s, &unsafe_lock);
    return done;
}

void preempt_safe_again(const void *lo)
{
    struct rt_section s;
    rt_lock_in(&s, &unsafe_lock);
    for (uint32_t i = 0; i < unsafe_used; i++)
        if (unsafe[i].lo == (uintptr_t)lo)
            st_rlx(&unsafe[i].lo, 0);
    rt_unlock_in(&s, &unsafe_lock);
}

void preempt_forked(void)
{
    unsafe_lock.word = 0;
}

bool preempt_unsafe_get(uint32_t i, uintptr_t *lo, uintptr_t *hi)
{
    if (i >= ld_rlx(&unsafe_used))
        return false;
    *lo = ld_acq(&unsafe[i].lo); /* MO: acquire <- [V3] */
    *hi = ld_rlx(&unsafe[i].hi);
    return true;
}

static bool is_unsafe(uintptr_t pc)
{
    uint32_t n = ld_rlx(&unsafe_used);
    for (uint32_t i = 0; i < n; i++) {
        uintptr_t lo = ld_acq(&unsafe[i].lo); /* MO: acquire <- [V3] */
        if (lo != 0 && pc >= lo && pc < ld_rlx(&unsafe[i].hi))
            return true;
    }
    return false;
}

/* --- decision -------------------------------------------------------------------------------- */

static enum preempt_verdict decide_code(uintptr_t pc)
{
    switch (libc_object_of(pc).kind) {
    case LIBC_TEXT_APP:
        return is_unsafe(pc) ? PREEMPT_NO_UNSAFE_CODE : PREEMPT_YES;
    case LIBC_TEXT_OURS:
        return PREEMPT_NO_RUNTIME_CODE;
    case LIBC_TEXT_LIBC:
        return PREEMPT_NO_LIBC_CODE;
    default:
        return PREEMPT_NO_UNKNOWN_CODE;
    }
}

size_t preempt_room(void)
{
    return arch_preempt_room() + UPCALL_ROOM;
}

enum preempt_verdict preempt_decide(const struct m *mp, struct g *gp, uintptr_t pc,
                                    uintptr_t sp)
{
    if (gp == NULL || gp == &mp->g0)
        return PREEMPT_NO_G0;
    if (gp->in_rt != 0)
        return PREEMPT_NO_RUNTIME;
    if (rt_in_handler(gp, sp))
        return PREEMPT_NO_USER_HANDLER;
    if (gp->preempt_off != 0)
        return PREEMPT_NO_SWITCHED_OFF;
    uintptr_t lo = (uintptr_t)gp->stack_lo;
    if (sp < lo || sp > (uintptr_t)gp->stack_hi)
        return PREEMPT_NO_FOREIGN_STACK;
    if (sp - lo < preempt_room())
        return PREEMPT_NO_STACK_ROOM;
    return decide_code(pc);
}
