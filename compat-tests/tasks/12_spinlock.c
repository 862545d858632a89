/* 12 - a spin lock whose holder is preempted makes the others burn their whole turn; one that
 * knows about preemption does not, nor does a mutex.
 *
 * Eight threads on one P hold the lock most of the time.  Who finds the lock taken cannot get it
 * before the holder runs again; the plain lock spins until it is preempted itself.
 */
#include "task.h"

enum { TRIES = 5, THREADS = 8, RUN_MS = 1000, INSIDE = 2000, OUTSIDE = 200 };

static volatile uint32_t word;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile bool stop;
static volatile long inside; /* under the lock */
static long rounds;          /* under the lock */
static long broken;

static void plain_lock(void)
{
    while (__atomic_exchange_n(&word, 1, __ATOMIC_ACQUIRE) != 0)
        __builtin_ia32_pause();
}

static void aware_lock(void)
{
    for (int i = 0; __atomic_exchange_n(&word, 1, __ATOMIC_ACQUIRE) != 0; i++) {
        __builtin_ia32_pause();
        if (i % 100 == 99)
            gshim_yield(); /* its holder may be waiting for this P */
    }
}

static void spin_unlock(void)
{
    __atomic_store_n(&word, 0, __ATOMIC_RELEASE);
}

static void mutex_lock(void)
{
    pthread_mutex_lock(&mutex);
}

static void mutex_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

static void (*lock)(void), (*unlock)(void);

static void *worker(void *arg)
{
    while (!stop) {
        lock();
        broken += inside != 0;
        inside = 1;
        for (int i = 0; i < INSIDE; i++)
            __asm__ volatile("");
        inside = 0;
        rounds++;
        unlock();
        for (int i = 0; i < OUTSIDE; i++)
            __asm__ volatile("");
    }
    return arg;
}

static void child(const char *mode)
{
    pthread_t t[THREADS];
    bool m = strcmp(mode, "mutex") == 0;
    lock = m ? mutex_lock : strcmp(mode, "plain") == 0 ? plain_lock : aware_lock;
    unlock = m ? mutex_unlock : spin_unlock;
    for (int i = 0; i < THREADS; i++)
        t[i] = start(worker, NULL);
    usleep(RUN_MS * 1000);
    stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    say("rounds", (double)rounds);
    say("broken", (double)broken);
    say("preemptions", preemptions());
}

static double measure(const char *mode)
{
    CHECK(run(mode, 1, NULL) == 0);
    OBSERVE("%-5s lock: %8g rounds, %g preemptions", mode, get("rounds"),
            get("preemptions"));
    CHECK(get("broken") == 0);
    CHECK(get("rounds") > 0);
    return get("rounds");
}

static void task(void)
{
    bool better = false;
    EXPECT(
        "plain spinning loses most of the P's time to waiting; a lock that yields, and a mutex, "
        "do at least half as much again");
    for (int i = 0; i < TRIES && !better; i++) {
        double plain = measure("plain"), aware = measure("aware"), mx = measure("mutex");
        better = aware >= 1.5 * plain && mx >= 1.5 * plain;
    }
    CHECK(better);
}
