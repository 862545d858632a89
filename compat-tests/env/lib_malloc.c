/* lib_malloc.c - a small malloc interposer that itself uses locks, pthread_once and
 * thread-local data in every call: so libgshim's entry points are called from within
 * malloc, before any constructor, and from within malloc that libgshim itself calls.
 */
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void __libc_free(void *p);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static long calls, ready; /* under lock */
static __thread long own_calls __attribute__((tls_model("initial-exec")));

static void first(void)
{
    ready = 1;
}

static void count(void)
{
    pthread_once(&once, first);
    pthread_mutex_lock(&lock);
    calls++;
    pthread_mutex_unlock(&lock);
    own_calls++;
    if (ready != 1 || pthread_self() == 0)
        abort();
}

void *malloc(size_t n)
{
    count();
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    count();
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    count();
    return __libc_realloc(p, n);
}

void free(void *p)
{
    count();
    __libc_free(p);
}
