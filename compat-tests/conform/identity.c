/* identity.c - thread ids, names, CPU clocks, scheduling parameters. */
#include "conform.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

#define THREADS 40

/* ---- kernel's view: thread ids ----------------------------------------------------- */

static pid_t ids[THREADS];
static pthread_barrier_t all_here;

static void *stable_id(void *arg)
{
    int me = (int)(intptr_t)arg;

    ids[me] = gettid();
    CHECK(ids[me] > 0);
    pthread_barrier_wait(&all_here); /* all alive at once, so all different */
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(gettid(), ids[me]); /* gettid(2): stable for the thread's life */
        CHECK_EQ(syscall(SYS_gettid), ids[me]);
        CHECK(gettid() != getpid()); /* only main has the process id */
        if (i % 4 == 0)
            sleep_ms(1);
        else
            sched_yield();
    }
    pthread_barrier_wait(&all_here);
    return NULL;
}

TEST(gettid_is_unique_and_stable)
{
    pthread_t t[THREADS];

    CHECK_EQ(gettid(), getpid()); /* gettid(2): in a process's first thread */
    CHECK_EQ(syscall(SYS_gettid), getpid());
    CHECK_EQ(pthread_barrier_init(&all_here, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(stable_id, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < i; k++)
            CHECK(ids[i] != ids[k]);
    }
    CHECK_EQ(gettid(), getpid()); /* also if main has been moved around */
    CHECK_EQ(pthread_barrier_destroy(&all_here), 0);
}

static void *process_ids(void *arg)
{
    CHECK_EQ(getpid(), (pid_t)(intptr_t)arg);
    CHECK_EQ(getppid(), getppid());
    CHECK_EQ(syscall(SYS_getpid), getpid());
    return NULL;
}

TEST(process_id_is_shared)
{
    for (int i = 0; i < 5; i++)
        join(spawn(process_ids, (void *)(intptr_t)getpid()));
}

/* ---- names ------------------------------------------------------------------------- */

static void *own_name(void *arg)
{
    char name[16], back[16];

    snprintf(name, sizeof(name), "worker-%d", (int)(intptr_t)arg);
    CHECK_EQ(pthread_setname_np(pthread_self(), name), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(pthread_getname_np(pthread_self(), back, sizeof(back)), 0);
        CHECK(strcmp(back, name) == 0);
        if (i % 4 == 0)
            sleep_ms(1);
        else
            sched_yield();
    }
    memset(back, 0, sizeof(back));
    CHECK_EQ(prctl(PR_GET_NAME, back), 0); /* prctl(2): the same name */
    CHECK(strcmp(back, name) == 0);
    CHECK_EQ(prctl(PR_SET_NAME, "by-prctl"), 0);
    sched_yield();
    CHECK_EQ(pthread_getname_np(pthread_self(), back, sizeof(back)), 0);
    CHECK(strcmp(back, "by-prctl") == 0);
    return NULL;
}

TEST(names_are_per_thread)
{
    char before[16], after[16];
    pthread_t t[THREADS];

    CHECK_EQ(pthread_getname_np(pthread_self(), before, sizeof(before)), 0);
    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(own_name, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
    CHECK_EQ(pthread_getname_np(pthread_self(), after, sizeof(after)), 0);
    CHECK(strcmp(before, after) == 0);
}

static void *inherited_name(void *arg)
{
    char name[16];

    (void)arg;
    CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
    CHECK(strcmp(name, "creator") == 0); /* Linux: the creator's */
    return NULL;
}

struct named {
    int go;
};

static void *wait_named(void *arg)
{
    await_at_least(&((struct named *)arg)->go, 1);
    return NULL;
}

TEST(names)
{
    struct named n = {0};
    char old[16], name[64];
    pthread_t t;

    CHECK_EQ(pthread_getname_np(pthread_self(), old, sizeof(old)), 0);
    CHECK_EQ(pthread_setname_np(pthread_self(), "creator"), 0);
    t = spawn(wait_named, &n);
    join(spawn(inherited_name, NULL));
    CHECK_EQ(pthread_setname_np(t, "123456789012345"), 0); /* 15 and the null: the most */
    CHECK_EQ(pthread_getname_np(t, name, sizeof(name)), 0);
    CHECK(strcmp(name, "123456789012345") == 0);
    CHECK_EQ(pthread_setname_np(t, "1234567890123456"),
             ERANGE);                                  /* pthread_setname_np(3) */
    CHECK_EQ(pthread_getname_np(t, name, 15), ERANGE); /* glibc: 16 whatever its length */
    CHECK_EQ(pthread_setname_np(t, ""), 0);
    CHECK_EQ(pthread_getname_np(t, name, 16), 0);
    CHECK_EQ(name[0], '\0');
    set(&n.go, 1);
    join(t);
    CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
    CHECK(strcmp(name, "creator") == 0);
    CHECK_EQ(pthread_setname_np(pthread_self(), old), 0);
}

TEST(concurrency)
{
    CHECK_EQ(pthread_getconcurrency(), 0); /* POSIX: zero if never set */
    CHECK_EQ(pthread_setconcurrency(-1), EINVAL);
    CHECK_EQ(pthread_setconcurrency(4), 0);
    CHECK_EQ(pthread_getconcurrency(), 4); /* POSIX: the level set before */
    CHECK_EQ(pthread_setconcurrency(0), 0);
}

/* ---- CPU clocks -------------------------------------------------------------------- */

#define OWN CLOCK_THREAD_CPUTIME_ID

static void *burn(void *arg)
{
    int64_t wall = now_ns(CLOCK_MONOTONIC), start = now_ns(OWN), last = start, now;
    clockid_t clock;

    CHECK_EQ(pthread_getcpuclockid(pthread_self(), &clock), 0);
    set(arg, 1);
    do {
        now = now_ns(OWN);
        CHECK(now >= last); /* POSIX: a clock of this thread, so it never goes back */
        last = now;
    } while (now - start < 30 * NS_PER_MS);
    CHECK(now_ns(clock) >= now);
    /* No thread gets more than one processor (half a millisecond for rounding). */
    CHECK(now_ns(CLOCK_MONOTONIC) - wall >= now - start - NS_PER_MS / 2);
    sched_yield();
    CHECK(now_ns(OWN) >= now);
    sleep_ms(2);
    CHECK(now_ns(OWN) >= now);
    return NULL;
}

TEST(running_thread_accrues_time)
{
    int started[4] = {0};
    pthread_t t[4];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(burn, &started[i]);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}

static void *doze(void *arg)
{
    int64_t start = now_ns(OWN);

    (void)arg;
    sleep_ms(300);
    CHECK(now_ns(OWN) - start < 150 * NS_PER_MS); /* asleep: almost nothing */
    return NULL;
}

TEST(sleeping_thread_accrues_none)
{
    int started = 0;
    pthread_t d[4], b;

    for (size_t i = 0; i < COUNT_OF(d); i++)
        d[i] = spawn(doze, NULL);
    b = spawn(burn, &started); /* another's time is not charged to the sleepers */
    for (size_t i = 0; i < COUNT_OF(d); i++)
        join(d[i]);
    join(b);
}

TEST(clock_of_another_thread)
{
    int started = 0;
    clockid_t clock;
    int64_t first, now;
    pthread_t t = spawn(burn, &started);

    await_at_least(&started, 1);
    CHECK_EQ(pthread_getcpuclockid(t, &clock), 0);
    first = now_ns(clock);
    for (int i = 0; i < 5; i++) {
        now = now_ns(clock); /* POSIX getcpuclockid: readable by any thread */
        CHECK(now >= first);
        first = now;
        sched_yield();
    }
    join(t);
    CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) >= 30 * NS_PER_MS);
}

TEST(new_thread_starts_at_zero)
{
    int started = 0;
    pthread_t t[10];

    join(spawn(burn, &started)); /* leaves a kernel thread behind that has used time */
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        int64_t before = now_ns(CLOCK_MONOTONIC), used;
        clockid_t clock;

        t[i] = spawn(doze, NULL);
        CHECK_EQ(pthread_getcpuclockid(t[i], &clock), 0);
        used = now_ns(clock);
        /* Not more than the time since it was made. */
        CHECK(used <= now_ns(CLOCK_MONOTONIC) - before + NS_PER_MS);
    }
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}

/* ---- scheduling -------------------------------------------------------------------- */

static void *scheduling(void *arg)
{
    struct sched_param param = {.sched_priority = 5};
    cpu_set_t set, all;
    int policy = -1;

    memcpy(&all, arg, sizeof(all));
    for (int i = 0; i < 5; i++)
        CHECK_EQ(sched_yield(), 0); /* POSIX */
    CHECK_EQ(pthread_getschedparam(pthread_self(), &policy, &param), 0);
    CHECK_EQ(policy, SCHED_OTHER);
    CHECK_EQ(param.sched_priority, 0);
    CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_OTHER, &param), 0);
    CHECK_EQ(pthread_setschedprio(pthread_self(), 0), 0);
    param.sched_priority = 5;
    CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_OTHER, &param), EINVAL);
    CHECK_EQ(pthread_setschedparam(pthread_self(), 99, &param), EINVAL);
    CPU_ZERO(&set);
    CHECK_EQ(pthread_getaffinity_np(pthread_self(), sizeof(set), &set), 0);
    CHECK(CPU_EQUAL(&set, &all)); /* inherited from the creator */
    CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    CHECK(CPU_EQUAL(&set, &all));
    CHECK_EQ(pthread_setaffinity_np(pthread_self(), sizeof(all), &all), 0);
    CPU_ZERO(&set);
    CHECK_EQ(pthread_setaffinity_np(pthread_self(), sizeof(set), &set), EINVAL);
    CHECK(sched_getcpu() >= 0);
    return NULL;
}

TEST(scheduling_parameters)
{
    cpu_set_t all;

    CPU_ZERO(&all);
    CHECK_EQ(pthread_getaffinity_np(pthread_self(), sizeof(all), &all), 0);
    CHECK(CPU_COUNT(&all) >= 1);
    for (int i = 0; i < 5; i++)
        join(spawn(scheduling, &all));
    scheduling(&all);
}
