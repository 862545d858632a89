/* create_join_storm.c - creating and joining from many threads at once.
 *
 * Creators make short-lived threads of random kinds and pass the handles, through a
 * queue, to joiners; so a thread is usually joined by a stranger, before, while or after
 * it ends.
 *
 *   plain    default attributes, result by return
 *   exit     result by pthread_exit from a nested call
 *   sizes    random stack size, uses most of it and verifies a pattern
 *   own      stack given by the caller (pthread_attr_setstack), filled with poison and
 *            unmapped right after the join: whatever still runs on it faults
 *
 * Checked: every thread ran once, every result arrives at the one that joined it, stack
 * memory is where the attributes say, nothing is left at the end. */

#include "stress.h"
#include <limits.h>
#include <sys/mman.h>

#define CREATORS 6
#define JOINERS 4
#define QUEUE 64

enum kind { PLAIN, EXIT, SIZES, OWN, N_KINDS };

struct job {
    pthread_t thread;
    struct job *next;
    enum kind kind;
    size_t stack_bytes;
    char *stack; /* kind OWN */
    _Atomic int ran;
    uint64_t in;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* under lock */
static struct job *queue;
static int queued, creators_left;

static uint64_t answer(const struct job *j)
{
    return j->in * 0x9e3779b97f4a7c15u + (uint64_t)j->kind;
}

static void __attribute__((noinline)) use_stack(const struct job *j, size_t bytes)
{
    volatile char *a = __builtin_alloca(bytes);

    for (size_t i = 0; i < bytes; i += 64)
        a[i] = (char)(j->in + i);
    sched_yield();
    for (size_t i = 0; i < bytes; i += 64)
        CHECK(a[i] == (char)(j->in + i), "stack of job %#lx changed at %zu", j->in, i);
}

static void __attribute__((noinline)) leave(const struct job *j)
{
    pthread_exit((void *)(uintptr_t)answer(j));
}

static void *short_life(void *arg)
{
    struct job *j = arg;
    uint64_t rng = stress_seed_for(j->in);
    char here;

    CHECK(atomic_fetch_add(&j->ran, 1) == 0, "job %#lx ran twice", j->in);
    CHECK(j->kind != OWN || (&here >= j->stack && &here < j->stack + j->stack_bytes),
          "not on the stack that was given");
    stress_jitter(&rng);
    if (j->kind == SIZES || j->kind == OWN)
        use_stack(j, j->stack_bytes / 2);
    if (j->kind == EXIT)
        leave(j);
    return (void *)(uintptr_t)answer(j);
}

static void start(struct job *j, uint64_t *rng)
{
    pthread_attr_t attr;

    OK0(pthread_attr_init(&attr));
    if (j->kind == SIZES) {
        j->stack_bytes = (32u + stress_rand(rng) % 480) * 1024;
        OK0(pthread_attr_setstacksize(&attr, j->stack_bytes));
    }
    if (j->kind == OWN) {
        j->stack_bytes = 64 * 1024;
        j->stack = mmap(NULL, j->stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        CHECK(j->stack != MAP_FAILED, "mmap: errno %d", errno);
        OK0(pthread_attr_setstack(&attr, j->stack, j->stack_bytes));
    }
    OK0(pthread_create(&j->thread, j->kind == PLAIN ? NULL : &attr, short_life, j));
    OK0(pthread_attr_destroy(&attr));
}

static void *creator(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);
    long made = 0;

    while (stress_running()) {
        struct job *j = calloc(1, sizeof(*j));

        j->kind = (enum kind)(stress_rand(&rng) % N_KINDS);
        j->in = ((uint64_t)(uintptr_t)arg << 32) + (uint64_t)++made;
        start(j, &rng);
        OK0(pthread_mutex_lock(&lock));
        while (queued >= QUEUE)
            OK0(pthread_cond_wait(&changed, &lock));
        j->next = queue;
        queue = j;
        queued++;
        OK0(pthread_cond_broadcast(&changed));
        OK0(pthread_mutex_unlock(&lock));
    }
    OK0(pthread_mutex_lock(&lock));
    creators_left--;
    OK0(pthread_cond_broadcast(&changed));
    OK0(pthread_mutex_unlock(&lock));
    return (void *)made;
}

static struct job *next_job(void)
{
    struct job *j;

    OK0(pthread_mutex_lock(&lock));
    while (!queue && creators_left)
        OK0(pthread_cond_wait(&changed, &lock));
    j = queue;
    if (j) {
        queue = j->next;
        queued--;
        OK0(pthread_cond_broadcast(&changed));
    }
    OK0(pthread_mutex_unlock(&lock));
    return j;
}

static void *joiner(void *arg)
{
    long joined = 0;
    struct job *j;

    (void)arg;
    while ((j = next_job())) {
        stress_join(j->thread, (void *)(uintptr_t)answer(j));
        CHECK(j->ran == 1, "joined a thread that ran %d times", j->ran);
        if (j->kind == OWN) {
            memset(j->stack, 0xa5, j->stack_bytes);
            OKSYS(munmap(j->stack, j->stack_bytes));
        }
        memset((void *)j, 0xa5, sizeof(*j));
        free(j);
        joined++;
        stress_progress++;
    }
    return (void *)joined;
}

int main(int argc, char **argv)
{
    pthread_t c[CREATORS], j[JOINERS];
    void *n;
    long made = 0, joined = 0;

    stress_begin("create_join_storm", argc, argv);
    creators_left = CREATORS;
    for (long i = 0; i < CREATORS; i++)
        stress_create(&c[i], creator, (void *)i);
    for (long i = 0; i < JOINERS; i++)
        stress_create(&j[i], joiner, NULL);
    for (int i = 0; i < CREATORS; i++) {
        OK0(pthread_join(c[i], &n));
        made += (long)n;
    }
    for (int i = 0; i < JOINERS; i++) {
        OK0(pthread_join(j[i], &n));
        joined += (long)n;
    }
    CHECK(made == joined, "%ld made, %ld joined", made, joined);
    return stress_end("%ld threads", joined);
}
