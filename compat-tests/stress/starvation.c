/* starvation.c - whoever waits gets it eventually, however hot the object is.
 *
 * Hogs take and release an object in a loop, without a pause between release and the next
 * take; a modest thread wants it a few times. Natively that is a matter of luck and takes
 * up to some seconds; never getting it is a hang. The time is not judged.
 *
 *   mutex      of each kind, and with the lock held across a yield
 *   sem        hogs post and wait on one binary semaphore
 *   cond       hogs signal each other on the condition that a modest waiter waits on
 *   inversion  a slow owner does little bits of work, yielding in between, while others
 *              spin on trylock; it must get to its unlock
 *   yielders   threads that do nothing but sched_yield let a sleeper and a worker run */

#include "stress.h"

#define HOGS 6
#define TIMES 10

static pthread_mutex_t mutex;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static long counter;    /* under the object */
static long generation; /* under mutex */
static _Atomic bool enough, held;
static _Atomic long tries;

static void *mutex_hog(void *arg)
{
    for (long n = 0; !enough; n++) {
        OK0(pthread_mutex_lock(&mutex));
        counter++;
        if (n % 64 == 0)
            sched_yield();
        OK0(pthread_mutex_unlock(&mutex));
    }
    return arg;
}

static void *sem_hog(void *arg)
{
    while (!enough) {
        stress_sem_wait(&sem);
        counter++;
        OKSYS(sem_post(&sem));
    }
    return arg;
}

static void *cond_hog(void *arg)
{
    while (!enough) {
        OK0(pthread_mutex_lock(&mutex));
        generation++;
        OK0(pthread_cond_signal(&cond));
        OK0(pthread_mutex_unlock(&mutex));
    }
    return arg;
}

static void *try_hog(void *arg)
{
    while (!enough) {
        int rc = pthread_mutex_trylock(&mutex);

        CHECK(rc == 0 || rc == EBUSY, "trylock: %d", rc);
        CHECK(rc || !held, "trylock got a held mutex");
        if (rc == 0)
            OK0(pthread_mutex_unlock(&mutex));
        else
            tries++;
    }
    return arg;
}

static void *yield_hog(void *arg)
{
    while (!enough)
        sched_yield();
    return arg;
}

static void *inner_worker(void *arg)
{
    for (int i = 0; i < 1000; i++)
        sched_yield();
    return arg;
}

static void modest_mutex(void)
{
    OK0(pthread_mutex_lock(&mutex));
    counter++;
    OK0(pthread_mutex_unlock(&mutex));
}

static void modest_sem(void)
{
    stress_sem_wait(&sem);
    counter++;
    OKSYS(sem_post(&sem));
}

static void modest_cond(void)
{
    long seen;

    OK0(pthread_mutex_lock(&mutex));
    seen = generation;
    while (generation == seen)
        OK0(pthread_cond_wait(&cond, &mutex));
    OK0(pthread_mutex_unlock(&mutex));
}

static void slow_owner(void)
{
    OK0(pthread_mutex_lock(&mutex));
    held = true;
    for (int i = 0; i < 20; i++)
        sched_yield();
    held = false;
    OK0(pthread_mutex_unlock(&mutex));
}

static void sleep_and_work(void)
{
    pthread_t t;

    stress_sleep_ns(100000);
    stress_create(&t, inner_worker, &t);
    stress_join(t, &t);
}

static void run(const char *name, void *(*hog)(void *), void (*modest)(void))
{
    pthread_t t[HOGS];

    stress_where = name;
    enough = false;
    for (long i = 0; i < HOGS; i++)
        stress_create(&t[i], hog, (void *)i);
    for (int i = 0; i < TIMES; i++) {
        modest();
        stress_progress++;
    }
    enough = true;
    for (long i = 0; i < HOGS; i++)
        stress_join(t[i], (void *)i);
}

static void run_mutex_kind(const char *name, int kind)
{
    pthread_mutexattr_t attr;

    OK0(pthread_mutexattr_init(&attr));
    OK0(pthread_mutexattr_settype(&attr, kind));
    OK0(pthread_mutex_init(&mutex, &attr));
    OK0(pthread_mutexattr_destroy(&attr));
    run(name, mutex_hog, modest_mutex);
    OK0(pthread_mutex_destroy(&mutex));
}

int main(int argc, char **argv)
{
    stress_begin("starvation", argc, argv);
    do {
        run_mutex_kind("normal mutex", PTHREAD_MUTEX_NORMAL);
        run_mutex_kind("recursive mutex", PTHREAD_MUTEX_RECURSIVE);
        run_mutex_kind("errorcheck mutex", PTHREAD_MUTEX_ERRORCHECK);
        run_mutex_kind("adaptive mutex", PTHREAD_MUTEX_ADAPTIVE_NP);
        OK0(pthread_mutex_init(&mutex, NULL));
        OKSYS(sem_init(&sem, 0, 1));
        run("sem", sem_hog, modest_sem);
        run("cond", cond_hog, modest_cond);
        run("inversion", try_hog, slow_owner);
        run("yielders", yield_hog, sleep_and_work);
        OK0(pthread_mutex_destroy(&mutex));
        OKSYS(sem_destroy(&sem));
    } while (stress_running());
    return stress_end("%lu turns, %ld failed trylocks", stress_progress, tries);
}
