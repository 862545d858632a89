/* throw.cc - exceptions are thrown and caught while the throwing threads are preempted at any
 * instruction, and whoever waits for the unwinder's locks gets on.
 *
 * Each thread throws through frames with destructors, some of which allocate, and checks that
 * each destructor ran once and that the right object was caught; a second kind of thread
 * rethrows and nests. */

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

extern "C" {
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
}

namespace {

constexpr int threads = 4;
volatile sig_atomic_t enough;
long rounds[threads];

[[noreturn]] void fail(const char *what)
{
    dprintf(2, "FAIL throw: %s\n", what);
    _exit(1);
}

void hang(int)
{
    static const char text[] = "FAIL throw: HANG\n";
    if (write(2, text, sizeof(text) - 1) < 0)
        _exit(1);
    abort();
}

struct guard {
    int &count;
    std::unique_ptr<std::string> text;
    explicit guard(int &c) : count(c), text(new std::string(40, 'x'))
    {
        count++;
    }
    ~guard()
    {
        if (*text != std::string(40, 'x'))
            fail("a frame was spoilt");
        count--;
    }
};

void deep(int n, int &count)
{
    guard g(count);
    volatile double spin = n;
    for (int i = 0; i < 50; i++)
        spin = spin * 1.5 + 1;
    if (n == 0)
        throw std::runtime_error("bottom");
    deep(n - 1, count);
}

void nested(int &count)
{
    try {
        deep(5, count);
    } catch (const std::runtime_error &e) {
        if (strcmp(e.what(), "bottom") != 0)
            fail("another object was caught");
        try {
            deep(2, count);
        } catch (...) {
        }
        throw; /* the outer one */
    }
}

void *thrower(void *arg)
{
    long id = reinterpret_cast<long>(arg);
    while (!enough) {
        int count = 0;
        bool caught = false;
        try {
            nested(count);
        } catch (const std::exception &e) {
            caught = strcmp(e.what(), "bottom") == 0;
        }
        if (!caught || count != 0)
            fail(caught ? "a destructor did not run" : "it was not caught");
        rounds[id]++;
    }
    return arg;
}

} // namespace

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    pthread_t t[threads];
    signal(SIGALRM, hang);
    alarm(static_cast<unsigned>(60 + 5 * seconds));
    for (long i = 0; i < threads; i++)
        if (pthread_create(&t[i], nullptr, thrower, reinterpret_cast<void *>(i)) != 0)
            fail("pthread_create");
    timespec ts = {static_cast<time_t>(seconds),
                   static_cast<long>((seconds - static_cast<long>(seconds)) * 1e9)};
    nanosleep(&ts, nullptr);
    enough = 1;
    long all = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(t[i], nullptr);
        if (rounds[i] == 0)
            fail("a thread never got its turn");
        all += rounds[i];
    }
    printf("ok throw: %ld rounds\n", all);
    return 0;
}
