/* io_owner.c - the thread that is signalled for a descriptor: fcntl(F_SETOWN_EX, F_OWNER_TID).
 *
 * The kernel signals a kernel thread.  So the G that is meant is bound to its M (timers.c), and the
 * M is the owner; g.io_owner tells the entry point that SIGIO and its like, when they come to that
 * M, are for the G (signal_for_bound).  Who asks for the owner is told the G's tid again.
 * The main thread's tid is the process's; before there are threads it is bound as well.
 */
#include <fcntl.h>

#include "shim/posix/signal.h"
#include "shim/posix/sys.h"

/* The kernel's tid for TID; 0: no such thread. */
static int to_kernel(int tid)
{
    struct g *gp = g_of_tid((uint32_t)tid);
    if (tid == os_getpid()) {
        gp = rt_main_g();
        if (gp == NULL && !rt_is_started()) {
            rt_lock_m();
            return tid;
        }
    }
    if (gp == NULL)
        return (uint32_t)tid >= RT_FIRST_TID ? 0 : tid;
    return timers_bind(gp, true);
}

int io_owner_shown(int tid)
{
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp)) {
        struct m *mp = ld_acq(&gp->lockedm); /* MO: acquire, m.tid is const */
        if (mp != NULL && ld_rlx(&mp->tid) == tid)
            return gp->is_main ? os_getpid() : (int)gp->tid;
    }
    return tid;
}

long io_set_owner(int fd, const void *arg)
{
    struct f_owner_ex own;
    long r = SYS(SYS_fcntl, fd, F_GETFD);
    if (r < 0)
        return r;
    if (os_peek(arg, &own, sizeof own) && own.type == F_OWNER_TID && own.pid > 0) {
        own.pid = to_kernel(own.pid);
        return own.pid != 0 ? SYS(SYS_fcntl, fd, F_SETOWN_EX, &own) : -ESRCH;
    }
    return SYS(SYS_fcntl, fd, F_SETOWN_EX, arg);
}

long io_get_owner(int fd, void *arg)
{
    struct f_owner_ex *own = arg;
    long r = SYS(SYS_fcntl, fd, F_GETOWN_EX, own);
    if (r == 0 && own->type == F_OWNER_TID)
        own->pid = io_owner_shown(own->pid);
    return r;
}
