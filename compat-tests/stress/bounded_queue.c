/* bounded_queue.c - many producers and consumers around one bounded queue.
 *
 * Three builds of the same queue: mutex with two conditions and single signals (the one
 * in every textbook, which hangs on the first lost signal), two counting semaphores with
 * a mutex, and C11's mtx_t and cnd_t. Small capacities keep both sides blocked all the
 * time. Each item carries its producer and a sequence number: nothing lost, nothing
 * twice, each producer's items leave in order. */

#include "stress.h"
#include <threads.h>

#define PRODUCERS 8
#define CONSUMERS 8
#define MAX_ROOM 16

struct item {
    int producer; /* -1 tells one consumer to stop */
    long seq;
};

static struct item items[MAX_ROOM];
static int room, used, head; /* under the queue's lock; room is constant in a run */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
static sem_t free_slots, full_slots;
static mtx_t c11_lock;
static cnd_t c11_not_full, c11_not_empty;

/* last[c][p]: newest item of producer p that consumer c saw; counts are summed at the
 * end */
static long last[CONSUMERS][PRODUCERS];
static long got[CONSUMERS][PRODUCERS], sums[CONSUMERS][PRODUCERS], made[PRODUCERS];

static void push(struct item it)
{
    CHECK(used < room, "queue overflow");
    items[(head + used++) % room] = it;
}

static struct item pop(void)
{
    struct item it = items[head];

    CHECK(used > 0, "queue underflow");
    head = (head + 1) % room;
    used--;
    return it;
}

static void cond_put(struct item it)
{
    OK0(pthread_mutex_lock(&lock));
    while (used == room)
        OK0(pthread_cond_wait(&not_full, &lock));
    push(it);
    OK0(pthread_cond_signal(&not_empty));
    OK0(pthread_mutex_unlock(&lock));
}

static struct item cond_get(void)
{
    struct item it;

    OK0(pthread_mutex_lock(&lock));
    while (used == 0)
        OK0(pthread_cond_wait(&not_empty, &lock));
    it = pop();
    OK0(pthread_mutex_unlock(&lock));
    OK0(pthread_cond_signal(&not_full));
    return it;
}

static void sem_put(struct item it)
{
    stress_sem_wait(&free_slots);
    OK0(pthread_mutex_lock(&lock));
    push(it);
    OK0(pthread_mutex_unlock(&lock));
    OKSYS(sem_post(&full_slots));
}

static struct item sem_get(void)
{
    struct item it;

    stress_sem_wait(&full_slots);
    OK0(pthread_mutex_lock(&lock));
    it = pop();
    OK0(pthread_mutex_unlock(&lock));
    OKSYS(sem_post(&free_slots));
    return it;
}

static void c11_put(struct item it)
{
    OK0(mtx_lock(&c11_lock));
    while (used == room)
        OK0(cnd_wait(&c11_not_full, &c11_lock));
    push(it);
    OK0(mtx_unlock(&c11_lock));
    OK0(cnd_signal(&c11_not_empty));
}

static struct item c11_get(void)
{
    struct item it;

    OK0(mtx_lock(&c11_lock));
    while (used == 0)
        OK0(cnd_wait(&c11_not_empty, &c11_lock));
    it = pop();
    OK0(cnd_signal(&c11_not_full));
    OK0(mtx_unlock(&c11_lock));
    return it;
}

static const struct queue {
    const char *name;
    void (*put)(struct item it);
    struct item (*get)(void);
} queues[] = {
    {"conditions", cond_put, cond_get},
    {"semaphores", sem_put, sem_get},
    {"C11", c11_put, c11_get},
};
static const struct queue *queue;

static void *producer(void *arg)
{
    int id = (int)(intptr_t)arg;
    long n = 0;

    while (stress_running()) {
        queue->put((struct item){.producer = id, .seq = ++n});
        stress_progress++;
    }
    made[id] = n;
    return arg;
}

/* Items leave in the order of the queue, so one consumer sees each producer's in
 * order. */
static void *consumer(void *arg)
{
    int id = (int)(intptr_t)arg;

    for (;;) {
        struct item it = queue->get();
        long *seen = &last[id][it.producer < 0 ? 0 : it.producer];

        if (it.producer < 0)
            return arg;
        CHECK(it.seq > *seen, "item %ld of %d after %ld", it.seq, it.producer, *seen);
        *seen = it.seq;
        got[id][it.producer]++;
        sums[id][it.producer] += it.seq;
    }
}

static void check_all(void)
{
    for (int p = 0; p < PRODUCERS; p++) {
        long n = 0, sum = 0;

        for (int c = 0; c < CONSUMERS; c++) {
            n += got[c][p];
            sum += sums[c][p];
        }
        CHECK(n == made[p] && sum == n * (n + 1) / 2, "producer %d: %ld of %ld items", p,
              n, made[p]);
    }
    CHECK(used == 0, "%d items left", used);
}

static void run(const struct queue *q, int capacity)
{
    pthread_t p[PRODUCERS], c[CONSUMERS];

    stress_phase(q->name, 0.16);
    queue = q;
    room = capacity;
    used = head = 0;
    memset(last, 0, sizeof(last));
    memset(got, 0, sizeof(got));
    memset(sums, 0, sizeof(sums));
    OKSYS(sem_init(&free_slots, 0, (unsigned)capacity));
    OKSYS(sem_init(&full_slots, 0, 0));
    for (long i = 0; i < PRODUCERS; i++)
        stress_create(&p[i], producer, (void *)i);
    for (long i = 0; i < CONSUMERS; i++)
        stress_create(&c[i], consumer, (void *)i);
    for (long i = 0; i < PRODUCERS; i++)
        stress_join(p[i], (void *)i);
    for (int i = 0; i < CONSUMERS; i++)
        q->put((struct item){.producer = -1});
    for (long i = 0; i < CONSUMERS; i++)
        stress_join(c[i], (void *)i);
    check_all();
}

int main(int argc, char **argv)
{
    stress_begin("bounded_queue", argc, argv);
    OK0(mtx_init(&c11_lock, mtx_plain));
    OK0(cnd_init(&c11_not_full));
    OK0(cnd_init(&c11_not_empty));
    for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
        run(&queues[i], 1);
        run(&queues[i], MAX_ROOM);
    }
    return stress_end("%lu items", stress_progress);
}
