/* fork_join_tree.c - trees of threads, so that runnable threads pile up on one CPU and
 * have to be stolen by the others.
 *
 * Every inner node creates its children, joins them in a random order and adds up what
 * they return; leaves sometimes yield or sleep. The sum is known beforehand: a thread
 * that ran twice, not at all, or whose result was mixed up with another's shows in it,
 * and an execution counter per node shows which. Shapes: wide, deep (a chain), and
 * bushy. */

#include "stress.h"

#define MAX_NODES 4096
#define MAX_KIDS 64

struct shape {
    const char *name;
    int kids, depth;
};

struct node {
    int depth;
    uint32_t id;
};

static const struct shape *shape;
static struct node nodes[MAX_NODES];
static _Atomic unsigned char runs[MAX_NODES];
static _Atomic uint32_t n_nodes;

static struct node *new_node(int depth)
{
    uint32_t id = atomic_fetch_add(&n_nodes, 1);

    CHECK(id < MAX_NODES, "tree too large");
    nodes[id] = (struct node){.depth = depth, .id = id};
    runs[id] = 0;
    return &nodes[id];
}

static void *grow(void *arg)
{
    struct node *me = arg;
    pthread_t t[MAX_KIDS];
    uint64_t rng = stress_seed_for(me->id + stress_progress);
    intptr_t sum = 1;

    CHECK(atomic_fetch_add(&runs[me->id], 1) == 0, "node %u ran twice", me->id);
    stress_jitter(&rng);
    if (me->depth == shape->depth)
        return (void *)sum;
    for (int i = 0; i < shape->kids; i++)
        stress_create_small(&t[i], grow, new_node(me->depth + 1));
    for (int left = shape->kids; left > 0; left--) {
        uint32_t pick = stress_rand(&rng) % (uint32_t)left;
        void *part;

        OK0(pthread_join(t[pick], &part));
        sum += (intptr_t)part;
        t[pick] = t[left - 1];
    }
    return (void *)sum;
}

static void run(const struct shape *s)
{
    intptr_t want = 0, level = 1;

    stress_phase(s->name, 0.33);
    shape = s;
    for (int d = 0; d <= s->depth; d++, level *= s->kids)
        want += level;
    while (stress_running()) {
        pthread_t root;

        n_nodes = 0;
        stress_create(&root, grow, new_node(0));
        stress_join(root, (void *)want);
        for (uint32_t i = 0; i < n_nodes; i++)
            CHECK(runs[i] == 1, "node %u ran %d times", i, runs[i]);
        stress_progress++;
    }
}

int main(int argc, char **argv)
{
    static const struct shape shapes[] = {
        {"wide", 60, 1},
        {"chain", 1, 100},
        {"bushy", 3, 6},
    };

    stress_begin("fork_join_tree", argc, argv);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        run(&shapes[i]);
    return stress_end("%lu trees", stress_progress);
}
