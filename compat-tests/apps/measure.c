/* measure.c - runs one command, measures it, and never leaves anything of it behind.
 *
 *   measure -s STATS [-t SECONDS] [-q SECONDS] [-o STDOUT] [-e STDERR]
 *   [-E NAME=VALUE]... -- COMMAND...
 *
 * Writes one line to STATS:
 *
 *   RC TIMED_OUT WALL_MS MAX_THREADS MAX_RSS_KB CPU_MS
 *
 * RC is the exit status, or 128 + signal. MAX_THREADS is the largest number of kernel
 * threads seen in all processes of the command together; it is sampled, so very short
 * peaks may be missed. CPU_MS is that of the command and of the children it waited for.
 * The variables of -E are set for the command only: a preloaded library does not get into
 * this program.
 *
 * SIGTERM and SIGINT end the command at once, as if its time was over; with -q the command
 * is a server: it gets a SIGTERM and so many seconds to end by itself.
 *
 * The command gets a session of its own, and this program is the reaper of its orphans:
 * after SECONDS, or when the command itself has ended, everything left over is killed. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_PROCS = 4096,    /* of the command; more are not counted */
    SAMPLE_NS = 5000000, /* between two looks at the known processes */
    RESCAN = 10,         /* looks between two searches for new processes */
};

struct proc {
    pid_t pid, ppid, session;
    long threads;
};

static pid_t known[MAX_PROCS];
static int n_known;

static double ms(struct timeval tv)
{
    return (double)tv.tv_sec * 1e3 + (double)tv.tv_usec / 1e3;
}

static void die(const char *what)
{
    fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
    exit(125);
}

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* /proc/PID/stat: pid (name) state ppid pgrp session ... field 20 is num_threads. */
static bool look(pid_t pid, struct proc *p)
{
    char path[64], text[1024], *s;
    int fd;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    s = strrchr(text, ')');
    if (!s)
        return false;
    p->pid = pid;
    return sscanf(s + 2,
                  "%*c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld",
                  &p->ppid, &p->session, &p->threads) == 3;
}

/* find - remember every process of SESSION; with KILL_ORPHANS also kill my own
 * children. */
static int find(pid_t session, bool kill_orphans)
{
    DIR *dir = opendir("/proc");
    struct dirent *e;
    int killed = 0;

    n_known = 0;
    while (dir && (e = readdir(dir))) {
        struct proc p;

        if (!isdigit((unsigned char)e->d_name[0]) || !look(atoi(e->d_name), &p))
            continue;
        if (kill_orphans && (p.ppid == getpid() || p.session == session))
            killed += kill(p.pid, SIGKILL) == 0;
        if (p.session == session && n_known < MAX_PROCS)
            known[n_known++] = p.pid;
    }
    if (dir)
        closedir(dir);
    return killed;
}

static long count_threads(pid_t session, unsigned sample)
{
    long sum = 0;

    if (sample % RESCAN == 0)
        find(session, false);
    for (int i = 0; i < n_known; i++) {
        struct proc p;

        if (look(known[i], &p) && p.session == session)
            sum += p.threads;
    }
    return sum;
}

static void redirect(const char *file, int fd)
{
    int to = file ? open(file, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;

    if (file && (to < 0 || dup2(to, fd) < 0))
        die(file);
    if (to >= 0)
        close(to);
}

/* clean_up - kill what the command left running and reap it. */
static void clean_up(pid_t session)
{
    for (int i = 0; i < 200; i++) {
        int killed = find(session, true);

        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (!killed)
            return;
        usleep(5000);
    }
}

struct result {
    int status;
    bool timed_out;
    long max_threads;
    struct rusage usage;
};

/* watch - sample until the command ends or the time is over. SIGCHLD is blocked, so that
 * sigtimedwait returns at once when it ends and the wall time is exact. */
static void watch(pid_t child, double give_up_s, double quit_s, const sigset_t *blocked,
                  struct result *r)
{
    struct timespec tick = {0};
    int stop = 0; /* SIGINT or SIGTERM came */

    for (unsigned sample = 0;; sample++) {
        pid_t pid = wait4(child, &r->status, WNOHANG, &r->usage);
        long threads;

        if (pid == child)
            return;
        threads = count_threads(child, sample);
        if (threads > r->max_threads)
            r->max_threads = threads;
        if (stop && quit_s > 0) {
            kill(child, SIGTERM);
            give_up_s = now_s() + quit_s;
            quit_s = stop = 0;
        }
        if (now_s() > give_up_s || stop) {
            r->timed_out = true;
            /* Itself first, so that its usage is not lost; main cleans up the rest. */
            kill(child, SIGKILL);
            wait4(child, &r->status, 0, &r->usage);
            return;
        }
        tick.tv_nsec = sample < 5 ? SAMPLE_NS / 5 : SAMPLE_NS;
        stop = sigtimedwait(blocked, NULL, &tick);
        stop = stop == SIGINT || stop == SIGTERM ? stop : 0;
    }
}

static pid_t start(char **argv, const char *out, const char *err, const sigset_t *mask)
{
    pid_t child = fork();

    if (child < 0)
        die("fork");
    if (child > 0)
        return child;
    setsid();
    sigprocmask(SIG_SETMASK, mask, NULL);
    redirect("/dev/null", 0);
    redirect(out, 1);
    redirect(err, 2);
    execvp(argv[0], argv);
    die(argv[0]);
    return 0;
}

int main(int argc, char **argv)
{
    const char *stats = NULL, *out = NULL, *err = NULL;
    double timeout_s = 600, quit_s = 0, began;
    struct result r = {0};
    sigset_t block, old;
    char *set[32];
    int n_set = 0, opt;
    pid_t child;
    FILE *f;

    while ((opt = getopt(argc, argv, "+s:t:q:o:e:E:")) != -1) {
        switch (opt) {
        case 's':
            stats = optarg;
            break;
        case 't':
            timeout_s = atof(optarg);
            break;
        case 'q':
            quit_s = atof(optarg);
            break;
        case 'o':
            out = optarg;
            break;
        case 'e':
            err = optarg;
            break;
        case 'E':
            if (n_set < 32)
                set[n_set++] = optarg;
            break;
        default:
            return 125;
        }
    }
    if (!stats || optind == argc) {
        fprintf(stderr, "measure: -s STATS and a command are needed\n");
        return 125;
    }
    sigemptyset(&block);
    sigaddset(&block, SIGCHLD);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &old);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = 0; i < n_set; i++)
        putenv(set[i]);
    began = now_s();
    child = start(argv + optind, out, err, &old);
    watch(child, began + timeout_s, quit_s, &block, &r);
    began = now_s() - began;
    clean_up(child);
    f = fopen(stats, "w");
    if (!f)
        die(stats);
    fprintf(f, "%d %d %.0f %ld %ld %.0f\n",
            WIFSIGNALED(r.status) ? 128 + WTERMSIG(r.status) : WEXITSTATUS(r.status),
            r.timed_out, began * 1e3, r.max_threads, r.usage.ru_maxrss,
            ms(r.usage.ru_utime) + ms(r.usage.ru_stime));
    return fclose(f) ? 125 : 0;
}
