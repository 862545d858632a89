/* test_spin.c - preempt/spin.c: who has short turns after having been interrupted where.
 *
 * The "code" is data here, in pages of the test's own.
 */
#include <criterion/criterion.h>

#include <string.h>
#include <sys/mman.h>

#include "preempt/preempt.h"
#include "preempt/retake.h"
#include "shim/rt/rt.h"

enum { PAGE = 4096, FIRM = 8, NOP = 0x90 };

static struct g gp;
static unsigned char *code; /* two pages of nops, and one that cannot be read */

static void begin(void)
{
    gp = (struct g){0};
    code =
        mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(code, MAP_FAILED);
    memset(code, NOP, 2 * PAGE);
    cr_assert_eq(mprotect(code + 2 * PAGE, PAGE, PROT_NONE), 0);
}

TestSuite(spin, .init = begin);

static uint8_t regs[ARCH_UC_REGS];

/* Interrupted AT; is its next turn short? */
static bool brief(size_t at)
{
    spin_note(&gp, (uintptr_t)code + at, regs);
    int64_t turn = spin_turn_ns(&gp);
    cr_assert(turn == TICK_NS || turn == SPIN_TURN_NS);
    return turn == SPIN_TURN_NS;
}

static void put_pause(size_t at)
{
    code[at] = 0xf3;
}

Test(spin, a_new_thread_has_full_turns)
{
    cr_expect_eq(spin_turn_ns(&gp), TICK_NS);
}

Test(spin, once_is_not_enough)
{
    cr_expect(!brief(100));
    cr_expect(brief(100));
}

Test(spin, anywhere_in_a_small_loop)
{
    cr_expect(!brief(100));
    cr_expect(brief(163));
    cr_expect(brief(100));
    cr_expect(!brief(300));
    cr_expect(brief(237));
    cr_expect(!brief(1000));
    cr_expect(!brief(1064), "too far");
}

Test(spin, a_loop_that_goes_on_for_long_computes)
{
    cr_expect(!brief(100));
    for (int i = 0; i < FIRM; i++)
        cr_expect(brief(100), "%d", i);
    for (int i = 0; i < 1000; i++)
        cr_expect(!brief(100), "%d", i);
}

static void change(int n)
{
    for (int i = 0; i < n; i++)
        regs[i]++;
}

Test(spin, a_loop_that_changes_most_registers_computes)
{
    cr_expect(!brief(100));
    for (int i = 0; i < 20; i++) {
        change(8);
        cr_expect(!brief(100), "%d", i);
    }
    for (int i = 0; i < FIRM; i++) {
        change(7);
        cr_expect(brief(100), "%d", i);
    }
    change(7);
    cr_expect(!brief(100));
}

Test(spin, each_place_has_its_registers)
{
    for (int i = 0; i < FIRM / 2; i++) {
        memset(regs, 1, sizeof regs);
        cr_expect_eq(brief(100), i > 0);
        memset(regs, 2, sizeof regs);
        cr_expect_eq(brief(1000), i > 0);
    }
}

Test(spin, elsewhere_it_is_on_trial_anew)
{
    for (int i = 0; i < 20; i++)
        brief(100);
    cr_expect(!brief(1000));
    cr_expect(brief(1000));
}

Test(spin, the_hint_to_wait_keeps_turns_short)
{
    put_pause(120);
    cr_expect(!brief(100));
    for (int i = 0; i < 1000; i++) {
        change(i % ARCH_UC_REGS);
        cr_expect(brief(100), "%d", i);
    }
    cr_expect(!brief(1000));
    for (int i = 0; i <= FIRM; i++)
        brief(1000);
    cr_expect(!brief(1000), "no hint here");
}

Test(spin, the_hint_is_not_looked_for_on_other_pages)
{
    put_pause(PAGE);
    for (int i = 0; i <= FIRM; i++)
        brief(PAGE - 1);
    cr_expect(!brief(PAGE - 1));
    for (int i = 0; i <= FIRM; i++)
        brief(2 * PAGE - 1);
    cr_expect(!brief(2 * PAGE - 1), "the one behind cannot be read");
    put_pause(2 * PAGE - 40);
    cr_expect(brief(2 * PAGE - 1));
}

Test(spin, who_does_something_in_between_spins_anew)
{
    for (int i = 0; i < 20; i++)
        brief(100);
    for (int i = 0; i < 20; i++) {
        gp.moved = true;
        cr_expect(brief(100));
        cr_expect(!gp.moved);
    }
    for (int i = 1; i < FIRM; i++)
        cr_expect(brief(100));
    cr_expect(!brief(100), "it has done nothing since");
}

Test(spin, two_places_are_remembered)
{
    cr_expect(!brief(100));
    cr_expect(!brief(1000));
    for (int i = 0; i < FIRM / 2; i++) {
        cr_expect(brief(100));
        cr_expect(brief(1000));
    }
    cr_expect(!brief(2000));
    cr_expect(brief(1000), "seen later than the other");
    cr_expect(!brief(100));
}
