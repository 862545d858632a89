/* sem.c - POSIX semaphores, unnamed and named. Across fork: pshared.c. */
#include "conform.h"

#include <fcntl.h>
#include <semaphore.h>

static int value_of(sem_t *s)
{
    int value = -1;

    CHECK_EQ(sem_getvalue(s, &value), 0);
    return value;
}

TEST(init_and_destroy)
{
    sem_t s;

    CHECK_EQ(sem_init(&s, 0, 3), 0);
    CHECK_EQ(value_of(&s), 3); /* POSIX sem_init */
    CHECK_EQ(sem_destroy(&s), 0);
    CHECK_EQ(sem_init(&s, 0, SEM_VALUE_MAX), 0);
    CHECK_EQ(value_of(&s), SEM_VALUE_MAX);
    CHECK_EQ(sem_destroy(&s), 0);
    CHECK_ERR(sem_init(&s, 0, (unsigned)SEM_VALUE_MAX + 1), EINVAL); /* POSIX sem_init */
}

TEST(counting)
{
    sem_t s;

    CHECK_EQ(sem_init(&s, 0, 2), 0);
    CHECK_EQ(sem_wait(&s), 0);
    CHECK_EQ(sem_trywait(&s), 0);
    CHECK_EQ(value_of(&s), 0);
    CHECK_ERR(sem_trywait(&s), EAGAIN); /* POSIX sem_trywait */
    CHECK_EQ(sem_post(&s), 0);
    CHECK_EQ(value_of(&s), 1);
    CHECK_EQ(sem_wait(&s), 0);
    CHECK_EQ(sem_destroy(&s), 0);
}

TEST(overflow)
{
    sem_t s;

    CHECK_EQ(sem_init(&s, 0, SEM_VALUE_MAX), 0);
    CHECK_ERR(sem_post(&s),
              EOVERFLOW); /* POSIX.1-2017 TC: value would exceed the maximum */
    CHECK_EQ(value_of(&s), SEM_VALUE_MAX);
    CHECK_EQ(sem_wait(&s), 0);
    CHECK_EQ(sem_post(&s), 0);
    CHECK_EQ(sem_destroy(&s), 0);
}

TEST(timedwait)
{
    struct timespec past = {1, 0}, negative = {-1, 0};
    struct timespec low = {0, -1}, high = {0, 1000000000};
    sem_t s;

    CHECK_EQ(sem_init(&s, 0, 0), 0);
    for (int ms = 1; ms < 40; ms += 12) {
        struct timespec ts = in_ms(CLOCK_REALTIME, ms);

        CHECK_ERR(sem_timedwait(&s, &ts), ETIMEDOUT);
        CHECK(now_ns(CLOCK_REALTIME) >= ts_ns(ts)); /* POSIX: not before abstime */
    }
    CHECK_ERR(sem_timedwait(&s, &past), ETIMEDOUT);
    CHECK_ERR(sem_timedwait(&s, &negative), ETIMEDOUT); /* glibc */
    CHECK_ERR(sem_timedwait(&s, &low), EINVAL);         /* POSIX: would block */
    CHECK_ERR(sem_timedwait(&s, &high), EINVAL);
    CHECK_EQ(sem_post(&s), 0);
    CHECK_EQ(sem_timedwait(&s, &past),
             0); /* POSIX: no timeout if it can be had at once */
    CHECK_EQ(sem_post(&s), 0);
    CHECK_ERR(sem_timedwait(&s, &high), EINVAL); /* glibc checks nsec first, here */
    CHECK_EQ(value_of(&s), 1);
    CHECK_EQ(sem_destroy(&s), 0);
}

TEST(clockwait)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    struct timespec ts, bad = {0, 1000000000};
    sem_t s;

    CHECK_EQ(sem_init(&s, 0, 0), 0);
    for (size_t i = 0; i < COUNT_OF(clocks); i++) {
        ts = in_ms(clocks[i], 20);
        CHECK_ERR(sem_clockwait(&s, clocks[i], &ts), ETIMEDOUT); /* POSIX.1-2024 */
        CHECK(now_ns(clocks[i]) >= ts_ns(ts));
        CHECK_ERR(sem_clockwait(&s, clocks[i], &bad), EINVAL);
    }
    CHECK_ERR(sem_clockwait(&s, CLOCK_PROCESS_CPUTIME_ID, &ts), EINVAL);
    CHECK_EQ(sem_post(&s), 0);
    CHECK_ERR(sem_clockwait(&s, CLOCK_PROCESS_CPUTIME_ID, &ts),
              EINVAL); /* glibc: always */
    CHECK_EQ(sem_clockwait(&s, CLOCK_MONOTONIC, &ts), 0);
    CHECK_EQ(sem_destroy(&s), 0);
}

struct meeting {
    sem_t s;
    int arrived, passed;
    int how;
};

static void *waiter(void *arg)
{
    struct meeting *me = arg;
    struct timespec ts;
    int rc;

    add(&me->arrived, 1);
    switch (me->how) {
    case 0:
        rc = sem_wait(&me->s);
        break;
    case 1:
        ts = in_ms(CLOCK_REALTIME, 15000);
        rc = sem_timedwait(&me->s, &ts);
        break;
    default:
        ts = in_ms(CLOCK_MONOTONIC, 15000);
        rc = sem_clockwait(&me->s, CLOCK_MONOTONIC, &ts);
        break;
    }
    CHECK_EQ(rc, 0);
    add(&me->passed, 1);
    return NULL;
}

TEST(each_post_lets_one_pass)
{
    pthread_t t[20];

    for (int how = 0; how < 3; how++) {
        struct meeting me = {.arrived = 0, .passed = 0, .how = how};

        CHECK_EQ(sem_init(&me.s, 0, 0), 0);
        for (size_t i = 0; i < COUNT_OF(t); i++)
            t[i] = spawn(waiter, &me);
        await_at_least(&me.arrived, COUNT_OF(t));
        settle();
        CHECK_EQ(get(&me.passed), 0);
        CHECK_EQ(value_of(&me.s), 0); /* POSIX allows a negative number, Linux says 0 */
        for (int i = 1; i <= (int)COUNT_OF(t); i++) {
            CHECK_EQ(sem_post(&me.s), 0);
            await_at_least(&me.passed, i); /* POSIX: a waiter returns, else this hangs */
            CHECK_EQ(get(&me.passed), i);
        }
        for (size_t i = 0; i < COUNT_OF(t); i++)
            join(t[i]);
        CHECK_EQ(value_of(&me.s), 0);
        CHECK_EQ(sem_destroy(&me.s), 0);
    }
}

struct pingpong {
    sem_t a, b;
    int value;
};

#define ROUNDS 20000

static void *answer(void *arg)
{
    struct pingpong *p = arg;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(sem_wait(&p->a), 0);
        CHECK_EQ(p->value, 2 * i + 1); /* POSIX 4.12: a semaphore synchronises memory */
        p->value++;
        CHECK_EQ(sem_post(&p->b), 0);
    }
    return NULL;
}

TEST(ping_pong)
{
    struct pingpong p = {.value = 0};
    pthread_t t;

    CHECK_EQ(sem_init(&p.a, 0, 0), 0);
    CHECK_EQ(sem_init(&p.b, 0, 0), 0);
    t = spawn(answer, &p);
    for (int i = 0; i < ROUNDS; i++) {
        p.value++;
        CHECK_EQ(sem_post(&p.a), 0);
        CHECK_EQ(sem_wait(&p.b), 0);
        CHECK_EQ(p.value, 2 * i + 2);
    }
    join(t);
    CHECK_EQ(sem_destroy(&p.a), 0);
    CHECK_EQ(sem_destroy(&p.b), 0);
}

struct bounded {
    sem_t room;
    int inside, most;
};

static void *bounded_worker(void *arg)
{
    struct bounded *b = arg;

    for (int i = 0; i < 500; i++) {
        int n;

        CHECK_EQ(sem_wait(&b->room), 0);
        n = add(&b->inside, 1);
        CHECK(n <= 3); /* the initial value bounds who is inside */
        sched_yield();
        add(&b->inside, -1);
        CHECK_EQ(sem_post(&b->room), 0);
    }
    return NULL;
}

TEST(bound_holds)
{
    struct bounded b = {.inside = 0, .most = 0};
    pthread_t t[10];

    CHECK_EQ(sem_init(&b.room, 0, 3), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(bounded_worker, &b);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(value_of(&b.room), 3);
    CHECK_EQ(sem_destroy(&b.room), 0);
}

static void *poster(void *arg)
{
    CHECK_EQ(sem_post(arg), 0);
    return NULL;
}

TEST(destroy_right_after_wait)
{
    /* POSIX, glibc 2.21: the waiter may destroy it although post has not returned. */
    sem_t s;

    for (int i = 0; i < 500; i++) {
        pthread_t t;

        CHECK_EQ(sem_init(&s, 0, 0), 0);
        t = spawn(poster, &s);
        CHECK_EQ(sem_wait(&s), 0);
        CHECK_EQ(sem_destroy(&s), 0);
        memset(&s, 0x5a, sizeof(s));
        join(t);
    }
}

/* Names live in one place for all processes: the pid keeps two runs apart. */
static const char *name_of(char *name, size_t size, const char *what)
{
    snprintf(name, size, "/conform-%s-%d", what, (int)getpid());
    return name;
}

TEST(named)
{
    char buf[64];
    const char *name = name_of(buf, sizeof(buf), "named");
    sem_t *s, *again;

    CHECK(sem_open(name, 0) == SEM_FAILED && errno == ENOENT); /* POSIX sem_open */
    s = sem_open(name, O_CREAT | O_EXCL, 0600, 2);
    CHECK(s != SEM_FAILED);
    if (s == SEM_FAILED)
        return;
    CHECK(sem_open(name, O_CREAT | O_EXCL, 0600, 2) == SEM_FAILED && errno == EEXIST);
    again = sem_open(name, O_CREAT, 0600, 77);
    CHECK(again == s); /* POSIX: the same address while it is open */
    CHECK_EQ(value_of(s), 2);
    CHECK_EQ(sem_wait(s), 0);
    CHECK_EQ(sem_wait(again), 0);
    CHECK_ERR(sem_trywait(s), EAGAIN);
    CHECK_EQ(sem_post(s), 0);
    CHECK_EQ(sem_close(again), 0);
    CHECK_EQ(value_of(s), 1); /* still open once */
    CHECK_EQ(sem_unlink(name), 0);
    CHECK_ERR(sem_unlink(name), ENOENT);
    CHECK_EQ(value_of(s), 1); /* POSIX: lives on until closed */
    CHECK_EQ(sem_close(s), 0);
    CHECK(sem_open("/", O_CREAT, 0600, 0) == SEM_FAILED && errno == EINVAL); /* glibc */
    CHECK(sem_open(name, O_CREAT, 0600, (unsigned)SEM_VALUE_MAX + 1) == SEM_FAILED &&
          errno == EINVAL); /* POSIX sem_open */
}

static void *named_waiter(void *arg)
{
    sem_t **s = arg;

    CHECK_EQ(sem_wait(s[0]), 0);
    CHECK_EQ(sem_post(s[1]), 0);
    return NULL;
}

TEST(named_between_threads)
{
    /* A thread that sits in a named semaphore does not stop the other threads. */
    char buf[2][64];
    sem_t *s[2];
    pthread_t t[8];

    for (int i = 0; i < 2; i++) {
        const char *name = name_of(buf[i], sizeof(buf[i]), i ? "b" : "a");

        s[i] = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
        CHECK(s[i] != SEM_FAILED);
        CHECK_EQ(sem_unlink(name), 0);
        if (s[i] == SEM_FAILED)
            return;
    }
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(named_waiter, s);
    settle();
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(sem_post(s[0]), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(sem_wait(s[1]), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(sem_close(s[0]), 0);
    CHECK_EQ(sem_close(s[1]), 0);
}

static void *shared_kind_waiter(void *arg)
{
    return waiter(arg);
}

TEST(shared_flag_between_threads)
{
    struct meeting *me = shared_alloc(sizeof(*me));
    pthread_t t[8];

    CHECK_EQ(sem_init(&me->s, 1, 0), 0); /* process-shared, used by one process */
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(shared_kind_waiter, me);
    await_at_least(&me->arrived, COUNT_OF(t));
    settle();
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ(sem_post(&me->s), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(value_of(&me->s), 0);
    CHECK_EQ(sem_destroy(&me->s), 0);
    munmap(me, sizeof(*me));
}
