// cxx.cc - what a C++20 program does with threads, each part checked.
//
//   cxx [LAPS]
//
// Prints one line per part with a result that does not depend on the schedule.

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <numeric>
#include <semaphore>
#include <shared_mutex>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

static int failures;

static void expect(const char *what, bool ok)
{
    if (ok)
        return;
    std::printf("WRONG %s\n", what);
    failures++;
}

// run_all - n threads that all run f(i), joined.
template <class F> static void run_all(int n, F f)
{
    std::vector<std::thread> threads;

    for (int i = 0; i < n; i++)
        threads.emplace_back(f, i);
    for (auto &t : threads)
        t.join();
}

static void threads_and_mutexes()
{
    std::mutex m;
    std::recursive_timed_mutex rm;
    long plain = 0, nested = 0;

    run_all(16, [&](int i) {
        for (int k = 0; k < 200; k++) {
            std::lock_guard guard(m);
            plain += i;
        }
        for (int k = 0; k < 50; k++) {
            std::unique_lock outer(rm, 60s);
            std::lock_guard inner(rm);
            if (!outer.owns_lock())
                std::abort();
            nested++;
        }
    });
    expect("mutex", plain == 200 * 120);
    expect("recursive_timed_mutex", nested == 16 * 50);
}

// A bounded queue with two conditions, two producers and three consumers.
static void condition_variables()
{
    std::mutex m;
    std::condition_variable not_full, not_empty;
    std::deque<int> queue;
    int producers = 2;
    std::atomic<long> sum{0};

    run_all(5, [&](int i) {
        if (i < 2) {
            for (int k = 1; k <= 1000; k++) {
                std::unique_lock l(m);
                not_full.wait(l, [&] { return queue.size() < 8; });
                queue.push_back(k);
                not_empty.notify_one();
            }
            std::lock_guard l(m);
            if (--producers == 0)
                not_empty.notify_all();
            return;
        }
        for (;;) {
            std::unique_lock l(m);
            if (!not_empty.wait_for(l, 60s, [&] { return !queue.empty() || !producers; }))
                std::abort();
            if (queue.empty())
                return;
            sum += queue.front();
            queue.pop_front();
            not_full.notify_one();
        }
    });
    expect("condition_variable", sum == 2 * 500500);

    std::condition_variable_any any;
    std::shared_mutex sm;
    bool ready = false;
    std::thread waiter([&] {
        std::shared_lock l(sm);
        any.wait(l, [&] { return ready; });
    });
    {
        std::unique_lock l(sm);
        ready = true;
    }
    any.notify_all();
    waiter.join();
    std::unique_lock l(m);
    auto start = std::chrono::steady_clock::now();
    expect("wait_for times out", not_full.wait_for(l, 2ms) == std::cv_status::timeout ||
                                     std::chrono::steady_clock::now() - start < 2ms);
}

static void readers_and_writers()
{
    std::shared_mutex sm;
    long left = 0, right = 0;
    std::atomic<int> torn{0};

    run_all(8, [&](int i) {
        for (int k = 0; k < 300; k++) {
            if ((i + k) % 5 == 0) {
                std::unique_lock l(sm);
                left++;
                std::this_thread::yield();
                right++;
            } else {
                std::shared_lock l(sm);
                torn += left != right;
            }
        }
    });
    expect("shared_mutex", torn == 0 && left == right && left == 8 * 60);
}

static long split_sum(const int *first, const int *last)
{
    if (last - first < 64)
        return std::accumulate(first, last, 0L);
    const int *mid = first + (last - first) / 2;
    auto right = std::async(std::launch::async, split_sum, mid, last);
    return split_sum(first, mid) + right.get();
}

static void futures()
{
    std::vector<int> v(4000);
    std::iota(v.begin(), v.end(), 0);
    expect("async tree", split_sum(v.data(), v.data() + v.size()) == 4000L * 3999 / 2);

    std::promise<std::string> p;
    auto f = p.get_future().share();
    std::atomic<int> right{0};
    std::vector<std::thread> all;
    for (int i = 0; i < 8; i++)
        all.emplace_back([f, &right] { right += f.get() == "hello"; });
    p.set_value("hello");
    for (auto &t : all)
        t.join();
    expect("shared_future", right == 8);

    std::packaged_task<int(int)> task([](int x) { return x * x; });
    auto tf = task.get_future();
    std::thread(std::move(task), 12).join();
    expect("packaged_task", tf.get() == 144);
    auto slow = std::async(std::launch::async, [] { std::this_thread::sleep_for(3ms); });
    while (slow.wait_for(200us) != std::future_status::ready)
        ;
}

static void exceptions()
{
    std::atomic<int> caught{0};

    run_all(24, [&](int i) {
        for (int k = 0; k < 20; k++) {
            try {
                std::unique_ptr<int> leak(new int(i));
                if (k % 2)
                    std::this_thread::yield();
                throw std::runtime_error(std::to_string(i * 100 + k));
            } catch (const std::exception &e) {
                std::this_thread::yield(); // the exception lives across a switch
                caught += std::atoi(e.what()) == i * 100 + k;
            }
        }
    });
    expect("exceptions in threads", caught == 24 * 20);

    auto f = std::async(std::launch::async, []() -> int { throw std::logic_error("x"); });
    bool carried = false;
    try {
        f.get();
    } catch (const std::logic_error &e) {
        carried = std::string(e.what()) == "x";
    }
    expect("exception through a future", carried);

    std::exception_ptr ep;
    std::thread([&] {
        try {
            throw 42;
        } catch (...) {
            ep = std::current_exception();
        }
    }).join();
    int value = 0;
    try {
        std::rethrow_exception(ep);
    } catch (int v) {
        value = v;
    }
    expect("exception_ptr across threads", value == 42);
}

static std::atomic<int> alive{0}, destroyed{0};

struct counted {
    std::string name{"nobody"};
    std::vector<int> data = std::vector<int>(100, 7);

    counted()
    {
        alive++;
    }
    ~counted()
    {
        alive--;
        destroyed += data[99] == 7;
    }
};

static thread_local counted per_thread;
static thread_local int small_tls = 17;

static void thread_locals()
{
    std::atomic<int> right{0};

    alive = destroyed = 0;
    run_all(40, [&](int i) {
        bool fresh = small_tls == 17 && per_thread.name == "nobody";
        const void *where = &per_thread;

        per_thread.name = std::to_string(i);
        small_tls = i;
        for (int k = 0; k < 10; k++)
            std::this_thread::sleep_for(std::chrono::microseconds(i * 7 % 50));
        right += fresh && small_tls == i && per_thread.name == std::to_string(i) &&
                 where == &per_thread;
    });
    expect("thread_local values", right == 40);
    expect("thread_local destructors", alive == 0 && destroyed == 40);
}

// std::atomic::wait and the things built upon it: raw futex calls.
static void atomic_waits()
{
    std::atomic<int> turn{0};
    std::atomic<long long> wide{0};
    std::atomic_flag flag;
    long laps = 0;

    run_all(4, [&](int i) {
        for (int k = 0; k < 100; k++) {
            int now;
            while ((now = turn.load()) % 4 != i)
                turn.wait(now);
            laps++;
            turn++;
            turn.notify_all();
        }
    });
    expect("atomic wait ring", laps == 400 && turn == 400);

    std::thread t([&] {
        flag.wait(false);
        wide = 1LL << 40;
        wide.notify_one();
    });
    flag.test_and_set();
    flag.notify_one();
    wide.wait(0);
    t.join();
    expect("atomic wait on 64 bits", wide == 1LL << 40);
}

static void latches_and_barriers()
{
    std::latch start(9);
    std::counting_semaphore<8> room(3);
    std::binary_semaphore done(0);
    std::atomic<int> inside{0}, most{0}, after{0};

    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; i++)
        threads.emplace_back([&] {
            start.arrive_and_wait();
            for (int k = 0; k < 50; k++) {
                // Not acquire(): libstdc++'s release() wakes nobody while the count is
                // above zero, and a waiter that saw that count sleeps for ever, natively
                // too (a bug of libstdc++ 12).
                while (!room.try_acquire_for(1ms))
                    ;
                int n = ++inside;
                int m = most.load();
                while (n > m && !most.compare_exchange_weak(m, n))
                    ;
                std::this_thread::yield();
                inside--;
                room.release();
            }
            if (++after == 8)
                done.release();
        });
    start.arrive_and_wait();
    done.acquire();
    expect("counting_semaphore", most <= 3 && most >= 1);
    expect("try_acquire_for", !done.try_acquire_for(1ms));

    int phases = 0;
    auto completion = [&]() noexcept { phases++; };
    std::barrier sync(6, completion);
    std::atomic<int> wrong{0};
    run_all(6, [&](int) {
        for (int k = 0; k < 100; k++) {
            wrong += phases != k;
            sync.arrive_and_wait();
        }
    });
    expect("barrier", phases == 100 && wrong == 0);
}

static void stop_tokens()
{
    std::mutex m;
    std::condition_variable_any cv;
    std::atomic<bool> seen{false};
    std::atomic<int> callbacks{0};

    {
        std::jthread t([&](std::stop_token st) {
            std::stop_callback cb(st, [&] {
                callbacks++;
                callbacks.notify_all();
            });
            std::unique_lock l(m);
            cv.wait(l, st, [] { return false; });
            seen = st.stop_requested();
            // The wait's own callback may run first; a callback that is taken away before
            // its turn is not called, so stay until this one was.
            callbacks.wait(0);
        });
        std::this_thread::sleep_for(1ms);
    }
    expect("stop_token wakes a wait", seen && callbacks == 1);
}

static std::once_flag once;
static int once_runs, once_throws;

static void call_once_and_statics()
{
    std::once_flag again;
    std::atomic<int> sum{0}, tries{0};
    int runs = 0;

    run_all(12, [&](int) {
        static counted lazy; // guarded initialisation, raced by all
        sum += lazy.data[0];
        std::call_once(once, [] { once_runs++; });
        for (;;) {
            try {
                std::call_once(again, [&] {
                    if (tries++ < 3)
                        throw std::runtime_error("again");
                    std::this_thread::yield();
                    runs++;
                });
                break;
            } catch (const std::runtime_error &) {
            }
        }
    });
    expect("static initialisation", sum == 12 * 7);
    expect("call_once", once_runs == 1 && once_throws == 0);
    expect("call_once after exceptions", runs == 1 && tries == 4);
}

static void ids_and_streams()
{
    std::mutex m;
    std::vector<std::thread::id> ids;
    std::latch all(20);

    run_all(20, [&](int i) {
        std::ostringstream os;
        os.imbue(std::locale::classic());
        os << i << ' ' << std::fixed << 0.5 * i << ' ' << std::hex << i;
        std::istringstream is(os.str());
        int j;
        double d;
        is >> j >> d;
        expect("string streams", j == i && d == 0.5 * i);
        std::lock_guard l(m);
        ids.push_back(std::this_thread::get_id());
        all.count_down();
    });
    all.wait();
    expect("twenty ids", ids.size() == 20);
    expect("hardware_concurrency", std::thread::hardware_concurrency() > 0);
}

int main(int argc, char **argv)
{
    int laps = argc > 1 ? std::atoi(argv[1]) : 3;

    for (int i = 0; i < laps; i++) {
        threads_and_mutexes();
        condition_variables();
        readers_and_writers();
        futures();
        exceptions();
        thread_locals();
        atomic_waits();
        latches_and_barriers();
        stop_tokens();
        call_once_and_statics();
        ids_and_streams();
    }
    std::printf("C++: %d laps, %d failures\n", laps, failures);
    return failures != 0;
}
