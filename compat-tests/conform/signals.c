/* signals.c - the little that every threaded program uses: masks are per thread, signal 0
 * asks whether a thread exists. */
#include "conform.h"

#include <setjmp.h>
#include <ucontext.h>

static bool blocked(int sig)
{
    sigset_t set;

    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
    return sigismember(&set, sig) == 1;
}

static void *own_mask(void *arg)
{
    int mine = (intptr_t)arg % 2 ? SIGUSR1 : SIGUSR2;
    int other = mine == SIGUSR1 ? SIGUSR2 : SIGUSR1;

    CHECK(blocked(SIGTERM)); /* POSIX pthread_create: inherited from the creator */
    CHECK(!blocked(mine) && !blocked(other));
    mask_signal(SIG_BLOCK, mine);
    for (int i = 0; i < 20; i++) {
        CHECK(blocked(mine) && !blocked(other)); /* POSIX: each thread has its own */
        if (i % 5 == 0)
            sleep_ms(1);
        else
            sched_yield();
    }
    mask_signal(SIG_UNBLOCK, SIGTERM);
    CHECK(!blocked(SIGTERM));
    return NULL;
}

TEST(mask_is_per_thread)
{
    pthread_t t[20];

    mask_signal(SIG_BLOCK, SIGTERM);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(own_mask, (void *)i);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK(blocked(SIGTERM) && !blocked(SIGUSR1) && !blocked(SIGUSR2));
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(spawn(own_mask, (void *)i)); /* nothing is left from threads before */
    mask_signal(SIG_UNBLOCK, SIGTERM);
}

/* sighold and sigset are old, which is why they are used. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static int simple_calls;

static void count_simple(int sig)
{
    (void)sig;
    simple_calls++;
}

/* System V's way to hold a signal for a handler that is not there yet. */
static void *sets_for_a_held_one(void *arg)
{
    simple_calls = 0;
    CHECK_EQ(sighold(SIGUSR1), 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK(sigset(SIGUSR1, count_simple) == SIG_HOLD);
    CHECK_EQ(simple_calls, 1);
    CHECK(!blocked(SIGUSR1));
    CHECK(sigset(SIGUSR1, SIG_DFL) == count_simple);
    return arg;
}

#pragma GCC diagnostic pop

static void in_child(void *arg)
{
    sets_for_a_held_one(arg);
    join(spawn(sets_for_a_held_one, arg));
}

TEST(sigset_has_the_handler_there_before_a_held_signal_comes)
{
    CHECK_CHILD_OK(start_child(in_child, NULL)); /* the default would end us */
}

static void *full_mask(void *arg)
{
    sigset_t all, seen;

    sigfillset(&all);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &seen), 0);
    CHECK_EQ(sigismember(&seen, SIGUSR1), 1);
    CHECK_EQ(sigismember(&seen, SIGURG),
             1); /* also a signal that somebody may be using */
    CHECK_EQ(sigismember(&seen, SIGKILL), 0); /* POSIX: cannot be blocked, no error */
    sched_yield();
    sleep_ms(1);
    CHECK(blocked(SIGURG) && blocked(SIGUSR1));
    return arg;
}

TEST(everything_blocked)
{
    sigset_t set;

    join(spawn(full_mask, NULL));
    CHECK(!blocked(SIGURG));
    sigemptyset(&set);
    CHECK_EQ(pthread_sigmask(99, &set, NULL), EINVAL); /* POSIX */
}

static void *wait_for(void *arg)
{
    await_at_least(arg, 1);
    return NULL;
}

TEST(signal_zero)
{
    int go = 0;
    pthread_t t = spawn(wait_for, &go);

    CHECK_EQ(pthread_kill(t, 0), 0); /* POSIX: error checking only */
    CHECK_EQ(pthread_kill(pthread_self(), 0), 0);
    CHECK_EQ(pthread_kill(t, 10000), EINVAL);
    CHECK_EQ(pthread_kill(t, -1), EINVAL);
    CHECK_EQ(kill(getpid(), 0), 0);
    set(&go, 1);
    join(t);
}

static pthread_t handled_by;
static int handled;

static void handler(int sig)
{
    handled_by = pthread_self();
    add(&handled, sig == SIGUSR1);
}

static void *raise_here(void *arg)
{
    for (int i = 0; i < 10; i++) {
        int before = get(&handled);

        CHECK_EQ(raise(SIGUSR1), 0); /* POSIX: delivered before raise() returns, */
        CHECK_EQ(get(&handled), before + 1);
        CHECK(pthread_equal(handled_by, pthread_self())); /* to the calling thread */
        sched_yield();
    }
    return arg;
}

TEST(raise_in_a_thread)
{
    struct sigaction action = {.sa_handler = handler}, old;

    CHECK_EQ(sigaction(SIGUSR1, &action, &old), 0);
    for (int i = 0; i < 5; i++)
        join(spawn(raise_here, NULL));
    raise_here(NULL);
    CHECK_EQ(handled, 60);
    CHECK_EQ(sigaction(SIGUSR1, &old, NULL), 0);
}

/* ---- blocking a signal that somebody may be using ------------------------------------------ */

static __thread volatile int urgent, shown;
static __thread sigjmp_buf away;

static void on_urgent(int sig)
{
    (void)sig;
    urgent++;
}

static void looks_and_raises(int sig)
{
    (void)sig;
    shown = blocked(SIGURG);
    raise(SIGURG);
}

static void adds_sighup(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)info;
    sigaddset(&((ucontext_t *)uc)->uc_sigmask, SIGHUP);
}

static void jumps(int sig)
{
    (void)sig;
    siglongjmp(away, 1);
}

static void on(int sig, void (*fn)(int))
{
    struct sigaction sa = {.sa_handler = fn};

    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

static void *handlers_under_it(void *arg)
{
    struct sigaction sa = {.sa_sigaction = adds_sighup, .sa_flags = SA_SIGINFO};

    mask_signal(SIG_BLOCK, SIGURG);
    on(SIGURG, on_urgent);
    on(SIGUSR1, looks_and_raises);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(shown, 1);
    CHECK(blocked(SIGURG));
    CHECK_EQ(urgent, 0);
    CHECK_EQ(sigaction(SIGUSR2, &sa, NULL), 0);
    CHECK_EQ(raise(SIGUSR2), 0);
    CHECK(blocked(SIGURG) && blocked(SIGHUP));
    CHECK_EQ(urgent, 0);
    mask_signal(SIG_UNBLOCK, SIGURG);
    CHECK_EQ(urgent, 1);
    return arg;
}

TEST(sigurg_stays_blocked_in_handlers)
{
    join(spawn(handlers_under_it, NULL));
}

static void *jumps_under_it(void *arg)
{
    mask_signal(SIG_BLOCK, SIGURG);
    on(SIGUSR1, jumps);
    if (sigsetjmp(away, 1) == 0)
        raise(SIGUSR1);
    CHECK(blocked(SIGURG) && !blocked(SIGUSR1));
    if (sigsetjmp(away, 1) == 0)
        siglongjmp(away, 1);
    CHECK(blocked(SIGURG));
    return arg;
}

static void *jumps_without(void *arg)
{
    on(SIGURG, jumps);
    if (sigsetjmp(away, 1) == 0)
        raise(SIGURG);
    CHECK(!blocked(SIGURG));
    if (sigsetjmp(away, 1) == 0) {
        sigset_t all;

        sigfillset(&all);
        CHECK_EQ(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
        siglongjmp(away, 1);
    }
    CHECK(!blocked(SIGURG) && !blocked(SIGTERM));
    return arg;
}

TEST(sigurg_after_a_jump_is_as_it_was)
{
    join(spawn(jumps_under_it, NULL));
    join(spawn(jumps_without, NULL));
}
