/* lib_early.c - a library that uses threads in its constructor and destructor, that is
 * while the dynamic linker holds its locks. For early.c. */
#include <pthread.h>

int early_result;

static void *answer(void *arg)
{
    *(int *)arg += 42;
    return arg;
}

static void run_thread(void)
{
    pthread_t t;

    if (pthread_create(&t, NULL, answer, &early_result) == 0)
        pthread_join(t, NULL);
}

__attribute__((constructor)) static void on_load(void)
{
    early_result = 0;
    run_thread();
}

__attribute__((destructor)) static void on_unload(void)
{
    run_thread();
}
