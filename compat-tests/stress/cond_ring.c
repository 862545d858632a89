/* cond_ring.c - lost wake-ups of mutex + condition variable.
 *
 * Threads form a ring; K tokens run around it. A node sleeps on its own condition until
 * it holds a token, and hands it to the next node with one signal, sent at random with
 * the mutex held or after unlocking. Waits are untimed, or timed with a deadline far away
 * (the timer must be armed and cancelled without disturbing the wake).
 * A lost wake-up stops the ring: the watchdog sees it. A wake or token counted twice
 * breaks the counts: every node must see every token pass exactly as often as its
 * predecessor. Node 0 turns tokens into stop marks when time is up; each node ends after
 * K of them. */

#include "stress.h"

#define MAX_NODES 128

struct node {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int live, stops;    /* under lock */
    unsigned long seen; /* owner only, read after join */
    int id;
};

static struct node ring[MAX_NODES];
static int n_nodes, n_tokens;

static void give(struct node *to, bool stop, uint64_t *rng)
{
    bool inside = stress_rand(rng) & 1;

    OK0(pthread_mutex_lock(&to->lock));
    if (stop)
        to->stops++;
    else
        to->live++;
    if (inside)
        OK0(pthread_cond_signal(&to->cond));
    OK0(pthread_mutex_unlock(&to->lock));
    if (!inside)
        OK0(pthread_cond_signal(&to->cond));
}

/* Returns true for a stop mark, false for a live token. */
static bool take(struct node *me, uint64_t *rng)
{
    bool timed = (stress_rand(rng) & 3) == 0;
    struct timespec far = {0};
    bool stop;

    if (timed)
        far = stress_after_ns(CLOCK_REALTIME, 3600 * STRESS_NS_PER_S);
    OK0(pthread_mutex_lock(&me->lock));
    while (!me->live && !me->stops) {
        if (timed)
            OK0(pthread_cond_timedwait(&me->cond, &me->lock, &far));
        else
            OK0(pthread_cond_wait(&me->cond, &me->lock));
    }
    stop = me->live == 0;
    if (stop)
        me->stops--;
    else
        me->live--;
    OK0(pthread_mutex_unlock(&me->lock));
    return stop;
}

static void *node_main(void *arg)
{
    struct node *me = arg;
    struct node *next = &ring[(me->id + 1) % n_nodes];
    uint64_t rng = stress_seed_for((uint64_t)me->id);

    for (int stopped = 0; stopped < n_tokens;) {
        bool stop = take(me, &rng);

        CHECK(!(stop && me->id == 0), "a stop mark came round to node 0");
        me->seen += !stop;
        stop = stop || (me->id == 0 && !stress_running());
        if (me->id == 0)
            stress_progress++;
        if (!stop || me->id != n_nodes - 1)
            give(next, stop, &rng);
        stopped += stop;
    }
    return me;
}

static unsigned long run(const char *name, int nodes, int tokens, double share)
{
    pthread_t threads[MAX_NODES];
    uint64_t rng = stress_seed_for(999);

    stress_phase(name, share);
    n_nodes = nodes;
    n_tokens = tokens;
    for (int i = 0; i < nodes; i++) {
        ring[i] = (struct node){.id = i};
        OK0(pthread_mutex_init(&ring[i].lock, NULL));
        OK0(pthread_cond_init(&ring[i].cond, NULL));
    }
    for (int i = 0; i < nodes; i++)
        stress_create(&threads[i], node_main, &ring[i]);
    for (int i = 0; i < tokens; i++)
        give(&ring[0], false, &rng);
    for (int i = 0; i < nodes; i++)
        stress_join(threads[i], &ring[i]);
    for (int i = 0; i < nodes; i++) {
        /* Node 0 sees each token once more than the others: when it becomes a mark. */
        unsigned long want = ring[0].seen - (i ? (unsigned long)tokens : 0);

        CHECK(ring[i].seen == want, "node %d saw %lu tokens, expected %lu", i,
              ring[i].seen, want);
        CHECK(!ring[i].live && !ring[i].stops, "node %d: tokens left over", i);
        OK0(pthread_cond_destroy(&ring[i].cond));
        OK0(pthread_mutex_destroy(&ring[i].lock));
    }
    return ring[0].seen;
}

int main(int argc, char **argv)
{
    unsigned long two, eight, many;

    stress_begin("cond_ring", argc, argv);
    two = run("2 nodes 1 token", 2, 1, 0.34);
    eight = run("8 nodes 3 tokens", 8, 3, 0.33);
    many = run("100 nodes 16 tokens", 100, 16, 0.33);
    return stress_end("%lu, %lu and %lu laps", two, eight, many);
}
