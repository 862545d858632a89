/* futex_storm.c - private futexes by the raw system call, as language runtimes use them.
 *
 *   lock     a three-state futex mutex: exclusion and exact counter
 *   count    a counting semaphore with FUTEX_WAIT_BITSET and absolute, tiny timeouts:
 *            posts == takes + rest; no timeout before its time
 *   turns    a ring on one word: everybody waits for its turn with EAGAIN in play, the
 *            mover wakes exactly one bit of the bitset
 *   requeue  waiters on one word are moved to another with FUTEX_CMP_REQUEUE and woken
 *            there; the return values of wake and requeue are exact: they sum up to the
 *            number of sleepers
 *   wake_op  FUTEX_WAKE_OP wakes two words by one call; errors of bad calls */

#include "stress.h"
#include <linux/futex.h>
#include <sys/syscall.h>

#define THREADS 12

static long futex(_Atomic uint32_t *word, int op, uint32_t val, const void *val2,
                  _Atomic uint32_t *word2, uint32_t val3)
{
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, val2, word2, val3);
}

static long wake(_Atomic uint32_t *word, int n)
{
    return futex(word, FUTEX_WAKE, (uint32_t)n, NULL, NULL, 0);
}

static void wait_while(_Atomic uint32_t *word, uint32_t val)
{
    long rc = futex(word, FUTEX_WAIT, val, NULL, NULL, 0);

    CHECK(rc == 0 || errno == EAGAIN || errno == EINTR, "FUTEX_WAIT: %ld, errno %d", rc,
          errno);
}

static void run(const char *name, int n, void *(*fn)(void *))
{
    pthread_t t[THREADS];

    stress_phase(name, 0.2);
    for (long i = 0; i < n; i++)
        stress_create(&t[i], fn, (void *)i);
    for (long i = 0; i < n; i++)
        stress_join(t[i], (void *)i);
}

/* --- lock ------------------------------------------------------------------------- */

static _Atomic uint32_t mutex; /* 0 free, 1 held, 2 held and perhaps awaited */
static long counter;           /* under mutex */
static _Atomic long locks;

static void *lock_thread(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        uint32_t was = 0;

        if (!atomic_compare_exchange_strong(&mutex, &was, 1))
            while (atomic_exchange(&mutex, 2) != 0)
                wait_while(&mutex, 2);
        counter++;
        if (stress_rand(&rng) % 8 == 0)
            sched_yield();
        locks++;
        if (atomic_exchange(&mutex, 0) == 2)
            wake(&mutex, 1);
        stress_progress++;
    }
    return arg;
}

/* --- count ------------------------------------------------------------------------ */

static _Atomic uint32_t count;
static _Atomic long posts, takes, timeouts;

static bool count_take(uint64_t *rng)
{
    clockid_t clock = stress_rand(rng) & 1 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    struct timespec when = stress_after_ns(clock, stress_rand(rng) % 200000);
    int op = FUTEX_WAIT_BITSET | (clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0);

    for (;;) {
        uint32_t now = count;

        while (now > 0)
            if (atomic_compare_exchange_weak(&count, &now, now - 1))
                return true;
        if (futex(&count, op, 0, &when, NULL, FUTEX_BITSET_MATCH_ANY) == 0)
            continue;
        CHECK(errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT, "errno %d", errno);
        if (errno == ETIMEDOUT) {
            CHECK(stress_passed(clock, &when), "ETIMEDOUT before the deadline");
            return false;
        }
    }
}

static void *count_thread(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        if ((uintptr_t)arg % 3 == 0) {
            posts++;
            count++;
            wake(&count, 1);
            stress_sleep_ns(stress_rand(&rng) % 60000);
        } else if (count_take(&rng)) {
            takes++;
        } else {
            timeouts++;
        }
        stress_progress++;
    }
    return arg;
}

/* --- turns ------------------------------------------------------------------------ */

static _Atomic uint32_t turn;
static _Atomic bool turns_over;

static void *turn_thread(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg;

    for (;;) {
        uint32_t now = turn, next;

        if (turns_over)
            break;
        if (now % THREADS != me) {
            long rc = futex(&turn, FUTEX_WAIT_BITSET, now, NULL, NULL, 1u << me);

            CHECK(rc == 0 || errno == EAGAIN || errno == EINTR, "%ld, errno %d", rc,
                  errno);
            continue;
        }
        if (me == 0 && !stress_running())
            turns_over = true;
        next = ++turn % THREADS;
        if (turns_over)
            wake(&turn, THREADS);
        else
            CHECK(futex(&turn, FUTEX_WAKE_BITSET, 1, NULL, NULL, 1u << next) <= 1,
                  "woke more than one");
        stress_progress++;
    }
    return arg;
}

/* --- requeue ---------------------------------------------------------------------- */

static _Atomic uint32_t first, second;
static _Atomic long asleep, woken;
static pthread_barrier_t bar;
static _Atomic bool go_on;

/* The sleepers wait once and then may be woken on either word. */
static void requeue_sleeper(uint32_t round)
{
    asleep++;
    while (first == round)
        if (futex(&first, FUTEX_WAIT, round, NULL, NULL, 0) == 0)
            break;
    woken++;
}

/* Moves all but some sleepers over, then wakes the rest on the second word, until all the
 * sleepers have been accounted for; those not asleep yet see the changed word. */
static void requeue_mover(uint32_t round, uint64_t *rng)
{
    long n = THREADS - 1, done = 0;
    uint32_t direct = stress_rand(rng) % 3;

    while (asleep < n)
        sched_yield();
    if (stress_rand(rng) % 4)
        stress_sleep_ns(30000);
    done =
        futex(&first, FUTEX_CMP_REQUEUE, direct, (void *)(uintptr_t)100, &second, round);
    CHECK(done >= 0 && done <= n, "FUTEX_CMP_REQUEUE returned %ld, errno %d", done,
          errno);
    CHECK(futex(&first, FUTEX_CMP_REQUEUE, 1, (void *)(uintptr_t)1, &second, round + 5) ==
                  -1 &&
              errno == EAGAIN,
          "FUTEX_CMP_REQUEUE did not compare");
    first = round + 1;
    wake(&first, 100);
    while (woken < n) {
        CHECK(wake(&second, 1) <= 1, "woke more than one");
        sched_yield();
    }
    CHECK(wake(&second, 100) == 0 && wake(&first, 100) == 0, "a sleeper is left");
}

static void *requeue_thread(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);
    uint32_t round = 0;

    do {
        if (arg == NULL) {
            requeue_mover(round, &rng);
            asleep = woken = 0;
            go_on = stress_running();
            stress_progress++;
        } else {
            requeue_sleeper(round);
        }
        round++;
        pthread_barrier_wait(&bar);
        if (!go_on)
            return arg;
        pthread_barrier_wait(&bar);
    } while (true);
}

/* --- wake_op ---------------------------------------------------------------------- */

static _Atomic uint32_t word_a, word_b;
static _Atomic long arrived;

static void *op_thread(void *arg)
{
    _Atomic uint32_t *word = (uintptr_t)arg & 1 ? &word_a : &word_b;

    arrived++;
    while (*word == 0)
        wait_while(word, 0);
    return arg;
}

/* Word b goes from 0 to 7, and as it was 0, both words' sleepers are woken. */
static void run_wake_op(void)
{
    const uint32_t op = FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 0);
    pthread_t t[THREADS];

    stress_phase("wake_op", 0.2);
    while (stress_running()) {
        word_a = word_b = 0;
        arrived = 0;
        for (long i = 0; i < THREADS; i++)
            stress_create_small(&t[i], op_thread, (void *)i);
        while (arrived < THREADS)
            sched_yield();
        word_a = 1;
        OKSYS(futex(&word_a, FUTEX_WAKE_OP, 100, (void *)(uintptr_t)100, &word_b, op));
        CHECK(word_b == 7, "FUTEX_WAKE_OP stored %u", word_b);
        for (long i = 0; i < THREADS; i++)
            stress_join(t[i], (void *)i);
        stress_progress++;
    }
    CHECK(futex((void *)((char *)&word_a + 1), FUTEX_WAIT, 0, NULL, NULL, 0) == -1 &&
              errno == EINVAL,
          "an unaligned futex is accepted");
    CHECK(futex(&word_a, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0) == -1 && errno == EINVAL,
          "an empty bitset is accepted");
}

int main(int argc, char **argv)
{
    stress_begin("futex_storm", argc, argv);
    run("lock", 8, lock_thread);
    CHECK(counter == locks, "%ld counted, %ld locks", counter, locks);
    run("count", 9, count_thread);
    CHECK(posts == takes + count, "%ld posts, %ld takes, %u left", posts, takes, count);
    run("turns", THREADS, turn_thread);
    OK0(pthread_barrier_init(&bar, NULL, THREADS));
    first = second = 0;
    run("requeue", THREADS, requeue_thread);
    run_wake_op();
    return stress_end("%ld locks, %ld takes, %ld timeouts, %u turns", locks, takes,
                      timeouts, turn);
}
