/* task.h - frame of the exercises: what is expected, what is observed, and whether they agree.
 *
 * Each program runs natively and starts itself again under the preload, with the settings that the
 * exercise is about, as `program MODE`:
 *
 *     static void child(const char *mode) { ... say("name", value); }
 *     static void task(void) { EXPECT("..."); run("mode", 1, "GSHIM_DEBUG=..."); CHECK(...); }
 *
 * A child reports numbers by say(); get() reads them in the parent, and fails when they were not
 * said.  So an exercise whose child did not run, or did not get to its end, fails.
 * Exit status: 0 as expected, 1 not, 77 cannot be done here (the reason is printed).
 * Environment: GSHIM_LIB.
 */
#ifndef TASK_H
#define TASK_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shim/gshim.h"

enum { LIMIT_MS = 60000, OUTPUT = 1 << 20 };

static void child(const char *mode);
static void task(void);

static const char *program;
static char output[OUTPUT]; /* of the last child: stdout and stderr */
static bool timed_out;
static int failures;

/* --- both ---------------------------------------------------------------------------------- */

static inline int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static inline void die(const char *what)
{
    printf("cannot go on: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

/* --- in the child ---------------------------------------------------------------------------- */

static inline void say(const char *name, double value)
{
    printf("%s=%.17g\n", name, value);
    fflush(stdout);
}

static inline pthread_t start(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    errno = pthread_create(&t, NULL, fn, arg);
    if (errno != 0)
        die("pthread_create");
    return t;
}

static inline int kernel_threads(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    if (d == NULL)
        die("/proc/self/task");
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline double preemptions(void)
{
    if (gshim_preemptions == NULL)
        die("not under libgshim");
    return (double)gshim_preemptions();
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double quantile(double *v, int n, double q)
{
    qsort(v, (size_t)n, sizeof *v, compare_doubles);
    return v[(int)(q * (n - 1))];
}

/* --- in the parent ----------------------------------------------------------------------------- */

#define EXPECT(...) (printf("  expected: "), printf(__VA_ARGS__), putchar('\n'))
#define OBSERVE(...) (printf("  observed: "), printf(__VA_ARGS__), putchar('\n'))
#define CHECK(cond)                                                                      \
    ((cond) ? (void)0 : (failures++, (void)printf("  NOT SO:   %s\n", #cond)))

static inline void cannot(const char *why)
{
    printf("  cannot be done here: %s\n", why);
    exit(77);
}

static inline void read_child(int fd, pid_t pid)
{
    int64_t end = now_ns() + LIMIT_MS * (int64_t)1000000;
    size_t n = 0;
    timed_out = false;
    for (;;) {
        int64_t left = (end - now_ns()) / 1000000;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)left) == 0) {
            timed_out = true;
            kill(pid, SIGKILL);
            break;
        }
        ssize_t r = read(fd, output + n, sizeof output - 1 - n);
        if (r <= 0)
            break;
        n += (size_t)r;
    }
    output[n] = '\0';
}

/* run - this program as MODE under the preload with P processors; more: "NAME=value", NULL.
 * Returns its exit status, -1 when it had to be killed. */
static inline int run(const char *mode, int procs, ...)
{
    const char *lib = getenv("GSHIM_LIB");
    char number[16];
    int fds[2], status;
    va_list ap;
    if (lib == NULL || pipe(fds) != 0)
        die("GSHIM_LIB");
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        close(fds[0]);
        close(fds[1]);
        snprintf(number, sizeof number, "%d", procs);
        setenv("GSHIM_MAXPROCS", number, 1);
        setenv("LD_PRELOAD", lib, 1);
        va_start(ap, procs);
        for (char *e; (e = va_arg(ap, char *)) != NULL;)
            putenv(e);
        va_end(ap);
        execl(program, program, mode, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    read_child(fds[0], pid);
    close(fds[0]);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* get - what the last child said under NAME. */
static inline double get(const char *name)
{
    size_t len = strlen(name);
    for (const char *p = output; (p = strstr(p, name)) != NULL; p += len)
        if ((p == output || p[-1] == '\n') && p[len] == '=')
            return strtod(p + len + 1, NULL);
    printf("  NOT SO:   the child said %s; it said:\n%.2000s\n", name, output);
    failures++;
    return NAN;
}

/* median_field - of the numbers that follow TEXT in what the last child said. */
static inline double median_field(const char *text)
{
    static double v[10000];
    int n = 0;
    for (const char *p = output; (p = strstr(p, text)) != NULL && n < 10000; p++)
        v[n++] = strtod(p + strlen(text), NULL);
    if (n < 3) {
        printf("  NOT SO:   the child said %s; it said:\n%.2000s\n", text, output);
        failures++;
        return NAN;
    }
    return quantile(v, n, 0.5);
}

int main(int argc, char **argv)
{
    program = "/proc/self/exe";
    if (argc > 1) {
        alarm(LIMIT_MS / 1000 + 5); /* if nobody waits for us any more */
        child(argv[1]);
        return 0;
    }
    const char *slash = strrchr(argv[0], '/');
    printf("%s\n", slash != NULL ? slash + 1 : argv[0]);
    task();
    printf("  %s\n", failures == 0 ? "as expected" : "NOT AS EXPECTED");
    return failures != 0;
}

#endif
