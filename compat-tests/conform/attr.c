/* attr.c - thread attributes: values, errors, defaults, and what threads report. */
#include "conform.h"

#include <sys/resource.h>

static size_t page;

__attribute__((constructor)) static void find_page(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
}

TEST(defaults)
{
    struct sched_param param = {.sched_priority = -1};
    pthread_attr_t attr;
    size_t size = 0;
    sigset_t set;
    int value = -1;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_getdetachstate(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_CREATE_JOINABLE); /* POSIX: the default */
    CHECK_EQ(pthread_attr_getscope(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_SCOPE_SYSTEM); /* glibc */
    CHECK_EQ(pthread_attr_getinheritsched(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_INHERIT_SCHED);
    CHECK_EQ(pthread_attr_getschedpolicy(&attr, &value), 0);
    CHECK_EQ(value, SCHED_OTHER);
    CHECK_EQ(pthread_attr_getschedparam(&attr, &param), 0);
    CHECK_EQ(param.sched_priority, 0);
    CHECK_EQ(pthread_attr_getguardsize(&attr, &size), 0);
    CHECK_EQ(size, page); /* glibc: one page */
    CHECK_EQ(pthread_attr_getstacksize(&attr, &size), 0);
    CHECK(size >= (size_t)PTHREAD_STACK_MIN);
    CHECK_EQ(pthread_attr_getsigmask_np(&attr, &set), PTHREAD_ATTR_NO_SIGMASK_NP);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

TEST(detach_state)
{
    pthread_attr_t attr;
    int value = -1;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED), 0);
    CHECK_EQ(pthread_attr_getdetachstate(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_CREATE_DETACHED);
    CHECK_EQ(pthread_attr_setdetachstate(&attr, 2), EINVAL); /* POSIX */
    CHECK_EQ(pthread_attr_setdetachstate(&attr, -1), EINVAL);
    CHECK_EQ(pthread_attr_getdetachstate(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_CREATE_DETACHED); /* errors change nothing */
    CHECK_EQ(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_JOINABLE), 0);
    CHECK_EQ(pthread_attr_getdetachstate(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_CREATE_JOINABLE);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

TEST(scheduling)
{
    struct sched_param param = {.sched_priority = 0};
    pthread_attr_t attr;
    int value = -1;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setscope(&attr, PTHREAD_SCOPE_SYSTEM), 0);
    CHECK_EQ(pthread_attr_setscope(&attr, PTHREAD_SCOPE_PROCESS), ENOTSUP); /* Linux */
    CHECK_EQ(pthread_attr_setscope(&attr, 2), EINVAL);
    CHECK_EQ(pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED), 0);
    CHECK_EQ(pthread_attr_getinheritsched(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_EXPLICIT_SCHED);
    CHECK_EQ(pthread_attr_setinheritsched(&attr, 2), EINVAL);
    CHECK_EQ(pthread_attr_setschedpolicy(&attr, SCHED_RR), 0);
    CHECK_EQ(pthread_attr_getschedpolicy(&attr, &value), 0);
    CHECK_EQ(value, SCHED_RR);
    CHECK_EQ(pthread_attr_setschedpolicy(&attr, SCHED_BATCH), EINVAL); /* glibc */
    CHECK_EQ(pthread_attr_setschedpolicy(&attr, 99), EINVAL);
    CHECK_EQ(pthread_attr_setschedparam(&attr, &param), EINVAL); /* RR starts at 1 */
    param.sched_priority = 10;
    CHECK_EQ(pthread_attr_setschedparam(&attr, &param), 0);
    param.sched_priority = 0;
    CHECK_EQ(pthread_attr_getschedparam(&attr, &param), 0);
    CHECK_EQ(param.sched_priority, 10);
    param.sched_priority = 1000;
    CHECK_EQ(pthread_attr_setschedparam(&attr, &param), EINVAL);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

TEST(sizes)
{
    static char stack[1 << 18] __attribute__((aligned(4096)));
    pthread_attr_t attr;
    void *address = NULL;
    size_t size = 0;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN - 1), EINVAL);
    CHECK_EQ(pthread_attr_setstacksize(&attr, 0), EINVAL);
    CHECK_EQ(pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN), 0);
    CHECK_EQ(pthread_attr_getstacksize(&attr, &size), 0);
    CHECK_EQ(size, PTHREAD_STACK_MIN);
    CHECK_EQ(pthread_attr_setstacksize(&attr, 1000001), 0); /* glibc: kept as it is */
    CHECK_EQ(pthread_attr_getstacksize(&attr, &size), 0);
    CHECK_EQ(size, 1000001);

    CHECK_EQ(pthread_attr_setguardsize(&attr, 0), 0);
    CHECK_EQ(pthread_attr_getguardsize(&attr, &size), 0);
    CHECK_EQ(size, 0);
    CHECK_EQ(pthread_attr_setguardsize(&attr, 12345), 0);
    CHECK_EQ(pthread_attr_getguardsize(&attr, &size), 0);
    CHECK_EQ(size, 12345); /* POSIX: what was set, not what is used */

    CHECK_EQ(pthread_attr_setstack(&attr, stack, 100), EINVAL); /* POSIX: too small */
    CHECK_EQ(pthread_attr_setstack(&attr, stack, sizeof(stack)), 0);
    CHECK_EQ(pthread_attr_getstack(&attr, &address, &size), 0);
    CHECK(address == stack);
    CHECK_EQ(size, sizeof(stack));
    CHECK_EQ(pthread_attr_getstacksize(&attr, &size), 0);
    CHECK_EQ(size, sizeof(stack));
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

TEST(affinity_and_signal_mask)
{
    pthread_attr_t attr;
    cpu_set_t set, back;
    sigset_t mask, mask_back;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    memset(&back, 0, sizeof(back));
    CHECK_EQ(pthread_attr_getaffinity_np(&attr, sizeof(back), &back), 0);
    CHECK_EQ(CPU_COUNT(&back), CPU_SETSIZE); /* glibc: none set means all */
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    CHECK_EQ(pthread_attr_setaffinity_np(&attr, sizeof(set), &set), 0);
    CHECK_EQ(pthread_attr_getaffinity_np(&attr, sizeof(back), &back), 0);
    CHECK(CPU_EQUAL(&set, &back));
    CHECK_EQ(pthread_attr_getaffinity_np(&attr, 1, &back), 0); /* bit 0 fits */
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    CHECK_EQ(pthread_attr_setsigmask_np(&attr, &mask), 0);
    CHECK_EQ(pthread_attr_getsigmask_np(&attr, &mask_back), 0);
    CHECK_EQ(sigismember(&mask_back, SIGUSR2), 1);
    CHECK_EQ(sigismember(&mask_back, SIGUSR1), 0);
    CHECK_EQ(pthread_attr_setsigmask_np(&attr, NULL), 0); /* glibc: unset again */
    CHECK_EQ(pthread_attr_getsigmask_np(&attr, &mask_back), PTHREAD_ATTR_NO_SIGMASK_NP);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

static void *report_mask(void *arg)
{
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, arg), 0);
    return NULL;
}

TEST(signal_mask_is_applied)
{
    pthread_attr_t attr;
    sigset_t mask, seen;
    pthread_t t;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    CHECK_EQ(pthread_attr_setsigmask_np(&attr, &mask), 0);
    CHECK_EQ(pthread_create(&t, &attr, report_mask, &seen), 0);
    join(t);
    CHECK_EQ(sigismember(&seen, SIGUSR2), 1); /* glibc: instead of the creator's */
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &seen), 0);
    CHECK_EQ(sigismember(&seen, SIGUSR2), 0);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

/* ---- what a running thread says of itself ------------------------------------------ */

struct expect {
    size_t stack, guard;
    int detached, done;
};

static void *inspect(void *arg)
{
    struct expect *want = arg;
    pthread_attr_t attr;
    void *address = NULL;
    size_t size = 0;
    int value = -1;

    CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    CHECK_EQ(pthread_attr_getstack(&attr, &address, &size), 0);
    CHECK((char *)&attr >= (char *)address && (char *)&attr < (char *)address + size);
    /* glibc: rounded down to pages, and larger when an old stack is reused. */
    CHECK(size + page > want->stack);
    CHECK_EQ((uintptr_t)address % page, 0); /* the JVM maps guard pages there */
    CHECK_EQ(pthread_attr_getguardsize(&attr, &size), 0);
    CHECK_EQ(size, want->guard);
    CHECK_EQ(pthread_attr_getdetachstate(&attr, &value), 0);
    CHECK_EQ(value, want->detached);
    CHECK_EQ(pthread_attr_getschedpolicy(&attr, &value), 0);
    CHECK_EQ(value, SCHED_OTHER);
    CHECK_EQ(pthread_attr_getscope(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_SCOPE_SYSTEM);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    set(&want->done, 1);
    return NULL;
}

TEST(getattr_np)
{
    static struct expect detached; /* nobody joins that thread */
    struct expect want = {0, page, PTHREAD_CREATE_JOINABLE, 0};
    pthread_attr_t attr;
    pthread_t t;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_getstacksize(&attr, &want.stack), 0);
    join(spawn(inspect, &want));

    want.stack = 300000;
    want.guard = 4 * page;
    CHECK_EQ(pthread_attr_setstacksize(&attr, want.stack), 0);
    CHECK_EQ(pthread_attr_setguardsize(&attr, 4 * page - 1), 0); /* rounded up */
    CHECK_EQ(pthread_create(&t, &attr, inspect, &want), 0);
    join(t);

    detached = (struct expect){want.stack, 0, PTHREAD_CREATE_DETACHED, 0};
    CHECK_EQ(pthread_attr_setguardsize(&attr, 0), 0);
    CHECK_EQ(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED), 0);
    CHECK_EQ(pthread_create(&t, &attr, inspect, &detached), 0);
    await_at_least(&detached.done, 1);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

TEST(getattr_np_of_main)
{
    pthread_attr_t attr;
    void *address = NULL;
    size_t size = 0;
    int value = -1;

    CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    CHECK_EQ(pthread_attr_getstack(&attr, &address, &size), 0);
    CHECK((char *)&attr >= (char *)address && (char *)&attr < (char *)address + size);
    CHECK_EQ(pthread_attr_getdetachstate(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_CREATE_JOINABLE);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

struct subject {
    int ready, go;
    void *local;
};

static void *be_inspected(void *arg)
{
    struct subject *s = arg;
    int here;

    s->local = &here;
    set(&s->ready, 1);
    await_at_least(&s->go, 1);
    return NULL;
}

TEST(getattr_np_of_another_thread)
{
    static struct subject s; /* nobody joins that thread in the end */
    pthread_t t = spawn(be_inspected, &s);
    pthread_attr_t attr;
    void *address = NULL;
    size_t size = 0;
    int value = -1;

    await_at_least(&s.ready, 1);
    CHECK_EQ(pthread_getattr_np(t, &attr), 0);
    CHECK_EQ(pthread_attr_getstack(&attr, &address, &size), 0);
    CHECK((char *)s.local >= (char *)address && (char *)s.local < (char *)address + size);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    CHECK_EQ(pthread_detach(t), 0);
    CHECK_EQ(pthread_getattr_np(t, &attr), 0);
    CHECK_EQ(pthread_attr_getdetachstate(&attr, &value), 0);
    CHECK_EQ(value, PTHREAD_CREATE_DETACHED); /* glibc: the present state */
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    set(&s.go, 1);
}

/* ---- process-wide defaults --------------------------------------------------------- */

TEST(default_attributes)
{
    struct expect want = {1 << 20, 3 * page, PTHREAD_CREATE_JOINABLE, 0};
    static char stack[1 << 17] __attribute__((aligned(4096)));
    pthread_attr_t old, attr, bad;
    size_t size = 0;

    CHECK_EQ(pthread_getattr_default_np(&old), 0);
    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attr, want.stack), 0);
    CHECK_EQ(pthread_attr_setguardsize(&attr, want.guard), 0);
    CHECK_EQ(pthread_setattr_default_np(&attr), 0);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    CHECK_EQ(pthread_getattr_default_np(&attr), 0);
    CHECK_EQ(pthread_attr_getstacksize(&attr, &size), 0);
    CHECK_EQ(size, want.stack);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    join(spawn(inspect, &want)); /* glibc: used for threads without attributes */
    CHECK_EQ(pthread_attr_init(&bad), 0);
    CHECK_EQ(pthread_attr_setstack(&bad, stack, sizeof(stack)), 0);
    CHECK_EQ(pthread_setattr_default_np(&bad), EINVAL); /* glibc: no address for all */
    CHECK_EQ(pthread_attr_destroy(&bad), 0);
    CHECK_EQ(pthread_setattr_default_np(&old), 0);
    CHECK_EQ(pthread_attr_destroy(&old), 0);
}

MODE(print_stack_size)
{
    struct expect want = {0, page, PTHREAD_CREATE_JOINABLE, 0};
    pthread_attr_t attr;

    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_getstacksize(&attr, &want.stack), 0);
    join(spawn(inspect, &want));
    printf("%zu", want.stack);
    return get(&conform_failures) ? 1 : 0;
}

static void check_with_limit(rlim_t limit, const char *want)
{
    struct rlimit old, changed;
    char out[64];

    CHECK_EQ(getrlimit(RLIMIT_STACK, &old), 0);
    changed = old;
    changed.rlim_cur = limit;
    if (setrlimit(RLIMIT_STACK, &changed) != 0)
        return; /* a hard limit forbids it */
    CHECK_EXITS(run_mode("print_stack_size", out, sizeof(out)), 0);
    CHECK(strcmp(out, want) == 0);
    CHECK_EQ(setrlimit(RLIMIT_STACK, &old), 0);
}

TEST(default_size_follows_the_limit)
{
    check_with_limit(4 << 20, "4194304");         /* glibc: RLIMIT_STACK at start */
    check_with_limit((3 << 20) + 100, "3149824"); /* rounded up to a page */
    check_with_limit(RLIM_INFINITY, "2097152");   /* x86-64: ARCH_STACK_DEFAULT_SIZE */
}

/* ---- what threads made without attributes get ---------------------------------------- */

static int looked;

static void *looks_at_itself(void *arg)
{
    pthread_attr_t attr;
    int detach = 0, inherit = 0;
    cpu_set_t cpus;
    sigset_t mask;

    (void)arg;
    CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    CHECK_EQ(pthread_attr_getdetachstate(&attr, &detach), 0);
    CHECK_EQ(detach, PTHREAD_CREATE_DETACHED);
    CHECK_EQ(pthread_attr_getinheritsched(&attr, &inherit), 0);
    CHECK_EQ(inherit, PTHREAD_EXPLICIT_SCHED);
    CHECK_EQ(pthread_attr_getaffinity_np(&attr, sizeof(cpus), &cpus), 0);
    CHECK(CPU_COUNT(&cpus) <= sysconf(_SC_NPROCESSORS_CONF)); /* its own, not all ones */
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGUSR2), 1);
    set(&looked, 1);
    return NULL;
}

static void changed_default(void *arg)
{
    pthread_attr_t attr;
    sigset_t mask;

    (void)arg;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED), 0);
    CHECK_EQ(pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED), 0);
    CHECK_EQ(pthread_attr_setsigmask_np(&attr, &mask), 0);
    CHECK_EQ(pthread_setattr_default_np(&attr), 0);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    spawn(looks_at_itself, NULL);
    await_at_least(&looked, 1);
}

TEST(changed_default_is_for_all_of_it)
{
    CHECK_CHILD_OK(start_child(changed_default, NULL));
}
