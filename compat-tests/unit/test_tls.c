/* test_tls.c - shim/libc/glibc.c: libc identities, made, run on, used again; and a libc
 * that is not as expected is refused.
 *
 * An identity is tried as the runtime uses it: code runs on it after arch_switch and
 * leaves what it found in a record, which the test judges on its own stack.
 *
 * To show refusals this program stands between glibc.c and the C library: its dlvsym and
 * gnu_get_libc_version can hide or bend one fact at a time.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compat-tests/unit/identity.h"

enum { FIRST_TID = 1 << 23 };

/* --- between glibc.c and libc ------------------------------------------------------- */

static const char *hidden, *bent;      /* names of symbols, NULL: none */
static uint32_t bent_words[3];         /* what BENT shows instead of its descriptor */
static const char *version_now = NULL; /* NULL: the real one */

void *dlvsym(void *handle, const char *name, const char *version)
{
    static void *(*real)(void *, const char *, const char *);
    if (real == NULL)
        real = (void *(*)(void *, const char *, const char *))dlsym(RTLD_NEXT, "dlvsym");
    if (hidden != NULL && strcmp(name, hidden) == 0)
        return NULL;
    if (bent != NULL && strcmp(name, bent) == 0)
        return bent_words;
    return real(handle, name, version);
}

const char *gnu_get_libc_version(void)
{
    static const char *(*real)(void);
    if (real == NULL)
        real = (const char *(*)(void))dlsym(RTLD_NEXT, "gnu_get_libc_version");
    return version_now != NULL ? version_now : real();
}

/* --- running on an identity --------------------------------------------------------- */

struct run {
    void (*fn)(void *);
    void *arg;
    struct arch_ctx here, there;
    bool done;
};

static void run_entry(void *arg, void *cookie)
{
    struct run *r = arg;
    (void)cookie;
    libc_thread_begin();
    r->fn(r->arg);
    r->done = true;
    arch_switch(&r->there, &r->here, NULL);
}

static void run_init(struct run *r, void *tcb, void (*fn)(void *), void *arg)
{
    *r = (struct run){.fn = fn, .arg = arg};
    r->here.tp = arch_tp();
    arch_ctx_init(&r->there, new_stack(), (uintptr_t)tcb, run_entry, r);
}

static void run_on(void *tcb, void (*fn)(void *), void *arg)
{
    struct run r;
    run_init(&r, tcb, fn, arg);
    arch_switch(&r.here, &r.there, NULL);
    cr_assert(r.done);
}

/* --- probe -------------------------------------------------------------------------- */

Test(tls, probe_accepts_this_libc)
{
    init_libc();
    cr_assert_geq(libc_layout.tcb_size, 64);
    cr_assert_gt(libc_layout.tls_size, 0);
    cr_assert_geq(libc_layout.tls_align, 16);
    cr_assert_eq(libc_layout.tls_align & (libc_layout.tls_align - 1), 0);
    cr_assert_lt(libc_layout.tid_offset, libc_layout.tcb_size);
    cr_assert_eq(*libc_tid_word((void *)arch_tp()), (uint32_t)getpid());
    cr_assert_null(libc_selftest((void *)arch_tp()), "on a thread of libc's own");
}

Test(tls, tid_is_known_before_the_probe)
{
    cr_assert_eq(libc_tid(), (uint32_t)getpid(), "by asking the kernel");
    libc_early();
    cr_assert_neq(libc_layout.tid_offset, 0);
    cr_assert_eq(libc_tid(), (uint32_t)getpid(), "from the TCB");
}

static void expect_refusal(const char *what)
{
    const char *why = libc_probe((void *)arch_tp(), true);
    cr_expect_not_null((void *)(uintptr_t)why, "accepted: %s", what);
    cr_expect(why == NULL || why[0] != '\0', "%s: refused without a reason", what);
}

Test(tls, refuses_without_a_private_name)
{
    static const char *const names[] = {
        "_dl_allocate_tls",
        "_dl_deallocate_tls",
        "_dl_get_tls_static_info",
        "__call_tls_dtors",
        "__ctype_init",
        "_rtld_global",
        "__pthread_keys",
        "__resp",
        "_thread_db_pthread_tid",
        "_thread_db_pthread_list",
        "_thread_db_list_t_next",
        "_thread_db_sizeof_pthread",
        "_thread_db_pthread_dtvp",
        "_thread_db_sizeof_pthread_key_data",
        "_thread_db_dtv_dtv",
        "_thread_db_pthread_specific",
    };

    init_libc();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        hidden = names[i];
        expect_refusal(hidden);
    }
    hidden = NULL;
    cr_assert_null(libc_probe((void *)arch_tp(), true), "and now again as it is");
}

/* bits, count, offset: not where this libc has it, or senseless */
struct bent_row {
    char name[48];
    uint32_t words[3];
};

ParameterizedTestParameters(tls, refuses_a_layout_that_is_not_there)
{
    static struct bent_row rows[] = {
        {"_thread_db_pthread_tid", {32, 1, 0}},
        {"_thread_db_pthread_tid", {32, 1, 1 << 20}},
        {"_thread_db_pthread_tid", {64, 1, 0x2d0}},
        {"_thread_db_pthread_list", {64, 2, 8}},
        {"_thread_db_pthread_list", {64, 2, 1 << 24}},
        {"_thread_db_pthread_dtvp", {64, 1, 1 << 24}},
        {"_thread_db_pthread_specific", {64, 32, 0}},
        {"_thread_db_pthread_specific", {0, 32, 0x310}},
        {"_thread_db_dtv_dtv", {0, 1, 0}},
        {"_thread_db_dtv_dtv", {127, 1, 0}},
        {"_thread_db_rtld_global__dl_stack_user", {128, 1, 0}},
        {"_thread_db_sizeof_pthread", {64, 0, 0}},
        {"_thread_db_sizeof_pthread", {1 << 20, 0, 0}},
        {"_thread_db_sizeof_pthread_key_data", {7, 0, 0}},
        {"_thread_db_sizeof_pthread_key_data", {0, 0, 0}},
        {"_thread_db_sizeof_pthread_key_data_level2", {0, 0, 0}},
        {"_thread_db_sizeof_dtv_slotinfo", {0, 0, 0}},
    };
    return cr_make_param_array(struct bent_row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct bent_row *row, tls, refuses_a_layout_that_is_not_there)
{
    init_libc();
    bent = row->name;
    memcpy(bent_words, row->words, sizeof bent_words);
    expect_refusal(bent);
}

Test(tls, refuses_other_versions)
{
    static const char *const bad[] = {"2.33", "2.2", "1.99",      "3.0",
                                      "2",    "",    "musl 1.2.4"};

    init_libc();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        version_now = bad[i];
        expect_refusal(bad[i]);
    }
}

/* Some other memory is no TCB, nor is a faithful copy of one: it is on no list. */
Test(tls, refuses_a_tcb_that_is_none)
{
    init_libc();
    size_t n = libc_layout.tcb_size;
    void **copy = aligned_alloc(64, (n + 63) / 64 * 64);
    cr_assert_not_null(copy);
    memset(copy, 0, n);
    cr_expect_not_null((void *)(uintptr_t)libc_probe(copy, true), "zeroes");
    memcpy(copy, (void *)arch_tp(), n);
    cr_expect_not_null((void *)(uintptr_t)libc_probe(copy, true), "names another");
    for (size_t i = 0; i < n / sizeof *copy; i++)
        if (copy[i] == (void *)arch_tp())
            copy[i] = copy;
    cr_expect_not_null((void *)(uintptr_t)libc_probe(copy, true), "not on libc's list");
    cr_expect_not_null((void *)(uintptr_t)libc_probe(copy, false), "not the kernel's");
}

/* --- a fresh identity --------------------------------------------------------------- */

static __thread int number = 42;
static __thread char text[100] = "image";
static __thread _Alignas(64) long zeros[50];

static void *in_identity(void *tcb, const void *var)
{
    return (char *)tcb + ((uintptr_t)var - arch_tp());
}

static void expect_image(void *tcb)
{
    cr_assert_eq(*(int *)in_identity(tcb, &number), 42);
    cr_assert_str_eq((char *)in_identity(tcb, text), "image");
    for (size_t i = 0; i < 50; i++)
        cr_assert_eq(((long *)in_identity(tcb, zeros))[i], 0);
    for (size_t i = 6; i < sizeof text; i++)
        cr_assert_eq(((char *)in_identity(tcb, text))[i], 0);
    cr_assert_eq(*(int *)in_identity(tcb, &errno), 0);
}

Test(tls, fresh_identity_has_the_initial_image)
{
    init_libc();
    number = 1;
    strcpy(text, "changed");
    zeros[49] = 1;
    errno = EDOM;
    void *tcb = new_identity(FIRST_TID);
    expect_image(tcb);
    cr_assert_eq((uintptr_t)in_identity(tcb, zeros) % 64, 0, "aligned");
    cr_assert_eq(*libc_tid_word(tcb), FIRST_TID);
    cr_assert(!libc_cancel_pending(tcb));
    cr_assert(number == 1 && zeros[49] == 1 && errno == EDOM, "ours are untouched");
}

static void self_test(void *arg)
{
    void **result = arg;
    result[1] = (void *)(uintptr_t)libc_selftest((void *)arch_tp());
    result[0] = (void *)pthread_self();
    result[2] = (void *)(uintptr_t)libc_tid();
}

Test(tls, code_runs_on_it)
{
    init_libc();
    void *tcb = new_identity(FIRST_TID);
    void *result[3];
    run_on(tcb, self_test, result);
    cr_assert_eq(result[0], tcb, "pthread_self");
    cr_assert_null(result[1], "%s", (char *)result[1]);
    cr_assert_eq(result[2], (void *)(uintptr_t)FIRST_TID);
    cr_assert_eq((void *)pthread_self(), (void *)arch_tp());
}

struct use {
    char text[64];
    bool alpha;
    double parsed;
    int errno_after, errno_kept, number;
    char *block;
    char message[64];
};

static void use_libc(void *arg)
{
    struct use *u = arg;
    errno = 0;
    u->parsed = strtod("1e999", NULL);
    u->errno_after = errno;
    errno = EXDEV;
    u->alpha = isalpha('x') && !isalpha('1') && tolower('Q') == 'q';
    snprintf(u->text, sizeof u->text, "%d %.3f %s", 42, 2.5, "text");
    u->block = malloc(5000);
    if (u->block != NULL)
        memset(u->block, 'x', 5000);
    free(malloc(300000));
    u->errno_kept = errno;
    snprintf(u->message, sizeof u->message, "%s", strerror(ENOENT));
    u->number = number++;
}

Test(tls, libc_works_on_it)
{
    init_libc();
    void *tcb = new_identity(FIRST_TID);
    struct use u = {0};
    errno = EBUSY;
    run_on(tcb, use_libc, &u);
    cr_assert_eq(errno, EBUSY);
    cr_assert_eq(u.parsed, HUGE_VAL);
    cr_assert_eq(u.errno_after, ERANGE);
    cr_assert_eq(u.errno_kept, EXDEV);
    cr_assert(u.alpha);
    cr_assert_str_eq(u.text, "42 2.500 text");
    cr_assert_str_eq(u.message, strerror(ENOENT));
    cr_assert_not_null(u.block);
    for (size_t i = 0; i < 5000; i++)
        cr_assert_eq(u.block[i], 'x');
    free(u.block); /* another thread's memory */
    cr_assert_eq(u.number, 42);
    cr_assert_eq(number, 42);
    cr_assert_eq(*(int *)in_identity(tcb, &number), 43);
}

/* --- many identities ---------------------------------------------------------------- */

enum { CROWD = 200, TURNS = 20 };

static struct member {
    struct run run;
    void *tcb;
    int wrong;
} crowd[CROWD];

/* Gives up the CPU in the middle, with everything of its own set to something. */
static void live(void *arg)
{
    struct member *m = arg;
    int id = (int)(m - crowd);
    locale_t c = newlocale(LC_ALL_MASK, "C", NULL);
    for (int turn = 0; turn < TURNS; turn++) {
        char *block = malloc(16 + (size_t)id % 7 * 100);
        errno = id + turn;
        number += id;
        snprintf(text, sizeof text, "%d/%d", id, turn);
        zeros[turn] = id;
        uselocale(id % 2 != 0 ? c : LC_GLOBAL_LOCALE);
        arch_switch(&m->run.there, &m->run.here, NULL);
        char want[32];
        m->wrong += errno != id + turn;
        m->wrong += uselocale(NULL) != (id % 2 != 0 ? c : LC_GLOBAL_LOCALE);
        snprintf(want, sizeof want, "%d/%d", id, turn);
        m->wrong += strcmp(want, text) != 0;
        m->wrong += number != 42 + id * (turn + 1) || zeros[turn] != id;
        m->wrong += (void *)pthread_self() != m->tcb;
        free(block);
    }
    uselocale(LC_GLOBAL_LOCALE);
    freelocale(c);
}

Test(tls, identities_do_not_mix)
{
    init_libc();
    for (int i = 0; i < CROWD; i++) {
        crowd[i].tcb = new_identity(FIRST_TID + (uint32_t)i);
        run_init(&crowd[i].run, crowd[i].tcb, live, &crowd[i]);
    }
    errno = EILSEQ;
    for (int turn = 0; turn <= TURNS; turn++)
        for (int i = 0; i < CROWD; i++)
            arch_switch(&crowd[i].run.here, &crowd[i].run.there, NULL);
    for (int i = 0; i < CROWD; i++) {
        cr_assert(crowd[i].run.done);
        cr_assert_eq(crowd[i].wrong, 0, "identity %d", i);
        cr_assert_eq(*libc_tid_word(crowd[i].tcb), FIRST_TID + (uint32_t)i);
    }
    cr_assert_eq(errno, EILSEQ);
    cr_assert_eq(number, 42);
}

/* --- used again --------------------------------------------------------------------- */

static void leave_traces(void *arg)
{
    char **block = arg;
    number = 7;
    memset(text, 'z', sizeof text);
    memset(zeros, 0xff, sizeof zeros);
    *block = malloc(777);
    free(*block);
    libc_cancel_request((void *)arch_tp());
    errno = EPIPE;
}

static void allocate_again(void *arg)
{
    char **block = arg;
    *block = malloc(777);
}

Test(tls, reuse_resets_the_programs_part_and_keeps_libcs)
{
    init_libc();
    void *tcb = new_identity(FIRST_TID);
    for (uint32_t lap = 1; lap < 50; lap++) {
        char *first = NULL, *second = NULL;
        run_on(tcb, leave_traces, &first);
        cr_assert_eq(*(int *)in_identity(tcb, &number), 7);
        cr_assert(libc_cancel_pending(tcb));
        cr_assert_eq(libc_tcb_reuse(tcb, FIRST_TID + lap), 0);
        expect_image(tcb);
        cr_assert_eq(*libc_tid_word(tcb), FIRST_TID + lap);
        cr_assert(!libc_cancel_pending(tcb));
        run_on(tcb, allocate_again, &second);
        cr_assert_not_null(second);
        cr_assert_eq(first, second, "malloc's cache of the thread was lost");
        run_on(tcb, free, second);
        cr_assert_eq(libc_tcb_reuse(tcb, FIRST_TID + lap), 0);
    }
    cr_assert_eq(number, 42, "ours is untouched");
}

static void use_and_free(void *arg)
{
    struct use *u = arg;
    use_libc(u);
    free(u->block);
}

Test(tls, libc_works_after_reuse)
{
    init_libc();
    void *tcb = new_identity(FIRST_TID);
    for (uint32_t lap = 1; lap < 200; lap++) {
        struct use u = {0};
        run_on(tcb, use_and_free, &u);
        cr_assert(u.alpha && u.errno_after == ERANGE && u.errno_kept == EXDEV);
        cr_assert_eq(u.number, 42);
        cr_assert_str_eq(u.text, "42 2.500 text");
        cr_assert_eq(libc_tcb_reuse(tcb, FIRST_TID + lap), 0);
    }
}

/* --- the end of a thread ------------------------------------------------------------ */

static pthread_key_t key, stubborn;
static int key_calls, stubborn_calls, dtor_calls, bodies;
static bool unwind;
extern int __cxa_thread_atexit_impl(void (*fn)(void *), void *arg, void *dso);
extern void *__dso_handle;

static void on_key(void *value)
{
    key_calls += *(int *)value;
}

static void on_stubborn(void *value)
{
    stubborn_calls++;
    pthread_setspecific(stubborn, value);
}

static void on_thread_local(void *arg)
{
    dtor_calls += key_calls == 0; /* C++ destructors come before those of keys */
    (void)arg;
}

static void body(void *arg)
{
    static int weight = 10;
    bodies++;
    pthread_setspecific(key, &weight);
    pthread_setspecific(stubborn, arg);
    __cxa_thread_atexit_impl(on_thread_local, NULL, &__dso_handle);
    if (unwind)
        pthread_exit(NULL);
}

static void whole_thread(void *arg)
{
    bool *returned = arg;
    *returned = libc_thread_run(body, arg);
}

static void run_whole_thread(void *tcb, bool by_exit)
{
    bool returned = by_exit;
    key_calls = stubborn_calls = dtor_calls = bodies = 0;
    unwind = by_exit;
    run_on(tcb, whole_thread, &returned);
    cr_assert_eq(returned, !by_exit);
    cr_assert_eq(bodies, 1);
    cr_assert_eq(dtor_calls, 1);
    cr_assert_eq(key_calls, 10);
    cr_assert_eq(stubborn_calls, PTHREAD_DESTRUCTOR_ITERATIONS);
}

Test(tls, destructors_run_at_the_end)
{
    init_libc();
    void *tcb = new_identity(FIRST_TID);
    pthread_key_create(&key, on_key);
    pthread_key_create(&stubborn, on_stubborn);
    for (uint32_t lap = 1; lap < 20; lap++) {
        run_whole_thread(tcb, lap % 2 != 0);
        cr_assert_eq(libc_tcb_reuse(tcb, FIRST_TID + lap), 0);
    }
}

/* Keys beyond the first block live in memory that must not be lost or kept. */
static void many_keys(void *arg)
{
    pthread_key_t *keys = arg;
    for (size_t i = 0; i < 100; i++)
        pthread_setspecific(keys[i], &keys[i]);
}

static void keys_are_unset(void *arg)
{
    pthread_key_t *keys = arg;
    for (size_t i = 0; i < 100; i++)
        bodies += pthread_getspecific(keys[i]) != NULL;
}

static void many_keys_thread(void *arg)
{
    libc_thread_run(many_keys, arg);
}

Test(tls, no_key_survives_into_the_next_thread)
{
    static pthread_key_t keys[100];

    init_libc();
    void *tcb = new_identity(FIRST_TID);
    for (size_t i = 0; i < 100; i++)
        cr_assert_eq(pthread_key_create(&keys[i], NULL), 0);
    for (uint32_t lap = 1; lap < 5; lap++) {
        run_on(tcb, many_keys_thread, keys);
        cr_assert_eq(libc_tcb_reuse(tcb, FIRST_TID + lap), 0);
        bodies = 0;
        run_on(tcb, keys_are_unset, keys);
        cr_assert_eq(bodies, 0);
    }
}

/* --- cancellation ------------------------------------------------------------------- */

/* Leaves its state as the next thread must not find it. */
static void cancel_states(void *arg)
{
    bool *ok = arg;
    void *self = (void *)arch_tp();
    int old;
    ok[0] = !libc_cancel_pending(self) && !libc_cancel_at_once(self);
    libc_cancel_request(self);
    ok[1] = libc_cancel_pending(self) && !libc_cancel_at_once(self);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    ok[2] = !libc_cancel_pending(self) && old == PTHREAD_CANCEL_ENABLE;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    ok[3] = !libc_cancel_at_once(self) && old == PTHREAD_CANCEL_DEFERRED;
    pthread_testcancel();
    ok[4] = true;
}

Test(tls, cancellation_is_asked_for_and_reset)
{
    init_libc();
    void *tcb = new_identity(FIRST_TID);
    for (uint32_t lap = 1; lap < 10; lap++) {
        bool ok[5] = {false};
        run_on(tcb, cancel_states, ok);
        for (size_t i = 0; i < 5; i++)
            cr_assert(ok[i], "lap %u, step %zu", lap, i);
        cr_assert_not(libc_cancel_pending((void *)arch_tp()));
        cr_assert_eq(libc_tcb_reuse(tcb, FIRST_TID + lap), 0);
    }
}

static void cancel_self(void *arg)
{
    bodies++;
    libc_cancel_request((void *)arch_tp());
    pthread_testcancel();
    *(bool *)arg = false; /* not reached */
}

static void cancelled_thread(void *arg)
{
    bool *unwound = arg;
    *unwound = true;
    if (libc_thread_run(cancel_self, arg))
        *unwound = false;
}

Test(tls, cancellation_unwinds_the_thread)
{
    init_libc();
    void *tcb = new_identity(FIRST_TID);
    for (uint32_t lap = 1; lap < 10; lap++) {
        bool unwound = false;
        run_on(tcb, cancelled_thread, &unwound);
        cr_assert(unwound);
        cr_assert_eq(bodies, (int)lap);
        cr_assert_eq(libc_tcb_reuse(tcb, FIRST_TID + lap), 0);
    }
}
