/* echo.c - one thread per connection on both sides, plain blocking calls: time for each message.
 *
 *   echo CONNECTIONS [SECONDS]
 *
 * CONNECTIONS client threads each send 16 bytes over loopback TCP to a server thread of their
 * own in the same process, wait for the answer, and so on. Prints lines "name value unit"
 * like bench.c; echo_cpu is the CPU time that each message cost (on a machine with other work
 * a thousand kernel threads get a thousand shares of it, so the time alone says little), and
 * echo_threads how many kernel threads the process had. */
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
#include <time.h>
#include <unistd.h>

enum { BYTES = 16, STACK = 64 * 1024 };

static struct sockaddr_in address;
static int stop;                 /* atomic */
static long messages, connected; /* atomic */
static pthread_attr_t small;

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
        int err = pthread_create(&t, &small, serve, (void *)(long)fd);
        if (err != 0) {
            errno = err;
            die("pthread_create");
        }
        pthread_detach(t);
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

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 500;
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    pthread_t *t = calloc((size_t)n, sizeof *t), a;
    socklen_t len = sizeof address;
    struct rlimit lim;

    getrlimit(RLIMIT_NOFILE, &lim);
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int l = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(l, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(l, 4096) != 0 || getsockname(l, (struct sockaddr *)&address, &len) != 0)
        die("listen");
    pthread_create(&a, &small, acceptor, (void *)(long)l);
    for (long i = 0; i < n; i++) {
        int err = pthread_create(&t[i], &small, client, (void *)i);
        if (err != 0) {
            errno = err;
            die("pthread_create");
        }
    }
    while (__atomic_load_n(&connected, __ATOMIC_RELAXED) < n)
        usleep(1000);
    usleep(200000);
    long before = __atomic_load_n(&messages, __ATOMIC_RELAXED);
    double start = now_s(), cpu = cpu_s();
    usleep((useconds_t)(seconds * 1e6));
    double done = (double)(__atomic_load_n(&messages, __ATOMIC_RELAXED) - before);
    double took = now_s() - start;
    cpu = cpu_s() - cpu;
    long threads = kernel_threads();
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (long i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    printf("echo %.0f ns\necho_cpu %.0f ns\necho_threads %ld threads\n",
           1e9 * took / done, 1e9 * cpu / done, threads);
    return 0;
}
