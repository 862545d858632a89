/* setxid.c - setuid and its kin: ids belong to a kernel thread, POSIX gives them to the process.
 *
 * Ours: the caller's kernel thread makes the system call; if it works, every other one is
 * sent libc's own signal for the purpose (nobody ever blocks it), and makes it in the
 * handler.  /proc/self/task says which there are, read until a round finds no new one.  Each makes
 * the call exactly once: setuid(0) of a program with a saved id is another call the second time.
 * A thread has the ids of its maker; if that has made the call, the new one must not.  So sysmon
 * makes no M meanwhile (sched.makers).  What others make then, libc or a bound thread, has old ids
 * or new, and is found; they must not wait for us, as the program's allocator may for them.
 *
 * libc's, which still serves callers inside of it (initgroups): it marks the threads on its
 * lists, signals each, and goes round again until no mark is left; its handler takes the mark
 * off the thread whose TCB is loaded.  For Gs that ends of itself, their tids being none of the
 * kernel's; but on a kernel thread that runs a G the handler would unmark the G, and the kernel
 * thread's mark would stay for ever.  So its handler is called with the TCB that stands for
 * this kernel thread: that of its M.  The first M has two with its tid, its own and the main
 * thread's: the one that is marked.
 *
 * Rejected: libc's way for everything.  It takes the caller's M for another thread, and the
 * first M for two, so they make the call twice.
 * Source: glibc nptl/nptl_setxid.c (2.34 to 2.43: signal 33).
 */
#include <dirent.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim/posix/posix.h"

enum { SIG_SETXID = 33 };

/* As the kernel knows it; libc's own functions refuse this signal. */
struct kernel_sigaction {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static void (*libc_handler)(int, siginfo_t *, void *); /* const after start */

/* --- ours ------------------------------------------------------------------------------- */

struct call {
    long nr, a[3];
    long failed; /* atomic: what it said where it did not work */
    uint32_t n;
    struct {
        int tid;
        uint32_t done; /* futex, atomic [X1] */
    } at[];
};

static struct call *call; /* under sched.makers; read by handlers, atomic [X1] */

static long make_call(const struct call *c)
{
    return arch_syscall6(c->nr, c->a[0], c->a[1], c->a[2], 0, 0, 0);
}

/* In the handler.  False: there is none of ours under way for this thread. */
static bool take_part(void)
{
    struct call *c = ld_acq(&call); /* MO: acquire <- [X1] */
    int tid = os_gettid();
    for (uint32_t i = 0; c != NULL && i < c->n; i++) {
        if (c->at[i].tid != tid || ld_rlx(&c->at[i].done) != 0)
            continue;
        long r = make_call(c);
        if (r != 0)
            st_rlx(&c->failed, r);
        st_rel(&c->at[i].done, 1); /* MO: release -> [X1] in everywhere_else */
        os_futex_wake(&c->at[i].done, 1);
        return true;
    }
    return false;
}

static bool known(const struct call *c, int tid)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->at[i].tid == tid)
            return true;
    return false;
}

/* Adds the threads that C does not know yet; returns it, perhaps moved, or NULL. */
static struct call *add_threads(struct call *c, DIR *tasks)
{
    struct dirent *d;
    rewinddir(tasks);
    while ((d = readdir(tasks)) != NULL) {
        int tid = atoi(d->d_name);
        if (tid == 0 || known(c, tid))
            continue;
        struct call *more = realloc(c, sizeof *c + (c->n + 1) * sizeof c->at[0]);
        if (more == NULL) {
            free(c);
            return NULL;
        }
        c = more;
        c->at[c->n].tid = tid;
        c->at[c->n++].done = 0;
    }
    return c;
}

static void everywhere_else(struct call *c, uint32_t from)
{
    enum { AGAIN_NS = 10 * 1000 * 1000 };
    for (uint32_t i = from; i < c->n; i++)
        if (os_tgkill(c->at[i].tid, SIG_SETXID) != 0)
            st_rlx(&c->at[i].done, 1); /* it has ended */
    for (uint32_t i = from; i < c->n; i++)
        while (ld_acq(&c->at[i].done) == 0) { /* MO: acquire <- [X1] */
            os_futex_wait(&c->at[i].done, 0, os_now_ns() + AGAIN_NS);
            if (os_tgkill(c->at[i].tid, 0) != 0)
                break;
        }
}

/* On the caller's kernel thread, to which it is bound.  0 or a negative errno value. */
static long run_everywhere(struct call *c, DIR *tasks)
{
    long r = make_call(c);
    if (r != 0) {
        free(c);
        return r;
    }
    c->n = 1; /* room for ourselves was made */
    c->at[0].tid = os_gettid();
    c->at[0].done = 1;
    for (uint32_t from = 1;; from = c->n) {
        c = add_threads(c, tasks);
        if (c == NULL)
            abort(); /* no memory, and some threads have the ids already */
        if (c->n == from)
            break;
        st_rel(&call, c); /* MO: release -> [X1] in take_part */
        everywhere_else(c, from);
        st_rlx(&call, NULL);
    }
    if (c->failed != 0)
        abort(); /* as libc: some threads have other rights than others now */
    free(c);
    return 0;
}

static int setxid(long nr, long a, long b, long d)
{
    struct call first = {.nr = nr, .a = {a, b, d}};
    DIR *tasks = rt_is_started() ? opendir("/proc/self/task") : NULL;
    struct call *c = tasks != NULL ? malloc(sizeof *c + sizeof c->at[0]) : NULL;
    if (c == NULL) { /* a process without threads; or one without /proc, for libc */
        if (tasks != NULL)
            closedir(tasks);
        return 1;
    }
    *c = first;
    rt_lock_m();
    rt_block_begin(true);
    rt_lock(&sched.makers);
    long r = run_everywhere(c, tasks);
    rt_unlock(&sched.makers);
    rt_block_end();
    rt_unlock_m();
    closedir(tasks);
    return (int)r;
}

/* 1: not ours to do. */
#define SETXID(real, nr, a, b, c)                                                        \
    do {                                                                                 \
        int r_ = setxid(nr, (long)(a), (long)(b), (long)(c));                            \
        if (r_ == 1)                                                                     \
            return REAL real;                                                            \
        EXIT_ERRNO(-r_);                                                                 \
    } while (0)

EXPORT int setuid(uid_t id)
{
    SETXID((setuid)(id), SYS_setuid, id, 0, 0);
}

EXPORT int setgid(gid_t id)
{
    SETXID((setgid)(id), SYS_setgid, id, 0, 0);
}

EXPORT int setreuid(uid_t real, uid_t effective)
{
    SETXID((setreuid)(real, effective), SYS_setreuid, real, effective, 0);
}

EXPORT int setregid(gid_t real, gid_t effective)
{
    SETXID((setregid)(real, effective), SYS_setregid, real, effective, 0);
}

EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved)
{
    SETXID((setresuid)(real, effective, saved), SYS_setresuid, real, effective, saved);
}

EXPORT int setresgid(gid_t real, gid_t effective, gid_t saved)
{
    SETXID((setresgid)(real, effective, saved), SYS_setresgid, real, effective, saved);
}

EXPORT int seteuid(uid_t id)
{
    if (id == (uid_t)-1)
        EXIT_ERRNO(EINVAL);
    SETXID((seteuid)(id), SYS_setresuid, -1, id, -1);
}

EXPORT int setegid(gid_t id)
{
    if (id == (gid_t)-1)
        EXIT_ERRNO(EINVAL);
    SETXID((setegid)(id), SYS_setresgid, -1, id, -1);
}

EXPORT int setgroups(size_t n, const gid_t *groups)
{
    SETXID((setgroups)(n, groups), SYS_setgroups, n, groups, 0);
}

/* --- libc's --------------------------------------------------------------------------------- */

static void on_setxid(int sig, siginfo_t *info, void *uc)
{
    struct g *gp = rt_self();
    if (take_part())
        return;
    if (gp == NULL) { /* no M: its TCB is its own */
        libc_handler(sig, info, uc);
        return;
    }
    struct m *mp = gp->m;
    struct g *main_g = mp->first ? rt_main_g() : NULL;
    void *tcb =
        main_g != NULL && libc_setxid_marked(main_g->tcb) ? main_g->tcb : mp->g0.tcb;
    uintptr_t loaded = arch_tp();
    arch_set_tp((uintptr_t)tcb);
    libc_handler(sig, info, uc);
    arch_set_tp(loaded);
}

/* libc installs its handler when it makes its first thread, which sysmon was. */
void setxid_start(void)
{
    struct kernel_sigaction sa;
    long bytes = sizeof sa.mask;
    call = NULL;
    if (arch_syscall6(SYS_rt_sigaction, SIG_SETXID, 0, (long)&sa, bytes, 0, 0) != 0)
        return;
    if (sa.handler == NULL || sa.handler == on_setxid)
        return;
    libc_handler = sa.handler;
    sa.handler = on_setxid;
    sa.flags |= SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sa.mask = ~(uint64_t)0; /* no handler of the program's while the TCB is another */
    arch_syscall6(SYS_rt_sigaction, SIG_SETXID, (long)&sa, 0, bytes, 0, 0);
}
