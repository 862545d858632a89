/* test_stack.c - shim/rt/stack.c: classes, blocks, guard pages, reuse; and how many
 * blocks there can be.
 *
 * What must end in a fault is done by a child process.  Where the kernel has no guard
 * markers the same is reached with mprotect; a filter that hides them tests that on any
 * kernel.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim/rt/rt.h"
#include "shim/rt/stack.h"

enum { TOP = 3000, STACK = 64 * 1024 };

static size_t page;

static void setup(void)
{
    page = os_page_size();
}

/* --- classes ------------------------------------------------------------------------ */

static size_t size_of(size_t bytes)
{
    struct stack_class *c = stack_class_get(bytes, page, TOP);
    cr_assert_not_null(c);
    cr_assert_geq(c->stack_bytes, bytes);
    cr_assert_geq(c->block_bytes, c->stack_bytes + page + TOP);
    cr_assert_eq(c->block_bytes % page, 0);
    return c->stack_bytes;
}

Test(stack, sizes_are_rounded_into_classes, .init = setup)
{
    cr_assert_eq(size_of(1), page);
    cr_assert_eq(size_of(page), page);
    cr_assert_eq(size_of(16384), 16384, "PTHREAD_STACK_MIN is a class of its own");
    cr_assert_eq(size_of(16385), 16384 + page);
    cr_assert_eq(size_of(256 << 10), 256 << 10);
    cr_assert_eq(size_of((256 << 10) + 1), 320 << 10);
    cr_assert_eq(size_of(4 << 20), 4 << 20);
    cr_assert_eq(size_of((4 << 20) + 1), 5 << 20);
    cr_assert_eq(size_of(8 << 20), 8 << 20, "the usual RLIMIT_STACK");
}

Test(stack, same_sizes_same_class, .init = setup)
{
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    cr_assert_eq(stack_class_get(STACK, page, TOP), c);
    cr_assert_eq(stack_class_get(STACK - 1, page - 1, TOP), c);
    cr_assert_neq(stack_class_get(STACK, 0, TOP), c);
    cr_assert_neq(stack_class_get(STACK, 2 * page, TOP), c);
    cr_assert_neq(stack_class_get(STACK + 1, page, TOP), c);
}

Test(stack, class_without_stack, .init = setup)
{
    struct stack_class *c = stack_class_get(0, 0, TOP); /* the program brought its own */
    cr_assert_eq(c->stack_bytes, 0);
    cr_assert_eq(c->block_bytes, (TOP + page - 1) / page * page);
    cr_assert_not_null(stack_block_new(c));
}

Test(stack, classes_run_out_without_harm, .init = setup)
{
    struct stack_class *first = stack_class_get(page, page, TOP);
    size_t n = 1;
    while (n < 10000 && stack_class_get(page, (n + 1) * page, TOP) != NULL)
        n++;
    cr_assert_geq(n, 60);
    cr_assert_lt(n, 10000, "a table with an end");
    cr_assert_eq(stack_class_get(page, page, TOP), first, "old ones still work");
    cr_assert_not_null(stack_block_new(first));
}

/* --- blocks ------------------------------------------------------------------------- */

Test(stack, blocks_are_apart_aligned_and_zero, .init = setup)
{
    enum { N = 500 };
    static char *blocks[N];
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    for (size_t i = 0; i < N; i++) {
        char *b = blocks[i] = stack_block_new(c);
        cr_assert_not_null(b);
        cr_assert_eq((uintptr_t)b % page, 0);
        for (char *p = b + page; p < b + c->block_bytes; p += 512)
            cr_assert_eq(*p, 0);
        memset(b + page, (int)i + 1, 64);
        memset(b + c->block_bytes - 64, (int)i + 1, 64);
    }
    for (size_t i = 0; i < N; i++) {
        cr_assert_eq(blocks[i][page], (char)(i + 1));
        cr_assert_eq(blocks[i][c->block_bytes - 1], (char)(i + 1), "they overlap");
    }
}

Test(stack, reuse_is_last_in_first_out, .init = setup)
{
    static struct g gs[10];
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    struct stack_class *other = stack_class_get(2 * STACK, page, TOP);
    cr_assert_null(stack_class_pop(c));
    for (size_t i = 0; i < 10; i++)
        stack_class_push(i < 7 ? c : other, &gs[i]);
    for (size_t i = 7; i-- > 0;)
        cr_assert_eq(stack_class_pop(c), &gs[i]);
    cr_assert_null(stack_class_pop(c));
    for (size_t i = 10; i-- > 7;)
        cr_assert_eq(stack_class_pop(other), &gs[i]);
}

Test(stack, what_nobody_needed_is_told_by_the_least_there_was, .init = setup)
{
    static struct g gs[10];
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    for (size_t i = 0; i < 10; i++) {
        gs[i].stack_used = i % 2 == 0;
        stack_class_push(c, &gs[i]);
    }
    cr_assert_eq(c->nfree, 10);
    cr_assert_eq(c->nused, 5);
    cr_assert_eq(stack_class_unneeded(c, 0), 0, "nobody has watched yet");
    stack_classes_watch();
    cr_assert_eq(stack_class_unneeded(c, 0), 10);
    cr_assert_eq(stack_class_unneeded(c, 7), 3);
    cr_assert_eq(stack_class_unneeded(c, 11), 0);
    struct g *taken[4];
    for (size_t i = 0; i < 4; i++)
        taken[i] = stack_class_pop(c);
    for (size_t i = 0; i < 4; i++)
        stack_class_push(c, taken[i]);
    cr_assert_eq(stack_class_unneeded(c, 0), 6, "four were in use for a moment");
    cr_assert_eq(c->nused, 5);
}

Test(stack, owns_its_blocks_and_nothing_else, .init = setup)
{
    int local;
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    cr_assert_not(stack_owns(&local));
    for (int i = 0; i < 100; i++) {
        char *b = stack_block_new(c);
        cr_assert(stack_owns(b));
        cr_assert(stack_owns(b + c->block_bytes - 1));
    }
    cr_assert_not(stack_owns(&local));
    stack_forget();
    cr_assert_not(stack_owns(c->bump - 1));
}

Test(stack, forget_starts_anew, .init = setup)
{
    static struct g gone;
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    char *before = stack_block_new(c);
    before[page] = 'x';
    stack_class_push(c, &gone);
    stack_forget();
    c = stack_class_get(STACK, page, TOP);
    cr_assert_null(stack_class_pop(c));
    char *after = stack_block_new(c);
    cr_assert(after >= before + c->block_bytes || after + c->block_bytes <= before);
    cr_assert_eq(before[page], 'x', "old blocks stay where they are");
}

/* --- guard pages -------------------------------------------------------------------- */

/* How a child ends that writes to P: 0, or its signal. */
static int fate_of_write(volatile char *p)
{
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *p = 1;
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void expect_guarded(char *block, size_t guard, size_t block_bytes)
{
    for (size_t at = 0; at < guard; at += page) {
        cr_assert_eq(fate_of_write(block + at), SIGSEGV);
        cr_assert_eq(fate_of_write(block + at + page - 1), SIGSEGV);
    }
    cr_assert_eq(fate_of_write(block + guard), 0);
    cr_assert_eq(fate_of_write(block + block_bytes - 1), 0);
}

Test(stack, discarded_block_is_zero_and_guarded_again, .init = setup)
{
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    char *b = stack_block_new(c);
    struct g *gp = (struct g *)(void *)(b + c->block_bytes - sizeof *gp);
    cr_assert_eq(stack_block_at(c, gp), b);
    memset(b + page, 1, c->block_bytes - page);
    stack_block_unguard(c, b);
    os_discard(b, c->block_bytes);
    stack_block_reguard(c, b);
    for (size_t i = page; i < c->block_bytes; i++)
        cr_assert_eq(b[i], 0);
    cr_assert_eq(fate_of_write(b + page - 1), SIGSEGV);
}

Test(stack, guard_pages_fault, .init = setup)
{
    for (size_t guard = 0; guard <= 3; guard++) {
        struct stack_class *c = stack_class_get(STACK, guard * page, TOP);
        for (int i = 0; i < 2; i++)
            expect_guarded(stack_block_new(c), guard * page, c->block_bytes);
    }
}

/* Make madvise refuse advice 102, as before Linux 6.13.  For the rest of this process. */
static void hide_guard_markers(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 102, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof code / sizeof code[0], code};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0)
        cr_skip_test("this kernel has no seccomp filters");
}

Test(stack, guard_pages_fault_without_markers, .init = setup)
{
    hide_guard_markers();
    for (size_t guard = 1; guard <= 2; guard++) {
        struct stack_class *c = stack_class_get(STACK, guard * page, TOP);
        for (int i = 0; i < 2; i++)
            expect_guarded(stack_block_new(c), guard * page, c->block_bytes);
    }
}

/* --- many --------------------------------------------------------------------------- */

static size_t mappings(void)
{
    static char buf[1 << 16];
    size_t n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    cr_assert_not_null(f);
    for (size_t got; (got = fread(buf, 1, sizeof buf, f)) > 0;)
        for (size_t i = 0; i < got; i++)
            n += buf[i] == '\n';
    fclose(f);
    return n;
}

static bool have_markers(void)
{
    char *p =
        mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool have = syscall(SYS_madvise, p, page, 102) == 0;
    munmap(p, page);
    return have;
}

Test(stack, hundred_thousand_blocks, .init = setup, .timeout = 60)
{
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    char *block = NULL;
    size_t before = mappings();
    if (!have_markers())
        cr_skip_test("without guard markers the kernel's limit of mappings comes first");
    for (int i = 0; i < 100000; i++) {
        block = stack_block_new(c);
        cr_assert_not_null(block, "number %d", i);
    }
    cr_assert_leq(mappings(), before + 100, "a guard page must not be a mapping");
    expect_guarded(block, page, c->block_bytes);
}

/* stderr of the part in between, into TEXT. */
static int capture_begin(FILE **file)
{
    int saved = dup(2);
    *file = tmpfile();
    cr_assert(saved >= 0 && *file != NULL);
    dup2(fileno(*file), 2);
    return saved;
}

static void capture_end(int saved, FILE *file, char *text, size_t n)
{
    dup2(saved, 2);
    close(saved);
    rewind(file);
    text[fread(text, 1, n - 1, file)] = '\0';
    fclose(file);
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static long max_map_count(void)
{
    long n = -1;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
    if (f != NULL) {
        if (fscanf(f, "%ld", &n) != 1)
            n = -1;
        fclose(f);
    }
    return n;
}

/* Without markers each guard is a mapping; past the limit there are none, and one line
 * says so. */
Test(stack, unguarded_past_the_limit_of_mappings, .init = setup, .timeout = 60)
{
    char text[1000];
    FILE *file;
    long limit = max_map_count();
    if (limit < 0 || limit > 70000)
        cr_skip_test("vm.max_map_count is %ld here", limit);
    hide_guard_markers();
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    int saved = capture_begin(&file);
    char *block = stack_block_new(c), *first = block;
    for (long i = 0; i < limit * 2 / 3 && block != NULL; i++)
        block = stack_block_new(c);
    capture_end(saved, file, text, sizeof text);
    cr_assert_not_null(block, "the program must go on");
    cr_assert_eq(count_lines(text), 1, "%s", text);
    cr_assert_not_null(strstr(text, "no guard page"), "%s", text);
    block[0] = 1;
    block[c->block_bytes - 1] = 1;
    first[page] = 1;
}

static struct rlimit old_limit;

static void limit_address_space(size_t more)
{
    struct rlimit r;
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert(f != NULL && fscanf(f, "%ld", &pages) == 1);
    fclose(f);
    getrlimit(RLIMIT_AS, &old_limit);
    r = old_limit;
    r.rlim_cur = (rlim_t)pages * page + more;
    cr_assert_eq(setrlimit(RLIMIT_AS, &r), 0);
}

Test(stack, no_memory_and_memory_again, .init = setup)
{
    enum { BIG = 64 << 20 };
    struct stack_class *c = stack_class_get(BIG, page, TOP);
    limit_address_space(BIG / 2);
    char *refused = stack_block_new(c);
    bool again = stack_block_new(c) != NULL;
    setrlimit(RLIMIT_AS, &old_limit);
    cr_assert_null(refused);
    cr_assert_not(again);
    char *block = stack_block_new(c);
    cr_assert_not_null(block, "the refusal has broken nothing");
    block[c->block_bytes - 1] = 1;
}

/* Where a whole chunk does not fit, one block may. */
Test(stack, smaller_chunks_when_memory_is_short, .init = setup)
{
    enum { BIG = 64 << 20 };
    struct stack_class *c = stack_class_get(BIG, page, TOP);
    limit_address_space(2 * BIG + BIG / 2);
    char *a = stack_block_new(c), *b = stack_block_new(c), *none = stack_block_new(c);
    setrlimit(RLIMIT_AS, &old_limit);
    cr_assert(a != NULL && b != NULL && a != b);
    cr_assert_null(none);
}

/* --- threads ------------------------------------------------------------------------ */

enum { MAKERS = 4, EACH = 2000 };

static char *made[MAKERS][EACH];
static struct g pool[64];
static uint32_t holders[64], collisions; /* atomic */

static void *maker(void *arg)
{
    size_t me = (size_t)(uintptr_t)arg;
    struct stack_class *c = stack_class_get(STACK, page, TOP);
    for (size_t i = 0; i < EACH; i++) {
        made[me][i] = stack_block_new(c);
        struct g *gp = stack_class_pop(c);
        if (gp != NULL) {
            if (add_ar(&holders[gp - pool], 1) != 0)
                add_rlx(&collisions, 1);
            sub_ar(&holders[gp - pool], 1);
            stack_class_push(c, gp);
        }
    }
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    char *p = *(char *const *)a, *q = *(char *const *)b;
    return p < q ? -1 : p > q;
}

Test(stack, made_and_reused_by_many_threads, .init = setup, .timeout = 30)
{
    pthread_t t[MAKERS];
    size_t left = 0, block_bytes = stack_class_get(STACK, page, TOP)->block_bytes;
    for (size_t i = 0; i < 64; i++)
        stack_class_push(stack_class_get(STACK, page, TOP), &pool[i]);
    for (uintptr_t i = 0; i < MAKERS; i++)
        pthread_create(&t[i], NULL, maker, (void *)i);
    for (size_t i = 0; i < MAKERS; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(collisions, 0);
    while (stack_class_pop(stack_class_get(STACK, page, TOP)) != NULL)
        left++;
    cr_assert_eq(left, 64);
    char **all = &made[0][0];
    qsort(all, MAKERS * EACH, sizeof *all, by_address);
    cr_assert_not_null(all[0]);
    for (size_t i = 1; i < MAKERS * EACH; i++)
        cr_assert_geq(all[i], all[i - 1] + block_bytes);
}
