/* conform.h - the harness of the conformance programs.
 *
 * Every program here is plain POSIX/GNU C (or C++) that uses public interfaces only. It
 * must pass on the C library's own threads, and print the same bytes when the threads are
 * somebody else's: so stdout carries one deterministic line per test and a summary, and
 * everything that varies (values, line numbers of failed checks) goes to stderr.
 *
 *   prog            run all tests, in source order
 *   prog NAME...    run only these
 *   prog --list     print their names
 *   prog @MODE      run a MODE() function as the whole program (used by tests that need a
 *                   fresh process: return from main, pthread_exit in main, ...)
 *
 * A hang is found by alarm() with its default action, one per test: nothing of it depends
 * on threads, handlers or timers of the library under test. CONFORM_TIMEOUT (seconds)
 * changes it, 0 switches it off for a debugger; CONFORM_VERBOSE=1 names each test on
 * stderr before it starts. Waits in the tests never assume that something happens soon: a
 * timed wait may be late, it must not be early.
 */
#ifndef CONFORM_H
#define CONFORM_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONFORM_UNUSED __attribute__((unused))
#define CONFORM_MAX 64 /* tests per program; more means that it wants splitting */
#define CONFORM_TIMEOUT_S 20
#define CONFORM_DETAILS 12 /* failed checks that are printed, per test */
#define NS_PER_MS 1000000LL
#define NS_PER_S 1000000000LL
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

struct conform_test {
    const char *name;
    int line;
    void (*run)(void);
    int (*mode)(void);
};

static struct conform_test conform_tests[CONFORM_MAX];
static int conform_count;
static int conform_failures; /* atomic; of the running test, this process only */

/* ---- checks ------------------------------------------------------------------------ */

static inline void conform_fail(const char *file, int line, const char *text)
{
    int n = __atomic_fetch_add(&conform_failures, 1, __ATOMIC_RELAXED);

    /* The same check in a hundred threads tells no more than in the first few. */
    if (n < CONFORM_DETAILS)
        dprintf(2, "%s:%d: %s\n", file, line, text);
    else if (n == CONFORM_DETAILS)
        dprintf(2, "... more of this test\n");
}

static inline void conform_eq(const char *file, int line, const char *a_text,
                              const char *b_text, long long a, long long b)
{
    char text[512];

    if (a == b)
        return;
    snprintf(text, sizeof(text), "%s == %s: %lld != %lld", a_text, b_text, a, b);
    conform_fail(file, line, text);
}

static inline void conform_err(const char *file, int line, const char *call, long long rc,
                               int err, int want)
{
    char text[512];

    if (rc == -1 && err == want)
        return;
    snprintf(text, sizeof(text), "%s: returned %lld, errno %d, wanted -1 and errno %d",
             call, rc, err, want);
    conform_fail(file, line, text);
}

/* All of them count a failure and go on; they may be used from any thread. */
#define CHECK(cond) ((cond) ? (void)0 : conform_fail(__FILE__, __LINE__, #cond))
#define CHECK_EQ(a, b)                                                                   \
    conform_eq(__FILE__, __LINE__, #a, #b, (long long)(a), (long long)(b))

/* For calls in the style of system calls: -1 and errno. Functions that return the error
 * number itself are compared by CHECK_EQ. */
#define CHECK_ERR(call, errnum)                                                          \
    do {                                                                                 \
        errno = 0;                                                                       \
        long long conform_rc = (long long)(call);                                        \
        conform_err(__FILE__, __LINE__, #call, conform_rc, errno, errnum);               \
    } while (0)

/* ---- registration ------------------------------------------------------------------ */

static inline void conform_register(const char *name, int line, void (*run)(void),
                                    int (*mode)(void))
{
    int i = conform_count;

    if (conform_count >= CONFORM_MAX)
        abort();
    /* By line: the order of constructors is not something to build output on. */
    for (; i > 0 && conform_tests[i - 1].line > line; i--)
        conform_tests[i] = conform_tests[i - 1];
    conform_tests[i].name = name;
    conform_tests[i].line = line;
    conform_tests[i].run = run;
    conform_tests[i].mode = mode;
    conform_count++;
}

#define TEST(name)                                                                       \
    static void test_##name(void);                                                       \
    __attribute__((constructor)) static void conform_add_##name(void)                    \
    {                                                                                    \
        conform_register(#name, __LINE__, test_##name, NULL);                            \
    }                                                                                    \
    static void test_##name(void)

/* The body returns what main() returns. */
#define MODE(name)                                                                       \
    static int mode_##name(void);                                                        \
    __attribute__((constructor)) static void conform_add_mode_##name(void)               \
    {                                                                                    \
        conform_register("@" #name, __LINE__, NULL, mode_##name);                        \
    }                                                                                    \
    static int mode_##name(void)

/* ---- watchdog, clocks, sleeping ---------------------------------------------------- */

static inline unsigned conform_timeout_s(void)
{
    const char *text = getenv("CONFORM_TIMEOUT");

    return text ? (unsigned)atoi(text) : CONFORM_TIMEOUT_S;
}

/* Also to be called first in every forked child, which inherits no alarm. */
static inline void watchdog(void)
{
    alarm(conform_timeout_s());
}

static inline int64_t ts_ns(struct timespec ts)
{
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static inline int64_t now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts_ns(ts);
}

/* Absolute time on CLOCK, MS milliseconds from now (may be negative). */
static inline struct timespec in_ms(clockid_t clock, long ms)
{
    int64_t ns = now_ns(clock) + ms * NS_PER_MS;
    struct timespec ts;

    ts.tv_sec = (time_t)(ns / NS_PER_S);
    ts.tv_nsec = (long)(ns % NS_PER_S);
    return ts;
}

static inline void sleep_ms(long ms)
{
    struct timespec ts;

    ts.tv_sec = ms / 1000;
    ts.tv_nsec = (long)((ms % 1000) * NS_PER_MS);
    while (nanosleep(&ts, &ts) == -1 && errno == EINTR)
        continue;
}

/* Time for another thread to get where it should block. Only ever makes a test sharper;
 * no check may rely on it. */
static inline void settle(void)
{
    sleep_ms(15);
}

/* A call that waits until DEADLINE on CLOCK must time out, and not early. */
#define CHECK_TIMES_OUT(call, clock, deadline)                                           \
    do {                                                                                 \
        CHECK_EQ(call, ETIMEDOUT);                                                       \
        CHECK(now_ns(clock) >= ts_ns(deadline));                                         \
    } while (0)

/* The same for waits on a condition variable, which may wake up for no reason. */
#define CHECK_WAIT_TIMES_OUT(call, clock, deadline)                                      \
    do {                                                                                 \
        int conform_rc;                                                                  \
        do                                                                               \
            conform_rc = call;                                                           \
        while (conform_rc == 0);                                                         \
        CHECK_EQ(conform_rc, ETIMEDOUT);                                                 \
        CHECK(now_ns(clock) >= ts_ns(deadline));                                         \
    } while (0)

/* ---- flags between threads --------------------------------------------------------- */

static inline int get(const int *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static inline void set(int *flag, int value)
{
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static inline int add(int *counter, int n)
{
    return __atomic_add_fetch(counter, n, __ATOMIC_ACQ_REL);
}

/* Polls by sleeping, so that it needs nothing but time from the scheduler. */
static inline void await_at_least(const int *flag, int value)
{
    while (get(flag) < value)
        sleep_ms(1);
}

/* ---- signals -------------------------------------------------------------------------- */

static inline sigset_t set_of(int sig)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, sig);
    return set;
}

/* mask_signal - block or unblock SIG for the calling thread. */
static inline void mask_signal(int how, int sig)
{
    sigset_t set = set_of(sig);

    CHECK_EQ(pthread_sigmask(how, &set, NULL), 0);
}

/* ---- threads, processes, shared memory --------------------------------------------- */

static inline pthread_t spawn(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    int rc = pthread_create(&t, NULL, fn, arg);

    if (rc != 0) {
        dprintf(2, "pthread_create: %s\n", strerror(rc));
        abort();
    }
    return t;
}

static inline void *join(pthread_t t)
{
    void *result = NULL;

    CHECK_EQ(pthread_join(t, &result), 0);
    return result;
}

static inline void *shared_alloc(size_t bytes)
{
    void *p =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

/* Runs FN(ARG) in a forked child; failed checks in there make its exit status 1. */
static inline pid_t start_child(void (*fn)(void *), void *arg)
{
    pid_t pid = fork();

    if (pid == 0) {
        watchdog();
        set(&conform_failures, 0);
        fn(arg);
        _exit(get(&conform_failures) ? 1 : 0);
    }
    if (pid < 0)
        abort();
    return pid;
}

static inline int wait_status(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
        continue;
    return status;
}

#define CHECK_CHILD_OK(pid) CHECK_EQ(wait_status(pid), 0)

/* Runs this program again as "prog @mode"; its stdout goes to OUT (may be NULL). Returns
 * the wait status. */
static inline int run_mode(const char *mode, char *out, size_t size)
{
    char text[64];
    size_t used = 0;
    ssize_t n;
    int fds[2];
    pid_t pid;

    snprintf(text, sizeof(text), "@%s", mode);
    if (pipe(fds) != 0 || (pid = fork()) < 0)
        abort();
    if (pid == 0) {
        char self[] = "/proc/self/exe";
        char *argv[] = {self, text, NULL};

        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execv(self, argv);
        _exit(127);
    }
    close(fds[1]);
    for (;;) {
        char drop[256];
        bool room = out && used + 1 < size;

        n = room ? read(fds[0], out + used, size - 1 - used)
                 : read(fds[0], drop, sizeof(drop));
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        if (n > 0 && room)
            used += (size_t)n;
    }
    if (out && size)
        out[used] = '\0';
    close(fds[0]);
    return wait_status(pid);
}

#define CHECK_EXITS(status, code)                                                        \
    do {                                                                                 \
        int conform_st = (status);                                                       \
        CHECK(WIFEXITED(conform_st));                                                    \
        CHECK_EQ(WEXITSTATUS(conform_st), code);                                         \
    } while (0)

/* ---- main -------------------------------------------------------------------------- */

static inline bool conform_selected(const char *name, int argc, char **argv)
{
    if (argc < 2)
        return true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    const char *verbose = getenv("CONFORM_VERBOSE");
    int passed = 0, failed = 0;

    if (argc == 2 && argv[1][0] == '@') {
        for (int i = 0; i < conform_count; i++) {
            if (strcmp(conform_tests[i].name, argv[1]) == 0) {
                watchdog();
                return conform_tests[i].mode();
            }
        }
        return 126;
    }
    for (int i = 0; i < conform_count; i++) {
        const struct conform_test *t = &conform_tests[i];

        if (!t->run)
            continue;
        if (argc == 2 && strcmp(argv[1], "--list") == 0) {
            dprintf(1, "%s\n", t->name);
            continue;
        }
        if (!conform_selected(t->name, argc, argv))
            continue;
        if (verbose)
            dprintf(2, "# %s\n", t->name);
        set(&conform_failures, 0);
        watchdog();
        t->run();
        if (get(&conform_failures))
            failed++;
        else
            passed++;
        dprintf(1, "%s %s\n", get(&conform_failures) ? "FAIL" : "ok", t->name);
    }
    alarm(0);
    dprintf(1, "%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}

#endif
