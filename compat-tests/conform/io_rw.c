/* io_rw.c - reading and writing in threads: results, partial transfers, what ends a wait. */
#include "conform.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#define MANY 16
#define BIG (1 << 20) /* more than any pipe or socket buffer holds here */

struct job {
    int fd;
    char *buf;
    size_t n;
    ssize_t result;
    int err, begun, done;
};

static void *in_read(void *arg)
{
    struct job *j = arg;

    set(&j->begun, 1);
    errno = 0;
    j->result = read(j->fd, j->buf, j->n);
    j->err = errno;
    set(&j->done, 1);
    return NULL;
}

static void *in_write(void *arg)
{
    struct job *j = arg;

    set(&j->begun, 1);
    errno = 0;
    j->result = write(j->fd, j->buf, j->n);
    j->err = errno;
    set(&j->done, 1);
    return NULL;
}

static pthread_t start(void *(*fn)(void *), struct job *j)
{
    pthread_t t = spawn(fn, j);

    await_at_least(&j->begun, 1);
    settle();
    CHECK_EQ(get(&j->done), 0);
    return t;
}

/* ---- what is there is read, an end is an end ----------------------------------------- */

static void *in_short_reads(void *arg)
{
    int *fds = arg;
    char buf[64];

    CHECK_EQ(write(fds[1], "abcdef", 6), 6);
    CHECK_EQ(read(fds[0], buf, 4), 4);
    CHECK_EQ(memcmp(buf, "abcd", 4), 0);
    CHECK_EQ(read(fds[0], buf, sizeof(buf)), 2);
    CHECK_EQ(memcmp(buf, "ef", 2), 0);
    CHECK_EQ(read(fds[0], buf, 0), 0);
    close(fds[1]);
    CHECK_EQ(read(fds[0], buf, sizeof(buf)), 0);
    close(fds[0]);
    CHECK_ERR(read(fds[0], buf, 1), EBADF);
    CHECK_ERR(write(fds[1], buf, 1), EBADF);
    return NULL;
}

TEST(short_reads_and_end_of_file)
{
    int p[2], s[2];

    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    join(spawn(in_short_reads, p));
    join(spawn(in_short_reads, s));
}

TEST(end_of_file_ends_a_wait)
{
    int p[2];
    char c;
    struct job j = {.buf = &c, .n = 1};

    CHECK_EQ(pipe(p), 0);
    j.fd = p[0];
    pthread_t t = start(in_read, &j);
    close(p[1]);
    join(t);
    CHECK_EQ(j.result, 0);
    close(p[0]);
}

/* ---- a write that does not fit goes on until all is written ---------------------------- */

static void read_all(int fd, size_t n)
{
    char buf[4096];
    size_t at = 0;

    while (at < n) {
        ssize_t r = read(fd, buf, sizeof(buf));
        CHECK(r > 0);
        if (r <= 0)
            return;
        for (ssize_t i = 0; i < r; i++)
            if (buf[i] != (char)((at + (size_t)i) * 7)) {
                CHECK(!"bytes in order");
                return;
            }
        at += (size_t)r;
    }
}

static void write_big(int in, int out)
{
    struct job j = {.fd = out, .n = BIG};

    j.buf = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        j.buf[i] = (char)(i * 7);
    pthread_t t = start(in_write, &j);
    read_all(in, BIG);
    join(t);
    CHECK_EQ(j.result, BIG);
    free(j.buf);
}

TEST(big_writes_are_complete)
{
    int p[2], s[2];

    CHECK_EQ(pipe(p), 0);
    write_big(p[0], p[1]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    write_big(s[0], s[1]);
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(s[i]);
    }
}

static void *in_writev(void *arg)
{
    struct job *j = arg;
    struct iovec v[40];

    for (int i = 0; i < 40; i++)
        v[i] = (struct iovec){j->buf + (size_t)i * (BIG / 40), BIG / 40};
    j->result = writev(j->fd, v, 40);
    return NULL;
}

TEST(writev_is_complete)
{
    int p[2];
    struct job j = {.n = BIG};

    CHECK_EQ(pipe(p), 0);
    j.fd = p[1];
    j.buf = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        j.buf[i] = (char)(i * 7);
    pthread_t t = spawn(in_writev, &j);
    read_all(p[0], BIG / 40 * 40);
    join(t);
    CHECK_EQ(j.result, BIG / 40 * 40);
    free(j.buf);
    close(p[0]);
    close(p[1]);
}

/* The reader goes away in the middle: what was written is the result. */
TEST(partial_write_when_the_reader_closes)
{
    int s[2];
    struct job j = {.n = BIG};

    signal(SIGPIPE, SIG_IGN);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    j.fd = s[1];
    j.buf = calloc(1, BIG);
    pthread_t t = start(in_write, &j);
    close(s[0]);
    join(t);
    CHECK(j.result > 0 && j.result < BIG);
    j.result = write(s[1], "x", 1);
    CHECK_EQ(j.result, -1);
    CHECK_EQ(errno, EPIPE);
    free(j.buf);
    close(s[1]);
    signal(SIGPIPE, SIG_DFL);
}

static void *pipe_death(void *arg)
{
    (void)arg;
    int p[2];

    CHECK_EQ(pipe(p), 0);
    close(p[0]);
    if (write(p[1], "x", 1) == 1)
        return NULL;
    return NULL;
}

static void die_of_sigpipe(void *arg)
{
    signal(SIGPIPE, SIG_DFL);
    join(spawn(pipe_death, arg));
}

TEST(sigpipe_kills)
{
    int status = wait_status(start_child(die_of_sigpipe, NULL));

    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGPIPE);
}

/* ---- O_NONBLOCK is the program's ------------------------------------------------------- */

static void *in_nonblock(void *arg)
{
    int *fds = arg;
    char *big = calloc(1, BIG);

    CHECK_EQ(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    CHECK_EQ(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    CHECK_ERR(read(fds[0], big, 1), EAGAIN);
    ssize_t r = write(fds[1], big, BIG);
    CHECK(r > 0 && r < BIG);
    CHECK_ERR(write(fds[1], big, BIG), EAGAIN);
    CHECK_EQ(fcntl(fds[0], F_SETFL, 0), 0);
    CHECK_EQ(fcntl(fds[1], F_SETFL, 0), 0);
    CHECK_EQ(read(fds[0], big, 16), 16);
    free(big);
    return NULL;
}

static void *blocked_flags(void *arg)
{
    char c;

    return (void *)(intptr_t)read(*(int *)arg, &c, 1);
}

TEST(nonblocking_descriptors)
{
    int p[2], s[2];

    CHECK_EQ(pipe(p), 0);
    join(spawn(in_nonblock, p));
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    join(spawn(in_nonblock, s));
    close(p[0]);
    close(p[1]);
    close(s[0]);
    close(s[1]);
}

TEST(waiting_leaves_the_flags_alone)
{
    int p[2];

    CHECK_EQ(pipe(p), 0);
    int copy = dup(p[0]);
    pthread_t t = spawn(blocked_flags, &p[0]);
    settle();
    CHECK_EQ(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(copy, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_EQ((intptr_t)join(t), 1);
    close(p[0]);
    close(p[1]);
    close(copy);
}

/* ---- many readers: each byte is one reader's ------------------------------------------- */

static int sum, readers_done;

static void *count_bytes(void *arg)
{
    char c;

    while (read(*(int *)arg, &c, 1) == 1)
        add(&sum, 1);
    add(&readers_done, 1);
    return NULL;
}

static void many_readers(int in, int out)
{
    pthread_t t[MANY];

    sum = readers_done = 0;
    for (int i = 0; i < MANY; i++)
        t[i] = spawn(count_bytes, &in);
    settle();
    for (int i = 0; i < 500; i++)
        CHECK_EQ(write(out, "abcdefgh", 1 + i % 8), 1 + i % 8);
    int want = 0;
    for (int i = 0; i < 500; i++)
        want += 1 + i % 8;
    await_at_least(&sum, want);
    close(out);
    for (int i = 0; i < MANY; i++)
        join(t[i]);
    CHECK_EQ(sum, want);
    close(in);
}

TEST(many_readers_of_one_pipe)
{
    int p[2];

    CHECK_EQ(pipe(p), 0);
    many_readers(p[0], p[1]);
}

TEST(many_readers_of_one_socket)
{
    int s[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    many_readers(s[0], s[1]);
}

/* ---- other kinds of descriptors -------------------------------------------------------- */

static void *write_event(void *arg)
{
    uint64_t v = 3;

    settle();
    CHECK_EQ(write(*(int *)arg, &v, sizeof(v)), sizeof(v));
    return NULL;
}

TEST(eventfd_waits)
{
    int fd = eventfd(0, 0);
    uint64_t v = 0;
    pthread_t t = spawn(write_event, &fd);

    CHECK_EQ(read(fd, &v, sizeof(v)), sizeof(v));
    CHECK_EQ(v, 3);
    join(t);
    v = UINT64_MAX - 1;
    CHECK_EQ(write(fd, &v, sizeof(v)), sizeof(v)); /* full: the next write waits */
    t = spawn(write_event, &fd);
    settle();
    settle();
    CHECK_EQ(read(fd, &v, sizeof(v)), sizeof(v));
    CHECK_EQ(v, UINT64_MAX - 1);
    join(t);
    CHECK_ERR(read(fd, &v, 4), EINVAL);
    close(fd);
}

TEST(timerfd_waits)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec its = {.it_value = {0, 20 * NS_PER_MS}};
    uint64_t n = 0;
    int64_t start_ns = now_ns(CLOCK_MONOTONIC);
    pthread_t t = spawn(blocked_flags, &(int){-1});

    join(t);
    CHECK_EQ(timerfd_settime(fd, 0, &its, NULL), 0);
    CHECK_EQ(read(fd, &n, sizeof(n)), sizeof(n));
    CHECK_EQ(n, 1);
    CHECK(now_ns(CLOCK_MONOTONIC) - start_ns >= 20 * NS_PER_MS);
    close(fd);
}

static void *type_in(void *arg)
{
    settle();
    CHECK_EQ(write(*(int *)arg, "line\n", 5), 5);
    return NULL;
}

TEST(tty_waits)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    char buf[16];

    CHECK(master >= 0);
    CHECK_EQ(grantpt(master) | unlockpt(master), 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    CHECK(slave >= 0);
    pthread_t t = spawn(type_in, &master);
    CHECK_EQ(read(slave, buf, sizeof(buf)), 5);
    CHECK_EQ(memcmp(buf, "line\n", 5), 0);
    join(t);
    close(slave);
    close(master);
}

static void *open_fifo_to_write(void *arg)
{
    settle();
    int fd = open(arg, O_WRONLY);
    CHECK(fd >= 0);
    settle();
    CHECK_EQ(write(fd, "f", 1), 1);
    close(fd);
    return NULL;
}

TEST(fifo_waits_for_both_ends)
{
    char dir[] = "/tmp/gshim-fifo-XXXXXX", path[64], c;

    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/fifo", dir);
    CHECK_EQ(mkfifo(path, 0600), 0);
    pthread_t t = spawn(open_fifo_to_write, path);
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, &c, 1), 1);
    CHECK_EQ(read(fd, &c, 1), 0);
    join(t);
    close(fd);
    unlink(path);
    rmdir(dir);
}

/* ---- regular files, also under a number that was something else before ------------------ */

static int make_file(size_t bytes)
{
    char path[] = "/tmp/gshim-file-XXXXXX", *buf = malloc(bytes);
    int fd = mkstemp(path);

    unlink(path);
    for (size_t i = 0; i < bytes; i++)
        buf[i] = (char)(i * 7);
    CHECK_EQ(write(fd, buf, bytes), bytes);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    free(buf);
    return fd;
}

static void *file_ops(void *arg)
{
    int fd = make_file(BIG);
    char *buf = malloc(BIG);
    struct iovec v = {buf, 100};

    (void)arg;
    CHECK_EQ(read(fd, buf, BIG), BIG);
    CHECK_EQ(read(fd, buf, BIG), 0);
    CHECK_EQ(pread(fd, buf, 10, 5), 10);
    CHECK_EQ(buf[0], 5 * 7);
    CHECK_EQ(pwrite(fd, "x", 1, 5), 1);
    CHECK_EQ(preadv(fd, &v, 1, 5), 100);
    CHECK_EQ(buf[0], 'x');
    CHECK_EQ(preadv2(fd, &v, 1, 5, 0), 100);
    CHECK_EQ(lseek(fd, 7, SEEK_SET), 7);
    CHECK_EQ(preadv2(fd, &v, 1, -1, 0), 100);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 107);
    CHECK_EQ(fsync(fd), 0);
    CHECK_EQ(fdatasync(fd), 0);
    CHECK_EQ(ftruncate(fd, 3), 0);
    CHECK_EQ(pread(fd, buf, 10, 0), 3);
    free(buf);
    close(fd);
    return NULL;
}

TEST(regular_files)
{
    join(spawn(file_ops, NULL));
}

/* fclose closes inside libc, so nobody is told that the number changes hands. */
static void *reuse_ops(void *arg)
{
    int p[2];
    char c, *buf = malloc(BIG);

    (void)arg;
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(pipe(p), 0);
        CHECK_EQ(write(p[1], "c", 1), 1);
        CHECK_EQ(read(p[0], &c, 1), 1);
        FILE *f = fdopen(p[0], "r");
        fclose(f);
        int fd = make_file(10000);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        CHECK_EQ(read(fd, buf, BIG), 10000);
        f = fdopen(fd, "r");
        fclose(f);
        close(p[1]);
    }
    free(buf);
    return NULL;
}

TEST(numbers_that_change_hands_unseen)
{
    join(spawn(reuse_ops, NULL));
}
