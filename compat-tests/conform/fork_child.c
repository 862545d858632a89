/* fork_child.c - what a child of fork is: its thread, its signals, its handlers, its own
 * children; by fork, _Fork, vfork, clone and the system call, from any thread while others run
 * (XSH fork, pthread_atfork; clone(2)). */
#include "conform.h"

#include <dlfcn.h>
#include <sys/syscall.h>

static int stop;
static pthread_mutex_t noise_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t noise_cond = PTHREAD_COND_INITIALIZER;

/* Holds every kind of lock at some time. */
static void *make_noise(void *arg)
{
    FILE *sink = fopen("/dev/null", "w");
    for (int i = 0; !get(&stop); i++) {
        struct timespec ts = in_ms(CLOCK_REALTIME, 1);
        pthread_mutex_lock(&noise_lock);
        pthread_cond_signal(&noise_cond);
        if (i % 4 == 0)
            pthread_cond_timedwait(&noise_cond, &noise_lock, &ts);
        pthread_mutex_unlock(&noise_lock);
        free(malloc((size_t)i % 9000));
        fprintf(sink, "%d\n", i);
        if (i % 16 == 0) {
            void *lib = dlopen("libm.so.6", RTLD_NOW);
            if (lib)
                dlclose(lib);
            usleep(1);
        }
    }
    fclose(sink);
    return arg;
}

static pthread_t noise[4];

static void start_noise(void)
{
    set(&stop, 0);
    for (size_t i = 0; i < COUNT_OF(noise); i++)
        noise[i] = spawn(make_noise, NULL);
}

static void stop_noise(void)
{
    set(&stop, 1);
    for (size_t i = 0; i < COUNT_OF(noise); i++)
        join(noise[i]);
}

static void *on_thread(void *fn)
{
    ((void (*)(void))fn)();
    return NULL;
}

static void in_main_and_thread(void (*fn)(void))
{
    fn();
    join(spawn(on_thread, (void *)fn));
}

/* --- the one thread ---------------------------------------------------------------------- */

static __thread int tls = 3;

static void *add_tls(void *arg)
{
    tls += (int)(intptr_t)arg;
    return (void *)(intptr_t)tls;
}

/* Everything a process can do, the child can. */
static void use_everything(void *arg)
{
    pthread_t t[8], self = pthread_self();
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    char text[32];
    (void)arg;
    CHECK_EQ(syscall(SYS_gettid), getpid());
    CHECK(pthread_equal(self, pthread_self()));
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_kill(self, 0), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(add_tls, (void *)(intptr_t)i);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        CHECK_EQ((intptr_t)join(t[i]), 3 + (int)i);
    sleep_ms(1);
    free(malloc(100000));
    snprintf(text, sizeof(text), "%d", getpid());
    CHECK_EQ(fflush(NULL), 0);
    CHECK(setenv("FORK_CHILD", text, 1) == 0);
}

static void fork_and_use(void)
{
    for (int i = 0; i < 10; i++)
        CHECK_CHILD_OK(start_child(use_everything, NULL));
}

TEST(child_can_do_everything)
{
    start_noise();
    in_main_and_thread(fork_and_use);
    stop_noise();
}

static void deeper(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    use_everything(NULL);
    if (depth > 0)
        CHECK_CHILD_OK(start_child(deeper, (void *)(depth - 1)));
}

static void *deeper_in_thread(void *arg)
{
    CHECK_CHILD_OK(start_child(deeper, arg));
    return NULL;
}

static void fork_deep(void)
{
    join(spawn(deeper_in_thread, (void *)4));
}

TEST(grandchildren_from_threads)
{
    in_main_and_thread(fork_deep);
}

/* XSH fork: "a process shall be created with a single thread": what the others held is free
 * for pthread_atfork's handlers to deal with, but the child itself does not wait for them. */
static void *hold_and_wait(void *arg)
{
    pthread_mutex_lock(arg);
    await_at_least(&stop, 1);
    pthread_mutex_unlock(arg);
    return NULL;
}

static void try_lock(void *arg)
{
    struct timespec ts = in_ms(CLOCK_REALTIME, 10);
    CHECK_EQ(pthread_mutex_trylock(arg), EBUSY); /* a copy of the locked state */
    CHECK_EQ(pthread_mutex_timedlock(arg, &ts), ETIMEDOUT);
}

TEST(locks_of_other_threads_stay_locked)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    set(&stop, 0);
    pthread_t t = spawn(hold_and_wait, &m);
    settle();
    CHECK_CHILD_OK(start_child(try_lock, &m));
    set(&stop, 1);
    join(t);
}

/* --- signals ------------------------------------------------------------------------------ */

static void look_at_signals(void *arg)
{
    sigset_t set;
    stack_t now;
    int blocked = (int)(intptr_t)arg;
    sigpending(&set);
    CHECK(!sigismember(&set, SIGUSR1)); /* XSH fork: pending signals: the empty set */
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    CHECK_EQ(sigismember(&set, SIGUSR1), blocked);
    CHECK_EQ(sigismember(&set, SIGURG), blocked);
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK_EQ(now.ss_flags, SS_DISABLE);
    /* the parent's handlers */
    struct sigaction sa;
    CHECK_EQ(sigaction(SIGUSR2, NULL, &sa), 0);
    CHECK(sa.sa_handler == SIG_IGN);
    CHECK_EQ(sigaction(SIGSEGV, NULL, &sa), 0);
    CHECK(sa.sa_handler == SIG_DFL);
    CHECK_EQ(sigaction(SIGURG, NULL, &sa), 0);
    CHECK(sa.sa_handler == SIG_DFL);
}

static void fork_with_signals(void)
{
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGURG);
    CHECK_CHILD_OK(start_child(look_at_signals, (void *)0));
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    CHECK_CHILD_OK(start_child(look_at_signals, (void *)1));
    int sig = 0;
    CHECK_EQ(sigwait(&set, &sig), 0); /* still the parent's */
    CHECK_EQ(sig, SIGUSR1);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
}

TEST(signals_of_the_child)
{
    signal(SIGUSR2, SIG_IGN);
    in_main_and_thread(fork_with_signals);
    signal(SIGUSR2, SIG_DFL);
}

static int caught; /* atomic */

static void on_usr1(int sig)
{
    (void)sig;
    add(&caught, 1);
}

static void signal_itself(void *arg)
{
    (void)arg;
    set(&caught, 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    await_at_least(&caught, 2);
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    await_at_least(&caught, 3);
}

static void fork_with_handler(void)
{
    CHECK_CHILD_OK(start_child(signal_itself, NULL));
}

TEST(handlers_run_in_the_child)
{
    signal(SIGUSR1, on_usr1);
    in_main_and_thread(fork_with_handler);
    signal(SIGUSR1, SIG_DFL);
}

/* --- pthread_atfork ------------------------------------------------------------------------ */

static char trail[32];
static int steps;
static bool watch;
static pthread_mutex_t in_atfork = PTHREAD_MUTEX_INITIALIZER;

static void note(char c)
{
    if (watch && steps + 1 < (int)sizeof(trail))
        trail[steps++] = c;
}

static void prepare_1(void)
{
    note('a');
    if (watch)
        pthread_mutex_lock(&in_atfork);
}

static void parent_1(void)
{
    note('b');
    if (watch)
        pthread_mutex_unlock(&in_atfork);
}

static void child_1(void)
{
    note('c');
    if (watch)
        pthread_mutex_unlock(&in_atfork);
}

static void prepare_2(void)
{
    note('A');
}

static void parent_2(void)
{
    note('B');
}

static void child_2(void)
{
    note('C');
    if (watch) /* a handler may create threads */
        CHECK_EQ((intptr_t)join(spawn(add_tls, (void *)1)), 4);
}

static void check_child_trail(void *arg)
{
    (void)arg;
    CHECK(strcmp(trail, "AacC") == 0);
    CHECK_EQ(pthread_mutex_trylock(&in_atfork), 0);
}

static void fork_with_handlers(void)
{
    steps = 0;
    memset(trail, 0, sizeof(trail));
    watch = true;
    CHECK_CHILD_OK(start_child(check_child_trail, NULL));
    watch = false;
    CHECK(strcmp(trail, "AabB") == 0);
}

static void *lock_now_and_then(void *arg)
{
    while (!get(&stop)) {
        pthread_mutex_lock(&in_atfork);
        sched_yield();
        pthread_mutex_unlock(&in_atfork);
        sched_yield();
    }
    return arg;
}

/* XSH pthread_atfork: prepare handlers in reverse order of registration, the others in order. */
TEST(atfork_order)
{
    CHECK_EQ(pthread_atfork(prepare_1, parent_1, child_1), 0);
    CHECK_EQ(pthread_atfork(prepare_2, parent_2, child_2), 0);
    set(&stop, 0);
    pthread_t t = spawn(lock_now_and_then, NULL);
    for (int i = 0; i < 5; i++)
        in_main_and_thread(fork_with_handlers);
    set(&stop, 1);
    join(t);
}

/* _Fork runs no handlers (glibc manual; POSIX.1-2024). */
static void underscore_fork(void)
{
    steps = 0;
    memset(trail, 0, sizeof(trail));
    watch = true;
    pid_t pid = _Fork();
    if (pid == 0) {
        watchdog();
        watch = false;
        sleep_ms(1);
        _exit(syscall(SYS_gettid) == getpid() && trail[0] == '\0' ? 0 : 1);
    }
    watch = false;
    CHECK_CHILD_OK(pid);
    CHECK_EQ(trail[0], '\0');
}

TEST(underscore_fork_runs_no_handlers)
{
    in_main_and_thread(underscore_fork);
}

/* --- other ways to make a process ------------------------------------------------------------ */

static int clone_body(void *arg)
{
    watchdog();
    set(&conform_failures, 0);
    use_everything(arg);
    CHECK_CHILD_OK(start_child(use_everything, arg));
    return get(&conform_failures) ? 1 : 0;
}

static int quick_body(void *arg)
{
    return *(int *)arg;
}

static void clone_copy(void)
{
    static char stack[2][256 * 1024] __attribute__((aligned(64)));
    int code = 0;
    char *top = stack[syscall(SYS_gettid) != getpid()] + sizeof(stack[0]);
    pid_t pid = clone(quick_body, top, SIGCHLD, &code);
    CHECK_CHILD_OK(pid);
}

static void clone_copy_threads(void)
{
    static char stack[256 * 1024] __attribute__((aligned(64)));
    pid_t pid = clone(clone_body, stack + sizeof(stack), SIGCHLD, NULL);
    CHECK_CHILD_OK(pid);
}

TEST(clone_with_copied_memory)
{
    in_main_and_thread(clone_copy);
    start_noise();
    clone_copy(); /* more of libc need not work in there natively: its locks were copied */
    stop_noise();
    clone_copy_threads();
}

static int shared_word;

static int write_shared(void *arg)
{
    sigset_t sigs;
    sigfillset(&sigs);
    sigprocmask(SIG_SETMASK, &sigs, NULL); /* of the child only */
    set(&shared_word, *(int *)arg);
    _exit(7);
}

static void ignore_me(int sig)
{
    (void)sig;
}

static void fork_and_reset_handlers(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGUSR2, SIG_DFL);
        signal(SIGALRM, SIG_IGN);
        _exit(signal(SIGUSR2, ignore_me) == SIG_DFL ? 6 : 1);
    }
    CHECK_EXITS(wait_status(pid), 6);
}

TEST(child_resets_handlers)
{
    signal(SIGUSR2, ignore_me);
    start_noise();
    in_main_and_thread(fork_and_reset_handlers);
    stop_noise();
    signal(SIGUSR2, SIG_DFL);
}

/* In a process that never had a thread the child shares the memory, as vfork(2) says. */
MODE(vfork_before_threads)
{
    static volatile int shared, exits;
    for (int i = 0; i < 3; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            shared++;
            _exit(7);
        }
        int status = 0;
        if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
            exits += WEXITSTATUS(status) == 7;
    }
    return shared == 3 && exits == 3 ? 0 : 1;
}

TEST(vfork_before_threads)
{
    CHECK_EXITS(run_mode("vfork_before_threads", NULL, 0), 0);
}

static void clone_vfork(void)
{
    static char stack[2][64 * 1024] __attribute__((aligned(64)));
    char *top = stack[syscall(SYS_gettid) != getpid()] + sizeof(stack[0]);
    sigset_t sigs;
    int value = 5;
    set(&shared_word, 0);
    pid_t pid = clone(write_shared, top, CLONE_VM | CLONE_VFORK | SIGCHLD, &value);
    CHECK_EQ(get(&shared_word), 5); /* the parent was suspended until it ended */
    CHECK_EXITS(wait_status(pid), 7);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &sigs), 0);
    CHECK(!sigismember(&sigs, SIGUSR1));
    sleep_ms(1);
}

TEST(clone_with_shared_memory)
{
    start_noise();
    in_main_and_thread(clone_vfork);
    stop_noise();
}

static int write_and_stay(void *arg)
{
    set(&shared_word, *(int *)arg);
    usleep(100000);
    _exit(7);
}

static void *clone_that_stays(void *arg)
{
    static char stack[64 * 1024] __attribute__((aligned(64)));
    int value = 6;
    pid_t pid = clone(write_and_stay, stack + sizeof(stack),
                      CLONE_VM | CLONE_VFORK | SIGCHLD, &value);
    CHECK_EXITS(wait_status(pid), 7);
    return arg;
}

/* Meanwhile it is a thread like any other, for the others. */
TEST(thread_that_waits_for_its_clone_is_joined)
{
    char name[16];
    void *ret = NULL;
    set(&shared_word, 0);
    pthread_t t = spawn(clone_that_stays, &ret);
    while (get(&shared_word) != 6)
        sched_yield();
    CHECK_EQ(pthread_kill(t, 0), 0);
    CHECK_EQ(pthread_setname_np(t, "cloner"), 0);
    CHECK_EQ(pthread_getname_np(t, name, sizeof(name)), 0);
    CHECK(strcmp(name, "cloner") == 0);
    CHECK_EQ(pthread_tryjoin_np(t, &ret), EBUSY);
    CHECK_EQ(pthread_join(t, &ret), 0);
    CHECK(ret == &ret);
}

static void fork_by_number(void)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        alarm(conform_timeout_s());
        pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
        struct timespec ts = in_ms(CLOCK_REALTIME, 1);
        pthread_mutex_lock(&m);
        _exit(pthread_mutex_timedlock(&m, &ts) == ETIMEDOUT ? 0 : 1);
    }
    CHECK_CHILD_OK(pid);
}

TEST(fork_by_number)
{
    in_main_and_thread(fork_by_number);
}

static void vfork_and_exit(void)
{
    for (int i = 0; i < 10; i++) {
        pid_t pid = vfork();
        if (pid == 0)
            _exit(i);
        CHECK_EXITS(wait_status(pid), i);
    }
}

TEST(vfork_from_threads)
{
    start_noise();
    in_main_and_thread(vfork_and_exit);
    stop_noise();
}

/* From a context of the program's own, and from a signal handler. */
static void fork_in_handler(int sig)
{
    (void)sig;
    pid_t pid = _Fork();
    if (pid == 0)
        _exit(9);
    CHECK_EXITS(wait_status(pid), 9);
    add(&caught, 1);
}

static void raise_fork(void)
{
    set(&caught, 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(get(&caught), 1);
}

TEST(from_a_signal_handler)
{
    signal(SIGUSR1, fork_in_handler);
    in_main_and_thread(raise_fork);
    signal(SIGUSR1, SIG_DFL);
}
