/* foreign.c - threads that the C library makes for itself (timer and asynchronous I/O
 * notifications) use every kind of object together with ordinary threads. */
#include "conform.h"

#include <aio.h>
#include <fcntl.h>
#include <semaphore.h>

static timer_t start_timer(void (*fn)(union sigval), void *arg, long first_ms,
                           long every_ms)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD};
    struct itimerspec when = {{0, every_ms * NS_PER_MS}, {0, first_ms * NS_PER_MS}};
    timer_t timer = 0;

    event.sigev_notify_function = fn;
    event.sigev_value.sival_ptr = arg;
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    CHECK_EQ(timer_settime(timer, 0, &when, NULL), 0);
    return timer;
}

/* One call on a thread of its own; FN ends with a sem_post that the caller waits for. */
struct call {
    sem_t done;
    pthread_mutex_t m;
    pthread_cond_t c;
    pthread_barrier_t b;
    pthread_rwlock_t rw;
    pthread_key_t key;
    int value, ready;
    long total;
};

static void run_foreign(void (*fn)(union sigval), struct call *call)
{
    timer_t timer = start_timer(fn, call, 1, 0);

    while (sem_wait(&call->done) != 0)
        continue;
    CHECK_EQ(timer_delete(timer), 0);
}

static void call_init(struct call *call)
{
    memset(call, 0, sizeof(*call));
    CHECK_EQ(sem_init(&call->done, 0, 0), 0);
    CHECK_EQ(pthread_mutex_init(&call->m, NULL), 0);
    CHECK_EQ(pthread_cond_init(&call->c, NULL), 0);
    CHECK_EQ(pthread_rwlock_init(&call->rw, NULL), 0);
}

static void count(struct call *call)
{
    for (int i = 0; i < 2000; i++) {
        CHECK_EQ(pthread_mutex_lock(&call->m), 0);
        CHECK_EQ(add(&call->value, 1), 1);
        call->total++;
        if (i % 64 == 0)
            sched_yield();
        add(&call->value, -1);
        CHECK_EQ(pthread_mutex_unlock(&call->m), 0);
    }
}

static void count_foreign(union sigval v)
{
    count(v.sival_ptr);
    CHECK_EQ(sem_post(&((struct call *)v.sival_ptr)->done), 0);
}

static void *count_thread(void *arg)
{
    count(arg);
    return NULL;
}

TEST(contended_mutex)
{
    struct call call;
    pthread_t t[4];

    call_init(&call);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(count_thread, &call);
    run_foreign(count_foreign, &call);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(call.total, 5 * 2000);
}

static void wait_foreign(union sigval v)
{
    struct call *call = v.sival_ptr;
    struct timespec ts = in_ms(CLOCK_REALTIME, 10);

    CHECK_EQ(pthread_mutex_lock(&call->m), 0);
    CHECK_WAIT_TIMES_OUT(pthread_cond_timedwait(&call->c, &call->m, &ts), CLOCK_REALTIME,
                         ts);
    call->ready = 1;
    CHECK_EQ(pthread_cond_broadcast(&call->c), 0); /* a thread waits for this */
    while (call->ready != 2)
        CHECK_EQ(pthread_cond_wait(&call->c, &call->m), 0); /* and answers */
    CHECK_EQ(pthread_mutex_unlock(&call->m), 0);
    CHECK_EQ(sem_post(&call->done), 0);
}

static void *answer_thread(void *arg)
{
    struct call *call = arg;

    CHECK_EQ(pthread_mutex_lock(&call->m), 0);
    while (call->ready != 1)
        CHECK_EQ(pthread_cond_wait(&call->c, &call->m), 0);
    call->ready = 2;
    CHECK_EQ(pthread_cond_broadcast(&call->c), 0);
    CHECK_EQ(pthread_mutex_unlock(&call->m), 0);
    return NULL;
}

TEST(condition_both_ways)
{
    for (int i = 0; i < 5; i++) {
        struct call call;
        pthread_t t;

        call_init(&call);
        call.ready = -1; /* nobody signals before the foreign thread has timed out */
        t = spawn(answer_thread, &call);
        run_foreign(wait_foreign, &call);
        join(t);
    }
}

static void meet_foreign(union sigval v)
{
    struct call *call = v.sival_ptr;

    for (int i = 0; i < 20; i++) {
        if (pthread_barrier_wait(&call->b) == PTHREAD_BARRIER_SERIAL_THREAD)
            add(&call->value, 1);
    }
    CHECK_EQ(sem_post(&call->done), 0);
}

static void *meet_thread(void *arg)
{
    struct call *call = arg;

    for (int i = 0; i < 20; i++) {
        if (pthread_barrier_wait(&call->b) == PTHREAD_BARRIER_SERIAL_THREAD)
            add(&call->value, 1);
    }
    return NULL;
}

TEST(barrier)
{
    struct call call;
    pthread_t t[4];

    call_init(&call);
    CHECK_EQ(pthread_barrier_init(&call.b, NULL, COUNT_OF(t) + 1), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(meet_thread, &call);
    run_foreign(meet_foreign, &call);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(call.value, 20);
    CHECK_EQ(pthread_barrier_destroy(&call.b), 0);
}

static void rwlock_foreign(union sigval v)
{
    struct call *call = v.sival_ptr;

    for (int i = 0; i < 200; i++) {
        CHECK_EQ(pthread_rwlock_wrlock(&call->rw), 0);
        CHECK_EQ(pthread_rwlock_wrlock(&call->rw), EDEADLK);
        call->total++;
        sched_yield();
        CHECK_EQ(pthread_rwlock_unlock(&call->rw), 0);
    }
    CHECK_EQ(sem_post(&call->done), 0);
}

static void *rwlock_thread(void *arg)
{
    struct call *call = arg;
    long last = 0;

    for (int i = 0; i < 400; i++) {
        CHECK_EQ(pthread_rwlock_rdlock(&call->rw), 0);
        CHECK(call->total >= last);
        last = call->total;
        sched_yield();
        CHECK_EQ(pthread_rwlock_unlock(&call->rw), 0);
    }
    return NULL;
}

TEST(rwlock)
{
    struct call call;
    pthread_t t[4];

    call_init(&call);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(rwlock_thread, &call);
    run_foreign(rwlock_foreign, &call);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(call.total, 200);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_calls, key_destroyed;
static __thread int tls = 11;

static void once_init(void)
{
    sleep_ms(20);
    add(&once_calls, 1);
}

static void key_gone(void *value)
{
    (void)value;
    add(&key_destroyed, 1);
}

static void *give_back(void *arg)
{
    CHECK_EQ(tls, 11);
    tls = 12;
    CHECK_EQ(pthread_once(&once, once_init), 0);
    CHECK_EQ(get(&once_calls), 1);
    return arg;
}

static void own_things_foreign(union sigval v)
{
    struct call *call = v.sival_ptr;
    pthread_attr_t attr;
    void *stack = NULL;
    size_t size = 0;

    CHECK(pthread_equal(pthread_self(), pthread_self()));
    CHECK_EQ(tls, 11);
    CHECK(pthread_getspecific(call->key) == NULL);
    CHECK_EQ(pthread_setspecific(call->key, call), 0);
    CHECK_EQ(pthread_once(&once, once_init), 0);
    CHECK_EQ(get(&once_calls), 1);
    CHECK(join(spawn(give_back, call)) == call); /* a foreign thread creates and joins */
    CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    CHECK_EQ(pthread_attr_getstack(&attr, &stack, &size), 0);
    CHECK((char *)&attr >= (char *)stack && (char *)&attr < (char *)stack + size);
    CHECK_EQ(pthread_attr_destroy(&attr), 0);
    CHECK(pthread_getspecific(call->key) == call);
    errno = 0;
    CHECK_ERR(close(-1), EBADF);
    CHECK_EQ(sem_post(&call->done), 0);
}

TEST(own_identity)
{
    struct call call;
    pthread_t t;

    call_init(&call);
    CHECK_EQ(pthread_key_create(&call.key, key_gone), 0);
    t = spawn(give_back, NULL);
    run_foreign(own_things_foreign, &call);
    join(t);
    await_at_least(&key_destroyed, 1); /* destructors run for foreign threads as well */
    CHECK_EQ(pthread_key_delete(call.key), 0);
}

static void post_foreign(union sigval v)
{
    CHECK_EQ(sem_post(v.sival_ptr), 0);
}

static void *wait_posts(void *arg)
{
    for (int i = 0; i < 10; i++) {
        while (sem_wait(arg) != 0)
            continue;
    }
    return NULL;
}

TEST(periodic_timer_posts)
{
    static sem_t s; /* a late callback may still use it */
    pthread_t t[3];
    timer_t timer;

    CHECK_EQ(sem_init(&s, 0, 0), 0);
    timer = start_timer(post_foreign, &s, 1, 1);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(wait_posts, &s);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(timer_delete(timer), 0);
}

static void aio_done(union sigval v)
{
    CHECK_EQ(sem_post(v.sival_ptr), 0);
}

TEST(asynchronous_io)
{
    char path[] = "/tmp/conform-XXXXXX", text[] = "written behind your back",
         back[64] = "";
    int fd = mkstemp(path), fds[2];
    struct aiocb cb = {.aio_fildes = fd, .aio_buf = text, .aio_nbytes = sizeof(text)};
    const struct aiocb *list[] = {&cb};
    static sem_t s;

    CHECK(fd >= 0);
    CHECK_EQ(sem_init(&s, 0, 0), 0);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = aio_done;
    cb.aio_sigevent.sigev_value.sival_ptr = &s;
    CHECK_EQ(aio_write(&cb), 0);
    while (sem_wait(&s) != 0)
        continue;
    CHECK_EQ(aio_error(&cb), 0);
    CHECK_EQ(aio_return(&cb), sizeof(text));
    CHECK_EQ(pread(fd, back, sizeof(back), 0), sizeof(text));
    CHECK(strcmp(back, text) == 0);
    close(fd);
    unlink(path);

    /* A helper that sits in read() while aio_suspend() waits for it. */
    CHECK_EQ(pipe(fds), 0);
    memset(&cb, 0, sizeof(cb));
    cb.aio_fildes = fds[0];
    cb.aio_buf = back;
    cb.aio_nbytes = 5;
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    CHECK_EQ(write(fds[1], "hello", 5), 5);
    while (aio_error(&cb) == EINPROGRESS)
        CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    CHECK_EQ(aio_return(&cb), 5);
    CHECK(memcmp(back, "hello", 5) == 0);
    close(fds[0]);
    close(fds[1]);
}
