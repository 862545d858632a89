/* cancel_points.c - XSH 2.9.5.2, the functions that must be cancellation points.
 *
 * Each is called with a cancellation pending (it must act at once, POSIX: "whenever a thread has
 * cancelability enabled and a cancellation request has been made with that thread as the
 * target, and the thread then calls any function that is a cancellation point"), and, if it
 * blocks here, is cancelled while it is blocked ("or the thread is suspended at a cancellation
 * point"). */
#include "conform.h"

#include <aio.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <threads.h>

/* --- what the calls work on ----------------------------------------------------------- */

static int empty_pipe[2], full_pipe[2], pair[2], full_pair[2], listener, epoll, queue_id;
static mqd_t empty_mq, full_mq;
static char dir[] = "/tmp/cancel_points.XXXXXX";
static char fifo[128], lock_path[128];
static int lock_fd;
static pid_t holder; /* a child that holds the lock and does not end */
static sem_t zero_sem, *named_sem;
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_t sleeper;
static sigset_t usr2;
static char one;
static struct iovec vec = {&one, 1};

static void fill(int fd)
{
    static char block[4096];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, block, sizeof(block)) > 0)
        continue;
    while (write(fd, block, 1) > 0)
        continue;
    fcntl(fd, F_SETFL, 0);
}

static void hold_lock(void *arg)
{
    int *ready = arg, fd = open(lock_path, O_RDWR);
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    fcntl(fd, F_SETLK, &fl);
    flock(fd, LOCK_EX);
    set(ready, 1);
    for (;;)
        sleep(1000);
}

static void *sleep_on(void *arg)
{
    await_at_least(arg, 1);
    return NULL;
}

static int release_sleeper;

static mqd_t make_mq(const char *what)
{
    char name[64];
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 1};
    snprintf(name, sizeof(name), "/cancel_points_%s_%d", what, getpid());
    mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    mq_unlink(name);
    return q;
}

static void set_up(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int *ready = shared_alloc(sizeof(int));
    char name[64];
    if (!mkdtemp(dir) || pipe(empty_pipe) || pipe(full_pipe) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, full_pair))
        abort();
    fill(full_pipe[1]);
    fill(full_pair[1]);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
    if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 1))
        abort();
    epoll = epoll_create1(0);
    snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
    snprintf(lock_path, sizeof(lock_path), "%s/lock", dir);
    if (mkfifo(fifo, 0600))
        abort();
    lock_fd = open(lock_path, O_RDWR | O_CREAT, 0600);
    queue_id = msgget(IPC_PRIVATE, 0600);
    empty_mq = make_mq("empty");
    full_mq = make_mq("full");
    if (full_mq != (mqd_t)-1)
        mq_send(full_mq, "x", 1, 0);
    sem_init(&zero_sem, 0, 0);
    snprintf(name, sizeof(name), "/cancel_points_%d", getpid());
    named_sem = sem_open(name, O_CREAT, 0600, 0);
    sem_unlink(name);
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &usr2, NULL);
    holder = start_child(hold_lock, ready);
    await_at_least(ready, 1);
    sleeper = spawn(sleep_on, &release_sleeper);
}

static void tear_down(void)
{
    char path[160];
    set(&release_sleeper, 1);
    join(sleeper);
    kill(holder, SIGKILL);
    wait_status(holder);
    if (queue_id >= 0)
        msgctl(queue_id, IPC_RMID, NULL);
    snprintf(path, sizeof(path), "%s/socket", dir);
    unlink(path);
    unlink(fifo);
    unlink(lock_path);
    rmdir(dir);
}

/* --- the calls ------------------------------------------------------------------------ */

#define CALL(name, ...)                                                                  \
    static void call_##name(void)                                                        \
    {                                                                                    \
        __VA_ARGS__;                                                                     \
    }
#define DROP(call)                                                                       \
    do {                                                                                 \
        if ((call) == 0)                                                                 \
            one = 0;                                                                     \
    } while (0)

static struct timespec hour = {3600, 0};

CALL(read, DROP(read(empty_pipe[0], &one, 1)))
CALL(readv, DROP(readv(empty_pipe[0], &vec, 1)))
CALL(write, DROP(write(full_pipe[1], &one, 1)))
CALL(writev, DROP(writev(full_pipe[1], &vec, 1)))
CALL(recv, DROP(recv(pair[0], &one, 1, 0)))
CALL(recvfrom, DROP(recvfrom(pair[0], &one, 1, 0, NULL, NULL)))
CALL(recvmsg, struct msghdr h = {.msg_iov = &vec, .msg_iovlen = 1};
     DROP(recvmsg(pair[0], &h, 0)))
CALL(send, DROP(send(full_pair[1], &one, 1, 0)))
CALL(sendto, DROP(sendto(full_pair[1], &one, 1, 0, NULL, 0)))
CALL(sendmsg, struct msghdr h = {.msg_iov = &vec, .msg_iovlen = 1};
     DROP(sendmsg(full_pair[1], &h, 0)))
CALL(accept, DROP(accept(listener, NULL, NULL)))
CALL(accept4, DROP(accept4(listener, NULL, NULL, 0)))
CALL(poll, struct pollfd p = {empty_pipe[0], POLLIN, 0}; poll(&p, 1, -1))
CALL(poll_timeout, struct pollfd p = {empty_pipe[0], POLLIN, 0}; poll(&p, 1, 3600000))
CALL(ppoll, struct pollfd p = {empty_pipe[0], POLLIN, 0}; ppoll(&p, 1, NULL, NULL))
CALL(select, fd_set s; FD_ZERO(&s); FD_SET(empty_pipe[0], &s);
     select(empty_pipe[0] + 1, &s, NULL, NULL, NULL))
CALL(pselect, fd_set s; FD_ZERO(&s); FD_SET(empty_pipe[0], &s);
     pselect(empty_pipe[0] + 1, &s, NULL, NULL, &hour, NULL))
CALL(epoll_wait, struct epoll_event e; epoll_wait(epoll, &e, 1, -1))
CALL(epoll_pwait, struct epoll_event e; epoll_pwait(epoll, &e, 1, -1, NULL))
CALL(nanosleep, nanosleep(&hour, NULL))
CALL(clock_nanosleep, clock_nanosleep(CLOCK_MONOTONIC, 0, &hour, NULL))
CALL(clock_nanosleep_abs, struct timespec t = in_ms(CLOCK_REALTIME, 3600000);
     clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL))
CALL(sleep, sleep(3600))
CALL(usleep, usleep(999999999))
CALL(thrd_sleep, thrd_sleep(&hour, NULL))
CALL(pause, pause())
CALL(sigsuspend, sigset_t s; sigfillset(&s); sigsuspend(&s))
CALL(sigwait, int sig; sigwait(&usr2, &sig))
CALL(sigwaitinfo, sigwaitinfo(&usr2, NULL))
CALL(sigtimedwait, sigtimedwait(&usr2, NULL, &hour))
CALL(sem_wait, sem_wait(&zero_sem))
CALL(sem_timedwait, struct timespec t = in_ms(CLOCK_REALTIME, 3600000);
     sem_timedwait(&zero_sem, &t))
CALL(sem_clockwait, struct timespec t = in_ms(CLOCK_MONOTONIC, 3600000);
     sem_clockwait(&zero_sem, CLOCK_MONOTONIC, &t))
CALL(sem_wait_named, sem_wait(named_sem))
CALL(pthread_join, pthread_join(sleeper, NULL))
CALL(pthread_timedjoin, struct timespec t = in_ms(CLOCK_REALTIME, 3600000);
     pthread_timedjoin_np(sleeper, NULL, &t))
CALL(fcntl_setlkw, struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
     fcntl(lock_fd, F_SETLKW, &fl))
CALL(lockf, DROP(lockf(lock_fd, F_LOCK, 0)))
CALL(open, DROP(open(fifo, O_RDONLY)))
CALL(openat, DROP(openat(AT_FDCWD, fifo, O_WRONLY)))
CALL(mq_receive, mq_receive(empty_mq, &one, 1, NULL))
CALL(mq_timedreceive, struct timespec t = in_ms(CLOCK_REALTIME, 3600000);
     mq_timedreceive(empty_mq, &one, 1, NULL, &t))
CALL(mq_send, mq_send(full_mq, &one, 1, 0))
CALL(mq_timedsend, struct timespec t = in_ms(CLOCK_REALTIME, 3600000);
     mq_timedsend(full_mq, &one, 1, 0, &t))
CALL(msgrcv, char b[64]; msgrcv(queue_id, b, 8, 0, 0))
CALL(wait, wait(NULL))
CALL(waitpid, waitpid(holder, NULL, 0))
CALL(waitid, siginfo_t i; waitid(P_PID, (id_t)holder, &i, WEXITED))
CALL(system, DROP(system("exec sleep 1000")))
/* These do not block here. */
CALL(pthread_testcancel, pthread_testcancel())
CALL(pread, DROP(pread(lock_fd, &one, 1, 0)))
CALL(pwrite, DROP(pwrite(lock_fd, &one, 1, 0)))
CALL(preadv, DROP(preadv(lock_fd, &vec, 1, 0)))
CALL(pwritev, DROP(pwritev(lock_fd, &vec, 1, 0)))
CALL(close, close(-1))
CALL(creat, DROP(creat("/nonexistent/file", 0600)))
CALL(fsync, DROP(fsync(-1)))
CALL(fdatasync, DROP(fdatasync(-1)))
CALL(msync, DROP(msync(NULL, 0, MS_SYNC)))
CALL(
    msgsnd,
    struct {
        long type;
        char text[8];
    } b = {1, ""};
    msgsnd(-1, &b, 1, 0))
CALL(tcdrain, tcdrain(-1))
CALL(connect, struct sockaddr_un a = {.sun_family = AF_UNIX};
     DROP(connect(-1, (struct sockaddr *)&a, sizeof(a))))

struct point {
    const char *name;
    void (*call)(void);
    bool blocks;
};
#define BLOCKS(name)                                                                     \
    {                                                                                    \
#name, call_##name, true                                                         \
    }
#define PASSES(name)                                                                     \
    {                                                                                    \
#name, call_##name, false                                                        \
    }

static const struct point points[] = {
    BLOCKS(read),
    BLOCKS(readv),
    BLOCKS(write),
    BLOCKS(writev),
    BLOCKS(recv),
    BLOCKS(recvfrom),
    BLOCKS(recvmsg),
    BLOCKS(send),
    BLOCKS(sendto),
    BLOCKS(sendmsg),
    BLOCKS(accept),
    BLOCKS(accept4),
    BLOCKS(poll),
    BLOCKS(poll_timeout),
    BLOCKS(ppoll),
    BLOCKS(select),
    BLOCKS(pselect),
    BLOCKS(epoll_wait),
    BLOCKS(epoll_pwait),
    BLOCKS(nanosleep),
    BLOCKS(clock_nanosleep),
    BLOCKS(clock_nanosleep_abs),
    BLOCKS(sleep),
    BLOCKS(usleep),
    BLOCKS(thrd_sleep),
    BLOCKS(pause),
    BLOCKS(sigsuspend),
    BLOCKS(sigwait),
    BLOCKS(sigwaitinfo),
    BLOCKS(sigtimedwait),
    BLOCKS(sem_wait),
    BLOCKS(sem_timedwait),
    BLOCKS(sem_clockwait),
    BLOCKS(sem_wait_named),
    BLOCKS(pthread_join),
    BLOCKS(pthread_timedjoin),
    BLOCKS(fcntl_setlkw),
    BLOCKS(lockf),
    BLOCKS(open),
    BLOCKS(openat),
    BLOCKS(mq_receive),
    BLOCKS(mq_timedreceive),
    BLOCKS(mq_send),
    BLOCKS(mq_timedsend),
    BLOCKS(msgrcv),
    BLOCKS(wait),
    BLOCKS(waitpid),
    BLOCKS(waitid),
    PASSES(pthread_testcancel),
    PASSES(pread),
    PASSES(pwrite),
    PASSES(preadv),
    PASSES(pwritev),
    PASSES(close),
    PASSES(creat),
    PASSES(fsync),
    PASSES(fdatasync),
    PASSES(msync),
    PASSES(msgsnd),
    PASSES(tcdrain),
    PASSES(connect),
};

static bool usable(const struct point *p)
{
    if (strncmp(p->name, "mq_", 3) == 0)
        return empty_mq != (mqd_t)-1 && full_mq != (mqd_t)-1;
    return strcmp(p->name, "msgrcv") != 0 || queue_id >= 0;
}

/* --- the runs ------------------------------------------------------------------------- */

struct run {
    const struct point *p;
    int ready, go, cleaned, survived;
};

static void count(void *arg)
{
    add(arg, 1);
}

static void *pending_first(void *arg)
{
    struct run *r = arg;
    pthread_cleanup_push(count, &r->cleaned);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    set(&r->ready, 1);
    await_at_least(&r->go, 1);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    r->p->call();
    set(&r->survived, 1);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *block_first(void *arg)
{
    struct run *r = arg;
    pthread_cleanup_push(count, &r->cleaned);
    set(&r->ready, 1);
    r->p->call();
    set(&r->survived, 1);
    pthread_cleanup_pop(0);
    return NULL;
}

static void check(const struct run *r, void *result)
{
    if (result != PTHREAD_CANCELED || r->survived || r->cleaned != 1)
        dprintf(2, "%s: survived %d, cleaned %d\n", r->p->name, r->survived, r->cleaned);
    CHECK(result == PTHREAD_CANCELED);
    CHECK_EQ(r->survived, 0);
    CHECK_EQ(r->cleaned, 1);
}

TEST(acts_when_one_is_pending)
{
    set_up();
    for (size_t i = 0; i < COUNT_OF(points); i++) {
        struct run r = {.p = &points[i]};
        if (!usable(r.p))
            continue;
        pthread_t t = spawn(pending_first, &r);
        await_at_least(&r.ready, 1);
        CHECK_EQ(pthread_cancel(t), 0);
        set(&r.go, 1);
        check(&r, join(t));
    }
}

TEST(acts_while_blocked)
{
    for (size_t i = 0; i < COUNT_OF(points); i++) {
        struct run r = {.p = &points[i]};
        if (!usable(r.p) || !r.p->blocks)
            continue;
        pthread_t t = spawn(block_first, &r);
        await_at_least(&r.ready, 1);
        sleep_ms(3);
        CHECK_EQ(pthread_cancel(t), 0);
        check(&r, join(t));
    }
}

/* All of them blocked at a time: each is found where it is, and nobody else is. */
TEST(acts_on_the_right_one)
{
    static struct run r[COUNT_OF(points)];
    pthread_t t[COUNT_OF(points)];
    for (size_t i = 0; i < COUNT_OF(points); i++) {
        /* One joiner per thread; and the two opens would find each other. */
        bool twice = strncmp(points[i].name, "pthread_", 8) == 0 ||
                     strcmp(points[i].name, "openat") == 0;
        r[i] = (struct run){.p = &points[i]};
        if (!usable(r[i].p) || !r[i].p->blocks || twice)
            continue;
        t[i] = spawn(block_first, &r[i]);
        await_at_least(&r[i].ready, 1);
    }
    settle();
    for (size_t i = 0; i < COUNT_OF(points); i += 2)
        if (r[i].ready) {
            CHECK_EQ(pthread_cancel(t[i]), 0);
            check(&r[i], join(t[i]));
        }
    for (size_t i = 1; i < COUNT_OF(points); i += 2)
        CHECK_EQ(get(&r[i].survived) + get(&r[i].cleaned), 0);
    for (size_t i = 1; i < COUNT_OF(points); i += 2)
        if (r[i].ready)
            CHECK_EQ(pthread_cancel(t[i]), 0);
    for (size_t i = 1; i < COUNT_OF(points); i += 2)
        if (r[i].ready)
            check(&r[i], join(t[i]));
}

/* POSIX 2.9.5.2: the call must not have had side effects beyond those of an interrupted one:
 * what was there to take is still there. */
TEST(nothing_was_taken)
{
    char c = 'x';
    CHECK_EQ(write(empty_pipe[1], &c, 1), 1);
    CHECK_EQ(read(empty_pipe[0], &c, 1), 1);
    CHECK_EQ(sem_post(&zero_sem), 0);
    CHECK_EQ(sem_trywait(&zero_sem), 0);
    CHECK_EQ(sem_post(named_sem), 0);
    CHECK_EQ(sem_trywait(named_sem), 0);
    CHECK_EQ(write(pair[1], &c, 1), 1);
    CHECK_EQ(read(pair[0], &c, 1), 1);
}

/* pthread_join: the thread that was waited for is still joinable. */
TEST(target_of_cancelled_join_is_joinable)
{
    tear_down();
}

/* system(3) of the C library ends the command when it is cancelled. */
TEST(system_ends_its_command)
{
    const struct point p = {"system", call_system, true};
    struct run r = {.p = &p};
    pthread_t t = spawn(block_first, &r);
    await_at_least(&r.ready, 1);
    settle();
    CHECK_EQ(pthread_cancel(t), 0);
    check(&r, join(t));
    CHECK_ERR(waitpid(-1, NULL, WNOHANG), ECHILD);
}

static void unlock(void *arg)
{
    CHECK_EQ(pthread_mutex_unlock(arg), 0); /* held again, POSIX pthread_cond_wait */
}

static void *wait_on_cond(void *arg)
{
    struct run *r = arg;
    pthread_mutex_lock(&m);
    pthread_cleanup_push(unlock, &m);
    pthread_cleanup_push(count, &r->cleaned);
    set(&r->ready, 1);
    pthread_cond_wait(&never, &m);
    set(&r->survived, 1);
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return NULL;
}

TEST(cond_wait)
{
    const struct point p = {"pthread_cond_wait", NULL, true};
    struct run r = {.p = &p};
    pthread_t t = spawn(wait_on_cond, &r);
    await_at_least(&r.ready, 1);
    settle();
    CHECK_EQ(pthread_cancel(t), 0);
    check(&r, join(t));
    CHECK_EQ(pthread_mutex_trylock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
}

static void *suspend_aio(void *arg)
{
    struct run *r = arg;
    static struct aiocb cb;
    const struct aiocb *list[1] = {&cb};
    pthread_cleanup_push(count, &r->cleaned);
    cb = (struct aiocb){.aio_fildes = empty_pipe[0], .aio_buf = &one, .aio_nbytes = 1};
    CHECK_EQ(aio_read(&cb), 0);
    set(&r->ready, 1);
    aio_suspend(list, 1, NULL);
    set(&r->survived, 1);
    pthread_cleanup_pop(0);
    return NULL;
}

TEST(aio_suspend)
{
    const struct point p = {"aio_suspend", NULL, true};
    struct run r = {.p = &p};
    char c = 'x';
    pthread_t t = spawn(suspend_aio, &r);
    await_at_least(&r.ready, 1);
    settle();
    CHECK_EQ(pthread_cancel(t), 0);
    check(&r, join(t));
    CHECK_EQ(write(empty_pipe[1], &c, 1), 1); /* for the request, which goes on */
}
