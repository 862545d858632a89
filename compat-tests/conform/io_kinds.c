/* io_kinds.c - descriptors that are neither files nor pipes nor sockets, sets as large as they get,
 * and a process that has no descriptor left for anybody. */
#include "conform.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

struct call {
    int fd, begun, done, err;
    ssize_t n;
    char buf[4096];
};
static void *in_read(void *arg)
{
    struct call *c = arg;
    set(&c->begun, 1);
    c->n = read(c->fd, c->buf, sizeof c->buf);
    c->err = errno;
    set(&c->done, 1);
    return NULL;
}
static pthread_t begin(void *(*fn)(void *), struct call *c)
{
    pthread_t t = spawn(fn, c);
    await_at_least(&c->begun, 1);
    settle();
    CHECK_EQ(get(&c->done), 0);
    return t;
}

TEST(inotify_waits)
{
    char dir[] = "/tmp/io_kinds.XXXXXX", path[64];
    CHECK(mkdtemp(dir) != NULL);
    struct call c = {.fd = inotify_init1(0)};
    CHECK(inotify_add_watch(c.fd, dir, IN_CREATE) >= 0);
    pthread_t t = begin(in_read, &c);
    snprintf(path, sizeof path, "%s/a", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    join(t);
    CHECK(c.n >= (ssize_t)sizeof(struct inotify_event));
    unlink(path);
    rmdir(dir);
    close(c.fd);
}
TEST(signalfd_waits)
{
    sigset_t s = set_of(SIGUSR1);
    mask_signal(SIG_BLOCK, SIGUSR1);
    struct call c = {.fd = signalfd(-1, &s, 0)};
    pthread_t t = begin(in_read, &c);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    join(t);
    CHECK_EQ(c.n, sizeof(struct signalfd_siginfo));
    CHECK_EQ(((struct signalfd_siginfo *)(void *)c.buf)->ssi_signo, SIGUSR1);
    close(c.fd);
    mask_signal(SIG_UNBLOCK, SIGUSR1);
}
static void *in_poll(void *arg)
{
    struct call *c = arg;
    struct pollfd p = {c->fd, POLLIN, 0};
    set(&c->begun, 1);
    c->n = poll(&p, 1, -1);
    c->err = p.revents;
    set(&c->done, 1);
    return NULL;
}
TEST(pidfd_is_polled)
{
    int p[2];
    CHECK_EQ(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char b;
        close(p[1]);
        read(p[0], &b, 1);
        _exit(0);
    }
    struct call c = {.fd = (int)syscall(SYS_pidfd_open, pid, 0)};
    pthread_t t = begin(in_poll, &c);
    close(p[1]);
    join(t);
    CHECK_EQ(c.n, 1);
    CHECK_EQ(c.err, POLLIN);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    close(c.fd);
    close(p[0]);
}
TEST(an_epoll_descriptor_is_polled)
{
    int p[2];
    CHECK_EQ(pipe(p), 0);
    struct call c = {.fd = epoll_create1(0)};
    struct epoll_event e = {.events = EPOLLIN};
    CHECK_EQ(epoll_ctl(c.fd, EPOLL_CTL_ADD, p[0], &e), 0);
    pthread_t t = begin(in_poll, &c);
    CHECK_EQ(write(p[1], "x", 1), 1);
    join(t);
    CHECK_EQ(c.n, 1);
    CHECK_EQ(c.err, POLLIN);
    close(c.fd);
    close(p[0]);
    close(p[1]);
}
static void *many(void *arg)
{
    struct call *c = arg;
    int n = 9000;
    struct pollfd *p = calloc(n, sizeof *p);
    for (int i = 0; i < n; i++)
        p[i] = (struct pollfd){i % 2 ? c->fd : -1, POLLIN, 0};
    set(&c->begun, 1);
    c->n = poll(p, n, -1);
    for (int i = 0; i < n; i++)
        CHECK_EQ(p[i].revents, i % 2 ? POLLIN : 0);
    free(p);
    set(&c->done, 1);
    return NULL;
}
TEST(poll_with_9000)
{
    int p[2];
    CHECK_EQ(pipe(p), 0);
    struct call c = {.fd = p[0]};
    pthread_t t = begin(many, &c);
    CHECK_EQ(write(p[1], "x", 1), 1);
    join(t);
    CHECK_EQ(c.n, 4500);
    close(p[0]);
    close(p[1]);
}
static void *in_select(void *arg)
{
    struct call *c = arg;
    fd_set s;
    FD_ZERO(&s);
    FD_SET(c->fd, &s);
    set(&c->begun, 1);
    c->n = select(1024, &s, NULL, NULL, NULL);
    CHECK(FD_ISSET(c->fd, &s));
    set(&c->done, 1);
    return NULL;
}
TEST(select_of_the_highest)
{
    int p[2];
    CHECK_EQ(pipe(p), 0);
    struct call c = {.fd = 1023};
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = 2000;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &l), 0);
    CHECK_EQ(dup2(p[0], 1023), 1023);
    pthread_t t = begin(in_select, &c);
    CHECK_EQ(write(p[1], "x", 1), 1);
    join(t);
    CHECK_EQ(c.n, 1);
    close(1023);
    close(p[0]);
    close(p[1]);
}

MODE(emfile)
{
    int p[2], s[2], fd, many_fds = 0;
    static int f[300];
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = 60;
    setrlimit(RLIMIT_NOFILE, &l);
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    while ((fd = dup(0)) >= 0)
        f[many_fds++] = fd;
    CHECK_EQ(errno, EMFILE);
    struct call c[4] = {{.fd = p[0]}, {.fd = s[0]}, {.fd = p[0]}, {.fd = s[0]}};
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        t[i] = begin(i < 2 ? in_read : in_poll, &c[i]);
    CHECK_EQ(write(p[1], "xx", 1), 1);
    CHECK_EQ(write(s[1], "y", 1), 1);
    join(t[0]);
    join(t[1]);
    CHECK_EQ(c[0].n, 1);
    CHECK_EQ(c[1].n, 1);
    CHECK_EQ(c[1].buf[0], 'y');
    write(p[1], "x", 1);
    write(s[1], "x", 1);
    join(t[2]);
    join(t[3]);
    for (int i = 0; i < many_fds; i++)
        close(f[i]);
    printf("done\n");
    return 0;
}
TEST(no_descriptor_left)
{
    char out[256];
    CHECK_EXITS(run_mode("emfile", out, sizeof out), 0);
    CHECK(strcmp(out, "done\n") == 0);
}
