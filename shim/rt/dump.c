/* dump.c - every thread with what it does or waits for, and the report of a deadlock.
 *
 * A parked thread's registers lie on its stack, so its callers can be found from outside
 * (backtrace.h).  It may be woken and run on while we look: the frames are found first, then
 * its state is compared with before, and they are printed only if it stood still [V1: the park
 * number and the stack pointer of a switched-out G].
 * A thread that is blocked in the kernel is never disturbed; the kernel tells where it is
 * (/proc/self/task/TID/syscall).  One that runs has no registers to look at.
 * The frames of the runtime between the program's call and the switch are left out.
 *
 * Deadlock: everybody is parked, and nothing that we know of can end a wait.  Two scans of all
 * threads must agree, with no switch and no idle P taken in between; so no thread that one
 * scan had passed was woken by one it had yet to see.
 * Known limit: a signal from outside whose handler posts a semaphore is nothing that we know
 * of; hence a report and not an end of the process.
 */
#include "shim/libc/libc.h"
#include "shim/rt/backtrace.h"
#include "shim/rt/config.h"
#include "shim/rt/debug.h"

static uint32_t dump_wanted; /* atomic; set in handlers, taken by sysmon */
static int64_t start_ns, next_trace_ns;
static bool deadlock_told;
bool rt_debug_on;

/* --- states --------------------------------------------------------------------------- */

const char *debug_state(struct g *gp)
{
    switch (ld_rlx(&gp->wstate)) {
    case G_PARKED:
        return rt_wait_names[ld_rlx(&gp->wait_reason)];
    case G_DEAD:
        return "finished";
    default:
        return ld_rlx(&gp->on_cpu) != 0 ? "running" : "runnable";
    }
}

/* What tells whether a switched-out G has run since. */
struct still {
    void *sp;
    uint64_t off_since;
    uint32_t wstate;
};

static bool stands_still(struct g *gp, struct still *s)
{
    s->sp = ld_acq(&gp->ctx.sp);
    s->off_since = ld_acq(&gp->off_since);
    s->wstate = ld_acq(&gp->wstate);
    fence_sc(); /* MO: [V1] "read its state; read its stack; read its state" */
    return ld_rlx(&gp->on_cpu) == 0;
}

static bool stood_still(struct g *gp, const struct still *s)
{
    fence_sc(); /* MO: [V1] */
    return ld_rlx(&gp->on_cpu) == 0 && ld_rlx(&gp->ctx.sp) == s->sp &&
           ld_rlx(&gp->off_since) == s->off_since && ld_rlx(&gp->wstate) == s->wstate;
}

/* --- threads in the kernel ---------------------------------------------------------------- */

static const char *next_word(const char *s)
{
    while (*s != ' ' && *s != '\0')
        s++;
    return *s == ' ' ? s + 1 : s;
}

static uintptr_t parse_hex(const char *s)
{
    uintptr_t v = 0;
    for (s += 2; *s != ' ' && *s != '\n' && *s != '\0'; s++)
        v = v * 16 + (uintptr_t)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
    return v;
}

/* "202 0x... (six arguments) 0xSP 0xPC", or "running".  False: it runs. */
static bool kernel_place(int tid, long *nr, uintptr_t *pc, uintptr_t *sp)
{
    char path[64], text[256];
    os_format(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    os_read_text(path, text, sizeof text);
    if (text[0] < '0' || text[0] > '9')
        return false;
    *nr = 0;
    for (const char *c = text; *c >= '0' && *c <= '9'; c++)
        *nr = *nr * 10 + (*c - '0');
    const char *at = text;
    for (int i = 0; i < 7; i++)
        at = next_word(at);
    *sp = parse_hex(at);
    *pc = parse_hex(next_word(at));
    return *pc != 0;
}

/* --- one thread ------------------------------------------------------------------------------ */

static void print_frames(int fd, struct bt *bt, const uintptr_t *pcs, size_t n,
                         bool parked)
{
    char name[200];
    size_t from = 0;
    /* Of the runtime's own frames only the one that the program called. */
    while (parked && from + 1 < n &&
           bt_same_object(bt, pcs[from + 1], (uintptr_t)debug_tick))
        from++;
    while (parked && from + 1 < n && bt_same_object(bt, pcs[from + 1], pcs[0]))
        from++;
    while (n > from + 1 && bt_same_object(bt, pcs[n - 1], (uintptr_t)debug_tick))
        n--; /* nor those that called the thread's first function */
    for (size_t i = from; i < n; i++) {
        bt_name(bt, pcs[i], i != 0, name, sizeof name);
        os_print(fd, "    #%u %s\n", (unsigned)(i - from), name);
    }
}

static void print_head(int fd, struct g *gp, const char *state, long syscall_nr)
{
    char name[RT_NAME + 4] = "", more[64] = "", locked[32] = "";
    const struct m *mp = ld_rlx(&gp->on_cpu) != 0 ? ld_rlx(&gp->m) : NULL;
    uint64_t since = mp != NULL ? ld_rlx(&mp->run_since) : ld_rlx(&gp->off_since);
    uint64_t now = arch_cycles();
    int64_t ms = since != 0 && now > since ? rt_cycles_to_ns(now - since) / 1000000 : 0;
    const struct m *lm = ld_rlx(&gp->lockedm);
    if (gp->name[0] != '\0' || gp->is_main)
        os_format(name, sizeof name, " \"%s\"", gp->name[0] != '\0' ? gp->name : "main");
    if (syscall_nr >= 0)
        os_format(more, sizeof more, " in system call %ld on kernel thread %d",
                  syscall_nr, mp != NULL ? ld_rlx(&mp->tid) : 0);
    else if (mp != NULL)
        os_format(more, sizeof more, " on kernel thread %d", ld_rlx(&mp->tid));
    if (lm != NULL)
        os_format(locked, sizeof locked, ", locked to %d", ld_rlx(&lm->tid));
    os_print(fd, "thread %u%s tid %u [%s%s, %ld.%03lds%s]\n", g_number(gp), name,
             ld_rlx(&gp->tid), state, more, (long)(ms / 1000), (long)(ms % 1000), locked);
}

static void dump_parked(int fd, struct bt *bt, struct g *gp)
{
    uintptr_t pcs[BT_DEPTH];
    struct still s;
    size_t n = 0;
    const char *state = debug_state(gp);
    if (bt != NULL && stands_still(gp, &s)) {
        n = bt_walk(bt, (uintptr_t)arch_switch_resume, (uintptr_t)s.sp, pcs, BT_DEPTH);
        if (!stood_still(gp, &s))
            n = 0;
    }
    print_head(fd, gp, state, -1);
    if (n != 0)
        print_frames(fd, bt, pcs, n, true);
}

static void dump_running(int fd, struct bt *bt, struct g *gp)
{
    uintptr_t pcs[BT_DEPTH], pc, sp;
    long nr;
    const struct m *mp = ld_rlx(&gp->m);
    int tid = mp != NULL ? ld_rlx(&mp->tid) : 0;
    if (tid == 0 || tid == os_gettid() || !kernel_place(tid, &nr, &pc, &sp)) {
        print_head(fd, gp, "running", -1);
        return;
    }
    size_t n = bt != NULL ? bt_walk(bt, pc, sp, pcs, BT_DEPTH) : 0;
    print_head(fd, gp, "running", nr);
    print_frames(fd, bt, pcs, n, false);
}

void debug_dump_threads(int fd)
{
    struct bt *bt = bt_open();
    uint32_t n = 0, running = 0;
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp)) {
        n++;
        running += ld_rlx(&gp->on_cpu) != 0;
    }
    os_print(fd, "gshim: process %d, %u threads, %u of them on %u processors\n",
             os_getpid(), n, running, ld_rlx(&sched.np));
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp)) {
        if (ld_rlx(&gp->on_cpu) != 0)
            dump_running(fd, bt, gp);
        else
            dump_parked(fd, bt, gp);
    }
    if (bt != NULL)
        bt_close(bt);
}

/* --- code ------------------------------------------------------------------------------------ */

void debug_dump_code(int fd)
{
    static const char *const kinds[] = {
        [LIBC_TEXT_APP] = "safe",
        [LIBC_TEXT_OURS] = "unsafe",
        [LIBC_TEXT_LIBC] = "unsafe",
        [LIBC_TEXT_UNKNOWN] = "unknown",
    };
    struct bt *bt = bt_open();
    const struct bt_object *o;
    if (bt == NULL)
        return;
    for (size_t i = 0; (o = bt_object(bt, i)) != NULL; i++)
        os_print(fd, "%lx-%lx %s %s\n", o->lo, o->hi, kinds[libc_object_of(o->lo).kind],
                 o->path);
    bt_close(bt);
}

/* --- deadlock -------------------------------------------------------------------------------- */

/* Can this thread run, or something that is not a thread of ours wake it? */
static bool may_go_on(struct g *gp)
{
    uint32_t state = ld_acq(&gp->wstate);
    if (state == G_DEAD)
        return false;
    if (state != G_PARKED || ld_rlx(&gp->on_cpu) != 0)
        return true;
    if (ld_rlx(&gp->timer.pp) != NULL)
        return true;
    switch (ld_rlx(&gp->wait_reason)) {
    case WAIT_MUTEX:
    case WAIT_COND:
    case WAIT_RWLOCK:
    case WAIT_SEM:
    case WAIT_BARRIER:
    case WAIT_ONCE:
    case WAIT_JOIN:
    case WAIT_FUTEX:
        return false; /* only another thread ends it */
    default:
        return true;
    }
}

/* Number of switches so far, or 0 when a P is busy or has work. */
static uint64_t all_idle(void)
{
    uint64_t ticks = 1;
    uint32_t np = ld_rlx(&sched.npall);
    fence_sc(); /* MO: [V2] "load idle Ps; scan threads; load idle Ps" */
    if (ld_rlx(&sched.npidle) != np || ld_rlx(&sched.runq_size) != 0)
        return 0;
    for (uint32_t i = 0; i < np; i++) {
        ticks += ld_rlx(&sched.allp[i]->schedtick);
        if (!runq_empty(sched.allp[i]))
            return 0;
    }
    fence_sc(); /* MO: [V2] */
    return ticks;
}

bool deadlock_now(void)
{
    uint64_t before = all_idle();
    uint32_t waiting = 0;
    if (before == 0)
        return false;
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp)) {
        if (may_go_on(gp))
            return false;
        waiting += ld_rlx(&gp->wstate) == G_PARKED;
    }
    /* Foreign threads, and timers of the kernel whose signals run handlers. */
    if (waiting == 0 ||
        os_thread_count() != (int)(ld_rlx(&sched.nm) + rt_helper_threads) ||
        os_timers_armed())
        return false;
    return all_idle() == before;
}

static void tell_deadlock(void)
{
    os_log("all threads are asleep: deadlock");
    debug_dump_threads(2);
}

/* --- sysmon's call ----------------------------------------------------------------------------- */

void debug_start(void)
{
    rt_debug_on =
        rt_config.schedtrace_ms != 0 || rt_config.deadlock || rt_config.dumponquit;
    start_ns = next_trace_ns = os_now_ns();
}

void debug_want_dump(void)
{
    st_rlx(&dump_wanted, 1); /* MO: relaxed, the kick orders it */
    rt_sysmon_kick();
}

int64_t debug_tick(int64_t now_ns, bool idle)
{
    int64_t next = RT_FOREVER;
    if (unlikely(ld_rlx(&dump_wanted) != 0)) {
        st_rlx(&dump_wanted, 0);
        debug_dump_threads(2);
    }
    if (ld_rlx(&sched.started) && rt_config.schedtrace_ms != 0) {
        if (now_ns >= next_trace_ns) {
            schedtrace_print(now_ns - start_ns, rt_config.scheddetail);
            int64_t step = rt_config.schedtrace_ms * (int64_t)1000000;
            next_trace_ns += (now_ns - next_trace_ns) / step * step + step;
        }
        next = next_trace_ns;
    }
    if (rt_config.deadlock) {
        bool dead = idle && ld_rlx(&sched.started) && deadlock_now();
        if (dead && !deadlock_told)
            tell_deadlock();
        deadlock_told = dead;
        if (now_ns + 100000000 <
            next) /* a tenth of a second is soon enough for a human */
            next = now_ns + 100000000;
    }
    return next;
}
