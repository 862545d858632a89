/* fd_reuse_storm.c - descriptors closed, replaced, duplicated and used again, by the program
 * and inside libc, while other threads wait for them; children forked in between.
 * Each file carries bytes of one letter, so a waiter that is woken for, or reads from,
 * another file than its own is found out; a lost wake-up is a hang. */
#include "stress.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { THREADS = 16, NEST = 4 };

static _Atomic unsigned long closes, reads, late, forks;

/* Held by who makes descriptors, and from a close to the end of who read there: one that is
 * late must find the number free, not another thread's. */
static pthread_mutex_t numbers = PTHREAD_MUTEX_INITIALIZER;

struct victim {
    int fd;
    char letter;
    bool poll_first;
    _Atomic int begun, done;
};

static void *read_one(void *arg)
{
    struct victim *v = arg;
    struct pollfd p = {v->fd, POLLIN, 0};
    char c = 0;

    v->begun = 1;
    if (v->poll_first)
        CHECK(poll(&p, 1, -1) == 1, "poll errno %d", errno);
    ssize_t r = read(v->fd, &c, 1);
    CHECK(r == 1 || errno == EBADF, "read %zd errno %d", r, errno);
    if (r == 1 && c == v->letter - 'a' + 'A')
        late++;
    else if (r == 1)
        CHECK(c == v->letter, "read '%c', not '%c'", c, v->letter);
    reads++;
    v->done = 1;
    return NULL;
}

static void new_file(int fds[2], uint64_t *rng)
{
    OK0(pthread_mutex_lock(&numbers));
    if (stress_rand(rng) % 2 == 0)
        OKSYS(pipe(fds));
    else
        OKSYS(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    OK0(pthread_mutex_unlock(&numbers));
}

static void give(int fd, char letter)
{
    /* Nobody reads any more if the reader was late and is gone. */
    CHECK(write(fd, &letter, 1) == 1 || errno == EPIPE || errno == ECONNRESET,
          "write errno %d", errno);
}

/* The number is free from here on. */
static void by_close(int a[2], struct victim *v, pthread_t t, bool range)
{
    OK0(pthread_mutex_lock(&numbers));
    if (range)
        OKSYS(close_range((unsigned)a[0], (unsigned)a[0], 0));
    else
        OKSYS(close(a[0]));
    give(a[1], v->letter);
    stress_join(t, NULL);
    OK0(pthread_mutex_unlock(&numbers));
}

/* The number is another file's, which has the letter in upper case, in the end. */
static void by_dup2(int a[2], struct victim *v, pthread_t t, uint64_t *rng)
{
    int b[2];

    new_file(b, rng);
    OKSYS(dup2(b[0], a[0]));
    OKSYS(close(b[0]));
    give(a[1], v->letter);
    for (int i = 0; i < 1000 && !v->done; i++)
        stress_sleep_ns(100000);
    give(b[1], (char)(v->letter - 'a' + 'A'));
    stress_join(t, NULL);
    OKSYS(close(b[1]));
    OKSYS(close(a[0]));
}

/* A thread waits for a file; its number is taken away; the file gives it its letter. */
static void take_away(int who, uint64_t *rng)
{
    int a[2];
    struct victim v = {.letter = (char)('a' + who),
                       .poll_first = stress_rand(rng) % 4 == 0};
    uint32_t how = stress_rand(rng) % 4;
    pthread_t t;

    if (how != 3) /* what poll saw may be gone when it is read */
        v.poll_first = false;
    new_file(a, rng);
    v.fd = a[0];
    stress_create_small(&t, read_one, &v);
    while (v.begun == 0)
        sched_yield();
    stress_sleep_ns(200000);
    if (how == 0 || how == 1) {
        by_close(a, &v, t, how == 1);
    } else if (how == 2) {
        by_dup2(a, &v, t, rng);
    } else {
        give(a[1], v.letter);
        stress_join(t, NULL);
        OKSYS(close(a[0]));
    }
    OKSYS(close(a[1]));
    closes++;
}

/* libc closes by itself what fdopen was given. */
static void stdio_turns(int who, uint64_t *rng)
{
    int a[2];
    char c = 0, letter = (char)('a' + who);

    new_file(a, rng);
    FILE *f = fdopen(a[0], "r");
    CHECK(f != NULL, "fdopen");
    struct pollfd p = {a[0], POLLIN, 0};
    CHECK(poll(&p, 1, 0) == 0, "poll of an empty file");
    CHECK(poll(&p, 1, 1) == 0, "poll of an empty file");
    OKSYS(write(a[1], &letter, 1));
    CHECK(read(a[0], &c, 1) == 1 && c == letter, "read '%c'", c);
    fclose(f);
    close(a[1]);
}

/* One file under several numbers, waited for under each. */
static void duplicates(int who, uint64_t *rng)
{
    int a[2];
    struct victim v[NEST];
    pthread_t t[NEST];
    char letters[NEST];

    new_file(a, rng);
    memset(letters, 'a' + who, sizeof(letters));
    for (int i = 0; i < NEST; i++) {
        v[i] = (struct victim){.letter = (char)('a' + who)};
        OK0(pthread_mutex_lock(&numbers));
        OKSYS(v[i].fd = dup(a[0]));
        OK0(pthread_mutex_unlock(&numbers));
        v[i].poll_first = false;
        stress_create_small(&t[i], read_one, &v[i]);
    }
    close(a[0]);
    OKSYS(write(a[1], letters, NEST));
    for (int i = 0; i < NEST; i++) {
        stress_join(t[i], NULL);
        OKSYS(close(v[i].fd));
    }
    close(a[1]);
}

/* A child that reads, closes, and waits by itself, while we go on. */
static void child(int who, uint64_t *rng)
{
    int a[2], status;
    char c = 0, letter = (char)('a' + who);

    new_file(a, rng);
    pid_t pid = fork();
    CHECK(pid >= 0, "fork errno %d", errno);
    if (pid == 0) {
        alarm(30);
        if (read(a[0], &c, 1) != 1 || c != letter)
            _exit(3);
        for (int fd = 3; fd < 40; fd++)
            close(fd);
        _exit(0);
    }
    stress_sleep_ns(100000);
    OKSYS(write(a[1], &letter, 1));
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "child status %x", status);
    close(a[0]);
    close(a[1]);
    forks++;
}

static void *storm(void *arg)
{
    int who = (int)(intptr_t)arg;
    uint64_t rng = stress_seed_for((uint64_t)who);

    while (stress_running()) {
        uint32_t r = stress_rand(&rng) % 64;
        if (r < 24)
            take_away(who, &rng);
        else if (r < 44)
            stdio_turns(who, &rng);
        else if (r < 63)
            duplicates(who, &rng);
        else
            child(who, &rng);
        stress_progress++;
    }
    return NULL;
}

static int count_open(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void tell_open(void)
{
    char path[32], file[100];

    for (int fd = 0; fd < 1024; fd++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, file, sizeof(file) - 1);
        if (n > 0)
            fprintf(stderr, "%d -> %.*s%s\n", fd, (int)n, file,
                    fcntl(fd, F_GETFD) < 0 ? " (hidden)" : "");
    }
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];

    stress_begin("fd_reuse_storm", argc, argv);
    signal(SIGPIPE, SIG_IGN);
    uint64_t rng = stress_seed_for(99);
    stdio_turns(0, &rng);
    int before = count_open();
    stress_phase("storm", 1);
    for (int i = 0; i < THREADS; i++)
        stress_create(&t[i], storm, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        stress_join(t[i], NULL);
    int after = count_open();
    /* What the monitor keeps open while threads compete it closes when they are gone. */
    for (int i = 0; i < 200 && after > before + 3; i++) {
        stress_sleep_ns(50000000);
        after = count_open();
    }
    if (after > before + 3)
        tell_open();
    CHECK(after <= before + 3, "%d descriptors before, %d after", before, after);
    CHECK(late < 100 + closes / 4, "%lu of %lu readers were late", late, closes);
    return stress_end("%lu taken away, %lu reads (%lu late), %lu children", closes, reads,
                      late, forks);
}
