/* io_rw.c - read, write and their vectors, on descriptors of any kind.
 *
 * A socket is tried with MSG_DONTWAIT, a pipe and what else the kernel can (eventfd, timerfd,
 * ...) with RWF_NOWAIT, the rest (tty, inotify) by asking poll first; a regular file is read in
 * the kernel at once.  Which it is says a hint per number, from fstat, and a wrong hint costs
 * time only:
 *   socket  ENOTSOCK tells
 *   fifo    as nowait, but what pipe gave the program is no regular file (rt/nettrust.c)
 *   nowait  the kernel answers EOPNOTSUPP where it cannot; a short result from what may be a
 *           regular file (lseek succeeds) is completed
 *   file    right for everything, only that it blocks a kernel thread; looked at again after
 *           a call that took long
 *   memory  as file: /dev/zero and its like
 *   null    it never waits, so nobody needs to know of the call
 * A vector costs the kernel a quarter more than the plain read or write of a pipe does, and there
 * is no other way not to sleep.  So a pipe that was found ready READY_ROW times in a row is
 * used by the plain call, as one that may block, while that can be afforded (rt_may_risk); the
 * first such call that loses its P to others begins the row anew.
 * Writing goes on after part was written, as it does in the kernel on a descriptor that
 * blocks; reading returns what there is.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shim/posix/sigfd.h"
#include "shim/posix/sys.h"
#include "shim/rt/netpoll.h"

enum { UNKNOWN, SOCKET, NOWAIT, FIFO, ASK, REGULAR, MEMORY, NOTHING, KIND = 7 };
enum { ASK_TO_WRITE = 8 }; /* in the hint: RWF_NOWAIT serves for reading only (eventfd) */
enum { MEMORY_MAJOR = 1, NULL_MINOR = 3 }; /* /dev/null, zero, full, urandom, ... */
/* A pipe that somebody waits for now and then does not get there. */
enum { READY_ROW = 16 };

static uint8_t kind_by_fstat(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return REGULAR; /* EBADF comes from the call itself */
    if (S_ISSOCK(st.st_mode))
        return SOCKET;
    if (S_ISFIFO(st.st_mode))
        return FIFO;
    if (S_ISCHR(st.st_mode) && major(st.st_rdev) == MEMORY_MAJOR)
        return minor(st.st_rdev) == NULL_MINOR ? NOTHING : MEMORY;
    bool file = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode);
    return file ? REGULAR : NOWAIT;
}

static uint8_t kind_of(int fd, bool writing)
{
    struct net_hint *hint = net_hint(fd);
    uint8_t kind = ld_rlx(&hint->kind);
    if (unlikely(kind == UNKNOWN)) {
        int saved = errno;
        kind = kind_by_fstat(fd);
        errno = saved;
        if (fd >= 0)
            st_rlx(&hint->kind, kind);
    }
    return writing && (kind & ASK_TO_WRITE) != 0 ? ASK : kind & KIND;
}

/* A pipe was found ready, or not. */
static void note_ready(int fd, bool was_ready)
{
    struct net_hint *hint = net_hint(fd);
    uint8_t row = ld_rlx(&hint->row);
    if (!was_ready)
        st_rlx(&hint->row, 0);
    else if (row < READY_ROW)
        st_rlx(&hint->row, (uint8_t)(row + 1));
}

/* --- one vector, advanced ------------------------------------------------------------------ */

struct rw {
    bool writing;
    const struct iovec *v; /* what is left; the first without SKIP bytes */
    int n;
    size_t skip;
    size_t done;
    uint8_t kind;
    uint32_t seen; /* of io_op */
};

enum { PIECE = 16 }; /* vectors given to the kernel at a time, once part is done */

static void advance(struct rw *o, size_t bytes)
{
    o->done += bytes;
    o->skip += bytes;
    while (o->n > 0 && o->skip >= o->v->iov_len) {
        o->skip -= o->v->iov_len;
        o->v++;
        o->n--;
    }
}

/* The rest as vectors of its own. */
static const struct iovec *rest(const struct rw *o, struct iovec piece[PIECE], int *n)
{
    *n = o->n;
    if (o->skip == 0)
        return o->v;
    *n = o->n < PIECE ? o->n : PIECE;
    for (int i = 0; i < *n; i++)
        piece[i] = o->v[i];
    piece[0].iov_base = (char *)piece[0].iov_base + o->skip;
    piece[0].iov_len -= o->skip;
    return piece;
}

/* --- trying ---------------------------------------------------------------------------- */

static long socket_once(int fd, const struct rw *o, const struct iovec *v, int n)
{
    /* A socket that has taken part raises no SIGPIPE for the rest. */
    int flags = MSG_DONTWAIT | (o->done != 0 ? MSG_NOSIGNAL : 0);
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n};
    if (n == 1 && o->writing)
        return SYS_NOW(SYS_sendto, fd, v->iov_base, v->iov_len, flags);
    if (n == 1)
        return SYS_NOW(SYS_recvfrom, fd, v->iov_base, v->iov_len, flags);
    return SYS_NOW(o->writing ? SYS_sendmsg : SYS_recvmsg, fd, &m, flags);
}

static long once(int fd, const struct rw *o)
{
    struct iovec piece[PIECE];
    int n;
    const struct iovec *v = rest(o, piece, &n);
    if (o->kind == SOCKET)
        return socket_once(fd, o, v, n);
    return SYS_NOW(o->writing ? SYS_pwritev2 : SYS_preadv2, fd, v, n, -1L, -1L,
                   RWF_NOWAIT);
}

/* io_try_fn.  Writing: until all is done. */
static long try_rw(void *arg, int fd)
{
    struct rw *o = arg;
    if (!o->writing)
        return once(fd, o);
    for (;;) {
        long r = once(fd, o);
        if (r < 0)
            return r;
        advance(o, (size_t)r);
        if (o->n == 0 || r == 0)
            return (long)o->done;
    }
}

/* --- the call -------------------------------------------------------------------------- */

static long plain(int fd, long nr, const long a[6])
{
    struct net_hint *hint = net_hint(fd);
    long r;
    if (ld_rlx(&hint->kind) == REGULAR)
        r = sys_file_call(BLOCK_CANCEL, nr, a);
    else
        r = block_call(BLOCK_CANCEL, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (unlikely(rt_self()->call_lost))
        st_rlx(&hint->kind, UNKNOWN);
    return r;
}

/* What needs one look and one system call, on a G.  False: to be made another way. */
static inline bool straight(int fd, long nr, const void *buf, size_t n, long *r)
{
    struct g *gp = rt_self();
    struct net_hint *hint = net_hint(fd);
    uint8_t kind = ld_rlx(&hint->kind);
    if (kind == NOTHING) {
        *r = BLOCK(BLOCK_CANCEL | BLOCK_BRIEF, nr, fd, buf, n);
        return true;
    }
    if (kind != FIFO || ld_rlx(&hint->row) < READY_ROW || !rt_may_risk(gp))
        return false;
    *r = BLOCK(BLOCK_CANCEL, nr, fd, buf, n);
    if (unlikely(gp->call_lost))
        st_rlx(&hint->row, 0);
    return true;
}

/* Goes on in the kernel with what is left, for a descriptor that cannot be waited for. */
static long go_on(int fd, struct rw *o, long nr, const long a[6])
{
    if (o->done == 0)
        return plain(fd, nr, a);
    while (o->n > 0) {
        struct iovec piece[PIECE];
        int n;
        const struct iovec *v = rest(o, piece, &n);
        long r = BLOCK(0, o->writing ? SYS_writev : SYS_readv, fd, v, n);
        if (r <= 0)
            break;
        advance(o, (size_t)r);
    }
    return (long)o->done;
}

/* Is R, from RWF_NOWAIT, all that a regular file has, or what was in memory? */
static long complete(int fd, struct rw *o, long r, long nr, const long a[6])
{
    size_t all = 0;
    for (int i = 0; i < o->n; i++)
        all += o->v[i].iov_len;
    if ((size_t)r == all || SYS(SYS_lseek, fd, 0, SEEK_CUR) < 0)
        return r;
    st_rlx(&net_hint(fd)->kind, UNKNOWN);
    if (kind_of(fd, false) < REGULAR)
        return r;
    advance(o, (size_t)r);
    return r == 0 ? plain(fd, nr, a) : go_on(fd, o, nr, a);
}

static uint32_t events_of(const struct rw *o)
{
    return o->writing ? OS_IO_OUT : OS_IO_IN | OS_IO_RDHUP;
}

static long would_block(int fd, struct rw *o, long nr, const long a[6])
{
    struct sys_op op = {.io = {.fd = fd,
                               .events = events_of(o),
                               .try = try_rw,
                               .arg = o,
                               .seen = o->seen},
                        .timeout_opt = o->kind != SOCKET ? 0
                                       : o->writing      ? SO_SNDTIMEO
                                                         : SO_RCVTIMEO};
    long r = sys_wait(&op, &o->done);
    if (r == IO_CANNOT)
        return go_on(fd, o, nr, a);
    return r < 0 && o->done != 0 ? (long)o->done : r;
}

/* The hint was wrong, or the number has become another file's: to be looked at anew. */
static bool wrong_kind(int fd, const struct rw *o, long r)
{
    if (o->done != 0 || (r != -ENOTSOCK && r != -EOPNOTSUPP && r != -ENOSYS) ||
        (r == -EOPNOTSUPP && o->kind == SOCKET)) /* a socket's own answer */
        return false;
    st_rlx(&net_hint(fd)->kind, o->kind == SOCKET ? UNKNOWN
                                : o->writing      ? NOWAIT | ASK_TO_WRITE
                                                  : ASK);
    return true;
}

static long rw_once(int fd, struct rw *o, long nr, const long a[6], bool *again)
{
    o->kind = kind_of(fd, o->writing);
    if (o->kind >= REGULAR || (!o->writing && o->kind == SOCKET && sys_has_lowat(fd)))
        return plain(fd, nr, a);
    if (o->kind == ASK)
        return sys_ready_call(fd, o->writing ? OS_IO_OUT : OS_IO_IN, 0, nr, a);
    o->seen = net_seen(fd, events_of(o));
    long r = try_rw(o, fd);
    if (o->kind == FIFO)
        note_ready(fd, r != -EAGAIN);
    if (r == -EAGAIN)
        r = would_block(fd, o, nr, a);
    if (unlikely(r < 0) && wrong_kind(fd, o, r)) {
        *again = true;
        return 0;
    }
    bool sure = o->kind == FIFO && (net_trust(fd) & NET_SOLE) != 0;
    if (r > 0 && !o->writing && o->kind != SOCKET && !sure)
        return complete(fd, o, r, nr, a);
    return r < 0 && o->done != 0 ? (long)o->done : r;
}

static long rw(bool writing, int fd, const struct iovec *v, int n, long nr,
               const long a[6])
{
    struct g *gp = rt_self();
    size_t bytes = 0;
    if (gp == NULL || n <= 0 || n > IOV_MAX)
        return block_call(BLOCK_CANCEL, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    for (int i = 0; i < n && bytes == 0; i++)
        bytes += v[i].iov_len;
    if (bytes == 0) /* an empty datagram, or nothing: never waits for long */
        return block_call(BLOCK_CANCEL, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (unlikely(libc_cancel_pending(gp->tcb)))
        block_act();
    for (;;) {
        struct rw o = {.writing = writing, .v = v, .n = n};
        bool again = false;
        long r;
        if (!writing && sigfd_look(gp) && (r = sigfd_read(fd, v, n)) != -EAGAIN)
            return r;
        r = rw_once(fd, &o, nr, a, &again);
        if (!again && likely(r != IO_LOOK))
            return r;
    }
}

long io_readv(int fd, const struct iovec *v, int n, long nr, const long a[6])
{
    return rw(false, fd, v, n, nr, a);
}

long io_writev(int fd, const struct iovec *v, int n, long nr, const long a[6])
{
    return rw(true, fd, v, n, nr, a);
}

/* --- entry points ---------------------------------------------------------------------- */

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
    SYS_PASS(read, fd, buf, n);
    long r;
    if (rt_self() == NULL)
        return sys_ret(BLOCK(BLOCK_CANCEL, SYS_read, fd, buf, n));
    if (straight(fd, SYS_read, buf, n, &r))
        return sys_ret(r);
    struct iovec v = {buf, n};
    return sys_ret(io_readv(fd, &v, 1, SYS_read, (long[6]){fd, (long)buf, (long)n}));
}

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
    SYS_PASS(write, fd, buf, n);
    long r;
    if (rt_self() == NULL)
        return sys_ret(BLOCK(BLOCK_CANCEL, SYS_write, fd, buf, n));
    if (straight(fd, SYS_write, buf, n, &r))
        return sys_ret(r);
    struct iovec v = {(void *)(uintptr_t)buf, n};
    return sys_ret(io_writev(fd, &v, 1, SYS_write, (long[6]){fd, (long)buf, (long)n}));
}

EXPORT ssize_t readv(int fd, const struct iovec *v, int n)
{
    SYS_PASS(readv, fd, v, n);
    return sys_ret(io_readv(fd, v, n, SYS_readv, (long[6]){fd, (long)v, n}));
}

EXPORT ssize_t writev(int fd, const struct iovec *v, int n)
{
    SYS_PASS(writev, fd, v, n);
    return sys_ret(io_writev(fd, v, n, SYS_writev, (long[6]){fd, (long)v, n}));
}

EXPORT ssize_t preadv2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
    SYS_PASS(preadv2, fd, v, n, off, flags);
    const long a[6] = {fd, (long)v, n, off, off >> 31 >> 1, flags};
    if (off == -1 && flags == 0)
        return sys_ret(io_readv(fd, v, n, SYS_preadv2, a));
    return sys_ret(sys_file_call(BLOCK_CANCEL, SYS_preadv2, a));
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
    SYS_PASS(pwritev2, fd, v, n, off, flags);
    const long a[6] = {fd, (long)v, n, off, off >> 31 >> 1, flags};
    if (off == -1 && flags == 0)
        return sys_ret(io_writev(fd, v, n, SYS_pwritev2, a));
    return sys_ret(sys_file_call(BLOCK_CANCEL, SYS_pwritev2, a));
}

/* What a program compiled with _FORTIFY_SOURCE calls. */
ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
ssize_t __pread_chk(int fd, void *buf, size_t n, off_t off, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t n, off_t off, size_t room);

EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
    if (unlikely(posix_off || n > room)) /* libc reports the overflow */
        return SYS_REAL(__read_chk)(fd, buf, n, room);
    return read(fd, buf, n);
}

EXPORT ssize_t __pread_chk(int fd, void *buf, size_t n, off_t off, size_t room)
{
    if (unlikely(posix_off || n > room))
        return SYS_REAL(__pread_chk)(fd, buf, n, off, room);
    return pread(fd, buf, n, off);
}

EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t n, off_t off, size_t room)
{
    return __pread_chk(fd, buf, n, off, room);
}

ALIAS(__read, read);
ALIAS(__write, write);
ALIAS(preadv64v2, preadv2);
ALIAS(pwritev64v2, pwritev2);
