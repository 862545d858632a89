/* waiting100k.c - N threads that wait at the same time: asleep, in read, and in poll.
 *
 *   waiting100k [N] [KERNEL_THREADS]
 *
 * Default 100,000. The sleepers have 1000 deadlines within five seconds: none may wake early,
 * nor more than a second late, so they wake in that order, too. Each reader must get a
 * byte of its own, from pipes that were always ready before. With KERNEL_THREADS the process
 * must not have more of them while all wait. */
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

enum { STACK = 64 * 1024, SLEEP_S = 2, DEADLINES = 1000, OFTEN = 20 };
static const double LATE_S = 1, APART_S = 0.005;

static int (*pipes)[2];
static int npipes, limit;
static long nthreads;
static int started, wrong; /* atomic */
static double base_s;      /* when the first deadline is; before the gate opens */
static pthread_rwlock_t gate = PTHREAD_RWLOCK_INITIALIZER; /* shut until all are made */
static double *woken_s;    /* of each sleeper: when it woke */
static unsigned char *got; /* bytes of each value that each pipe has given; atomic */

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

/* Neighbours have deadlines far apart. */
static double deadline_s(long i)
{
    return base_s + (double)(i * 7919 % DEADLINES) * APART_S;
}

static void *in_sleep(void *arg)
{
    begin();
    pthread_rwlock_rdlock(&gate);
    pthread_rwlock_unlock(&gate);
    double left = deadline_s((long)arg) - now_s();
    if (left < 0)
        left = 0;
    struct timespec ts = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
    check(nanosleep(&ts, NULL) == 0);
    woken_s[(long)arg] = now_s();
    return arg;
}

static void judge_sleepers(void)
{
    long early = 0;
    double late = 0;
    for (long i = 0; i < nthreads; i++) {
        double over = woken_s[i] - deadline_s(i);
        early += over < -0.000001;
        late = over > late ? over : late;
    }
    if (early == 0 && late <= LATE_S)
        return;
    printf("%ld early, %.3f s late\n", early, late);
    check(0);
}

static void *in_read(void *arg)
{
    long pipe = (long)arg % npipes;
    unsigned char c = 0;
    begin();
    check(read(pipes[pipe][0], &c, 1) == 1);
    check(__atomic_fetch_add(&got[pipe * 256 + c], 1, __ATOMIC_RELAXED) == 0);
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
    for (unsigned char c = 0; c < bytes; c++)
        if (write(pipes[i][1], &c, 1) != 1)
            die("write", errno);
}

static void use_often(int i)
{
    char c = 0;
    for (int n = 0; n < OFTEN; n++)
        if (write(pipes[i][1], &c, 1) != 1 || read(pipes[i][0], &c, 1) != 1)
            die("pipe", errno);
}

/* BYTES: what each pipe gets once all wait. */
static void run(const char *name, void *(*fn)(void *), int bytes)
{
    pthread_t *t = calloc((size_t)nthreads, sizeof *t);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK);
    started = 0;
    pthread_rwlock_wrlock(&gate);
    for (long i = 0; i < nthreads; i++) {
        int err = pthread_create(&t[i], &small, fn, (void *)i);
        if (err != 0)
            die("pthread_create", err);
    }
    while (__atomic_load_n(&started, __ATOMIC_RELAXED) < nthreads)
        usleep(1000);
    base_s = now_s() + SLEEP_S;
    pthread_rwlock_unlock(&gate);
    usleep(SLEEP_S * 1000000 / 2);
    int kernel = kernel_threads();
    for (int i = 0; i < npipes; i++)
        feed(i, bytes);
    for (long i = 0; i < nthreads; i++)
        pthread_join(t[i], NULL);
    if (fn == in_sleep)
        judge_sleepers();
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
    for (int i = 0; i < npipes; i++)
        use_often(i);
    nthreads = nthreads / npipes * npipes; /* as many readers on each */
    woken_s = calloc((size_t)nthreads, sizeof *woken_s);
    got = calloc((size_t)npipes, 256);
    run("nanosleep", in_sleep, 0);
    run("read", in_read, (int)(nthreads / npipes));
    run("poll", in_poll, 1);
    return 0;
}
