/* io_syscall.c - the calls of syscalls.def made by number, through syscall(2).
 *
 * Where a wrapper waits as a G, its number does too; the others that may sleep are handed
 * off.  Unlike the functions, syscall is no cancellation point.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shim/posix/sys.h"

/* For each: number, and the function with the kernel's arguments. */
#define BY_NAME(CALL)                                                                    \
    CALL(SYS_read, read((int)a[0], (void *)a[1], (size_t)a[2]))                          \
    CALL(SYS_write, write((int)a[0], (void *)a[1], (size_t)a[2]))                        \
    CALL(SYS_readv, readv((int)a[0], (void *)a[1], (int)a[2]))                           \
    CALL(SYS_writev, writev((int)a[0], (void *)a[1], (int)a[2]))                         \
    CALL(SYS_close, close((int)a[0]))                                                    \
    CALL(SYS_close_range, close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]))        \
    CALL(SYS_dup3, dup3((int)a[0], (int)a[1], (int)a[2]))                                \
    CALL(SYS_dup, dup((int)a[0]))                                                        \
    CALL(SYS_pipe2, pipe2((int *)a[0], (int)a[1]))                                       \
    CALL(SYS_socket, socket((int)a[0], (int)a[1], (int)a[2]))                            \
    CALL(SYS_socketpair, socketpair((int)a[0], (int)a[1], (int)a[2], (int *)a[3]))       \
    CALL(SYS_setsockopt,                                                                 \
         setsockopt((int)a[0], (int)a[1], (int)a[2], (void *)a[3], (socklen_t)a[4]))     \
    CALL(SYS_fcntl, by_fcntl(a))                                                         \
    CALL(SYS_ioctl, ioctl((int)a[0], (unsigned long)a[1], a[2]))                         \
    CALL(SYS_accept, accept((int)a[0], (void *)a[1], (void *)a[2]))                      \
    CALL(SYS_accept4, accept4((int)a[0], (void *)a[1], (void *)a[2], (int)a[3]))         \
    CALL(SYS_connect, connect((int)a[0], (void *)a[1], (socklen_t)a[2]))                 \
    CALL(SYS_recvfrom, recvfrom((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3],        \
                                (void *)a[4], (void *)a[5]))                             \
    CALL(SYS_sendto, sendto((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3],            \
                            (void *)a[4], (socklen_t)a[5]))                              \
    CALL(SYS_recvmsg, recvmsg((int)a[0], (void *)a[1], (int)a[2]))                       \
    CALL(SYS_sendmsg, sendmsg((int)a[0], (void *)a[1], (int)a[2]))                       \
    CALL(SYS_recvmmsg,                                                                   \
         recvmmsg((int)a[0], (void *)a[1], (unsigned)a[2], (int)a[3], (void *)a[4]))     \
    CALL(SYS_sendmmsg, sendmmsg((int)a[0], (void *)a[1], (unsigned)a[2], (int)a[3]))     \
    CALL(SYS_ppoll, by_ppoll(a))                                                         \
    CALL(SYS_pselect6, by_pselect(a))                                                    \
    CALL(SYS_epoll_pwait, by_epoll(a))                                                   \
    CALL(SYS_epoll_pwait2, epoll_pwait2((int)a[0], (void *)a[1], (int)a[2],              \
                                        (void *)a[3], mask_of(a[4], &room)))             \
    CALL(SYS_nanosleep, nanosleep((void *)a[0], (void *)a[1]))                           \
    CALL(SYS_clock_nanosleep, by_errno(clock_nanosleep((clockid_t)a[0], (int)a[1],       \
                                                       (void *)a[2], (void *)a[3])))

/* Those that newer CPUs' kernels do not have. */
#ifdef SYS_poll
#define BY_OLD_NAME(CALL)                                                                \
    CALL(SYS_poll, poll((void *)a[0], (nfds_t)a[1], (int)a[2]))                          \
    CALL(SYS_select,                                                                     \
         select((int)a[0], (void *)a[1], (void *)a[2], (void *)a[3], (void *)a[4]))      \
    CALL(SYS_epoll_wait, epoll_wait((int)a[0], (void *)a[1], (int)a[2], (int)a[3]))      \
    CALL(SYS_dup2, dup2((int)a[0], (int)a[1]))
#else
#define BY_OLD_NAME(CALL)
#endif

static const short handed_off[] = {
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_sendfile,
    SYS_splice,
    SYS_tee,
    SYS_vmsplice,
    SYS_openat,
    SYS_copy_file_range,
    SYS_flock,
    SYS_fsync,
    SYS_fdatasync,
    SYS_syncfs,
    SYS_sync,
    SYS_msync,
    SYS_sync_file_range,
    SYS_fallocate,
    SYS_ftruncate,
    SYS_getrandom,
    SYS_wait4,
    SYS_waitid,
    SYS_msgrcv,
    SYS_msgsnd,
    SYS_semop,
    SYS_semtimedop,
    SYS_io_getevents,
    SYS_mq_timedsend,
    SYS_mq_timedreceive,
    SYS_io_submit,
    426, /* io_uring_enter */
    449, /* futex_waitv */
#ifdef SYS_open
    SYS_open,
    SYS_creat,
#endif
};

/* The kernel's sigset_t is shorter than libc's. */
static const sigset_t *mask_of(long from, sigset_t *room)
{
    if (from == 0)
        return NULL;
    sigemptyset(room);
    __builtin_memcpy(room, (const void *)from, 8);
    return room;
}

static long by_errno(int err)
{
    errno = err;
    return err != 0 ? -1 : 0;
}

/* As the kernel's: F_GETOWN gives what it gives. */
static long by_fcntl(const long a[6])
{
    if (a[1] != F_GETOWN)
        return fcntl((int)a[0], (int)a[1], a[2]);
    return sys_ret(SYS(SYS_fcntl, a[0], a[1], a[2]));
}

static long by_ppoll(const long a[6])
{
    sigset_t room;
    return ppoll((void *)a[0], (nfds_t)a[1], (void *)a[2], mask_of(a[3], &room));
}

static long by_pselect(const long a[6])
{
    sigset_t room;
    const long *packed = (const long *)a[5];
    return pselect((int)a[0], (void *)a[1], (void *)a[2], (void *)a[3], (void *)a[4],
                   mask_of(packed != NULL ? packed[0] : 0, &room));
}

static long by_epoll(const long a[6])
{
    sigset_t room;
    return epoll_pwait((int)a[0], (void *)a[1], (int)a[2], (int)a[3],
                       mask_of(a[4], &room));
}

static bool named(long *ret, long nr, const long a[6])
{
    sigset_t room;
    long r;
    switch (nr) {
#define CALL(number, call)                                                               \
    case number:                                                                         \
        r = call;                                                                        \
        break;
        BY_NAME(CALL)
        BY_OLD_NAME(CALL)
#undef CALL
    default:
        return false;
    }
    *ret = r == -1 ? -(long)errno : r;
    return true;
}

bool io_syscall(long *ret, long nr, const long a[6])
{
    if (posix_off || rt_self() == NULL)
        return false;
    int saved = errno, state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    bool done = named(ret, nr, a);
    pthread_setcancelstate(state, NULL);
    errno = saved;
    for (size_t i = 0; !done && i < sizeof handed_off / sizeof handed_off[0]; i++) {
        if (handed_off[i] != nr)
            continue;
        *ret = block_call(0, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
        done = true;
    }
    return done;
}
