/* kernel_threads.c - kernel threads and what they cost go away with what they were for: natively
 * with the thread that ends; in any implementation soon after. */
#include "conform.h"

#include <malloc.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/syscall.h>

enum {
    BLOCKED = 200,
    LEFT = 40,
    SECONDS = 15,
    ROUND = 1000,
    ROUNDS = 8,
    GROWTH_KB = 8 * 1024,
    ADDRESSES_KB = 64 * 1024
};

static long number_in(const char *path, const char *format)
{
    char line[256];
    long n = -1;
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    while (n < 0 && fgets(line, sizeof line, f) != NULL)
        sscanf(line, format, &n);
    fclose(f);
    return n;
}

static long kernel_threads(void)
{
    return number_in("/proc/self/status", "Threads: %ld");
}

static long resident_kb(void)
{
    return number_in("/proc/self/status", "VmRSS: %ld");
}

static long most_addresses_kb(void)
{
    return number_in("/proc/self/status", "VmPeak: %ld");
}

static int gate[2];

/* A wait that only the kernel can do: for a lock on a file, through an open file of its own. */
static char path[] = "/tmp/kernel_threads.XXXXXX";

static void *wait_in_kernel(void *arg)
{
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(write(gate[1], "x", 1), 1);
    CHECK_EQ(flock(fd, LOCK_SH), 0);
    close(fd);
    return arg;
}

TEST(those_of_calls_that_blocked_go)
{
    static pthread_t t[BLOCKED];
    char c;
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK_EQ(pipe(gate), 0);
    CHECK_EQ(flock(fd, LOCK_EX), 0);
    for (int i = 0; i < BLOCKED; i++)
        t[i] = spawn(wait_in_kernel, NULL);
    for (int i = 0; i < BLOCKED; i++)
        CHECK_EQ(read(gate[0], &c, 1), 1);
    CHECK_EQ(flock(fd, LOCK_UN), 0);
    for (int i = 0; i < BLOCKED; i++)
        join(t[i]);
    unlink(path);
    for (int i = 0; i < SECONDS * 10 && kernel_threads() > LEFT; i++)
        usleep(100000);
    CHECK(kernel_threads() <= LEFT);
}

/* A thread with an attribute that only the kernel can give. */
static void *pinned(void *arg)
{
    cpu_set_t set;
    CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    CHECK_EQ(sched_setaffinity(0, sizeof set, &set), 0);
    return arg;
}

/* All on one stack: what a new one touches is not what is counted here. */
static void many_pinned(void)
{
    static _Alignas(4096) char stack[64 * 1024];
    pthread_attr_t attr;
    pthread_t t;
    CHECK_EQ(pthread_attr_init(&attr), 0);
    CHECK_EQ(pthread_attr_setstack(&attr, stack, sizeof stack), 0);
    for (int i = 0; i < ROUND; i++) {
        CHECK_EQ(pthread_create(&t, &attr, pinned, NULL), 0);
        join(t);
    }
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
}

TEST(memory_of_bound_threads_is_used_again)
{
    many_pinned();
    long before = resident_kb();
    for (int i = 0; i < ROUNDS; i++)
        many_pinned();
    CHECK(resident_kb() - before < GROWTH_KB);
}

/* What kernel threads had that ended is given up while others are made without end. */
TEST(those_that_ended_do_not_pile_up)
{
    mallopt(M_ARENA_MAX, 1); /* arenas are the larger part of a process's addresses */
    join(spawn(pinned, NULL));
    long before = most_addresses_kb();
    for (int i = 0; i < ROUNDS / 2; i++)
        many_pinned();
    CHECK(most_addresses_kb() - before < ADDRESSES_KB);
}
