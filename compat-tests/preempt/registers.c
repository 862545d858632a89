/* registers.c - an interrupted thread finds every register as it left it.
 *
 * Each thread fills all registers with random values (general ones, flags, x87 stack and
 * control word, MXCSR, xmm, ymm or zmm with the mask registers, the 128 bytes below the
 * stack pointer), spins for a while without touching them, and compares. Values are held
 * through two loops: one that does nothing, one that keeps moving them about and back.
 * Threads are preempted all the time (GSHIM_DEBUG=preemptus) and move between kernel
 * threads meanwhile.
 *
 *   registers [seconds]          under the library; fails too when nobody was preempted
 *   registers [seconds] CLASS    negative control, run natively: a timer's handler changes
 *                                one register of CLASS (gpr flags x87 mxcsr xmm ymm zmm
 *                                mask redzone) in the interrupted context, and the program
 *                                exits with 0 only if that was noticed
 *
 * x86-64 only: elsewhere there is nothing to check yet, and the program says so. */

#include "compat-tests/stress/stress.h"
#include "shim/gshim.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <sys/time.h>
#include <ucontext.h>

enum { THREADS = 4, RAX = 0, RBX, RCX, RDX, RSI, RDI, RBP, R8, GPRS = 15 };
enum { SSE = 0, AVX = 1, AVX512 = 2 };
enum { FLAGS = 0x8d5 | 0x400 }; /* CF PF AF ZF SF OF, and DF */

struct image {
    uint64_t gpr[16];
    uint64_t flags;
    uint32_t mxcsr;
    uint16_t fcw, pad;
    uint8_t pad2[48];
    uint8_t redzone[128]; /* at 192 */
    uint8_t x87[8][16];   /* at 320 */
    uint64_t k[8];        /* at 448 */
    uint8_t zmm[32][64];  /* at 512 */
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct image, redzone) == 192 &&
                   offsetof(struct image, x87) == 320 &&
                   offsetof(struct image, k) == 448 && offsetof(struct image, zmm) == 512,
               "hold() uses these offsets");

/* hold(in, out, loops, level, mix): rdi, rsi, rdx, ecx, r8d.
 * Stack above rsp while the values are held: 0 scratch, 8 out, 16 level, 24 mix. */
void hold(const struct image *in, struct image *out, uint64_t loops, unsigned level,
          unsigned mix);
extern const char hold_begin[], hold_end[];

/* clang-format off */
__asm__(
"        .text\n"
"        .globl  hold, hold_begin, hold_end\n"
"        .type   hold, @function\n"
"hold:\n"
"        pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
"        subq  $40, %rsp\n"
"        movq  %rsi, 8(%rsp); movl %ecx, 16(%rsp); movl %r8d, 24(%rsp)\n"
"        movq  %rdi, %rax\n"
"        movq  %rdx, 32(%rsp)\n"
/* x87, MXCSR */
"        fninit\n"
"        fldt 432(%rax); fldt 416(%rax); fldt 400(%rax); fldt 384(%rax)\n"
"        fldt 368(%rax); fldt 352(%rax); fldt 336(%rax); fldt 320(%rax)\n"
"        fldcw 140(%rax)\n"
"        ldmxcsr 136(%rax)\n"
/* vectors */
"        cmpl $1, 16(%rsp)\n"
"        ja   3f\n"
"        je   2f\n"
".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
"        movups 512+64*\\n(%rax), %xmm\\n\n"
".endr\n"
"        jmp 4f\n"
"2:\n"
".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
"        vmovups 512+64*\\n(%rax), %ymm\\n\n"
".endr\n"
"        jmp 4f\n"
"3:\n"
".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
"        vmovups 512+64*\\n(%rax), %zmm\\n\n"
".endr\n"
".irp n,0,1,2,3,4,5,6,7\n"
"        kmovq 448+8*\\n(%rax), %k\\n\n"
".endr\n"
"4:\n"
/* flags, through the stack before the red zone is filled */
"        cmpl $0, 24(%rsp)\n"
"        movl $0, 24(%rsp)\n"
"        je   5f\n"
"        movl $1, 24(%rsp)\n"
"5:      pushq 128(%rax); popfq\n"
"hold_begin:\n"
".irp n,0,8,16,24,32,40,48,56,64,72,80,88,96,104,112,120\n"
"        movq 192+\\n(%rax), %rbx; movq %rbx, \\n-128(%rsp)\n"
".endr\n"
"        movq 8(%rax), %rbx; movq 24(%rax), %rdx; movq 32(%rax), %rsi\n"
"        movq 40(%rax), %rdi; movq 48(%rax), %rbp; movq 56(%rax), %r8\n"
"        movq 64(%rax), %r9; movq 72(%rax), %r10; movq 80(%rax), %r11\n"
"        movq 88(%rax), %r12; movq 96(%rax), %r13; movq 104(%rax), %r14\n"
"        movq 112(%rax), %r15\n"
/* which loop: a jump that reads no flags */
"        movl 24(%rsp), %ecx\n"
"        jrcxz 7f\n"
"        movq 32(%rsp), %rcx\n"
"        movq (%rax), %rax\n"
"6:      xchgq %rax, %rbx; notq %r8; bswapq %r9; xchgq %r10, %r15\n"
"        fxch %st(3)\n"
"        pxor %xmm1, %xmm0; pxor %xmm0, %xmm1; pxor %xmm1, %xmm0\n"
"        xchgq %rax, %rbx; notq %r8; bswapq %r9; xchgq %r10, %r15\n"
"        fxch %st(3)\n"
"        pxor %xmm1, %xmm0; pxor %xmm0, %xmm1; pxor %xmm1, %xmm0\n"
"        loop 6b\n"
"        jmp 9f\n"
"7:      movq 32(%rsp), %rcx\n"
"        movq (%rax), %rax\n"
"8:      loop 8b\n"
"hold_end:\n"
"9:      movq %rax, (%rsp)\n"
"        movq 8(%rsp), %rax\n"
"        movq %rbx, 8(%rax); movq %rcx, 16(%rax); movq %rdx, 24(%rax)\n"
"        movq %rsi, 32(%rax); movq %rdi, 40(%rax); movq %rbp, 48(%rax)\n"
"        movq %r8, 56(%rax); movq %r9, 64(%rax); movq %r10, 72(%rax)\n"
"        movq %r11, 80(%rax); movq %r12, 88(%rax); movq %r13, 96(%rax)\n"
"        movq %r14, 104(%rax); movq %r15, 112(%rax)\n"
"        movq (%rsp), %rbx; movq %rbx, (%rax)\n"
".irp n,0,8,16,24,32,40,48,56,64,72,80,88,96,104,112,120\n"
"        movq \\n-128(%rsp), %rbx; movq %rbx, 192+\\n(%rax)\n"
".endr\n"
"        pushfq; popq 128(%rax)\n"
"        cld\n"
"        stmxcsr 136(%rax)\n"
"        fnstcw 140(%rax)\n"
"        fstpt 320(%rax); fstpt 336(%rax); fstpt 352(%rax); fstpt 368(%rax)\n"
"        fstpt 384(%rax); fstpt 400(%rax); fstpt 416(%rax); fstpt 432(%rax)\n"
"        cmpl $1, 16(%rsp)\n"
"        ja   3f\n"
"        je   2f\n"
".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
"        movups %xmm\\n, 512+64*\\n(%rax)\n"
".endr\n"
"        jmp 4f\n"
"2:\n"
".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
"        vmovups %ymm\\n, 512+64*\\n(%rax)\n"
".endr\n"
"        vzeroupper\n"
"        jmp 4f\n"
"3:\n"
".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
"        vmovups %zmm\\n, 512+64*\\n(%rax)\n"
".endr\n"
".irp n,0,1,2,3,4,5,6,7\n"
"        kmovq %k\\n, 448+8*\\n(%rax)\n"
".endr\n"
"        vzeroupper\n"
"4:      fninit\n"
"        movl $0x1f80, (%rsp); ldmxcsr (%rsp)\n"
"        addq $40, %rsp\n"
"        popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n"
"        ret\n"
"        .size hold, .-hold\n");
/* clang-format on */

static unsigned level;
static _Atomic bool noticed;
static _Atomic long rounds;
static const char *broken; /* class of the negative control */

/* ---- filling and comparing --------------------------------------------------------- */

static void fill(struct image *m, uint64_t *rng)
{
    uint8_t *p = (uint8_t *)m;

    for (size_t i = 0; i < sizeof(*m); i++)
        p[i] = (uint8_t)stress_rand(rng);
    m->gpr[RCX] = 0; /* the loop counter: 0 at the end */
    m->flags = (m->flags & FLAGS) | 0x202;
    m->mxcsr = (m->mxcsr & 0xe07f) | 0x1f80; /* any rounding, all exceptions masked */
    m->mxcsr &= ~0x40u;                      /* no DAZ on old CPUs */
    m->fcw = (uint16_t)((m->fcw & 0x0f00) | 0x7f);
    for (int i = 0; i < 8; i++) { /* normal numbers: loads of others raise flags */
        m->x87[i][7] |= 0x80;
        m->x87[i][8] = (uint8_t)stress_rand(rng);
        m->x87[i][9] = 0x3f;
    }
}

static void wrong(const char *what, int i)
{
    noticed = true;
    if (broken == NULL)
        CHECK(0, "%s %d was changed", what, i);
}

static void compare(const struct image *in, const struct image *out)
{
    static const size_t vector_bytes[] = {16, 32, 64};
    int vectors = level == AVX512 ? 32 : 16;

    for (int i = 0; i < GPRS; i++)
        if (in->gpr[i] != out->gpr[i])
            wrong("general register", i);
    if ((in->flags & FLAGS) != (out->flags & FLAGS))
        wrong("flags", (int)(in->flags ^ out->flags));
    if (in->mxcsr != out->mxcsr)
        wrong("MXCSR", (int)(in->mxcsr ^ out->mxcsr));
    if (in->fcw != out->fcw)
        wrong("x87 control word", in->fcw ^ out->fcw);
    for (int i = 0; i < 128; i++)
        if (in->redzone[i] != out->redzone[i])
            wrong("red zone byte", i);
    for (int i = 0; i < 8; i++)
        if (memcmp(in->x87[i], out->x87[i], 10) != 0)
            wrong("x87 register", i);
    for (int i = 0; i < vectors; i++)
        if (memcmp(in->zmm[i], out->zmm[i], vector_bytes[level]) != 0)
            wrong("vector register", i);
    for (int i = 0; i < 8 && level == AVX512; i++)
        if (in->k[i] != out->k[i])
            wrong("mask register", i);
}

static void *holder(void *arg)
{
    struct image in, out;
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running() && !(broken != NULL && noticed)) {
        fill(&in, &rng);
        memset(&out, 0, sizeof(out));
        hold(&in, &out, 1000 + stress_rand(&rng) % 20000, level, stress_rand(&rng) & 1);
        compare(&in, &out);
        rounds++;
        stress_progress++;
    }
    return arg;
}

/* ---- negative control ---------------------------------------------------------------- */

static uint8_t *xstate(ucontext_t *uc, unsigned component)
{
    unsigned size, offset, c, d;

    __cpuid_count(0xd, component, size, offset, c, d);
    (void)size;
    return (uint8_t *)uc->uc_mcontext.fpregs + offset;
}

static bool is(const char *class)
{
    return strcmp(broken, class) == 0;
}

static void spoil(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *r = uc->uc_mcontext.gregs;
    uint64_t *header = (uint64_t *)((uint8_t *)uc->uc_mcontext.fpregs + 512);

    (void)sig;
    (void)info;
    if (r[REG_RIP] < (greg_t)hold_begin || r[REG_RIP] >= (greg_t)hold_end)
        return;
    if (is("gpr"))
        r[REG_R12] ^= 1;
    if (is("flags"))
        r[REG_EFL] ^= 1;
    if (is("x87"))
        uc->uc_mcontext.fpregs->_st[5].significand[0] ^= 1;
    if (is("mxcsr"))
        uc->uc_mcontext.fpregs->mxcsr ^= 0x2000;
    if (is("xmm"))
        uc->uc_mcontext.fpregs->_xmm[7].element[0] ^= 1;
    if (is("ymm") && (*header & 4) != 0)
        xstate(uc, 2)[0] ^= 1;
    if (is("zmm") && (*header & 0x80) != 0)
        xstate(uc, 7)[100] ^= 1;
    if (is("mask") && (*header & 0x20) != 0)
        xstate(uc, 5)[8] ^= 1;
    if (is("redzone"))
        ((uint8_t *)r[REG_RSP])[-100] ^= 1;
}

static void start_spoiling(void)
{
    struct sigaction sa = {.sa_sigaction = spoil, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval often = {{0, 500}, {0, 500}};

    OKSYS(sigaction(SIGPROF, &sa, NULL));
    OKSYS(setitimer(ITIMER_PROF, &often, NULL));
}

static bool class_exists(const char *class)
{
    if (strcmp(class, "zmm") == 0 || strcmp(class, "mask") == 0)
        return level == AVX512;
    return strcmp(class, "ymm") != 0 || level >= AVX;
}

/* ----------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    pthread_t t[THREADS];
    unsigned long long before = 0, count = 0;

    stress_begin("registers", argc, argv);
    __builtin_cpu_init();
    level = __builtin_cpu_supports("avx512bw") ? AVX512
            : __builtin_cpu_supports("avx")    ? AVX
                                               : SSE;
    broken = argc > 2 ? argv[2] : NULL;
    if (broken != NULL && !class_exists(broken))
        return stress_end("this CPU has no %s registers", broken);
    if (broken != NULL)
        start_spoiling();
    if (gshim_preemptions)
        before = gshim_preemptions();
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], holder, (void *)i);
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
    if (broken != NULL) {
        CHECK(noticed, "a change of %s was not noticed", broken);
        return stress_end("a change of %s is noticed", broken);
    }
    if (gshim_preemptions) {
        count = gshim_preemptions() - before;
        CHECK(count > 0, "nobody was preempted");
    }
    return stress_end("%ld rounds, %llu preemptions, level %u", rounds, count, level);
}

#else

int main(int argc, char **argv)
{
    stress_begin("registers", argc, argv);
    return stress_end("not for this CPU");
}

#endif
