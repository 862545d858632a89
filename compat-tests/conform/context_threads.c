/* context_threads.c - stacks of the program's own inside threads: getcontext, makecontext,
 * swapcontext, setjmp and longjmp, sigsetjmp, alloca and recursion near the end of the stack,
 * backtrace; with waits and switches of the scheduler in between. */
#include "conform.h"

#include <alloca.h>
#include <execinfo.h>
#include <setjmp.h>
#include <ucontext.h>

static void mix(void)
{
    sched_yield();
    usleep(20);
    sched_yield();
}

/* --- ucontext ---------------------------------------------------------------------------------- */

enum { COROUTINES = 4, STEPS = 50 };

struct machine {
    ucontext_t main, co[COROUTINES];
    char *stack[COROUTINES];
    int counter[COROUTINES], now;
    pthread_t owner;
};

static __thread struct machine *machine;
static __thread int tls;

static void coroutine(int me)
{
    struct machine *m = machine;
    for (int i = 0; i < STEPS; i++) {
        double d = me + i / 2.0;
        char text[64];
        CHECK(pthread_equal(pthread_self(), m->owner));
        CHECK(m == machine);
        errno = me + 100;
        mix(); /* the thread leaves its kernel thread on this stack */
        CHECK_EQ(errno, me + 100);
        snprintf(text, sizeof(text), "%d %.1f", me, d);
        CHECK_EQ(atoi(text), me);
        m->counter[me]++;
        tls++;
        m->now = (me + 1) % COROUTINES;
        CHECK_EQ(swapcontext(&m->co[me], &m->co[m->now]), 0);
    }
    m->now = -1;
    CHECK_EQ(setcontext(&m->main), 0);
}

static void *run_machine(void *arg)
{
    struct machine m = {.owner = pthread_self()};
    machine = &m;
    tls = 0;
    for (int i = 0; i < COROUTINES; i++) {
        m.stack[i] = malloc(64 * 1024);
        CHECK_EQ(getcontext(&m.co[i]), 0);
        m.co[i].uc_stack.ss_sp = m.stack[i];
        m.co[i].uc_stack.ss_size = 64 * 1024;
        m.co[i].uc_link = &m.main;
        makecontext(&m.co[i], (void (*)(void))coroutine, 1, i);
    }
    CHECK_EQ(swapcontext(&m.main, &m.co[0]), 0);
    CHECK_EQ(m.now, -1);
    CHECK_EQ(tls, COROUTINES * STEPS);
    for (int i = 0; i < COROUTINES; i++) {
        CHECK_EQ(m.counter[i], STEPS);
        free(m.stack[i]);
    }
    return arg;
}

TEST(coroutines_in_threads)
{
    pthread_t t[8];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(run_machine, NULL);
    run_machine(NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}

static ucontext_t back, here;
static int passed;

static void block_on_it(void)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    struct timespec ts = in_ms(CLOCK_REALTIME, 2);
    pthread_mutex_lock(&m);
    CHECK_WAIT_TIMES_OUT(pthread_cond_timedwait(&c, &m, &ts), CLOCK_REALTIME, ts);
    pthread_mutex_unlock(&m);
    passed++;
}

static void *link_back(void *arg)
{
    static char stack[64 * 1024] __attribute__((aligned(16)));
    CHECK_EQ(getcontext(&here), 0);
    here.uc_stack.ss_sp = stack;
    here.uc_stack.ss_size = sizeof(stack);
    here.uc_link = &back; /* goes on there when the function returns */
    makecontext(&here, block_on_it, 0);
    CHECK_EQ(swapcontext(&back, &here), 0);
    passed++;
    return arg;
}

TEST(uc_link)
{
    passed = 0;
    join(spawn(link_back, NULL));
    CHECK_EQ(passed, 2);
}

/* getcontext and setcontext carry the signal mask. */
static void *mask_in_context(void *arg)
{
    ucontext_t uc;
    sigset_t set, now;
    volatile int round = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK_EQ(getcontext(&uc), 0);
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    CHECK(!sigismember(&now, SIGUSR1));
    if (round++ == 0) {
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        mix();
        setcontext(&uc);
    }
    CHECK_EQ(round, 2);
    return arg;
}

TEST(signal_mask_in_contexts)
{
    join(spawn(mask_in_context, NULL));
    mask_in_context(NULL);
}

/* When a function of a context returns, uc_link is gone on in with its own mask, for which the
 * signals are that come then. */
static __thread ucontext_t outer, first, second;
static int hits; /* atomic */

static void on_hit(int sig)
{
    (void)sig;
    add(&hits, 1);
}

static bool is_blocked(int sig)
{
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    return sigismember(&now, sig);
}

static void in_first(int a, int b, int c, int d, int e, int f, int g, int h)
{
    CHECK(is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
    CHECK_EQ(a + 10 * b + 100 * c + 1000 * d, 4321);
    CHECK_EQ(e + 10 * f + 100 * g + 1000 * h, 8765);
    hits = 0;
    pthread_kill(pthread_self(), SIGUSR1);
    CHECK_EQ(get(&hits), 0);
    mix();
}

static void in_second(void)
{
    CHECK(!is_blocked(SIGUSR1) && is_blocked(SIGUSR2));
    CHECK_EQ(get(&hits), 1); /* as soon as its mask was this one */
    mask_signal(SIG_BLOCK, SIGHUP);
    mix();
}

static void give_stack(ucontext_t *uc, char *stack, size_t size, int masked)
{
    CHECK_EQ(getcontext(uc), 0);
    uc->uc_stack.ss_sp = stack;
    uc->uc_stack.ss_size = size;
    uc->uc_sigmask = set_of(masked);
}

static void *through_links(void *arg)
{
    enum { SIZE = 64 * 1024 };
    char *stacks = malloc(2 * SIZE);
    give_stack(&first, stacks, SIZE, SIGUSR1);
    give_stack(&second, stacks + SIZE, SIZE, SIGUSR2);
    first.uc_link = &second;
    second.uc_link = &outer;
    makecontext(&first, (void (*)(void))(void *)in_first, 8, 1, 2, 3, 4, 5, 6, 7, 8);
    makecontext(&second, in_second, 0);
    CHECK_EQ(swapcontext(&outer, &first), 0);
    CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2) && !is_blocked(SIGHUP));
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    CHECK_EQ(get(&hits), 2);
    free(stacks);
    return arg;
}

TEST(masks_of_linked_contexts)
{
    struct sigaction sa = {.sa_handler = on_hit}, old;
    CHECK_EQ(sigaction(SIGUSR1, &sa, &old), 0);
    through_links(NULL);
    join(spawn(through_links, NULL));
    through_links(NULL);
    CHECK_EQ(sigaction(SIGUSR1, &old, NULL), 0);
}

/* --- setjmp ---------------------------------------------------------------------------------------- */

static __attribute__((noinline)) void jump_from(jmp_buf buf, int depth)
{
    volatile char pad[200];
    pad[0] = (char)depth;
    mix();
    if (depth == 0)
        longjmp(buf, 7);
    if (depth > 0)
        jump_from(buf, depth - 1);
    pad[1] = pad[0];
}

static void *jump(void *arg)
{
    for (volatile int i = 0; i < 20; i++) {
        jmp_buf buf;
        volatile int before = i * 3;
        int got = setjmp(buf);
        if (got == 0) {
            jump_from(buf, i);
            CHECK(false);
        }
        CHECK_EQ(got, 7);
        CHECK_EQ(before, i * 3);
    }
    return arg;
}

TEST(longjmp_in_threads)
{
    pthread_t t[6];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(jump, NULL);
    jump(NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}

static void *jump_with_mask(void *arg)
{
    sigjmp_buf buf;
    sigset_t set, now;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    if (sigsetjmp(buf, 1) == 0) {
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        mix();
        siglongjmp(buf, 1);
    }
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    CHECK(!sigismember(&now, SIGUSR1));
    if (sigsetjmp(buf, 0) == 0) {
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        mix();
        siglongjmp(buf, 1);
    }
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1));
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return arg;
}

TEST(siglongjmp_and_the_mask)
{
    join(spawn(jump_with_mask, NULL));
    jump_with_mask(NULL);
}

/* --- the whole stack is there ------------------------------------------------------------------------ */

static __attribute__((noinline)) int recurse(char *limit, int depth)
{
    volatile char pad[1000];
    pad[0] = (char)depth;
    if ((char *)pad > limit)
        depth = recurse(limit, depth + 1);
    else
        mix();
    return depth + (pad[0] != (char)depth && pad[1] == 77 ? 1 : 0);
}

static char *stack_low(size_t *size)
{
    pthread_attr_t attr;
    void *addr = NULL;
    CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    CHECK_EQ(pthread_attr_getstack(&attr, &addr, size), 0);
    pthread_attr_destroy(&attr);
    return addr;
}

static void *use_stack(void *arg)
{
    size_t size = 0;
    char *low = stack_low(&size);
    CHECK_EQ(size, (size_t)(uintptr_t)arg);
    /* what a frame of this and of the calls at the bottom needs */
    CHECK(recurse(low + 16 * 1024, 0) > (int)(size / 1200) - 40);
    size_t room = (size_t)((char *)__builtin_frame_address(0) - low) - 16 * 1024;
    char *p = alloca(room);
    for (size_t i = 0; i < room; i += 512)
        p[i] = (char)i;
    mix();
    for (size_t i = 0; i < room; i += 512)
        CHECK_EQ(p[i], (char)i);
    return NULL;
}

TEST(stack_up_to_the_size_asked_for)
{
    static const size_t sizes[] = {64 * 1024, 256 * 1024, 1024 * 1024, 8 * 1024 * 1024};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        pthread_attr_t attr;
        pthread_t t[3];
        pthread_attr_init(&attr);
        CHECK_EQ(pthread_attr_setstacksize(&attr, sizes[i]), 0);
        for (size_t k = 0; k < COUNT_OF(t); k++)
            CHECK_EQ(pthread_create(&t[k], &attr, use_stack, (void *)sizes[i]), 0);
        for (size_t k = 0; k < COUNT_OF(t); k++)
            join(t[k]);
        pthread_attr_destroy(&attr);
    }
}

/* --- backtrace ------------------------------------------------------------------------------------------ */

static __attribute__((noinline)) int count_frames(int depth)
{
    void *at[64];
    int n = depth > 0 ? count_frames(depth - 1) : backtrace(at, 64);
    __asm__ volatile("" ::: "memory"); /* no tail call */
    return n;
}

static void *trace_stack(void *arg)
{
    for (int i = 0; i < 10; i++) {
        int base = count_frames(0);
        CHECK(base >= 2);
        CHECK_EQ(count_frames(10), base + 10);
        mix();
    }
    return arg;
}

TEST(backtrace_in_threads)
{
    pthread_t t[4];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(trace_stack, NULL);
    trace_stack(NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}
