/* gtrim.c - finished threads give their memory back.
 *
 * A finished G waits for the next thread as it was left: stack, libc identity and struct g,
 * two pages and most of a page table, and whatever its stack had grown to.  That makes the
 * next creation cheap; after ten thousand threads it is also 120 MB, which every fork copies.
 * So a second after a thread has ended sysmon has a helper look at the free lists:
 *
 *   - of those that nobody has needed for that second all but TRIM_KEEP become cold: they
 *     leave libc's list of threads, their dynamic TLS is freed, their pages and page tables go
 *     to the kernel.  What is left is the address, for the next thread (gthread.c).
 *   - those that stay lose what their stacks have beyond STACK_KEEP.
 *
 * The helper is a native thread of its own, since freeing calls the program's malloc, which
 * may block; neither sysmon nor a thread of the program waits for it.
 *
 * Leaving libc's list: libc walks it forward, under a lock that we cannot take.  A node that
 * has been unlinked still leads on, so a walker that stands on it is not lost; its memory may
 * go once every walk that was under way has ended.  Making a native thread takes that lock
 * (nptl/allocatestack.c, get_cached_stack): when one has been made, they have.
 *
 * Rejected: giving the pages back when a thread ends, as libc does: it costs more than all
 * the rest of a thread's life.  Unmapping the blocks: a hole for each, until the kernel's
 * limit of mappings; and a stale handle would fault.
 */
#include "shim/rt/gtable.h"

#include "shim/libc/libc.h"
#include "shim/libc/real.h"
#include "shim/rt/config.h"
#include "shim/rt/stack.h"

enum {
    TRIM_KEEP = 256,        /* of a class stay warm */
    TRIM_MOST = 16384,      /* become cold at a time: some 50 ms of a CPU */
    STACK_KEEP = 64 * 1024, /* of a warm one's stack */
    RUN_BLOCKS = 64,        /* given back by one call, which holds up faults beside it */
    HELPER_STACK = 64 * 1024,
};
static const int64_t TRIM_NS = 1000000000, TORTURE_NS = 10000000;

uint32_t g_trim_armed;
static int64_t due_ns;    /* sysmon only; 0: no period has begun */
static uint32_t trimming; /* the helper is at it; atomic [N3] */

/* Under torture everything is given back all the time. */
static uint32_t keep(void)
{
    return rt_config.preempt_us != 0 ? 0 : TRIM_KEEP;
}

static int64_t period_ns(void)
{
    return rt_config.preempt_us != 0 ? TORTURE_NS : TRIM_NS;
}

/* --- the helper ------------------------------------------------------------------------ */

static bool spawn(pthread_t *t, void *(*fn)(void *))
{
    rt_lock(&sched.makers);
    int err = rt_native_thread(t, HELPER_STACK, fn, NULL);
    rt_unlock(&sched.makers);
    return err == 0;
}

static void *nothing(void *arg)
{
    return arg;
}

/* Every walk of libc's list that began before has ended. */
static bool grace(void)
{
    pthread_t t;
    return spawn(&t, nothing) && REAL(pthread_join)(t, NULL) == 0;
}

static void back_to_list(struct stack_class *c, struct g *gp)
{
    while (gp != NULL) {
        struct g *next = gp->link;
        libc_tcb_list(gp->tcb);
        stack_class_push(c, gp);
        gp = next;
    }
}

/* Up to MOST of those not needed lately, off libc's list, linked by link. */
static struct g *take_unneeded(struct stack_class *c, uint32_t most)
{
    struct g *all = NULL, *gp;
    uint32_t n = stack_class_unneeded(c, keep());
    for (n = n < most ? n : most; n > 0 && (gp = stack_class_pop(c)) != NULL; n--) {
        g_wait_off_stack(gp);
        libc_tcb_unlist(gp->tcb);
        gp->link = all;
        all = gp;
    }
    return all;
}

/* Pages and page tables of N blocks side by side.  Guard markers would hold the tables. */
static void release(struct stack_class *c, char *block, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        stack_block_unguard(c, block + i * c->block_bytes);
    os_discard(block, n * c->block_bytes);
}

/* Rows are in the order of addresses but for races of their takers, so that one pass finds
 * most blocks beside their neighbours. */
static void release_leaving(struct stack_class *c)
{
    for (uint32_t slot = 0, n; slot < g_slots(); slot += n) {
        struct g_row *row = g_row_of(slot);
        n = 1;
        if (ld_rlx(&row->state) != ROW_LEAVING || row->gp->cls != c)
            continue;
        char *block = stack_block_at(c, row->gp);
        while (n < RUN_BLOCKS && slot + n < g_slots() &&
               ld_rlx(&row[n].state) == ROW_LEAVING && row[n].gp->cls == c &&
               stack_block_at(c, row[n].gp) == block + n * c->block_bytes)
            n++;
        release(c, block, n);
        for (uint32_t i = n; i-- > 0;)
            g_cold_push(c, slot + i);
    }
}

static void make_cold(struct stack_class *c)
{
    struct g *gp = take_unneeded(c, TRIM_MOST), *next;
    if (gp == NULL)
        return;
    if (!grace()) {
        back_to_list(c, gp);
        return;
    }
    for (; gp != NULL; gp = next) {
        next = gp->link;
        gp->link = NULL;
        if (!libc_tcb_drop(gp->tcb)) { /* no memory to save what malloc keeps there */
            back_to_list(c, gp);
            continue;
        }
        struct g_row *row = g_row_of(gp->slot);
        row->generation = gp->generation;
        st_rel(&row->state, ROW_LEAVING); /* MO: release -> [N1] */
    }
    release_leaving(c);
}

static void shorten_stacks(struct stack_class *c)
{
    if (c->stack_bytes <= STACK_KEEP)
        return;
    struct g *kept = NULL, *gp;
    for (int n = 0; n < TRIM_KEEP && (gp = stack_class_pop(c)) != NULL; n++) {
        g_wait_off_stack(gp);
        if (gp->stack_used)
            os_discard(gp->block_lo, (size_t)(gp->block_hi - gp->block_lo - STACK_KEEP) &
                                         ~(os_page_size() - 1));
        gp->stack_used = false;
        gp->link = kept;
        kept = gp;
    }
    for (; kept != NULL; kept = gp) {
        gp = kept->link;
        stack_class_push(c, kept);
    }
}

static void *trim_main(void *arg)
{
    struct stack_class *c;
    for (uint32_t i = 0; (c = stack_class_at(i)) != NULL; i++) {
        make_cold(c);
        shorten_stacks(c);
    }
    st_rel(&trimming, 0); /* MO: release -> [N3] */
    return arg;
}

/* --- when -------------------------------------------------------------------------------- */

void g_trim_arm(void)
{
    if (xchg_ar(&g_trim_armed, 1) == 0)
        rt_sysmon_kick();
}

/* Anything for the helper?  More is looked for later if there still will be. */
static bool worth_it(bool *again)
{
    struct stack_class *c;
    bool now = false;
    for (uint32_t i = 0; (c = stack_class_at(i)) != NULL; i++) {
        now |= stack_class_unneeded(c, keep()) != 0 || ld_rlx(&c->nused) != 0;
        *again |= ld_rlx(&c->nfree) > keep();
    }
    return now;
}

int64_t g_trim(int64_t now)
{
    bool again = false;
    if (ld_rlx(&g_trim_armed) == 0)
        return RT_FOREVER;
    if (due_ns == 0) {
        stack_classes_watch();
        due_ns = now + period_ns();
    }
    if (now < due_ns)
        return due_ns;
    if (ld_acq(&trimming) != 0) /* MO: acquire <- [N3] */
        return due_ns = now + period_ns();
    due_ns = 0;
    st_rlx(&g_trim_armed, 0); /* who finishes from here on is for the next period */
    g_caches_drop_idle();
    if (worth_it(&again)) {
        st_rlx(&trimming, 1);
        if (!spawn(NULL, trim_main))
            st_rlx(&trimming, 0);
    }
    if (!again)
        return RT_FOREVER;
    st_rlx(&g_trim_armed, 1);
    return g_trim(now); /* begins a period */
}

void g_trim_forget(void)
{
    g_trim_armed = trimming = 0;
    due_ns = 0;
}
