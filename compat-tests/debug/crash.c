/* crash.c HOW - one of many threads dies, with a value of its own in a register and a function
 * of its own on its stack: the core must show that thread. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { THREADS = 8, MINE = 5, BUSY = 6, MAGIC = 0x5eed };

static const char *how;
static volatile int zero;
static int ready; /* atomic */

static void in_crash(long magic) __attribute__((noinline, noipa));

static void in_crash(long magic)
{
    register long kept __asm__("r12") = magic;
    __asm__ volatile("" : "+r"(kept));
    if (strcmp(how, "null") == 0)
        *(volatile char *)(kept - magic) = 1;
    else if (strcmp(how, "divide") == 0)
        zero = MAGIC / zero;
    else if (strcmp(how, "trap") == 0)
        __builtin_trap();
    else if (strcmp(how, "abort") == 0)
        abort();
    else if (strcmp(how, "raise") == 0)
        raise(SIGBUS);
    else if (strcmp(how, "sent") == 0) /* while it runs */
        for (__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);;)
            __asm__ volatile("" ::"r"(kept));
    else if (strcmp(how, "asleep") == 0)
        for (__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);;)
            pause();
    __asm__ volatile("" ::"r"(kept));
}

static void *body(void *arg)
{
    if ((long)arg == BUSY)
        for (;;)
            __asm__ volatile("");
    if ((long)arg == MINE) {
        usleep(10000); /* every M has run something by now */
        in_crash(MAGIC);
    }
    pause();
    return NULL;
}

int main(int argc, char **argv)
{
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    pthread_t t[THREADS];
    how = argv[argc - 1];
    if (setrlimit(RLIMIT_CORE, &all) != 0)
        return 2;
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, body, (void *)i) != 0)
            return 3;
    while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
        usleep(1000);
    usleep(5000);
    pthread_kill(t[MINE], SIGQUIT);
    for (;;)
        pause();
}
