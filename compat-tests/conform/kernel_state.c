/* kernel_state.c - state that only the kernel keeps, for one thread: file system ids, namespaces,
 * filters, timer slack (unshare(2), setfsuid(2), seccomp(2), prctl(2)).  It stays with the thread
 * that set it, goes on to threads and processes which that makes, and to no other. */
#include "conform.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Passes through the scheduler in many ways. */
static void mix(void)
{
    for (int i = 0; i < 20; i++) {
        sched_yield();
        usleep(50);
    }
}

/* --- credentials, namespaces, filters ---------------------------------------------------------------- */

static void *change_fsuid(void *arg)
{
    setfsuid(12345);
    setfsgid(12346);
    for (int i = 0; i < 5; i++) {
        mix();
        CHECK_EQ(setfsuid((uid_t)-1), geteuid() == 0 ? 12345 : (int)geteuid());
    }
    return arg;
}

static void *check_fsuid(void *arg)
{
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(setfsuid((uid_t)-1), (int)geteuid());
        CHECK_EQ(setfsgid((gid_t)-1), (int)getegid());
        mix();
    }
    return arg;
}

TEST(fsuid)
{
    pthread_t a = spawn(change_fsuid, NULL), b = spawn(check_fsuid, NULL);
    join(a);
    join(b);
    check_fsuid(NULL);
}

static char cwd_before[4096];

static void *own_cwd(void *arg)
{
    char now[4096];
    CHECK_EQ(unshare(CLONE_FS), 0);
    CHECK_EQ(chdir("/"), 0);
    for (int i = 0; i < 5; i++) {
        mix();
        CHECK(strcmp(getcwd(now, sizeof(now)), "/") == 0);
    }
    return arg;
}

static void *check_cwd(void *arg)
{
    char now[4096];
    for (int i = 0; i < 5; i++) {
        CHECK(strcmp(getcwd(now, sizeof(now)), cwd_before) == 0);
        mix();
    }
    return arg;
}

TEST(unshared_directory)
{
    CHECK(getcwd(cwd_before, sizeof(cwd_before)) != NULL);
    pthread_t a = spawn(own_cwd, NULL), b = spawn(check_cwd, NULL);
    join(a);
    join(b);
    check_cwd(NULL);
    join(spawn(check_cwd, NULL));
}

static void *filtered(void *arg)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {COUNT_OF(code), code};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
    for (int i = 0; i < 5; i++) {
        mix();
        CHECK_ERR(syscall(SYS_getppid), EXDEV);
        CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    }
    return arg;
}

static void *unfiltered(void *arg)
{
    for (int i = 0; i < 5; i++) {
        CHECK(syscall(SYS_getppid) > 0);
        mix();
    }
    return arg;
}

TEST(seccomp_filter)
{
    pthread_t a = spawn(filtered, NULL), b = spawn(unfiltered, NULL);
    join(a);
    join(b);
    unfiltered(NULL);
    for (int i = 0; i < 5; i++)
        join(spawn(unfiltered, NULL));
}

static void *timer_slack(void *arg)
{
    CHECK_EQ(prctl(PR_SET_TIMERSLACK, 123456, 0, 0, 0), 0);
    mix();
    CHECK_EQ(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 123456);
    return arg;
}

static void *get_slack(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
}

/* Whatever kernel thread it runs on, a thread that has set none has what the process was started
 * with, and so have its children. */
static int slack_before;

static void slack_in_child(void *arg)
{
    CHECK(get_slack(NULL) == arg);
    CHECK(join(spawn(get_slack, NULL)) == arg);
}

static void *usual_slack(void *arg)
{
    char line[128];
    CHECK_EQ(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), slack_before);
    CHECK_EQ(syscall(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0), slack_before);
    CHECK_CHILD_OK(start_child(slack_in_child, (void *)(intptr_t)slack_before));
    /* one's own may always be read, another process's not */
    snprintf(line, sizeof(line), "read x < /proc/self/timerslack_ns && exit $((x != %d))",
             slack_before);
    CHECK_EQ(system(line), 0);
    return arg;
}

TEST(timer_slack)
{
    slack_before = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    for (int i = 0; i < 3; i++)
        join(spawn(usual_slack, NULL));
    usual_slack(NULL);
    join(spawn(timer_slack, NULL));
    CHECK(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) != 123456);
}

/* --- what new threads inherit ------------------------------------------------------------------ */

/* Of the thread that made them, and nobody else's: in GENERATIONS. */
enum { GENERATIONS = 2 };

static bool sees_filter(void)
{
    return syscall(SYS_getppid) == -1 && errno == EXDEV;
}

static void *heir(void *arg)
{
    int left = (int)(intptr_t)arg;
    char now[4096];
    for (int i = 0; i < 2; i++) {
        CHECK(strcmp(getcwd(now, sizeof(now)), "/") == 0);
        CHECK(sees_filter());
        CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
        CHECK_EQ(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 234567);
        usleep(100);
    }
    if (left > 0)
        join(spawn(heir, (void *)(intptr_t)(left - 1)));
    return arg;
}

static void *testator(void *arg)
{
    CHECK_EQ(unshare(CLONE_FS), 0);
    CHECK_EQ(chdir("/"), 0);
    CHECK_EQ(prctl(PR_SET_TIMERSLACK, 234567, 0, 0, 0), 0);
    filtered(NULL);
    pthread_t t[3];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(heir, (void *)(intptr_t)GENERATIONS);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    return arg;
}

static void *not_an_heir(void *arg)
{
    check_cwd(NULL);
    CHECK(!sees_filter());
    CHECK(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) != 234567);
    return arg;
}

TEST(state_of_the_kernel_thread_is_inherited)
{
    CHECK(getcwd(cwd_before, sizeof(cwd_before)) != NULL);
    for (int i = 0; i < 2; i++) {
        pthread_t t = spawn(testator, NULL);
        for (int k = 0; k < 10; k++)
            join(spawn(not_an_heir, NULL));
        join(t);
        for (int k = 0; k < 10; k++)
            join(spawn(not_an_heir, NULL));
        not_an_heir(NULL);
    }
}

/* A child of fork is the heir as a whole. */
static void in_child(void *arg)
{
    (void)arg;
    join(spawn(heir, (void *)(intptr_t)1));
}

static void *forks(void *arg)
{
    testator(NULL);
    CHECK_CHILD_OK(start_child(in_child, NULL));
    return arg;
}

TEST(child_of_fork_inherits)
{
    join(spawn(forks, NULL));
}

/* Each gets a kernel thread made by that of its maker, all at the same time. */
enum { MAKERS = 8, ROUNDS = 10, AT_ONCE = 8 };
static pthread_barrier_t makers;

static void *one_heir(void *arg)
{
    char now[4096];
    sched_yield();
    CHECK(strcmp(getcwd(now, sizeof(now)), "/") == 0);
    return arg;
}

static void *maker(void *arg)
{
    pthread_t t[AT_ONCE];
    CHECK_EQ(unshare(CLONE_FS), 0);
    CHECK_EQ(chdir("/"), 0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&makers);
        for (int i = 0; i < AT_ONCE; i++)
            t[i] = spawn(one_heir, NULL);
        for (int i = 0; i < AT_ONCE; i++)
            join(t[i]);
    }
    return arg;
}

TEST(heirs_of_many_at_once)
{
    pthread_t t[MAKERS];
    CHECK_EQ(pthread_barrier_init(&makers, NULL, MAKERS), 0);
    for (int i = 0; i < MAKERS; i++)
        t[i] = spawn(maker, NULL);
    for (int i = 0; i < MAKERS; i++)
        join(t[i]);
    CHECK_EQ(pthread_barrier_destroy(&makers), 0);
}
