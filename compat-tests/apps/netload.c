/* netload.c - loads a server with one blocking thread per connection, checks every answer.
 *
 *   netload memcached|redis PORT CONNECTIONS REQUESTS
 *   netload http PORT CONNECTIONS REQUESTS DIRECTORY FILE...
 *   netload listen PORT DIRECTORY FILE...  is such a http server, for clients under test
 *
 * Each connection sends REQUESTS requests, one after the other. memcached and redis: values
 * of 1 to 4096 bytes under keys of its own, written, read back and compared byte by byte,
 * and a counter that all connections share. http: keep-alive GETs of the files in turn,
 * the body compared with DIRECTORY/FILE. Prints what was done; the output has no times, so
 * that it can be compared. Runs natively, whatever the server runs on. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    KEYS = 16,        /* of one connection */
    MAX_VALUE = 4096, /* bytes; crosses the servers' buffer sizes */
    MAX_FILES = 16,
};

struct conn {
    int fd, id;
    size_t have, used; /* buf[used, have) is read and not yet consumed */
    char buf[65536];
};

struct file {
    const char *name;
    char *data;
    size_t size;
};

static int port, n_conns, n_requests, n_files;
static struct file files[MAX_FILES];
static long answers;

static void fail(struct conn *c, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    printf("WRONG connection %d: ", c->id);
    vprintf(format, ap);
    printf("\n");
    va_end(ap);
    fflush(stdout);
    _exit(1);
}

static void send_all(struct conn *c, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t done = send(c->fd, data, n, MSG_NOSIGNAL);

        if (done <= 0)
            fail(c, "send: %s", strerror(errno));
        data += done;
        n -= (size_t)done;
    }
}

static bool fill(struct conn *c)
{
    ssize_t n;

    if (c->used == c->have)
        c->used = c->have = 0;
    n = recv(c->fd, c->buf + c->have, sizeof(c->buf) - c->have, 0);
    if (n > 0)
        c->have += (size_t)n;
    return n > 0;
}

/* line - the next line without its CR LF, NUL-terminated in the buffer; NULL at the end. */
static char *line(struct conn *c)
{
    for (;;) {
        char *from = c->buf + c->used;
        char *end = memmem(from, c->have - c->used, "\r\n", 2);

        if (end) {
            *end = 0;
            c->used = (size_t)(end + 2 - c->buf);
            return from;
        }
        memmove(c->buf, from, c->have - c->used);
        c->have -= c->used;
        c->used = 0;
        if (!fill(c))
            return NULL;
    }
}

static void expect_line(struct conn *c, const char *what)
{
    char *got = line(c);

    if (!got || strcmp(got, what) != 0)
        fail(c, "expected '%s', got '%s'", what, got ? got : "end of file");
}

static void expect_bytes(struct conn *c, const char *data, size_t n)
{
    while (n > 0) {
        size_t part = c->have - c->used;

        if (part == 0 && !fill(c))
            fail(c, "end of file in a body, %zu bytes missing", n);
        part = c->have - c->used < n ? c->have - c->used : n;
        if (memcmp(c->buf + c->used, data, part) != 0)
            fail(c, "a body differs");
        c->used += part;
        data += part;
        n -= part;
    }
}

/* value - what request I of connection ID writes; returns its length. */
static size_t value(char *to, int id, int i)
{
    unsigned x = (unsigned)id * 2654435761u + (unsigned)i * 40503u + 1;
    size_t n = 1 + x % MAX_VALUE;

    for (size_t k = 0; k < n; k++) {
        x = x * 1664525 + 1013904223;
        to[k] = (char)('a' + (x >> 24) % 26);
    }
    return n;
}

static void memcached(struct conn *c, int i)
{
    char data[MAX_VALUE], text[MAX_VALUE + 128];
    size_t n = value(data, c->id, i);
    int len = snprintf(text, sizeof(text), "set c%d.k%d 7 0 %zu\r\n%.*s\r\n", c->id,
                       i % KEYS, n, (int)n, data);

    send_all(c, text, (size_t)len);
    expect_line(c, "STORED");
    len = snprintf(text, sizeof(text), "get c%d.k%d\r\n", c->id, i % KEYS);
    send_all(c, text, (size_t)len);
    snprintf(text, sizeof(text), "VALUE c%d.k%d 7 %zu", c->id, i % KEYS, n);
    expect_line(c, text);
    expect_bytes(c, data, n);
    expect_line(c, "");
    expect_line(c, "END");
    send_all(c, "incr all 1\r\n", 12);
    if (!line(c))
        fail(c, "incr: end of file");
}

static void redis(struct conn *c, int i)
{
    char data[MAX_VALUE], text[MAX_VALUE + 128];
    size_t n = value(data, c->id, i);
    int len =
        snprintf(text, sizeof(text), "*3\r\n$3\r\nSET\r\n$%d\r\nc%05d.k%02d\r\n$%zu\r\n",
                 10, c->id, i % KEYS, n);

    memcpy(text + len, data, n);
    memcpy(text + len + n, "\r\n", 2);
    send_all(c, text, (size_t)len + n + 2);
    expect_line(c, "+OK");
    len = snprintf(text, sizeof(text), "GET c%05d.k%02d\r\n", c->id, i % KEYS);
    send_all(c, text, (size_t)len);
    snprintf(text, sizeof(text), "$%zu", n);
    expect_line(c, text);
    expect_bytes(c, data, n);
    expect_line(c, "");
    send_all(c, "INCR all\r\n", 10);
    if (!line(c))
        fail(c, "INCR: end of file");
}

static int connect_to_port(struct conn *c);

/* status_line - of the answer to GET. A server may close a connection that idles, so one
 * that ends before the answer begins is made anew, as every HTTP client does. */
static char *status_line(struct conn *c, const char *get, size_t n)
{
    for (int tries = 0; tries < 5; tries++) {
        char *s;

        if (send(c->fd, get, n, MSG_NOSIGNAL) == (ssize_t)n && (s = line(c)))
            return s;
        close(c->fd);
        c->have = c->used = 0;
        c->fd = connect_to_port(c);
    }
    return NULL;
}

static void http(struct conn *c, int i)
{
    const struct file *f = &files[(c->id + i) % n_files];
    long length = -1;
    char text[512], *s;
    int len = snprintf(text, sizeof(text), "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
                       f->name);

    s = status_line(c, text, (size_t)len);
    if (!s || strcmp(s, "HTTP/1.1 200 OK") != 0)
        fail(c, "status '%s'", s ? s : "end of file");
    while ((s = line(c)) && *s)
        if (strncasecmp(s, "Content-Length:", 15) == 0)
            length = atol(s + 15);
    if (length != (long)f->size)
        fail(c, "%s: Content-Length %ld, expected %zu", f->name, length, f->size);
    expect_bytes(c, f->data, f->size);
}

static void (*protocol)(struct conn *c, int i);

static int connect_to_port(struct conn *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
        fail(c, "connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void *connection(void *arg)
{
    struct conn *c = malloc(sizeof(*c));

    c->id = (int)(long)arg;
    c->have = c->used = 0;
    c->fd = connect_to_port(c);
    for (int i = 0; i < n_requests; i++) {
        protocol(c, i);
        __atomic_fetch_add(&answers, 1, __ATOMIC_RELAXED);
    }
    close(c->fd);
    free(c);
    return NULL;
}

/* counter - sets the shared counter to 0 (before) or checks it (after). */
static void counter(bool before)
{
    struct conn c = {.id = -1};
    char text[64];

    if (protocol == http)
        return;
    c.fd = connect_to_port(&c);
    if (protocol == memcached) {
        snprintf(text, sizeof(text), "VALUE all 0 %d",
                 snprintf(NULL, 0, "%ld", (long)n_conns * n_requests));
        send_all(&c, before ? "set all 0 0 1\r\n0\r\n" : "get all\r\n", before ? 18 : 9);
        expect_line(&c, before ? "STORED" : text);
    } else {
        snprintf(text, sizeof(text), "$%d",
                 snprintf(NULL, 0, "%ld", (long)n_conns * n_requests));
        send_all(&c, before ? "SET all 0\r\n" : "GET all\r\n", before ? 11 : 9);
        expect_line(&c, before ? "+OK" : text);
    }
    if (!before) {
        snprintf(text, sizeof(text), "%ld", (long)n_conns * n_requests);
        expect_line(&c, text);
    }
    close(c.fd);
}

static void read_file(const char *dir, const char *name)
{
    struct file *f = &files[n_files++];
    char path[4096];
    FILE *in;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    in = fopen(path, "r");
    if (!in || n_files > MAX_FILES)
        exit(2);
    fseek(in, 0, SEEK_END);
    f->size = (size_t)ftell(in);
    rewind(in);
    f->name = name;
    f->data = malloc(f->size);
    if (fread(f->data, 1, f->size, in) != f->size)
        exit(2);
    fclose(in);
}

/* serve_one - answers the requests of one connection with the files of a directory. */
static void *serve_one(void *arg)
{
    struct conn *c = arg;
    char *s, head[128];

    while ((s = line(c))) {
        char *name = strncmp(s, "GET /", 5) == 0 ? s + 5 : s;
        int i = 0, len;

        name[strcspn(name, " ")] = 0;
        while (i < n_files && strcmp(files[i].name, name) != 0)
            i++;
        while ((s = line(c)) && *s)
            ;
        len = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n",
                       i < n_files ? "200 OK" : "404 Not Found",
                       i < n_files ? files[i].size : 0);
        send_all(c, head, (size_t)len);
        if (i < n_files)
            send_all(c, files[i].data, files[i].size);
    }
    close(c->fd);
    free(c);
    return NULL;
}

static void serve(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1024) != 0)
        exit(3);
    for (;;) {
        struct conn *c = malloc(sizeof(*c));
        pthread_t t;

        c->have = c->used = 0;
        c->id = c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (pthread_create(&t, NULL, serve_one, c) == 0)
            pthread_detach(t);
    }
}

static int run(void)
{
    pthread_t *threads = calloc((size_t)n_conns, sizeof(*threads));

    counter(true);
    for (long i = 0; i < n_conns; i++)
        if (pthread_create(&threads[i], NULL, connection, (void *)i) != 0)
            return 3;
    for (int i = 0; i < n_conns; i++)
        pthread_join(threads[i], NULL);
    counter(false);
    printf("%d connections, %ld right answers\n", n_conns, answers);
    return 0;
}

int main(int argc, char **argv)
{
    int from = 5;

    if (argc < 4)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[2]);
    if (strcmp(argv[1], "listen") == 0) {
        for (int i = 4; i < argc; i++)
            read_file(argv[3], argv[i]);
        serve();
    }
    if (argc < 5)
        return 2;
    n_conns = atoi(argv[3]);
    n_requests = atoi(argv[4]);
    protocol = argv[1][0] == 'm' ? memcached : argv[1][0] == 'r' ? redis : http;
    while (protocol == http && ++from < argc)
        read_file(argv[5], argv[from]);
    return run();
}
