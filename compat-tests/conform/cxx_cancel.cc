// cxx_cancel.cc - cancellation and pthread_exit unwind C++ frames: destructors run, and
// catch (...) that throws again lets them through.
#include "conform.h"

#include <cxxabi.h>
#include <string>
#include <thread>

static std::string *trail;
static int ready;

struct Tracer {
    char c;
    explicit Tracer(char name) : c(name)
    {
    }
    ~Tracer()
    {
        trail->push_back(c);
    }
};

static thread_local struct ThreadTracer {
    bool armed = false;
    ~ThreadTracer()
    {
        if (armed)
            trail->push_back('T');
    }
} thread_tracer;

static void wait_here(int depth)
{
    Tracer t(char('0' + depth));
    if (depth == 0) {
        thread_tracer.armed = true;
        set(&ready, 1);
        pause();
        trail->push_back('!');
        return;
    }
    try {
        wait_here(depth - 1);
    } catch (abi::__forced_unwind &) {
        trail->push_back('f');
        throw;
    } catch (...) {
        trail->push_back('?');
        throw;
    }
}

static void *waiter(void *arg)
{
    wait_here(3);
    return arg;
}

TEST(cancel_runs_destructors)
{
    for (int i = 0; i < 10; i++) {
        trail = new std::string;
        set(&ready, 0);
        pthread_t t = spawn(waiter, nullptr);
        await_at_least(&ready, 1);
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK(*trail == "0f1f2f3T");
        delete trail;
    }
}

static void *any_catch(void *arg)
{
    Tracer t('a');
    try {
        Tracer u('b');
        set(&ready, 1);
        pause();
    } catch (...) {
        trail->push_back('c');
        throw;
    }
    return arg;
}

TEST(catch_all_throws_again)
{
    trail = new std::string;
    set(&ready, 0);
    pthread_t t = spawn(any_catch, nullptr);
    await_at_least(&ready, 1);
    CHECK_EQ(pthread_cancel(t), 0);
    CHECK(join(t) == PTHREAD_CANCELED);
    CHECK(*trail == "bca");
    delete trail;
}

static void leave(int depth)
{
    Tracer t(char('0' + depth));
    if (depth == 0)
        pthread_exit(&ready);
    if (depth > 0)
        leave(depth - 1);
}

static void *exiter(void *)
{
    thread_tracer.armed = true;
    leave(4);
    return nullptr;
}

TEST(exit_runs_destructors)
{
    trail = new std::string;
    CHECK(join(spawn(exiter, nullptr)) == &ready);
    CHECK(*trail == "01234T");
    delete trail;
}

static volatile unsigned long spins;

static void spin_here()
{
    set(&ready, 1);
    for (;;)
        spins = spins + 1;
}

static void (*volatile spin)() = spin_here; // may throw, for all the compiler knows

static void *async(void *arg)
{
    Tracer t('a');
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
    spin();
    return arg;
}

// In the outer frame: a frame that is interrupted where no exception can be thrown must have
// no destructors of its own, without -fnon-call-exceptions.
TEST(async_cancel_runs_outer_destructors)
{
    for (int i = 0; i < 10; i++) {
        trail = new std::string;
        set(&ready, 0);
        pthread_t t = spawn(async, nullptr);
        await_at_least(&ready, 1);
        CHECK_EQ(pthread_cancel(t), 0);
        CHECK(join(t) == PTHREAD_CANCELED);
        CHECK(!trail->empty() && trail->back() == 'a');
        delete trail;
    }
}

TEST(exception_after_a_caught_one)
{
    trail = new std::string;
    std::thread t([] {
        try {
            throw 1;
        } catch (int) {
            trail->push_back('i');
        }
        Tracer tr('d');
        pthread_exit(nullptr);
    });
    t.join();
    CHECK(*trail == "id");
    delete trail;
}
