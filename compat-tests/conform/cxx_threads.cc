// cxx_threads.cc - the thread library of C++11 to C++17.
#include "conform.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

TEST(threads)
{
    std::vector<std::thread> threads;
    std::atomic<int> sum{0};

    for (int i = 0; i < 50; i++)
        threads.emplace_back(
            [&sum](int n, const std::string &text) { sum += n + (int)text.size(); }, i,
            std::string("four"));
    for (auto &t : threads) {
        CHECK(t.joinable());
        t.join();
        CHECK(!t.joinable());
    }
    CHECK_EQ(sum, 49 * 50 / 2 + 50 * 4);
    CHECK(std::thread::hardware_concurrency() >= 1);
}

TEST(ids)
{
    std::thread::id none, self = std::this_thread::get_id(), inside;
    std::thread t([&inside] { inside = std::this_thread::get_id(); });
    std::thread::id id = t.get_id();

    CHECK(none != self);
    t.join();
    CHECK(inside == id && id != self); // [thread.thread.id]
    CHECK(t.get_id() == none);
}

TEST(join_errors)
{
    std::thread t([] {});
    bool thrown = false;

    t.join();
    try {
        t.join();
    } catch (const std::system_error &e) {
        thrown = e.code() == std::errc::invalid_argument; // [thread.thread.member]
    }
    CHECK(thrown);
    std::thread([] {}).detach();
}

TEST(mutexes)
{
    std::mutex a, b;
    std::recursive_mutex r;
    std::timed_mutex timed;
    std::recursive_timed_mutex rt;
    std::vector<std::thread> threads;
    long total = 0;

    for (int i = 0; i < 8; i++)
        threads.emplace_back([&, i] {
            for (int k = 0; k < 1000; k++) {
                if (i % 2) {
                    std::scoped_lock both(a, b); // [thread.lock.algorithm]: no deadlock
                    total++;
                } else {
                    std::scoped_lock both(b, a);
                    total++;
                }
                std::lock_guard<std::recursive_mutex> one(r), two(r);
                std::lock_guard<std::recursive_timed_mutex> three(rt), four(rt);
                if (k % 64 == 0)
                    std::this_thread::yield();
            }
        });
    for (auto &t : threads)
        t.join();
    CHECK_EQ(total, 8000);
    timed.lock();
    std::thread([&timed] {
        auto start = std::chrono::steady_clock::now();

        CHECK(!timed.try_lock());
        CHECK(!timed.try_lock_for(15ms));
        CHECK(std::chrono::steady_clock::now() - start >= 15ms);
        CHECK(!timed.try_lock_until(std::chrono::system_clock::now() + 5ms));
    }).join();
    timed.unlock();
}

TEST(shared_mutexes)
{
    std::shared_timed_mutex m;
    std::vector<std::thread> threads;
    std::atomic<int> readers{0}, writers{0};
    long value = 0;

    for (int i = 0; i < 8; i++)
        threads.emplace_back([&, i] {
            for (int k = 0; k < 300; k++) {
                if ((i + k) % 5 == 0) {
                    std::unique_lock lock(m);

                    CHECK_EQ(++writers, 1);
                    CHECK_EQ(readers, 0);
                    value++;
                    writers--;
                } else {
                    std::shared_lock lock(m);

                    ++readers;
                    CHECK_EQ(writers, 0);
                    std::this_thread::yield();
                    readers--;
                }
            }
        });
    for (auto &t : threads)
        t.join();
    CHECK_EQ(value, 8 * 300 / 5);
    std::shared_lock held(m);
    std::thread([&m] { CHECK(!m.try_lock_for(10ms)); }).join();
}

TEST(condition_variables)
{
    std::mutex m;
    std::condition_variable cv;
    std::condition_variable_any any;
    std::vector<std::thread> threads;
    bool go = false, go_any = false;
    int passed = 0;

    {
        std::unique_lock lock(m);
        auto start = std::chrono::steady_clock::now();

        CHECK(!cv.wait_for(lock, 20ms, [] { return false; })); // [thread.condition]
        CHECK(std::chrono::steady_clock::now() - start >= 20ms);
        CHECK(!any.wait_until(lock, std::chrono::system_clock::now() + 5ms,
                              [] { return false; }));
    }
    for (int i = 0; i < 30; i++)
        threads.emplace_back([&, i] {
            std::unique_lock lock(m);

            if (i % 2)
                cv.wait(lock, [&] { return go; });
            else
                any.wait(lock, [&] { return go_any; });
            passed++;
        });
    std::this_thread::sleep_for(15ms);
    {
        std::lock_guard lock(m);

        go = go_any = true;
    }
    cv.notify_all();
    any.notify_all();
    for (auto &t : threads)
        t.join();
    CHECK_EQ(passed, 30);
}

TEST(notify_at_thread_exit)
{
    static thread_local std::string local = "alive";
    std::mutex m;
    std::condition_variable cv;
    bool ready = false;
    std::thread t([&] {
        std::unique_lock lock(m);

        local += "!";
        ready = true;
        std::notify_all_at_thread_exit(cv, std::move(lock));
    });

    {
        std::unique_lock lock(m);

        cv.wait(lock, [&] { return ready; });
    }
    t.join();
    CHECK(local == "alive");
}

TEST(futures)
{
    std::vector<std::future<long>> futures;
    std::promise<int> promise;
    std::shared_future<int> shared = promise.get_future().share();
    std::packaged_task<int(int)> task([](int x) { return x * 2; });
    std::future<int> result = task.get_future();
    std::vector<std::thread> threads;
    std::atomic<int> got{0};
    long total = 0;

    for (long i = 0; i < 40; i++)
        futures.push_back(std::async(std::launch::async, [i] {
            std::this_thread::sleep_for(1ms);
            return i * i;
        }));
    for (auto &f : futures)
        total += f.get();
    CHECK_EQ(total, 39 * 40 * 79 / 6);
    CHECK(shared.wait_for(5ms) == std::future_status::timeout);
    for (int i = 0; i < 10; i++)
        threads.emplace_back([&got, shared] { got += shared.get(); });
    promise.set_value(7);
    for (auto &t : threads)
        t.join();
    CHECK_EQ(got, 70);
    std::thread(std::move(task), 21).join();
    CHECK_EQ(result.get(), 42);
    CHECK_EQ(std::async(std::launch::deferred, [] { return 5; }).get(), 5);
}

TEST(exceptions_through_futures)
{
    std::promise<int> broken;
    std::future<int> future;
    bool thrown = false;

    for (int i = 0; i < 20; i++) {
        auto f = std::async(std::launch::async, [i]() -> int {
            std::this_thread::yield();
            throw std::runtime_error("number " + std::to_string(i));
        });

        thrown = false;
        try {
            f.get();
        } catch (const std::runtime_error &e) {
            thrown = e.what() == "number " + std::to_string(i);
        }
        CHECK(thrown); // [futures.state]: the exception crosses threads
    }
    {
        std::promise<int> dropped;

        future = dropped.get_future();
    }
    thrown = false;
    try {
        future.get();
    } catch (const std::future_error &e) {
        thrown = e.code() == std::future_errc::broken_promise;
    }
    CHECK(thrown);
}

TEST(call_once)
{
    std::once_flag flag;
    std::atomic<int> tries{0}, done{0};
    std::vector<std::thread> threads;

    for (int i = 0; i < 20; i++)
        threads.emplace_back([&] {
            try {
                std::call_once(flag, [&] {
                    std::this_thread::sleep_for(1ms);
                    if (++tries < 4)
                        throw 1; // [thread.once.callonce]: then another one tries
                    ++done;
                });
                CHECK_EQ(done, 1);
            } catch (int) {
            }
        });
    for (auto &t : threads)
        t.join();
    CHECK_EQ(tries, 4);
    CHECK_EQ(done, 1);
}

static std::atomic<int> built{0};

struct slow_to_build {
    int value;

    slow_to_build()
    {
        std::this_thread::sleep_for(5ms);
        value = ++built;
    }
};

static int local_static()
{
    static slow_to_build only; // [stmt.dcl]: concurrent callers wait

    return only.value;
}

TEST(local_statics)
{
    std::vector<std::thread> threads;

    for (int i = 0; i < 20; i++)
        threads.emplace_back([] { CHECK_EQ(local_static(), 1); });
    for (auto &t : threads)
        t.join();
    CHECK_EQ(built, 1);
}

static std::atomic<int> made{0}, gone{0};

struct counted {
    std::string text = "some text that is too long for the small buffer";

    counted()
    {
        made++;
    }
    ~counted()
    {
        std::this_thread::yield(); // a destructor may block
        gone += text.size() > 20;
    }
};

static thread_local counted one_per_thread;
static thread_local std::vector<int> numbers{1, 2, 3};

TEST(thread_local_objects)
{
    std::vector<std::thread> threads;

    for (int round = 0; round < 3; round++) {
        threads.clear();
        for (int i = 0; i < 30; i++)
            threads.emplace_back([i] {
                one_per_thread.text += std::to_string(i);
                CHECK_EQ(std::accumulate(numbers.begin(), numbers.end(), 0), 6);
                numbers.push_back(i);
                std::this_thread::sleep_for(1ms);
                CHECK_EQ(numbers.back(), i);
                CHECK_EQ(numbers.size(), 4);
            });
        for (auto &t : threads)
            t.join();
        CHECK_EQ(made, 30 * (round + 1)); // [basic.stc.thread]
        CHECK_EQ(gone, 30 * (round + 1)); // join() returns after the destructors
    }
}

static std::string exit_order;

struct marker {
    char what;

    ~marker()
    {
        exit_order += what;
    }
};

TEST(thread_local_order)
{
    std::thread([] {
        static thread_local marker first{'1'}, second{'2'};

        CHECK(first.what < second.what);
    }).join();
    CHECK(exit_order == "21"); // [basic.start.term]: reverse order of construction
}

TEST(sleeping)
{
    auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;

    for (int i = 0; i < 20; i++)
        threads.emplace_back([] {
            auto begin = std::chrono::steady_clock::now();

            std::this_thread::sleep_for(20ms);
            CHECK(std::chrono::steady_clock::now() - begin >= 20ms);
            std::this_thread::sleep_until(begin + 30ms);
            CHECK(std::chrono::steady_clock::now() >= begin + 30ms);
        });
    for (auto &t : threads)
        t.join();
    CHECK(std::chrono::steady_clock::now() - start >= 30ms);
}
