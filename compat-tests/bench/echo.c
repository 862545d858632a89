/* echo.c - one thread per connection on both sides, plain blocking calls: time for each message.
 *
 *   echo CONNECTIONS [SECONDS]
 *
 * CONNECTIONS client threads each send 16 bytes over loopback TCP to a server thread of their
 * own, wait for the answer, and so on. Server and client are two processes, so that a limit of
 * open files allows twice the connections. Prints lines "name value unit" like bench.c, for
 * both processes together; echo_cpu is the CPU time that each message cost (on a machine with
 * other work a thousand kernel threads get a thousand shares of it, so the time alone says
 * little), and echo_threads how many kernel threads there were.
 *
 * With 20,000 kernel threads that are runnable, each has the CPU once in half a minute, and one
 * that should open a gate for the others, ask the server for its CPU time, or join them would
 * take minutes. So they begin by themselves, at a time that was set when all were connected,
 * and whichever of them comes first to the beginning and to the end of what is measured does
 * what is to be done there. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 16, STACK = 64 * 1024 };
enum { AHEAD = 500 }; /* connections made at a time: a listener has a finite queue */

static const double WARM_S = 1; /* not measured, after the beginning */
static const double LOOK_S = 2; /* long enough for 10,000 to look without being busy */

/* At one moment. */
struct reading {
    double now_s, cpu_s;
    long messages;
};

static struct sockaddr_in address;
static long messages, connected; /* atomic; connected: at either end */
static pthread_attr_t small;
static pid_t server_pid;

/* 0: they are not all connected yet; set by main, atomic.  Const from then on: */
static double begin_s, measure_s;

static int phase;            /* atomic: of WARMING to ENDED */
static struct reading first; /* by who took phase to MEASURING, before MEASURED */
enum { WARMING, MEASURING, MEASURED, ENDED };

static void die(const char *what)
{
    fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void sleep_until(double at_s)
{
    struct timespec ts = {(time_t)at_s, (long)((at_s - (double)(time_t)at_s) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}

static double cpu_s(pid_t pid)
{
    clockid_t clock;
    struct timespec ts;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        die("clock_gettime");
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The 20th field of its line; the second, in parentheses, is its name. */
static long kernel_threads(pid_t pid)
{
    char path[64], line[1024], *p;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fgets(line, sizeof line, f) == NULL ||
        (p = strrchr(line, ')')) == NULL)
        die(path);
    fclose(f);
    for (int field = 2; field < 20 && p != NULL; field++)
        p = strchr(p + 1, ' ');
    return p != NULL ? atol(p) : 0;
}

static void no_delay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void start(pthread_t *t, void *(*fn)(void *), long arg)
{
    int err = pthread_create(t, &small, fn, (void *)arg);
    if (err == 0)
        return;
    errno = err;
    die("pthread_create");
}

static void *serve(void *arg)
{
    int fd = (int)(long)arg;
    char buf[BYTES];
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0)
        if (write(fd, buf, (size_t)n) != n)
            break;
    close(fd);
    return NULL;
}

static void *acceptor(void *arg)
{
    int l = (int)(long)arg, fd;
    pthread_t t;
    while ((fd = accept(l, NULL, NULL)) >= 0) {
        no_delay(fd);
        start(&t, serve, fd);
        pthread_detach(t);
        __atomic_fetch_add(&connected, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Adding up the CPU time of 10,000 threads may take a starved one half a minute, so what does not
 * depend on it is read before. */
static struct reading read_all(void)
{
    struct reading r = {.now_s = now_s(),
                        .messages = __atomic_load_n(&messages, __ATOMIC_RELAXED)};
    r.cpu_s = cpu_s(getpid()) + cpu_s(server_pid);
    return r;
}

static void report(void)
{
    double took = now_s() - first.now_s;
    double done = (double)(__atomic_load_n(&messages, __ATOMIC_RELAXED) - first.messages);
    printf("echo %.0f ns\n", 1e9 * took / done);
    fflush(stdout);
    struct reading r = read_all();
    done = (double)(r.messages - first.messages);
    printf("echo_cpu %.0f ns\necho_threads %ld threads\n",
           1e9 * (r.cpu_s - first.cpu_s) / done,
           kernel_threads(getpid()) + kernel_threads(server_pid));
    fflush(stdout);
    kill(server_pid, SIGKILL);
    _exit(0);
}

static bool is_first(int to)
{
    int from = to - 1;
    return __atomic_load_n(&phase, __ATOMIC_ACQUIRE) == from &&
           __atomic_compare_exchange_n(&phase, &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

/* After each message. */
static void look_at_time(void)
{
    double since_s = now_s() - begin_s - WARM_S;
    if (since_s < 0)
        return;
    if (is_first(MEASURING)) {
        first = read_all();
        __atomic_store_n(&phase, MEASURED, __ATOMIC_RELEASE);
    }
    if (since_s >= measure_s && is_first(ENDED))
        report();
}

static void wait_for_all(void)
{
    double at_s;
    for (;;) {
        __atomic_load(&begin_s, &at_s, __ATOMIC_ACQUIRE);
        if (at_s != 0)
            break;
        sleep_until(now_s() + LOOK_S);
    }
    sleep_until(at_s);
}

/* The server may be gone already when all is done, and the process about to end. */
static void lost(const char *what)
{
    while (__atomic_load_n(&phase, __ATOMIC_ACQUIRE) == ENDED)
        pause();
    die(what);
}

static void *client(void *arg)
{
    char out[BYTES], in[BYTES];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    no_delay(fd);
    __atomic_fetch_add(&connected, 1, __ATOMIC_RELAXED);
    wait_for_all();
    memset(out, (int)(long)arg, sizeof out);
    for (;;) {
        if (write(fd, out, BYTES) != BYTES)
            lost("write");
        for (size_t got = 0; got < BYTES;) {
            ssize_t r = read(fd, in + got, BYTES - got);
            if (r <= 0)
                lost("read");
            got += (size_t)r;
        }
        if (memcmp(in, out, BYTES) != 0)
            die("answer");
        __atomic_fetch_add(&messages, 1, __ATOMIC_RELAXED);
        look_at_time();
    }
    return NULL;
}

/* Says how many connections it has whenever it is asked; ends with the control connection. */
static void server(int control, int l)
{
    pthread_t t;
    char c;
    start(&t, acceptor, l);
    while (read(control, &c, 1) == 1) {
        long n = __atomic_load_n(&connected, __ATOMIC_RELAXED);
        if (write(control, &n, sizeof n) != sizeof n)
            die("report");
    }
    _exit(0);
}

static long accepted(int control)
{
    long n;
    if (write(control, "?", 1) != 1 || read(control, &n, sizeof n) != sizeof n)
        die("server");
    return n;
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 500;
    pthread_t t;
    socklen_t len = sizeof address;
    struct rlimit lim;
    int control[2];

    getrlimit(RLIMIT_NOFILE, &lim);
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int l = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(l, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(l, 4096) != 0 || getsockname(l, (struct sockaddr *)&address, &len) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, control) != 0)
        die("listen");
    measure_s = argc > 2 ? atof(argv[2]) : 2;
    server_pid = fork();
    if (server_pid == 0) {
        close(control[0]);
        server(control[1], l);
    }
    close(control[1]);
    close(l);
    for (long i = 0; i < n; i++) {
        while (i % AHEAD == 0 && accepted(control[0]) < i)
            usleep(1000);
        start(&t, client, i);
    }
    while (__atomic_load_n(&connected, __ATOMIC_RELAXED) < n || accepted(control[0]) < n)
        usleep(10000);
    double at_s = now_s() + 2 * LOOK_S;
    __atomic_store(&begin_s, &at_s, __ATOMIC_RELEASE);
    for (;;)
        pause();
}
