/* detach_storm.c - detached threads, and detaching at every possible moment.
 *
 * Threads become detached by attribute, by themselves, or by their creator, who calls
 * pthread_detach at a random moment: before the thread starts, while it runs, after it
 * has ended. Nobody may join them, so a counting semaphore limits how many live, and says
 * when all are gone. The last thing a thread does is to post it: its stack and descriptor
 * are reclaimed behind the back of everybody, and must not be handed out before it is off
 * them. Each thread keeps a pattern on its stack across blocking calls: two threads on
 * one stack destroy each other's. */

#include "stress.h"

#define CREATORS 4
#define LIVE 64

enum how { BY_ATTR, BY_SELF, BY_CREATOR, N_HOWS };

struct job {
    enum how how;
    uint64_t in;
};

static sem_t room;
static _Atomic long made, ended;

static void *detached(void *arg)
{
    struct job j = *(struct job *)arg;
    uint64_t rng = stress_seed_for(j.in);
    volatile uint64_t pattern[128];

    free(arg);
    if (j.how == BY_SELF)
        OK0(pthread_detach(pthread_self()));
    for (size_t i = 0; i < 128; i++)
        pattern[i] = j.in ^ i;
    stress_jitter(&rng);
    stress_jitter(&rng);
    for (size_t i = 0; i < 128; i++)
        CHECK(pattern[i] == (j.in ^ i), "stack of %#lx changed at %zu: %#lx", j.in, i,
              pattern[i]);
    ended++;
    OKSYS(sem_post(&room));
    return NULL;
}

static void *creator(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);
    pthread_attr_t attr;
    uint64_t n = 0;

    OK0(pthread_attr_init(&attr));
    OK0(pthread_attr_setstacksize(&attr, 64 * 1024));
    while (stress_running()) {
        struct job *j = malloc(sizeof(*j));
        enum how how = (enum how)(stress_rand(&rng) % N_HOWS);
        pthread_t t;

        *j = (struct job){.how = how, .in = ((uint64_t)(uintptr_t)arg << 40) + ++n};
        OK0(pthread_attr_setdetachstate(&attr, how == BY_ATTR ? PTHREAD_CREATE_DETACHED
                                                              : PTHREAD_CREATE_JOINABLE));
        stress_sem_wait(&room);
        made++;
        OK0(pthread_create(&t, &attr, detached, j));
        if (how == BY_CREATOR) {
            stress_jitter(&rng);
            OK0(pthread_detach(t));
        }
        stress_progress++;
    }
    OK0(pthread_attr_destroy(&attr));
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t c[CREATORS];

    stress_begin("detach_storm", argc, argv);
    OKSYS(sem_init(&room, 0, LIVE));
    for (long i = 0; i < CREATORS; i++)
        stress_create(&c[i], creator, (void *)i);
    for (long i = 0; i < CREATORS; i++)
        stress_join(c[i], (void *)i);
    for (int i = 0; i < LIVE; i++)
        stress_sem_wait(&room);
    CHECK(made == ended, "%ld made, %ld ended", made, ended);
    return stress_end("%ld detached threads", made);
}
