/* gc.c - Boehm's collector with threads: it stops the world with signals of its own, each
 * thread waits in the handler (sigsuspend) until it is started again, and meanwhile its
 * stack and registers are searched for pointers. A pointer that is missed shows as memory
 * used twice.
 *
 *   gc THREADS LAPS
 *
 * Each thread keeps a tree alive only through its stack, another only through a register
 * variable, and builds garbage; now and then it waits for a condition that the others
 * broadcast, so that parked threads are stopped and searched too. */

#define GC_THREADS
#include <gc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct node {
    struct node *left, *right;
    unsigned long mark;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static unsigned long turns;
static int laps;

static struct node *tree(int depth, unsigned long mark)
{
    struct node *n = GC_MALLOC(sizeof(*n));

    n->mark = mark;
    if (depth > 0) {
        n->left = tree(depth - 1, mark * 2);
        n->right = tree(depth - 1, mark * 2 + 1);
    }
    return n;
}

static unsigned long check(const struct node *n, int depth, unsigned long mark)
{
    unsigned long bad = n->mark != mark;

    if (depth > 0)
        bad += check(n->left, depth - 1, mark * 2) +
               check(n->right, depth - 1, mark * 2 + 1);
    return bad;
}

/* wait_turn - parks until some other thread has passed here too, or is the last. */
static void wait_turn(void)
{
    struct timespec soon;
    unsigned long seen;

    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 2000000;
    if (soon.tv_nsec >= 1000000000) {
        soon.tv_nsec -= 1000000000;
        soon.tv_sec++;
    }
    pthread_mutex_lock(&lock);
    seen = ++turns;
    pthread_cond_broadcast(&turn);
    while (turns == seen && pthread_cond_timedwait(&turn, &lock, &soon) == 0)
        ;
    pthread_mutex_unlock(&lock);
}

static void *work(void *arg)
{
    unsigned long mark = (unsigned long)arg + 1, bad = 0;
    struct node *volatile on_stack = tree(10, mark);

    for (int i = 0; i < laps; i++) {
        register struct node *in_register = tree(8, mark + (unsigned long)i);

        for (int k = 0; k < 20; k++)
            GC_MALLOC_ATOMIC(2000);
        if (i % 8 == 0)
            wait_turn();
        bad += check(in_register, 8, mark + (unsigned long)i);
    }
    bad += check(on_stack, 10, mark);
    return (void *)bad;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 8;
    pthread_t *threads;
    unsigned long bad = 0;

    laps = argc > 2 ? atoi(argv[2]) : 100;
    GC_INIT();
    threads = GC_MALLOC_UNCOLLECTABLE(sizeof(*threads) * (size_t)n);
    for (long i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            return 3;
    for (int i = 0; i < n; i++) {
        void *one;

        pthread_join(threads[i], &one);
        bad += (unsigned long)one;
    }
    printf("%d threads, %lu damaged nodes, %s\n", n, bad,
           GC_get_gc_no() > 3 ? "collected often" : "hardly collected");
    return bad != 0;
}
