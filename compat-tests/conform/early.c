/* early.c - threads before main and after it: preinit functions, constructors,
 * destructors, atexit handlers, constructors of libraries. */
#include "conform.h"

#include <dlfcn.h>

static int constructed, preinit_rc = -1, constructor_bad = -1;
static pthread_key_t early_key;
static pthread_mutex_t early_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t early_once = PTHREAD_ONCE_INIT;
static pthread_t preinit_self;

static void once_function(void)
{
    constructed++;
}

/* Runs before any library's constructor, also before that of a preloaded one. */
static void before_everything(void)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    int rc = 0;

    rc |= pthread_mutex_lock(&m);
    rc |= pthread_mutex_unlock(&m);
    rc |= pthread_once(&early_once, once_function);
    rc |= pthread_key_create(&early_key, NULL);
    rc |= pthread_setspecific(early_key, &early_key);
    preinit_self = pthread_self();
    preinit_rc = rc;
}

__attribute__((section(".preinit_array"),
               used)) static void (*preinit)(void) = before_everything;

static void *locked_add(void *arg)
{
    int bad = pthread_mutex_lock(&early_mutex);

    (*(int *)arg)++;
    bad |= pthread_mutex_unlock(&early_mutex);
    bad |= pthread_getspecific(early_key) != NULL;
    return (void *)(intptr_t)bad;
}

/* Without CHECK: the registration of tests is a constructor as well. */
static int use_threads(void)
{
    pthread_t t[4];
    int count = 0, bad = 0;

    for (size_t i = 0; i < COUNT_OF(t); i++)
        bad |= pthread_create(&t[i], NULL, locked_add, &count);
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        void *result = NULL;

        bad |= pthread_join(t[i], &result);
        bad |= (int)(intptr_t)result;
    }
    return bad || count != COUNT_OF(t);
}

__attribute__((constructor(200))) static void early_constructor(void)
{
    constructor_bad = use_threads();
}

TEST(preinit_functions)
{
    CHECK_EQ(preinit_rc, 0);
    CHECK_EQ(constructed, 1);
    CHECK(pthread_equal(preinit_self, pthread_self()));
    CHECK(pthread_getspecific(early_key) == &early_key); /* still there */
}

TEST(threads_in_constructors)
{
    CHECK_EQ(constructor_bad, 0);
}

static bool in_mode; /* the destructor below speaks only then */

__attribute__((destructor(200))) static void late_destructor(void)
{
    if (in_mode)
        dprintf(1, "%s", use_threads() ? "|destructor bad" : "|destructor");
}

static void at_exit(void)
{
    dprintf(1, "%s", use_threads() ? "|atexit bad" : "|atexit");
}

MODE(late)
{
    in_mode = true;
    atexit(at_exit);
    dprintf(1, "main");
    return 0;
}

TEST(threads_after_main)
{
    char out[128];

    CHECK_EXITS(run_mode("late", out, sizeof(out)), 0);
    CHECK(strcmp(out, "main|atexit|destructor") == 0);
}

static void *busy(void *arg)
{
    for (;;) {
        pthread_mutex_lock(&early_mutex);
        sched_yield();
        pthread_mutex_unlock(&early_mutex);
        free(malloc(1000));
    }
    return arg;
}

MODE(busy_at_exit)
{
    in_mode = true;
    for (int i = 0; i < 4; i++)
        spawn(busy, NULL);
    dprintf(1, "main");
    return 0;
}

TEST(exit_with_busy_threads)
{
    char out[128];

    for (int i = 0; i < 10; i++) {
        CHECK_EXITS(run_mode("busy_at_exit", out, sizeof(out)), 0);
        CHECK(strcmp(out, "main|destructor") == 0);
    }
}

static void *open_library(void *arg)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
    char *slash;
    void *handle;
    int *result;

    if (n <= 0)
        abort();
    path[n] = '\0';
    slash = strrchr(path, '/');
    strcpy(slash + 1, "lib_early.so");
    handle = dlopen(path, RTLD_NOW);
    CHECK(handle != NULL);
    if (!handle)
        return arg;
    result = dlsym(handle, "early_result");
    CHECK(result && *result == 42); /* its constructor made a thread and joined it */
    CHECK_EQ(dlclose(handle), 0);   /* and so does its destructor */
    return arg;
}

TEST(threads_in_library_constructors)
{
    open_library(NULL);
    for (int i = 0; i < 5; i++)
        join(spawn(open_library, NULL));
}
