/* test_request.c - preempt/request.c: when a signal is sent, and that at most one is under way.
 *
 * The sending itself is faked: it counts, and answers what the test says.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <time.h>

#include "preempt/preempt.h"
#include "shim/rt/rt.h"

/* In place of deliver_linux.c. */
bool preempt_async = true;
static int sent, answer;
static uint32_t number;

int preempt_deliver(struct m *mp, uint32_t n)
{
    cr_assert_eq(mp->preempt_pending, n, "pending before it is sent");
    sent++;
    number = n;
    return answer;
}

static struct g gp;
static struct m mp;
static struct p p;

static void begin(void)
{
    os_init((int (*)(int, struct timespec *))clock_gettime);
    gp = (struct g){.m = &mp, .sig_ran = 7};
    mp = (struct m){.curg = &gp, .p = &p, .tid = 1, .run_since = 42};
    p = (struct p){.owner = (uintptr_t)&mp | P_USER};
    sent = 0;
}

TestSuite(request, .init = begin);

Test(request, asks_in_both_ways)
{
    cr_expect(preempt_request(&mp, &p));
    cr_expect_eq(sent, 1);
    cr_expect_eq(p.preempt, 1);
    cr_expect_eq(mp.preempt_pending, number);
    cr_expect_eq(mp.preempt_run, 42, "for this run");
    cr_expect_eq(mp.preempt_sig_ran, 7);
}

Test(request, only_one_is_under_way)
{
    cr_expect(preempt_request(&mp, &p));
    uint32_t first = number;
    mp.run_since = 43;
    cr_expect(!preempt_request(&mp, &p));
    cr_expect_eq(sent, 1);
    cr_expect_eq(mp.preempt_run, 42, "the pending one stays as it is");
    mp.preempt_pending = 0; /* answered */
    cr_expect(preempt_request(&mp, &p));
    cr_expect_neq(number, first);
    cr_expect_eq(mp.preempt_run, 43);
}

Test(request, a_lost_one_is_repeated)
{
    cr_expect(preempt_request(&mp, &p));
    uint32_t first = number;
    mp.preempt_sent -= 99 * 1000000;
    cr_expect(!preempt_request(&mp, &p));
    mp.preempt_sent -= 2 * 1000000;
    cr_expect(preempt_request(&mp, &p));
    cr_expect_eq(sent, 2);
    cr_expect_neq(number, first, "the lost one, should it arrive, is stale");
}

Test(request, is_taken_back_outside_user_code)
{
    static const enum p_mode modes[] = {P_RT, P_SYSCALL};
    for (int i = 0; i < 2; i++) {
        p.owner = (uintptr_t)&mp | modes[i];
        cr_expect(!preempt_request(&mp, &p));
        cr_expect_eq(mp.preempt_pending, 0);
        cr_expect_eq(p.preempt, 1, "honoured at the next exit");
    }
    p.owner = 0; /* lost meanwhile */
    cr_expect(!preempt_request(&mp, &p));
    cr_expect_eq(sent, 0);
}

Test(request, without_a_p_the_thread_tells)
{
    mp.p = NULL;
    gp.in_rt = 1;
    cr_expect(!preempt_request(&mp, NULL));
    gp.in_rt = 0;
    gp.blocking = true;
    cr_expect(!preempt_request(&mp, NULL));
    gp.blocking = false;
    cr_expect_eq(sent, 0);
    cr_expect(preempt_request(&mp, NULL));
    mp.preempt_pending = 0;
    mp.curg = NULL;
    cr_expect(!preempt_request(&mp, NULL), "it runs nobody");
}

Test(request, is_taken_back_when_it_cannot_be_sent)
{
    answer = -EAGAIN;
    cr_expect(!preempt_request(&mp, &p));
    cr_expect_eq(mp.preempt_pending, 0);
    answer = 0;
    cr_expect(preempt_request(&mp, &p));
}

Test(request, without_signals_there_are_flags)
{
    preempt_async = false;
    rt_guards_used = true;
    gp.tcb = (void *)arch_tp();
    cr_expect(!preempt_request(&mp, &p));
    cr_expect_eq(sent, 0);
    cr_expect_eq(mp.preempt_pending, 0);
    cr_expect_eq(p.preempt, 1);
    cr_expect_eq(*arch_split_guard(gp.tcb), RT_GUARD_ASKED);
    *arch_split_guard(gp.tcb) = 0;
}

Test(request, a_thread_that_has_ended_is_not_asked)
{
    mp.tid = 0;
    cr_expect(!preempt_request(&mp, &p));
    cr_expect_eq(sent, 0);
}
