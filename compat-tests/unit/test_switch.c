/* test_switch.c - arch/: contexts, switching between them, what is saved and what not.
 *
 * Code on a context of its own records what it finds; the test judges it afterwards, on
 * its own stack.  Each test runs twice, with the two ways there are to load the thread
 * pointer (an instruction, or a system call where the kernel does not allow it).
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <execinfo.h>
#include <fenv.h>
#include <math.h>
#include <unwind.h>

#include "arch/atomic.h"
#include "compat-tests/unit/identity.h"

static struct arch_ctx here, there;

/* Parameter: HWCAP2 bits that arch_init may see. */
#define SWITCH_TEST(name) ParameterizedTest(unsigned long *hwcap_mask, switch, name)
#define SWITCH_PARAMETERS(name)                                                          \
    ParameterizedTestParameters(switch, name)                                            \
    {                                                                                    \
        static unsigned long masks[] = {~0ul, 0ul};                                      \
        return cr_make_param_array(unsigned long, masks, 2);                             \
    }

static void begin(const unsigned long *hwcap_mask, arch_entry_fn *entry, void *arg)
{
    arch_init(getauxval(AT_HWCAP2) & *hwcap_mask);
    here.tp = arch_tp();
    arch_ctx_init(&there, new_stack(), arch_tp(), entry, arg);
}

static void *go_there(void *cookie)
{
    return arch_switch(&here, &there, cookie);
}

static void *go_back(void *cookie)
{
    return arch_switch(&there, &here, cookie);
}

/* --- cookies ------------------------------------------------------------------------ */

static uintptr_t seen[8];
static size_t nseen;

static void note_cookies(void *arg, void *cookie)
{
    seen[nseen++] = (uintptr_t)arg;
    for (uintptr_t reply = 100;; reply++) {
        seen[nseen++] = (uintptr_t)cookie;
        cookie = go_back((void *)reply);
    }
}

SWITCH_PARAMETERS(cookies_pass_both_ways)
SWITCH_TEST(cookies_pass_both_ways)
{
    begin(hwcap_mask, note_cookies, (void *)11);
    for (uintptr_t i = 0; i < 3; i++)
        cr_assert_eq(go_there((void *)(i + 1)), (void *)(100 + i));
    cr_assert_eq(nseen, 4);
    cr_assert(seen[0] == 11 && seen[1] == 1 && seen[2] == 2 && seen[3] == 3);
}

/* --- stack alignment ---------------------------------------------------------------- */

static uintptr_t frame;
static float sums[4];

static __attribute__((noinline)) void note_frame(void *arg, void *cookie)
{
    /* The compiler may address these with instructions that fault when misaligned. */
    _Alignas(16) volatile float v[4] = {1, 2, 3, 4};
    (void)arg;
    (void)cookie;
    frame = (uintptr_t)__builtin_frame_address(0);
    for (int i = 0; i < 4; i++)
        sums[i] = v[i] + 1;
    go_back((void *)((uintptr_t)v % 16));
}

SWITCH_PARAMETERS(stack_is_aligned_at_entry)
SWITCH_TEST(stack_is_aligned_at_entry)
{
    char *top = new_stack();

    begin(hwcap_mask, note_frame, NULL);
    for (size_t down = 0; down < 33; down++) {
        arch_ctx_init(&there, top - down, arch_tp(), note_frame, NULL);
        cr_assert_eq(go_there(NULL), NULL, "top - %zu: a local is misaligned", down);
        cr_assert_eq(frame % 16, 0, "top - %zu: frame at %#lx", down, frame);
        cr_assert_lt(frame, (uintptr_t)top - down, "nothing above the top is used");
        cr_assert_float_eq(sums[3], 5, 1e-6);
    }
}

/* --- registers ---------------------------------------------------------------------- */

static void scramble_for_ever(void *arg, void *cookie);

/* More live values than there are callee-saved registers. */
static __attribute__((noinline)) uint64_t hold_values(uint64_t seed, void *(*go)(void *))
{
    uint64_t v[12], sum = 0;
    for (uint64_t i = 0; i < 12; i++)
        v[i] = seed * (i + 3) ^ (seed << i);
#define KEEP                                                                             \
    __asm__ volatile("" : "+r"(v[0]), "+r"(v[1]), "+r"(v[2]), "+r"(v[3]), "+r"(v[4]))
    for (int turn = 0; turn < 50; turn++) {
        KEEP;
        go((void *)seed);
        KEEP;
        for (uint64_t i = 0; i < 12; i++)
            sum += v[i] != (seed * (i + 3) ^ (seed << i));
    }
#undef KEEP
    return sum;
}

static void scramble_for_ever(void *arg, void *cookie)
{
    uint64_t *wrong = arg;
    (void)cookie;
    for (uint64_t seed = 77;; seed++)
        *wrong += hold_values(seed, go_back);
}

SWITCH_PARAMETERS(live_values_survive)
SWITCH_TEST(live_values_survive)
{
    uint64_t wrong = 0;

    begin(hwcap_mask, scramble_for_ever, &wrong);
    for (uint64_t seed = 1; seed < 200; seed++)
        cr_assert_eq(hold_values(seed, go_there), 0);
    cr_assert_eq(wrong, 0);
}

#if defined(__x86_64__)
/* switch_with - arch_switch with IN in rbx rbp r12 r13 r14 r15; OUT: what is in them
 * afterwards. */
void *switch_with(struct arch_ctx *from, const struct arch_ctx *to, void *cookie,
                  const long in[6], long out[6]);
__asm__(".text\n"
        ".p2align 4\n"
        "switch_with:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    push %r8\n"
        "    mov (%rcx), %rbx; mov 8(%rcx), %rbp; mov 16(%rcx), %r12\n"
        "    mov 24(%rcx), %r13; mov 32(%rcx), %r14; mov 40(%rcx), %r15\n"
        "    call arch_switch\n"
        "    pop %r8\n"
        "    mov %rbx, (%r8); mov %rbp, 8(%r8); mov %r12, 16(%r8)\n"
        "    mov %r13, 24(%r8); mov %r14, 32(%r8); mov %r15, 40(%r8)\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n");

static const long theirs[6] = {-1, -2, -3, -4, -5, -6};
static long theirs_after[6];

static void fill_registers(void *arg, void *cookie)
{
    (void)arg;
    (void)cookie;
    for (;;)
        switch_with(&there, &here, NULL, theirs, theirs_after);
}

SWITCH_PARAMETERS(callee_saved_registers)
SWITCH_TEST(callee_saved_registers)
{
    static const long ours[6] = {0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666};

    begin(hwcap_mask, fill_registers, NULL);
    for (int i = 0; i < 3; i++) {
        long after[6] = {0};
        switch_with(&here, &there, NULL, ours, after);
        cr_assert_arr_eq(after, ours, sizeof ours);
        if (i > 0)
            cr_assert_arr_eq(theirs_after, theirs, sizeof theirs);
    }
}

static void note_frame_pointer(void *arg, void *cookie)
{
    uintptr_t rbp;
    (void)arg;
    (void)cookie;
    /* Of our caller: a walk along the frame pointers ends there. */
    rbp = *(uintptr_t *)__builtin_frame_address(0);
    go_back((void *)rbp);
}

SWITCH_PARAMETERS(frame_pointers_end)
SWITCH_TEST(frame_pointers_end)
{
    begin(hwcap_mask, note_frame_pointer, NULL);
    cr_assert_null(go_there(NULL));
}
#endif

/* --- floating-point control --------------------------------------------------------- */

static volatile double one = 1, three = 3;
static volatile long double one_l = 1, three_l = 3;

/* In which direction do divisions really round, in the vector and the other unit? */
static int rounding(void)
{
    double d = one / three, minus = -one / three;
    long double l = one_l / three_l, minus_l = -one_l / three_l;
    bool up = d > 0x1.5555555555555p-2 && l > 0xa.aaaaaaaaaaaaaaap-5L;
    bool down = minus < -0x1.5555555555555p-2 && minus_l < -0xa.aaaaaaaaaaaaaaap-5L;
    if (up && !down)
        return FE_UPWARD;
    if (down && !up)
        return FE_DOWNWARD;
    return up ? -1 : FE_TONEAREST;
}

static bool rounds(int how)
{
    return fegetround() == how && (how == FE_TOWARDZERO || rounding() == how);
}

static bool wrong_mode;

static void round_down_for_ever(void *arg, void *cookie)
{
    (void)arg;
    (void)cookie;
    wrong_mode |= !rounds(FE_UPWARD); /* its creator's, when it was made */
    fesetround(FE_DOWNWARD);
    for (;;) {
        go_back(NULL);
        wrong_mode |= !rounds(FE_DOWNWARD);
    }
}

SWITCH_PARAMETERS(rounding_is_inherited_and_kept)
SWITCH_TEST(rounding_is_inherited_and_kept)
{
    fesetround(FE_UPWARD);
    begin(hwcap_mask, round_down_for_ever, NULL);
    fesetround(FE_TONEAREST);
    for (int i = 0; i < 3; i++) {
        go_there(NULL);
        cr_assert(rounds(FE_TONEAREST));
        cr_assert_not(wrong_mode);
    }
    fesetround(FE_TOWARDZERO);
    go_there(NULL);
    cr_assert(rounds(FE_TOWARDZERO));
    cr_assert_not(wrong_mode);
}

static void note_masks(void *arg, void *cookie)
{
    (void)arg;
    (void)cookie;
    seen[0] = (uintptr_t)fegetexcept();
    fedisableexcept(FE_ALL_EXCEPT);
    feenableexcept(FE_OVERFLOW);
    go_back(NULL);
    seen[1] = (uintptr_t)fegetexcept();
    go_back(NULL);
}

SWITCH_PARAMETERS(traps_are_inherited_and_kept)
SWITCH_TEST(traps_are_inherited_and_kept)
{
    feenableexcept(FE_DIVBYZERO | FE_INVALID);
    begin(hwcap_mask, note_masks, NULL);
    fedisableexcept(FE_INVALID);
    go_there(NULL);
    cr_assert_eq(fegetexcept(), FE_DIVBYZERO);
    go_there(NULL);
    cr_assert_eq(fegetexcept(), FE_DIVBYZERO);
    cr_assert_eq(seen[0], FE_DIVBYZERO | FE_INVALID, "as its creator's when it was made");
    cr_assert_eq(seen[1], FE_OVERFLOW);
}

/* --- thread pointer ----------------------------------------------------------------- */

static __thread int own = 5;

static __attribute__((noinline)) int *own_address(void)
{
    __asm__ volatile("" ::: "memory");
    return &own;
}

static void note_thread_pointer(void *arg, void *cookie)
{
    (void)arg;
    (void)cookie;
    seen[0] = arch_tp();
    seen[1] = (uintptr_t)own_address();
    seen[2] = (uintptr_t)*own_address();
    *own_address() = 6;
    go_back(NULL);
    seen[3] = arch_tp();
    seen[4] = (uintptr_t)*own_address();
    go_back(NULL);
}

SWITCH_PARAMETERS(thread_pointer_is_switched)
SWITCH_TEST(thread_pointer_is_switched)
{
    init_libc();
    void *tcb = new_identity(1 << 23);
    uintptr_t tp = arch_tp(), offset = (uintptr_t)&own - tp;

    own = 7;
    begin(hwcap_mask, note_thread_pointer, NULL);
    there.tp = (uintptr_t)tcb;
    go_there(NULL);
    cr_assert_eq(arch_tp(), tp);
    cr_assert_eq(own, 7);
    go_there(NULL);
    cr_assert_eq(arch_tp(), tp);
    cr_assert_eq(seen[0], (uintptr_t)tcb);
    cr_assert_eq(seen[1], (uintptr_t)tcb + offset);
    cr_assert_eq(seen[2], 5, "initial image");
    cr_assert_eq(seen[3], (uintptr_t)tcb);
    cr_assert_eq(seen[4], 6);
    arch_set_tp((uintptr_t)tcb);
    uintptr_t now = arch_tp();
    arch_set_tp(tp);
    cr_assert_eq(now, (uintptr_t)tcb);
}

/* --- unwinding ---------------------------------------------------------------------- */

enum { FRAMES = 64 };

static void *frames[FRAMES];
static int nframes;

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *ctx, void *arg)
{
    int *n = arg;
    (void)ctx;
    return ++*n < FRAMES ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static __attribute__((noinline)) void deeper(int levels)
{
    if (levels > 0)
        deeper(levels - 1);
    else
        nframes = backtrace(frames, FRAMES);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

static void unwind_here(void *arg, void *cookie)
{
    int n = 0;
    (void)arg;
    (void)cookie;
    deeper(10);
    seen[0] = (uintptr_t)_Unwind_Backtrace(count_frame, &n);
    seen[1] = (uintptr_t)n;
    go_back(NULL);
    deeper(10);
    go_back(NULL);
}

SWITCH_PARAMETERS(unwinding_ends)
SWITCH_TEST(unwinding_ends)
{
    void *warm[4];

    backtrace(warm, 4); /* loads the unwinder */
    begin(hwcap_mask, unwind_here, NULL);
    for (int i = 0; i < 2; i++) {
        nframes = 0;
        go_there(NULL);
        /* deeper(10) to deeper(0), our entry, and what called it. */
        cr_assert_geq(nframes, 12);
        cr_assert_leq(nframes, 14, "it went on to %d frames", nframes);
    }
    cr_assert_eq(seen[0], _URC_END_OF_STACK);
    cr_assert_leq(seen[1], 4);
}

/* --- many --------------------------------------------------------------------------- */

enum { RING = 100, LAPS = 2000 };

static struct ring {
    struct arch_ctx ctx;
    uint64_t laps;
    bool bad;
} ring[RING];

static void run_lap(void *arg, void *cookie)
{
    struct ring *r = arg;
    size_t i = (size_t)(r - ring);
    for (;;) {
        r->bad |= cookie != (void *)(i + 1);
        r->laps++;
        const struct arch_ctx *next = i + 1 < RING ? &ring[i + 1].ctx : &here;
        cookie = arch_switch(&r->ctx, next, (void *)(i + 2));
    }
}

SWITCH_PARAMETERS(ring_of_many)
SWITCH_TEST(ring_of_many)
{
    begin(hwcap_mask, run_lap, NULL);
    for (size_t i = 0; i < RING; i++)
        arch_ctx_init(&ring[i].ctx, new_stack(), arch_tp(), run_lap, &ring[i]);
    for (int lap = 0; lap < LAPS; lap++)
        cr_assert_eq(arch_switch(&here, &ring[0].ctx, (void *)1), (void *)(RING + 1));
    for (size_t i = 0; i < RING; i++)
        cr_assert(ring[i].laps == LAPS && !ring[i].bad, "context %zu", i);
}
