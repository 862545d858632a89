/* sigpend.c - the queue of signals that are pending on one G.
 *
 * A signal is an entry, with its siginfo, in a ring (g.sig_last, under g.sig_lock); standard
 * signals are there once at most, real-time ones as often and in the order they were sent.
 * Of those, as in Linux, no more than RLIMIT_SIGPENDING says; but by kill one comes in any case.
 */
#include <sys/resource.h>
#include <sys/syscall.h>

#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

struct sig_entry {
    struct sig_entry *next;
    bool process; /* sent to the process: another G may have it when this one ends */
    siginfo_t info;
};

enum { CHUNK = 64 * 1024 };

/* Entries are never given back. */
static struct {
    struct rt_lock lock;
    struct sig_entry *free; /* under lock */
    size_t used;            /* under lock; also read as a hint */
} pool;

/* --- entries ----------------------------------------------------------------------------- */

static void pool_grow_locked(void)
{
    struct sig_entry *e = os_map(CHUNK);
    for (size_t i = 0; e != NULL && i < CHUNK / sizeof *e; i++) {
        e[i].next = pool.free;
        pool.free = &e[i];
    }
}

/* As many as may be pending now.  Not asked for the others, which a thread has once each. */
static size_t limit_of(int sig)
{
    struct rlimit r = {.rlim_cur = RLIM_INFINITY};
    if (sig >= SIGNAL_FIRST_RT)
        arch_syscall6(SYS_prlimit64, 0, RLIMIT_SIGPENDING, 0, (long)&r, 0, 0);
    return r.rlim_cur;
}

/* ALWAYS: beyond the limit as well. */
static struct sig_entry *entry_new(int sig, bool always)
{
    size_t limit = always ? SIZE_MAX : limit_of(sig);
    rt_lock(&pool.lock);
    if (pool.free == NULL)
        pool_grow_locked();
    struct sig_entry *e = pool.used < limit ? pool.free : NULL;
    if (e != NULL) {
        pool.free = e->next;
        st_rlx(&pool.used, pool.used + 1);
    }
    rt_unlock(&pool.lock);
    return e;
}

static void entry_free(struct sig_entry *e)
{
    rt_lock(&pool.lock);
    e->next = pool.free;
    pool.free = e;
    st_rlx(&pool.used, pool.used - 1);
    rt_unlock(&pool.lock);
}

/* --- one G's queue -------------------------------------------------------------------------- */

static void append_locked(struct g *gp, struct sig_entry *e)
{
    struct sig_entry *last = gp->sig_last;
    e->next = last != NULL ? last->next : e;
    if (last != NULL)
        last->next = e;
    gp->sig_last = e;
    st_rlx(&gp->sigpend, gp->sigpend | signal_bit(e->info.si_signo));
}

int signal_push(struct g *gp, int sig, const siginfo_t *info, bool process)
{
    int err = 0;
    rt_lock(&gp->sig_lock);
    bool there = (gp->sigpend & signal_bit(sig)) != 0;
    bool killed = info->si_code == SI_USER; /* as Linux: by kill one comes in any case */
    if (!gp->sig_open) {
        err = ESRCH;
    } else if (sig >= SIGNAL_FIRST_RT || !there) {
        struct sig_entry *e = entry_new(sig, killed && !there);
        if (e != NULL) {
            e->process = process;
            e->info = *info;
            e->info.si_signo = sig;
            append_locked(gp, e);
        }
        err = e != NULL || killed ? 0 : EAGAIN;
    }
    rt_unlock(&gp->sig_lock);
    return err;
}

/* The oldest entry of SIG, PROCESS: that was sent to the process, off the queue; or NULL.  Clears
 * the number's bit if there is no other of it. */
static struct sig_entry *remove_locked(struct g *gp, int sig, bool process)
{
    struct sig_entry *prev = gp->sig_last, *e = prev->next, *found = NULL;
    struct sig_entry *last = prev;
    bool more = false;
    for (bool end = false; !end; e = prev->next) {
        end = e == last;
        bool same = e->info.si_signo == sig;
        if (found == NULL && same && (e->process || !process)) {
            found = e;
            prev->next = e->next;
            if (end)
                gp->sig_last = prev != e ? prev : NULL;
        } else {
            more = more || same;
            prev = e;
        }
    }
    if (!more)
        st_rlx(&gp->sigpend, gp->sigpend & ~signal_bit(sig));
    return found;
}

int signal_take_for(struct g *gp, uint64_t set, siginfo_t *info, bool *process)
{
    struct sig_entry *e = NULL;
    int sig = 0;
    if ((ld_rlx(&gp->sigpend) & set) == 0)
        return 0;
    rt_lock(&gp->sig_lock);
    set &= gp->sigpend;
    if (set != 0) {
        sig = __builtin_ctzll(set) + 1;
        e = remove_locked(gp, sig, false);
    }
    rt_unlock(&gp->sig_lock);
    if (e != NULL) {
        *info = e->info;
        *process = e->process;
        entry_free(e);
    }
    return sig;
}

/* E goes behind AFTER; NULL: before all others. */
static void insert_locked(struct g *gp, struct sig_entry *e, struct sig_entry *after)
{
    struct sig_entry *last = gp->sig_last;
    if (after == last) { /* or there is none */
        append_locked(gp, e);
        return;
    }
    after = after != NULL ? after : last;
    e->next = after->next;
    after->next = e;
    st_rlx(&gp->sigpend, gp->sigpend | signal_bit(e->info.si_signo));
}

static void move_number_locked(struct g *from, struct g *to, int sig, bool first)
{
    struct sig_entry *e, *after = first ? NULL : to->sig_last;
    while ((from->sigpend & signal_bit(sig)) != 0 &&
           (e = remove_locked(from, sig, true)) != NULL) {
        if (sig < SIGNAL_FIRST_RT && (to->sigpend & signal_bit(sig)) != 0) {
            entry_free(e);
        } else {
            insert_locked(to, e, after);
            after = e;
        }
    }
}

void signal_move(struct g *gp, struct g *rest, uint64_t set, bool back)
{
    struct g *from = back ? gp : rest, *to = back ? rest : gp;
    rt_lock(&gp->sig_lock);
    rt_lock(&rest->sig_lock);
    set &= to->sig_open ? from->sigpend : 0;
    for (; set != 0; set &= set - 1)
        move_number_locked(from, to, __builtin_ctzll(set) + 1, back);
    rt_unlock(&rest->sig_lock);
    rt_unlock(&gp->sig_lock);
}

int signal_take(struct g *gp, uint64_t set, siginfo_t *info)
{
    bool process;
    return signal_take_for(gp, set, info, &process);
}

bool signal_any_pending(void)
{
    return ld_rlx(&pool.used) != 0;
}

void signal_pend_forked(void)
{
    pool.lock.word = 0;
    pool.used = 0;
}
