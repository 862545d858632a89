/* calls.c - what a call costs that may block and does not, before the first thread exists and
 * after; and one that does: a message to a thread that waits, and connections to be accepted.
 *
 *   calls [SECONDS]
 *
 * Prints lines "name value unit" like bench.c. The loops are short and the least of many
 * is taken: on a machine with other work most are interrupted, few are not. SECONDS is how
 * long all loops go on together (default 2). A thread waits while the calls "after" are made: in
 * a process with several the kernel does more for each call. "calls_ping" is a byte to another thread and one
 * back over two pipes; "calls_accept" a connection that 16 threads make, and one accepts and
 * closes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LOOP = 1000, BYTES = 16, CLIENTS = 16, CONNECTIONS = 40, ROUNDS = 6 };

static int pipe_fd[2], sock_fd[2], null_fd, file_fd, listen_fd;
static struct sockaddr_in address;
static char buf[BYTES];

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void by_pipe(void)
{
    must(write(pipe_fd[1], buf, BYTES) == BYTES, "write");
    must(read(pipe_fd[0], buf, BYTES) == BYTES, "read");
}

static void by_socket(void)
{
    must(send(sock_fd[0], buf, BYTES, 0) == BYTES, "send");
    must(recv(sock_fd[1], buf, BYTES, 0) == BYTES, "recv");
}

static void to_null(void)
{
    must(write(null_fd, buf, BYTES) == BYTES, "write");
}

static void from_file(void)
{
    must(pread(file_fd, buf, BYTES, 0) == BYTES, "pread");
}

static void by_poll(void)
{
    struct pollfd p[2] = {{.fd = pipe_fd[1], .events = POLLOUT},
                          {.fd = sock_fd[0], .events = POLLOUT}};
    must(poll(p, 2, -1) == 2, "poll");
}

static const struct kind {
    const char *name;
    void (*call)(void);
    int calls;
} kinds[] = {{"pipe", by_pipe, 2},
             {"socket", by_socket, 2},
             {"null", to_null, 1},
             {"file", from_file, 1},
             {"poll", by_poll, 1}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static void report(const char *name, const char *suffix, double ns)
{
    printf("calls_%s%s %.1f ns\n", name, suffix, ns);
}

/* In turns, so that a busy moment hits all. */
static void all_kinds(const char *suffix, double seconds)
{
    int64_t least[KINDS], until = now_ns() + (int64_t)(seconds * 1e9);
    for (int k = 0; k < KINDS; k++)
        least[k] = INT64_MAX;
    do {
        for (int k = 0; k < KINDS; k++) {
            int64_t t = now_ns();
            for (int i = 0; i < LOOP; i++)
                kinds[k].call();
            t = now_ns() - t;
            least[k] = t < least[k] ? t : least[k];
        }
    } while (now_ns() < until);
    for (int k = 0; k < KINDS; k++)
        report(kinds[k].name, suffix, (double)least[k] / LOOP / kinds[k].calls);
}

/* --- with threads ----------------------------------------------------------------------- */

static int there[2], back[2];

static void *echoes(void *arg)
{
    char c;
    while (read(there[0], &c, 1) == 1)
        must(write(back[1], &c, 1) == 1, "write");
    return arg;
}

static void ping(double seconds)
{
    int64_t least = INT64_MAX, until = now_ns() + (int64_t)(seconds * 1e9);
    pthread_t t;
    char c = 'p';
    must(pipe(there) == 0 && pipe(back) == 0, "pipe");
    must(pthread_create(&t, NULL, echoes, NULL) == 0, "pthread_create");
    do {
        int64_t took = now_ns();
        for (int i = 0; i < LOOP / 10; i++) {
            must(write(there[1], &c, 1) == 1, "write");
            must(read(back[0], &c, 1) == 1, "read");
        }
        took = now_ns() - took;
        least = took < least ? took : least;
    } while (now_ns() < until);
    close(there[1]);
    pthread_join(t, NULL);
    report("ping", "", (double)least / (LOOP / 10));
}

static void *connects(void *arg)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        char c;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        must(fd >= 0, "socket");
        must(connect(fd, (void *)&address, sizeof address) == 0, "connect");
        must(read(fd, &c, 1) == 0, "read"); /* the other end closes first */
        close(fd);
    }
    return arg;
}

static int64_t accept_round(void)
{
    pthread_t t[CLIENTS];
    int64_t took = now_ns();
    for (int i = 0; i < CLIENTS; i++)
        must(pthread_create(&t[i], NULL, connects, NULL) == 0, "pthread_create");
    for (int i = 0; i < CLIENTS * CONNECTIONS; i++) {
        int fd = accept(listen_fd, NULL, NULL);
        must(fd >= 0, "accept");
        close(fd);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(t[i], NULL);
    return now_ns() - took;
}

static void accepts(void)
{
    socklen_t n = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listen_fd, (void *)&address, sizeof address) == 0, "bind");
    must(listen(listen_fd, CLIENTS) == 0, "listen");
    must(getsockname(listen_fd, (void *)&address, &n) == 0, "getsockname");
    int64_t least = INT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t took = accept_round();
        least = took < least ? took : least;
    }
    report("accept", "", (double)least / (CLIENTS * CONNECTIONS));
}

/* The thread that exists while the calls are made. */
static void *waits(void *arg)
{
    char c;
    must(read(there[0], &c, 1) == 0, "read");
    return arg;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    pthread_t t;
    must(pipe(pipe_fd) == 0, "pipe");
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, sock_fd) == 0, "socketpair");
    must((null_fd = open("/dev/null", O_WRONLY)) >= 0, "/dev/null");
    must((file_fd = open(argv[0], O_RDONLY)) >= 0, argv[0]);
    all_kinds("_before", seconds / 3);
    must(pipe(there) == 0, "pipe");
    must(pthread_create(&t, NULL, waits, NULL) == 0, "pthread_create");
    all_kinds("_after", seconds / 3);
    close(there[1]);
    pthread_join(t, NULL);
    close(there[0]);
    ping(seconds / 6);
    accepts();
    return 0;
}
