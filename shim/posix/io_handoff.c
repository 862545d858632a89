/* io_handoff.c - the calls of syscalls.def that block in the kernel: their wrappers come out of
 * the table.  Below are those that need a look at an argument first. */
#include <aio.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <netdb.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "shim/posix/sys.h"
#include "shim/rt/netpoll.h"

/* What libc's open adds where off_t has 64 bits: nothing (O_LARGEFILE is for 32). */
enum { LARGE = 0 };
int __open_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);

enum { CANCEL = BLOCK_CANCEL, NO = 0 };

/* --- from the table ------------------------------------------------------------------------- */

/* lockf, the resolver: libc's code in a blocking section.  A cancellation is libc's to act upon,
 * block_on_kick sees that it does; a handler that calls one, too, leaves in_call as it was. */
struct libc_call {
    struct g *gp; /* NULL: foreign */
    uint32_t before;
};

static struct libc_call libc_begin(void)
{
    struct libc_call c = {.gp = rt_self()};
    if (c.gp != NULL) {
        c.before = c.gp->in_call;
        st_rlx(&c.gp->in_call, CALL_LIBC);
    }
    rt_block_begin(false);
    return c;
}

static void libc_end(void *arg)
{
    struct libc_call *c = arg;
    rt_block_end();
    if (c->gp == NULL)
        return;
    st_rlx(&c->gp->in_call, c->before);
    if (unlikely(libc_cancel_requested(c->gp->tcb)))
        libc_cancel_signal_over();
}

#define UNPACK(...) __VA_ARGS__
#define GSHIM_WAIT(...)
#define GSHIM_SLEEP(...)
#define GSHIM_DIRECT(...)
#define GSHIM_ALIAS(...)
#define GSHIM_PASS(...)
#define GSHIM_HANDOFF(name, cancel, eintr, how, result, params, args, nr, ...)           \
    EXPORT result name params                                                            \
    {                                                                                    \
        SYS_PASS(name, UNPACK args);                                                     \
        return (result)sys_ret(BLOCK(cancel | (how), nr, __VA_ARGS__));                  \
    }
#define ARGS6(a, b, c, d, e, f, ...)                                                     \
    ((long[6]){(long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)})
#define GSHIM_FILE(name, cancel, eintr, how, result, params, args, nr, ...)              \
    EXPORT result name params                                                            \
    {                                                                                    \
        SYS_PASS(name, UNPACK args);                                                     \
        return (result)sys_ret(                                                          \
            sys_file_call(cancel | (how), nr, ARGS6(__VA_ARGS__, 0, 0, 0, 0, 0, 0)));    \
    }
#define GSHIM_LIBC(name, cancel, eintr, result, params, args)                            \
    EXPORT result name params                                                            \
    {                                                                                    \
        result r;                                                                        \
        SYS_PASS(name, UNPACK args);                                                     \
        struct libc_call c = libc_begin();                                               \
        pthread_cleanup_push(libc_end, &c);                                              \
        r = SYS_REAL(name) args;                                                         \
        pthread_cleanup_pop(1);                                                          \
        return r;                                                                        \
    }
#include "shim/posix/syscalls.def"

/* --- open ----------------------------------------------------------------------------------- */

static mode_t mode_arg(int flags, va_list ap)
{
    bool given = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    return given ? va_arg(ap, mode_t) : 0;
}

EXPORT int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_arg(flags, ap);
    va_end(ap);
    SYS_PASS(open, path, flags, mode);
    return (int)sys_ret(BLOCK(CANCEL, SYS_openat, AT_FDCWD, path, flags | LARGE, mode));
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_arg(flags, ap);
    va_end(ap);
    SYS_PASS(openat, dir, path, flags, mode);
    return (int)sys_ret(BLOCK(CANCEL, SYS_openat, dir, path, flags | LARGE, mode));
}

/* --- control --------------------------------------------------------------------------------- */

EXPORT int fcntl(int fd, int cmd, ...)
{
    va_list ap;
    va_start(ap, cmd);
    long arg = va_arg(ap, long);
    va_end(ap);
    SYS_PASS(fcntl, fd, cmd, arg);
    if (cmd == F_SETLKW || cmd == F_OFD_SETLKW)
        return (int)sys_ret(BLOCK(CANCEL, SYS_fcntl, fd, cmd, arg));
    if (cmd ==
        F_GETOWN) { /* libc asks by another command, which tells pids from errors */
        int pid = SYS_REAL(fcntl)(fd, cmd, arg);
        return pid > 0 ? io_owner_shown(pid) : pid;
    }
    if (cmd == F_SETOWN_EX)
        return (int)sys_ret(io_set_owner(fd, (const void *)arg));
    if (cmd == F_GETOWN_EX)
        return (int)sys_ret(io_get_owner(fd, (void *)arg));
    if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
        net_shared(fd);
    long r = SYS(SYS_fcntl, fd, cmd, arg);
    if (cmd == F_SETFL)
        net_changed(fd);
    return (int)sys_ret(r);
}

EXPORT int ioctl(int fd, unsigned long op, ...)
{
    va_list ap;
    va_start(ap, op);
    long arg = va_arg(ap, long);
    va_end(ap);
    SYS_PASS(ioctl, fd, op, arg);
    long r = BLOCK(0, SYS_ioctl, fd, op, arg);
    if (op == FIONBIO)
        net_changed(fd);
    return (int)sys_ret(r);
}

/* --- semaphores of System V ------------------------------------------------------------------ */

EXPORT int semtimedop(int id, struct sembuf *ops, size_t n, const struct timespec *t)
{
    SYS_PASS(semtimedop, id, ops, n, t);
    int64_t deadline =
        t == NULL ? RT_FOREVER : os_now_ns() + t->tv_sec * 1000000000ll + t->tv_nsec;
    struct timespec left, *tp = NULL;
    for (;;) {
        if (t != NULL) { /* the kernel checks it, and what is left of it later */
            left = *t;
            tp = &left;
        }
        long r = BLOCK(BLOCK_ONCE, SYS_semtimedop, id, ops, n, tp);
        if (r != -ERESTART)
            return (int)sys_ret(r);
        if (t != NULL) {
            int64_t ns = deadline - os_now_ns();
            ns = ns > 0 ? ns : 0;
            left = (struct timespec){ns / 1000000000, ns % 1000000000};
            t = &left;
        }
    }
}

ALIAS(pread64, pread);
ALIAS(__pread64, pread);
ALIAS(pwrite64, pwrite);
ALIAS(__pwrite64, pwrite);
ALIAS(preadv64, preadv);
ALIAS(pwritev64, pwritev);
ALIAS(sendfile64, sendfile);
ALIAS(open64, open);
ALIAS(__open, open);
ALIAS(__open64, open);
ALIAS(openat64, openat);
ALIAS(__open64_2, __open_2);
ALIAS(__openat64_2, __openat_2);
ALIAS(creat64, creat);
ALIAS(fcntl64, fcntl);
ALIAS(__fcntl, fcntl);
ALIAS(lockf64, lockf);
ALIAS(fallocate64, fallocate);
ALIAS(ftruncate64, ftruncate);
ALIAS(__wait, wait);
ALIAS(__waitpid, waitpid);
