/* os.h - what the runtime asks of the kernel.
 *
 * Every function is a raw system call or plain memory work: no errno, no thread-local
 * storage, no libc lock, no allocation; so each may be called on the scheduler's stack, in
 * a signal handler, and before libc is ready.  Results: 0 or positive, or -errno.  All are
 * [any] unless said otherwise.
 */
#ifndef GSHIM_OS_H
#define GSHIM_OS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OS_FOREVER INT64_MAX

/* os_init - CLOCK is the C library's clock_gettime: the fast path through the vDSO.  It touches
 * errno only on failure and is safe on any stack.  Once, from rt_start; before there are other
 * threads: registering for os_membarrier takes the kernel some 10 ms later on. */
struct timespec;
void os_init(int (*clock)(int, struct timespec *));

/* --- time ------------------------------------------------------------------------- */
int64_t os_now_ns(void);      /* CLOCK_MONOTONIC */
int64_t os_wall_ns(void);     /* CLOCK_REALTIME  */
int64_t os_clock_ns(int clk); /* any clock; -errno when there is none such */
/* CPU time of kernel thread TID of this process, ns; -errno when it is gone. */
int64_t os_thread_cpu_ns(int tid);

/* --- futex (private) ---------------------------------------------------------------- */
/* os_futex_wait - sleep while *WORD == VAL, until deadline_ns (CLOCK_MONOTONIC).
 * Returns 0 woken or changed, -ETIMEDOUT, -EINTR.  Spurious returns happen. */
int os_futex_wait(uint32_t *word, uint32_t val, int64_t deadline_ns);
void os_futex_wake(uint32_t *word, int n);
/* The same for a CLOCK_REALTIME deadline: the kernel follows changes of the clock. */
int os_futex_wait_wall(uint32_t *word, uint32_t val, int64_t deadline_ns);

/* --- memory ------------------------------------------------------------------------- */
/* os_map - zeroed, unreserved, no huge pages; NULL when refused. */
void *os_map(size_t bytes);
void os_unmap(void *p, size_t bytes);
/* os_guard - make the range fault on any access by guard markers (Linux 6.13), which split no
 * mapping.  0 or -errno.  os_protect - the same by mprotect, which costs two mappings. */
int os_guard(void *p, size_t bytes);
int os_protect(void *p, size_t bytes);
/* os_unguard - remove such markers, if the kernel knows any. */
void os_unguard(void *p, size_t bytes);
/* os_mapping_limit - vm.max_map_count. */
size_t os_mapping_limit(void);
/* os_peek - copy N bytes from P, which may be anything; false when it cannot be read. */
bool os_peek(const void *p, void *buf, size_t n);
void os_discard(void *p, size_t bytes); /* give the pages back, keep the mapping */
size_t os_page_size(void);
size_t os_stack_limit(void); /* RLIMIT_STACK */

/* --- threads ------------------------------------------------------------------------ */
int os_gettid(void);
int os_getpid(void);
int os_tgkill(int tid, int sig);
int os_tgsigqueue(int tid, int sig, void *siginfo); /* with a siginfo_t of our own */
void os_yield(void);
/* os_membarrier - every thread of the process that runs passes a full barrier meanwhile. */
void os_membarrier(void);
_Noreturn void os_exit_thread(void);
_Noreturn void os_exit(int status); /* the process */
int os_cpu_count_affinity(void);
/* Current thread's kernel-side registrations, moved when the main thread becomes an M. */
int os_robust_list_get(void **head, size_t *len);
int os_robust_list_set(void *head, size_t len);
int os_rseq(void *area, uint32_t len, int flags, uint32_t sig);
int os_set_tid_address(int *word);
int os_sigmask(int how, const uint64_t *set, uint64_t *old);
/* os_has_handler - does the kernel call a handler for SIG?  Libc does not tell of its own. */
bool os_has_handler(int sig);
int os_set_name(const char *name); /* of the calling kernel thread, 16 bytes */
int os_get_name(char *name);
/* os_thread_state - of kernel thread TID: the letter of proc_pid_stat(5), 0: not known.  Some
 * 10 microseconds; a third of that from a descriptor for it that is kept open.
 * os_thread_stat_open - such a descriptor, or -errno.
 * os_thread_stat_state - TID's state from FD, 0: not known, or that is another file. */
char os_thread_state(int tid);
int os_thread_stat_open(int tid);
char os_thread_stat_state(int fd, int tid);
/* os_thread_count - kernel threads of this process; 0: not known. */
int os_thread_count(void);
/* os_timers_armed - may a timer of the kernel's send this process a signal? */
bool os_timers_armed(void);
/* os_signal_take - one of SET, blocked, that is pending in the kernel for the calling thread or the
 * process: its number and siginfo_t, or 0. */
int os_signal_take(uint64_t set, void *info);
/* of the calling thread */
int os_set_timer_slack(unsigned long ns);
unsigned long os_timer_slack(void);
/* The kernel's stack_t. */
struct os_altstack {
    void *sp;
    int flags;
    size_t bytes;
};
int os_sigaltstack(const struct os_altstack *set, struct os_altstack *old);
size_t os_min_sigstack(void); /* AT_MINSIGSTKSZ: what one signal frame takes here */

/* --- readiness of descriptors (linux_epoll.c) ----------------------------------------- */
enum { /* poll's values */
       OS_IO_IN = 0x001,
       OS_IO_PRI = 0x002,
       OS_IO_OUT = 0x004,
       OS_IO_ERR = 0x008,
       OS_IO_HUP = 0x010,
       OS_IO_RDHUP = 0x2000,
};
struct os_poller {
    int epfd, break_fd, mon_fd; /* ours alone; high numbers */
};
struct os_event {
    uint64_t data;
    uint32_t events;
};
int os_poller_open(struct os_poller *po);
void os_poller_close(struct os_poller *po);
/* os_poller_arm - report EVENTS (and errors and hang-ups) on FD with DATA: once, or with KEEP
 * whenever there are new ones; what is ready already is reported as well.  KNOWN, a hint: it
 * was armed before.  0, -EPERM: FD is always ready, or -errno. */
int os_poller_arm(const struct os_poller *po, int fd, uint32_t events, bool keep,
                  bool known, uint64_t data);
void os_poller_forget(const struct os_poller *po, int fd);
/* os_poller_wait - up to MAX events; *BROKEN: os_poller_break ended the sleep.  May return
 * early.  Number of events or -errno. */
int os_poller_wait(const struct os_poller *po, struct os_event *out, int max,
                   int64_t timeout_ns, bool *broken);
void os_poller_break(const struct os_poller *po);
/* os_poller_unbreak - it is not wanted any more, if nobody has seen it yet. */
void os_poller_unbreak(const struct os_poller *po);
/* os_poller_watch - sleep until there are events to fetch, os_poller_kick, or the timeout; may
 * return early. */
void os_poller_watch(const struct os_poller *po, int64_t timeout_ns);
void os_poller_kick(const struct os_poller *po);
/* os_poll - poll(2) without sleeping. */
struct pollfd;
int os_poll(struct pollfd *fds, unsigned n);
/* os_dup_high - a duplicate (close-on-exec) with a high number, or -errno. */
int os_dup_high(int fd);

/* --- small I/O ---------------------------------------------------------------------- */
int os_open_ro(const char *path);
long os_read(int fd, void *buf, size_t n);
/* os_read_text - what one read of the file gives, with a 0 behind it, also after an error: its
 * length or -errno. */
long os_read_text(const char *path, char *buf, size_t size);
long os_pread(int fd, void *buf, size_t n, int64_t at);
long os_write(int fd, const void *buf, size_t n);
void os_close(int fd);
/* os_open_log - create or empty PATH for writing, locked against other processes; the
 * descriptor is a high one, closed by exec.  -EAGAIN: another process has the lock. */
int os_open_log(const char *path);
bool os_file_id(int fd, uint64_t id[2]); /* device and inode */
void os_write_stderr(const char *buf, size_t n);
_Noreturn void os_abort(void);

/* os_format - as snprintf, for %s %c %d %u %x %p with l, ll or z and a width with zeros (%03u);
 * returns how much of it is in BUF, which always ends with a NUL.  No allocation. */
size_t os_format(char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
size_t os_vformat(char *buf, size_t size, const char *fmt, va_list ap);
/* os_print - the same onto FD, in one write of at most 480 bytes. */
void os_print(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* os_log - one line "gshim: ..." on stderr. */
void os_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
