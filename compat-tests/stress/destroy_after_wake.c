/* destroy_after_wake.c - an object may die as soon as its wait has returned.
 *
 * POSIX lets a thread destroy a semaphore, mutex, condition or barrier and free its
 * memory right after its own wait/lock on it has told it that nobody else will use it,
 * although the waking call of the other thread may not have returned yet. So no waker may
 * touch the object after the moment at which the sleeper can run.
 *
 * Each object lives in a slab slot. After destroy the slot is filled with poison (or its
 * page is unmapped, so that a late access faults) and parked for a while in a graveyard;
 * before it is used again the poison is verified: a late write shows.
 *
 *   sem      request on the client's side, the server posts; the client destroys
 *   stack    the same with the request in a stack frame, which is re-used at once
 *   mutex    reference count under the mutex that is part of the object; last one frees
 *   cond     the deleter broadcasts, unlocks, destroys and frees (the POSIX example)
 *   barrier  a random one of the participants destroys it after its wait returned */

#include "stress.h"
#include <sys/mman.h>

#define SLOT 512
#define GRAVES 32
#define POISON 0xa5

/* One graveyard per thread: slots rest here, poisoned, before they are re-used. */
struct graveyard {
    unsigned char *slot[GRAVES];
    unsigned next;
    uint64_t rng;
};

static void verify_poison(const unsigned char *s)
{
    for (int i = 0; i < SLOT; i++)
        CHECK(s[i] == POISON, "byte %d of a dead object was written: %#x", i, s[i]);
}

static void *slot_alloc(struct graveyard *g)
{
    unsigned char *s = g->slot[g->next % GRAVES];

    if (!s)
        return aligned_alloc(64, SLOT);
    g->slot[g->next % GRAVES] = NULL;
    verify_poison(s);
    return s;
}

static void slot_bury(struct graveyard *g, void *s)
{
    unsigned char **grave = &g->slot[g->next++ % GRAVES];

    memset(s, POISON, SLOT);
    if (*grave) {
        verify_poison(*grave);
        free(*grave);
    }
    *grave = s;
}

static void graves_empty(struct graveyard *g)
{
    for (int i = 0; i < GRAVES; i++, g->next++)
        free(slot_alloc(g));
}

/* --- sem and stack: clients and servers ------------------------------------------- */

struct request {
    sem_t done;
    struct request *next;
    long in, out;
};

static pthread_mutex_t q_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t q_cond = PTHREAD_COND_INITIALIZER;
static struct request *q_head; /* under q_lock */
static bool q_stop;            /* under q_lock */

static void *server(void *arg)
{
    for (;;) {
        struct request *r;

        OK0(pthread_mutex_lock(&q_lock));
        while (!q_head && !q_stop)
            OK0(pthread_cond_wait(&q_cond, &q_lock));
        r = q_head;
        if (r)
            q_head = r->next;
        OK0(pthread_mutex_unlock(&q_lock));
        if (!r)
            return arg;
        r->out = r->in * 3 + 1;
        OKSYS(sem_post(&r->done)); /* r may be gone before this returns */
    }
}

static void ask(struct request *r, long in, uint64_t *rng)
{
    r->in = in;
    r->out = 0;
    OKSYS(sem_init(&r->done, 0, 0));
    OK0(pthread_mutex_lock(&q_lock));
    r->next = q_head;
    q_head = r;
    OK0(pthread_cond_signal(&q_cond));
    OK0(pthread_mutex_unlock(&q_lock));
    if (stress_rand(rng) % 4 == 0) {
        while (sem_trywait(&r->done) == -1)
            sched_yield();
    } else if (stress_rand(rng) % 4 == 0) {
        struct timespec ts = stress_after_ns(CLOCK_REALTIME, 3600 * STRESS_NS_PER_S);

        OKSYS(sem_timedwait(&r->done, &ts));
    } else {
        stress_sem_wait(&r->done);
    }
    CHECK(r->out == in * 3 + 1, "answer %ld to %ld", r->out, in);
    OKSYS(sem_destroy(&r->done));
}

static void __attribute__((noinline)) ask_on_stack(long in, uint64_t *rng)
{
    struct request r;

    ask(&r, in, rng);
    memset(&r, POISON, sizeof(r));
    __asm__ volatile("" ::"r"(&r) : "memory");
}

static void ask_on_page(long in, uint64_t *rng)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(page != MAP_FAILED, "mmap: errno %d", errno);
    ask(page, in, rng);
    OKSYS(munmap(page, 4096));
}

static void *client(void *arg)
{
    struct graveyard g = {.rng = stress_seed_for((uintptr_t)arg)};
    long n = 0;

    while (stress_running()) {
        void *s;

        ask_on_stack(++n, &g.rng);
        s = slot_alloc(&g);
        ask(s, ++n, &g.rng);
        slot_bury(&g, s);
        if (n % 16 == 0)
            ask_on_page(++n, &g.rng);
        stress_progress++;
    }
    graves_empty(&g);
    return arg;
}

static void run_sem(void)
{
    pthread_t clients[6], servers[3];

    stress_phase("sem", 0.3);
    q_stop = false;
    for (long i = 0; i < 3; i++)
        stress_create(&servers[i], server, (void *)i);
    for (long i = 0; i < 6; i++)
        stress_create(&clients[i], client, (void *)i);
    for (long i = 0; i < 6; i++)
        stress_join(clients[i], (void *)i);
    OK0(pthread_mutex_lock(&q_lock));
    q_stop = true;
    OK0(pthread_cond_broadcast(&q_cond));
    OK0(pthread_mutex_unlock(&q_lock));
    for (long i = 0; i < 3; i++)
        stress_join(servers[i], (void *)i);
}

/* --- the rest: groups that share one short-lived object a round -------------------- */

enum { GROUP = 4 };

struct counted {
    pthread_mutex_t lock;
    int refs; /* under lock */
};

struct element {
    pthread_cond_t not_busy;
    bool busy; /* under element_lock */
};

static pthread_barrier_t step; /* brings the group together between rounds */
static _Atomic(void *) object; /* this round's object */
static _Atomic int killer;     /* who destroys the barrier this round */
static _Atomic bool go_on;
static pthread_mutex_t element_lock = PTHREAD_MUTEX_INITIALIZER;
static int element_waiters; /* under element_lock */

static void mutex_make(void *s, uint64_t *rng)
{
    struct counted *c = s;
    pthread_mutexattr_t attr;
    static const int kinds[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ERRORCHECK,
                                PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ADAPTIVE_NP};

    OK0(pthread_mutexattr_init(&attr));
    OK0(pthread_mutexattr_settype(&attr, kinds[stress_rand(rng) % 4]));
    OK0(pthread_mutex_init(&c->lock, &attr));
    OK0(pthread_mutexattr_destroy(&attr));
    c->refs = GROUP;
}

static void mutex_round(int id, void *s, struct graveyard *g)
{
    struct counted *c = s;
    bool last;

    (void)id;
    OK0(pthread_mutex_lock(&c->lock));
    if (stress_rand(&g->rng) % 4 == 0)
        sched_yield();
    last = --c->refs == 0;
    OK0(pthread_mutex_unlock(&c->lock));
    if (last) {
        OK0(pthread_mutex_destroy(&c->lock));
        slot_bury(g, c);
    }
}

static void cond_make(void *s, uint64_t *rng)
{
    struct element *e = s;

    (void)rng;
    OK0(pthread_cond_init(&e->not_busy, NULL));
    e->busy = true;
    element_waiters = 0;
}

static void cond_round(int id, void *s, struct graveyard *g)
{
    struct element *e = s;

    OK0(pthread_mutex_lock(&element_lock));
    if (id != 0) {
        /* One wait, no loop: after the broadcast *e must not be looked at again. */
        element_waiters++;
        OK0(pthread_cond_wait(&e->not_busy, &element_lock));
        OK0(pthread_mutex_unlock(&element_lock));
        return;
    }
    while (element_waiters < GROUP - 1) {
        OK0(pthread_mutex_unlock(&element_lock));
        sched_yield();
        OK0(pthread_mutex_lock(&element_lock));
    }
    e->busy = false;
    OK0(pthread_cond_broadcast(&e->not_busy));
    OK0(pthread_mutex_unlock(&element_lock));
    OK0(pthread_cond_destroy(&e->not_busy));
    slot_bury(g, e);
}

static void barrier_make(void *s, uint64_t *rng)
{
    killer = (int)(stress_rand(rng) % GROUP);
    OK0(pthread_barrier_init(s, NULL, GROUP));
}

static void barrier_round(int id, void *s, struct graveyard *g)
{
    bool kill = killer == id; /* before the wait: next round may change it after */
    int rc = pthread_barrier_wait(s);

    CHECK(rc == 0 || rc == PTHREAD_BARRIER_SERIAL_THREAD, "barrier_wait: %d", rc);
    if (kill) {
        OK0(pthread_barrier_destroy(s));
        slot_bury(g, s);
    }
}

static const struct kind {
    const char *name;
    void (*make)(void *s, uint64_t *rng);
    void (*round)(int id, void *s, struct graveyard *g);
} kinds[] = {
    {"mutex", mutex_make, mutex_round},
    {"cond", cond_make, cond_round},
    {"barrier", barrier_make, barrier_round},
};
static const struct kind *kind;

static void *member(void *arg)
{
    int id = (int)(intptr_t)arg;
    struct graveyard g = {.rng = stress_seed_for((uintptr_t)arg)};

    for (;;) {
        if (id == 0) {
            void *s = slot_alloc(&g);

            go_on = stress_running();
            stress_progress++;
            kind->make(s, &g.rng);
            object = s;
        }
        pthread_barrier_wait(&step);
        kind->round(id, object, &g);
        if (!go_on)
            break;
        pthread_barrier_wait(&step);
    }
    graves_empty(&g);
    return arg;
}

static void run_group(const struct kind *k)
{
    pthread_t t[GROUP];

    stress_phase(k->name, 0.23);
    kind = k;
    OK0(pthread_barrier_init(&step, NULL, GROUP));
    for (long i = 0; i < GROUP; i++)
        stress_create(&t[i], member, (void *)i);
    for (long i = 0; i < GROUP; i++)
        stress_join(t[i], (void *)i);
    OK0(pthread_barrier_destroy(&step));
}

int main(int argc, char **argv)
{
    stress_begin("destroy_after_wake", argc, argv);
    run_sem();
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        run_group(&kinds[i]);
    return stress_end("%lu rounds", stress_progress);
}
