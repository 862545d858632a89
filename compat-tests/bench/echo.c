/* echo.c - one thread per connection on both sides, plain blocking calls: time for each message.
 *
 *   echo CONNECTIONS [SECONDS]
 *
 * CONNECTIONS client threads each send 16 bytes over loopback TCP to a server thread of their
 * own, wait for the answer, and so on. Server and client are two processes, so that a limit of
 * open files allows twice the connections. Prints lines "name value unit" like bench.c, for
 * both processes together; echo_cpu is the CPU time that each message cost (on a machine with
 * other work a thousand kernel threads get a thousand shares of it, so the time alone says
 * little), and echo_threads how many kernel threads there were. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 16, STACK = 64 * 1024 };
enum { AHEAD = 500 }; /* connections made at a time: a listener has a finite queue */

/* What a process says of itself. */
struct report {
    long accepted, threads;
    double cpu_s;
};

static struct sockaddr_in address;
static int stop;                 /* atomic */
static long messages, connected; /* atomic; connected: at either end */
static pthread_attr_t small;
static pthread_rwlock_t gate =
    PTHREAD_RWLOCK_INITIALIZER; /* shut until all are connected */

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

static double cpu_s(void)
{
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
           (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
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

static void *client(void *arg)
{
    char out[BYTES], in[BYTES];
    long n = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    no_delay(fd);
    __atomic_fetch_add(&connected, 1, __ATOMIC_RELAXED);
    pthread_rwlock_rdlock(&gate);
    pthread_rwlock_unlock(&gate);
    memset(out, (int)(long)arg, sizeof out);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        if (write(fd, out, BYTES) != BYTES)
            die("write");
        for (size_t got = 0; got < BYTES;) {
            ssize_t r = read(fd, in + got, BYTES - got);
            if (r <= 0)
                die("read");
            got += (size_t)r;
        }
        if (memcmp(in, out, BYTES) != 0)
            die("answer");
        n++;
        __atomic_fetch_add(&messages, 1, __ATOMIC_RELAXED);
    }
    close(fd);
    return NULL;
}

static long kernel_threads(void)
{
    long n = -2;
    DIR *d = opendir("/proc/self/task");
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n;
}

static struct report own_report(void)
{
    return (struct report){__atomic_load_n(&connected, __ATOMIC_RELAXED),
                           kernel_threads(), cpu_s()};
}

/* Reports whenever it is asked to; ends with the control connection. */
static void server(int control, int l)
{
    pthread_t t;
    char c;
    start(&t, acceptor, l);
    while (read(control, &c, 1) == 1) {
        struct report r = own_report();
        if (write(control, &r, sizeof r) != sizeof r)
            die("report");
    }
    _exit(0);
}

static struct report ask(int control)
{
    struct report r;
    if (write(control, "?", 1) != 1 || read(control, &r, sizeof r) != sizeof r)
        die("server");
    return r;
}

static void measure(int control, long n, double seconds)
{
    while (__atomic_load_n(&connected, __ATOMIC_RELAXED) < n || ask(control).accepted < n)
        usleep(10000);
    pthread_rwlock_unlock(&gate);
    usleep(1000000);
    struct report s = ask(control), c = own_report();
    long before = __atomic_load_n(&messages, __ATOMIC_RELAXED);
    double begun = now_s();
    usleep((useconds_t)(seconds * 1e6));
    double done = (double)(__atomic_load_n(&messages, __ATOMIC_RELAXED) - before);
    double took = now_s() - begun;
    struct report s2 = ask(control), c2 = own_report();
    double cpu = s2.cpu_s - s.cpu_s + c2.cpu_s - c.cpu_s;
    printf("echo %.0f ns\necho_cpu %.0f ns\necho_threads %ld threads\n",
           1e9 * took / done, 1e9 * cpu / done, s2.threads + c2.threads);
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 500;
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    pthread_t *t = calloc((size_t)n, sizeof *t);
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
    pid_t pid = fork();
    if (pid == 0) {
        close(control[0]);
        server(control[1], l);
    }
    close(control[1]);
    close(l);
    pthread_rwlock_wrlock(&gate);
    for (long i = 0; i < n; i++) {
        while (i % AHEAD == 0 && ask(control[0]).accepted < i)
            usleep(1000);
        start(&t[i], client, i);
    }
    measure(control[0], n, seconds);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (long i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    close(control[0]);
    waitpid(pid, NULL, 0);
    return 0;
}
