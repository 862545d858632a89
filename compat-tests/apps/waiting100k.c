/* waiting100k.c - N threads that wait at the same time: asleep, in read, and in poll.
 *
 *   waiting100k [N] [KERNEL_THREADS]
 *
 * Default 100,000. Each sleeper must wake in time, each reader must get its byte. With
 * KERNEL_THREADS the process must not have more of them while all wait. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { STACK = 64 * 1024, SLEEP_S = 2 };

static int (*pipes)[2];
static int npipes, limit;
static long nthreads;
static int started, wrong; /* atomic */

static void die(const char *what, int err)
{
    printf("%s: %s\n", what, strerror(err));
    exit(1);
}

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void begin(void)
{
    __atomic_fetch_add(&started, 1, __ATOMIC_RELAXED);
}

static void check(int ok)
{
    if (!ok)
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
}

static void *in_sleep(void *arg)
{
    struct timespec ts = {SLEEP_S, 0};
    double start = now_s();
    begin();
    check(nanosleep(&ts, NULL) == 0);
    check(now_s() - start >= SLEEP_S);
    return arg;
}

static void *in_read(void *arg)
{
    char c = 0;
    begin();
    check(read(pipes[(long)arg % npipes][0], &c, 1) == 1 && c == 'r');
    return arg;
}

static void *in_poll(void *arg)
{
    struct pollfd p = {pipes[(long)arg % npipes][0], POLLIN, 0};
    begin();
    check(poll(&p, 1, -1) == 1 && p.revents == POLLIN);
    return arg;
}

static int kernel_threads(void)
{
    int n = -2;
    DIR *d = opendir("/proc/self/task");
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n;
}

static void feed(int i, int bytes)
{
    for (; bytes > 0; bytes--)
        if (write(pipes[i][1], "r", 1) != 1)
            die("write", errno);
}

/* BYTES: what each pipe gets once all wait. */
static void run(const char *name, void *(*fn)(void *), int bytes)
{
    pthread_t *t = calloc((size_t)nthreads, sizeof *t);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK);
    started = 0;
    for (long i = 0; i < nthreads; i++) {
        int err = pthread_create(&t[i], &small, fn, (void *)i);
        if (err != 0)
            die("pthread_create", err);
    }
    while (__atomic_load_n(&started, __ATOMIC_RELAXED) < nthreads)
        usleep(1000);
    usleep(100000);
    int kernel = kernel_threads();
    for (int i = 0; i < npipes; i++)
        feed(i, bytes);
    for (long i = 0; i < nthreads; i++)
        pthread_join(t[i], NULL);
    if (wrong != 0 || (limit != 0 && kernel > limit)) {
        printf("%s: %d wrong, %d kernel threads\n", name, wrong, kernel);
        exit(1);
    }
    printf("%ld threads in %s\n", nthreads, name);
    free(t);
}

int main(int argc, char **argv)
{
    struct rlimit lim;
    nthreads = argc > 1 ? atol(argv[1]) : 100000;
    limit = argc > 2 ? atoi(argv[2]) : 0;
    getrlimit(RLIMIT_NOFILE, &lim);
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    npipes = lim.rlim_cur > 20000 ? 9900 : (int)lim.rlim_cur / 2 - 50;
    if (npipes > nthreads)
        npipes = (int)nthreads;
    pipes = calloc((size_t)npipes, sizeof *pipes);
    for (int i = 0; i < npipes; i++)
        if (pipe(pipes[i]) != 0)
            die("pipe", errno);
    nthreads = nthreads / npipes * npipes; /* as many readers on each */
    run("nanosleep", in_sleep, 0);
    run("read", in_read, (int)(nthreads / npipes));
    run("poll", in_poll, 1);
    return 0;
}
