// cxx_exceptions.cc - exceptions and unwinding in many threads, pthread_exit through C++.
#include "conform.h"

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>

constexpr int THREADS = 20;

static void in_threads(void *(*fn)(void *))
{
    pthread_t t[THREADS];

    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(fn, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
}

struct guard {
    std::atomic<int> &count;

    explicit guard(std::atomic<int> &c) : count(c)
    {
        count++;
    }
    ~guard()
    {
        count--;
    }
};

static std::atomic<int> alive{0};

static int descend(int depth, int number)
{
    guard g(alive);

    if (depth == 0) {
        sched_yield();
        throw std::runtime_error("thrown by " + std::to_string(number));
    }
    return descend(depth - 1, number) + (int)alive;
}

static void *throw_and_catch(void *arg)
{
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < 30; i++) {
        bool caught = false;

        try {
            descend(20, me);
        } catch (const std::runtime_error &e) {
            sleep_ms(i % 10 == 0); // waits inside the handler: may move
            caught = e.what() == "thrown by " + std::to_string(me);
            sched_yield();
            CHECK(std::current_exception() != nullptr);
        }
        CHECK(caught);
        CHECK(std::current_exception() == nullptr);
    }
    return nullptr;
}

TEST(throw_and_catch_across_waits)
{
    in_threads(throw_and_catch);
    CHECK_EQ(alive, 0);
}

static void *nested(void *arg)
{
    std::string trail;

    for (int i = 0; i < 20; i++) {
        trail.clear();
        try {
            try {
                throw 1;
            } catch (int) {
                trail += "a";
                sched_yield();
                try {
                    throw std::string("inner");
                } catch (const std::string &) {
                    trail += "b";
                    sleep_ms(i % 10 == 0);
                }
                throw; // [except.throw]: the outer one is still the current one
            }
        } catch (int n) {
            trail += n == 1 ? "c" : "?";
        }
        CHECK(trail == "abc");
    }
    return arg;
}

TEST(nested_handlers)
{
    in_threads(nested);
}

struct at_unwind {
    int *uncaught;

    ~at_unwind()
    {
        sched_yield();
        *uncaught = std::uncaught_exceptions();
    }
};

static void *count_uncaught(void *arg)
{
    for (int i = 0; i < 50; i++) {
        int uncaught = -1;

        CHECK_EQ(std::uncaught_exceptions(), 0);
        try {
            at_unwind a{&uncaught};

            throw 1;
        } catch (int) {
        }
        CHECK_EQ(uncaught, 1); // [uncaught.exceptions]: of this thread
        CHECK_EQ(std::uncaught_exceptions(), 0);
    }
    return arg;
}

TEST(uncaught_exceptions_are_counted_per_thread)
{
    in_threads(count_uncaught);
}

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static std::exception_ptr passed_on;

static void *keep_exception(void *arg)
{
    try {
        throw std::logic_error("passed on");
    } catch (...) {
        pthread_mutex_lock(&m);
        passed_on = std::current_exception();
        pthread_mutex_unlock(&m);
    }
    return arg;
}

TEST(exception_rethrown_elsewhere)
{
    bool caught = false;

    join(spawn(keep_exception, nullptr)); // the thrower is gone
    try {
        std::rethrow_exception(passed_on);
    } catch (const std::logic_error &e) {
        caught = std::string(e.what()) == "passed on";
    }
    CHECK(caught);
    passed_on = nullptr;
}

static std::string trail;

struct letter {
    char c;

    ~letter()
    {
        trail += c;
    }
};

static void cleanup(void *arg)
{
    trail += *(const char *)arg;
}

static void exit_below(void *result)
{
    letter b{'b'};

    pthread_cleanup_push(cleanup, (void *)"c");
    letter d{'d'};
    pthread_exit(result);
    pthread_cleanup_pop(0);
}

static void *exit_through_destructors(void *arg)
{
    letter a{'a'};

    exit_below(arg);
    return nullptr;
}

TEST(pthread_exit_runs_destructors)
{
    for (int i = 0; i < 20; i++) {
        trail.clear();
        CHECK(join(spawn(exit_through_destructors, &trail)) == &trail);
        CHECK(trail == "dcba"); // glibc: unwinds; handlers and destructors interleave
    }
}

static void *exit_through_catch_all(void *arg)
{
    letter a{'a'};

    try {
        letter b{'b'};

        pthread_exit(arg);
    } catch (...) {
        trail += '*'; // GNU C++: forced unwinding is seen here and must be passed on
        throw;
    }
    return nullptr;
}

TEST(pthread_exit_through_catch_all)
{
    trail.clear();
    CHECK(join(spawn(exit_through_catch_all, &trail)) == &trail);
    CHECK(trail == "b*a");
}

static thread_local letter in_thread{'t'};
static pthread_key_t key;

static void key_gone(void *)
{
    trail += 'k';
}

static void *end_of_thread(void *arg)
{
    letter a{'a'};

    CHECK_EQ(in_thread.c, 't');
    pthread_setspecific(key, arg);
    pthread_exit(arg);
}

TEST(order_at_the_end)
{
    CHECK_EQ(pthread_key_create(&key, key_gone), 0);
    trail.clear();
    join(spawn(end_of_thread, &trail));
    CHECK(trail == "atk"); // glibc: stack, thread_local objects, then keys
    CHECK_EQ(pthread_key_delete(key), 0);
}

static void *throw_uncaught(void *)
{
    throw 1;
}

MODE(uncaught)
{
    close(2); // the runtime's message is not what is tested
    join(spawn(throw_uncaught, nullptr));
    return 1;
}

TEST(uncaught_exception_terminates)
{
    int status = run_mode("uncaught", nullptr, 0);

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT); // [except.terminate]
}
