/* memory_of_ended.c - threads that have ended leave no memory behind: natively their stacks are
 * unmapped when they are joined; in any implementation soon after.  Those that come later
 * begin like any others, also with libraries that were opened in between. */
#include "conform.h"

#include <ctype.h>
#include <dlfcn.h>

enum {
    THREADS = 4000,
    SECONDS = 15,
    LEFT_KB = 24 * 1024, /* of some 64 MB of pages, page tables and what malloc caches */
    DEEP = 4 << 20,
    DEEP_THREADS = 20,
};

static long status_kb(const char *name)
{
    char line[256], text[32];
    long kb = 0, n;
    FILE *f = fopen("/proc/self/status", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%31[^:]: %ld", text, &n) == 2 && strcmp(text, name) == 0)
            kb = n;
    fclose(f);
    return kb;
}

static long memory_kb(void)
{
    return status_kb("VmRSS") + status_kb("VmPTE");
}

static void goes_down_to(long kb)
{
    for (int i = 0; i < SECONDS * 10 && memory_kb() > kb; i++)
        usleep(100000);
    CHECK(memory_kb() <= kb);
}

static __thread int initialised = 7;
static __thread char zeroed[500];
static pthread_barrier_t all_there;
static pthread_key_t key;

/* Finds everything as a new thread should, and leaves everything changed. */
static void *use_everything(void *arg)
{
    CHECK_EQ(errno, 0);
    CHECK_EQ(initialised, 7);
    CHECK_EQ(zeroed[499], 0);
    CHECK(pthread_getspecific(key) == NULL);
    CHECK(isalpha('x') && !isalpha('1'));
    errno = EDOM;
    initialised = 8;
    zeroed[499] = 1;
    CHECK_EQ(pthread_setspecific(key, &initialised), 0);
    void *volatile block[20];
    for (int i = 0; i < 20; i++)
        block[i] = memset(malloc(100), 1, 100);
    if (arg != NULL)
        pthread_barrier_wait(&all_there);
    for (int i = 0; i < 20; i++)
        free(block[i]);
    return NULL;
}

static void many_at_once(void)
{
    static pthread_t t[THREADS];
    CHECK_EQ(pthread_barrier_init(&all_there, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(use_everything, &all_there);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
    CHECK_EQ(pthread_barrier_destroy(&all_there), 0);
}

TEST(it_comes_back_and_is_used_again)
{
    CHECK_EQ(pthread_key_create(&key, NULL), 0);
    long before = memory_kb();
    many_at_once();
    goes_down_to(before + LEFT_KB);
    many_at_once();
    goes_down_to(before + LEFT_KB);
}

static void *deep(void *arg)
{
    volatile char big[DEEP];
    for (size_t i = 0; i < sizeof big; i += 1024)
        big[i] = 1;
    return arg;
}

TEST(that_of_deep_stacks)
{
    static pthread_t t[DEEP_THREADS];
    long before = memory_kb();
    for (int i = 0; i < DEEP_THREADS; i++)
        t[i] = spawn(deep, NULL);
    for (int i = 0; i < DEEP_THREADS; i++)
        join(t[i]);
    goes_down_to(before + LEFT_KB);
}

/* --- libraries that come and go meanwhile ---------------------------------------------- */

static int *(*value)(void);

static void *see_value(void *arg)
{
    CHECK_EQ(*value(), 4321);
    *value() = 1;
    return use_everything(arg);
}

static void *open_and_close(void *stop)
{
    while (!__atomic_load_n((bool *)stop, __ATOMIC_ACQUIRE)) {
        void *handle = dlopen("libm.so.6", RTLD_NOW);
        CHECK(handle != NULL);
        CHECK_EQ(dlclose(handle), 0);
        usleep(100);
    }
    return NULL;
}

static char *beside(const char *name)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    CHECK(n > 0);
    path[n < 0 ? 0 : n] = '\0';
    strcpy(strrchr(path, '/') + 1, name);
    return path;
}

TEST(library_opened_after_they_ended)
{
    bool stop = false;
    long before = memory_kb();
    pthread_t opener = spawn(open_and_close, &stop), t[50];
    many_at_once();
    goes_down_to(before + LEFT_KB);
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    join(opener);
    void *handle = dlopen(beside("lib_tls_ie.so"), RTLD_NOW);
    CHECK(handle != NULL);
    if (handle == NULL)
        return;
    *(void **)&value = dlsym(handle, "ie_value_address");
    for (size_t round = 0; round < 20; round++) {
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(see_value, NULL);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
    }
    many_at_once();
    CHECK_EQ(dlclose(handle), 0);
}
