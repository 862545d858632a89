/* bench.c - what threads cost; one plain pthread program for every pthread library.
 *
 *   bench NAME [ARGUMENT]
 *
 * Prints lines "name value unit", each value the median of SAMPLES measurements in this
 * process. The same names are in bench.go, with Go's own means. run.sh runs all of them
 * in turns and prints the table; nothing here judges.
 *
 * How each is measured:
 *   A loop of n operations is timed; n is doubled until it takes CALIBRATE_NS. A "round
 *   trip" is two wakes and two switches. parked N creates N threads, each waiting on a
 *   semaphore of its own, with 64 KB stacks; memory is the growth of Rss in smaps_rollup
 *   per thread, and "all-in" the drop of MemAvailable, which has the kernel's share too
 *   (and whatever else happens on the machine). */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shim/gshim.h"

enum { SAMPLES = 5, CALIBRATE_NS = 30000000, BATCH = 1000, HOT_THREADS = 8, HOGS = 4 };

extern char **environ;

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void die(const char *what, int err)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(err));
    exit(1);
}

static void must(const char *what, int err)
{
    if (err)
        die(what, err);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* measure - report the median time of one operation; LOOP does n of them. */
static void measure(const char *name, void (*loop)(long n), double ops_per_n)
{
    double sample[SAMPLES];
    int64_t took;
    long n = 1;

    for (;; n *= 2) {
        took = now_ns();
        loop(n);
        took = now_ns() - took;
        if (took >= CALIBRATE_NS)
            break;
    }
    for (int i = 0; i < SAMPLES; i++) {
        took = now_ns();
        loop(n);
        sample[i] = (double)(now_ns() - took) / (double)n / ops_per_n;
    }
    qsort(sample, SAMPLES, sizeof(sample[0]), by_value);
    printf("%s %.2f ns\n", name, sample[SAMPLES / 2]);
}

static void *nothing(void *arg)
{
    return arg;
}

static void create(pthread_t *t, void *(*fn)(void *), void *arg)
{
    must("pthread_create", pthread_create(t, NULL, fn, arg));
}

/* --- creation --------------------------------------------------------------------- */

static void loop_create_join(long n)
{
    for (long i = 0; i < n; i++) {
        pthread_t t;

        create(&t, nothing, NULL);
        pthread_join(t, NULL);
    }
}

static void loop_create_batch(long n)
{
    static pthread_t t[BATCH];

    for (long i = 0; i < n; i++) {
        for (int k = 0; k < BATCH; k++)
            create(&t[k], nothing, NULL);
        for (int k = 0; k < BATCH; k++)
            pthread_join(t[k], NULL);
    }
}

/* --- switching and waking --------------------------------------------------------- */

static void *yielder(void *arg)
{
    for (long n = (intptr_t)arg; n > 0; n--)
        sched_yield();
    return NULL;
}

static void loop_yield(long n)
{
    pthread_t t[2];

    for (int i = 0; i < 2; i++)
        create(&t[i], yielder, (void *)(intptr_t)n);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
}

static sem_t ping, pong;

static void *sem_partner(void *arg)
{
    for (long n = (intptr_t)arg; n > 0; n--) {
        sem_wait(&ping);
        sem_post(&pong);
    }
    return NULL;
}

static void loop_sem(long n)
{
    pthread_t t;

    create(&t, sem_partner, (void *)(intptr_t)n);
    for (long i = 0; i < n; i++) {
        sem_post(&ping);
        sem_wait(&pong);
    }
    pthread_join(t, NULL);
}

/* The same between two threads that are bound to kernel threads of their own. */
static void *locked_partner(void *arg)
{
    if (gshim_lock_os_thread)
        gshim_lock_os_thread();
    return sem_partner(arg);
}

static void loop_locked(long n)
{
    pthread_t t;

    if (gshim_lock_os_thread)
        gshim_lock_os_thread();
    create(&t, locked_partner, (void *)(intptr_t)n);
    for (long i = 0; i < n; i++) {
        sem_post(&ping);
        sem_wait(&pong);
    }
    pthread_join(t, NULL);
    if (gshim_unlock_os_thread)
        gshim_unlock_os_thread();
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn; /* under lock */

static void cond_side(long n, int me)
{
    pthread_mutex_lock(&lock);
    for (; n > 0; n--) {
        while (turn != me)
            pthread_cond_wait(&cond, &lock);
        turn = !me;
        pthread_cond_signal(&cond);
    }
    pthread_mutex_unlock(&lock);
}

static void *cond_partner(void *arg)
{
    cond_side((intptr_t)arg, 1);
    return NULL;
}

static void loop_cond(long n)
{
    pthread_t t;

    turn = 0;
    create(&t, cond_partner, (void *)(intptr_t)n);
    cond_side(n, 0);
    pthread_join(t, NULL);
}

/* --- mutexes ---------------------------------------------------------------------- */

static void loop_mutex(long n)
{
    for (long i = 0; i < n; i++) {
        pthread_mutex_lock(&lock);
        pthread_mutex_unlock(&lock);
    }
}

static void bench_mutex(void)
{
    pthread_t t;

    measure("mutex_before", loop_mutex, 1);
    create(&t, nothing, NULL);
    pthread_join(t, NULL);
    measure("mutex_after", loop_mutex, 1);
}

static long hot_counter; /* under lock */

static void *hot_thread(void *arg)
{
    for (long n = (intptr_t)arg; n > 0; n--) {
        pthread_mutex_lock(&lock);
        hot_counter++;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void loop_hot(long n)
{
    pthread_t t[HOT_THREADS];

    for (int i = 0; i < HOT_THREADS; i++)
        create(&t[i], hot_thread, (void *)(intptr_t)n);
    for (int i = 0; i < HOT_THREADS; i++)
        pthread_join(t[i], NULL);
}

/* --- parked threads --------------------------------------------------------------- */

static long field_kb(const char *file, const char *name)
{
    FILE *f = fopen(file, "r");
    char line[256];
    long kb = 0;

    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, name, strlen(name)) == 0)
            kb = atol(line + strlen(name));
    if (f)
        fclose(f);
    return kb;
}

static sem_t all_parked;
static long n_parked, n_to_park;

static void *parked_thread(void *arg)
{
    if (__atomic_add_fetch(&n_parked, 1, __ATOMIC_RELAXED) == n_to_park)
        sem_post(&all_parked);
    while (sem_wait(arg))
        ;
    return NULL;
}

static long create_parked(pthread_t *t, sem_t *gates, long n, int *refused)
{
    pthread_attr_t attr;
    long made;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 * 1024);
    *refused = 0;
    for (made = 0; made < n; made++) {
        *refused = pthread_create(&t[made], &attr, parked_thread, &gates[made]);
        if (*refused)
            break;
    }
    pthread_attr_destroy(&attr);
    return made;
}

static void bench_parked(long n)
{
    pthread_t *t = calloc((size_t)n, sizeof(*t));
    sem_t *gates = calloc((size_t)n, sizeof(*gates));
    long rss, available, made;
    int64_t took;
    int refused;

    if (!t || !gates)
        die("calloc", ENOMEM);
    for (long i = 0; i < n; i++) {
        sem_init(&gates[i], 0, 0);
        t[i] = 0; /* touch it now, it is not the threads' memory */
    }
    sem_init(&all_parked, 0, 0);
    n_to_park = n;
    rss = field_kb("/proc/self/smaps_rollup", "Rss:");
    available = field_kb("/proc/meminfo", "MemAvailable:");
    took = now_ns();
    made = create_parked(t, gates, n, &refused);
    if (!refused)
        sem_wait(&all_parked);
    took = now_ns() - took;
    printf("parked_create %.2f ns\n", (double)took / (double)made);
    /* Let the last ones get into their wait; it is not part of the time. */
    usleep(200000);
    rss = field_kb("/proc/self/smaps_rollup", "Rss:") - rss;
    available -= field_kb("/proc/meminfo", "MemAvailable:");
    printf("parked_rss %.2f KB\n", (double)rss / (double)made);
    printf("parked_all %.2f KB\n", (double)available / (double)made);
    took = now_ns();
    for (long i = 0; i < made; i++)
        sem_post(&gates[i]);
    for (long i = 0; i < made; i++)
        pthread_join(t[i], NULL);
    printf("parked_join %.2f ns\n", (double)(now_ns() - took) / (double)made);
    printf("parked_live %ld threads\n", made);
    if (refused)
        fprintf(stderr, "bench: parked: %ld threads, then %s\n", made, strerror(refused));
}

/* --- latency and CPU-bound work --------------------------------------------------- */

static atomic_bool stop;

static void *hog(void *arg)
{
    unsigned long x = 1;

    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        x = x * 6364136223846793005u + 1;
    *(volatile unsigned long *)arg = x;
    return NULL;
}

static void *sleeper(void *arg)
{
    enum { NAPS = 400 };
    static double late[NAPS];

    for (int i = 0; i < NAPS; i++) {
        struct timespec ms = {.tv_nsec = 1000000};
        int64_t due = now_ns() + 1000000;

        nanosleep(&ms, NULL);
        late[i] = (double)(now_ns() - due) / 1e3;
    }
    qsort(late, NAPS, sizeof(late[0]), by_value);
    printf("sleeper_p50 %.1f us\nsleeper_p99 %.1f us\n", late[NAPS / 2],
           late[NAPS * 99 / 100]);
    return arg;
}

static void bench_sleeper(void)
{
    unsigned long sink[HOGS];
    pthread_t h[HOGS], s;

    for (int i = 0; i < HOGS; i++)
        create(&h[i], hog, &sink[i]);
    create(&s, sleeper, NULL);
    pthread_join(s, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < HOGS; i++)
        pthread_join(h[i], NULL);
}

/* Integer and floating point work that calls nothing. */
static void *work(void *arg)
{
    uint64_t x = (uintptr_t)arg + 1;
    double d = 1;

    for (int i = 0; i < 4000000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        d = d * 1.0000001 + (double)(x & 7);
    }
    return (void *)(uintptr_t)(x + (uint64_t)d);
}

/* Twice as many threads as CPUs, so that they take turns. */
static void loop_cpu(long n)
{
    cpu_set_t set;
    pthread_t t[64];
    int threads;

    sched_getaffinity(0, sizeof(set), &set);
    threads = CPU_COUNT(&set) * 2;
    threads = threads > 64 ? 64 : threads;
    for (long i = 0; i < n; i++) {
        for (int k = 0; k < threads; k++)
            create(&t[k], work, (void *)(intptr_t)k);
        for (int k = 0; k < threads; k++)
            pthread_join(t[k], NULL);
    }
}

/* A process that makes no thread at all. */
static void loop_startup(long n)
{
    char *argv[] = {"bench", "nothing", NULL};

    for (long i = 0; i < n; i++) {
        pid_t pid;

        must("posix_spawn",
             posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ));
        waitpid(pid, NULL, 0);
    }
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    alarm(300); /* a benchmark that hangs ends */
    sem_init(&ping, 0, 0);
    sem_init(&pong, 0, 0);
    if (!strcmp(name, "create_join"))
        measure(name, loop_create_join, 1);
    else if (!strcmp(name, "create_batch"))
        measure(name, loop_create_batch, BATCH);
    else if (!strcmp(name, "yield"))
        measure(name, loop_yield, 2);
    else if (!strcmp(name, "sem"))
        measure(name, loop_sem, 1);
    else if (!strcmp(name, "locked"))
        measure(name, loop_locked, 1);
    else if (!strcmp(name, "cond"))
        measure(name, loop_cond, 1);
    else if (!strcmp(name, "mutex"))
        bench_mutex();
    else if (!strcmp(name, "hot"))
        measure(name, loop_hot, HOT_THREADS);
    else if (!strcmp(name, "parked"))
        bench_parked(argc > 2 ? atol(argv[2]) : 10000);
    else if (!strcmp(name, "sleeper"))
        bench_sleeper();
    else if (!strcmp(name, "cpu"))
        measure(name, loop_cpu, 1);
    else if (!strcmp(name, "startup"))
        measure(name, loop_startup, 1);
    else if (strcmp(name, "nothing")) {
        fprintf(stderr,
                "usage: bench create_join|create_batch|yield|sem|locked|cond|mutex|hot|"
                "parked [N]|sleeper|cpu|startup\n");
        return 2;
    }
    return 0;
}
