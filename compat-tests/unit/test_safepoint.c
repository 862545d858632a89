/* test_safepoint.c - preempt/safepoint.c: every verdict, and the ranges of GSHIM_UNSAFE.
 *
 * The library is linked into this program, so the program's own text counts as the library's;
 * libm stands for the code of an application. Each test runs twice: with _dl_find_object and
 * with the table that takes its place on glibc 2.34.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <dlfcn.h>

#include "preempt/preempt.h"
#include "shim/libc/libc.h"
#include "shim/rt/rt.h"

enum { STACK = 64 * 1024 };

static char stack[STACK], other_stack[STACK];
static struct m mp;
static struct g gp;

#define OBJECTS_TEST(name) ParameterizedTest(bool *may_find, safepoint, name)
#define OBJECTS_PARAMETERS(name)                                                         \
    ParameterizedTestParameters(safepoint, name)                                         \
    {                                                                                    \
        static bool both[] = {true, false};                                              \
        return cr_make_param_array(bool, both, 2);                                       \
    }

static uintptr_t code(const char *name)
{
    void *p = dlsym(RTLD_DEFAULT, name);
    cr_assert_not_null(p, "%s", name);
    return (uintptr_t)p;
}

static void begin(bool may_find)
{
    cr_assert_not_null(dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL));
    cr_assert_not_null(dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL));
    libc_objects_init(may_find);
    mp = (struct m){0};
    gp = (struct g){.stack_lo = stack, .stack_hi = stack + STACK};
}

static uintptr_t middle(void)
{
    return (uintptr_t)stack + STACK / 2;
}

static void expect(enum preempt_verdict want, uintptr_t pc, uintptr_t sp)
{
    enum preempt_verdict got = preempt_decide(&mp, &gp, pc, sp);
    cr_expect_eq(got, want, "got %s, want %s", preempt_verdict_names[got],
                 preempt_verdict_names[want]);
}

/* --- code ----------------------------------------------------------------------------- */

OBJECTS_PARAMETERS(by_code)
OBJECTS_TEST(by_code)
{
    begin(*may_find);
    struct {
        uintptr_t pc;
        enum preempt_verdict want;
    } rows[] = {
        {code("cos"), PREEMPT_YES},
        {code("qsort"), PREEMPT_NO_LIBC_CODE},
        {code("_dl_allocate_tls"), PREEMPT_NO_LIBC_CODE},
        {code("_Unwind_Resume"), PREEMPT_NO_LIBC_CODE},
        {(uintptr_t)preempt_decide, PREEMPT_NO_RUNTIME_CODE},
        {(uintptr_t)stack, PREEMPT_NO_UNKNOWN_CODE},
        {0, PREEMPT_NO_UNKNOWN_CODE},
        {~(uintptr_t)0, PREEMPT_NO_UNKNOWN_CODE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].pc == (uintptr_t)stack && *may_find)
            continue; /* it does lie in the program's object */
        expect(rows[i].want, rows[i].pc, middle());
    }
}

/* --- state of the thread ---------------------------------------------------------------- */

OBJECTS_PARAMETERS(by_state)
OBJECTS_TEST(by_state)
{
    begin(*may_find);
    uintptr_t pc = code("cos");
    cr_expect_eq(preempt_decide(&mp, NULL, pc, middle()), PREEMPT_NO_G0);
    cr_expect_eq(preempt_decide(&mp, &mp.g0, pc, middle()), PREEMPT_NO_G0);
    gp.in_rt = 1;
    expect(PREEMPT_NO_RUNTIME, pc, middle());
    gp.in_rt = 0;
    gp.preempt_off = 1;
    expect(PREEMPT_NO_SWITCHED_OFF, pc, middle());
    gp.preempt_off = 0;
    expect(PREEMPT_YES, pc, middle());
}

/* --- stack -------------------------------------------------------------------------------- */

OBJECTS_PARAMETERS(by_stack)
OBJECTS_TEST(by_stack)
{
    arch_preempt_init();
    begin(*may_find);
    uintptr_t pc = code("cos"), lo = (uintptr_t)stack;
    expect(PREEMPT_NO_FOREIGN_STACK, pc, (uintptr_t)other_stack + STACK / 2);
    expect(PREEMPT_NO_FOREIGN_STACK, pc, lo - 8);
    expect(PREEMPT_NO_FOREIGN_STACK, pc, lo + STACK + 8);
    expect(PREEMPT_NO_STACK_ROOM, pc, lo);
    expect(PREEMPT_NO_STACK_ROOM, pc, lo + arch_preempt_room());
    expect(PREEMPT_YES, pc, lo + STACK);
}

/* --- GSHIM_UNSAFE ---------------------------------------------------------------------------- */

OBJECTS_PARAMETERS(unsafe_ranges_come_and_go)
OBJECTS_TEST(unsafe_ranges_come_and_go)
{
    begin(*may_find);
    uintptr_t pc = code("cos");
    cr_assert(preempt_unsafe_range((void *)(pc - 16), (void *)pc));
    expect(PREEMPT_YES, pc, middle());
    cr_assert(preempt_unsafe_range((void *)pc, (void *)(pc + 1)));
    cr_assert(preempt_unsafe_range((void *)pc, (void *)(pc + 1)), "again");
    expect(PREEMPT_NO_UNSAFE_CODE, pc, middle());
    expect(PREEMPT_YES, pc + 1, middle());
    preempt_safe_again((void *)pc);
    expect(PREEMPT_YES, pc, middle());
    cr_assert(preempt_unsafe_range((void *)pc, (void *)pc), "an empty one");
    expect(PREEMPT_YES, pc, middle());
}

Test(safepoint, too_many_unsafe_ranges_are_refused)
{
    uintptr_t at = 4096;
    size_t n = 0;
    while (n < 100000 && preempt_unsafe_range((void *)at, (void *)(at + 1))) {
        at += 16;
        n++;
    }
    cr_expect(n >= 128 && n < 100000, "%zu", n);
    preempt_safe_again((void *)4096);
    cr_expect(preempt_unsafe_range((void *)at, (void *)(at + 1)), "a freed one is used");
}

/* --- every verdict has a name ------------------------------------------------------------------ */

Test(safepoint, verdicts_have_names)
{
    for (int i = 0; i < PREEMPT_VERDICTS; i++)
        cr_expect_not_null(preempt_verdict_names[i]);
}
