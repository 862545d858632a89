/* io_more.c - calls that wait for what is rarer than data: a least amount of it, a place in a
 * queue, the other end of a copy. Meanwhile other threads must get on, at one P too. */
#include "conform.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { BIG = 1 << 20, LEAST = 100, PIECE = 1000 };

struct call {
    int fd, to, begun, done, err;
    ssize_t n;
    char buf[2 * LEAST];
};

static void inet_pair(int s[2])
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);
    int l = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_EQ(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
    CHECK_EQ(listen(l, 1), 0);
    CHECK_EQ(getsockname(l, (struct sockaddr *)&sa, &n), 0);
    s[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(s[0], (struct sockaddr *)&sa, sizeof(sa)), 0);
    s[1] = accept(l, NULL, NULL);
    CHECK(s[1] >= 0);
    close(l);
}

static pthread_t begin(void *(*fn)(void *), struct call *c)
{
    pthread_t t = spawn(fn, c);

    await_at_least(&c->begun, 1);
    settle();
    CHECK_EQ(get(&c->done), 0);
    return t;
}

/* --- SO_RCVLOWAT ------------------------------------------------------------------------ */

static void *in_recv(void *arg)
{
    struct call *c = arg;

    set(&c->begun, 1);
    c->n = recv(c->fd, c->buf, sizeof(c->buf), 0);
    set(&c->done, 1);
    return NULL;
}

static void *in_read(void *arg)
{
    struct call *c = arg;

    set(&c->begun, 1);
    c->n = read(c->fd, c->buf, sizeof(c->buf));
    set(&c->done, 1);
    return NULL;
}

static void least(int s[2], void *(*fn)(void *))
{
    struct call c = {.fd = s[0]};
    char part[LEAST - 1] = {0};
    int n = LEAST;

    CHECK_EQ(setsockopt(s[0], SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n)), 0);
    pthread_t t = begin(fn, &c);
    CHECK_EQ(send(s[1], part, sizeof(part), 0), sizeof(part));
    settle();
    CHECK_EQ(get(&c.done), 0);
    CHECK_EQ(send(s[1], part, 1, 0), 1);
    join(t);
    CHECK_EQ(c.n, LEAST);
    /* The end is not waited past. */
    CHECK_EQ(send(s[1], part, 7, 0), 7);
    CHECK_EQ(shutdown(s[1], SHUT_WR), 0);
    CHECK_EQ(recv(s[0], part, sizeof(part), 0), 7);
    CHECK_EQ(recv(s[0], part, sizeof(part), 0), 0);
    close(s[0]);
    close(s[1]);
}

TEST(a_least_number_of_bytes)
{
    int s[2];

    inet_pair(s);
    least(s, in_recv);
    inet_pair(s);
    least(s, in_read);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    least(s, in_recv);
}

/* --- a full queue of connections ---------------------------------------------------------- */

static struct sockaddr_un name;

static void *in_connect(void *arg)
{
    struct call *c = arg;

    set(&c->begun, 1);
    c->n = connect(c->fd, (struct sockaddr *)&name, sizeof(name));
    set(&c->done, 1);
    return NULL;
}

TEST(connect_to_a_full_queue)
{
    int l = socket(AF_UNIX, SOCK_STREAM, 0), waiting[8], n = 0, fd;
    struct call c[3] = {{.fd = -1}};
    pthread_t t[3];

    name.sun_family = AF_UNIX; /* in the abstract name space: nothing to be removed */
    snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "io_more.%d", (int)getpid());
    CHECK_EQ(bind(l, (struct sockaddr *)&name, sizeof(name)), 0);
    CHECK_EQ(listen(l, 0), 0);
    for (;;) { /* until the next one would wait */
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fd, (struct sockaddr *)&name, sizeof(name)) != 0)
            break;
        waiting[n++] = fd;
    }
    CHECK_EQ(errno, EAGAIN);
    close(fd);
    for (int i = 0; i < 3; i++) {
        c[i] = (struct call){.fd = socket(AF_UNIX, SOCK_STREAM, 0)};
        t[i] = begin(in_connect, &c[i]);
    }
    for (int i = 0; i < n + 3; i++) {
        fd = accept(l, NULL, NULL);
        CHECK(fd >= 0);
        close(fd);
    }
    for (int i = 0; i < 3; i++) {
        join(t[i]);
        CHECK_EQ(c[i].n, 0);
        close(c[i].fd);
    }
    while (n > 0)
        close(waiting[--n]);
    close(l);
}

/* --- copies in the kernel ----------------------------------------------------------------- */

static void *in_sendfile(void *arg)
{
    struct call *c = arg;
    off_t at = 0;

    set(&c->begun, 1);
    while (c->n < BIG) {
        ssize_t r = sendfile(c->to, c->fd, &at, (size_t)(BIG - c->n));
        if (r <= 0)
            break;
        c->n += r;
    }
    set(&c->done, 1);
    return NULL;
}

static long drain(int fd)
{
    static char in[1 << 16];
    long sum = 0;

    for (ssize_t r; sum < BIG && (r = read(fd, in, sizeof(in))) > 0; sum += r)
        for (ssize_t i = 0; i < r; i++)
            CHECK_EQ(in[i], 's');
    return sum;
}

TEST(sendfile_into_a_full_socket)
{
    char path[] = "/tmp/io_more.XXXXXX";
    static char data[BIG];
    int s[2];

    memset(data, 's', sizeof(data));
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    struct call c = {.fd = mkstemp(path), .to = s[0]};
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(write(c.fd, data, BIG), BIG);
    pthread_t t = begin(in_sendfile, &c); /* more than a socket takes */
    CHECK_EQ(drain(s[1]), BIG);
    join(t);
    CHECK_EQ(c.n, BIG);
    close(c.fd);
    close(s[0]);
    close(s[1]);
}

/* What splice waits for, it waits for with the pipe locked: so one thread does both. */
static void *in_splice(void *arg)
{
    struct call *c = arg;
    int p[2];
    ssize_t r;

    CHECK_EQ(pipe(p), 0);
    set(&c->begun, 1);
    while ((r = splice(c->fd, NULL, p[1], NULL, PIECE, 0)) > 0) {
        CHECK_EQ(splice(p[0], NULL, c->to, NULL, (size_t)r, 0), r);
        c->n += r;
    }
    c->err = r < 0 ? errno : 0;
    set(&c->done, 1);
    close(p[0]);
    close(p[1]);
    return NULL;
}

TEST(splice_from_socket_to_socket)
{
    int from[2], to[2];

    inet_pair(from);
    inet_pair(to);
    struct call c = {.fd = from[1], .to = to[0]};
    pthread_t t = begin(in_splice, &c);
    for (int i = 0; i < 16; i++) {
        char piece[PIECE], got[PIECE];
        memset(piece, 'a' + i, sizeof(piece));
        CHECK_EQ(send(from[0], piece, sizeof(piece), 0), sizeof(piece));
        CHECK_EQ(recv(to[1], got, sizeof(got), MSG_WAITALL), sizeof(got));
        CHECK_EQ(memcmp(piece, got, sizeof(got)), 0);
    }
    close(from[0]);
    join(t);
    CHECK_EQ(c.n, 16 * PIECE);
    CHECK_EQ(c.err, 0);
    close(from[1]);
    close(to[0]);
    close(to[1]);
}

/* --- a pipe that has always been ready ------------------------------------------------------- */

enum { OFTEN = 100, MANY = 50 };

static void ready_often(int p[2])
{
    char c = 'r';

    CHECK_EQ(pipe(p), 0);
    for (int i = 0; i < OFTEN; i++) {
        CHECK_EQ(write(p[1], &c, 1), 1);
        CHECK_EQ(read(p[0], &c, 1), 1);
    }
}

static void *in_write_more(void *arg)
{
    struct call *c = arg;
    static char data[BIG];

    set(&c->begun, 1);
    c->n = write(c->fd, data, sizeof(data));
    set(&c->done, 1);
    return NULL;
}

TEST(a_pipe_that_was_always_ready_is_waited_for)
{
    static struct call c[MANY];
    static pthread_t t[MANY];
    int p[MANY][2];

    for (int i = 0; i < MANY; i++) {
        ready_often(p[i]);
        c[i].fd = p[i][0];
        t[i] = spawn(in_read, &c[i]);
    }
    for (int i = 0; i < MANY; i++)
        await_at_least(&c[i].begun, 1);
    settle();
    for (int i = MANY; i-- > 0;) {
        CHECK_EQ(get(&c[i].done), 0);
        CHECK_EQ(write(p[i][1], "abc", 3), 3);
        join(t[i]);
        CHECK_EQ(c[i].n, 3);
        close(p[i][0]);
        close(p[i][1]);
    }
}

TEST(a_pipe_that_was_always_ready_takes_all_of_a_long_write)
{
    struct call c = {0};
    int p[2];

    ready_often(p);
    c.fd = p[1];
    pthread_t t = begin(in_write_more, &c);
    static char in[1 << 16];
    long sum = 0;
    for (ssize_t r; sum < BIG && (r = read(p[0], in, sizeof(in))) > 0;)
        sum += r;
    CHECK_EQ(sum, BIG);
    join(t);
    CHECK_EQ(c.n, BIG);
    close(p[0]);
    close(p[1]);
}

TEST(a_thread_is_cancelled_in_a_pipe_that_was_always_ready)
{
    struct call c = {0};
    void *result;
    int p[2];

    ready_often(p);
    c.fd = p[0];
    pthread_t t = begin(in_read, &c);
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK_EQ(pthread_join(t, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    close(p[0]);
    close(p[1]);
}

TEST(a_number_of_a_pipe_that_was_always_ready_becomes_another_file)
{
    struct call c = {0};
    int p[2], s[2];
    char byte;

    ready_often(p);
    inet_pair(s);
    CHECK_EQ(dup2(s[0], p[0]), p[0]);
    CHECK_EQ(send(s[1], "s", 1, 0), 1);
    CHECK_EQ(read(p[0], &byte, 1), 1);
    CHECK_EQ(byte, 's');
    c.fd = p[0];
    pthread_t t = begin(in_read, &c);
    CHECK_EQ(send(s[1], "s", 1, 0), 1);
    join(t);
    CHECK_EQ(c.n, 1);
    close(p[0]);
    close(p[1]);
    close(s[0]);
    close(s[1]);
}
