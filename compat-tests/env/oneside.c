/* oneside.c - objects shared by two processes of which only one may have the library.
 *
 *   oneside            run all, together with a second process that is started from the same
 *                      file; LD_PRELOAD of that one is $PEER_PRELOAD, or none
 *   oneside peer FD    the second process
 *   oneside victim FD KIND HOW   locks mutex KIND and is killed while it holds it
 *
 * Both sides go through the same steps and meet before and after each (meet). What a step
 * counts is in the shared memory and compared by the first. Prints a line a step, the same
 * whoever is preloaded; what is wrong goes to stderr, and makes the status 1.
 * Priority ceilings are left out: they need a real-time policy (conform/mutex_proto). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, LAPS = 300, ROUNDS = 50 };

struct kind {
    const char *name;
    int type, protocol;
    bool robust;
};

static const struct kind kinds[] = {
    {"plain", PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, false},
    {"recursive", PTHREAD_MUTEX_RECURSIVE, PTHREAD_PRIO_NONE, false},
    {"errorcheck", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_PRIO_NONE, false},
    {"inherit", PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT, false},
    {"robust", PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, true},
    {"robust recursive", PTHREAD_MUTEX_RECURSIVE, PTHREAD_PRIO_NONE, true},
    {"robust errorcheck", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_PRIO_NONE, true},
    {"robust inherit", PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT, true},
    {"robust inherit errorcheck", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_PRIO_INHERIT, true},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], ROBUST = 4 };

static struct shared {
    pthread_mutex_t mutex[KINDS];
    pthread_mutex_t lock; /* robust, for what follows */
    pthread_cond_t cond;
    pthread_rwlock_t rwlock;
    pthread_barrier_t barrier;
    sem_t full[2], held;
    long sum, readers, dead, normal, serial;
    int turn, stage, a, b;
    int met[2];
} * sh;

static int side; /* 0: who prints */
static int wrongs;
static sem_t *named[2];
static const char *self, *shm_fd;

#define CHECK(cond) ((cond) ? (void)0 : wrong(__LINE__, #cond))

static void wrong(int line, const char *what)
{
    if (__atomic_fetch_add(&wrongs, 1, __ATOMIC_RELAXED) < 10)
        dprintf(2, "side %d, line %d: %s\n", side, line, what);
}

static void nap_ms(long ms)
{
    struct timespec ts = {0, ms * 1000000};
    nanosleep(&ts, NULL);
}

/* Both processes are here. The waits do not rely on what is tested. */
static void meet(void)
{
    int n = __atomic_add_fetch(&sh->met[side], 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&sh->met[!side], __ATOMIC_SEQ_CST) < n)
        nap_ms(1);
}

static void reach(int stage)
{
    __atomic_store_n(&sh->stage, stage, __ATOMIC_SEQ_CST);
}

static void await(int stage)
{
    while (__atomic_load_n(&sh->stage, __ATOMIC_SEQ_CST) != stage)
        nap_ms(1);
}

static void on_threads(void *(*body)(void *), void *arg)
{
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&t[i], NULL, body, arg) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
}

static struct timespec in_s(int s)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += s;
    return ts;
}

static void say(const char *step, const char *of)
{
    if (side == 0)
        printf("%s%s%s\n", step, *of ? " " : "", of);
    fflush(stdout);
}

/* --- mutexes ---------------------------------------------------------------------------- */

static void *count(void *arg)
{
    const struct kind *k = &kinds[*(int *)arg];
    pthread_mutex_t *m = &sh->mutex[*(int *)arg];
    for (int i = 0; i < LAPS; i++) {
        struct timespec ts = in_s(100);
        int rc = i % 3 == 0 ? pthread_mutex_timedlock(m, &ts) : pthread_mutex_lock(m);
        CHECK(rc == 0);
        long before = sh->sum;
        if (i % 50 == 0)
            nap_ms(1); /* the others really have to wait */
        if (k->type == PTHREAD_MUTEX_RECURSIVE) {
            CHECK(pthread_mutex_trylock(m) == 0);
            CHECK(pthread_mutex_unlock(m) == 0);
        }
        sh->sum = before + 1;
        CHECK(pthread_mutex_unlock(m) == 0);
    }
    return NULL;
}

static void mutex_counts(int k)
{
    sh->sum = 0;
    meet();
    on_threads(count, &k);
    meet();
    CHECK(sh->sum == 2L * THREADS * LAPS);
    say("counted under", kinds[k].name);
    meet();
}

/* The other side holds it: refused to everybody else. */
static void *try_held(void *arg)
{
    int k = *(int *)arg;
    struct timespec ts = in_s(0);
    CHECK(pthread_mutex_trylock(&sh->mutex[k]) == EBUSY);
    CHECK(pthread_mutex_timedlock(&sh->mutex[k], &ts) == ETIMEDOUT);
    if (kinds[k].type != PTHREAD_MUTEX_NORMAL || kinds[k].robust)
        CHECK(pthread_mutex_unlock(&sh->mutex[k]) == EPERM);
    return NULL;
}

static void *hold(void *arg)
{
    int k = *(int *)arg;
    CHECK(pthread_mutex_lock(&sh->mutex[k]) == 0);
    reach(1);
    await(2);
    if (kinds[k].type == PTHREAD_MUTEX_ERRORCHECK)
        CHECK(pthread_mutex_lock(&sh->mutex[k]) == EDEADLK);
    CHECK(pthread_mutex_unlock(&sh->mutex[k]) == 0);
    return NULL;
}

static void mutex_held(int k)
{
    pthread_t t;
    for (int holder = 0; holder < 2; holder++) {
        reach(0);
        meet();
        if (side == holder) {
            CHECK(pthread_create(&t, NULL, hold, &k) == 0);
            CHECK(pthread_join(t, NULL) == 0);
        } else {
            await(1);
            on_threads(try_held, &k);
            try_held(&k);
            reach(2);
        }
        meet();
    }
    say("held", kinds[k].name);
}

/* --- owners that die -------------------------------------------------------------------- */

static void *inherit(void *arg)
{
    int k = *(int *)arg;
    int rc = pthread_mutex_lock(&sh->mutex[k]);
    if (rc == EOWNERDEAD) {
        sh->dead++;
        CHECK(sh->turn == 1); /* left so in the middle of things */
        sh->turn = 0;
        CHECK(pthread_mutex_consistent(&sh->mutex[k]) == 0);
    } else {
        CHECK(rc == 0 && sh->turn == 0);
        sh->normal++;
    }
    CHECK(pthread_mutex_unlock(&sh->mutex[k]) == 0);
    return NULL;
}

static void *die_with_it(void *arg)
{
    CHECK(pthread_mutex_lock(&sh->mutex[*(int *)arg]) == 0);
    sh->turn = 1;
    reach(1);
    await(2);
    return NULL;
}

static void expect_one_death(const char *how, int k)
{
    CHECK(sh->dead == 1 && sh->normal == THREADS - 1);
    say(how, kinds[k].name);
    sh->dead = sh->normal = 0;
}

/* A thread ends; who waits for it is in the other process. */
static void owner_thread_ends(int k)
{
    pthread_t t;
    for (int owner = 0; owner < 2; owner++) {
        reach(0);
        meet();
        if (side == owner) {
            CHECK(pthread_create(&t, NULL, die_with_it, &k) == 0);
            CHECK(pthread_join(t, NULL) == 0);
        } else {
            await(1);
            reach(2);
            on_threads(inherit, &k);
        }
        meet();
        if (side == 0)
            expect_one_death("thread ended with", k);
        meet();
    }
}

static pid_t start(const char *role, const char *k, const char *how)
{
    char *argv[] = {(char *)self, (char *)role, (char *)shm_fd,
                    (char *)k,    (char *)how,  NULL};
    pid_t pid;
    char *preload = getenv("PEER_PRELOAD");
    if (preload != NULL && *preload != '\0')
        setenv("LD_PRELOAD", preload, 1);
    else
        unsetenv("LD_PRELOAD");
    if (posix_spawn(&pid, self, NULL, NULL, argv, environ) != 0)
        exit(9);
    return pid;
}

static void *wait_then_kill(void *arg)
{
    await(1);
    nap_ms(20);
    kill(*(pid_t *)arg, SIGKILL);
    return NULL;
}

static void owner_is_killed(int k, const char *how)
{
    char text[8];
    pthread_t t;
    int status;
    reach(0);
    snprintf(text, sizeof text, "%d", k);
    pid_t pid = start("victim", text, how);
    CHECK(pthread_create(&t, NULL, wait_then_kill, &pid) == 0);
    await(1);
    on_threads(inherit, &k);
    CHECK(pthread_join(t, NULL) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    expect_one_death("killed with", k);
}

/* Killed while it waits, and nobody else is the worse for it. */
static void waiter_is_killed(int k)
{
    char text[8];
    int status;
    reach(0);
    CHECK(pthread_mutex_lock(&sh->mutex[k]) == 0);
    snprintf(text, sizeof text, "%d", k);
    pid_t pid = start("victim", text, "thread");
    nap_ms(100);
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    CHECK(pthread_mutex_unlock(&sh->mutex[k]) == 0);
    on_threads(inherit, &k);
    CHECK(sh->dead == 0 && sh->normal == THREADS);
    sh->normal = 0;
    say("killed waiting for", kinds[k].name);
}

static void *as_victim(void *arg)
{
    if (pthread_mutex_lock(&sh->mutex[*(int *)arg]) != 0)
        _exit(9);
    sh->turn = 1;
    reach(1);
    for (;;)
        pause();
}

static _Noreturn void victim(int k, const char *how)
{
    pthread_t t;
    if (strcmp(how, "main") == 0) { /* threads are there all the same */
        CHECK(pthread_create(&t, NULL, (void *(*)(void *))(void *)pause, NULL) == 0);
        as_victim(&k);
    }
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&t, NULL, i ? as_victim : (void *(*)(void *))(void *)pause,
                             &k) == 0);
    for (;;)
        pause();
}

/* --- conditions -------------------------------------------------------------------------- */

static void *play(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(pthread_mutex_lock(&sh->lock) == 0);
        while (sh->turn != side) {
            struct timespec ts = in_s(100);
            int rc = i % 2 ? pthread_cond_wait(&sh->cond, &sh->lock)
                           : pthread_cond_timedwait(&sh->cond, &sh->lock, &ts);
            CHECK(rc == 0);
        }
        sh->turn = !side;
        sh->sum++;
        CHECK(pthread_cond_broadcast(&sh->cond) == 0);
        CHECK(pthread_mutex_unlock(&sh->lock) == 0);
    }
    return NULL;
}

static void conditions(void)
{
    sh->sum = sh->turn = 0;
    meet();
    on_threads(play, NULL);
    meet();
    CHECK(sh->sum == 2L * THREADS * ROUNDS);
    say("took turns by a condition", "");
    meet();
}

/* --- read-write locks, barriers, semaphores ------------------------------------------------ */

static void *read_or_write(void *arg)
{
    (void)arg;
    for (int i = 0; i < LAPS; i++) {
        if (i % 4 == 0) {
            CHECK(pthread_rwlock_wrlock(&sh->rwlock) == 0);
            CHECK(__atomic_load_n(&sh->readers, __ATOMIC_RELAXED) == 0);
            sh->sum++;
            sh->a++;
            if (i % 40 == 0)
                nap_ms(1);
            sh->b++;
        } else {
            struct timespec ts = in_s(100);
            CHECK(pthread_rwlock_timedrdlock(&sh->rwlock, &ts) == 0);
            __atomic_fetch_add(&sh->readers, 1, __ATOMIC_RELAXED);
            CHECK(sh->a == sh->b);
            if (i % 30 == 1)
                nap_ms(1);
            __atomic_fetch_sub(&sh->readers, 1, __ATOMIC_RELAXED);
        }
        CHECK(pthread_rwlock_unlock(&sh->rwlock) == 0);
    }
    return NULL;
}

static void rwlocks(void)
{
    sh->sum = sh->a = sh->b = 0;
    meet();
    on_threads(read_or_write, NULL);
    meet();
    CHECK(sh->sum == 2L * THREADS * LAPS / 4);
    say("read and wrote", "");
    meet();
}

static void *pass(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        int rc = pthread_barrier_wait(&sh->barrier);
        CHECK(rc == 0 || rc == PTHREAD_BARRIER_SERIAL_THREAD);
        if (rc != 0)
            __atomic_fetch_add(&sh->serial, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void barriers(void)
{
    meet();
    on_threads(pass, NULL);
    meet();
    CHECK(sh->serial == ROUNDS);
    say("passed a barrier", "");
    meet();
}

static void *ping(void *arg)
{
    sem_t **s = arg;
    for (int i = 0; i < LAPS; i++) {
        struct timespec ts = in_s(100);
        CHECK((i % 2 ? sem_wait(s[side]) : sem_timedwait(s[side], &ts)) == 0);
        __atomic_fetch_add(&sh->sum, 1, __ATOMIC_RELAXED);
        CHECK(sem_post(s[!side]) == 0);
    }
    return NULL;
}

static void semaphores(const char *what, sem_t **s)
{
    sh->sum = 0;
    meet();
    if (side == 0)
        sem_post(s[0]); /* one ball in the game of all */
    on_threads(ping, s);
    meet();
    CHECK(sh->sum == 2L * THREADS * LAPS);
    say("played ping-pong by", what);
    meet();
}

static void named_semaphores(void)
{
    char name[2][40];
    pid_t owner = side == 0 ? getpid() : getppid();
    for (int i = 0; i < 2; i++) {
        snprintf(name[i], sizeof name[i], "/gshim-oneside-%d-%d", (int)owner, i);
        named[i] = sem_open(name[i], O_CREAT, 0600, 0);
        CHECK(named[i] != SEM_FAILED);
    }
    semaphores("named semaphores", named);
    for (int i = 0; i < 2; i++) {
        CHECK(sem_close(named[i]) == 0);
        if (side == 0)
            CHECK(sem_unlink(name[i]) == 0);
    }
}

/* --- both ----------------------------------------------------------------------------------- */

static void make_mutex(pthread_mutex_t *m, const struct kind *k)
{
    pthread_mutexattr_t a;
    CHECK(pthread_mutexattr_init(&a) == 0);
    CHECK(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_mutexattr_settype(&a, k->type) == 0);
    CHECK(pthread_mutexattr_setprotocol(&a, k->protocol) == 0);
    if (k->robust)
        CHECK(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) == 0);
    CHECK(pthread_mutex_init(m, &a) == 0);
}

static void make_objects(void)
{
    pthread_condattr_t c;
    pthread_rwlockattr_t r;
    pthread_barrierattr_t b;
    for (int k = 0; k < KINDS; k++)
        make_mutex(&sh->mutex[k], &kinds[k]);
    make_mutex(&sh->lock, &kinds[ROBUST]);
    pthread_condattr_init(&c);
    pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
    CHECK(pthread_cond_init(&sh->cond, &c) == 0);
    pthread_rwlockattr_init(&r);
    pthread_rwlockattr_setpshared(&r, PTHREAD_PROCESS_SHARED);
    CHECK(pthread_rwlock_init(&sh->rwlock, &r) == 0);
    pthread_barrierattr_init(&b);
    pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
    CHECK(pthread_barrier_init(&sh->barrier, &b, 2 * THREADS) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(sem_init(&sh->full[i], 1, 0) == 0);
}

static void both(void)
{
    sem_t *unnamed[2] = {&sh->full[0], &sh->full[1]};
    for (int k = 0; k < KINDS; k++) {
        mutex_counts(k);
        mutex_held(k);
        if (kinds[k].robust)
            owner_thread_ends(k);
    }
    conditions();
    rwlocks();
    barriers();
    semaphores("semaphores", unnamed);
    named_semaphores();
}

static int first(void)
{
    int status;
    make_objects();
    pid_t pid = start("peer", NULL, NULL);
    both();
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    for (int k = 0; k < KINDS; k++) {
        if (!kinds[k].robust)
            continue;
        owner_is_killed(k, "main");
        owner_is_killed(k, "thread");
        waiter_is_killed(k);
    }
    return wrongs != 0;
}

int main(int argc, char **argv)
{
    static char text[16];
    int fd = argc > 2 ? atoi(argv[2]) : memfd_create("oneside", 0);
    self = "/proc/self/exe";
    snprintf(text, sizeof text, "%d", fd);
    shm_fd = text;
    if (argc <= 2 && ftruncate(fd, sizeof *sh) != 0)
        return 9;
    sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (sh == MAP_FAILED)
        return 9;
    if (argc <= 2)
        return first();
    if (strcmp(argv[1], "victim") == 0)
        victim(atoi(argv[3]), argv[4]);
    side = 1;
    both();
    return wrongs != 0;
}
