/* tls_storm.c - what belongs to a thread stays with it, over every kind of blocking call.
 *
 * Each thread fills its thread-local state with values of its own, then blocks in a
 * random way and verifies everything: __thread variables (small, large, zero-initialised
 * and initialised ones, and their addresses), errno, the thread's locale and what depends
 * on it (MB_CUR_MAX, isalpha's table), pthread_getspecific, strerror's buffer,
 * pthread_self, gettid, and a pattern on the stack. errno may be changed by a call, but
 * only to a real error number: each thread's own marks are above 1000, so another
 * thread's mark in it is a leak. New threads in between must find everything in its
 * initial state. */

#include "stress.h"
#include <ctype.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <sys/select.h>

#define THREADS 24
#define BIG 1024

static __thread int t_id = -1;
static __thread uint64_t t_zero;
static __thread unsigned char t_big[BIG];
static __thread const char *t_text = "initial";

static pthread_key_t key;
static sem_t turnstile;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static int devnull, pipes[THREADS][2];
static locale_t utf8;

struct state {
    int id;
    pthread_t self;
    pid_t tid;
    int *errno_at, *id_at;
    const char *message;
    locale_t locale;
    size_t mb_max;
    uint64_t rng;
};

static void claim(struct state *s, int id)
{
    CHECK(t_id == -1 && t_zero == 0 && strcmp(t_text, "initial") == 0,
          "a new thread starts with t_id %d", t_id);
    for (int i = 0; i < BIG; i++)
        CHECK(t_big[i] == 0, "a new thread's t_big[%d] is %d", i, t_big[i]);
    CHECK(pthread_getspecific(key) == NULL, "a new thread has a value of the key");
    CHECK(uselocale(NULL) == LC_GLOBAL_LOCALE, "a new thread has a locale");
    CHECK(isalpha('x') && !isalpha('1'), "ctype is broken");
    t_id = id;
    t_zero = (uint64_t)id << 32;
    t_text = "mine";
    memset(t_big, id, BIG);
    OK0(pthread_setspecific(key, s));
    *s = (struct state){.id = id,
                        .self = pthread_self(),
                        .tid = gettid(),
                        .errno_at = &errno,
                        .id_at = &t_id,
                        .message = strerror(100000 + id),
                        .locale = id % 2 && utf8 ? utf8 : LC_GLOBAL_LOCALE,
                        .rng = stress_seed_for((uint64_t)id)};
    uselocale(s->locale);
    s->mb_max = MB_CUR_MAX;
}

static void verify(struct state *s, const char *after)
{
    int err = errno;
    char want[64];

    CHECK(err < 1000 || err == 1000 + s->id, "errno %d of another thread, after %s", err,
          after);
    CHECK(&errno == s->errno_at && &t_id == s->id_at, "TLS has moved, after %s", after);
    CHECK(t_id == s->id && t_zero == (uint64_t)s->id << 32,
          "thread %d has t_id %d after %s", s->id, t_id, after);
    CHECK(strcmp(t_text, "mine") == 0, "t_text changed after %s", after);
    for (int i = 0; i < BIG; i++)
        CHECK(t_big[i] == (unsigned char)s->id, "t_big[%d] is %d after %s", i, t_big[i],
              after);
    CHECK(pthread_getspecific(key) == s, "specific value changed after %s", after);
    CHECK(uselocale(NULL) == s->locale, "locale changed after %s", after);
    CHECK(MB_CUR_MAX == s->mb_max, "MB_CUR_MAX changed after %s", after);
    CHECK(isalpha('q') && !isalpha('7') && toupper('q') == 'Q', "ctype after %s", after);
    CHECK(pthread_equal(pthread_self(), s->self), "pthread_self changed after %s", after);
    CHECK(gettid() == s->tid, "gettid changed after %s", after);
    snprintf(want, sizeof(want), "Unknown error %d", 100000 + s->id);
    CHECK(strcmp(s->message, want) == 0, "strerror's buffer has '%s' after %s",
          s->message, after);
}

static void *child(void *arg)
{
    struct state s;

    claim(&s, 100 + (int)((intptr_t)arg % 100));
    sched_yield();
    verify(&s, "child's yield");
    uselocale(LC_GLOBAL_LOCALE);
    return arg;
}

static const char *block_on_object(struct state *s, uint32_t how)
{
    struct timespec when = stress_after_ns(CLOCK_REALTIME, stress_rand(&s->rng) % 100000);

    switch (how) {
    case 0:
        stress_sem_wait(&turnstile);
        sched_yield();
        OKSYS(sem_post(&turnstile));
        return "sem_wait";
    case 1:
        if (sem_timedwait(&turnstile, &when) == 0)
            OKSYS(sem_post(&turnstile));
        return "sem_timedwait";
    case 2:
        OK0(pthread_mutex_lock(&lock));
        sched_yield();
        OK0(pthread_mutex_unlock(&lock));
        return "mutex";
    case 3:
        OK0(pthread_mutex_lock(&lock));
        pthread_cond_timedwait(&cond, &lock, &when);
        OK0(pthread_mutex_unlock(&lock));
        return "cond_timedwait";
    case 4:
        OK0(pthread_cond_broadcast(&cond));
        return "cond_broadcast";
    default:
        OK0(s->id % 3 ? pthread_rwlock_rdlock(&rwlock) : pthread_rwlock_wrlock(&rwlock));
        sched_yield();
        OK0(pthread_rwlock_unlock(&rwlock));
        return "rwlock";
    }
}

static const char *block_in_call(struct state *s, uint32_t how)
{
    struct timeval tv = {.tv_usec = stress_rand(&s->rng) % 100};
    char byte = 'x';
    pthread_t t;
    void *p;

    switch (how) {
    case 0:
        sched_yield();
        return "sched_yield";
    case 1:
        stress_sleep_ns(stress_rand(&s->rng) % 60000);
        return "nanosleep";
    case 2:
        usleep(stress_rand(&s->rng) % 60);
        return "usleep";
    case 3: /* to the neighbour and from the pipe of my own: the bytes stay balanced */
        OKSYS(write(pipes[(s->id + 1) % THREADS][1], &byte, 1));
        OKSYS(read(pipes[s->id][0], &byte, 1) == 1 ? 0 : errno == EAGAIN ? 0 : -1);
        return "read";
    case 4:
        OKSYS(poll(NULL, 0, 1));
        return "poll";
    case 5:
        OKSYS(select(0, NULL, NULL, NULL, &tv));
        return "select";
    case 6:
        stress_create(&t, child, (void *)(intptr_t)s->id);
        stress_join(t, (void *)(intptr_t)s->id);
        return "create and join";
    case 7:
        p = malloc(stress_rand(&s->rng) % 20000);
        sched_yield();
        free(p);
        return "malloc";
    case 8:
        dprintf(devnull, "%s %d %.3f %lc\n", t_text, s->id, s->id / 7.0, L'x');
        return "dprintf";
    default:
        OKSYS(close(12345) == -1 && errno == EBADF ? 0 : -1);
        return "a failing call";
    }
}

static void *worker(void *arg)
{
    volatile uint64_t pattern[64];
    struct state s;

    claim(&s, (int)(intptr_t)arg);
    for (uint64_t i = 0; i < 64; i++)
        pattern[i] = i * 31 + (uint64_t)s.id;
    while (stress_running()) {
        uint32_t how = stress_rand(&s.rng) % 16;
        const char *after;

        errno = 1000 + s.id;
        after = how < 6 ? block_on_object(&s, how) : block_in_call(&s, how - 6);
        verify(&s, after);
        for (uint64_t i = 0; i < 64; i++)
            CHECK(pattern[i] == i * 31 + (uint64_t)s.id, "stack changed after %s", after);
        stress_progress++;
    }
    uselocale(LC_GLOBAL_LOCALE);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];
    struct state s;

    stress_begin("tls_storm", argc, argv);
    OK0(pthread_key_create(&key, NULL));
    OKSYS(sem_init(&turnstile, 0, 3));
    devnull = open("/dev/null", O_WRONLY);
    for (int i = 0; i < THREADS; i++) {
        OKSYS(pipe(pipes[i]));
        OKSYS(fcntl(pipes[i][0], F_SETFL, O_NONBLOCK));
        OKSYS(fcntl(pipes[i][1], F_SETFL, O_NONBLOCK));
    }
    utf8 = newlocale(LC_ALL_MASK, "C.UTF-8", NULL);
    claim(&s, 99);
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], worker, (void *)i);
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
    verify(&s, "everything, in main");
    for (int i = 0; i < THREADS; i++) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
    return stress_end("%lu operations", stress_progress);
}
