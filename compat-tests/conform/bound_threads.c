/* bound_threads.c - what only the kernel can give one thread: policy, affinity, nice value,
 * I/O priority (sched(7), setpriority(2), pthread_attr_setscope), by pthread_* and by tid, and that it stays with that thread and with
 * no other.  What the kernel refuses in this environment is skipped alike in all runs. */
#include "conform.h"

#include <linux/ioprio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int stop;

/* Passes through the scheduler in many ways. */
static void mix(void)
{
    for (int i = 0; i < 20; i++) {
        sched_yield();
        usleep(50);
    }
}

static void *mixer(void *arg)
{
    while (!get(&stop))
        mix();
    return arg;
}

static pthread_t mixers[4];

static void start_mixers(void)
{
    set(&stop, 0);
    for (size_t i = 0; i < COUNT_OF(mixers); i++)
        mixers[i] = spawn(mixer, NULL);
}

static void stop_mixers(void)
{
    set(&stop, 1);
    for (size_t i = 0; i < COUNT_OF(mixers); i++)
        join(mixers[i]);
}

/* --- affinity -------------------------------------------------------------------------------- */

static int cpus[CPU_SETSIZE], ncpus;

static void find_cpus(void)
{
    cpu_set_t set;
    ncpus = 0;
    CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            cpus[ncpus++] = i;
}

static cpu_set_t only(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return set;
}

static void check_on(int cpu)
{
    cpu_set_t set, want = only(cpu);
    for (int i = 0; i < 50; i++) {
        unsigned now = 1000, node;
        CHECK_EQ(sched_getcpu(), cpu);
        CHECK_EQ(syscall(SYS_getcpu, &now, &node, NULL), 0);
        CHECK_EQ(now, cpu);
        sched_yield();
        if (i % 10 == 0)
            usleep(10);
    }
    CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    CHECK(CPU_EQUAL(&set, &want));
    CHECK_EQ(sched_getaffinity(gettid(), sizeof(set), &set), 0);
    CHECK(CPU_EQUAL(&set, &want));
    CHECK_EQ(pthread_getaffinity_np(pthread_self(), sizeof(set), &set), 0);
    CHECK(CPU_EQUAL(&set, &want));
    CPU_ZERO(&set);
    CHECK(syscall(SYS_sched_getaffinity, 0, sizeof(set), &set) > 0);
    CHECK(CPU_EQUAL(&set, &want));
}

static void *child_of_pinned(void *arg)
{
    check_on((int)(intptr_t)arg); /* sched_setaffinity(2): inherited */
    return NULL;
}

static void *pin_self(void *arg)
{
    int cpu = (int)(intptr_t)arg;
    cpu_set_t set = only(cpu);
    switch (cpu % 3) {
    case 0:
        CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
        break;
    case 1:
        CHECK_EQ(sched_setaffinity(gettid(), sizeof(set), &set), 0);
        break;
    default:
        CHECK_EQ(syscall(SYS_sched_setaffinity, 0, sizeof(set), &set), 0);
    }
    check_on(cpu);
    join(spawn(child_of_pinned, arg));
    return NULL;
}

static void *has_all_cpus(void *arg)
{
    cpu_set_t set;
    CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    CHECK_EQ(CPU_COUNT(&set), ncpus);
    return arg;
}

TEST(affinity_of_the_caller)
{
    pthread_t t[8];
    find_cpus();
    start_mixers();
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(pin_self, (void *)(intptr_t)cpus[i % (size_t)ncpus]);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    stop_mixers();
    has_all_cpus(NULL);
    join(spawn(has_all_cpus, NULL)); /* nobody got anything of it */
}

struct other {
    int tid, go, done;
    void (*check)(void);
};

static void *wait_and_check(void *arg)
{
    struct other *o = arg;
    set(&o->tid, gettid());
    await_at_least(&o->go, 1);
    o->check();
    set(&o->done, 1);
    await_at_least(&o->go, 2);
    return NULL;
}

static void on_last_cpu(void)
{
    check_on(cpus[ncpus - 1]);
}

TEST(affinity_of_another_thread)
{
    for (int by_tid = 0; by_tid < 3; by_tid++) {
        struct other o = {.check = on_last_cpu};
        cpu_set_t want = only(cpus[ncpus - 1]), got;
        pthread_t t = spawn(wait_and_check, &o);
        await_at_least(&o.tid, 1);
        if (by_tid == 1)
            CHECK_EQ(sched_setaffinity(o.tid, sizeof(want), &want), 0);
        else if (by_tid == 2)
            CHECK_EQ(syscall(SYS_sched_setaffinity, o.tid, sizeof(want), &want), 0);
        else
            CHECK_EQ(pthread_setaffinity_np(t, sizeof(want), &want), 0);
        CHECK_EQ(sched_getaffinity(o.tid, sizeof(got), &got), 0);
        CHECK(CPU_EQUAL(&want, &got));
        set(&o.go, 1);
        await_at_least(&o.done, 1);
        CHECK_EQ(sched_getaffinity(o.tid, sizeof(got), &got), 0);
        CHECK(CPU_EQUAL(&want, &got));
        set(&o.go, 2);
        join(t);
    }
    has_all_cpus(NULL);
}

static void *check_attr_cpu(void *arg)
{
    check_on((int)(intptr_t)arg);
    return NULL;
}

TEST(affinity_by_attribute)
{
    for (int i = 0; i < ncpus && i < 4; i++) {
        pthread_attr_t attr;
        pthread_t t;
        cpu_set_t set = only(cpus[i]);
        pthread_attr_init(&attr);
        CHECK_EQ(pthread_attr_setaffinity_np(&attr, sizeof(set), &set), 0);
        CHECK_EQ(pthread_create(&t, &attr, check_attr_cpu, (void *)(intptr_t)cpus[i]), 0);
        join(t);
        pthread_attr_destroy(&attr);
    }
}

TEST(affinity_errors)
{
    cpu_set_t none;
    CPU_ZERO(&none);
    CHECK_ERR(sched_setaffinity(0, sizeof(none), &none), EINVAL);
    CHECK_EQ(pthread_setaffinity_np(pthread_self(), sizeof(none), &none), EINVAL);
    CHECK_ERR(sched_getaffinity(0, 1, &none), EINVAL);
    CHECK_ERR(sched_setaffinity(0x7ffffffe, sizeof(none), &none), ESRCH);
    CHECK_ERR(sched_getscheduler(0x7ffffffe), ESRCH);
    CHECK_ERR(sched_getscheduler(-1), EINVAL);
}

static void *end_at_once(void *arg)
{
    set(arg, gettid());
    return NULL;
}

TEST(thread_that_has_ended)
{
    int tid = 0;
    struct sched_param p;
    join(spawn(end_at_once, &tid));
    sleep_ms(1);
    CHECK_ERR(sched_getscheduler(tid), ESRCH);
    CHECK_ERR(sched_getparam(tid, &p), ESRCH);
    CHECK_ERR(getpriority(PRIO_PROCESS, (id_t)tid), ESRCH);
}

/* --- policy ------------------------------------------------------------------------------------- */

static void check_policy(pid_t tid, int policy, int priority)
{
    struct sched_param p = {-1};
    CHECK_EQ(sched_getscheduler(tid), policy);
    CHECK_EQ(sched_getparam(tid, &p), 0);
    CHECK_EQ(p.sched_priority, priority);
    CHECK_EQ(syscall(SYS_sched_getscheduler, tid), policy);
}

/* After pthread_setschedparam only: the C library remembers what it set itself. */
static void check_own(int policy, int priority)
{
    struct sched_param p = {-1};
    int got = -1;
    check_policy(0, policy, priority);
    CHECK_EQ(pthread_getschedparam(pthread_self(), &got, &p), 0);
    CHECK_EQ(got, policy);
    CHECK_EQ(p.sched_priority, priority);
}

static bool may_fifo;

static void *policies(void *arg)
{
    static const int plain[] = {SCHED_BATCH, SCHED_IDLE, SCHED_OTHER};
    struct sched_param zero = {0}, two = {2}, three = {3};
    check_policy(0, SCHED_OTHER, 0);
    if (may_fifo) {
        CHECK_EQ(sched_setscheduler(0, SCHED_FIFO, &two), 0);
        mix();
        check_policy(0, SCHED_FIFO, 2);
        check_policy(gettid(), SCHED_FIFO, 2);
        CHECK_EQ(sched_setparam(gettid(), &three), 0);
        mix();
        check_policy(0, SCHED_FIFO, 3);
        CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_RR, &two), 0);
        check_own(SCHED_RR, 2);
        struct timespec ts = {0, 0};
        CHECK_EQ(sched_rr_get_interval(0, &ts), 0);
        CHECK(ts_ns(ts) > 0);
        CHECK_EQ(pthread_setschedprio(pthread_self(), 1), 0);
        check_own(SCHED_RR, 1);
        for (size_t i = 0; i < COUNT_OF(plain); i++) {
            CHECK_EQ(sched_setscheduler(gettid(), plain[i], &zero), 0);
            mix();
            check_policy(0, plain[i], 0);
        }
    }
    CHECK_ERR(sched_setscheduler(0, 77, &zero), EINVAL);
    CHECK_ERR(sched_setscheduler(0, SCHED_OTHER, &two), EINVAL);
    CHECK_ERR(sched_setscheduler(0, SCHED_OTHER, NULL), EINVAL);
    check_policy(0, SCHED_OTHER, 0);
    return arg;
}

static void *try_fifo(void *arg)
{
    struct sched_param two = {2};
    may_fifo = sched_setscheduler(0, SCHED_FIFO, &two) == 0;
    return arg;
}

TEST(policy_of_the_caller)
{
    join(spawn(try_fifo, NULL));
    start_mixers();
    join(spawn(policies, NULL));
    stop_mixers();
    check_policy(0, SCHED_OTHER, 0);
}

static void is_fifo(void)
{
    check_policy(0, SCHED_FIFO, 2);
}

TEST(policy_of_another_thread)
{
    struct sched_param two = {2};
    for (int how = 0; how < 3 && may_fifo; how++) {
        struct other o = {.check = is_fifo};
        pthread_t t = spawn(wait_and_check, &o);
        await_at_least(&o.tid, 1);
        if (how == 0)
            CHECK_EQ(sched_setscheduler(o.tid, SCHED_FIFO, &two), 0);
        else if (how == 1)
            CHECK_EQ(syscall(SYS_sched_setscheduler, o.tid, SCHED_FIFO, &two), 0);
        else
            CHECK_EQ(pthread_setschedparam(t, SCHED_FIFO, &two), 0);
        check_policy(o.tid, SCHED_FIFO, 2);
        set(&o.go, 1);
        await_at_least(&o.done, 1);
        check_policy(o.tid, SCHED_FIFO, 2);
        set(&o.go, 2);
        join(t);
    }
    check_policy(0, SCHED_OTHER, 0);
}

static void *check_policy_thread(void *arg)
{
    check_policy(0, (int)(intptr_t)arg, arg != NULL ? 2 : 0);
    mix();
    check_policy(0, (int)(intptr_t)arg, arg != NULL ? 2 : 0);
    return NULL;
}

static void *create_inheriting(void *arg)
{
    struct sched_param two = {2}, zero = {0};
    pthread_attr_t attr;
    pthread_t t;
    CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_RR, &two), 0);
    /* POSIX: PTHREAD_INHERIT_SCHED */
    join(spawn(check_policy_thread, (void *)SCHED_RR));
    pthread_attr_init(&attr);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    /* nothing was said explicitly yet */
    CHECK_EQ(pthread_create(&t, &attr, check_policy_thread, (void *)SCHED_RR), 0);
    join(t);
    pthread_attr_setschedpolicy(&attr, SCHED_OTHER);
    pthread_attr_setschedparam(&attr, &zero);
    CHECK_EQ(pthread_create(&t, &attr, check_policy_thread, (void *)SCHED_OTHER), 0);
    join(t);
    pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
    pthread_attr_setschedparam(&attr, &two);
    CHECK_EQ(pthread_create(&t, &attr, check_policy_thread, (void *)SCHED_FIFO), 0);
    join(t);
    CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_OTHER, &zero), 0);
    join(spawn(check_policy_thread, (void *)SCHED_OTHER));
    return arg;
}

TEST(policy_is_inherited)
{
    if (may_fifo)
        join(spawn(create_inheriting, NULL));
}

/* Higher priority runs first, for real: with one CPU and both ready. */
static char order[4];
static int norder, hold;

static void *run_in_order(void *arg)
{
    cpu_set_t set = only(cpus[0]);
    CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
    await_at_least(&hold, 1);
    order[add(&norder, 1) - 1] = *(char *)arg;
    return NULL;
}

TEST(fifo_priorities)
{
    pthread_attr_t attr;
    pthread_t t[3];
    static char names[] = "abc";
    if (!may_fifo)
        return;
    set(&hold, 1);
    for (int i = 0; i < 3; i++) {
        struct sched_param p = {5 + i};
        pthread_attr_init(&attr);
        pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
        pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
        pthread_attr_setschedparam(&attr, &p);
        CHECK_EQ(pthread_create(&t[i], &attr, run_in_order, &names[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        join(t[i]);
    CHECK_EQ(norder, 3);
}

/* --- nice, I/O priority --------------------------------------------------------------------------- */

static int nice_of(pid_t tid)
{
    errno = 0;
    int n = getpriority(PRIO_PROCESS, (id_t)tid);
    CHECK_EQ(errno, 0);
    return n;
}

static void *check_nice(void *arg)
{
    CHECK_EQ(nice_of(0), (int)(intptr_t)arg);
    return NULL;
}

static void *be_nice(void *arg)
{
    int before = nice_of(0);
    CHECK_EQ(nice(3), before + 3);
    mix();
    CHECK_EQ(nice_of(0), before + 3);
    CHECK_EQ(nice_of(gettid()), before + 3);
    CHECK_EQ(setpriority(PRIO_PROCESS, (id_t)gettid(), before + 5), 0);
    mix();
    CHECK_EQ(nice_of(0), before + 5);
    CHECK_EQ(syscall(SYS_getpriority, PRIO_PROCESS, 0), 20 - (before + 5));
    join(spawn(check_nice, (void *)(intptr_t)(before + 5))); /* inherited */
    return arg;
}

static void is_nicer(void)
{
    CHECK_EQ(nice_of(0), nice_of(getpid()) + 4);
}

TEST(nice_value)
{
    int before = nice_of(0);
    struct other o = {.check = is_nicer};
    start_mixers();
    join(spawn(be_nice, NULL));
    pthread_t t = spawn(wait_and_check, &o);
    await_at_least(&o.tid, 1);
    CHECK_EQ(setpriority(PRIO_PROCESS, (id_t)o.tid, before + 4), 0);
    CHECK_EQ(nice_of(o.tid), before + 4);
    set(&o.go, 1);
    await_at_least(&o.done, 1);
    CHECK_EQ(nice_of(o.tid), before + 4);
    set(&o.go, 2);
    join(t);
    stop_mixers();
    CHECK_EQ(nice_of(0), before);
    join(spawn(check_nice, (void *)(intptr_t)before));
}

static void *set_ioprio(void *arg)
{
    int idle = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0);
    CHECK_EQ(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, idle), 0);
    mix();
    CHECK_EQ(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0), idle);
    CHECK_EQ(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, gettid()), idle);
    return arg;
}

static void *get_ioprio(void *arg)
{
    int class = IOPRIO_PRIO_CLASS(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0));
    CHECK(class != IOPRIO_CLASS_IDLE);
    return arg;
}

TEST(io_priority)
{
    join(spawn(set_ioprio, NULL));
    join(spawn(get_ioprio, NULL));
    get_ioprio(NULL);
}

/* --- attributes and usage ------------------------------------------------------------------------------ */

TEST(scope)
{
    pthread_attr_t attr;
    int scope = -1;
    pthread_t t;
    pthread_attr_init(&attr);
    CHECK_EQ(pthread_attr_getscope(&attr, &scope), 0);
    CHECK_EQ(scope, PTHREAD_SCOPE_SYSTEM);
    CHECK_EQ(pthread_attr_setscope(&attr, PTHREAD_SCOPE_PROCESS), ENOTSUP);
    CHECK_EQ(pthread_attr_setscope(&attr, 77), EINVAL);
    CHECK_EQ(pthread_attr_setscope(&attr, PTHREAD_SCOPE_SYSTEM), 0);
    CHECK_EQ(pthread_create(&t, &attr, mixer, NULL), 0);
    set(&stop, 1);
    join(t);
}

static int64_t usage_ns(void)
{
    struct rusage r;
    CHECK_EQ(getrusage(RUSAGE_THREAD, &r), 0);
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * NS_PER_S +
           (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000;
}

static void *burn(void *arg)
{
    int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
    while (now_ns(CLOCK_THREAD_CPUTIME_ID) - start < 50 * NS_PER_MS)
        continue;
    CHECK(usage_ns() >= 40 * NS_PER_MS);
    return arg;
}

static void *idle(void *arg)
{
    for (int i = 0; i < 20; i++)
        usleep(1000);
    CHECK(usage_ns() < 40 * NS_PER_MS);
    return arg;
}

TEST(usage_per_thread)
{
    pthread_t t[4];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(i % 2 ? burn : idle, NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}
