/* test_prologue.c - preempt/prologue.c: what a thread is told at the beginning of a function.
 *
 * The test's own thread plays the G: it has a guard word in its TCB, which nothing else uses,
 * and says where its stack lies.
 */
#include <criterion/criterion.h>

#include "preempt/preempt.h"
#include "shim/rt/rt.h"

enum { STACK = 64 * 1024, ROOM = 8 * 1024, GO_ON = 0, YIELD = 1 };
static const uintptr_t PC = 0x1234;

static char stack[STACK], other_stack[STACK];
static struct m mp;
static struct g gp;

static uintptr_t *guard(void)
{
    return arch_split_guard((void *)arch_tp());
}

static uintptr_t end_of_stack(void)
{
    return (uintptr_t)stack + RT_GUARD_RESERVE;
}

static void begin(void)
{
    mp = (struct m){.curg = &gp};
    gp = (struct g){.m = &mp,
                    .tcb = (void *)arch_tp(),
                    .stack_lo = stack,
                    .stack_hi = stack + STACK,
                    .block_lo = stack,
                    .guard_bytes = 4096};
    preempt_prologue_room = ROOM;
    rt_guards_used = true;
    arch_self_set(&gp);
    rt_guard_reset(&gp);
    cr_assert_eq(*guard(), end_of_stack());
}

static uintptr_t look(size_t above, size_t bytes)
{
    return preempt_look((uintptr_t)stack + above, bytes, PC);
}

TestSuite(prologue, .init = begin);

Test(prologue, who_is_not_asked_goes_on)
{
    cr_expect_eq(look(STACK / 2, 100), GO_ON);
    cr_expect_eq(gp.preempt_pc, 0);
    cr_expect_eq(*guard(), end_of_stack());
}

Test(prologue, who_is_asked_yields_once)
{
    rt_guard_ask(&gp);
    cr_expect_eq(*guard(), RT_GUARD_ASKED);
    cr_expect_eq(look(STACK / 2, 100), YIELD);
    cr_expect_eq(gp.preempt_pc, PC);
    cr_expect_eq(*guard(), end_of_stack());
    cr_expect(!gp.preempt);
    cr_expect_eq(look(STACK / 2, 100), GO_ON);
}

Test(prologue, without_room_it_goes_on_and_is_counted)
{
    uint64_t before = preempt_counts[PREEMPT_NO_STACK_ROOM];
    rt_guard_ask(&gp);
    cr_expect_eq(look(ROOM - 1, 16), GO_ON);
    cr_expect_eq(preempt_counts[PREEMPT_NO_STACK_ROOM], before + 1);
    rt_guard_ask(&gp);
    cr_expect_eq(look(ROOM, 16), YIELD);
}

Test(prologue, a_frame_that_does_not_fit_is_stopped)
{
    uintptr_t beyond = (uintptr_t)stack - 1;
    cr_expect_eq(look(2000, 1000), GO_ON);
    cr_expect_eq(look(2000, 2000), beyond);
    cr_expect_eq(look(100, 0), beyond);
    cr_expect_eq(look(STACK, (size_t)1 << 40), beyond, "asked or not");
    rt_guard_ask(&gp);
    cr_expect_eq(look(2000, 2000), beyond);
}

Test(prologue, without_a_guard_area_it_goes_on)
{
    gp.guard_bytes = 0;
    cr_expect_eq(look(100, 1000), GO_ON);
    gp.guard_bytes = 4096;
    gp.user_stack = true;
    cr_expect_eq(look(100, 1000), GO_ON);
    gp.user_stack = false;
    gp.block_lo = NULL; /* main's: the kernel lets it grow */
    cr_expect_eq(look(100, 1000), GO_ON);
}

Test(prologue, on_a_foreign_stack_the_word_is_put_to_rest)
{
    uintptr_t there = (uintptr_t)other_stack + STACK / 2;
    uint64_t before = preempt_counts[PREEMPT_NO_FOREIGN_STACK];
    cr_expect_eq(preempt_look(there, 100, PC), GO_ON);
    cr_expect_eq(*guard(), 0);
    cr_expect_eq(preempt_counts[PREEMPT_NO_FOREIGN_STACK], before, "nobody asked");
    rt_guard_ask(&gp);
    cr_expect_eq(preempt_look(there, 100, PC), GO_ON);
    cr_expect_eq(*guard(), 0);
    cr_expect_eq(preempt_counts[PREEMPT_NO_FOREIGN_STACK], before + 1);
}

Test(prologue, nobody_of_ours_is_never_asked)
{
    rt_guard_ask(&gp);
    arch_self_set(NULL); /* it was asked, and then it forked */
    cr_expect_eq(look(STACK / 2, 100), GO_ON);
    cr_expect_eq(*guard(), 0);
    mp.g0 = (struct g){.m = &mp, .tcb = (void *)arch_tp()};
    arch_self_set(&mp.g0);
    rt_guard_ask(&mp.g0);
    cr_expect_eq(look(STACK / 2, 100), GO_ON);
    cr_expect_eq(*guard(), 0);
    arch_self_set(NULL);
}

Test(prologue, before_such_code_is_loaded_nobody_is_asked)
{
    rt_guards_used = false;
    rt_guard_ask(&gp);
    cr_expect_eq(*guard(), end_of_stack());
}
