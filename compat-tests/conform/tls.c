/* tls.c - __thread variables: images, alignment, recycling, libraries opened late. */
#include "conform.h"

#include <dlfcn.h>

static __thread int with_image = 7;
static __thread int zeroed;
static __thread char big[5000] = "start";
static __thread char odd __attribute__((aligned(1))) = 'x';
static __thread long line __attribute__((aligned(64))) = 64;
static __thread long wide __attribute__((aligned(256))) = 256;
__thread int global_tls = 99;

static void check_initial_image(void)
{
    int dirt = 0;

    /* C11 6.7.9: initialised in every thread; static initialisation applies. */
    CHECK_EQ(with_image, 7);
    CHECK_EQ(zeroed, 0);
    CHECK(memcmp(big, "start", 6) == 0);
    for (size_t i = 6; i < sizeof(big); i++)
        dirt += big[i] != 0;
    CHECK_EQ(dirt, 0);
    CHECK_EQ(odd, 'x');
    CHECK_EQ(line, 64);
    CHECK_EQ(wide, 256);
    CHECK_EQ(global_tls, 99);
    CHECK_EQ((uintptr_t)&line % 64, 0); /* C11 6.7.5: alignment */
    CHECK_EQ((uintptr_t)&wide % 256, 0);
}

static void dirty_everything(int value)
{
    with_image = zeroed = global_tls = value;
    memset(big, value, sizeof(big));
    odd = (char)value;
    line = wide = value;
}

static void check_dirty(int value)
{
    int wrong = 0;

    CHECK_EQ(with_image, value);
    CHECK_EQ(zeroed, value);
    CHECK_EQ(global_tls, value);
    for (size_t i = 0; i < sizeof(big); i++)
        wrong += big[i] != (char)value;
    CHECK_EQ(wrong, 0);
    CHECK_EQ(line, value);
    CHECK_EQ(wide, value);
}

static void *image_then_dirt(void *arg)
{
    int value = (int)(intptr_t)arg;

    check_initial_image();
    dirty_everything(value);
    for (int i = 0; i < 5; i++) {
        sched_yield();
        check_dirty(value);
    }
    sleep_ms(2); /* comes back on another kernel thread, perhaps */
    check_dirty(value);
    return NULL;
}

TEST(each_thread_has_its_own)
{
    pthread_t t[60];

    check_initial_image();
    dirty_everything(1);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(image_then_dirt, (void *)(i + 2));
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    check_dirty(1);
}

TEST(successive_threads_start_fresh)
{
    /* Stacks and their storage are recycled; nothing of the last owner may be seen. */
    for (int i = 0; i < 300; i++)
        join(spawn(image_then_dirt, (void *)(intptr_t)(i % 100 + 1)));
}

struct lend {
    pthread_mutex_t m;
    pthread_cond_t c;
    int *address;
    int done;
};

static void *lender(void *arg)
{
    struct lend *l = arg;

    pthread_mutex_lock(&l->m);
    l->address = &with_image;
    pthread_cond_broadcast(&l->c);
    while (!l->done)
        pthread_cond_wait(&l->c, &l->m);
    pthread_mutex_unlock(&l->m);
    CHECK_EQ(with_image, 555); /* C11 6.2.4: the object may be reached by other threads */
    CHECK(l->address == &with_image);
    return NULL;
}

TEST(address_is_stable_and_shareable)
{
    struct lend l = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0};
    pthread_t t = spawn(lender, &l);

    pthread_mutex_lock(&l.m);
    while (!l.address)
        pthread_cond_wait(&l.c, &l.m);
    CHECK(l.address != &with_image);
    CHECK_EQ(*l.address, 7);
    *l.address = 555;
    l.done = 1;
    pthread_cond_broadcast(&l.c);
    pthread_mutex_unlock(&l.m);
    join(t);
}

/* ---- libraries --------------------------------------------------------------------- */

static void *open_library(const char *name)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
    char *slash;
    void *handle;

    if (n <= 0)
        abort();
    path[n] = '\0';
    slash = strrchr(path, '/');
    snprintf(slash + 1, 64, "%s", name);
    handle = dlopen(path, RTLD_NOW);
    if (!handle)
        dprintf(2, "%s\n", dlerror());
    CHECK(handle != NULL);
    return handle;
}

/* A pointer to function, without the cast that ISO C lacks. */
static void find(void *handle, const char *name, void *function_pointer)
{
    void *p = handle ? dlsym(handle, name) : NULL;

    CHECK(p != NULL);
    memcpy(function_pointer, &p, sizeof(p));
}

struct library_user {
    pthread_barrier_t b;
    int *(*value)(void);
    int initial;
    int *seen[100];
    int next;
};

static void *use_library(void *arg)
{
    struct library_user *u = arg;
    int me = add(&u->next, 1);

    pthread_barrier_wait(&u->b); /* all live; now the library is opened */
    pthread_barrier_wait(&u->b);
    if (!u->value)
        return NULL;
    CHECK_EQ(*u->value(), u->initial); /* ELF TLS: also threads older than the library */
    *u->value() = me;
    u->seen[me - 1] = u->value();
    sched_yield();
    CHECK_EQ(*u->value(), me);
    pthread_barrier_wait(&u->b);
    CHECK_EQ(*u->value(), me);
    CHECK(u->seen[me - 1] == u->value());
    return NULL;
}

static void *late_user(void *arg)
{
    struct library_user *u = arg;

    CHECK_EQ(*u->value(), u->initial); /* threads younger than the library */
    *u->value() = -1;
    return NULL;
}

static void open_while_threads_live(const char *file, const char *symbol, int initial)
{
    static struct library_user u;
    pthread_t t[100];
    void *handle;

    memset(&u, 0, sizeof(u));
    u.initial = initial;
    CHECK_EQ(pthread_barrier_init(&u.b, NULL, COUNT_OF(t) + 1), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(use_library, &u);
    pthread_barrier_wait(&u.b);
    handle = open_library(file);
    find(handle, symbol, &u.value);
    pthread_barrier_wait(&u.b);
    if (!u.value)
        return;
    CHECK_EQ(*u.value(), initial);
    pthread_barrier_wait(&u.b);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        for (size_t k = 0; k < i; k++)
            CHECK(u.seen[i] != u.seen[k]);
    }
    for (int i = 0; i < 100; i++)
        join(spawn(late_user, &u));
    CHECK_EQ(*u.value(), initial);
    *u.value() = initial;
    CHECK_EQ(pthread_barrier_destroy(&u.b), 0);
    CHECK_EQ(dlclose(handle), 0);
}

TEST(library_with_dynamic_tls)
{
    open_while_threads_live("lib_tls_gd.so", "gd_value_address", 1234);
}

TEST(library_opened_again)
{
    /* After dlclose the module number is free: stale storage must not show through. */
    open_while_threads_live("lib_tls_gd.so", "gd_value_address", 1234);
}

static struct {
    char *(*buffer)(void);
    double *(*aligned)(void);
} gd;

static void *use_buffer(void *arg)
{
    char mark = (char)(intptr_t)arg;
    char *p = gd.buffer();
    int wrong = 0;

    CHECK_EQ((uintptr_t)gd.aligned() % 64, 0);
    CHECK(*gd.aligned() == 2.5);
    for (int i = 0; i < 3000; i++)
        wrong += p[i] != 0;
    memset(p, mark, 3000);
    *gd.aligned() = mark;
    sched_yield();
    CHECK(gd.buffer() == p);
    for (int i = 0; i < 3000; i++)
        wrong += p[i] != mark;
    CHECK_EQ(wrong, 0);
    CHECK(*gd.aligned() == mark);
    return NULL;
}

TEST(dynamic_tls_starts_fresh)
{
    void *handle = open_library("lib_tls_gd.so");
    pthread_t t[30];

    find(handle, "gd_buffer_address", &gd.buffer);
    find(handle, "gd_aligned_address", &gd.aligned);
    if (!gd.buffer || !gd.aligned)
        return;
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(use_buffer, (void *)(i + 1));
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
    }
    CHECK_EQ(dlclose(handle), 0);
}

TEST(library_with_initial_exec_tls)
{
    open_while_threads_live("lib_tls_ie.so", "ie_value_address", 4321);
}

static void *open_inside(void *arg)
{
    const char *ie = arg;
    int *(*value)(void) = NULL;
    void *handle = open_library(ie ? "lib_tls_ie.so" : "lib_tls_gd.so");

    find(handle, ie ? "ie_value_address" : "gd_value_address", &value);
    if (value)
        CHECK_EQ(*value(), ie ? 4321 : 1234);
    if (handle)
        CHECK_EQ(dlclose(handle), 0);
    return NULL;
}

TEST(opened_from_threads_at_once)
{
    static char ie[] = "ie";
    pthread_t t[20];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(open_inside, i % 2 ? ie : NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}
