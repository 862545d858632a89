/* io_change.c - descriptors that are changed, shared or replaced between one wait and the
 * next, by every way there is: a thread that waited before must not go by what was true
 * then. */
#include "conform.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

struct reader {
    int fd, begun;
    ssize_t n;
    char buf[8];
};

static void *in_read(void *arg)
{
    struct reader *r = arg;

    set(&r->begun, 1);
    r->n = read(r->fd, r->buf, sizeof(r->buf));
    return NULL;
}

/* A thread waits for FD, and is given a byte by way of TO. */
static void wait_once(int fd, int to)
{
    struct reader r = {.fd = fd};
    pthread_t t = spawn(in_read, &r);

    await_at_least(&r.begun, 1);
    settle();
    CHECK_EQ(write(to, "w", 1), 1);
    join(t);
    CHECK_EQ(r.n, 1);
    CHECK_EQ(r.buf[0], 'w');
}

/* Twice: the first time it is all new. */
static void wait_twice(int fd, int to)
{
    wait_once(fd, to);
    wait_once(fd, to);
}

static void pair(int s[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
}

static void close_both(const int s[2])
{
    close(s[0]);
    close(s[1]);
}

static void set_nonblock(int fd)
{
    CHECK_EQ(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static void set_block(int fd)
{
    CHECK_EQ(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
}

TEST(o_nonblock_by_fcntl_and_ioctl)
{
    int s[2], on = 1, off = 0;
    char c;

    pair(s);
    for (int i = 0; i < 3; i++) {
        wait_twice(s[0], s[1]);
        set_nonblock(s[0]);
        CHECK_ERR(read(s[0], &c, 1), EAGAIN);
        set_block(s[0]);
        wait_twice(s[0], s[1]);
        CHECK_EQ(ioctl(s[0], FIONBIO, &on), 0);
        CHECK_ERR(recv(s[0], &c, 1, 0), EAGAIN);
        CHECK_EQ(ioctl(s[0], FIONBIO, &off), 0);
        wait_twice(s[0], s[1]);
        CHECK_EQ(syscall(SYS_fcntl, s[0], F_SETFL, O_RDWR | O_NONBLOCK), 0);
        CHECK_ERR(read(s[0], &c, 1), EAGAIN);
        set_block(s[0]);
    }
    close_both(s);
}

TEST(o_nonblock_by_a_duplicate)
{
    char c;

    for (int how = 0; how < 4; how++) {
        int s[2], d = -1;

        pair(s);
        wait_twice(s[0], s[1]);
        if (how == 0)
            d = dup(s[0]);
        else if (how == 1)
            d = fcntl(s[0], F_DUPFD, 100);
        else if (how == 2)
            d = dup2(s[0], 100);
        else
            d = (int)syscall(SYS_dup, s[0]);
        CHECK(d >= 0);
        wait_twice(s[0], s[1]);
        set_nonblock(d);
        CHECK_ERR(read(s[0], &c, 1), EAGAIN);
        set_block(d);
        wait_twice(s[0], s[1]);
        close(d);
        close_both(s);
    }
}

TEST(o_nonblock_by_a_child)
{
    int s[2], status;
    char c;

    pair(s);
    wait_twice(s[0], s[1]);
    pid_t pid = fork();
    if (pid == 0) {
        watchdog();
        set_nonblock(s[0]);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_ERR(read(s[0], &c, 1), EAGAIN);
    close_both(s);
}

static void send_fd(int to, int fd)
{
    char c = 'f';
    union {
        struct cmsghdr h;
        char room[CMSG_SPACE(sizeof(int))];
    } u = {.h = {.cmsg_level = SOL_SOCKET,
                 .cmsg_type = SCM_RIGHTS,
                 .cmsg_len = CMSG_LEN(sizeof(int))}};
    struct iovec v = {&c, 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = &u,
                       .msg_controllen = sizeof(u.room)};

    memcpy(CMSG_DATA(&u.h), &fd, sizeof(fd));
    CHECK_EQ(sendmsg(to, &m, 0), 1);
}

static int receive_fd(int from)
{
    char c;
    int fd = -1;
    union {
        struct cmsghdr h;
        char room[CMSG_SPACE(sizeof(int))];
    } u = {0};
    struct iovec v = {&c, 1};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = &u,
                       .msg_controllen = sizeof(u.room)};

    CHECK_EQ(recvmsg(from, &m, 0), 1);
    memcpy(&fd, CMSG_DATA(&u.h), sizeof(fd));
    return fd;
}

TEST(o_nonblock_by_who_was_sent_it)
{
    int s[2], way[2];
    char c;

    pair(s);
    pair(way);
    wait_twice(s[0], s[1]);
    send_fd(way[0], s[0]);
    int d = receive_fd(way[1]);
    CHECK(d >= 0 && d != s[0]);
    wait_twice(s[0], s[1]);
    set_nonblock(d);
    CHECK_ERR(read(s[0], &c, 1), EAGAIN);
    close(d);
    close_both(s);
    close_both(way);
}

TEST(timeouts_of_the_socket)
{
    struct timeval tv = {0, 30000}, none = {0, 0};
    int s[2];
    char c;

    pair(s);
    for (int i = 0; i < 2; i++) {
        wait_twice(s[0], s[1]);
        CHECK_EQ(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
        CHECK_ERR(read(s[0], &c, 1), EAGAIN);
        CHECK_ERR(recv(s[0], &c, 1, 0), EAGAIN);
        CHECK_EQ(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none)), 0);
    }
    close_both(s);
}

/* --- numbers used again behind the C library's back, or inside it ------------------------- */

#ifdef __x86_64__
static long raw(long nr, long a, long b, long c, long d)
{
    long r;
    register long r10 __asm__("r10") = d;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return r;
}
#else
static long raw(long nr, long a, long b, long c, long d)
{
    return syscall(nr, a, b, c, d);
}
#endif

/* Nobody can know; so this may take a moment longer than it must. */
TEST(closed_and_used_again_by_system_calls)
{
    int s[2], again[2];

    pair(s);
    wait_twice(s[0], s[1]);
    CHECK_EQ(raw(SYS_close, s[0], 0, 0, 0), 0);
    CHECK_EQ(raw(SYS_close, s[1], 0, 0, 0), 0);
    CHECK_EQ(raw(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, (long)again), 0);
    CHECK_EQ(again[0], s[0]);
    wait_twice(again[0], again[1]);
    close_both(again);
}

TEST(closed_by_fclose_and_used_again)
{
    int s[2], p[2];

    pair(s);
    wait_twice(s[0], s[1]);
    FILE *f = fdopen(s[0], "r+");
    CHECK(f != NULL);
    wait_twice(s[0], s[1]);
    fclose(f);
    close(s[1]);
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(p[0], s[0]);
    wait_twice(p[0], p[1]);
    close_both(p);
}

/* The old file lives on under another number, and has news all the time. */
TEST(the_old_file_lives_on)
{
    int s[2], p[2];
    char c;

    pair(s);
    wait_twice(s[0], s[1]);
    int d = dup(s[0]);
    close(s[0]);
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(p[0], s[0]);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(write(s[1], "o", 1), 1);
        wait_once(p[0], p[1]);
        CHECK_EQ(read(d, &c, 1), 1);
        CHECK_EQ(c, 'o');
    }
    close(d);
    close(s[1]);
    close_both(p);
}

/* --- several who wait ------------------------------------------------------------------- */

enum { READERS = 4, BYTES = 400 };

static int total;

static void *takes_bytes(void *arg)
{
    int fd = *(int *)arg;
    char c;

    while (read(fd, &c, 1) == 1)
        add(&total, 1);
    return NULL;
}

/* Each reads less than there is: what is left is for the others. */
TEST(several_readers_and_bursts)
{
    pthread_t t[READERS];
    char burst[20] = {0};
    int s[2];

    pair(s);
    wait_twice(s[0], s[1]);
    for (int i = 0; i < READERS; i++)
        t[i] = spawn(takes_bytes, &s[0]);
    for (int sent = 0; sent < BYTES; sent += (int)sizeof(burst)) {
        CHECK_EQ(write(s[1], burst, sizeof(burst)), sizeof(burst));
        await_at_least(&total, sent + (int)sizeof(burst));
    }
    CHECK_EQ(get(&total), BYTES);
    close(s[1]);
    for (int i = 0; i < READERS; i++)
        join(t[i]);
    close(s[0]);
}

/* Readers and a writer that has to wait, on one socket. */
static void *writes_much(void *arg)
{
    static char much[1 << 20];

    return (void *)write(*(int *)arg, much, sizeof(much));
}

TEST(both_directions)
{
    static char in[1 << 16];
    struct reader r;
    int s[2];

    pair(s);
    wait_twice(s[0], s[1]);
    for (int i = 0; i < 3; i++) {
        ssize_t n = 0, got;
        r = (struct reader){.fd = s[0]};
        pthread_t w = spawn(writes_much, &s[0]), t = spawn(in_read, &r);
        settle();
        while (n < 1 << 20 && (got = read(s[1], in, sizeof(in))) > 0)
            n += got;
        CHECK_EQ(n, 1 << 20);
        CHECK(join(w) == (void *)(1l << 20));
        CHECK_EQ(write(s[1], "w", 1), 1);
        join(t);
        CHECK_EQ(r.n, 1);
    }
    close_both(s);
}
