/* 08 - a blocked call that nobody wrapped, and a long call of the C library, do not block the P.
 *
 * The first is a system call made by hand; the second one memchr over a large mapping.  Neither
 * passes a preemption point, nor can it be interrupted.  Meanwhile a second thread, on the same
 * and only P, looks at the clock.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "task.h"

enum { SLEEP_MS = 400 };
static const size_t SEARCHED = (size_t)16 << 30;

static volatile bool done, begun;
static int64_t call_ns;

static void *sleep_by_hand(void *arg)
{
    struct timespec ts = {.tv_nsec = SLEEP_MS * 1000000L};
    int64_t begin = now_ns();
    long ret;
    begun = true;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"((long)SYS_nanosleep), "D"(&ts), "S"(NULL)
                     : "rcx", "r11", "memory");
    call_ns = now_ns() - begin;
    done = true;
    return ret == 0 ? arg : NULL;
}

static void *search(void *arg)
{
    int64_t begin = now_ns();
    begun = true;
    bool found = memchr(arg, 1, SEARCHED) != NULL;
    call_ns = now_ns() - begin;
    done = true;
    return found ? NULL : arg;
}

static void child(const char *mode)
{
    static char not_null;
    void *arg = &not_null, *ret;
    bool memory = strcmp(mode, "search") == 0;
    if (memory)
        arg = mmap(NULL, SEARCHED, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (arg == MAP_FAILED)
        die("mmap");
    if (memory)
        madvise(arg, SEARCHED, MADV_HUGEPAGE);
    pthread_t t = start(memory ? search : sleep_by_hand, arg);
    double looks = 0;
    while (!begun)
        sched_yield();
    int64_t first = now_ns(), last = first, gap = 0;
    while (!done) {
        int64_t now = now_ns();
        gap = now - last > gap ? now - last : gap;
        last = now;
        looks++;
    }
    pthread_join(t, &ret);
    if (ret == NULL)
        die("the call failed");
    say("call_ms", (double)call_ns / 1e6);
    say("looks", looks);
    say("gap_ms", (double)gap / 1e6);
}

static void check(const char *mode)
{
    CHECK(run(mode, 1, NULL) == 0);
    double call = get("call_ms");
    OBSERVE("the call took %.0f ms; meanwhile %g looks at the clock, longest gap %.1f ms",
            call, get("looks"), get("gap_ms"));
    CHECK(call >= 100); /* else it proves nothing */
    CHECK(get("looks") > 1000);
    CHECK(get("gap_ms") < call / 2);
}

static void task(void)
{
    EXPECT("with 1 P, another thread goes on during a blocked call that nobody wrapped");
    check("sleep");
    EXPECT("and during a long call of the C library");
    check("search");
}
