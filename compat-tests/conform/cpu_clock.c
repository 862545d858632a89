/* cpu_clock.c - the CPU time of threads adds up to that of the process, also where the kernel does
 * not let them run, or they wait in it; each test in a process of its own, since the first question
 * is what is asked about. */
#include "conform.h"

#include <fcntl.h>
#include <sys/file.h>

#define OWN CLOCK_THREAD_CPUTIME_ID
enum { SPINNERS = 8, SPIN_MS = 400 };

static int64_t spun[SPINNERS]; /* atomic */
static int stop, ready;        /* atomic */

static void report(const char *what, int64_t sum, int64_t all)
{
    char text[100];

    snprintf(text, sizeof text, "%s: threads %lld us, process %lld us", what,
             (long long)(sum / 1000), (long long)(all / 1000));
    conform_fail(__FILE__, __LINE__, text);
}

/* Never more than the process's, to 5 %; not much less either: who switches threads and watches over
 * them may need some, much under torture.  10 ms for what was before and comes after. */
static void adds_up(const char *what, int64_t sum, int64_t before, int64_t all)
{
    if (sum > all + all / 20 + 10 * NS_PER_MS || sum < before / 2 - 10 * NS_PER_MS)
        report(what, sum, all);
}

static void *spin(void *arg)
{
    int64_t *told = arg;
    volatile unsigned long n = 0;

    while (!get(&stop))
        for (int i = 0; i < 1000; i++)
            n = n + 1;
    __atomic_store_n(told, now_ns(OWN), __ATOMIC_SEQ_CST); /* the first question */
    return NULL;
}

static int64_t sum_of_spinners(void)
{
    int64_t sum = 0;

    for (int i = 0; i < SPINNERS; i++)
        sum += spun[i];
    return sum;
}

/* More of them than processors, most likely. */
MODE(spinners)
{
    pthread_t t[SPINNERS];

    for (int i = 0; i < SPINNERS; i++)
        t[i] = spawn(spin, &spun[i]);
    sleep_ms(SPIN_MS);
    set(&stop, 1);
    for (int i = 0; i < SPINNERS; i++)
        join(t[i]);
    int64_t all = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    adds_up("spinners", sum_of_spinners() + now_ns(OWN), all,
            now_ns(CLOCK_PROCESS_CPUTIME_ID));
    return conform_failures;
}

TEST(of_threads_that_compute)
{
    CHECK_EQ(run_mode("spinners", NULL, 0), 0);
}

/* Asked from outside, one after the other, while they compute. */
MODE(asked_by_another)
{
    pthread_t t[SPINNERS];
    int64_t sum = 0;
    clockid_t clock;

    for (int i = 0; i < SPINNERS; i++)
        t[i] = spawn(spin, &spun[i]);
    sleep_ms(SPIN_MS);
    int64_t before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < SPINNERS; i++) {
        CHECK_EQ(pthread_getcpuclockid(t[i], &clock), 0);
        sum += now_ns(clock);
    }
    adds_up("asked by another", sum, before, now_ns(CLOCK_PROCESS_CPUTIME_ID));
    set(&stop, 1);
    for (int i = 0; i < SPINNERS; i++)
        join(t[i]);
    return conform_failures;
}

TEST(of_threads_that_still_compute)
{
    CHECK_EQ(run_mode("asked_by_another", NULL, 0), 0);
}

static void *waits_in_kernel(void *arg)
{
    int fd = open("/proc/self/exe", O_RDONLY);

    add(&ready, 1);
    CHECK_EQ(flock(fd, LOCK_EX), 0); /* held by main */
    CHECK_EQ(flock(fd, LOCK_UN), 0);
    close(fd);
    __atomic_store_n((int64_t *)arg, now_ns(OWN), __ATOMIC_SEQ_CST);
    return NULL;
}

MODE(in_the_kernel)
{
    pthread_t t[SPINNERS];
    int fd = open("/proc/self/exe", O_RDONLY);

    CHECK_EQ(flock(fd, LOCK_EX), 0);
    for (int i = 0; i < SPINNERS; i++)
        t[i] = spawn(waits_in_kernel, &spun[i]);
    await_at_least(&ready, SPINNERS);
    sleep_ms(SPIN_MS);
    CHECK_EQ(flock(fd, LOCK_UN), 0);
    for (int i = 0; i < SPINNERS; i++) {
        join(t[i]);
        CHECK(spun[i] < 50 * NS_PER_MS);
    }
    return conform_failures;
}

TEST(of_threads_that_wait_in_the_kernel)
{
    CHECK_EQ(run_mode("in_the_kernel", NULL, 0), 0);
}

static void *nothing(void *arg)
{
    return arg;
}

MODE(main_s_own)
{
    volatile unsigned long n = 0;

    for (int i = 0; i < 20000000; i++)
        n = n + 1;
    for (int i = 0; i < 10; i++)
        join(spawn(nothing, NULL));
    int64_t all = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    adds_up("main", now_ns(OWN), all, now_ns(CLOCK_PROCESS_CPUTIME_ID));
    return conform_failures;
}

TEST(of_main_before_and_after_its_first_wait)
{
    CHECK_EQ(run_mode("main_s_own", NULL, 0), 0);
}
