/* io_sock.c - sockets in threads: connections, messages, timeouts, shutdown. */
#include "conform.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#define CONNECTIONS 40
#define BIG (1 << 20)

static int listener(struct sockaddr_in *sa)
{
    socklen_t n = sizeof(*sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    *sa = (struct sockaddr_in){.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_EQ(bind(fd, (struct sockaddr *)sa, sizeof(*sa)), 0);
    CHECK_EQ(listen(fd, 16), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)sa, &n), 0);
    return fd;
}

static void stream_pair(int fds[2])
{
    struct sockaddr_in sa;
    int l = listener(&sa);

    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(fds[0], (struct sockaddr *)&sa, sizeof(sa)), 0);
    fds[1] = accept(l, NULL, NULL);
    CHECK(fds[1] >= 0);
    close(l);
}

static void set_timeout(int fd, int opt, long ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};

    CHECK_EQ(setsockopt(fd, SOL_SOCKET, opt, &tv, sizeof(tv)), 0);
}

/* ---- accept and connect ---------------------------------------------------------------- */

static int listening, accepted, served;
static struct sockaddr_in address;

static void *in_accept(void *arg)
{
    struct sockaddr_in from;
    socklen_t n = sizeof(from);
    char c;

    (void)arg;
    int fd = accept(listening, (struct sockaddr *)&from, &n);
    CHECK(fd >= 0);
    CHECK_EQ(n, sizeof(from));
    CHECK_EQ(from.sin_family, AF_INET);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    add(&accepted, 1);
    while (read(fd, &c, 1) == 1)
        CHECK_EQ(send(fd, &c, 1, 0), 1);
    close(fd);
    add(&served, 1);
    return NULL;
}

static void *in_connect(void *arg)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval tv;
    socklen_t n = sizeof(tv);

    CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &n), 0);
    CHECK_EQ(tv.tv_sec * 1000000 + tv.tv_usec, 0);
    for (int i = 0; i < 20; i++) {
        char c = (char)('a' + i), back = 0;
        CHECK_EQ(send(fd, &c, 1, 0), 1);
        CHECK_EQ(recv(fd, &back, 1, 0), 1);
        CHECK_EQ(back, c);
    }
    CHECK_ERR(connect(fd, (struct sockaddr *)&address, sizeof(address)), EISCONN);
    close(fd);
    return arg;
}

TEST(accepts_and_connects)
{
    pthread_t a[CONNECTIONS], c[CONNECTIONS];

    listening = listener(&address);
    for (int i = 0; i < CONNECTIONS; i++)
        a[i] = spawn(in_accept, NULL);
    settle();
    CHECK_EQ(get(&accepted), 0);
    for (int i = 0; i < CONNECTIONS; i++)
        c[i] = spawn(in_connect, NULL);
    for (int i = 0; i < CONNECTIONS; i++) {
        join(a[i]);
        join(c[i]);
    }
    CHECK_EQ(served, CONNECTIONS);
    close(listening);
}

static void *refused(void *arg)
{
    struct sockaddr_in sa;
    int l = listener(&sa);

    close(l);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_ERR(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), ECONNREFUSED);
    close(fd);
    CHECK_ERR(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), EBADF);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_ERR(accept(fd, NULL, NULL), EINVAL);
    l = listener(&sa);
    CHECK_ERR(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), EINPROGRESS);
    close(fd);
    CHECK_EQ(fcntl(l, F_SETFL, O_NONBLOCK), 0);
    close(accept(l, NULL, NULL));
    CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
    close(l);
    return arg;
}

TEST(connect_and_accept_errors)
{
    join(spawn(refused, NULL));
}

static void *accept_timeout(void *arg)
{
    struct sockaddr_in sa;
    int l = listener(&sa);
    int64_t start_ns = now_ns(CLOCK_MONOTONIC);

    set_timeout(l, SO_RCVTIMEO, 30);
    CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
    CHECK(now_ns(CLOCK_MONOTONIC) - start_ns >= 28 * NS_PER_MS);
    close(l);
    return arg;
}

TEST(accept_times_out)
{
    join(spawn(accept_timeout, NULL));
}

/* ---- timeouts and shutdown -------------------------------------------------------------- */

static void *timeouts(void *arg)
{
    int s[2];
    char c, *big = calloc(1, 4 * BIG);

    (void)arg;
    stream_pair(s);
    set_timeout(s[0], SO_RCVTIMEO, 30);
    set_timeout(s[0], SO_SNDTIMEO, 30);
    int64_t start_ns = now_ns(CLOCK_MONOTONIC);
    CHECK_ERR(recv(s[0], &c, 1, 0), EAGAIN);
    CHECK_ERR(read(s[0], &c, 1), EAGAIN);
    CHECK(now_ns(CLOCK_MONOTONIC) - start_ns >= 56 * NS_PER_MS);
    ssize_t r, sum = 0;
    while ((r = send(s[0], big, 4 * BIG, 0)) > 0)
        sum += r;
    CHECK_EQ(errno, EAGAIN);
    CHECK(sum > 0);
    close(s[0]);
    close(s[1]);
    free(big);
    return NULL;
}

TEST(socket_timeouts)
{
    join(spawn(timeouts, NULL));
}

static void *in_recv(void *arg)
{
    char c;

    return (void *)(intptr_t)recv(*(int *)arg, &c, 1, 0);
}

TEST(shutdown_ends_a_wait)
{
    int s[2];

    stream_pair(s);
    pthread_t t = spawn(in_recv, &s[0]);
    settle();
    CHECK_EQ(shutdown(s[0], SHUT_RD), 0);
    CHECK_EQ((intptr_t)join(t), 0);
    t = spawn(in_recv, &s[1]);
    settle();
    CHECK_EQ(shutdown(s[0], SHUT_WR), 0);
    CHECK_EQ((intptr_t)join(t), 0);
    close(s[0]);
    close(s[1]);
}

static void *epipe(void *arg)
{
    int s[2];

    stream_pair(s);
    CHECK_EQ(shutdown(s[0], SHUT_WR), 0);
    CHECK_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    close(s[0]);
    close(s[1]);
    return arg;
}

TEST(send_after_shutdown)
{
    join(spawn(epipe, NULL));
}

/* ---- one call, many segments ------------------------------------------------------------- */

static void *send_in_pieces(void *arg)
{
    int fd = *(int *)arg;
    char buf[1000];

    memset(buf, 'p', sizeof(buf));
    for (int i = 0; i < 10; i++) {
        sleep_ms(2);
        CHECK_EQ(send(fd, buf, sizeof(buf), 0), sizeof(buf));
    }
    return NULL;
}

static void *waitall(void *arg)
{
    int *s = arg;
    char *buf = malloc(20000);
    struct iovec v[2] = {{buf, 3000}, {buf + 3000, 7000}};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

    pthread_t t = spawn(send_in_pieces, &s[1]);
    CHECK_EQ(recv(s[0], buf, 10000, MSG_WAITALL), 10000);
    join(t);
    t = spawn(send_in_pieces, &s[1]);
    CHECK_EQ(recvmsg(s[0], &m, MSG_WAITALL), 10000);
    join(t);
    t = spawn(send_in_pieces, &s[1]);
    CHECK(recv(s[0], buf, 10000, MSG_WAITALL | MSG_PEEK) > 0); /* all of it on TCP only */
    CHECK_EQ(recv(s[0], buf, 10000, MSG_WAITALL), 10000);
    join(t);
    t = spawn(send_in_pieces, &s[1]);
    join(t);
    shutdown(s[1], SHUT_WR);
    CHECK_EQ(recv(s[0], buf, 20000, MSG_WAITALL), 10000);
    free(buf);
    return NULL;
}

TEST(msg_waitall)
{
    int s[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    join(spawn(waitall, s));
    close(s[0]);
    close(s[1]);
    stream_pair(s);
    join(spawn(waitall, s));
    close(s[0]);
    close(s[1]);
}

static void *send_big(void *arg)
{
    int fd = *(int *)arg;
    char *big = calloc(1, BIG);
    struct iovec v[2] = {{big, BIG / 2}, {big, BIG / 2}};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

    CHECK_EQ(send(fd, big, BIG, 0), BIG);
    CHECK_EQ(sendmsg(fd, &m, 0), BIG);
    CHECK_EQ(writev(fd, v, 2), BIG);
    close(fd);
    free(big);
    return NULL;
}

TEST(sends_are_complete)
{
    int s[2];
    char buf[8192];
    ssize_t r;
    long sum = 0;

    stream_pair(s);
    pthread_t t = spawn(send_big, &s[1]);
    settle();
    while ((r = recv(s[0], buf, sizeof(buf), 0)) > 0)
        sum += r;
    CHECK_EQ(r, 0);
    CHECK_EQ(sum, 3 * BIG);
    join(t);
    close(s[0]);
}

/* ---- datagrams ---------------------------------------------------------------------------- */

static void *send_datagrams(void *arg)
{
    struct mmsghdr mm[3];
    struct iovec v[3];

    settle();
    CHECK_EQ(send(*(int *)arg, "one", 3, 0), 3);
    CHECK_EQ(send(*(int *)arg, "", 0, 0), 0);
    memset(mm, 0, sizeof(mm));
    for (int i = 0; i < 3; i++) {
        v[i] = (struct iovec){"abc", (size_t)i + 1};
        mm[i].msg_hdr.msg_iov = &v[i];
        mm[i].msg_hdr.msg_iovlen = 1;
    }
    settle();
    CHECK_EQ(sendmmsg(*(int *)arg, mm, 3, 0), 3);
    CHECK_EQ(mm[2].msg_len, 3);
    return NULL;
}

static void *datagrams(void *arg)
{
    int *s = arg;
    char buf[3][16];
    struct mmsghdr mm[3];
    struct iovec v[3];
    struct timespec t = {10, 0};

    CHECK_EQ(recv(s[0], buf[0], 16, 0), 3);
    CHECK_EQ(recv(s[0], buf[0], 16, 0), 0);
    memset(mm, 0, sizeof(mm));
    for (int i = 0; i < 3; i++) {
        v[i] = (struct iovec){buf[i], 16};
        mm[i].msg_hdr.msg_iov = &v[i];
        mm[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQ(recvmmsg(s[0], mm, 3, 0, &t), 3);
    CHECK_EQ(mm[0].msg_len, 1);
    CHECK_EQ(mm[2].msg_len, 3);
    CHECK_ERR(recvmmsg(s[0], mm, 3, MSG_DONTWAIT, NULL), EAGAIN);
    CHECK_EQ(send(s[1], "w", 1, 0), 1);
    CHECK_EQ(recvmmsg(s[0], mm, 3, MSG_WAITFORONE, NULL), 1);
    return NULL;
}

TEST(datagrams_keep_their_borders)
{
    int s[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, s), 0);
    pthread_t t = spawn(send_datagrams, &s[1]);
    join(spawn(datagrams, s));
    join(t);
    close(s[0]);
    close(s[1]);
}

static void *recv_from(void *arg)
{
    struct sockaddr_in from = {0};
    socklen_t n = sizeof(from);
    char buf[16];

    CHECK_EQ(recvfrom(*(int *)arg, buf, 16, 0, (struct sockaddr *)&from, &n), 5);
    CHECK_EQ(n, sizeof(from));
    CHECK_EQ(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    return NULL;
}

TEST(recvfrom_tells_the_sender)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK_EQ(bind(a, (struct sockaddr *)&sa, sizeof(sa)), 0);
    CHECK_EQ(getsockname(a, (struct sockaddr *)&sa, &n), 0);
    pthread_t t = spawn(recv_from, &a);
    settle();
    CHECK_EQ(sendto(b, "hello", 5, 0, (struct sockaddr *)&sa, sizeof(sa)), 5);
    join(t);
    close(a);
    close(b);
}

/* ---- a descriptor in a message ------------------------------------------------------------ */

static void *send_descriptor(void *arg)
{
    int *fds = arg; /* socket, what to send */
    char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec v = {"d", 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = room,
                       .msg_controllen = sizeof(room)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    settle();
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fds[1], sizeof(int));
    CHECK_EQ(sendmsg(fds[0], &m, 0), 1);
    return NULL;
}

TEST(descriptors_in_messages)
{
    int s[2], p[2], got = -1;
    char c, room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec v = {&c, 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = room,
                       .msg_controllen = sizeof(room)};

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    CHECK_EQ(pipe(p), 0);
    int args[2] = {s[1], p[0]};
    pthread_t t = spawn(send_descriptor, args);
    CHECK_EQ(recvmsg(s[0], &m, 0), 1);
    join(t);
    if (CMSG_FIRSTHDR(&m))
        memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
    CHECK(got >= 0 && got != p[0]);
    /* Both numbers are one file: waiters under either get what is written. */
    close(p[0]);
    pthread_t r = spawn(in_recv, &s[0]);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_EQ(read(got, &c, 1), 1);
    close(s[1]);
    CHECK_EQ((intptr_t)join(r), 0);
    close(got);
    close(p[1]);
    close(s[0]);
}
