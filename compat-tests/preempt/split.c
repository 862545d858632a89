/* split.c - preemption at the beginning of functions, for which this is compiled with
 * -fsplit-stack.
 *
 *   arguments  every register and stack slot that may hold an argument or a result, variable
 *              arguments and the static chain arrive as they were sent, though the thread is made
 *              to give way at each call
 *   share      loops that call a small function take turns, and nobody goes on beside them
 *   room       the stack can be used to its end
 *   memory     alloca and arrays of variable length: aligned, disjoint, kept until the return
 *   walk       an unwinder goes from a function that was held up to its callers, each once
 *   unwound    cancellation passes such frames
 *   elsewhere  the same on a signal stack, on a coroutine's stack, in a child of fork
 *
 * split [seconds] runs them all.  `split 1 @deep`, `@frame`, `@alloca` overflow a thread's stack.
 *
 * A thread asks itself by writing the guard word, as the library does.  With yieldrandom=1 each
 * such call really lets others run.  Without the library nothing is asked; the program is valid
 * all the same. */

#include "compat-tests/stress/stress.h"

#include <alloca.h>
#include <complex.h>
#include <immintrin.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unwind.h>

#include "shim/gshim.h"

#define NOINLINE __attribute__((noinline))

enum { THREADS = 4, SMALL = 64 * 1024 };

static bool active; /* the library is there, and on */

static inline void ask(void)
{
#ifdef __x86_64__
    if (active)
        __asm__ volatile("movq %0, %%fs:0x70" : : "r"(0xfffffffffffffadeul) : "memory");
#endif
}

/* ---- arguments ------------------------------------------------------------------------------ */

struct big {
    long a[25];
};

struct mixed {
    long a;
    double b;
};

NOINLINE static void plain(long base, long a1, long a2, long a3, long a4, long a5,
                           double x0, double x1, double x2, double x3, double x4,
                           double x5, double x6, double x7, long s0, double s1,
                           struct big b, char s2, long s3)
{
    CHECK(a1 == base + 1 && a2 == base + 2 && a3 == base + 3 && a4 == base + 4 &&
              a5 == base + 5,
          "general registers");
    double d = (double)base;
    CHECK(x0 == d && x1 == d + 1 && x2 == d + 2 && x3 == d + 3 && x4 == d + 4 &&
              x5 == d + 5 && x6 == d + 6 && x7 == d + 7,
          "vector registers");
    CHECK(s0 == base + 6 && s1 == d + 8 && s2 == 's' && s3 == base + 7, "stack");
    for (int i = 0; i < 25; i++)
        CHECK(b.a[i] == base + i, "structure on the stack");
}

static void call_plain(long base)
{
    struct big b;
    double d = (double)base;
    for (int i = 0; i < 25; i++)
        b.a[i] = base + i;
    ask();
    plain(base, base + 1, base + 2, base + 3, base + 4, base + 5, d, d + 1, d + 2, d + 3,
          d + 4, d + 5, d + 6, d + 7, base + 6, d + 8, b, 's', base + 7);
}

NOINLINE static double variable(long base, ...)
{
    double sum = 0;
    va_list ap;
    va_start(ap, base);
    for (int i = 0; i < 12; i++) {
        CHECK(va_arg(ap, long) == base + i, "variable argument %d", i);
        sum += va_arg(ap, double);
    }
    va_end(ap);
    return sum;
}

#define TWO(i) base + (i), (double)base *(i)

static void call_variable(long base)
{
    ask();
    double sum = variable(base, TWO(0), TWO(1), TWO(2), TWO(3), TWO(4), TWO(5), TWO(6),
                          TWO(7), TWO(8), TWO(9), TWO(10), TWO(11));
    CHECK(sum == 66.0 * (double)base, "floating-point variable arguments: %g", sum);
}

NOINLINE static struct mixed two_registers(long a, double b)
{
    return (struct mixed){a, b};
}

NOINLINE static struct big in_memory(long base)
{
    struct big b;
    for (int i = 0; i < 25; i++)
        b.a[i] = base * i;
    return b;
}

NOINLINE static long double on_the_x87_stack(long a, long double b)
{
    return b + a;
}

NOINLINE static double _Complex two_vector_registers(double a, double b)
{
    return a + b * I;
}

NOINLINE static unsigned __int128 two_general_registers(unsigned long a, unsigned long b)
{
    return (unsigned __int128)a << 64 | b;
}

static void call_returning(long base)
{
    ask();
    struct mixed m = two_registers(base, 1.5);
    ask();
    struct big b = in_memory(base);
    ask();
    long double l = on_the_x87_stack(base, 0.25L);
    ask();
    double _Complex c = two_vector_registers((double)base, 2.5);
    ask();
    unsigned __int128 w = two_general_registers((unsigned long)base, ~0ul);
    CHECK(m.a == base && m.b == 1.5 && b.a[24] == base * 24, "structures");
    CHECK(l == base + 0.25L, "long double");
    CHECK(creal(c) == (double)base && cimag(c) == 2.5, "complex");
    CHECK((long)(w >> 64) == base && (unsigned long)w == ~0ul, "128 bits");
}

#ifndef __clang__
static void call_chained(long base)
{
    long outer = base;
    NOINLINE long inner(long x)
    {
        outer++;
        return outer * x;
    }
    ask();
    long got = inner(3); /* not by a pointer: that needs an executable stack */
    CHECK(got == (base + 1) * 3 && outer == base + 1, "static chain");
}
#else
static void call_chained(long base)
{
    (void)base;
}
#endif

#define AVX __attribute__((target("avx"), noinline))
#define AVX512 __attribute__((target("avx512f"), noinline))

AVX static void wide(long base, __m256d a, __m256d b, __m256d c, __m256d d, __m256d e,
                     __m256d f, __m256d g, __m256d h, __m256d i)
{
    __m256d all[] = {a, b, c, d, e, f, g, h, i};
    for (int v = 0; v < 9; v++)
        for (int lane = 0; lane < 4; lane++)
            CHECK(all[v][lane] == (double)(base + v), "ymm%d, lane %d", v, lane);
}

AVX static void call_wide(long base)
{
    __m256d v[9];
    for (int i = 0; i < 9; i++)
        v[i] = _mm256_set1_pd((double)(base + i));
    ask();
    wide(base, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]);
}

AVX512 static void wider(long base, __m512d a, __m512d b, __m512d c, __m512d d, __m512d e,
                         __m512d f, __m512d g, __m512d h)
{
    __m512d all[] = {a, b, c, d, e, f, g, h};
    for (int v = 0; v < 8; v++)
        for (int lane = 0; lane < 8; lane++)
            CHECK(all[v][lane] == (double)(base + v), "zmm%d, lane %d", v, lane);
}

AVX512 static void call_wider(long base)
{
    __m512d v[8];
    for (int i = 0; i < 8; i++)
        v[i] = _mm512_set1_pd((double)(base + i));
    ask();
    wider(base, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]);
}

static void call_each(long base)
{
    call_plain(base);
    call_variable(base);
    call_returning(base);
    call_chained(base);
    if (__builtin_cpu_supports("avx"))
        call_wide(base);
    if (__builtin_cpu_supports("avx512f"))
        call_wider(base);
}

static void *caller(void *arg)
{
    for (long i = 0; i < 200 || stress_running(); i++) {
        call_each((long)arg * 1000003 + i);
        stress_progress++;
    }
    return arg;
}

static void arguments(void)
{
    pthread_t t[THREADS];
    stress_phase("arguments", 0.5);
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], caller, (void *)i);
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
}

/* ---- share ---------------------------------------------------------------------------------- */

enum { TURNS = 5 };

static volatile bool enough;
static volatile long last =
    -1; /* who ran last; a plain race, which the count tolerates */
static volatile long turns[THREADS];

NOINLINE static void small(long id)
{
    if (last != id) {
        last = id;
        turns[id]++;
    }
}

static void *looper(void *arg)
{
    while (!enough)
        small((long)arg);
    return arg;
}

/* Everybody gets turns, by preemptions if there are fewer Ps; with asyncpreemptoff=1 only
 * prologues can be meant. */
static void share(void)
{
    pthread_t t[THREADS];
    bool few = active && gshim_maxprocs() < THREADS;
    unsigned long long before = active ? gshim_preemptions() : 0;
    stress_phase("share", 1);
    enough = false;
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], looper, (void *)i);
    for (int i = 0; i < THREADS; i++)
        while (turns[i] < TURNS)
            stress_sleep_ns(1000000);
    while (few && gshim_preemptions() < before + THREADS * TURNS)
        stress_sleep_ns(1000000);
    enough = true;
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
}

/* ---- room ----------------------------------------------------------------------------------- */

static char *stack_end;

NOINLINE static long descend(long depth)
{
    volatile char frame[64];
    frame[0] = (char)depth;
    if ((depth & 7) == 0)
        ask();
    if ((char *)frame - stack_end < 900)
        return depth;
    return descend(depth + 1) + (frame[0] & 0);
}

static void *to_the_end(void *arg)
{
    pthread_attr_t attr;
    size_t bytes;
    OK0(pthread_getattr_np(pthread_self(), &attr));
    OK0(pthread_attr_getstack(&attr, (void **)&stack_end, &bytes));
    OK0(pthread_attr_destroy(&attr));
    long depth = descend(0);
    CHECK(depth > SMALL / 512, "only %ld calls deep", depth);
    return arg;
}

static void room(void)
{
    pthread_t t;
    stress_phase("room", 1);
    for (int i = 0; i < 10; i++) {
        stress_create_small(&t, to_the_end, NULL);
        stress_join(t, NULL);
    }
}

/* ---- memory --------------------------------------------------------------------------------- */

NOINLINE static void fill(char *p, size_t n, char c)
{
    ask();
    memset(p, c, n);
}

NOINLINE static void allocate(size_t n)
{
    char *all[20];
    for (int i = 0; i < 20; i++) {
        ask();
        all[i] = alloca(n + (size_t)i);
        CHECK((uintptr_t)all[i] % 16 == 0, "alloca gave %p", (void *)all[i]);
        fill(all[i], n + (size_t)i, (char)i);
        call_plain(i);
    }
    ask();
    char array[n * 3];
    fill(array, sizeof(array), 99);
    for (int i = 0; i < 20; i++)
        for (size_t k = 0; k < n + (size_t)i; k++)
            CHECK(all[i][k] == i, "block %d is spoilt at %zu", i, k);
    for (size_t k = 0; k < sizeof(array); k++)
        CHECK(array[k] == 99, "the array is spoilt at %zu", k);
}

static void *allocator(void *arg)
{
    for (size_t n = 1; n < 3000; n = n * 2 + 1)
        allocate(n);
    return arg;
}

static void memory(void)
{
    pthread_t t[THREADS];
    stress_phase("memory", 1);
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], allocator, (void *)i);
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
}

/* ---- walk ----------------------------------------------------------------------------------- */

struct walk {
    uintptr_t at[64];
    int n;
};

static _Unwind_Reason_Code step(struct _Unwind_Context *c, void *arg)
{
    struct walk *w = arg;
    if (w->n < 64)
        w->at[w->n++] = _Unwind_GetRegionStart(c);
    return _URC_NO_REASON;
}

NOINLINE static int inner_frame(struct walk *w)
{
    _Unwind_Backtrace(step, w);
    return w->n;
}

NOINLINE static int middle_frame(struct walk *w, long on_stack[20])
{
    ask();
    return inner_frame(w) + (int)on_stack[0];
}

NOINLINE static void *outer_frame(void *arg)
{
    struct walk w = {.n = 0};
    long zero[20] = {0};
    void *want[] = {(void *)inner_frame, (void *)middle_frame, (void *)outer_frame};
    int found = 0;
    ask();
    middle_frame(&w, zero);
    for (int i = 0; i < w.n; i++) {
        if (found < 3 && w.at[i] == (uintptr_t)want[found])
            found++;
        else
            for (int k = 0; k < 3; k++)
                CHECK(w.at[i] != (uintptr_t)want[k], "frame %d is out of order", i);
    }
    CHECK(found == 3, "%d of 3 functions in %d frames", found, w.n);
    return arg;
}

static void walk(void)
{
    pthread_t t;
    stress_phase("walk", 1);
    for (int i = 0; i < 10; i++) {
        stress_create(&t, outer_frame, NULL);
        stress_join(t, NULL);
    }
}

/* ---- unwound -------------------------------------------------------------------------------- */

static void count_up(void *arg)
{
    ++*(int *)arg;
}

NOINLINE static void wait_for_it(int *count, int deep)
{
    pthread_cleanup_push(count_up, count);
    ask();
    if (deep > 0)
        wait_for_it(count, deep - 1);
    else
        while (!enough)
            pause();
    pthread_cleanup_pop(0);
}

static void *waiter(void *arg)
{
    ask();
    wait_for_it(arg, 9);
    return NULL;
}

static void unwound(void)
{
    pthread_t t;
    stress_phase("unwound", 1);
    enough = false;
    for (int i = 0; i < 10; i++) {
        int count = 0;
        stress_create(&t, waiter, &count);
        if (i % 2 != 0)
            sched_yield();
        OK0(pthread_cancel(t));
        stress_join(t, PTHREAD_CANCELED);
        CHECK(count == 10 || count == 0 || i % 2 == 0, "%d clean-ups", count);
    }
}

/* ---- elsewhere ------------------------------------------------------------------------------ */

static _Atomic int handled;

static void on_signal(int sig)
{
    call_each(sig);
    allocator(NULL);
    handled++;
}

static ucontext_t here, there;

static void coroutine(void)
{
    for (long i = 0; i < 20; i++) {
        call_each(i);
        ask();
        OKSYS(swapcontext(&there, &here));
    }
}

static void on_a_coroutine(void)
{
    enum { BYTES = 256 * 1024 };
    char *stack = malloc(BYTES);
    OKSYS(getcontext(&there));
    there.uc_stack = (stack_t){.ss_sp = stack, .ss_size = BYTES};
    there.uc_link = NULL;
    makecontext(&there, coroutine, 0);
    for (int i = 0; i < 20; i++) {
        ask();
        OKSYS(swapcontext(&here, &there));
        call_each(i);
    }
    free(stack);
}

static void on_a_signal_stack(void)
{
    enum { BYTES = 256 * 1024 };
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    stack_t st = {.ss_sp = malloc(BYTES), .ss_size = BYTES},
            none = {.ss_flags = SS_DISABLE};
    OKSYS(sigaltstack(&st, NULL));
    OKSYS(sigaction(SIGUSR1, &sa, NULL));
    for (int i = 1; i <= 10; i++) {
        ask();
        OK0(pthread_kill(pthread_self(), SIGUSR1));
        CHECK(handled == i, "the handler ran %d times", handled);
        call_each(i);
    }
    OKSYS(sigaltstack(&none, NULL));
    free(st.ss_sp);
}

static void in_a_child(void)
{
    int status;
    ask();
    pid_t pid = fork();
    OKSYS(pid);
    if (pid == 0) {
        pthread_t t;
        alarm(60);
        call_each(1);
        stress_create(&t, allocator, NULL);
        stress_join(t, NULL);
        call_each(2);
        _exit(42);
    }
    OKSYS(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %x", status);
}

static void *everywhere(void *arg)
{
    on_a_signal_stack();
    on_a_coroutine();
    in_a_child();
    return arg;
}

static void elsewhere(void)
{
    pthread_t t;
    stress_phase("elsewhere", 1);
    stress_create(&t, everywhere, NULL);
    stress_join(t, NULL);
    handled = 0;
    everywhere(NULL); /* on main */
}

/* ---- overflow ------------------------------------------------------------------------------- */

NOINLINE static long endless(long depth)
{
    volatile char frame[100];
    frame[0] = (char)depth;
    return depth < 0 ? 0 : endless(depth + 1) + frame[0];
}

NOINLINE static long huge_frame(void)
{
    volatile char frame[1 << 20];
    frame[0] = 1;
    return frame[0];
}

NOINLINE static long huge_alloca(size_t n)
{
    volatile char *p = alloca(n);
    p[0] = 1;
    return p[0];
}

static void *overflow(void *arg)
{
    const char *how = arg;
    long r = strcmp(how, "@deep") == 0    ? endless(0)
             : strcmp(how, "@frame") == 0 ? huge_frame()
                                          : huge_alloca(1 << 20);
    printf("not stopped: %ld\n", r);
    return NULL;
}

static void overflow_in_a_thread(char *how)
{
    struct rlimit no_core = {0, 0};
    pthread_t t;
    OKSYS(setrlimit(RLIMIT_CORE, &no_core));
    stress_create_small(&t, overflow, how);
    pthread_join(t, NULL);
}

int main(int argc, char **argv)
{
    stress_begin("split", argc, argv);
#ifndef SPLIT
    return stress_end("the compiler has no -fsplit-stack for every function");
#endif
    active = gshim_maxprocs && gshim_maxprocs() != 0;
    if (argc > 2) {
        overflow_in_a_thread(argv[2]);
        return 1;
    }
    arguments();
    share();
    room();
    memory();
    walk();
    unwound();
    elsewhere();
    return stress_end("%llu preemptions", active ? gshim_preemptions() : 0);
}
