/* sigfd.c - what a signalfd shows of the signals that the kernel does not hold.
 *
 * The kernel's signalfd reads what is pending for the process and for the thread that reads, and
 * is ready when there is something.  What was sent to one of our threads is in the queue of its G
 * (sigpend.c), and what came for the process before there was a signalfd, or came on the way of a
 * signal that nobody takes any more, is in that of `unclaimed`.  So beside each call a G looks there.
 *
 * That costs nothing as long as there is no signalfd, or nothing blocked is pending: only then is
 * asked whether a descriptor is one, and for which signals: fdinfo says so, whatever way the
 * descriptor came to its number.  (Looked for when the program has called signalfd; one that an
 * exec has left is as it was.)
 * To wait:  io_wait and io_poll end with IO_LOOK when signal_fd_news was called since they, or the
 *           wait before, looked (g.sig_news against g.sig_seen) [Z9]; the caller looks here.
 * To tell:  put the entry in; signal_fd_news.
 * read takes from the G, from the process's here, then from the kernel, by rt_sigtimedwait.
 * An epoll descriptor is asked what it has, by fdinfo as well; it is armed again by hand
 * (EPOLLONESHOT), and edges are counted by g.sig_news.
 *
 * Known limits: a wait for more than IO_POLL_MAX descriptors, which is the kernel's, and an epoll
 * descriptor inside an epoll descriptor see only what the kernel holds.
 */
#include "shim/posix/sigfd.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preempt/preempt.h"
#include "shim/posix/signal.h"
#include "shim/posix/sys.h"

bool sigfd_used;

EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
    st_rlx(&sigfd_used, true);
    return REAL(signalfd)(fd, set, flags);
}

uint64_t sigfd_pending(const struct g *gp)
{
    uint64_t own = ld_rlx(&gp->sigpend);
    return (own | signal_process_pending()) & ld_rlx(&gp->sigmask);
}

/* --- fdinfo ------------------------------------------------------------------------------ */

enum { FDINFO_PATH = 48 };

static const char *fdinfo(int fd, char path[FDINFO_PATH])
{
    os_format(path, FDINFO_PATH, "/proc/self/fdinfo/%d", fd);
    return path;
}

static uint64_t hex_at(const char *s)
{
    uint64_t v = 0;
    while (*s == ' ' || *s == '\t')
        s++;
    for (;; s++) {
        char c = (char)(*s | 0x20);
        if (*s >= '0' && *s <= '9')
            v = v << 4 | (uint64_t)(*s - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return v;
    }
}

/* The signals that FD shows; 0: it is no signalfd. */
static uint64_t mask_of(int fd)
{
    static const char key[] = "\nsigmask:";
    struct stat st;
    char path[FDINFO_PATH], buf[512];
    if (SYS(SYS_fstat, fd, &st) != 0 || (st.st_mode & S_IFMT) != 0)
        return 0;
    os_read_text(fdinfo(fd, path), buf, sizeof buf);
    const char *at = strstr(buf, key);
    return at != NULL ? hex_at(at + sizeof key - 1) : 0;
}

bool sigfd_ready(int fd)
{
    uint64_t pending = sigfd_pending(rt_self());
    return pending != 0 && (pending & mask_of(fd)) != 0;
}

/* --- reading ------------------------------------------------------------------------------ */

/* As the kernel does: what is there depends on where it came from. */
static struct signalfd_siginfo convert(const siginfo_t *info)
{
    enum { POLL_KINDS = 6 };
    int code = info->si_code, sig = info->si_signo;
    bool sent = code <= 0 || code >= SI_KERNEL;
    struct signalfd_siginfo out = {
        .ssi_signo = (uint32_t)sig, .ssi_errno = info->si_errno, .ssi_code = code};
    if (code == SI_TIMER) {
        out.ssi_tid = (uint32_t)info->si_timerid;
        out.ssi_overrun = (uint32_t)info->si_overrun;
    } else if (code == SI_SIGIO || (!sent && sig != SIGCHLD && code <= POLL_KINDS)) {
        out.ssi_band = (uint32_t)info->si_band;
        out.ssi_fd = info->si_fd;
        return out;
    } else {
        out.ssi_pid = (uint32_t)info->si_pid;
        out.ssi_uid = info->si_uid;
    }
    if (code < 0) {
        out.ssi_int = info->si_value.sival_int;
        out.ssi_ptr = (uintptr_t)info->si_value.sival_ptr;
    } else if (!sent) {
        out.ssi_status = info->si_status;
        out.ssi_utime = (uint64_t)info->si_utime;
        out.ssi_stime = (uint64_t)info->si_stime;
    }
    return out;
}

/* The next of SET, wherever it is; false: none. */
static bool take(struct g *gp, uint64_t set, siginfo_t *info)
{
    struct rt_section s;
    rt_enter(&s);
    int sig = signal_take(gp, set, info);
    if (sig == 0)
        sig = signal_process_take(set, info);
    while (sig == 0 && (sig = os_signal_take(set, info)) != 0)
        if (kick_came(gp->m, info))
            sig = 0;
    rt_exit(&s);
    return sig != 0;
}

/* Copy N bytes to byte AT of the vectors. */
static void put(const struct iovec *v, size_t at, const void *from, size_t n)
{
    const char *p = from;
    for (; n > 0; v++) {
        size_t skip = at < v->iov_len ? at : v->iov_len, room = v->iov_len - skip;
        size_t part = n < room ? n : room;
        memcpy((char *)v->iov_base + skip, p, part);
        at -= skip;
        p += part;
        n -= part;
    }
}

long sigfd_read(int fd, const struct iovec *v, int n)
{
    struct g *gp = rt_self();
    size_t room = 0, done = 0;
    siginfo_t info;
    uint64_t set = mask_of(fd);
    if ((set & sigfd_pending(gp)) == 0)
        return -EAGAIN;
    for (int i = 0; i < n; i++)
        room += v[i].iov_len;
    if (room < sizeof(struct signalfd_siginfo))
        return -EINVAL;
    while (room - done >= sizeof(struct signalfd_siginfo) && take(gp, set, &info)) {
        struct signalfd_siginfo out = convert(&info);
        put(v, done, &out, sizeof out);
        done += sizeof out;
    }
    return done != 0 ? (long)done : -EAGAIN; /* another thread has taken it */
}

/* --- poll ---------------------------------------------------------------------------------- */

long sigfd_poll(struct pollfd *fds, size_t n, long ready)
{
    if (ready < 0 || sigfd_pending(rt_self()) == 0)
        return ready;
    for (size_t i = 0; i < n; i++) {
        bool asked = (fds[i].events & POLLIN) != 0 && fds[i].fd >= 0;
        if (!asked || (fds[i].revents & POLLIN) != 0 || !sigfd_ready(fds[i].fd))
            continue;
        ready += fds[i].revents == 0;
        fds[i].revents |= POLLIN;
    }
    return ready;
}

/* --- epoll --------------------------------------------------------------------------------- */

/* A line of an epoll descriptor's fdinfo. */
struct target {
    int fd;
    uint32_t events;
    uint64_t data;
};

/* "tfd:        5 events:       1d data:                5  pos:0 ..." */
static bool parse(const char *line, struct target *t)
{
    const char *events = strstr(line, "events:"), *data = strstr(line, "data:");
    if (strncmp(line, "tfd:", 4) != 0 || events == NULL || data == NULL)
        return false;
    t->fd = 0;
    for (const char *s = line + 4; s < events; s++)
        if (*s >= '0' && *s <= '9')
            t->fd = 10 * t->fd + (*s - '0');
    t->events = (uint32_t)hex_at(events + sizeof "events:" - 1);
    t->data = hex_at(data + sizeof "data:" - 1);
    return true;
}

struct epoll_scan {
    int epfd, max, n;
    struct epoll_event *ev;
    bool news; /* for those that want edges */
};

static bool is_reported(const struct epoll_scan *s, const struct target *t)
{
    for (int i = 0; i < s->n; i++)
        if (s->ev[i].data.u64 == t->data)
            return true;
    return false;
}

static void report(struct epoll_scan *s, const struct target *t)
{
    if ((t->events & EPOLLIN) == 0 || s->n == s->max || is_reported(s, t) ||
        ((t->events & EPOLLET) != 0 && !s->news) || !sigfd_ready(t->fd))
        return;
    if ((t->events & EPOLLONESHOT) != 0) {
        struct epoll_event off = {.events = t->events & (EPOLLONESHOT | EPOLLET),
                                  .data.u64 = t->data};
        SYS(SYS_epoll_ctl, s->epfd, EPOLL_CTL_MOD, t->fd, &off);
    }
    s->ev[s->n++] = (struct epoll_event){.events = EPOLLIN, .data.u64 = t->data};
}

/* Line by line, through a buffer that is shorter than what there may be. */
static void scan(struct epoll_scan *s, int info)
{
    char buf[1024];
    struct target t;
    size_t have = 0;
    long n;
    while (s->n < s->max && (n = os_read(info, buf + have, sizeof buf - 1 - have)) > 0) {
        have += (size_t)n;
        buf[have] = '\0';
        char *line = buf, *end;
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            if (parse(line, &t))
                report(s, &t);
        }
        have -= (size_t)(line - buf);
        memmove(buf, line, have);
    }
}

long sigfd_epoll(int epfd, struct epoll_event *ev, int max, long ready)
{
    struct g *gp = rt_self();
    uint32_t news = ld_rlx(&gp->sig_news);
    struct epoll_scan s = {.epfd = epfd,
                           .max = max,
                           .n = (int)ready,
                           .ev = ev,
                           .news = news != gp->sig_edge};
    if (ready < 0 || ready >= max || sigfd_pending(gp) == 0)
        return ready;
    char path[FDINFO_PATH];
    int info = os_open_ro(fdinfo(epfd, path));
    if (info < 0)
        return ready;
    scan(&s, info);
    os_close(info);
    gp->sig_edge = news;
    return s.n;
}
