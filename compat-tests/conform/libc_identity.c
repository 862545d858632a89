/* libc_identity.c - what the C library keeps for each thread. Streams: stdio.c. */
#include "conform.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <langinfo.h>
#include <locale.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <sys/socket.h>
#include <wchar.h>

#define THREADS 16

/* Runs FN in THREADS threads; each gets its number. */
static void in_threads(void *(*fn)(void *))
{
    pthread_t t[THREADS];

    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(fn, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
}

static void *nothing(void *arg)
{
    return arg;
}

/* Everything that may move a thread to another kernel thread. */
static void wander(int round)
{
    static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

    switch (round % 4) {
    case 0:
        sched_yield();
        break;
    case 1:
        sleep_ms(1);
        break;
    case 2:
        pthread_mutex_lock(&m);
        sched_yield();
        pthread_mutex_unlock(&m);
        break;
    default:
        join(spawn(nothing, NULL));
        break;
    }
}

static void *errno_stays(void *arg)
{
    int mine = 100 + (int)(intptr_t)arg;
    int *where = &errno;

    CHECK_EQ(errno, 0); /* C11 7.5: zero in the initial thread; glibc: in every new one */
    for (int i = 0; i < 40; i++) {
        int copy;

        errno = mine;
        sched_yield();
        copy = errno;
        CHECK_EQ(copy, mine); /* POSIX: errno of one thread is not touched by others */
        CHECK(where == &errno);
        errno = mine;
        pthread_mutex_trylock((pthread_mutex_t[1]){PTHREAD_MUTEX_INITIALIZER});
        copy = errno;
        CHECK_EQ(copy, mine); /* glibc: pthread functions leave it alone */
        wander(i);
        CHECK_ERR(close(-1), EBADF);
    }
    return NULL;
}

TEST(errno_is_per_thread)
{
    in_threads(errno_stays);
}

static void *ctype_works(void *arg)
{
    int bad = 0;

    (void)arg;
    for (int i = 0; i < 8; i++) {
        for (int c = 0; c < 128; c++) {
            bad += !!isalpha(c) != ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
            bad += toupper(c) != (c >= 'a' && c <= 'z' ? c - 32 : c);
            bad += tolower(c) != (c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
        wander(i);
    }
    CHECK_EQ(bad, 0);
    return NULL;
}

TEST(character_tables)
{
    in_threads(ctype_works);
}

static void *format_and_parse(void *arg)
{
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < 40; i++) {
        char text[128], want[128];
        double value = me * 1000 + i + 0.25;
        int whole = 0;
        char *end;

        snprintf(text, sizeof(text), "%d|%.3f|%e|%s|%5.1f%%", me, value, 1e100, "abc",
                 2.5);
        snprintf(want, sizeof(want), "%d|%d.250|1.000000e+100|abc|  2.5%%", me,
                 me * 1000 + i);
        CHECK(strcmp(text, want) == 0);
        CHECK_EQ(sscanf(text, "%d|", &whole), 1);
        CHECK_EQ(whole, me);
        snprintf(text, sizeof(text), "%.17g", value);
        CHECK(strtod(text, &end) == value && *end == '\0');
        if (i % 10 == 0)
            wander(i / 10);
    }
    return NULL;
}

TEST(formatting)
{
    in_threads(format_and_parse);
}

static void *own_locale(void *arg)
{
    int utf8 = (int)(intptr_t)arg % 2;
    locale_t loc = newlocale(LC_ALL_MASK, utf8 ? "C.UTF-8" : "C", (locale_t)0);
    locale_t old;

    CHECK(loc != (locale_t)0);
    CHECK(uselocale((locale_t)0) == LC_GLOBAL_LOCALE); /* POSIX: a new thread has none */
    CHECK_EQ(MB_CUR_MAX, 1);
    if (!loc)
        return NULL;
    old = uselocale(loc);
    CHECK(old == LC_GLOBAL_LOCALE);
    for (int i = 0; i < 12; i++) {
        wchar_t wide = 0;
        mbstate_t state;

        CHECK(uselocale((locale_t)0) == loc);
        CHECK_EQ(MB_CUR_MAX == 1, !utf8); /* POSIX uselocale: this thread only */
        CHECK_EQ(strcmp(nl_langinfo(CODESET), "UTF-8") == 0, utf8);
        memset(&state, 0, sizeof(state));
        if (utf8) {
            CHECK_EQ(mbrtowc(&wide, "\xc3\xa4", 2, &state), 2);
            CHECK_EQ(wide, 0xe4);
        }
        CHECK(isalpha('a') && !isalpha('1'));
        wander(i);
    }
    CHECK(uselocale(LC_GLOBAL_LOCALE) == loc);
    freelocale(loc);
    return NULL;
}

TEST(locale_is_per_thread)
{
    in_threads(own_locale);
    CHECK(uselocale((locale_t)0) == LC_GLOBAL_LOCALE);
    CHECK(strcmp(setlocale(LC_ALL, NULL), "C") == 0);
    CHECK_EQ(MB_CUR_MAX, 1);
}

static void *error_texts(void *arg)
{
    int number = 5000 + (int)(intptr_t)arg;

    for (int i = 0; i < 20; i++) {
        char want[64], *text = strerror(number);

        snprintf(want, sizeof(want), "Unknown error %d", number);
        sched_yield();
        CHECK(strcmp(text, want) == 0); /* glibc 2.32: a buffer per thread */
        CHECK(strcmp(strerror(ENOENT), "No such file or directory") == 0);
        text = strsignal(200 + (int)(intptr_t)arg);
        snprintf(want, sizeof(want), "Unknown signal %d", 200 + (int)(intptr_t)arg);
        sched_yield();
        CHECK(strcmp(text, want) == 0); /* glibc: a buffer per thread */
        if (i % 5 == 0)
            wander(i / 5);
    }
    return NULL;
}

TEST(strerror_and_strsignal)
{
    in_threads(error_texts);
}

static void *dl_errors(void *arg)
{
    char name[64];
    int me = (int)(intptr_t)arg;

    snprintf(name, sizeof(name), "no-such-library-%d.so", me);
    for (int i = 0; i < 10; i++) {
        char *text;

        CHECK(dlopen(name, RTLD_NOW) == NULL);
        wander(i);
        text = dlerror(); /* glibc: the last error of this thread */
        CHECK(text && strstr(text, name));
        CHECK(dlerror() == NULL);
    }
    return NULL;
}

TEST(dlerror_is_per_thread)
{
    in_threads(dl_errors);
}

static void *resolver_state(void *arg)
{
    (void)arg;
    CHECK_EQ(res_init(), 0);
    CHECK(_res.options & RES_INIT);
    return &_res;
}

static void *herrno_stays(void *arg)
{
    int mine = 1 + (int)(intptr_t)arg % 4;

    h_errno = mine;
    wander((int)(intptr_t)arg);
    CHECK_EQ(h_errno, mine); /* glibc: per thread */
    return NULL;
}

TEST(resolver_state_is_per_thread)
{
    /* glibc: another thread's _res is another object. */
    CHECK(join(spawn(resolver_state, NULL)) != resolver_state(NULL));
    in_threads(herrno_stays);
}

/* Goes through the resolver's per-thread state, nss and a lot of malloc. */
static int lookup(const char *name, int flags, char *text, size_t size)
{
    struct addrinfo hints, *list = NULL;
    int rc;

    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    text[0] = '\0';
    rc = getaddrinfo(name, "80", &hints, &list);
    if (rc == 0) {
        struct sockaddr_in in;

        memcpy(&in, list->ai_addr, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, text, (socklen_t)size);
        CHECK_EQ(ntohs(in.sin_port), 80);
        freeaddrinfo(list);
    }
    return rc;
}

static char localhost[64];
static int localhost_rc;

static void *look_up(void *arg)
{
    char text[64];

    (void)arg;
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(lookup("127.0.0.1", AI_NUMERICHOST, text, sizeof(text)), 0);
        CHECK(strcmp(text, "127.0.0.1") == 0);
        CHECK_EQ(lookup("localhost", 0, text, sizeof(text)), localhost_rc);
        CHECK(strcmp(text, localhost) == 0);
    }
    return NULL;
}

TEST(name_lookups_in_threads)
{
    localhost_rc = lookup("localhost", 0, localhost, sizeof(localhost));
    in_threads(look_up);
}

static void *tokens(void *arg)
{
    char text[64], *save = NULL, *word;
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < 20; i++) {
        int n = 0;

        snprintf(text, sizeof(text), "%d %d %d %d", me, me + 1, me + 2, me + 3);
        for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
            CHECK_EQ(atoi(word), me + n);
            n++;
            sched_yield();
        }
        CHECK_EQ(n, 4);
    }
    return NULL;
}

TEST(tokens)
{
    in_threads(tokens);
}

static void *random_sequence(void *arg)
{
    unsigned mine = 42, reference[50];
    int bad = 0;

    (void)arg;
    for (size_t i = 0; i < COUNT_OF(reference); i++)
        reference[i] = (unsigned)rand_r(&mine);
    mine = 42;
    for (size_t i = 0; i < COUNT_OF(reference); i++) {
        bad += (unsigned)rand_r(&mine) != reference[i];
        sched_yield();
    }
    CHECK_EQ(bad, 0);
    return NULL;
}

TEST(rand_r_sequences)
{
    in_threads(random_sequence);
}

/* ---- memory ------------------------------------------------------------------------ */

struct mailbox {
    pthread_mutex_t m;
    pthread_cond_t c;
    void *slot[64];
    int n, producers;
};

static void *produce(void *arg)
{
    struct mailbox *box = arg;
    unsigned seed = (unsigned)(uintptr_t)&seed;

    for (int i = 0; i < 2000; i++) {
        size_t size = 16 + (size_t)rand_r(&seed) % (i % 100 == 0 ? 300000 : 2000);
        unsigned char *p = malloc(size);

        CHECK(p != NULL);
        if (!p)
            break;
        memcpy(p, &size, sizeof(size));
        memset(p + sizeof(size), (int)(size & 0xff), size - sizeof(size));
        pthread_mutex_lock(&box->m);
        while (box->n == (int)COUNT_OF(box->slot))
            pthread_cond_wait(&box->c, &box->m);
        box->slot[box->n++] = p;
        pthread_cond_broadcast(&box->c);
        pthread_mutex_unlock(&box->m);
    }
    pthread_mutex_lock(&box->m);
    box->producers--;
    pthread_cond_broadcast(&box->c);
    pthread_mutex_unlock(&box->m);
    return NULL;
}

static void *consume(void *arg)
{
    struct mailbox *box = arg;

    for (;;) {
        unsigned char *p;
        size_t size;

        pthread_mutex_lock(&box->m);
        while (box->n == 0 && box->producers > 0)
            pthread_cond_wait(&box->c, &box->m);
        p = box->n > 0 ? box->slot[--box->n] : NULL;
        pthread_cond_broadcast(&box->c);
        pthread_mutex_unlock(&box->m);
        if (!p)
            return NULL;
        memcpy(&size, p, sizeof(size));
        CHECK_EQ(p[sizeof(size)], size & 0xff);
        CHECK_EQ(p[size - 1], size & 0xff);
        p = realloc(p, size / 2 + 16);
        CHECK_EQ(p[15], size & 0xff);
        free(p); /* C11 7.22.3: by another thread than the one that allocated it */
    }
}

TEST(memory_across_threads)
{
    struct mailbox box = {.m = PTHREAD_MUTEX_INITIALIZER, .c = PTHREAD_COND_INITIALIZER};
    pthread_t t[8];

    box.producers = 4;
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(i % 2 ? produce : consume, &box);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(box.n, 0);
}

static void *allocate_and_leave(void *arg)
{
    (void)arg;
    return malloc(100);
}

TEST(memory_outlives_its_thread)
{
    for (int i = 0; i < 200; i++) {
        char *p = join(spawn(allocate_and_leave, NULL));

        CHECK(p != NULL);
        memset(p, i, 100);
        free(p);
    }
}

static void *trace(void *arg)
{
    void *frames[32];
    int n;

    wander((int)(intptr_t)arg);
    n = backtrace(frames,
                  COUNT_OF(frames)); /* glibc: ends at the thread's bottom frame */
    CHECK(n >= 2 && n < (int)COUNT_OF(frames));
    return NULL;
}

TEST(backtraces)
{
    in_threads(trace);
}
