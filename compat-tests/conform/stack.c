/* stack.c - stacks: sizes that are really there, stacks of the user's own, overflow. */
#include "conform.h"

/* What a thread needs besides the frame that is measured: its descriptor and thread-local
 * storage, which glibc takes from the same memory, and the frames above. */
#define OVERHEAD (12 * 1024)

struct plan {
    size_t bytes;     /* to touch */
    char *low, *high; /* where locals must be; null = anywhere */
};

/* Writes the whole of a frame of BYTES, from the top down as real frames grow. */
static __attribute__((noinline)) unsigned touch(size_t bytes)
{
    volatile char *frame = __builtin_alloca(bytes);
    unsigned sum = 0;

    for (size_t i = bytes; i > 0; i -= i < 512 ? i : 512)
        frame[i - 1] = (char)i;
    for (size_t i = bytes; i > 0; i -= i < 512 ? i : 512)
        sum += frame[i - 1] == (char)i;
    return sum;
}

static void *touch_all(void *arg)
{
    struct plan *p = arg;
    int here;

    if (p->low)
        CHECK((char *)&here >= p->low && (char *)&here < p->high);
    CHECK_EQ(touch(p->bytes), (p->bytes + 511) / 512);
    return NULL;
}

static void run_with_size(size_t size)
{
    struct plan p = {size - OVERHEAD, NULL, NULL};
    pthread_attr_t attr;
    pthread_t t;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attr, size), 0);
    CHECK_EQ(pthread_create(&t, &attr, touch_all, &p), 0);
    join(t);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

TEST(requested_size_is_there)
{
    /* POSIX: the minimum stack size, in bytes, of threads created with it. */
    run_with_size(64 << 10);
    run_with_size(65 << 10);
    run_with_size(200000);
    run_with_size(1 << 20);
    run_with_size(8 << 20);
    run_with_size(100 << 20);
    run_with_size(64 << 10);
}

TEST(default_size_is_there)
{
    struct plan p;
    pthread_attr_t attr;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_getstacksize(&attr, &p.bytes), 0);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    p.bytes -= OVERHEAD;
    p.low = NULL;
    join(spawn(touch_all, &p));
}

static void *tiny(void *arg)
{
    volatile char frame[1024];

    memset((char *)frame, 1, sizeof(frame));
    sched_yield();
    CHECK_EQ(frame[1023], 1);
    return arg;
}

TEST(minimum_size)
{
    pthread_attr_t attr;
    pthread_t t[50];

    CHECK(PTHREAD_STACK_MIN >= 16384);
    CHECK_EQ(sysconf(_SC_THREAD_STACK_MIN), PTHREAD_STACK_MIN);
    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(pthread_create(&t[i], &attr, tiny, t), 0); /* POSIX: enough to start */
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK(join(t[i]) == t);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

/* ---- stacks of the user's own ------------------------------------------------------ */

static void run_on(char *stack, size_t size, int times)
{
    struct plan p = {size - OVERHEAD, stack, stack + size};
    pthread_attr_t attr;
    pthread_t t;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstack(&attr, stack, size), 0);
    for (int i = 0; i < times; i++) {
        CHECK_EQ(pthread_create(&t, &attr, touch_all, &p), 0);
        join(t); /* POSIX: the memory is the user's again, also for the next thread */
    }
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

TEST(own_stack)
{
    static char fixed[256 << 10] __attribute__((aligned(4096)));
    size_t size = 512 << 10;
    char *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    run_on(fixed, sizeof(fixed), 3);
    run_on(p, size, 3);
    munmap(p, size); /* nothing of the threads is left in there */
    p = malloc(size);
    run_on(p + 16, size - 16 - 33, 3); /* aligned to 16, of an odd size */
    memset(p, 0x5a, size);
    free(p);
    join(spawn(tiny, NULL));
}

static void *edges(void *arg)
{
    struct plan *p = arg;
    int here;

    CHECK((char *)&here >= p->low && (char *)&here < p->high);
    sched_yield();
    sleep_ms(1);
    return NULL;
}

TEST(many_own_stacks_at_once)
{
    enum { N = 20, SIZE = 64 << 10, RED = 4096 };
    char *area = mmap(NULL, N * (SIZE + RED) + RED, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct plan p[N];
    pthread_attr_t attr;
    pthread_t t[N];
    int wrong = 0;

    memset(area, 0x77, N * (SIZE + RED) + RED);
    for (int i = 0; i < N; i++) {
        p[i].low = area + RED + (size_t)i * (SIZE + RED);
        p[i].high = p[i].low + SIZE;
        CHECK_EQ(pthread_attr_init(&attr), 0);
        CHECK_EQ(pthread_attr_setstack(&attr, p[i].low, SIZE), 0);
        CHECK_EQ(pthread_create(&t[i], &attr, edges, &p[i]), 0);
        CHECK_EQ(pthread_attr_destroy(&attr), 0);
    }
    for (int i = 0; i < N; i++)
        join(t[i]);
    for (int i = 0; i <= N; i++) {
        for (int k = 0; k < RED; k++)
            wrong += area[(size_t)i * (SIZE + RED) + (size_t)k] != 0x77;
    }
    CHECK_EQ(wrong, 0); /* nobody wrote outside its stack */
    munmap(area, N * (SIZE + RED) + RED);
}

static void *check_own_attr(void *arg)
{
    struct plan *p = arg;
    pthread_attr_t attr;
    void *address = NULL;
    size_t size = 0;

    CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    CHECK_EQ(pthread_attr_getstack(&attr, &address, &size), 0);
    CHECK((char *)address == p->low); /* glibc: reports what was given */
    CHECK((char *)address + size == p->high);
    CHECK_EQ(pthread_attr_getguardsize(&attr, &size), 0);
    CHECK_EQ(size, 0); /* POSIX: no guard on a user's stack */
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    return NULL;
}

TEST(own_stack_is_reported)
{
    static char stack[128 << 10] __attribute__((aligned(4096)));
    struct plan p = {0, stack, stack + sizeof(stack)};
    pthread_attr_t attr;
    pthread_t t;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstack(&attr, stack, sizeof(stack)), 0);
    CHECK_EQ(pthread_create(&t, &attr, check_own_attr, &p), 0);
    join(t);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

/* ---- overflow ---------------------------------------------------------------------- */

static __attribute__((noinline)) int sink(int depth)
{
    volatile char frame[512];

    frame[0] = (char)depth;
    return depth < 0 ? 0 : sink(depth + 1) + frame[0];
}

static void *overflow(void *arg)
{
    return (void *)(intptr_t)sink((int)(intptr_t)arg);
}

static void *bystander(void *arg)
{
    for (;;)
        sleep_ms(10);
    return arg;
}

MODE(overflow)
{
    for (int i = 0; i < 3; i++)
        spawn(bystander, NULL);
    printf("not flushed");
    join(spawn(overflow, NULL));
    return 1;
}

TEST(overflow_is_a_segmentation_fault)
{
    char out[64];
    int status = run_mode("overflow", out, sizeof(out));

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV); /* the guard area */
    CHECK(strcmp(out, "") == 0);
}

static void *past_the_size(void *arg)
{
    volatile char here = 0;
    volatile char *past = &here - (size_t)arg;

    *past = here; /* in the guard area: more was used than was asked for */
    return NULL;
}

static void run_past(size_t size)
{
    pthread_attr_t attr;
    pthread_t t;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attr, size), 0);
    CHECK_EQ(pthread_create(&t, &attr, past_the_size, (void *)size), 0);
    join(t);
    exit(1);
}

MODE(past_minimum)
{
    run_past((size_t)PTHREAD_STACK_MIN);
    return 1;
}

MODE(past_64k)
{
    run_past(64 << 10);
    return 1;
}

TEST(guard_begins_where_the_size_ends)
{
    char out[64];
    int status = run_mode("past_minimum", out, sizeof(out));

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    status = run_mode("past_64k", out, sizeof(out));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void on_fault(int signal)
{
    (void)signal;
    _exit(write(1, "handled", 7) == 7 ? 4 : 5);
}

static void *overflow_with_alternate_stack(void *arg)
{
    stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};

    CHECK_EQ(sigaltstack(&alternate, NULL), 0);
    CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
    return overflow(arg);
}

MODE(overflow_handled)
{
    join(spawn(overflow_with_alternate_stack, NULL));
    return 1;
}

TEST(overflow_reaches_the_handler)
{
    char out[64];

    /* sigaltstack(2): per thread, and meant for just this. */
    CHECK_EXITS(run_mode("overflow_handled", out, sizeof(out)), 4);
    CHECK(strcmp(out, "handled") == 0);
}
