/* blocking_storm.c - threads blocked in the kernel must not stop the others.
 *
 * Many threads sit in read() on pipes, in write() on full ones, in poll, recv, nanosleep
 * and waitpid, many more than there are CPUs, while others keep working with locks and
 * semaphores and are the only ones that can wake the blocked ones:
 *
 *   ring     a byte runs round a ring of pipes, each thread blocked in read()
 *   posts    readers blocked on empty pipes are released only by threads that first have
 *            to get through a chain of semaphores
 *   mixed    pairs exchange through a socket, an eventfd and a full pipe, next to a
 *            thread in waitpid and a hot lock
 *
 * Every byte is accounted for. */

#include "stress.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define RING 40
#define BLOCKED 60

/* --- ring ------------------------------------------------------------------------- */

static int ring[RING][2];
static _Atomic long laps;

static void *ring_node(void *arg)
{
    int id = (int)(intptr_t)arg;
    unsigned char byte;

    for (;;) {
        ssize_t n = read(ring[id][0], &byte, 1);

        if (n == -1 && errno == EINTR)
            continue;
        CHECK(n == 1, "read: %zd, errno %d", n, errno);
        if (id == 0) {
            laps++;
            stress_progress++;
            if (!stress_running())
                byte = 'q';
        }
        if (byte != 'q' || id != RING - 1)
            OKSYS(write(ring[(id + 1) % RING][1], &byte, 1));
        if (byte == 'q')
            return arg;
    }
}

static void run_ring(void)
{
    pthread_t t[RING];

    stress_phase("ring", 0.3);
    for (int i = 0; i < RING; i++)
        OKSYS(pipe(ring[i]));
    for (long i = 0; i < RING; i++)
        stress_create(&t[i], ring_node, (void *)i);
    OKSYS(write(ring[0][1], "x", 1));
    for (long i = 0; i < RING; i++)
        stress_join(t[i], (void *)i);
    for (int i = 0; i < RING; i++) {
        close(ring[i][0]);
        close(ring[i][1]);
    }
}

/* --- posts ------------------------------------------------------------------------ */

static int gates[BLOCKED][2];
static sem_t chain[BLOCKED];
static _Atomic long released;

static void *blocked_reader(void *arg)
{
    int id = (int)(intptr_t)arg;
    char byte;
    ssize_t n;

    while ((n = read(gates[id][0], &byte, 1)) == -1 && errno == EINTR)
        ;
    CHECK(n == 1 && byte == 'a' + id % 26, "read %zd, '%c'", n, byte);
    released++;
    return arg;
}

static void *poster(void *arg)
{
    int id = (int)(intptr_t)arg;
    char byte = (char)('a' + id % 26);

    stress_sem_wait(&chain[id]);
    OKSYS(write(gates[id][1], &byte, 1));
    if (id + 1 < BLOCKED)
        OKSYS(sem_post(&chain[id + 1]));
    return arg;
}

static void run_posts(void)
{
    pthread_t r[BLOCKED], p[BLOCKED];

    stress_phase("posts", 0.3);
    for (int i = 0; i < BLOCKED; i++) {
        OKSYS(pipe(gates[i]));
        OKSYS(sem_init(&chain[i], 0, 0));
    }
    do {
        released = 0;
        for (long i = 0; i < BLOCKED; i++)
            stress_create(&r[i], blocked_reader, (void *)i);
        for (long i = 0; i < BLOCKED; i++)
            stress_create(&p[i], poster, (void *)i);
        OKSYS(sem_post(&chain[0]));
        for (long i = 0; i < BLOCKED; i++) {
            stress_join(r[i], (void *)i);
            stress_join(p[i], (void *)i);
        }
        CHECK(released == BLOCKED, "%ld of %d released", released, BLOCKED);
        stress_progress++;
    } while (stress_running());
    for (int i = 0; i < BLOCKED; i++) {
        close(gates[i][0]);
        close(gates[i][1]);
    }
}

/* --- mixed ------------------------------------------------------------------------ */

static pthread_mutex_t hot = PTHREAD_MUTEX_INITIALIZER;
static long hot_count; /* under hot */
static _Atomic long hot_want;
static int sockets[2], big_pipe[2], event;
static _Atomic long sent, received, events_in, events_out;

static void *sender(void *arg)
{
    char buffer[3000];

    memset(buffer, 'z', sizeof(buffer));
    while (stress_running()) {
        OKSYS(write(big_pipe[1], buffer, sizeof(buffer))); /* blocks when it is full */
        sent += sizeof(buffer);
        stress_progress++;
    }
    close(big_pipe[1]);
    return arg;
}

static void *receiver(void *arg)
{
    char buffer[5000];
    ssize_t n;
    uint64_t rng = stress_seed_for(5);

    while ((n = read(big_pipe[0], buffer, sizeof(buffer))) != 0) {
        if (n == -1 && errno == EINTR)
            continue;
        CHECK(n > 0 && buffer[n - 1] == 'z', "read: %zd, errno %d", n, errno);
        received += n;
        if (stress_rand(&rng) % 8 == 0)
            stress_sleep_ns(20000);
    }
    return arg;
}

static void *echo(void *arg)
{
    char buffer[256];
    ssize_t n;

    while ((n = recv(sockets[1], buffer, sizeof(buffer), 0)) != 0) {
        if (n == -1 && errno == EINTR)
            continue;
        CHECK(n > 0, "recv: errno %d", errno);
        CHECK(send(sockets[1], buffer, (size_t)n, 0) == n, "send: errno %d", errno);
    }
    return arg;
}

static void *echo_client(void *arg)
{
    while (stress_running()) {
        long out = (long)stress_progress, in = -1;

        CHECK(send(sockets[0], &out, sizeof(out), 0) == sizeof(out), "send");
        CHECK(recv(sockets[0], &in, sizeof(in), MSG_WAITALL) == sizeof(in), "recv");
        CHECK(in == out, "echo of %ld is %ld", out, in);
    }
    OKSYS(shutdown(sockets[0], SHUT_WR));
    return arg;
}

static void *event_giver(void *arg)
{
    uint64_t one = 1, stop = 1000000000;

    while (stress_running()) {
        OKSYS(write(event, &one, sizeof(one)));
        events_out++;
        stress_sleep_ns(50000);
    }
    OKSYS(write(event, &stop, sizeof(stop)));
    return arg;
}

static void *event_taker(void *arg)
{
    for (;;) {
        struct pollfd p = {.fd = event, .events = POLLIN};
        uint64_t n = 0;

        if (poll(&p, 1, -1) == -1 && errno == EINTR)
            continue;
        OKSYS(read(event, &n, sizeof(n)));
        events_in += (long)(n % 1000000000);
        if (n >= 1000000000)
            return arg;
    }
}

static void *hot_locker(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        OK0(pthread_mutex_lock(&hot));
        hot_count++;
        OK0(pthread_mutex_unlock(&hot));
        hot_want++;
        stress_jitter(&rng);
    }
    return arg;
}

/* waiter_for_child - blocked in waitpid on a process that sleeps; made without
 * threads. */
static void *waiter_for_child(void *arg)
{
    int status = 0;
    pid_t pid = (pid_t)(intptr_t)arg, got;

    while ((got = waitpid(pid, &status, 0)) == -1 && errno == EINTR)
        ;
    CHECK(got == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7, "waitpid %d, %#x",
          got, status);
    return arg;
}

static void run_mixed(pid_t sleeper)
{
    static void *(*const all[])(void *) = {
        sender,      receiver,   echo,       echo_client, event_giver,
        event_taker, hot_locker, hot_locker, hot_locker,  waiter_for_child,
    };
    enum { N = sizeof(all) / sizeof(all[0]) };
    pthread_t t[N];
    void *args[N];

    stress_phase("mixed", 0.4);
    OKSYS(pipe(big_pipe));
    OKSYS(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    event = eventfd(0, 0);
    OKSYS(event);
    for (int i = 0; i < N; i++) {
        args[i] = (void *)(intptr_t)(all[i] == waiter_for_child ? (int)sleeper : i);
        stress_create(&t[i], all[i], args[i]);
    }
    for (int i = 0; i < N; i++)
        stress_join(t[i], args[i]);
    CHECK(sent == received, "%ld bytes sent, %ld received", sent, received);
    CHECK(events_in == events_out, "%ld events, %ld seen", events_out, events_in);
    CHECK(hot_count == hot_want, "%ld counted of %ld", hot_count, hot_want);
}

int main(int argc, char **argv)
{
    pid_t sleeper;

    stress_begin("blocking_storm", argc, argv);
    sleeper = fork(); /* before there is any thread */
    OKSYS(sleeper);
    if (sleeper == 0) {
        stress_sleep_ns((int64_t)(stress_seconds * 1e9));
        _exit(7);
    }
    run_ring();
    run_posts();
    run_mixed(sleeper);
    return stress_end("%ld laps, %ld bytes, %ld locks", laps, received, hot_count);
}
