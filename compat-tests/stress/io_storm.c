/* io_storm.c - threads that talk through pipes, socket pairs and loopback connections, with
 * poll, timeouts and CPU hogs in between. Every byte is numbered: a lost wake-up is a hang,
 * a stolen or doubled one a wrong number. */
#include "stress.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { PAIRS = 24, HOGS = 2, SMALL = 64 };

struct pair {
    int fds[2][2]; /* what side 0 and side 1 read and write */
    pthread_t t[2];
    uint64_t rounds;
    int kind;
};

static struct pair pairs[PAIRS];
static _Atomic bool stop;

/* One of five ways to wait until FD can be read. */
static void wait_readable(int fd, uint64_t *rng)
{
    struct pollfd p = {fd, POLLIN, 0};
    struct epoll_event e = {.events = EPOLLIN};
    fd_set set;
    int r, ep;

    switch (stress_rand(rng) % 6) {
    case 0:
        do
            r = poll(&p, 1, 1);
        while (r == 0);
        CHECK(r == 1, "poll %d errno %d", r, errno);
        break;
    case 1:
        CHECK((r = poll(&p, 1, -1)) == 1, "poll %d errno %d", r, errno);
        break;
    case 2:
        if (fd >= FD_SETSIZE)
            break;
        FD_ZERO(&set);
        FD_SET(fd, &set);
        CHECK((r = select(fd + 1, &set, NULL, NULL, NULL)) == 1, "select %d errno %d", r,
              errno);
        break;
    case 3:
        if (stress_rand(rng) % 8 != 0)
            break;
        OKSYS(ep = epoll_create1(0));
        OKSYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
        CHECK((r = epoll_wait(ep, &e, 1, -1)) == 1, "epoll_wait %d", r);
        OKSYS(close(ep));
        break;
    default:
        break; /* straight into read */
    }
}

static bool get_number(int fd, uint64_t want, uint64_t *rng)
{
    uint64_t got = 0;
    size_t n = 0;

    wait_readable(fd, rng);
    while (n < sizeof(got)) {
        ssize_t r = read(fd, (char *)&got + n, sizeof(got) - n);
        if (r == 0)
            return false;
        CHECK(r > 0, "read errno %d", errno);
        n += (size_t)r;
    }
    CHECK(got == want, "got %lu, expected %lu", (unsigned long)got, (unsigned long)want);
    return true;
}

static void *talk(void *arg)
{
    struct pair *p = arg;
    int side = p->t[0] == pthread_self() ? 0 : 1;
    uint64_t rng = stress_seed_for((uint64_t)(p - pairs) * 2 + (uint64_t)side);
    int in = p->fds[side][0], out = p->fds[side][1];

    for (uint64_t i = 0;; i++) {
        if (side == 0) {
            if (stop)
                break;
            CHECK(write(out, &i, sizeof(i)) == sizeof(i), "write errno %d", errno);
        }
        if (!get_number(in, i, &rng))
            break;
        if (side == 1)
            CHECK(write(out, &i, sizeof(i)) == sizeof(i), "write errno %d", errno);
        else
            p->rounds++;
        stress_progress++;
        if (stress_rand(&rng) % 128 == 0)
            stress_sleep_ns(stress_rand(&rng) % 200000);
    }
    if (side == 0)
        shutdown(out, SHUT_WR);
    if (p->kind == 0)
        close(out);
    return NULL;
}

static void loopback(int s[2])
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);
    int l;

    OKSYS(l = socket(AF_INET, SOCK_STREAM, 0));
    OKSYS(bind(l, (struct sockaddr *)&sa, sizeof(sa)));
    OKSYS(listen(l, 4));
    OKSYS(getsockname(l, (struct sockaddr *)&sa, &n));
    OKSYS(s[0] = socket(AF_INET, SOCK_STREAM, 0));
    OKSYS(connect(s[0], (struct sockaddr *)&sa, sizeof(sa)));
    OKSYS(s[1] = accept(l, NULL, NULL));
    OKSYS(close(l));
}

static void make_pair(struct pair *p, int kind)
{
    int a[2], b[2];

    p->kind = kind;
    p->rounds = 0;
    if (kind == 0) {
        OKSYS(pipe(a));
        OKSYS(pipe(b));
        memcpy(p->fds, (int[2][2]){{b[0], a[1]}, {a[0], b[1]}}, sizeof(p->fds));
        return;
    }
    if (kind == 1)
        OKSYS(socketpair(AF_UNIX, SOCK_STREAM, 0, a));
    else
        loopback(a);
    memcpy(p->fds, (int[2][2]){{a[0], a[0]}, {a[1], a[1]}}, sizeof(p->fds));
}

static void *hog(void *arg)
{
    volatile uint64_t x = 1;

    while (!stop)
        for (int i = 0; i < 100000; i++)
            x = x * 3 + 1;
    return arg;
}

/* Sleeps and timeouts, which must come while all the others run. */
static void *sleeper(void *arg)
{
    int p[2];
    char c;

    OKSYS(pipe(p));
    while (!stop) {
        struct pollfd f = {p[0], POLLIN, 0};
        int64_t start = stress_now_ns();
        CHECK(poll(&f, 1, 2) == 0, "poll errno %d", errno);
        CHECK(stress_now_ns() - start >= 2000000, "early");
        CHECK(write(p[1], "x", 1) == 1 && read(p[0], &c, 1) == 1, "pipe");
    }
    close(p[0]);
    close(p[1]);
    return arg;
}

static uint64_t run_round(bool hogs)
{
    pthread_t h[HOGS + 1];
    uint64_t sum = 0;

    stop = false;
    for (int i = 0; i < PAIRS; i++) {
        struct pair *p = &pairs[i];
        make_pair(p, i % 3);
        pthread_t t[2];
        stress_create(&p->t[0], talk, p);
        stress_create(&t[1], talk, p);
        p->t[1] = t[1];
    }
    stress_create(&h[HOGS], sleeper, NULL);
    for (int i = 0; hogs && i < HOGS; i++)
        stress_create(&h[i], hog, NULL);
    while (stress_running())
        stress_sleep_ns(10000000);
    stop = true;
    for (int i = 0; i < PAIRS; i++) {
        struct pair *p = &pairs[i];
        stress_join(p->t[0], NULL);
        stress_join(p->t[1], NULL);
        sum += p->rounds;
        close(p->fds[0][0]);
        close(p->fds[1][0]);
    }
    stress_join(h[HOGS], NULL);
    for (int i = 0; hogs && i < HOGS; i++)
        stress_join(h[i], NULL);
    return sum;
}

int main(int argc, char **argv)
{
    stress_begin("io_storm", argc, argv);
    signal(SIGPIPE, SIG_IGN);
    stress_phase("quiet", 0.6);
    uint64_t quiet = run_round(false);
    stress_phase("with CPU hogs", 0.4);
    uint64_t hogged = run_round(true);
    return stress_end("%lu round trips, %lu beside CPU hogs", (unsigned long)quiet,
                      (unsigned long)hogged);
}
