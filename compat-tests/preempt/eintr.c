/* eintr.c - no call fails with EINTR, or comes back early, in a program without signals.
 *
 * One thread per kind of call blocks in it over and over, for a millisecond or until its partner
 * does the other half, while spinners see to it that everybody is preempted and woken all the
 * time.  Between two calls each computes for a while, so that requests to preempt arrive
 * when the call begins. */

#include "compat-tests/stress/stress.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

enum { SPINNERS = 2, BIG = 300000 };

static volatile bool enough;
static int msg_queue = -1, sem_set = -1;

/* Expect EXPR not to be -1 with EINTR; other failures (timeouts) are as they should be. */
static long no_eintr(const char *call, long r)
{
    CHECK(r != -1 || errno != EINTR, "%s ended with EINTR", call);
    return r;
}
#define NO_EINTR(call) no_eintr(#call, (long)(call))

static void compute(uint64_t *rng)
{
    uint32_t n = stress_rand(rng) % 30000;

    for (volatile uint32_t i = 0; i < n; i++)
        ;
}

static const struct timespec ms = {.tv_nsec = 1000000};

/* A timed call that found nothing must have taken its time. */
static void not_early(const char *what, int64_t begin)
{
    int64_t took = stress_now_ns() - begin;

    CHECK(took >= 1000000, "%s came back after %ld ns", what, (long)took);
}

static void t_nanosleep(void)
{
    int64_t begin = stress_now_ns();

    NO_EINTR(nanosleep(&ms, NULL));
    not_early("nanosleep", begin);
}

static void t_poll(void)
{
    int64_t begin = stress_now_ns();

    if (NO_EINTR(poll(NULL, 0, 1)) == 0)
        not_early("poll", begin);
}

static void t_select(void)
{
    struct timeval tv = {0, 1000};
    int64_t begin = stress_now_ns();

    if (NO_EINTR(select(0, NULL, NULL, NULL, &tv)) == 0)
        not_early("select", begin);
}

static void t_pselect(void)
{
    int64_t begin = stress_now_ns();

    if (NO_EINTR(pselect(0, NULL, NULL, NULL, &ms, NULL)) == 0)
        not_early("pselect", begin);
}

static void t_epoll(void)
{
    static __thread int fd = -1;
    struct epoll_event ev;

    if (fd < 0)
        fd = epoll_create1(EPOLL_CLOEXEC);
    NO_EINTR(epoll_wait(fd, &ev, 1, 1));
}

static void t_semtimedop(void)
{
    struct sembuf op = {.sem_op = -1};

    CHECK(NO_EINTR(semtimedop(sem_set, &op, 1, &ms)) == -1, "there was something");
}

/* What ends a call that has no timeout, a millisecond after it has begun. */
static void with_partner(void *(*partner)(void *), void *arg, void (*call)(void *))
{
    pthread_t t;

    stress_create(&t, partner, arg);
    call(arg);
    stress_join(t, arg);
}

static void *raise_semaphore(void *arg)
{
    struct sembuf op = {.sem_num = 1, .sem_op = 1};

    stress_sleep_ns(1000000);
    OKSYS(NO_EINTR(semop(sem_set, &op, 1)));
    return arg;
}

static void lower_semaphore(void *arg)
{
    struct sembuf op = {.sem_num = 1, .sem_op = -1};

    (void)arg;
    OKSYS(NO_EINTR(semop(sem_set, &op, 1)));
}

static void t_semop(void)
{
    with_partner(raise_semaphore, NULL, lower_semaphore);
}

struct message {
    long type;
    char text[8];
};

static void *send_message(void *arg)
{
    struct message m = {.type = 1};

    stress_sleep_ns(1000000);
    OKSYS(NO_EINTR(msgsnd(msg_queue, &m, sizeof(m.text), 0)));
    return arg;
}

static void receive_message(void *arg)
{
    struct message m;

    (void)arg;
    OKSYS(NO_EINTR(msgrcv(msg_queue, &m, sizeof(m.text), 0, 0)));
}

static void t_msgrcv(void)
{
    with_partner(send_message, NULL, receive_message);
}

static void t_futex(void)
{
    static uint32_t word;

    CHECK(NO_EINTR(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ms, NULL, 0)) == -1,
          "woken");
}

/* By hand, so that nobody wraps it. */
static void t_bare(void)
{
    long ret;
    struct timespec t = ms;
    register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 8;
    int64_t begin = stress_now_ns();

    __asm__ volatile("movl $271, %%eax; syscall" /* ppoll */
                     : "=a"(ret)
                     : "D"(0L), "S"(0L), "d"(&t), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    CHECK(ret == 0, "ppoll by hand: %ld", ret);
    not_early("ppoll by hand", begin);
}

static void t_semwait(void)
{
    sem_t s;
    struct timespec until = stress_after_ns(CLOCK_REALTIME, 1000000);

    OKSYS(sem_init(&s, 0, 0));
    CHECK(NO_EINTR(sem_timedwait(&s, &until)) == -1, "there was something");
}

static void t_sigwait(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK(NO_EINTR(sigtimedwait(&set, NULL, &ms)) == -1, "there was a signal");
}

static void t_rcvtimeo(void)
{
    static __thread int fd[2] = {-1, -1};
    struct timeval tv = {0, 1000};
    char c;

    if (fd[0] < 0) {
        OKSYS(socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
        OKSYS(setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
    }
    CHECK(NO_EINTR(recv(fd[0], &c, 1, 0)) == -1, "there was something");
}

static void *connect_to(void *arg)
{
    struct sockaddr_in a;
    socklen_t n = sizeof(a);
    int c = socket(AF_INET, SOCK_STREAM, 0);

    stress_sleep_ns(1000000);
    OKSYS(getsockname(*(int *)arg, (struct sockaddr *)&a, &n));
    OKSYS(NO_EINTR(connect(c, (struct sockaddr *)&a, sizeof(a))));
    close(c);
    return arg;
}

static void accept_one(void *arg)
{
    int s = (int)NO_EINTR(accept(*(int *)arg, NULL, NULL));

    OKSYS(s);
    close(s);
}

static void t_accept(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    int l = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    OKSYS(bind(l, (struct sockaddr *)&a, sizeof(a)));
    OKSYS(listen(l, 1));
    with_partner(connect_to, &l, accept_one);
    close(l);
}

static void *accept_late(void *arg)
{
    stress_sleep_ns(1000000);
    accept_one(arg);
    return arg;
}

/* To a local listener whose queue is full: it waits until there is room. */
static void connect_second(void *arg)
{
    struct sockaddr_un a;
    socklen_t n = sizeof(a);
    int c = socket(AF_UNIX, SOCK_STREAM, 0);

    OKSYS(getsockname(*(int *)arg, (struct sockaddr *)&a, &n));
    OKSYS(NO_EINTR(connect(c, (struct sockaddr *)&a, n)));
    close(c);
}

static void t_connect(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int l = socket(AF_UNIX, SOCK_STREAM, 0);

    OKSYS(bind(l, (struct sockaddr *)&a, sizeof(a.sun_family))); /* a name of its own */
    OKSYS(listen(l, 0));
    connect_second(&l); /* the first, which fills it */
    with_partner(accept_late, &l, connect_second);
    close(l);
}

static void t_wait(void)
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        usleep(500);
        _exit(7);
    }
    CHECK(NO_EINTR(waitpid(pid, &status, 0)) == pid, "waitpid");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %x", status);
    usleep(5000);
}

static void *feeder(void *arg)
{
    static const char data[4096];
    int fd = *(int *)arg;

    for (int left = BIG; left > 0;) {
        int n = left < (int)sizeof(data) ? left : (int)sizeof(data);
        long w = NO_EINTR(write(fd, data, (size_t)n));
        CHECK(w > 0, "write: %d", errno);
        left -= (int)w;
    }
    return arg;
}

static void transfer(int out, int in)
{
    pthread_t t;
    char buf[1000];
    int got = 0;

    stress_create(&t, feeder, &out);
    while (got < BIG) {
        long r = NO_EINTR(read(in, buf, sizeof(buf)));
        CHECK(r > 0, "read: %ld", r);
        got += (int)r;
    }
    stress_join(t, &out);
}

static void t_pipe(void)
{
    int fd[2];

    OKSYS(pipe(fd));
    transfer(fd[1], fd[0]);
    close(fd[0]);
    close(fd[1]);
}

static void t_tty(void)
{
    int master, slave;
    struct termios raw;

    OKSYS(openpty(&master, &slave, NULL, NULL, NULL));
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    transfer(master, slave);
    close(master);
    close(slave);
}

static void (*const kinds[])(void) = {
    t_nanosleep,  t_poll,   t_select,  t_pselect, t_epoll,   t_semop,
    t_semtimedop, t_msgrcv, t_futex,   t_bare,    t_semwait, t_sigwait,
    t_rcvtimeo,   t_accept, t_connect, t_wait,    t_pipe,    t_tty,
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };
static long rounds[KINDS];

static void *caller(void *arg)
{
    long id = (long)arg;
    uint64_t rng = stress_seed_for((uint64_t)id);

    while (!enough) {
        kinds[id]();
        compute(&rng);
        rounds[id]++;
        stress_progress++;
    }
    return arg;
}

static void *spinner(void *arg)
{
    while (!enough)
        ;
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[KINDS], s[SPINNERS];
    sigset_t usr2;
    long least = -1;

    stress_begin("eintr", argc, argv);
    alarm(0); /* its handler would be a reason; the caller has a time limit */
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    OK0(pthread_sigmask(SIG_BLOCK, &usr2, NULL));
    OKSYS(msg_queue = msgget(IPC_PRIVATE, 0600));
    OKSYS(sem_set = semget(IPC_PRIVATE, 2, 0600));
    for (long i = 0; i < KINDS; i++)
        stress_create(&t[i], caller, (void *)i);
    for (long i = 0; i < SPINNERS; i++)
        stress_create(&s[i], spinner, (void *)i);
    while (stress_running())
        stress_sleep_ns(10000000);
    enough = true;
    for (long i = 0; i < KINDS; i++) {
        stress_join(t[i], (void *)i);
        least = least < 0 || rounds[i] < least ? rounds[i] : least;
    }
    for (long i = 0; i < SPINNERS; i++)
        stress_join(s[i], (void *)i);
    msgctl(msg_queue, IPC_RMID, NULL);
    semctl(sem_set, 0, IPC_RMID);
    return stress_end("%lu calls of %d kinds, at least %ld of each", stress_progress,
                      KINDS, least);
}
