/* probe.c - what run.sh runs: one program, one mode per word on the command line.  It
 * prints what it finds; run.sh compares that with a native run or with what must be.
 *
 *   probe MODE [ARGUMENT...]
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MB = 1 << 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int arrived, go; /* under lock */
static long total;      /* under lock */

static void die(const char *what, int err)
{
    printf("%s: %s\n", what, strerror(err));
    fflush(stdout);
    _exit(3);
}

/* --- what the kernel says about this process ---------------------------------------- */

static int kernel_threads(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    if (d == NULL)
        die("/proc/self/task", errno);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void print_status(const char *field)
{
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL)
        die("/proc/self/status", errno);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            fputs(line, stdout);
    fclose(f);
}

static long vm_pages(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%ld", &pages) != 1)
        die("/proc/self/statm", errno);
    fclose(f);
    return pages;
}

static int free_keys(void)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX + 1];
    int n = 0;
    while (n <= PTHREAD_KEYS_MAX && pthread_key_create(&keys[n], NULL) == 0)
        n++;
    for (int i = 0; i < n; i++)
        pthread_key_delete(keys[i]);
    return n;
}

/* --- threads that wait -------------------------------------------------------------- */

static void *wait_for_go(void *arg)
{
    pthread_mutex_lock(&lock);
    arrived++;
    pthread_cond_broadcast(&changed);
    while (!go)
        pthread_cond_wait(&changed, &lock);
    total += (long)(intptr_t)arg;
    pthread_mutex_unlock(&lock);
    return arg;
}

static pthread_t *launch(int n)
{
    pthread_t *t = calloc((size_t)n, sizeof *t);
    for (int i = 0; i < n; i++) {
        int err = pthread_create(&t[i], NULL, wait_for_go, (void *)(intptr_t)(i + 1));
        if (err != 0)
            die("pthread_create", err);
    }
    pthread_mutex_lock(&lock);
    while (arrived < n)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return t;
}

static void release(pthread_t *t, int n)
{
    pthread_mutex_lock(&lock);
    go = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < n; i++) {
        void *ret;
        int err = pthread_join(t[i], &ret);
        if (err != 0 || ret != (void *)(intptr_t)(i + 1))
            die("pthread_join", err);
    }
    printf("sum %ld\n", total);
    free(t);
    go = arrived = 0;
    total = 0;
}

static int mode_threads(char **argv)
{
    int n = atoi(argv[0]);
    pthread_t *t = launch(n);
    usleep(20000); /* whoever looked for work has found none */
    printf("kernel threads %d\n", kernel_threads());
    release(t, n);
    return 0;
}

/* --- a process without threads ------------------------------------------------------ */

static int mode_none(char **argv)
{
    (void)argv;
    printf("kernel threads %d\n", kernel_threads());
    print_status("SigCgt");
    print_status("SigBlk");
    print_status("SigIgn");
    printf("keys %d\n", free_keys());
    return 0;
}

/* The library has no keys of its own once it works either. */
static int mode_keys(char **argv)
{
    (void)argv;
    release(launch(4), 4);
    printf("keys %d\n", free_keys());
    return 0;
}

/* --- set-uid ------------------------------------------------------------------------ */

static int mode_secure(char **argv)
{
    (void)argv;
    printf("AT_SECURE %lu\n", getauxval(AT_SECURE));
    pthread_t *t = launch(50);
    printf("%s\n", kernel_threads() < 40 ? "few" : "many");
    release(t, 50);
    return 0;
}

/* Names of kernel threads, each once; the monitor's own apart. */
static int mode_thread_names(char **argv)
{
    (void)argv;
    pthread_t *t = launch(8);
    int monitors = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
        FILE *f = e->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (f == NULL)
            continue;
        if (fgets(name, sizeof name, f) == NULL || strcmp(name, "probe\n") == 0)
            name[0] = '\0';
        if (name[0] != '\0' && (strcmp(name, "gshim-sysmon\n") != 0 || monitors++ != 0))
            printf("a thread is called %s", name);
        fclose(f);
    }
    if (d != NULL)
        closedir(d);
    release(t, 8);
    return 0;
}

/* --- too few kernel threads --------------------------------------------------------- */

enum { READERS = 8, BYTES = 5 };

static int feed[2];

/* stdio reads inside libc, so each reader takes a kernel thread while it waits. */
static void *read_slowly(void *arg)
{
    FILE *f = fdopen(dup(feed[0]), "r");
    if (f == NULL)
        die("fdopen", errno);
    setvbuf(f, NULL, _IONBF, 0);
    for (int i = 0; i < BYTES; i++)
        if (getc(f) == EOF)
            die("getc", errno);
    return wait_for_go(arg);
}

/* The bytes come from another process: no reader waits for a thread of this one. */
static pid_t start_feeder(void)
{
    if (pipe(feed) != 0)
        die("pipe", errno);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < READERS * BYTES; i++) {
            usleep(5000);
            if (write(feed[1], "x", 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    return pid;
}

/* At most LIMIT tasks of this user, the feeder included. */
static int mode_nproc(char **argv)
{
    struct rlimit r = {(rlim_t)atoi(argv[0]), (rlim_t)atoi(argv[0])};
    pthread_t t[READERS];
    pid_t pid = start_feeder();
    if (setrlimit(RLIMIT_NPROC, &r) != 0)
        die("setrlimit", errno);
    for (int i = 0; i < READERS; i++) {
        int err = pthread_create(&t[i], NULL, read_slowly, (void *)(intptr_t)(i + 1));
        if (err != 0) {
            printf("pthread_create: %s\n", strerrorname_np(err));
            break;
        }
        if (i + 1 == READERS)
            release(memcpy(malloc(sizeof t), t, sizeof t), READERS);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    printf("went on\n");
    return 0;
}

/* --- too little memory -------------------------------------------------------------- */

static void limit_memory(rlim_t more)
{
    struct rlimit r;
    getrlimit(RLIMIT_AS, &r);
    r.rlim_cur = more == 0 ? r.rlim_max
                           : (rlim_t)vm_pages() * (rlim_t)sysconf(_SC_PAGESIZE) + more;
    if (setrlimit(RLIMIT_AS, &r) != 0)
        die("setrlimit", errno);
}

static void *nap(void *arg)
{
    usleep(500);
    return arg;
}

static int until_refused(const pthread_attr_t *attr)
{
    pthread_t t[64];
    int n = 0, err = 0;
    while (n < 64 && (err = pthread_create(&t[n], attr, nap, NULL)) == 0)
        n++;
    if (err != EAGAIN)
        die("not EAGAIN", err);
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    return n;
}

static void *nap_until_go(void *arg)
{
    int more = 1;
    while (more) {
        nap(NULL);
        sched_yield();
        pthread_mutex_lock(&lock);
        more = !go;
        pthread_mutex_unlock(&lock);
    }
    return arg;
}

/* ROUNDS times as many threads as fit; never much fewer than the first time (one arena of
 * the C library's that comes later is worth four of them).  Others keep all processors
 * changing hands, so what one thread leaves must be found from everywhere. */
static int mode_memory(char **argv)
{
    int rounds = atoi(argv[0]), first, least;
    pthread_t busy[4];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 16 * MB);
    for (int i = 0; i < 4; i++)
        pthread_create(&busy[i], NULL, nap_until_go, NULL);
    usleep(50000); /* what the C library wants for each thread is there */
    limit_memory(200 * MB);
    first = least = until_refused(&attr);
    for (int i = 0; i < rounds; i++) {
        int n = until_refused(&attr);
        least = n < least ? n : least;
    }
    printf("%s\n", first >= 3 ? "some" : "too few");
    if (least < first - 4)
        printf("%d threads at first, once only %d\n", first, least);
    limit_memory(0);
    pthread_mutex_lock(&lock);
    go = 1;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < 4; i++)
        pthread_join(busy[i], NULL);
    go = 0;
    release(launch(4), 4);
    return 0;
}

/* The limit is there before the first thread. */
static int mode_memory_at_start(char **argv)
{
    pthread_t t;
    limit_memory((rlim_t)atoi(argv[0]) * 1024);
    int err = pthread_create(&t, NULL, wait_for_go, NULL);
    limit_memory(0);
    printf("%s\n", err == 0 ? "created" : strerrorname_np(err));
    if (err == 0) {
        pthread_mutex_lock(&lock);
        go = 1;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        pthread_join(t, NULL);
    }
    printf("went on\n");
    return 0;
}

/* --- memory from somebody else's malloc --------------------------------------------- */

static void *allocate(void *arg)
{
    void *p[50] = {0};
    unsigned x = (unsigned)(intptr_t)arg;
    for (int i = 0; i < 4000; i++) {
        x = x * 1664525 + 1013904223;
        size_t n = 1 + x % 3000;
        void **at = &p[(x >> 16) % 50];
        if (*at != NULL && *(unsigned char *)*at != (unsigned char)(intptr_t)arg)
            die("somebody wrote on our memory", 0);
        free(*at);
        *at = malloc(n);
        memset(*at, (int)(intptr_t)arg, n);
        if (i % 500 == 0)
            usleep(100);
    }
    for (int i = 0; i < 50; i++)
        free(p[i]);
    return arg;
}

static int mode_malloc(char **argv)
{
    enum { N = 12 };
    pthread_t t[N];
    long sum = 0;
    (void)argv;
    for (int i = 0; i < N; i++)
        if (pthread_create(&t[i], NULL, allocate, (void *)(intptr_t)(i + 1)) != 0)
            die("pthread_create", errno);
    for (int i = 0; i < N; i++) {
        void *ret;
        pthread_join(t[i], &ret);
        sum += (long)(intptr_t)ret;
    }
    printf("sum %ld\n", sum);
    return 0;
}

/* --- before main and after it ------------------------------------------------------- */

static const char *at_end;

static void at_exit(void)
{
    printf("atexit: ");
    release(launch(4), 4);
    fflush(stdout);
}

__attribute__((destructor)) static void in_destructor(void)
{
    if (at_end == NULL)
        return;
    printf("destructor: ");
    release(launch(4), 4);
    fflush(stdout);
}

/* ARGUMENT "before": threads were there before; else the first ones start at the end. */
static int mode_atexit(char **argv)
{
    at_end = argv[0];
    atexit(at_exit);
    if (strcmp(at_end, "before") == 0)
        release(launch(4), 4);
    return 0;
}

/* Main goes first; the process ends with its last thread. */
static void *outlive_main(void *arg)
{
    usleep(20000);
    printf("%s\n", (char *)arg);
    fflush(stdout);
    return NULL;
}

static int mode_main_exit(char **argv)
{
    pthread_t t;
    (void)argv;
    if (pthread_create(&t, NULL, outlive_main, "outlived main") != 0)
        die("pthread_create", errno);
    pthread_exit(NULL);
}

/* A library that makes threads is loaded and unloaded by main and by a thread. */
static void *load(void *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        printf("%s\n", dlerror());
    else
        dlclose(handle);
    return NULL;
}

static int mode_dlopen(char **argv)
{
    pthread_t t;
    load(argv[0]);
    pthread_create(&t, NULL, load, argv[0]);
    pthread_join(t, NULL);
    load(argv[0]);
    return 0;
}

/* --- faults ------------------------------------------------------------------------- */

static size_t stack_bytes;

static __attribute__((noinline)) int recurse(int depth)
{
    volatile char frame[256];
    frame[0] = (char)depth;
    return depth < 1 << 30 ? recurse(depth + 1) + frame[0] : 0;
}

static void *overflow_main(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)recurse(0);
}

static int make_and_join(void *(*fn)(void *), const char *name)
{
    pthread_t t;
    pthread_attr_t attr;
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    pthread_attr_init(&attr);
    if (stack_bytes != 0)
        pthread_attr_setstacksize(&attr, stack_bytes);
    pthread_mutex_lock(&lock);
    int err = pthread_create(&t, &attr, fn, NULL);
    if (err != 0)
        die("pthread_create", err);
    if (name != NULL)
        pthread_setname_np(t, name);
    pthread_mutex_unlock(&lock);
    pthread_join(t, NULL);
    return 0;
}

static void *overflow_after_name(void *arg)
{
    pthread_mutex_lock(&lock); /* it has its name */
    pthread_mutex_unlock(&lock);
    return overflow_main(arg);
}

/* BYTES NAME */
static int mode_overflow(char **argv)
{
    stack_bytes = (size_t)atol(argv[0]);
    return make_and_join(overflow_after_name, argv[1]);
}

static void *null_main(void *arg)
{
    (void)arg;
    *(volatile int *)16 = 1;
    return NULL;
}

static int mode_null(char **argv)
{
    (void)argv;
    return make_and_join(null_main, NULL);
}

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t faults;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    (void)context;
    faults += sig == SIGSEGV && info->si_addr == (void *)16;
    siglongjmp(back, 1);
}

static void *fault_and_recover(void *arg)
{
    for (volatile int i = 0; i < 10; i++)
        if (sigsetjmp(back, 1) == 0)
            null_main(arg);
    pthread_mutex_lock(&lock);
    total += faults;
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* The program's own handler, set before or after the first thread. */
static int mode_handled(char **argv)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    pthread_t t[4];
    if (strcmp(argv[0], "after") == 0)
        release(launch(2), 2);
    sigaction(SIGSEGV, &sa, NULL);
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, fault_and_recover, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    printf("faults %ld\n", total);
    return 0;
}

/* --- start-up cost ------------------------------------------------------------------ */

extern char **environ;

static int64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int compare_long(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

/* COUNT PROGRAM...: median time of fork, exec, start and exit, in microseconds. */
static int mode_time(char **argv)
{
    int n = atoi(argv[0]);
    long *us = calloc((size_t)n, sizeof *us);
    for (int i = 0; i < n; i++) {
        int64_t began = now_us();
        pid_t pid = vfork();
        if (pid == 0) {
            execve(argv[1], argv + 1, environ);
            _exit(127);
        }
        waitpid(pid, NULL, 0);
        us[i] = (long)(now_us() - began);
    }
    qsort(us, (size_t)n, sizeof *us, compare_long);
    printf("%ld\n", us[n / 2]);
    free(us);
    return 0;
}

/* --- main --------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*fn)(char **argv);
    int nargs;
} modes[] = {
    {"threads", mode_threads, 1},
    {"none", mode_none, 0},
    {"keys", mode_keys, 0},
    {"secure", mode_secure, 0},
    {"nproc", mode_nproc, 1},
    {"memory", mode_memory, 1},
    {"memory-at-start", mode_memory_at_start, 1},
    {"malloc", mode_malloc, 0},
    {"atexit", mode_atexit, 1},
    {"overflow", mode_overflow, 2},
    {"null", mode_null, 0},
    {"thread-names", mode_thread_names, 0},
    {"handled", mode_handled, 1},
    {"time", mode_time, 2},
    {"main-exit", mode_main_exit, 0},
    {"dlopen", mode_dlopen, 1},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (argc >= 2 && strcmp(argv[1], modes[i].name) == 0 &&
            argc - 2 >= modes[i].nargs)
            return modes[i].fn(argv + 2);
    if (argc == 1)
        return 0; /* what mode_time runs */
    fprintf(stderr, "probe: see the list of modes at its end\n");
    return 2;
}
