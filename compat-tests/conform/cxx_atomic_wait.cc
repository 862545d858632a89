// cxx_atomic_wait.cc - C++20: atomic waiting, semaphores, latches, barriers, stop tokens.
#include "conform.h"

#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <latch>
#include <mutex>
#include <semaphore>
#include <stop_token>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// Few: on a loaded machine each turn may cost a time slice, as the library first spins.
constexpr int ROUNDS = 300;

template <typename T> static void ping_pong()
{
    std::atomic<T> value{0};
    std::thread other([&value] {
        for (int i = 0; i < ROUNDS; i++) {
            while (value.load() != T(1))
                value.wait(T(0)); // [atomics.wait]
            value.store(T(0));
            value.notify_one();
        }
    });

    for (int i = 0; i < ROUNDS; i++) {
        value.store(T(1));
        value.notify_one();
        while (value.load() != T(0))
            value.wait(T(1));
    }
    other.join();
}

TEST(int_ping_pong)
{
    ping_pong<int>(); // waits on the word itself
}

TEST(other_sizes_ping_pong)
{
    ping_pong<char>(); // these wait on a proxy that all of them share
    ping_pong<short>();
    ping_pong<long>();
}

TEST(flag)
{
    std::atomic_flag flag{};
    std::thread other([&flag] {
        flag.wait(false);
        CHECK(flag.test());
        flag.clear();
        flag.notify_all();
    });

    std::this_thread::sleep_for(5ms);
    CHECK(!flag.test_and_set());
    flag.notify_one();
    flag.wait(true);
    CHECK(!flag.test());
    other.join();
}

TEST(notify_all)
{
    std::atomic<int> gate{0}, passed{0};
    std::vector<std::thread> threads;

    for (int i = 0; i < 50; i++)
        threads.emplace_back([&] {
            gate.wait(0);
            CHECK_EQ(gate, 1);
            passed++;
        });
    std::this_thread::sleep_for(10ms);
    CHECK_EQ(passed, 0);
    gate = 1;
    gate.notify_all();
    for (auto &t : threads)
        t.join();
    CHECK_EQ(passed, 50);
}

TEST(counting_semaphores)
{
    std::counting_semaphore<10> room(3);
    std::binary_semaphore closed(0);
    std::atomic<int> inside{0};
    std::vector<std::thread> threads;
    auto start = std::chrono::steady_clock::now();

    CHECK(!closed.try_acquire());
    CHECK(!closed.try_acquire_for(20ms)); // [thread.sema.cnt]
    CHECK(std::chrono::steady_clock::now() - start >= 20ms);
    CHECK(!closed.try_acquire_until(std::chrono::steady_clock::now() + 5ms));
    for (int i = 0; i < 10; i++)
        threads.emplace_back([&] {
            for (int k = 0; k < 200; k++) {
                // Not acquire(): libstdc++'s release() wakes nobody while the count is above
                // zero, and a waiter that saw that count sleeps for ever, natively
                // too (a bug of libstdc++ 12).
                while (!room.try_acquire_for(1ms))
                    ;
                CHECK(++inside <= 3);
                std::this_thread::yield();
                inside--;
                room.release();
            }
        });
    for (auto &t : threads)
        t.join();
    closed.release();
    CHECK(closed.try_acquire());
    room.release(2);
    for (int i = 0; i < 5; i++)
        room.acquire();
    CHECK(!room.try_acquire());
}

TEST(latches)
{
    for (int round = 0; round < 20; round++) {
        std::latch start(1), done(8);
        std::atomic<int> work{0};
        std::vector<std::thread> threads;

        for (int i = 0; i < 8; i++)
            threads.emplace_back([&, i] {
                start.wait();
                work += i;
                done.count_down();
            });
        CHECK_EQ(work, 0);
        CHECK(!done.try_wait());
        start.count_down();
        done.wait(); // [thread.latch]
        CHECK_EQ(work, 28);
        CHECK(done.try_wait());
        for (auto &t : threads)
            t.join();
    }
}

TEST(barriers)
{
    constexpr int threads_count = 8, rounds = 50;
    int completed = 0; // only the completion step touches it
    std::atomic<int> arrived{0};
    auto on_completion = [&]() noexcept {
        completed++;
        CHECK_EQ(arrived, completed * threads_count);
    };
    std::barrier barrier(threads_count, on_completion);
    std::vector<std::thread> threads;

    for (int i = 0; i < threads_count; i++)
        threads.emplace_back([&] {
            for (int k = 0; k < rounds; k++) {
                arrived++;
                barrier.arrive_and_wait(); // [thread.barrier]
                CHECK(arrived >= (k + 1) * threads_count);
            }
        });
    for (auto &t : threads)
        t.join();
    CHECK_EQ(completed, rounds);
}

TEST(arrive_and_drop)
{
    std::barrier barrier(4);
    std::atomic<int> rounds{0};
    std::vector<std::thread> threads;

    for (int i = 0; i < 4; i++)
        threads.emplace_back([&, i] {
            for (int k = 0; k < 10; k++) {
                if (k == i * 2) {
                    barrier.arrive_and_drop();
                    return;
                }
                barrier.arrive_and_wait();
                rounds++;
            }
        });
    for (auto &t : threads)
        t.join();
    CHECK_EQ(rounds, 0 + 2 + 4 + 6);
}

TEST(jthreads_and_stop_tokens)
{
    std::atomic<int> stopped{0};
    std::mutex m;
    std::condition_variable_any cv;

    {
        std::vector<std::jthread> threads;

        for (int i = 0; i < 10; i++)
            threads.emplace_back([&](std::stop_token token) {
                std::unique_lock lock(m);

                cv.wait(lock, token, [] { return false; }); // [thread.condvarany.intwait]
                CHECK(token.stop_requested());
                stopped++;
            });
        std::this_thread::sleep_for(5ms);
    } // [thread.jthread.cons]: requests a stop and joins
    CHECK_EQ(stopped, 10);
}

TEST(stop_source)
{
    std::stop_source source;
    std::atomic<int> saw{0}, called{0};
    std::stop_callback first(source.get_token(), [&called] { called++; });
    std::vector<std::jthread> threads;

    for (int i = 0; i < 10; i++)
        threads.emplace_back([&saw, token = source.get_token()] {
            while (!token.stop_requested())
                std::this_thread::sleep_for(1ms);
            saw++;
        });
    CHECK(source.request_stop());
    CHECK(!source.request_stop());
    for (auto &t : threads)
        t.join();
    CHECK_EQ(saw, 10);
    std::stop_callback late(source.get_token(), [&called] { called++; });
    CHECK_EQ(called, 2); // [stopcallback.cons]: the late one is called at once
}
