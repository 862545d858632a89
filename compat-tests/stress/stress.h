/* stress.h - the frame that every stress program shares.
 *
 * A stress program is one plain pthread source file, valid on any POSIX system with
 * glibc's extensions; it knows nothing of the library under test, so the native run is
 * the reference for the preloaded one. Header only: `cc -pthread x.c` builds a program.
 *
 *   program [seconds] [extra arguments of its own]
 *
 *   seconds          running time, fractions allowed; default $STRESS_SECONDS, else 3
 *   $STRESS_SEED     seed of all random choices (default 1); threads still interleave
 *   freely $STRESS_WATCHDOG seconds until a hang is declared; default 20 + 5 x seconds
 *
 * Exit 0 and one "ok" line, or 1 and one "FAIL" line with the place. A hang is the usual
 * sign of a lost wake-up: the watchdog then names the phase and the progress counter and
 * aborts (SIGABRT), so a core file or an attached debugger shows where everybody sleeps.
 * No verdict ever depends on how long something took, only on whether it happened.
 *
 * At the end no more descriptors may be open than at the beginning, but for a few of the
 * library under test, nor be registered in an epoll instance; and, in a run of
 * STRESS_LEAK_S or more, no more memory be in use than in the middle of the last phase, but
 * for STRESS_LEAK_KB and a quarter. */

#ifndef STRESS_H
#define STRESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STRESS_NS_PER_S 1000000000LL

static const char *stress_name = "?";
static const char *_Atomic stress_where = "start"; /* phase, for the watchdog's message */
static _Atomic unsigned long stress_progress; /* bumped by the programs, a hint only */
static double stress_seconds = 3;
static uint64_t stress_seed = 1;
static _Atomic int64_t stress_deadline_ns; /* end of the current phase */
enum { STRESS_LEAK_S = 10, STRESS_LEAK_KB = 32 * 1024, STRESS_OWN_FDS = 16 };
static _Atomic int64_t stress_half_ns; /* its middle */
static _Atomic long stress_half_kb;    /* memory in use then; 0: not yet */
static int stress_fds;                 /* open at the beginning */

/* CHECK - fail the program when COND is false; the rest is a printf message. */
#define CHECK(cond, ...)                                                                 \
    do {                                                                                 \
        if (__builtin_expect(!(cond), 0))                                                \
            stress_fail(__FILE__, __LINE__, #cond, __VA_ARGS__);                         \
    } while (0)

/* OK0 - EXPR must return 0 (pthread style); OKSYS - EXPR must not return -1. */
#define OK0(expr)                                                                        \
    do {                                                                                 \
        int ok0_rc_ = (expr);                                                            \
        CHECK(ok0_rc_ == 0, "%s returned %d", #expr, ok0_rc_);                           \
    } while (0)
#define OKSYS(expr)                                                                      \
    do {                                                                                 \
        if ((expr) == -1)                                                                \
            CHECK(0, "%s failed, errno %d", #expr, errno);                               \
    } while (0)

static inline _Noreturn void __attribute__((format(printf, 4, 5)))
stress_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
    char msg[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    dprintf(2, "FAIL %s [%s] %s:%d: %s: %s\n", stress_name, stress_where, file, line,
            what, msg);
    _exit(1);
}

/* Only write(2) and abort(3): this runs as a signal handler. */
static inline void stress_put(const char *s)
{
    if (write(2, s, strlen(s)) < 0)
        _exit(1);
}

static inline void stress_watchdog(int sig)
{
    char digits[24];
    int i = sizeof(digits) - 1;
    unsigned long n = stress_progress;

    (void)sig;
    digits[i] = 0;
    do
        digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    stress_put("FAIL ");
    stress_put(stress_name);
    stress_put(" [");
    stress_put(stress_where);
    stress_put("] HANG, progress counter ");
    stress_put(digits + i);
    stress_put("\n");
    abort();
}

static inline int64_t stress_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * STRESS_NS_PER_S + ts.tv_nsec;
}

static inline long stress_resident_kb(void)
{
    char buf[128] = "";
    long size, pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f && fgets(buf, sizeof(buf), f) && sscanf(buf, "%ld %ld", &size, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Lines of the epoll instance FD's entry in /proc that tell of a registration; 0 for others. */
static inline int stress_registered(const char *fd)
{
    char path[64], line[256];
    int n = 0;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%.16s", fd);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        n += strncmp(line, "tfd:", 4) == 0;
    if (f)
        fclose(f);
    return n;
}

/* Open descriptors, and the most that one epoll instance has. */
static inline int stress_open_fds(int *registered)
{
    DIR *d = opendir("/proc/self/fd");
    int n = -1; /* D's own */

    *registered = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        int here = stress_registered(e->d_name);
        *registered = here > *registered ? here : *registered;
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

static inline void stress_check_leaks(void)
{
    int registered, open_now = stress_open_fds(&registered);
    long kb = stress_resident_kb(), before = stress_half_kb;

    CHECK(open_now <= stress_fds + STRESS_OWN_FDS, "%d descriptors at first, now %d",
          stress_fds, open_now);
    CHECK(registered <= stress_fds + STRESS_OWN_FDS, "%d descriptors are registered",
          registered);
    if (stress_seconds >= STRESS_LEAK_S && before != 0)
        CHECK(kb <= before + before / 4 + STRESS_LEAK_KB, "%ld KB in use, before %ld", kb,
              before);
}

/* stress_phase - the next phase may use SHARE (0..1) of the whole running time. */
static inline void stress_phase(const char *name, double share)
{
    stress_where = name;
    int64_t now = stress_now_ns(), ns = (int64_t)(share * stress_seconds * 1e9);
    stress_half_kb = 0;
    stress_half_ns = now + ns / 2;
    stress_deadline_ns = now + ns;
}

static inline bool stress_running(void)
{
    int64_t now = stress_now_ns();
    long none = 0;

    if (now > stress_half_ns && stress_half_kb == 0 &&
        atomic_compare_exchange_strong(&stress_half_kb, &none, 1))
        stress_half_kb = stress_resident_kb();
    return now < stress_deadline_ns;
}

static inline void stress_begin(const char *name, int argc, char **argv)
{
    const char *env = getenv("STRESS_SECONDS");
    struct sigaction sa = {.sa_handler = stress_watchdog};
    unsigned limit;

    stress_name = name;
    if (argc > 1)
        env = argv[1];
    if (env && atof(env) > 0)
        stress_seconds = atof(env);
    if (getenv("STRESS_SEED"))
        stress_seed = strtoull(getenv("STRESS_SEED"), NULL, 0);
    limit = 20 + (unsigned)(5 * stress_seconds);
    if (getenv("STRESS_WATCHDOG") && atoi(getenv("STRESS_WATCHDOG")) > 0)
        limit = (unsigned)atoi(getenv("STRESS_WATCHDOG"));
    sigemptyset(&sa.sa_mask);
    OKSYS(sigaction(SIGALRM, &sa, NULL));
    alarm(limit);
    int registered;
    stress_fds = stress_open_fds(&registered);
    stress_phase("start", 1);
}

static inline int __attribute__((format(printf, 1, 2))) stress_end(const char *fmt, ...)
{
    char msg[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    stress_check_leaks();
    alarm(0);
    printf("ok %s: %s\n", stress_name, msg);
    return 0;
}

/* Random numbers: xorshift64*, one state per thread. */
static inline uint64_t stress_seed_for(uint64_t who)
{
    uint64_t z = stress_seed * 0x9e3779b97f4a7c15u + (who + 1) * 0xbf58476d1ce4e5b9u;

    z = (z ^ (z >> 31)) * 0x94d049bb133111ebu;
    return z ? z : 88172645463325252u;
}

static inline uint32_t stress_rand(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 0x2545f4914f6cdd1du) >> 32);
}

static inline struct timespec stress_after_ns(clockid_t clock, int64_t delay_ns)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    delay_ns += ts.tv_nsec;
    ts.tv_sec += delay_ns / STRESS_NS_PER_S;
    ts.tv_nsec = delay_ns % STRESS_NS_PER_S;
    return ts;
}

static inline bool stress_passed(clockid_t clock, const struct timespec *when)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec != when->tv_sec ? now.tv_sec > when->tv_sec
                                      : now.tv_nsec >= when->tv_nsec;
}

static inline void stress_sleep_ns(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / STRESS_NS_PER_S,
                          .tv_nsec = ns % STRESS_NS_PER_S};

    while (nanosleep(&ts, &ts) == -1 && errno == EINTR)
        ;
}

/* stress_jitter - do nothing, yield or sleep a moment, so that interleavings vary. */
static inline void stress_jitter(uint64_t *rng)
{
    uint32_t r = stress_rand(rng) % 64;

    if (r < 12)
        sched_yield();
    else if (r == 63)
        stress_sleep_ns(1000 + stress_rand(rng) % 50000);
}

static inline void stress_sem_wait(sem_t *sem)
{
    int rc;

    do
        rc = sem_wait(sem);
    while (rc == -1 && errno == EINTR);
    CHECK(rc == 0, "sem_wait: errno %d", errno);
}

static inline void stress_create(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    OK0(pthread_create(thread, NULL, fn, arg));
}

/* stress_create_small - like above on a 64 KB stack, for programs with many threads. */
static inline void stress_create_small(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;

    OK0(pthread_attr_init(&attr));
    OK0(pthread_attr_setstacksize(&attr, 64 * 1024));
    OK0(pthread_create(thread, &attr, fn, arg));
    OK0(pthread_attr_destroy(&attr));
}

static inline void stress_join(pthread_t thread, void *want)
{
    void *got = (void *)-2L;

    OK0(pthread_join(thread, &got));
    CHECK(got == want, "join gave %p, expected %p", got, want);
}

#endif
