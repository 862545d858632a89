/* fork_storm.c - threads fork, spawn and run programs while others allocate, print, open
 * libraries, lock and wait.
 *
 * A child checks that it works: it allocates, prints, locks, waits with a timeout, creates
 * threads and forks again. Every child must end with the code it was given; nobody's children
 * are mixed up; the parent's threads never notice. */

#include "stress.h"

#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>

#define FORKERS 4
#define NOISE 4

extern char **environ;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static _Atomic long children, programs, noise_rounds;
static __thread long own;

static void *make_noise(void *arg)
{
    FILE *sink = fopen("/dev/null", "w");
    char *held[64] = {0};
    CHECK(sink != NULL, "no /dev/null");
    for (long i = 0; stress_running(); i++) {
        struct timespec ts = stress_after_ns(CLOCK_REALTIME, 100000);
        free(held[i % 64]);
        held[i % 64] = malloc((size_t)(i * 37) % 20000);
        fprintf(sink, "%ld %p\n", i, held[i % 64]);
        OK0(pthread_mutex_lock(&lock));
        OK0(pthread_cond_signal(&cond));
        if (i % 8 == 0)
            pthread_cond_timedwait(&cond, &lock, &ts);
        OK0(pthread_mutex_unlock(&lock));
        if ((uintptr_t)arg == 0 && i % 4 == 0) {
            void *lib = dlopen("libm.so.6", RTLD_NOW);
            if (lib != NULL)
                dlclose(lib);
        }
        noise_rounds++;
    }
    for (int i = 0; i < 64; i++)
        free(held[i]);
    fclose(sink);
    return arg;
}

static void *in_child(void *arg)
{
    own += (long)(intptr_t)arg;
    free(malloc(5000));
    sched_yield();
    return (void *)own;
}

/* In the child; its only thread is a copy of the one that forked. */
static void use_it(int depth)
{
    pthread_t t[4];
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    struct timespec ts = stress_after_ns(CLOCK_REALTIME, 100000);
    char text[64];
    alarm(30); /* inherited by nobody */
    free(malloc(70000));
    snprintf(text, sizeof(text), "%d", getpid());
    OK0(pthread_mutex_lock(&m));
    CHECK(pthread_mutex_timedlock(&m, &ts) == ETIMEDOUT, "it is ours");
    OK0(pthread_mutex_unlock(&m));
    for (intptr_t i = 0; i < 4; i++)
        stress_create(&t[i], in_child, (void *)(i + 1));
    for (intptr_t i = 0; i < 4; i++)
        stress_join(t[i], (void *)(i + 1));
    if (depth > 0) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
            use_it(depth - 1);
            _exit(depth);
        }
        OKSYS(waitpid(pid, &status, 0));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == depth, "status %#x", status);
    }
}

static void wait_for(pid_t pid, int code)
{
    int status = -1;
    pid_t got;
    OKSYS(pid);
    do
        got = waitpid(pid, &status, 0);
    while (got == -1 && errno == EINTR);
    CHECK(got == pid, "waitpid(%d) gave %d", pid, got);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code, "status %#x, not %d", status,
          code);
    stress_progress++;
}

static void fork_once(uint64_t *rng)
{
    int code = (int)(stress_rand(rng) % 100);
    pid_t pid = fork();
    if (pid == 0) {
        use_it(code % 3 == 0);
        _exit(code);
    }
    wait_for(pid, code);
    children++;
}

static void spawn_once(uint64_t *rng)
{
    char name[] = "sh", c[] = "-c", line[32];
    char *argv[] = {name, c, line, NULL};
    int code = (int)(stress_rand(rng) % 100);
    pid_t pid;
    snprintf(line, sizeof(line), "exit %d", code);
    OK0(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ));
    wait_for(pid, code);
    programs++;
}

static void vfork_once(uint64_t *rng)
{
    volatile int code = (int)(stress_rand(rng) % 100);
    pid_t pid = vfork();
    if (pid == 0)
        _exit(code);
    wait_for(pid, code);
    children++;
}

static void read_program(void)
{
    char text[16] = "";
    FILE *f = popen("echo x", "r");
    CHECK(f != NULL, "popen");
    CHECK(fgets(text, sizeof(text), f) != NULL && strcmp(text, "x\n") == 0, "read \"%s\"",
          text);
    CHECK(pclose(f) == 0, "pclose");
    programs++;
}

static void *forker(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);
    while (stress_running()) {
        switch (stress_rand(&rng) % 8) {
        case 0:
            spawn_once(&rng);
            break;
        case 1:
            vfork_once(&rng);
            break;
        case 2:
            read_program();
            break;
        default:
            fork_once(&rng);
        }
        CHECK(own == 0, "thread-local of the parent changed");
    }
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t f[FORKERS], n[NOISE];

    stress_begin("fork_storm", argc, argv);
    for (long i = 0; i < NOISE; i++)
        stress_create(&n[i], make_noise, (void *)i);
    for (long i = 0; i < FORKERS; i++)
        stress_create(&f[i], forker, (void *)i);
    for (long i = 0; i < FORKERS; i++)
        stress_join(f[i], (void *)i);
    for (long i = 0; i < NOISE; i++)
        stress_join(n[i], (void *)i);
    return stress_end("%ld children, %ld programs, %ld rounds of noise", children,
                      programs, noise_rounds);
}
