// tbb.cc - Intel TBB: work stealing whose workers spin, yield and sleep on raw futexes.
//
//   tbb LAPS
//
// parallel_for, reduce, scan, sort, pipeline, a flow graph, concurrent containers, nested
// parallelism in arenas of other sizes, exceptions and cancellation.

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <tbb/tbb.h>
#include <vector>

static unsigned long hash(unsigned long x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdUL;
    return x ^ (x >> 29);
}

static unsigned long containers(int n)
{
    tbb::concurrent_hash_map<unsigned long, unsigned long> map;
    tbb::concurrent_vector<unsigned long> all;
    unsigned long sum = 0;

    tbb::parallel_for(0, n, [&](int i) {
        tbb::concurrent_hash_map<unsigned long, unsigned long>::accessor a;

        map.insert(a, hash(static_cast<unsigned long>(i)) % 97);
        a->second += static_cast<unsigned long>(i);
        all.push_back(hash(static_cast<unsigned long>(i)));
    });
    for (auto &kv : map)
        sum += kv.second * (kv.first + 1);
    tbb::parallel_sort(all.begin(), all.end());
    for (size_t i = 1; i < all.size(); i++)
        sum += all[i - 1] > all[i];
    return sum ^ all.front() ^ all.back();
}

static unsigned long pipeline(int n)
{
    unsigned long out = 0;
    int next = 0;

    tbb::parallel_pipeline(
        16, tbb::make_filter<void, int>(tbb::filter_mode::serial_in_order,
                                        [&](tbb::flow_control &fc) {
                                            if (next >= n)
                                                fc.stop();
                                            return next++;
                                        }) &
                tbb::make_filter<int, unsigned long>(
                    tbb::filter_mode::parallel,
                    [](int i) { return hash(static_cast<unsigned long>(i)); }) &
                tbb::make_filter<unsigned long, void>(
                    tbb::filter_mode::serial_in_order,
                    [&](unsigned long x) { out = out * 31 + x; }));
    return out;
}

static unsigned long graph(int n)
{
    tbb::flow::graph g;
    std::atomic<unsigned long> sum{0};
    tbb::flow::function_node<int, unsigned long> work(g, tbb::flow::unlimited, [](int i) {
        return hash(static_cast<unsigned long>(i));
    });
    tbb::flow::function_node<unsigned long> add(g, tbb::flow::serial,
                                                [&](unsigned long x) { sum += x; });

    tbb::flow::make_edge(work, add);
    for (int i = 0; i < n; i++)
        work.try_put(i);
    g.wait_for_all();
    return sum;
}

static unsigned long nested(int n)
{
    tbb::task_arena small(3);
    unsigned long sum = 0;

    small.execute([&] {
        sum = tbb::parallel_reduce(
            tbb::blocked_range<int>(0, n), 0UL,
            [](const tbb::blocked_range<int> &r, unsigned long s) {
                for (int i = r.begin(); i < r.end(); i++)
                    s += tbb::parallel_deterministic_reduce(
                        tbb::blocked_range<int>(0, 50), 0UL,
                        [i](const tbb::blocked_range<int> &q, unsigned long t) {
                            for (int k = q.begin(); k < q.end(); k++)
                                t += hash(static_cast<unsigned long>(i * 64 + k));
                            return t;
                        },
                        std::plus<unsigned long>());
                return s;
            },
            std::plus<unsigned long>());
    });
    return sum;
}

static unsigned long exceptions(int n)
{
    unsigned long caught = 0;

    for (int lap = 0; lap < 20; lap++) {
        try {
            tbb::parallel_for(0, n, [&](int i) {
                if (i == n / 2)
                    throw std::runtime_error("middle");
            });
        } catch (const std::runtime_error &) {
            caught++;
        }
    }
    return caught;
}

int main(int argc, char **argv)
{
    int laps = argc > 1 ? std::atoi(argv[1]) : 5;
    tbb::global_control threads(tbb::global_control::max_allowed_parallelism, 8);
    tbb::task_arena eight(8);

    for (int i = 0; i < laps; i++)
        eight.execute([] {
            std::printf("%lx %lx %lx %lx %lu\n", containers(20000), pipeline(5000),
                        graph(5000), nested(300), exceptions(1000));
        });
    return 0;
}
