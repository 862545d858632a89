/* linux.c - os.h on Linux.
 *
 * Raw system calls through arch_syscall6.  The one exception is reading the clock, through
 * the function given to os_init; before that the system call serves.
 */
#include "shim/os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

#include "arch/arch.h"
#include "arch/atomic.h"

#define SYS6(nr, a, b, c, d, e, f)                                                       \
    arch_syscall6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SYS3(nr, a, b, c) SYS6(nr, a, b, c, 0, 0, 0)

enum { NS_PER_S = 1000000000 };

/* Linux 6.13; not in older headers. */
enum { OS_MADV_GUARD_INSTALL = 102, OS_MADV_GUARD_REMOVE = 103 };

static int (*clock_fast)(clockid_t, struct timespec *); /* const after os_init */
static size_t page_size;

enum { MB_ANY = 1 << 0, MB_PRIVATE = 1 << 3, MB_REGISTER_PRIVATE = 1 << 4 };

void os_init(int (*clock)(int, struct timespec *))
{
    clock_fast = clock;
    page_size = getauxval(AT_PAGESZ);
    SYS3(SYS_membarrier, MB_REGISTER_PRIVATE, 0, 0);
}

/* --- time ------------------------------------------------------------------------- */

int64_t os_clock_ns(int clk)
{
    struct timespec ts;
    if (likely(clock_fast != NULL && clk >= 0)) {
        clock_fast(clk, &ts);
    } else {
        long r = SYS3(SYS_clock_gettime, clk, &ts, 0);
        if (r < 0)
            return r;
    }
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t os_now_ns(void)
{
    return os_clock_ns(CLOCK_MONOTONIC);
}

int64_t os_wall_ns(void)
{
    return os_clock_ns(CLOCK_REALTIME);
}

int64_t os_thread_cpu_ns(int tid)
{
    /* The kernel's encoding of a per-thread scheduler clock: ~tid << 3 | 4 | 2.
     * Source: include/linux/posix-timers.h, CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED. */
    return os_clock_ns((int)((~(unsigned)tid << 3) | 6u));
}

/* --- futex ------------------------------------------------------------------------ */

static int futex_wait_on(uint32_t *word, uint32_t val, int op, int64_t deadline_ns)
{
    struct timespec ts, *tp = NULL;
    if (deadline_ns != OS_FOREVER) {
        if (deadline_ns < 0)
            deadline_ns = 0;
        ts.tv_sec = deadline_ns / NS_PER_S;
        ts.tv_nsec = deadline_ns % NS_PER_S;
        tp = &ts;
    }
    /* WAIT_BITSET takes an absolute time; plain WAIT a relative one. */
    long r = SYS6(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, tp, 0,
                  FUTEX_BITSET_MATCH_ANY);
    return r == -EAGAIN ? 0 : (int)r;
}

int os_futex_wait(uint32_t *word, uint32_t val, int64_t deadline_ns)
{
    return futex_wait_on(word, val, FUTEX_WAIT_BITSET, deadline_ns);
}

int os_futex_wait_wall(uint32_t *word, uint32_t val, int64_t deadline_ns)
{
    return futex_wait_on(word, val, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME,
                         deadline_ns);
}

void os_futex_wake(uint32_t *word, int n)
{
    SYS3(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n);
}

/* --- memory ----------------------------------------------------------------------- */

size_t os_page_size(void)
{
    return page_size != 0 ? page_size : getauxval(AT_PAGESZ);
}

size_t os_stack_limit(void)
{
    struct rlimit r = {0};
    SYS6(SYS_prlimit64, 0, RLIMIT_STACK, NULL, &r, 0, 0);
    return r.rlim_cur;
}

void *os_map(size_t bytes)
{
    long r = SYS6(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r < 0 && r > -4096)
        return NULL;
    /* A huge page behind each touched stack top would cost 2 MB a thread. */
    SYS3(SYS_madvise, r, bytes, MADV_NOHUGEPAGE);
    return (void *)r;
}

void os_unmap(void *p, size_t bytes)
{
    SYS3(SYS_munmap, p, bytes, 0);
}

static int no_markers; /* atomic, hint only: set once the kernel refused */

int os_guard(void *p, size_t bytes)
{
    if (ld_rlx(&no_markers))
        return -EINVAL;
    int r = (int)SYS3(SYS_madvise, p, bytes, OS_MADV_GUARD_INSTALL);
    if (r != 0)
        st_rlx(&no_markers, 1);
    return r;
}

void os_unguard(void *p, size_t bytes)
{
    if (!ld_rlx(&no_markers))
        SYS3(SYS_madvise, p, bytes, OS_MADV_GUARD_REMOVE);
}

int os_protect(void *p, size_t bytes)
{
    return (int)SYS3(SYS_mprotect, p, bytes, PROT_NONE);
}

size_t os_mapping_limit(void)
{
    char buf[32];
    size_t n = 0;
    os_read_text("/proc/sys/vm/max_map_count", buf, sizeof buf);
    for (const char *c = buf; *c >= '0' && *c <= '9'; c++)
        n = n * 10 + (size_t)(*c - '0');
    return n != 0 ? n : 65530; /* the kernel's default */
}

bool os_peek(const void *p, void *buf, size_t n)
{
    struct iovec to = {buf, n}, from = {(void *)(uintptr_t)p, n};
    return SYS6(SYS_process_vm_readv, os_getpid(), &to, 1, &from, 1, 0) == (long)n;
}

void os_discard(void *p, size_t bytes)
{
    SYS3(SYS_madvise, p, bytes, MADV_DONTNEED);
}

/* --- threads ---------------------------------------------------------------------- */

int os_gettid(void)
{
    return (int)SYS3(SYS_gettid, 0, 0, 0);
}

int os_getpid(void)
{
    return (int)SYS3(SYS_getpid, 0, 0, 0);
}

int os_tgkill(int tid, int sig)
{
    return (int)SYS3(SYS_tgkill, os_getpid(), tid, sig);
}

int os_tgsigqueue(int tid, int sig, void *siginfo)
{
    return (int)SYS6(SYS_rt_tgsigqueueinfo, os_getpid(), tid, sig, siginfo, 0, 0);
}

void os_yield(void)
{
    SYS3(SYS_sched_yield, 0, 0, 0);
}

void os_membarrier(void)
{
    /* The private one interrupts other CPUs; without it (Linux 4.14) the slow one waits for
     * each of them to have scheduled. */
    if (SYS3(SYS_membarrier, MB_PRIVATE, 0, 0) != 0)
        SYS3(SYS_membarrier, MB_ANY, 0, 0);
}

_Noreturn void os_exit_thread(void)
{
    for (;;)
        SYS3(SYS_exit, 0, 0, 0);
}

_Noreturn void os_exit(int status)
{
    for (;;)
        SYS3(SYS_exit_group, status, 0, 0);
}

int os_cpu_count_affinity(void)
{
    unsigned long mask[128];
    long r = SYS3(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int n = 0;
    for (long i = 0; i < r / (long)sizeof mask[0]; i++)
        n += __builtin_popcountl(mask[i]);
    return n > 0 ? n : 1;
}

int os_robust_list_get(void **head, size_t *len)
{
    return (int)SYS3(SYS_get_robust_list, 0, head, len);
}

int os_robust_list_set(void *head, size_t len)
{
    return (int)SYS3(SYS_set_robust_list, head, len, 0);
}

int os_rseq(void *area, uint32_t len, int flags, uint32_t sig)
{
    return (int)SYS6(SYS_rseq, area, len, flags, sig, 0, 0);
}

int os_set_tid_address(int *word)
{
    return (int)SYS3(SYS_set_tid_address, word, 0, 0);
}

int os_sigmask(int how, const uint64_t *set, uint64_t *old)
{
    return (int)SYS6(SYS_rt_sigprocmask, how, set, old, sizeof *set, 0, 0);
}

int os_sigaltstack(const struct os_altstack *set, struct os_altstack *old)
{
    return (int)SYS3(SYS_sigaltstack, set, old, 0);
}

/* As the kernel has it; handler 0: SIG_DFL. */
struct kernel_sigaction {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

bool os_has_handler(int sig)
{
    struct kernel_sigaction now = {0};
    return SYS6(SYS_rt_sigaction, sig, NULL, &now, sizeof now.mask, 0, 0) == 0 &&
           now.handler != (void *)SIG_DFL && now.handler != (void *)SIG_IGN;
}

size_t os_min_sigstack(void)
{
    size_t n = getauxval(AT_MINSIGSTKSZ);
    return n != 0 ? n : 4096;
}

int os_set_name(const char *name)
{
    return (int)SYS3(SYS_prctl, PR_SET_NAME, name, 0);
}

int os_get_name(char *name)
{
    return (int)SYS3(SYS_prctl, PR_GET_NAME, name, 0);
}

/* The last field before the state is the name, which may hold anything. */
static const char *after_name(const char *buf)
{
    const char *at = buf;
    for (const char *c = buf; *c != '\0'; c++)
        if (*c == ')')
            at = c;
    return at;
}

int os_thread_stat_open(int tid)
{
    char path[64];
    os_format(path, sizeof path, "/proc/self/task/%d/stat", tid);
    return os_open_ro(path);
}

char os_thread_stat_state(int fd, int tid)
{
    char buf[64], begin[16]; /* as far as the state: a name has at most 15 characters */
    long n = os_pread(fd, buf, sizeof buf - 1, 0);
    if (n <= 0)
        return 0;
    buf[n] = '\0';
    size_t digits = os_format(begin, sizeof begin, "%d (", tid);
    for (size_t i = 0; i < digits; i++)
        if (buf[i] != begin[i])
            return 0;
    const char *s = after_name(buf);
    return s[0] == ')' && s[1] == ' ' ? s[2] : 0;
}

char os_thread_state(int tid)
{
    int fd = os_thread_stat_open(tid);
    if (fd < 0)
        return 0;
    char state = os_thread_stat_state(fd, tid);
    os_close(fd);
    return state;
}

int os_thread_count(void)
{
    enum {
        FIELD = 20,
        AFTER_NAME = 2
    }; /* of proc_pid_stat(5); the name may hold anything */
    char buf[512];
    int n = 0, field = AFTER_NAME;
    if (os_read_text("/proc/self/stat", buf, sizeof buf) <= 0)
        return 0;
    const char *at = after_name(buf);
    for (; *at != '\0' && field < FIELD; at++)
        field += *at == ' ';
    for (; *at >= '0' && *at <= '9'; at++)
        n = n * 10 + (*at - '0');
    return n;
}

bool os_timers_armed(void)
{
    struct itimerval it;
    char buf[8];
    for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++)
        if (SYS3(SYS_getitimer, which, &it, 0) == 0 &&
            (it.it_value.tv_sec | it.it_value.tv_usec) != 0)
            return true;
    /* Timers of timer_create; some kernels do not list them. */
    return os_read_text("/proc/self/timers", buf, sizeof buf) > 0;
}

int os_signal_take(uint64_t set, void *info)
{
    struct timespec zero = {0, 0};
    long r = arch_syscall6(SYS_rt_sigtimedwait, (long)&set, (long)info, (long)&zero,
                           sizeof set, 0, 0);
    return r > 0 ? (int)r : 0;
}

unsigned long os_timer_slack(void)
{
    return (unsigned long)SYS3(SYS_prctl, PR_GET_TIMERSLACK, 0, 0);
}

int os_set_timer_slack(unsigned long ns)
{
    return (int)SYS3(SYS_prctl, PR_SET_TIMERSLACK, ns, 0);
}

/* --- small I/O -------------------------------------------------------------------- */

int os_open_ro(const char *path)
{
    return (int)SYS6(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
}

long os_read(int fd, void *buf, size_t n)
{
    long r;
    do
        r = SYS3(SYS_read, fd, buf, n);
    while (r == -EINTR);
    return r;
}

long os_read_text(const char *path, char *buf, size_t size)
{
    int fd = os_open_ro(path);
    long n = fd >= 0 ? os_read(fd, buf, size - 1) : fd;
    if (fd >= 0)
        os_close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return n;
}

long os_pread(int fd, void *buf, size_t n, int64_t at)
{
    long r;
    do
        r = SYS6(SYS_pread64, fd, buf, n, at, 0, 0);
    while (r == -EINTR);
    return r;
}

long os_write(int fd, const void *buf, size_t n)
{
    long r;
    do
        r = SYS3(SYS_write, fd, buf, n);
    while (r == -EINTR);
    return r;
}

int os_open_log(const char *path)
{
    enum { HIGH = 900 }; /* out of the way of programs that count on small numbers */
    int fd =
        (int)SYS6(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666, 0, 0);
    if (fd < 0)
        return fd;
    int r = (int)SYS3(SYS_flock, fd, LOCK_EX | LOCK_NB, 0);
    if (r == -EAGAIN) {
        os_close(fd);
        return r;
    }
    SYS3(SYS_ftruncate, fd, 0, 0); /* of a pipe or device: refused, and not needed */
    int high = (int)SYS3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, HIGH);
    if (high < 0)
        return fd;
    os_close(fd);
    return high;
}

bool os_file_id(int fd, uint64_t id[2])
{
    struct stat st;
    if (SYS3(SYS_fstat, fd, &st, 0) != 0)
        return false;
    id[0] = st.st_dev;
    id[1] = st.st_ino;
    return true;
}

void os_close(int fd)
{
    SYS3(SYS_close, fd, 0, 0);
}

void os_write_stderr(const char *buf, size_t n)
{
    os_write(2, buf, n);
}

_Noreturn void os_abort(void)
{
    /* As abort(): SIGABRT with its default action, whatever the program has set. */
    struct kernel_sigaction dfl = {0};
    uint64_t set = 1ull << (SIGABRT - 1);
    os_tgkill(os_gettid(), SIGABRT);
    SYS6(SYS_rt_sigaction, SIGABRT, &dfl, NULL, sizeof(uint64_t), 0, 0);
    os_sigmask(SIG_UNBLOCK, &set, NULL);
    os_tgkill(os_gettid(), SIGABRT);
    for (;;)
        SYS3(SYS_exit_group, 127, 0, 0);
}
