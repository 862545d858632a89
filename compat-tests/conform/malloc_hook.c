/* malloc_hook.c - a program with an allocator of its own that uses pthread objects, so
 * they are called from inside malloc: before the first constructor, inside thread
 * creation, in dying threads. */
#include "conform.h"

#include <dlfcn.h>

/* What the C library's allocator is called beneath; exported for exactly this use. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *p);

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_made, bad;
static long calls;

static void make_key(void)
{
    key_made = pthread_key_create(&key, NULL) == 0;
}

static void enter(void)
{
    if (pthread_once(&once, make_key) != 0 || pthread_mutex_lock(&m) != 0)
        set(&bad, 1);
    calls++;
    if (key_made && pthread_getspecific(key) == &bad)
        set(&bad, 2); /* somebody allocates within this very function */
    if (key_made)
        pthread_setspecific(key, &bad);
    if (key_made)
        pthread_setspecific(key, NULL);
    if (pthread_mutex_unlock(&m) != 0)
        set(&bad, 3);
}

void *malloc(size_t size)
{
    enter();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    enter();
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    enter();
    return __libc_realloc(old, size);
}

void free(void *p)
{
    enter();
    __libc_free(p);
}

static void *allocate(void *arg)
{
    for (int i = 0; i < 200; i++) {
        void *volatile p = malloc(10 + (size_t)i * 7);

        CHECK(p != NULL);
        p = realloc(p, 5000);
        CHECK(p != NULL);
        free(p);
        if (i % 20 == 0)
            sched_yield();
    }
    return arg;
}

TEST(locks_inside_malloc)
{
    pthread_t t[10];

    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(allocate, NULL);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
    }
    CHECK(calls >= 20 * 10 * 200 * 3);
    CHECK_EQ(bad, 0);
}

static pthread_key_t with_memory;

static void free_value(void *value)
{
    free(value);
}

static void *leave_memory(void *arg)
{
    CHECK_EQ(pthread_setspecific(with_memory, malloc(100)), 0);
    return arg;
}

TEST(memory_freed_by_dying_threads)
{
    CHECK_EQ(pthread_key_create(&with_memory, free_value), 0);
    for (int i = 0; i < 100; i++)
        join(spawn(leave_memory, NULL));
    CHECK_EQ(bad, 0);
    CHECK_EQ(pthread_key_delete(with_memory), 0);
}

static void *open_libm(void *arg)
{
    void *handle = dlopen("libm.so.6", RTLD_NOW);

    CHECK(handle != NULL);
    if (handle)
        CHECK_EQ(dlclose(handle), 0);
    return arg;
}

TEST(dlopen_with_it)
{
    for (int i = 0; i < 10; i++)
        join(spawn(open_libm, NULL));
    CHECK_EQ(bad, 0);
}
