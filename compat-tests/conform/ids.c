/* ids.c - user and group ids: of the process for POSIX, of one thread for the bare system call.
 *
 * Each test runs in a child, which ends without its rights; without root nothing is tested.
 */
#include "conform.h"

#include <grp.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

enum { NOBODY = 65534, OTHER = 65533, N = 8 };

static int go, ready;
static int ends[2];

struct ids {
    uid_t r, e, s;
};

static struct ids own_ids(void)
{
    struct ids i = {0};

    CHECK_EQ(getresuid(&i.r, &i.e, &i.s), 0);
    return i;
}

static void *sleeper(void *arg)
{
    add(&ready, 1);
    await_at_least(&go, 1);
    CHECK_EQ(own_ids().e, *(uid_t *)arg);
    CHECK_EQ(getegid(), *(uid_t *)arg);
    return NULL;
}

static void *reader(void *arg)
{
    char c;

    add(&ready, 1);
    CHECK_EQ(read(ends[0], &c, 1), 1);
    CHECK_EQ(own_ids().e, *(uid_t *)arg);
    return NULL;
}

static void *spinner(void *arg)
{
    add(&ready, 1);
    while (get(&go) == 0)
        continue;
    CHECK_EQ(own_ids().e, *(uid_t *)arg);
    return NULL;
}

static void drop_all(void *arg)
{
    uid_t want = NOBODY;
    pthread_t t[N];

    (void)arg;
    CHECK_EQ(pipe(ends), 0);
    for (int i = 0; i < N; i++)
        t[i] = spawn(i == 0 ? reader : i == 1 ? spinner : sleeper, &want);
    await_at_least(&ready, N);
    CHECK_EQ(setgroups(0, NULL), 0);
    CHECK_EQ(setgid(NOBODY), 0);
    CHECK_EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
    CHECK_ERR(setuid(0), EPERM); /* on each thread's ids, none has kept its rights */
    set(&go, 1);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    for (int i = 0; i < N; i++)
        join(t[i]);
}

TEST(ids_change_in_every_thread)
{
    if (geteuid() != 0)
        return;
    CHECK_CHILD_OK(start_child(drop_all, NULL));
}

/* setuid of a program whose saved id is root sets the effective id the first time, and all
 * three the second: each thread must make the call once. */
static void *take_back(void *arg)
{
    CHECK_EQ(setuid(0), 0);
    return arg;
}

static void once_each(void *arg)
{
    struct ids i;

    (void)arg;
    CHECK_EQ(setresuid(NOBODY, NOBODY, 0), 0);
    join(spawn(take_back, NULL));
    i = own_ids();
    CHECK_EQ(i.r, NOBODY);
    CHECK_EQ(i.e, 0);
    CHECK_EQ(i.s, 0);
}

TEST(each_thread_makes_the_call_once)
{
    if (geteuid() != 0)
        return;
    CHECK_CHILD_OK(start_child(once_each, NULL));
}

static void *by_two(void *arg)
{
    for (int i = 0; i < 100; i++)
        CHECK_EQ(i % 2 == 0 ? seteuid(NOBODY) : seteuid(0), 0);
    return arg;
}

static void at_once(void *arg)
{
    pthread_t t[2];

    (void)arg;
    for (int i = 0; i < 2; i++)
        t[i] = spawn(by_two, NULL);
    for (int i = 0; i < 2; i++)
        join(t[i]);
    CHECK_EQ(seteuid(0), 0);
}

TEST(two_threads_change_ids_at_once)
{
    if (geteuid() != 0)
        return;
    CHECK_CHILD_OK(start_child(at_once, NULL));
}

static void *by_number(void *arg)
{
    CHECK_EQ(syscall(SYS_setresuid, -1, OTHER, -1), 0);
    add(&ready, 1);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(own_ids().e, OTHER); /* wherever it goes on */
        sleep_ms(1);
        sched_yield();
    }
    return arg;
}

static void one_only(void *arg)
{
    pthread_t t = spawn(by_number, NULL);

    (void)arg;
    await_at_least(&ready, 1);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(own_ids().e, 0);
        sleep_ms(1);
    }
    join(t);
    for (int i = 0; i < N; i++)
        CHECK_EQ(own_ids().e, 0);
}

TEST(bare_call_is_for_one_thread)
{
    if (geteuid() != 0)
        return;
    CHECK_CHILD_OK(start_child(one_only, NULL));
}
