/* stuck.c - no thread that keeps running in a place where it cannot be interrupted, or with a
 * lock in its hands, stops the others.
 *
 * Each case has hogs, which do one thing over and over, and as many waiters, which do a few
 * rounds of something that needs what the hogs use: the same lock of the C library, the
 * same mutex, or nothing but a turn on a processor. All must get through. Natively that is
 * the kernel's merit; the time is not judged.
 *
 *   spin       pure arithmetic
 *   malloc     malloc and free of many sizes
 *   printf     printf to one stream
 *   qsort      a comparator that takes its time
 *   phdr       dl_iterate_phdr, which holds the loader's lock, with a slow callback
 *   regexec    a pattern that backtracks
 *   memset     one call for a gigabyte
 *   mutex      a mutex held through long computations
 *   futex      futex system calls by hand, which nobody can interpose
 *   coroutine  computations on a stack that is not the thread's
 *
 *   stuck [seconds] [case] */

#include "compat-tests/stress/stress.h"

#include <link.h>
#include <linux/futex.h>
#include <regex.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { HOGS = 3, ROUNDS = 5, FEW = 1 };

static const size_t BIG = 1 << 30, PIECE = 32 << 20; /* a piece of memory, seen often */

static _Atomic bool enough;
static FILE *stream;
static void *big;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int word; /* futex of the futex case: 0 free, 1 taken */

static unsigned long compute(unsigned long n)
{
    volatile unsigned long x = 1;

    for (unsigned long i = 0; i < n; i++)
        x = x * 6364136223846793005ul + i;
    return x;
}

static void do_spin(void)
{
    compute(1000000);
}

static void do_malloc(void)
{
    for (size_t i = 1; i < 20000; i++) {
        void *p = malloc(i % 3000 + 1000 * (i % 7));

        memset(p, 1, 8);
        free(p);
    }
}

static void do_printf(void)
{
    for (int i = 0; i < 3000; i++)
        fprintf(stream, "%d %s %f\n", i, "text", i / 3.0);
    fflush(stream);
}

static int slow_compare(const void *a, const void *b)
{
    compute(2000);
    return *(const int *)a - *(const int *)b;
}

static void do_qsort(void)
{
    int v[64];

    for (int i = 0; i < 64; i++)
        v[i] = (i * 37) % 64;
    qsort(v, 64, sizeof(v[0]), slow_compare);
    CHECK(v[0] == 0 && v[63] == 63, "qsort did not sort");
}

static int slow_callback(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)info;
    (void)size;
    compute(300000);
    return data != NULL;
}

static void do_phdr(void)
{
    dl_iterate_phdr(slow_callback, NULL);
}

static void do_regexec(void)
{
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac";
    regex_t re;

    CHECK(regcomp(&re, "^(a*)*(a*)*(a|b)*\\1b$", REG_EXTENDED) == 0, "regcomp");
    CHECK(regexec(&re, text, 0, NULL, 0) == REG_NOMATCH, "it matched");
    regfree(&re);
}

static void map_big(void)
{
    int fd = memfd_create("big", MFD_CLOEXEC);
    int fixed = MAP_SHARED | MAP_FIXED;

    OKSYS(fd);
    OKSYS(ftruncate(fd, (off_t)PIECE));
    big = mmap(NULL, BIG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(big != MAP_FAILED, "mmap");
    for (size_t at = 0; at < BIG; at += PIECE)
        CHECK(mmap((char *)big + at, PIECE, PROT_READ | PROT_WRITE, fixed, fd, 0) !=
                  MAP_FAILED,
              "mmap");
    close(fd);
}

static void do_memset(void)
{
    memset(big, (int)stress_progress, BIG);
}

static void do_mutex(void)
{
    OK0(pthread_mutex_lock(&mutex));
    compute(3000000);
    OK0(pthread_mutex_unlock(&mutex));
}

/* A lock as a library would make it that knows nothing of pthreads. */
static long futex(int op, int val)
{
    long ret;
    register long r10 __asm__("r10") = 0;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(202L), "D"(&word), "S"((long)op), "d"((long)val), "r"(r10)
                     : "rcx", "r11", "memory");
    return ret;
}

static void do_futex(void)
{
    while (__atomic_exchange_n(&word, 1, __ATOMIC_ACQUIRE) != 0)
        futex(FUTEX_WAIT, 1);
    compute(1000000);
    __atomic_store_n(&word, 0, __ATOMIC_RELEASE);
    futex(FUTEX_WAKE, 1);
}

static void on_other_stack(void)
{
    compute(1000000);
}

static void do_coroutine(void)
{
    static __thread ucontext_t here, there;
    size_t bytes = 64 * 1024;
    char *stack = malloc(bytes);

    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = bytes;
    there.uc_link = &here;
    makecontext(&there, on_other_stack, 0);
    swapcontext(&here, &there);
    free(stack);
}

static void (*act)(void);
static int rounds; /* of each waiter */

static void *hog(void *arg)
{
    while (!enough)
        act();
    return arg;
}

static void *waiter(void *arg)
{
    for (int i = 0; i < rounds; i++) {
        act();
        stress_progress++;
    }
    return arg;
}

static void *sleeper(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        stress_sleep_ns(1000000);
        stress_progress++;
    }
    return arg;
}

static const struct {
    const char *name;
    void (*act)(void);
} cases[] = {
    {"spin", do_spin},           {"malloc", do_malloc}, {"printf", do_printf},
    {"qsort", do_qsort},         {"phdr", do_phdr},     {"regexec", do_regexec},
    {"memset", do_memset},       {"mutex", do_mutex},   {"futex", do_futex},
    {"coroutine", do_coroutine},
};

static void run(const char *name, void (*fn)(void))
{
    pthread_t h[HOGS], w[HOGS], s;

    stress_where = name;
    act = fn;
    rounds = fn == do_memset ? FEW : ROUNDS;
    enough = false;
    for (long i = 0; i < HOGS; i++)
        stress_create(&h[i], hog, (void *)i);
    for (long i = 0; i < HOGS; i++)
        stress_create(&w[i], waiter, (void *)i);
    stress_create(&s, sleeper, &s);
    stress_join(s, &s);
    for (long i = 0; i < HOGS; i++)
        stress_join(w[i], (void *)i);
    enough = true;
    for (long i = 0; i < HOGS; i++)
        stress_join(h[i], (void *)i);
}

int main(int argc, char **argv)
{
    const char *only = argc > 2 ? argv[2] : NULL;
    size_t ran = 0;

    stress_begin("stuck", argc, argv);
    stream = fopen("/dev/null", "w");
    CHECK(stream != NULL, "fopen");
    map_big();
    do {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            if (only != NULL && strcmp(only, cases[i].name) != 0)
                continue;
            run(cases[i].name, cases[i].act);
            ran++;
        }
    } while (stress_running());
    return stress_end("%zu cases got through", ran);
}
