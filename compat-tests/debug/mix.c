/* mix.c - some of everything that a trace shows, and an end of the process of one's choice.
 *
 *   mix return | exit | _exit | quick | main-exit | abort | kill | forever | fork | closer
 *
 * Workers share a lock and a queue, sleep, read from pipes that others write, and spin for more
 * than a tick; threads are made and joined meanwhile.  "fork": a child does the same; "closer":
 * every descriptor above 2 is closed first, and the numbers are used for other files.
 * Prints how many switches it must at least have taken.
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAIRS = 3, ROUNDS = 300, SPINNERS = 2, SHORT = 50 };

struct pair {
    sem_t ping, pong;
    int pipe[2];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long counter; /* under lock */

static void count(void)
{
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
}

static void *ping(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < ROUNDS; i++) {
        sem_post(&p->ping);
        while (sem_wait(&p->pong) != 0)
            ;
        count();
        if (i % 50 == 0 && write(p->pipe[1], "x", 1) != 1)
            abort();
    }
    close(p->pipe[1]);
    return NULL;
}

static void *pong(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < ROUNDS; i++) {
        while (sem_wait(&p->ping) != 0)
            ;
        sem_post(&p->pong);
        if (i % 100 == 0)
            usleep(1000);
    }
    return NULL;
}

static void *reader(void *arg)
{
    struct pair *p = arg;
    char c;
    while (read(p->pipe[0], &c, 1) == 1)
        count();
    return NULL;
}

static void *spin(void *arg)
{
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += 60000000;
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - end.tv_sec) * 1000000000L + now.tv_nsec - end.tv_nsec < 0);
    return arg;
}

static void *nothing(void *arg)
{
    return arg;
}

static pthread_t start(const char *name, void *(*fn)(void *), void *arg)
{
    pthread_t t;
    if (pthread_create(&t, NULL, fn, arg) != 0)
        abort();
    pthread_setname_np(t, name);
    return t;
}

static void work(void)
{
    static struct pair pairs[PAIRS];
    pthread_t t[4 * PAIRS + SPINNERS];
    int n = 0;
    for (int i = 0; i < PAIRS; i++) {
        sem_init(&pairs[i].ping, 0, 0);
        sem_init(&pairs[i].pong, 0, 0);
        if (pipe(pairs[i].pipe) != 0)
            abort();
        t[n++] = start("ping", ping, &pairs[i]);
        t[n++] = start("pong", pong, &pairs[i]);
        t[n++] = start("reader", reader, &pairs[i]);
    }
    for (int i = 0; i < SPINNERS; i++)
        t[n++] = start("spin", spin, NULL);
    for (int i = 0; i < SHORT; i++)
        pthread_join(start("short", nothing, NULL), NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
}

static void *run_on(void *arg)
{
    for (;;)
        usleep(2000);
    return arg;
}

static void use_other_files(void)
{
    for (int fd = 3; fd < 2048; fd++)
        close(fd);
    for (int fd = 0; fd < 1000; fd++)
        if (open("/dev/null", O_WRONLY | O_CREAT, 0600) < 0)
            abort();
}

int main(int argc, char **argv)
{
    const char *end = argc > 1 ? argv[1] : "return";
    work();
    printf("%ld\n", counter);
    fflush(stdout);
    start("goes on", run_on, NULL);
    start("\"\\\n", run_on, NULL); /* a name that JSON does not like */
    usleep(5000);
    if (strcmp(end, "closer") == 0) {
        use_other_files();
        work();
    }
    if (strcmp(end, "fork") == 0) {
        pid_t pid = fork();
        int status;
        work();
        if (pid == 0)
            exit(0);
        return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 1;
    }
    if (strcmp(end, "exit") == 0)
        exit(0);
    if (strcmp(end, "_exit") == 0)
        _exit(0);
    if (strcmp(end, "abort") == 0)
        abort();
    if (strcmp(end, "kill") == 0) {
        usleep(200000);
        kill(getpid(), SIGKILL);
    }
    while (strcmp(end, "forever") == 0)
        usleep(1000);
    return 0;
}
