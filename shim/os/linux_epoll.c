/* linux_epoll.c - the readiness half of os.h on Linux: one epoll instance and two eventfds.
 *
 * Registrations are one-shot and edge-triggered, and every wait arms its own by MOD, or ADD
 * where there is none: a descriptor that was closed behind our back and used again is then
 * simply registered anew, and an event that is left over from its former life finds no armed
 * registration, or wakes somebody who looks and sleeps again.
 *
 * Our own descriptors sit high, out of the way of programs that count on low numbers, yet
 * within the kernel's table of descriptors as it is: to grow the table of a process with
 * threads it waits for an RCU grace period, some 20 ms.
 * To break a sleep in epoll_wait: the eventfd BREAK, level-triggered in the same instance;
 * only the sleeper reads it, so that a poll without sleeping does not swallow it.
 * The monitor sleeps in poll on the instance itself and on an eventfd of its own.
 *
 * Rejected: persistent edge-triggered registrations as in Go: libc's own closes (fclose) and
 * raw system calls would leave stale ones, and a wake-up would be lost on the next file.
 * Source: epoll(7), epoll_pwait2(2); linux/fs/eventpoll.c for the slack of long timeouts.
 */
#include "shim/os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "arch/arch.h"
#include "arch/atomic.h"

#define SYS6(nr, a, b, c, d, e, f)                                                       \
    arch_syscall6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SYS3(nr, a, b, c) SYS6(nr, a, b, c, 0, 0, 0)

enum { NS_PER_S = 1000000000, NS_PER_MS = 1000000, MAX_EVENTS = 64 };
enum { LEAST_SLOTS = 64, HIGH_ROOM = 16 }; /* own descriptors: in the last HIGH_ROOM */
static const uint64_t BREAK_DATA = ~0ull;

#define SAME(a, b) _Static_assert((int)(a) == (int)(b), "os.h has the kernel's values")
SAME(OS_IO_IN, EPOLLIN);
SAME(OS_IO_PRI, EPOLLPRI);
SAME(OS_IO_OUT, EPOLLOUT);
SAME(OS_IO_ERR, EPOLLERR);
SAME(OS_IO_HUP, EPOLLHUP);
SAME(OS_IO_RDHUP, EPOLLRDHUP);

/* Slots of the kernel's table: FDSize in /proc/self/status; at least 64. */
static long table_size(void)
{
    static const char key[] = "FDSize:";
    char buf[1024];
    long n = 0;
    int fd = os_open_ro("/proc/self/status");
    long got = fd >= 0 ? os_read(fd, buf, sizeof buf) : 0;
    if (fd >= 0)
        os_close(fd);
    for (long i = 0; i + (long)sizeof key < got; i++) {
        long k = 0;
        while (key[k] != '\0' && buf[i + k] == key[k])
            k++;
        if (key[k] != '\0')
            continue;
        for (i += k; i < got && (buf[i] == '\t' || buf[i] == ' '); i++)
            ;
        for (; i < got && buf[i] >= '0' && buf[i] <= '9'; i++)
            n = 10 * n + (buf[i] - '0');
        break;
    }
    return n > LEAST_SLOTS ? n : LEAST_SLOTS;
}

int os_dup_high(int fd)
{
    static long slots; /* atomic, hint: the table only grows */
    struct rlimit lim = {0};
    if (ld_rlx(&slots) == 0)
        st_rlx(&slots, table_size());
    long min = ld_rlx(&slots);
    if (SYS6(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &lim, 0, 0) == 0 &&
        lim.rlim_cur < (rlim_t)min)
        min = (long)lim.rlim_cur;
    min = min > HIGH_ROOM ? min - HIGH_ROOM : 0;
    long r = SYS3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, min);
    return r >= 0 ? (int)r : (int)SYS3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
}

static int move_high(int fd)
{
    if (fd < 0)
        return fd;
    int high = os_dup_high(fd);
    if (high < 0)
        return fd; /* low is better than none */
    os_close(fd);
    return high;
}

static int ctl(int epfd, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event ev = {.events = events, .data.u64 = data};
    return (int)SYS6(SYS_epoll_ctl, epfd, op, fd, &ev, 0, 0);
}

int os_poller_open(struct os_poller *po)
{
    struct os_poller p = {.epfd = -1, .break_fd = -1, .mon_fd = -1};
    p.epfd = move_high((int)SYS3(SYS_epoll_create1, EPOLL_CLOEXEC, 0, 0));
    p.break_fd = move_high((int)SYS3(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0));
    p.mon_fd = move_high((int)SYS3(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0));
    int err = p.epfd < 0 ? p.epfd : p.break_fd < 0 ? p.break_fd : p.mon_fd;
    if (err >= 0)
        err = ctl(p.epfd, EPOLL_CTL_ADD, p.break_fd, EPOLLIN, BREAK_DATA);
    if (err < 0) {
        os_poller_close(&p);
        return err;
    }
    *po = p;
    return 0;
}

void os_poller_close(struct os_poller *po)
{
    int fds[] = {po->epfd, po->break_fd, po->mon_fd};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            os_close(fds[i]);
    po->epfd = po->break_fd = po->mon_fd = -1;
}

int os_poller_arm(const struct os_poller *po, int fd, uint32_t events, bool keep,
                  bool known, uint64_t data)
{
    events |= keep ? EPOLLET : EPOLLONESHOT | EPOLLET;
    int r = -ENOENT;
    if (known)
        r = ctl(po->epfd, EPOLL_CTL_MOD, fd, events, data);
    if (r == -ENOENT)
        r = ctl(po->epfd, EPOLL_CTL_ADD, fd, events, data);
    if (r == -EEXIST)
        r = ctl(po->epfd, EPOLL_CTL_MOD, fd, events, data);
    return r;
}

void os_poller_forget(const struct os_poller *po, int fd)
{
    ctl(po->epfd, EPOLL_CTL_DEL, fd, 0, 0);
}

void os_poller_break(const struct os_poller *po)
{
    uint64_t one = 1;
    os_write(po->break_fd, &one, sizeof one);
}

void os_poller_unbreak(const struct os_poller *po)
{
    uint64_t sum;
    os_read(po->break_fd, &sum, sizeof sum);
}

/* The kernel lets a long epoll timeout slip by a thousandth, up to 100 ms: end a little early,
 * the caller sleeps again. */
static int64_t before_slack(int64_t ns)
{
    return ns > 50 * (int64_t)NS_PER_MS ? ns - ns / 256 : ns;
}

static long epoll_sleep(int epfd, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    static bool no_pwait2; /* atomic, hint: Linux before 5.11 */
    struct timespec ts, *tp = NULL;
    if (timeout_ns == 0)
        return SYS6(SYS_epoll_pwait, epfd, ev, n, 0, NULL, 0);
    if (timeout_ns != OS_FOREVER) {
        timeout_ns = before_slack(timeout_ns);
        ts.tv_sec = timeout_ns / NS_PER_S;
        ts.tv_nsec = timeout_ns % NS_PER_S;
        tp = &ts;
    }
    if (!ld_rlx(&no_pwait2)) {
        long r = SYS6(SYS_epoll_pwait2, epfd, ev, n, tp, NULL, 0);
        if (r != -ENOSYS && r != -EPERM) /* EPERM: an old seccomp filter */
            return r;
        st_rlx(&no_pwait2, true);
    }
    int64_t ms = tp == NULL ? -1 : (timeout_ns + NS_PER_MS - 1) / NS_PER_MS;
    return SYS6(SYS_epoll_pwait, epfd, ev, n, ms > INT32_MAX ? INT32_MAX : ms, NULL, 0);
}

int os_poller_wait(const struct os_poller *po, struct os_event *out, int max,
                   int64_t timeout_ns, bool *broken)
{
    struct epoll_event ev[MAX_EVENTS];
    int n = 0;
    long r = epoll_sleep(po->epfd, ev, max < MAX_EVENTS ? max : MAX_EVENTS, timeout_ns);
    *broken = false;
    for (long i = 0; i < r; i++) {
        if (ev[i].data.u64 != BREAK_DATA) {
            out[n++] = (struct os_event){ev[i].data.u64, ev[i].events};
        } else if (timeout_ns != 0) {
            os_poller_unbreak(po);
            *broken = true;
        }
    }
    return r < 0 ? (int)r : n;
}

/* --- the monitor's sleep --------------------------------------------------------------- */

void os_poller_watch(const struct os_poller *po, int64_t timeout_ns)
{
    struct pollfd p[2] = {{.fd = po->mon_fd, .events = POLLIN},
                          {.fd = po->epfd, .events = POLLIN}};
    struct timespec ts, *tp = NULL;
    if (timeout_ns != OS_FOREVER) {
        timeout_ns = timeout_ns > 0 ? before_slack(timeout_ns) : 0;
        ts.tv_sec = timeout_ns / NS_PER_S;
        ts.tv_nsec = timeout_ns % NS_PER_S;
        tp = &ts;
    }
    SYS6(SYS_ppoll, p, 2, tp, NULL, 0, 0);
    uint64_t sum;
    if ((p[0].revents & POLLIN) != 0)
        os_read(po->mon_fd, &sum, sizeof sum);
}

void os_poller_kick(const struct os_poller *po)
{
    uint64_t one = 1;
    os_write(po->mon_fd, &one, sizeof one);
}

int os_poll(struct pollfd *fds, unsigned n)
{
    long r;
    do { /* EINTR: a signal is pending, which poll looks at even without sleeping */
        struct timespec now = {0};
        r = SYS6(SYS_ppoll, fds, n, &now, NULL, 0, 0);
    } while (r == -EINTR);
    return (int)r;
}
