/* prologue.c - threads that are made to give way at the beginning of a function, for debuggers:
 * compiled with -fsplit-stack, to be run with asyncpreemptoff=1.
 * Prints "ready" when every thread has been started, and ends when stdin does. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOPS = 4 };

static volatile unsigned long calls;

static __attribute__((noinline)) void begins(void)
{
    calls++;
}

static __attribute__((noinline)) void *calls_it(void *arg)
{
    for (;;)
        begins();
    return arg;
}

int main(void)
{
    pthread_t t;
    for (int i = 0; i < LOOPS; i++) {
        if (pthread_create(&t, NULL, calls_it, NULL) != 0)
            return 1;
        pthread_setname_np(t, "loop");
    }
    puts("ready");
    fflush(stdout);
    getchar();
    exit(0);
}
