/* io_owner.c - F_SETOWN_EX with F_OWNER_TID: the one thread that is signalled for a descriptor. */
#include "conform.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static __thread volatile int calls;
static int handled, fd_told, band_told, code_told; /* atomic */
static pthread_t where;

static void on_io(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)uc;
    calls++;
    where = pthread_self();
    set(&fd_told, info->si_fd);
    set(&band_told, (int)info->si_band);
    set(&code_told, info->si_code);
    add(&handled, 1);
}

static void install(int sig)
{
    struct sigaction sa = {.sa_sigaction = on_io, .sa_flags = SA_SIGINFO | SA_RESTART};

    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
    set(&handled, 0);
}

static int set_owner(int fd, pid_t tid)
{
    struct f_owner_ex own = {F_OWNER_TID, tid};

    return fcntl(fd, F_SETOWN_EX, &own);
}

static void async(int fd, int sig)
{
    CHECK_EQ(fcntl(fd, F_SETSIG, sig), 0);
    CHECK_EQ(fcntl(fd, F_SETFL, O_RDWR | O_ASYNC), 0);
}

struct owner {
    int tid, stop, got, sig;
    void (*lives)(struct owner *);
    pthread_t t;
};

static void *owner_main(void *arg)
{
    struct owner *o = arg;

    set(&o->tid, (int)syscall(SYS_gettid));
    o->lives(o);
    return NULL;
}

static void start(struct owner *o)
{
    o->t = spawn(owner_main, o);
    await_at_least(&o->tid, 1);
}

static void in_computation(struct owner *o)
{
    while (!get(&o->stop))
        ;
}

static void in_sleep(struct owner *o)
{
    while (!get(&o->stop))
        usleep(1000);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void in_lock(struct owner *o)
{
    (void)o;
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
}

/* A byte each time the last was told of. */
static void signalled(void (*lives)(struct owner *), int sig)
{
    struct owner o = {.lives = lives};
    int fds[2];
    char c;

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    install(sig != 0 ? sig : SIGIO);
    pthread_mutex_lock(&lock);
    start(&o);
    CHECK_EQ(set_owner(fds[0], o.tid), 0);
    async(fds[0], sig);
    for (int i = 1; i <= 20; i++) {
        CHECK_EQ(write(fds[1], "x", 1), 1);
        await_at_least(&handled, i);
        CHECK(pthread_equal(where, o.t));
        if (sig != 0) {
            CHECK_EQ(get(&fd_told), fds[0]);
            CHECK_EQ(get(&code_told), POLL_IN);
            CHECK((get(&band_told) & POLLIN) != 0);
        }
        CHECK_EQ(read(fds[0], &c, 1), 1);
        set(&handled, i);
    }
    CHECK_EQ(calls, 0);
    set(&o.stop, 1);
    pthread_mutex_unlock(&lock);
    join(o.t);
    close(fds[0]);
    close(fds[1]);
}

TEST(a_thread_that_computes)
{
    signalled(in_computation, SIGRTMIN);
}

TEST(a_thread_that_sleeps)
{
    signalled(in_sleep, SIGRTMIN);
}

TEST(a_thread_that_waits_for_a_lock)
{
    signalled(in_lock, SIGRTMIN);
}

TEST(by_sigio)
{
    signalled(in_sleep, 0);
    signalled(in_computation, SIGIO);
}

/* It is not hidden by a signal of the library's own that is under way to the same thread. */
TEST(by_sigurg)
{
    struct owner other = {.lives = in_computation};

    start(&other);
    for (int i = 0; i < 10; i++)
        signalled(in_computation, SIGURG);
    set(&other.stop, 1);
    join(other.t);
}

static void in_sigwait(struct owner *o)
{
    struct timespec limit = {10, 0};
    siginfo_t info;
    sigset_t set_;

    sigemptyset(&set_);
    sigaddset(&set_, o->sig);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set_, NULL), 0);
    set(&o->stop, 1);
    for (; o->got < 10; add(&o->got, 1)) {
        CHECK_EQ(sigtimedwait(&set_, &info, &limit), o->sig);
        CHECK_EQ(info.si_code, POLL_IN);
    }
}

/* Every other thread has it open. */
TEST(a_thread_that_blocks_it)
{
    for (int k = 0; k < 2; k++) {
        struct owner o = {.lives = in_sigwait, .sig = k == 0 ? SIGRTMIN : SIGUSR1};
        int fds[2];
        char c;

        CHECK_EQ(pipe(fds), 0);
        install(o.sig);
        start(&o);
        await_at_least(&o.stop, 1);
        CHECK_EQ(set_owner(fds[0], o.tid), 0);
        CHECK_EQ(fcntl(fds[0], F_SETSIG, o.sig), 0);
        CHECK_EQ(fcntl(fds[0], F_SETFL, O_ASYNC), 0);
        for (int i = 1; i <= 10; i++) {
            CHECK_EQ(write(fds[1], "x", 1), 1);
            await_at_least(&o.got, i);
            CHECK_EQ(read(fds[0], &c, 1), 1);
        }
        join(o.t);
        CHECK_EQ(get(&handled), 0);
        close(fds[0]);
        close(fds[1]);
    }
}

TEST(urgent_data)
{
    struct owner o = {.lives = in_sleep};
    int fds[2], listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_storage a = {.ss_family = AF_INET};
    socklen_t n = sizeof a;

    CHECK_EQ(listen(listener, 1), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&a, &n), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(fds[0], (struct sockaddr *)&a, n), 0);
    fds[1] = accept(listener, NULL, NULL);
    install(SIGURG);
    start(&o);
    CHECK_EQ(set_owner(fds[0], o.tid), 0);
    CHECK_EQ(send(fds[1], "!", 1, MSG_OOB), 1);
    await_at_least(&handled, 1);
    CHECK(pthread_equal(where, o.t));
    set(&o.stop, 1);
    join(o.t);
    close(fds[0]);
    close(fds[1]);
    close(listener);
}

TEST(what_is_shown)
{
    struct owner o = {.lives = in_sleep};
    struct f_owner_ex own = {0};
    int fds[2];

    CHECK_EQ(pipe(fds), 0);
    start(&o);
    CHECK_EQ(fcntl(fds[0], F_GETOWN_EX, &own), 0);
    CHECK_EQ(own.pid, 0);
    CHECK_EQ(set_owner(fds[0], o.tid), 0);
    CHECK_EQ(fcntl(fds[0], F_GETOWN_EX, &own), 0);
    CHECK_EQ(own.type, F_OWNER_TID);
    CHECK_EQ(own.pid, o.tid);
    CHECK_EQ(fcntl(fds[0], F_GETOWN), o.tid);
    own = (struct f_owner_ex){F_OWNER_PID, getpid()};
    CHECK_EQ(fcntl(fds[0], F_SETOWN_EX, &own), 0);
    CHECK_EQ(fcntl(fds[0], F_GETOWN_EX, &own), 0);
    CHECK_EQ(own.type, F_OWNER_PID);
    CHECK_EQ(own.pid, getpid());
    CHECK_EQ(set_owner(fds[0], getpid()), 0); /* main */
    CHECK_EQ(fcntl(fds[0], F_GETOWN_EX, &own), 0);
    CHECK_EQ(own.pid, getpid());
    set(&o.stop, 1);
    join(o.t);
    CHECK_ERR(set_owner(fds[0], o.tid), ESRCH);
    close(fds[0]);
    close(fds[1]);
    CHECK_ERR(set_owner(fds[0], getpid()), EBADF);
}

static void *makes_main_own(void *arg)
{
    int *fds = arg;

    CHECK_EQ(set_owner(fds[0], getpid()), 0);
    CHECK_EQ(fcntl(fds[0], F_SETSIG, SIGRTMIN), 0);
    CHECK_EQ(fcntl(fds[0], F_SETFL, O_ASYNC), 0);
    for (int i = 1; i <= 10; i++) {
        CHECK_EQ(write(fds[1], "x", 1), 1);
        await_at_least(&handled, i);
    }
    return NULL;
}

TEST(main_by_another)
{
    int fds[2];

    CHECK_EQ(pipe(fds), 0);
    install(SIGRTMIN);
    calls = 0;
    join(spawn(makes_main_own, fds));
    CHECK_EQ(calls, 10);
    close(fds[0]);
    close(fds[1]);
}
