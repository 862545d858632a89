/* preempt.c - what taking the CPU from a busy thread costs, and what the monitor does.
 *
 *   preempt turns | idle | busy | stop
 *
 * Prints lines "name value unit", as bench.c does.
 *   turns  two busy threads share one CPU, or one P: from the last sign of one to the first of
 *          the other, median.  A sign is a look at the clock every tenth of a microsecond.
 *   idle   CPU time of the library's monitor thread while every thread sleeps, in per cent
 *   busy   the same with two busy threads for each CPU
 *   stop   how long gshim_stop_the_world takes among four busy threads: median and 99 of 100
 * Without the library only `turns` prints something. */

#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shim/gshim.h"

enum { MOST = 4096, STOPS = 500, SPINNERS = 4 };

static const int64_t TURNS_NS = 1500000000, WATCH_NS = 1000000000, PAUSE_NS = 1000000;

static volatile bool enough;

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void sleep_ns(int64_t ns)
{
    struct timespec ts = {ns / 1000000000, ns % 1000000000};

    nanosleep(&ts, NULL);
}

static void start(pthread_t *t, void *(*fn)(void *), void *arg)
{
    if (pthread_create(t, NULL, fn, arg) != 0) {
        fputs("preempt: no thread\n", stderr);
        exit(1);
    }
}

static void *spin(void *arg)
{
    while (!enough)
        ;
    return arg;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* The value below which PER_CENT of the N are. */
static double sorted(int64_t *v, int n, int per_cent)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    return (double)v[(int64_t)(n - 1) * per_cent / 100];
}

/* --- turns ------------------------------------------------------------------------------- */

/* Only one of the two runs at a time, so they need no lock.  But for when one is interrupted
 * where that is not safe, in the clock's code, and the other one gets a P of its own for a
 * moment; a turn that was shorter than a millisecond is such a moment, and does not count. */
static volatile int64_t last_ns, turn_ns;
static volatile intptr_t last_who;
static int64_t gaps[MOST];
static volatile int ngaps;

static void *take_turns(void *arg)
{
    intptr_t who = (intptr_t)arg;

    while (!enough) {
        int64_t t = now_ns();
        if (last_who != who) {
            if (last_ns - turn_ns > 1000000 && ngaps < MOST)
                gaps[ngaps++] = t - last_ns;
            turn_ns = t;
        }
        last_who = who;
        last_ns = t;
        for (volatile int i = 0; i < 50; i++)
            ;
    }
    return NULL;
}

static void turns(void)
{
    pthread_t t[2];

    for (intptr_t i = 0; i < 2; i++)
        start(&t[i], take_turns, (void *)(i + 1));
    sleep_ns(TURNS_NS);
    enough = true;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    if (ngaps > 10)
        printf("turns %.0f ns\n", sorted(gaps, ngaps, 50));
}

/* --- monitor ------------------------------------------------------------------------------ */

/* CPU time so far, in ns; -1: there is none. */
static int64_t monitor_ns(void)
{
    DIR *d = opendir("/proc/self/task");
    int64_t ns = -1;

    for (struct dirent *e; d != NULL && ns < 0 && (e = readdir(d)) != NULL;) {
        char path[300], comm[32] = "";
        FILE *f;
        long long v;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        if ((f = fopen(path, "r")) == NULL)
            continue;
        bool is_it =
            fgets(comm, sizeof(comm), f) != NULL && strcmp(comm, "gshim-sysmon\n") == 0;
        fclose(f);
        snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", e->d_name);
        if (!is_it || (f = fopen(path, "r")) == NULL)
            continue;
        if (fscanf(f, "%lld", &v) == 1)
            ns = v;
        fclose(f);
    }
    if (d != NULL)
        closedir(d);
    return ns;
}

static void monitor(const char *name, int threads)
{
    pthread_t t[256];

    threads = threads < 256 ? threads : 256;
    for (int i = 0; i < threads; i++)
        start(&t[i], spin, NULL);
    if (threads == 0) { /* the library starts with the first */
        enough = true;
        start(&t[0], spin, NULL);
        pthread_join(t[0], NULL);
    }
    sleep_ns(WATCH_NS / 10);
    int64_t begin = now_ns(), before = monitor_ns();
    sleep_ns(WATCH_NS);
    int64_t used = monitor_ns() - before, wall = now_ns() - begin;
    enough = true;
    for (int i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    if (before >= 0)
        printf("monitor_%s %.4f %%\n", name, 100.0 * (double)used / (double)wall);
}

/* --- stop ----------------------------------------------------------------------------------- */

static void stop(void)
{
    static int64_t took[STOPS];
    pthread_t t[SPINNERS];

    if (!gshim_stop_the_world)
        return;
    for (int i = 0; i < SPINNERS; i++)
        start(&t[i], spin, NULL);
    for (int i = 0; i < STOPS; i++) {
        sleep_ns(PAUSE_NS);
        int64_t begin = now_ns();
        gshim_stop_the_world("bench");
        took[i] = now_ns() - begin;
        gshim_start_the_world();
    }
    enough = true;
    for (int i = 0; i < SPINNERS; i++)
        pthread_join(t[i], NULL);
    printf("stop_p50 %.0f ns\n", sorted(took, STOPS, 50));
    printf("stop_p99 %.0f ns\n", sorted(took, STOPS, 99));
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    alarm(60);
    if (!strcmp(name, "turns"))
        turns();
    else if (!strcmp(name, "idle"))
        monitor(name, 0);
    else if (!strcmp(name, "busy"))
        monitor(name, 2 * (int)sysconf(_SC_NPROCESSORS_ONLN));
    else if (!strcmp(name, "stop"))
        stop();
    else {
        fputs("usage: preempt turns|idle|busy|stop\n", stderr);
        return 2;
    }
    return 0;
}
