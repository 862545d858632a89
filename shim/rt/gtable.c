/* gtable.c - the table of all Gs: finding one by its number, its tid or its TCB; listing.
 *
 * A row is taken by a G's memory for good and maps a small number, the slot, to it.  A tid is
 * slot and generation, so that the next thread in the same memory has another one.
 * While the memory is with the kernel (gtrim.c) the row is cold: it names nobody.
 */
#include "shim/rt/gtable.h"

#include "shim/libc/libc.h"
#include "shim/rt/stack.h"

enum { GENERATIONS = 126 }; /* keeps tids below 2^28, so that CPU clock ids hold them */

static struct g_row *rows; /* RT_MAX_G; atomic [N1] */
static uint32_t nrows;     /* atomic */

bool g_row_take(struct g *gp)
{
    if (unlikely(ld_acq(&rows) == NULL)) { /* MO: acquire <- [N1] */
        struct g_row *fresh = os_map(RT_MAX_G * sizeof *fresh), *e = NULL;
        if (fresh == NULL)
            return false;
        if (!cas_ar(&rows, &e, fresh)) /* MO: [N1] */
            os_unmap(fresh, RT_MAX_G * sizeof *fresh);
    }
    uint32_t i = add_rlx(&nrows, 1);
    if (i >= RT_MAX_G) {
        add_rlx(&nrows, -1u);
        return false;
    }
    gp->slot = i;
    st_rel(&rows[i].gp, gp); /* MO: release -> [N1] in g_of_slot */
    return true;
}

struct g_row *g_row_of(uint32_t slot)
{
    return &ld_acq(&rows)[slot]; /* MO: acquire <- [N1] */
}

uint32_t g_next_tid(struct g *gp)
{
    gp->generation = (uint16_t)((gp->generation + 1) % GENERATIONS);
    return RT_FIRST_TID + ((uint32_t)gp->generation * RT_MAX_G | gp->slot);
}

/* --- cold Gs --------------------------------------------------------------------------- */

void g_cold_push(struct stack_class *c, uint32_t slot)
{
    struct rt_section s;
    struct g_row *row = g_row_of(slot);
    st_rel(&row->state, ROW_COLD); /* MO: release -> [N1] */
    rt_lock_in(&s, &c->lock);
    row->next = c->cold;
    c->cold = slot + 1;
    rt_unlock_in(&s, &c->lock);
}

bool g_cold_pop(struct stack_class *c, uint32_t *slot)
{
    struct rt_section s;
    /* A hint: without one the thread gets a new block. */
    if (likely(ld_rlx(&c->cold) == 0))
        return false;
    rt_lock_in(&s, &c->lock);
    uint32_t first = c->cold;
    if (first != 0)
        c->cold = g_row_of(first - 1)->next;
    rt_unlock_in(&s, &c->lock);
    *slot = first - 1;
    return first != 0;
}

/* --- finding --------------------------------------------------------------------------- */

/* Whom a handle means whose thread has ended so long ago that its memory is cold. */
static struct g *nobody(void)
{
    static struct g gone = {.wstate = G_DEAD, .join = JOIN_GONE};
    if (ld_acq(&gone.tcb) == NULL) { /* MO: acquire <- [N2] */
        char *zeros = os_map(libc_layout.tls_size + libc_layout.tcb_size), *e = NULL;
        if (zeros == NULL)
            return NULL;
        if (!cas_ar(&gone.tcb, (void **)&e, zeros + libc_layout.tls_size)) /* MO: [N2] */
            os_unmap(zeros, libc_layout.tls_size + libc_layout.tcb_size);
    }
    return &gone;
}

struct g *g_of_tcb(void *tcb)
{
    struct g *gp = ld_rlx((struct g **)((char *)tcb + arch_self_offset()));
    if (likely(gp != NULL))
        return gp;
    /* Foreign; or its slot is empty while a child of clone runs with it (posix/fork.c); or
     * cold. */
    gp = rt_main_g();
    if (gp == NULL || gp->tcb != tcb)
        gp = g_of_tid(ld_rlx(libc_tid_word(tcb)));
    if (gp != NULL && gp->tcb == tcb)
        return gp;
    return stack_owns(tcb) ? nobody() : NULL;
}

struct g *g_of_slot(uint32_t slot)
{
    struct g_row *at = ld_acq(&rows); /* MO: acquire <- [N1] */
    if (at == NULL || slot >= ld_rlx(&nrows) ||
        ld_acq(&at[slot].state) != ROW_WARM) /* MO: acquire <- [N1] */
        return NULL;
    return ld_acq(&at[slot].gp); /* MO: acquire <- [N1] */
}

struct g *g_of_tid(uint32_t tid)
{
    if (tid < RT_FIRST_TID)
        return NULL;
    struct g *gp = g_of_slot((tid - RT_FIRST_TID) % RT_MAX_G);
    return gp != NULL && ld_rlx(&gp->tid) == tid ? gp : NULL;
}

uint32_t g_slots(void)
{
    uint32_t n = ld_rlx(&nrows);
    return n < RT_MAX_G ? n : RT_MAX_G;
}

/* --- listing ------------------------------------------------------------------------------ */

uint32_t g_number(const struct g *gp)
{
    return gp->is_main ? 1 : gp->slot + 2;
}

static struct g *living_from(uint32_t slot)
{
    for (; slot < g_slots(); slot++) {
        struct g *gp = g_of_slot(slot);
        if (gp != NULL && ld_rlx(&gp->tid) != 0)
            return gp;
    }
    return NULL;
}

struct g *g_first(void)
{
    struct g *gp = rt_main_g();
    return gp != NULL ? gp : living_from(0);
}

struct g *g_next(struct g *gp)
{
    return living_from(gp->is_main ? 0 : gp->slot + 1);
}

void g_table_forget(void)
{
    rows = NULL;
    nrows = 0;
}
