/* futex.c - the futex system call as programs use it directly (libstdc++, Rust, libgomp
 * and hand-made locks). */
#include "conform.h"

#include <linux/futex.h>
#include <sys/syscall.h>

static long futex(void *word, int op, unsigned val, const struct timespec *ts,
                  void *word2, unsigned val3)
{
    return syscall(SYS_futex, word, op, val, ts, word2, val3);
}

/* For the requeue family the fourth argument is a count. */
static long futex_move(void *word, int op, unsigned wake, uintptr_t move, void *word2,
                       unsigned val3)
{
    return syscall(SYS_futex, word, op, wake, move, word2, val3);
}

TEST(wait_compares)
{
    unsigned word = 5;

    CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 6, NULL, NULL, 0), EAGAIN);
    CHECK_ERR(futex(&word, FUTEX_WAIT, 6, NULL, NULL, 0), EAGAIN);
    CHECK_ERR(
        futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 4, NULL, NULL, FUTEX_BITSET_MATCH_ANY),
        EAGAIN);
    CHECK_EQ(word, 5);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 0);
    CHECK_EQ(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
}

TEST(timeouts)
{
    struct timespec ts = {0, 20 * NS_PER_MS}, past = {1, 0}, bad = {0, 1000000000};
    struct timespec zero = {0, 0};
    int64_t start = now_ns(CLOCK_MONOTONIC);
    unsigned word = 0;

    /* futex(2): FUTEX_WAIT takes a relative time, */
    CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0), ETIMEDOUT);
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 20 * NS_PER_MS);
    CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 0, &zero, NULL, 0), ETIMEDOUT);
    /* FUTEX_WAIT_BITSET an absolute one on either clock. */
    ts = in_ms(CLOCK_MONOTONIC, 20);
    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &ts, NULL, ~0u), ETIMEDOUT);
    CHECK(now_ns(CLOCK_MONOTONIC) >= ts_ns(ts));
    ts = in_ms(CLOCK_REALTIME, 20);
    CHECK_ERR(
        futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &ts, NULL, ~0u),
        ETIMEDOUT);
    CHECK(now_ns(CLOCK_REALTIME) >= ts_ns(ts));
    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &past, NULL, ~0u), ETIMEDOUT);
    CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 0, &bad, NULL, 0), EINVAL);
    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &bad, NULL, ~0u), EINVAL);
    /* The value is compared before the time matters. */
    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 1, &past, NULL, ~0u), EAGAIN);
}

TEST(arguments)
{
    unsigned word = 0;

    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex((char *)&word + 1, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex((char *)&word + 1, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex(&word, 127, 0, NULL, NULL, 0), ENOSYS);
}

struct sleepers {
    unsigned word;
    unsigned bits;
    int arrived, passed;
};

static void *sleep_on_word(void *arg)
{
    struct sleepers *s = arg;

    add(&s->arrived, 1);
    CHECK_EQ(futex(&s->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), 0);
    add(&s->passed, 1);
    return NULL;
}

static void *sleep_on_bits(void *arg)
{
    struct sleepers *s = arg;

    add(&s->arrived, 1);
    CHECK_EQ(futex(&s->word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, s->bits), 0);
    add(&s->passed, 1);
    return NULL;
}

/* Wakes up to STEP at a time until N in all were woken; each was asleep, since the call
 * says so. Never coming to N is a hang. */
static void wake_until(void *word, int op, unsigned bits, int step, int n)
{
    while (n > 0) {
        long woken = futex(word, op, (unsigned)(step < n ? step : n), NULL, NULL, bits);

        CHECK(woken >= 0 && woken <= step);
        n -= (int)woken;
        if (woken == 0)
            sleep_ms(1);
    }
}

TEST(wake_counts)
{
    pthread_t t[20];

    for (int step = 1; step <= 20; step += 6) {
        struct sleepers s = {.word = 0};

        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(sleep_on_word, &s);
        wake_until(&s.word, FUTEX_WAKE_PRIVATE, 0, step, COUNT_OF(t));
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
        CHECK_EQ(s.passed, COUNT_OF(t));
        CHECK_EQ(futex(&s.word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
    }
}

TEST(not_more_than_asked)
{
    struct sleepers s = {.word = 0};
    pthread_t t[10];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(sleep_on_word, &s);
    wake_until(&s.word, FUTEX_WAKE_PRIVATE, 0, 1, 4);
    await_at_least(&s.passed, 4);
    settle();
    CHECK_EQ(get(&s.passed), 4);
    wake_until(&s.word, FUTEX_WAKE_PRIVATE, 0, INT_MAX, 6);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
}

TEST(bitsets)
{
    struct sleepers s = {.word = 0, .bits = 1};
    pthread_t t[5];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(sleep_on_bits, &s);
    wake_until(&s.word, FUTEX_WAKE_BITSET_PRIVATE, 1, 1, 1);
    await_at_least(&s.passed, 1);
    /* futex(2): only waiters with a common bit are woken, */
    CHECK_EQ(futex(&s.word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 2), 0);
    wake_until(&s.word, FUTEX_WAKE_BITSET_PRIVATE, 3, 1, 2);
    /* and a plain wake has them all in common. */
    wake_until(&s.word, FUTEX_WAKE_PRIVATE, 0, INT_MAX, 2);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(s.passed, COUNT_OF(t));
}

TEST(requeue)
{
    struct sleepers s = {.word = 0};
    unsigned other = 0;
    pthread_t t[8];
    long moved = 0;

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(sleep_on_word, &s);
    CHECK_ERR(futex_move(&s.word, FUTEX_CMP_REQUEUE_PRIVATE, 1, INT_MAX, &other, 1),
              EAGAIN); /* futex(2): val3 is compared */
    while (moved < (long)COUNT_OF(t)) {
        /* Moves all, wakes none; returns how many it woke or moved. */
        long n = futex_move(&s.word, FUTEX_CMP_REQUEUE_PRIVATE, 0, INT_MAX, &other, 0);

        CHECK(n >= 0);
        moved += n;
        sleep_ms(1);
    }
    CHECK_EQ(get(&s.passed), 0);
    CHECK_EQ(futex(&s.word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 0);
    /* Wakes 3, moves 2 back, leaves 3. */
    CHECK_EQ(futex_move(&other, FUTEX_CMP_REQUEUE_PRIVATE, 3, 2, &s.word, 0), 5);
    await_at_least(&s.passed, 3);
    CHECK_EQ(futex(&s.word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 2);
    CHECK_EQ(futex_move(&other, FUTEX_REQUEUE_PRIVATE, 1, 1, &s.word, 0), 2);
    CHECK_EQ(futex(&other, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 1);
    CHECK_EQ(futex(&s.word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 1);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(s.passed, COUNT_OF(t));
}

TEST(wake_op)
{
    struct sleepers a = {.word = 0}, b = {.word = 0};
    pthread_t ta = spawn(sleep_on_word, &a), tb = spawn(sleep_on_word, &b);
    long woken = 0;

    await_at_least(&a.arrived, 1);
    await_at_least(&b.arrived, 1);
    while (woken < 2) {
        /* futex(2): b.word += 0 if it was 0, wakes one on each word. */
        long n = futex_move(&a.word, FUTEX_WAKE_OP_PRIVATE, 1, 1, &b.word,
                            FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0));

        CHECK(n >= 0);
        woken += n;
        sleep_ms(1);
    }
    join(ta);
    join(tb);
    CHECK_EQ(futex_move(&a.word, FUTEX_WAKE_OP_PRIVATE, 1, 1, &b.word,
                        FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 99)),
             0);
    CHECK_EQ(b.word, 7); /* the operation is done whether anybody waits or not */
}

/* The textbook lock: 0 free, 1 locked, 2 locked and somebody waits. */
struct lock {
    unsigned word;
    long total;
};

static void lock_word(unsigned *word)
{
    unsigned c = 0;

    if (__atomic_compare_exchange_n(word, &c, 1, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0)
        futex(word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

static void unlock_word(unsigned *word)
{
    if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
        futex(word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *count(void *arg)
{
    struct lock *l = arg;

    for (int i = 0; i < 3000; i++) {
        lock_word(&l->word);
        l->total++;
        if (i % 32 == 0)
            sched_yield();
        unlock_word(&l->word);
    }
    return NULL;
}

TEST(hand_made_lock)
{
    struct lock l = {0, 0};
    pthread_t t[8];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(count, &l);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(l.total, 8 * 3000);
    CHECK_EQ(l.word, 0);
}

static void wait_shared(void *arg)
{
    unsigned *word = arg;

    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0)
        futex(word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void *wait_shared_thread(void *arg)
{
    wait_shared(arg);
    return NULL;
}

TEST(shared_between_processes)
{
    /* Without the private flag the word is the same for processes and threads alike. */
    unsigned *word = shared_alloc(sizeof(*word));
    pid_t pid = start_child(wait_shared, word);
    pthread_t t = spawn(wait_shared_thread, word);

    settle();
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    CHECK(futex(word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) >= 0);
    join(t);
    CHECK_CHILD_OK(pid);
    munmap(word, sizeof(*word));
}

TEST(bad_address)
{
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    /* futex(2): an error of the call, not a signal. */
    CHECK_ERR(futex(page, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
    munmap(page, 4096);
}
