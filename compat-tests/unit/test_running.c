/* test_running.c - preempt/running.c on real threads: running, asleep, gone. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "preempt/retake.h"
#include "shim/rt/netpoll.h"
#include "shim/rt/rt.h"

enum { THREADS = 6 };

static struct thread {
    pthread_t thread;
    struct m m;
    bool stop; /* atomic */
} threads[THREADS];

static void *spin(void *arg)
{
    struct thread *t = arg;
    st_rel(&t->m.tid, os_gettid());
    while (!ld_rlx(&t->stop))
        ;
    return NULL;
}

static void *doze(void *arg)
{
    struct thread *t = arg;
    st_rel(&t->m.tid, os_gettid());
    while (!ld_rlx(&t->stop))
        usleep(200000);
    return NULL;
}

static struct thread *start(int i, void *(*fn)(void *))
{
    struct thread *t = &threads[i];
    cr_assert_eq(pthread_create(&t->thread, NULL, fn, t), 0);
    while (ld_acq(&t->m.tid) == 0)
        usleep(100);
    return t;
}

/* The kernel lets a join go on a moment before the thread has no state any more. */
static void end(struct thread *t)
{
    st_rlx(&t->stop, true);
    pthread_join(t->thread, NULL);
    while (os_thread_state(t->m.tid) != 0)
        os_yield();
}

static bool runs(struct thread *t)
{
    return running_now(&t->m, os_thread_cpu_ns(t->m.tid));
}

/* Descriptors of ours that are open; every one of them must be kept from the program. */
static int count_held(void)
{
    int n = 0;
    for (int fd = 0; fd < 4096; fd++) {
        cr_expect(!net_own_fd(fd) || fcntl(fd, F_GETFD) == FD_CLOEXEC);
        n += net_own_fd(fd);
    }
    return n;
}

static void begin(void)
{
    os_init((int (*)(int, struct timespec *))clock_gettime);
}

TestSuite(running, .init = begin, .timeout = 60);

/* Also when there are more spinners than CPUs, so that some only wait for one. */
Test(running, who_spins_runs)
{
    for (int i = 0; i < THREADS; i++)
        start(i, spin);
    for (int round = 0; round < 200; round++)
        for (int i = 0; i < THREADS; i++)
            cr_assert(runs(&threads[i]), "round %d", round);
    for (int i = 0; i < THREADS; i++)
        end(&threads[i]);
}

Test(running, who_sleeps_does_not)
{
    struct thread *t = start(0, doze);
    int awake = 0;
    usleep(20000);
    for (int i = 0; i < 100; i++)
        awake += runs(t);
    cr_expect(awake < 50, "%d of 100", awake);
    end(t);
}

Test(running, few_files_are_kept_and_none_at_rest)
{
    cr_expect_eq(count_held(), 0);
    for (int i = 0; i < THREADS; i++)
        cr_expect_neq(running_state(start(i, spin)->m.tid), 0);
    int held = count_held();
    cr_expect(held > 0 && held < THREADS, "%d", held);
    running_rest();
    cr_expect_eq(count_held(), 0);
    cr_expect_eq(running_state(threads[0].m.tid), 'R');
    running_rest();
    for (int i = 0; i < THREADS; i++)
        end(&threads[i]);
}

/* Its file tells nothing, and is not kept. */
Test(running, who_has_ended_does_not)
{
    struct thread *t = start(0, spin);
    int tid = t->m.tid;
    cr_expect_eq(running_state(tid), 'R');
    end(t);
    cr_expect_eq(running_state(tid), 0);
    cr_expect_eq(running_state(tid), 0);
    cr_expect_eq(count_held(), 0);
}

/* The program closes the descriptor behind our back and uses its number: what is there now is
 * not read as an answer, and not closed. */
Test(running, another_file_at_the_number_is_left_alone)
{
    struct thread *t = start(0, spin);
    int mine = 0;
    cr_expect_eq(running_state(t->m.tid), 'R');
    while (!net_own_fd(mine))
        mine++;
    int null = open("/proc/self/stat", O_RDONLY);
    os_close(mine);
    cr_assert_eq(fcntl(null, F_DUPFD, mine), mine);
    cr_expect_eq(running_state(t->m.tid), 0);
    cr_expect(fcntl(mine, F_GETFD) >= 0, "it was closed");
    cr_expect(!net_own_fd(mine));
    cr_expect_eq(running_state(t->m.tid), 'R', "from another descriptor");
    running_rest();
    cr_expect(fcntl(mine, F_GETFD) >= 0, "it was closed");
    end(t);
}

/* The program takes the number and gives it back; the next file of ours gets it. */
Test(running, a_number_that_another_file_of_ours_has_by_now)
{
    struct thread *first = start(0, spin), *second = start(1, spin);
    int mine = 0;
    cr_expect_eq(running_state(first->m.tid), 'R');
    while (!net_own_fd(mine))
        mine++;
    net_replace_begin(mine);
    cr_assert_eq(dup2(STDIN_FILENO, mine), mine);
    net_replace_end();
    os_close(mine);
    cr_expect_eq(running_state(second->m.tid), 'R');
    cr_expect(net_own_fd(mine), "the test's own: the same number");
    cr_expect_eq(running_state(first->m.tid), 'R');
    cr_expect_eq(running_state(first->m.tid), 'R');
    cr_expect(net_own_fd(mine), "that of the second was taken for the first's");
    cr_expect_eq(count_held(), 2);
    running_rest();
    cr_expect_eq(count_held(), 0);
    cr_expect(fcntl(mine, F_GETFD) < 0, "it was left open");
    end(first);
    end(second);
}
