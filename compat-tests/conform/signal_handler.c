/* signal_handler.c - how a handler is called, in threads: its flags, mask, stack and context,
 * and what may be done in it. */
#include "conform.h"

#include <execinfo.h>
#include <float.h>
#include <setjmp.h>
#include <semaphore.h>
#include <ucontext.h>

enum { THREADS = 8 };

static void install(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
    struct sigaction sa = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};

    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

static bool blocked(int sig)
{
    sigset_t set;

    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
    return sigismember(&set, sig) == 1;
}

/* Runs FN in THREADS threads, and in the calling one. */
static void in_threads(void *(*fn)(void *))
{
    pthread_t t[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        t[i] = spawn(fn, (void *)i);
    fn((void *)THREADS);
    for (size_t i = 0; i < THREADS; i++)
        join(t[i]);
}

/* ---- what it is told ----------------------------------------------------------------- */

/* Volatile, as raise() is declared a leaf function: one that changes no static variable. */
static __thread volatile siginfo_t seen;
static __thread volatile int calls;

static void note(int sig, siginfo_t *info, void *uc)
{
    CHECK_EQ(sig, info->si_signo);
    CHECK(uc != NULL);
    seen = *info;
    calls = calls + 1;
}

static void *told(void *arg)
{
    union sigval value = {.sival_int = 17 + (int)(intptr_t)arg};
    int before = calls;

    errno = 99;
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    CHECK_EQ(errno, 99);
    CHECK_EQ(calls, before + 1);
    CHECK_EQ(seen.si_code, SI_TKILL); /* Linux */
    CHECK_EQ(seen.si_pid, getpid());
    CHECK_EQ(seen.si_uid, getuid());
    CHECK_EQ(pthread_sigqueue(pthread_self(), SIGUSR1, value), 0);
    CHECK_EQ(calls, before + 2);
    CHECK_EQ(seen.si_code, SI_QUEUE); /* POSIX sigqueue */
    CHECK_EQ(seen.si_value.sival_int, value.sival_int);
    CHECK_EQ(seen.si_pid, getpid());
    return NULL;
}

TEST(siginfo)
{
    install(SIGUSR1, note, 0);
    in_threads(told);
}

/* ---- masks and flags --------------------------------------------------------------------- */

static __thread volatile int depth, deepest;

static void masked(int sig, siginfo_t *info, void *uc)
{
    (void)info;
    (void)uc;
    depth++;
    deepest = depth > deepest ? depth : deepest;
    CHECK(blocked(SIGUSR2)); /* POSIX sigaction: sa_mask, */
    CHECK(blocked(SIGUSR1)); /* and the signal itself */
    if (calls++ == 0) {
        raise(SIGUSR1);
        raise(SIGUSR2);
        CHECK_EQ(depth, 1);
    }
    CHECK(sig == SIGUSR1);
    depth--;
}

static __thread volatile int second_calls;

static void second(int sig)
{
    (void)sig;
    second_calls++;
    CHECK_EQ(depth, 0);
}

static void *mask_in_handler(void *arg)
{
    calls = 0;
    raise(SIGUSR1);
    CHECK_EQ(calls, 2); /* the one from within came after it */
    CHECK_EQ(second_calls, 1);
    CHECK_EQ(deepest, 1);
    CHECK(!blocked(SIGUSR1) && !blocked(SIGUSR2));
    second_calls = deepest = 0;
    return arg;
}

TEST(mask)
{
    struct sigaction sa = {.sa_sigaction = masked, .sa_flags = SA_SIGINFO};

    sigaddset(&sa.sa_mask, SIGUSR2);
    CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
    sa = (struct sigaction){.sa_handler = second};
    CHECK_EQ(sigaction(SIGUSR2, &sa, NULL), 0);
    in_threads(mask_in_handler);
}

static void recursive(int sig, siginfo_t *info, void *uc)
{
    (void)info;
    (void)uc;
    CHECK(!blocked(sig)); /* POSIX: SA_NODEFER */
    if (++calls < 20)
        raise(sig);
}

static void *nodefer(void *arg)
{
    calls = 0;
    raise(SIGUSR1);
    CHECK_EQ(calls, 20);
    return arg;
}

TEST(no_defer)
{
    install(SIGUSR1, recursive, SA_NODEFER);
    in_threads(nodefer);
}

TEST(reset)
{
    struct sigaction sa;

    calls = 0;
    install(SIGURG, note, SA_RESETHAND);
    raise(SIGURG);
    CHECK_EQ(calls, 1);
    CHECK_EQ(sigaction(SIGURG, NULL, &sa), 0);
    CHECK(sa.sa_handler == SIG_DFL); /* POSIX: reset on entry */
    raise(SIGURG);
    CHECK_EQ(calls, 1);
}

static volatile int variant_calls;

static void variant(int sig)
{
    (void)sig;
    variant_calls++;
}

TEST(variants)
{
    struct sigaction sa;

    CHECK(signal(SIGUSR1, variant) != SIG_ERR);
    CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
    CHECK(sa.sa_handler == variant && (sa.sa_flags & SA_RESTART) != 0); /* BSD */
    CHECK(signal(SIGUSR1, SIG_IGN) == variant);
    raise(SIGUSR1);
    CHECK_EQ(variant_calls, 0);
    CHECK(sysv_signal(SIGUSR1, variant) == SIG_IGN);
    raise(SIGUSR1);
    CHECK_EQ(variant_calls, 1);
    CHECK(signal(SIGUSR1, variant) == SIG_DFL); /* System V: once */
    CHECK(signal(SIGKILL, variant) == SIG_ERR && errno == EINVAL);
    CHECK(signal(1000, variant) == SIG_ERR && errno == EINVAL);
    CHECK_ERR(sigaction(SIGSTOP, &sa, NULL), EINVAL);
    CHECK_EQ(sigaction(SIGSTOP, NULL, &sa), 0);
}

/* ---- context --------------------------------------------------------------------------------- */

static void open_later(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)info;
    sigdelset(&((ucontext_t *)uc)->uc_sigmask, SIGUSR2);
    sigaddset(&((ucontext_t *)uc)->uc_sigmask, SIGWINCH);
}

static void *change_mask(void *arg)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    CHECK(!blocked(SIGUSR2)); /* the context is what is resumed */
    CHECK(blocked(SIGWINCH));
    sched_yield();
    CHECK(!blocked(SIGUSR2) && blocked(SIGWINCH));
    sigemptyset(&set);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    return arg;
}

TEST(context_mask)
{
    install(SIGUSR1, open_later, 0);
    in_threads(change_mask);
}

static void skip_fault(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;

    note(sig, info, uc);
#ifdef __x86_64__
    uc->uc_mcontext.gregs[REG_RIP] += 2; /* movl (%rax), %eax */
    uc->uc_mcontext.gregs[REG_RAX] = 4711;
#endif
}

static void *faults(void *arg)
{
    for (uintptr_t i = 0; i < 50; i++) {
        uintptr_t address = 0x100 + 16 * i + (uintptr_t)arg;
        unsigned long got = address;

#ifdef __x86_64__
        __asm__ volatile("movl (%%rax), %%eax" : "+a"(got) : : "memory");
        CHECK_EQ(got, 4711); /* a changed context takes effect */
        CHECK(seen.si_addr == (void *)address);
        CHECK_EQ(seen.si_code, SEGV_MAPERR);
#endif
        if (i % 7 == 0)
            sched_yield();
    }
    return NULL;
}

TEST(fault_goes_to_its_thread_and_is_skipped)
{
    install(SIGSEGV, skip_fault, 0);
    in_threads(faults);
    signal(SIGSEGV, SIG_DFL);
}

static __thread sigjmp_buf back;

static void jump_back(int sig, siginfo_t *info, void *uc)
{
    (void)uc;
    seen = *info;
    siglongjmp(back, sig);
}

static void *divides(void *arg)
{
    for (volatile int i = 0; i < 200; i++) {
        volatile int zero = 0;
        int got = sigsetjmp(back, 1);

        if (got == 0)
            zero = 12345 / zero;
        CHECK_EQ(got, SIGFPE);
        CHECK_EQ(seen.si_code, FPE_INTDIV);
        CHECK(!blocked(SIGFPE)); /* POSIX siglongjmp: the mask is that of sigsetjmp */
        if (i % 16 == 0)
            sched_yield();
    }
    CHECK_EQ(pthread_kill(pthread_self(), 0), 0);
    calls = 0;
    raise(SIGUSR1);
    CHECK_EQ(calls, 1); /* and other handlers go on as before */
    return arg;
}

TEST(jumps_out)
{
    install(SIGFPE, jump_back, 0);
    install(SIGUSR1, note, 0);
    in_threads(divides);
    signal(SIGFPE, SIG_DFL);
}

/* ---- signal stacks ------------------------------------------------------------------------------ */

static __thread char *own_stack;
static __thread volatile bool was_on;
enum { OWN = 64 * 1024 };

static void where(int sig, siginfo_t *info, void *uc)
{
    stack_t now, other = {.ss_flags = SS_DISABLE};
    char here;

    (void)sig;
    (void)info;
    was_on = &here >= own_stack && &here < own_stack + OWN;
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    if (was_on) {
        CHECK_EQ(now.ss_flags, SS_ONSTACK); /* POSIX sigaltstack */
        CHECK(now.ss_sp == own_stack && now.ss_size == OWN);
        CHECK_ERR(sigaltstack(&other, NULL), EPERM);
    } else {
        CHECK_EQ(now.ss_flags, 0);
    }
    CHECK(((ucontext_t *)uc)->uc_stack.ss_sp == own_stack);
    sched_yield();
    calls++;
}

static void *on_own_stack(void *arg)
{
    stack_t st = {.ss_size = OWN}, now;

    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK_EQ(now.ss_flags, SS_DISABLE); /* POSIX pthread_create: not inherited */
    st.ss_sp = own_stack = malloc(OWN);
    CHECK_EQ(sigaltstack(&st, NULL), 0);
    for (int i = 0; i < 20; i++) {
        raise(SIGUSR1);
        CHECK(was_on);
        raise(SIGUSR2); /* without SA_ONSTACK */
        CHECK(!was_on);
        CHECK_EQ(sigaltstack(NULL, &now), 0);
        CHECK(now.ss_sp == own_stack && now.ss_flags == 0);
    }
    st.ss_size = 100;
    CHECK_ERR(sigaltstack(&st, NULL), ENOMEM);
    st.ss_size = OWN;
    st.ss_flags = 77;
    CHECK_ERR(sigaltstack(&st, NULL), EINVAL);
    st.ss_flags = SS_DISABLE;
    CHECK_EQ(sigaltstack(&st, NULL), 0);
    free(own_stack);
    return arg;
}

TEST(alternate_stacks)
{
    pthread_t t[THREADS];

    install(SIGUSR1, where, SA_ONSTACK);
    install(SIGUSR2, where, 0);
    for (size_t i = 0; i < THREADS; i++)
        t[i] = spawn(on_own_stack, NULL);
    for (size_t i = 0; i < THREADS; i++)
        join(t[i]);
}

/* ---- what may be done in one ----------------------------------------------------------------------- */

static sem_t gate;
static int passed;

static void waits(int sig, siginfo_t *info, void *uc)
{
    volatile double x = 1.5;
    pthread_t self = pthread_self();

    (void)sig;
    (void)info;
    (void)uc;
    while (sem_wait(&gate) !=
           0)     /* other threads run meanwhile; not in POSIX's list, but */
        continue; /* garbage collectors and debuggers do it */
    sleep_ms(1);
    x *= 2;
    CHECK(x == 3 && pthread_equal(self, pthread_self()));
    add(&passed, 1);
    sem_post(&gate);
}

static void *interrupted(void *arg)
{
    double d[16];
    long sum = 0;

    for (int i = 0; i < 16; i++)
        d[i] = i + (double)(intptr_t)arg;
    raise(SIGUSR1);
    for (int i = 0; i < 16; i++)
        sum += (long)d[i];
    CHECK_EQ(sum, 120 + 16 * (intptr_t)arg);
    return NULL;
}

TEST(handler_waits)
{
    pthread_t t[50];

    passed = 0;
    CHECK_EQ(sem_init(&gate, 0, 0), 0);
    install(SIGUSR1, waits, 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(interrupted, (void *)i);
    settle();
    CHECK_EQ(get(&passed), 0);
    sem_post(&gate);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(passed, 50);
}

static __thread volatile bool found;

static __attribute__((noinline)) void marker(int sig)
{
    raise(sig);
    __asm__ volatile("" : : : "memory");
}

static void trace(int sig, siginfo_t *info, void *uc)
{
    void *at[64];
    int n = backtrace(at, 64);

    (void)sig;
    (void)info;
    (void)uc;
    found = false;
    for (int i = 0; i < n; i++)
        found |= (char *)at[i] >= (char *)marker && (char *)at[i] < (char *)marker + 64;
}

static void *traced(void *arg)
{
    marker(SIGUSR1);
    CHECK(found); /* unwinding goes through the signal frame */
    return arg;
}

TEST(backtrace_from_a_handler)
{
    void *at[4];

    backtrace(at, 4); /* loads libgcc_s */
    install(SIGUSR1, trace, 0);
    in_threads(traced);
}

static void in_handler_create(int sig, siginfo_t *info, void *uc)
{
    note(sig, info, uc);
    sched_yield();
}

static void *registers(void *arg)
{
    int *stop = arg;
    unsigned long n = 0;
    double x = 1;

    while (!get(stop)) {
        unsigned long a = n, b = n ^ 0x5555, c = ~n;
        double y = x;

        for (int i = 0; i < 1000; i++) {
            a = a * 3 + b;
            b += c >> 3;
            c ^= a;
            y = y * 1.0000001 + 1;
        }
        unsigned long a2 = n, b2 = n ^ 0x5555, c2 = ~n;
        double y2 = x;
        for (int i = 0; i < 1000; i++) {
            a2 = a2 * 3 + b2;
            b2 += c2 >> 3;
            c2 ^= a2;
            y2 = y2 * 1.0000001 + 1;
        }
        CHECK(a == a2 && b == b2 && c == c2 && y == y2);
        n++;
        x += 0.5;
    }
    return (void *)(intptr_t)calls;
}

TEST(registers_survive)
{
    pthread_t t[4];
    int stop = 0;

    install(SIGUSR1, in_handler_create, SA_RESTART);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(registers, &stop);
    for (int i = 0; i < 2000; i++) {
        CHECK_EQ(pthread_kill(t[i % 4], SIGUSR1), 0);
        if (i % 50 == 0)
            sched_yield();
    }
    settle();
    set(&stop, 1);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK((intptr_t)join(t[i]) > 0);
}
