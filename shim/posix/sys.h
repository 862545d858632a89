/* sys.h - shared by the wrappers of system calls that block (syscalls.def, io_*.c).
 *
 * A wrapper on a G tries without sleeping, then sleeps in the netpoller, and at last, for what
 * cannot be waited for, makes the call in the kernel and leaves its P (block_call).  On a
 * thread that is no G (before the first pthread_create: all of them) it makes the system call
 * as libc does.  With GSHIM_DEBUG=off=1 it calls libc's own function (SYS_PASS).
 */
#ifndef GSHIM_POSIX_SYS_H
#define GSHIM_POSIX_SYS_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "shim/posix/block.h"
#include "shim/posix/posix.h"
#include "shim/posix/signal.h"
#include "shim/sync/io.h"

/* --- libc's own functions behind the rows of syscalls.def (sys_real.c) ------------------- */

#define SYS_ROW(name) SYSREAL_##name,
enum sys_index {
#include "shim/posix/sys_rows.h"
    SYSREAL_COUNT
};
#undef SYS_ROW

/* sys_real - libc's function; looked up at first use: outside runtime sections.       [G] */
void *sys_real(enum sys_index i);
#define SYS_REAL(name) ((__typeof__(name) *)sys_real(SYSREAL_##name))

#define SYS_PASS(name, ...)                                                              \
    do {                                                                                 \
        if (unlikely(posix_off))                                                         \
            return SYS_REAL(name)(__VA_ARGS__);                                          \
    } while (0)

/* --- results -------------------------------------------------------------------------- */

/* A system call's result as libc's functions return it. */
static inline long sys_ret(long r)
{
    if (likely(r >= 0 || r < -4095))
        return r;
    errno = (int)-r;
    return -1;
}

#define SYS(nr, ...) SYS_6(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_6(nr, a, b, c, d, e, f, ...)                                                 \
    arch_syscall6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* For preempt/spin.c: who makes calls does not just spin. */
static inline void sys_moves(void)
{
    struct g *gp = rt_self();
    if (likely(gp != NULL))
        gp->moved = true;
}

/* For calls that do not sleep: poll and some others return EINTR even then when a signal, ours
 * or the program's, is pending at the moment. */
#define SYS_NOW(nr, ...)                                                                 \
    ({                                                                                   \
        long now_r_;                                                                     \
        sys_moves();                                                                     \
        do                                                                               \
            now_r_ = SYS(nr, __VA_ARGS__);                                               \
        while (unlikely(now_r_ == -EINTR));                                              \
        if (unlikely(now_r_ == -EPIPE || now_r_ == -EFBIG))                              \
            signal_own_call();                                                           \
        now_r_;                                                                          \
    })
#define BLOCK(flags, nr, ...) BLOCK_6(flags, nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define BLOCK_6(flags, nr, a, b, c, d, e, f, ...)                                        \
    block_call((flags), (nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e),     \
               (long)(f))

/* --- waiting (io_wait.c) ---------------------------------------------------------------- */

/* A call that may have to wait for a descriptor. */
struct sys_op {
    struct io_op io; /* fd, events, try, arg; the rest is filled in */
    int timeout_opt; /* SO_RCVTIMEO or SO_SNDTIMEO, 0: not a socket's */
};

/* sys_wait - the call would block, in a G.  Waits and tries as io_wait does, for as long as
 * the descriptor's own timeout and O_NONBLOCK allow; acts on a cancellation unless *PROGRESS
 * (or NULL: none) says that part of the work is done.                                  [G]
 * Returns TRY's result | -EAGAIN | -EINTR | IO_CANCELED (with progress) | IO_CANNOT |
 * IO_LOOK: it is a signalfd, see sigfd.h. */
long sys_wait(struct sys_op *op, const size_t *progress);

bool sys_nonblocking(int fd); /* has the program set O_NONBLOCK? */

/* sys_note_lowat - the program sets a SO_RCVLOWAT.  sys_has_lowat - has FD one above 1? */
void sys_note_lowat(void);
bool sys_has_lowat(int fd);

/* sys_wait_dup - for calls that have no variant that does not sleep: waits until OP's
 * descriptor is ready and returns a private duplicate of it, to be given to the call and
 * closed, or as sys_wait.  OP's try and arg are not used. */
long sys_wait_dup(struct sys_op *op);

/* Is FD ready for EVENTS at this moment?  Also when it is in error. */
bool sys_is_ready(int fd, uint32_t events);

/* sys_ready_call - the call NR with FD as its first argument, made when FD is ready. */
long sys_ready_call(int fd, uint32_t events, int timeout_opt, long nr, const long a[6]);

/* sys_file_call - block_call on a regular file.  How many of them sleep in the kernel
 * at a time is limited (GSHIM_MAXFILECALLS); the others wait as Gs. */
long sys_file_call(unsigned flags, long nr, const long a[6]);

/* sys_file_abandon - GP, the caller, is no more inside sys_file_call, if it was: it jumps out of
 * a handler, or ends.  [G]
 * sys_file_forked - in a child of fork: the calls of the other threads are not made there. */
void sys_file_abandon(struct g *gp);
void sys_file_forked(void);

/* --- the families, results as of system calls --------------------------------------------- */
long io_readv(int fd, const struct iovec *v, int n, long nr, const long a[6]);
long io_writev(int fd, const struct iovec *v, int n, long nr, const long a[6]);
long io_recv(int fd, void *buf, size_t n, int flags, struct sockaddr *from,
             socklen_t *len);
long io_send(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to,
             socklen_t len);
long io_recvmsg(int fd, struct msghdr *m, int flags);
long io_sendmsg(int fd, const struct msghdr *m, int flags);
int io_poll_call(struct pollfd *fds, nfds_t n, int64_t timeout_ns, const sigset_t *mask);

/* io_set_owner, io_get_owner - fcntl F_SETOWN_EX, F_GETOWN_EX.
 * io_owner_shown - what the program knows the kernel's TID by. */
long io_set_owner(int fd, const void *arg);
long io_get_owner(int fd, void *arg);
int io_owner_shown(int tid);

/* io_syscall - syscall(2) with a number that may sleep: true when made, *RET its result or
 * -errno. */
bool io_syscall(long *ret, long nr, const long a[6]);

#endif
