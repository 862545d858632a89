/* gtable.h - the table of all Gs; see gtable.c.  Private to shim/rt. */
#ifndef GSHIM_GTABLE_H
#define GSHIM_GTABLE_H

#include "shim/rt/rt.h"

enum row_state {
    ROW_WARM,    /* lives, or waits on a free list as it was left */
    ROW_LEAVING, /* gtrim.c is giving its memory back; on no list */
    ROW_COLD,    /* its memory reads as zeros; on its class's cold list */
};

struct g_row {
    struct g *gp;        /* const: where its struct g is, or will be again; atomic [N1] */
    uint32_t next;       /* of the cold list: slot + 1; under the class's lock */
    uint16_t generation; /* of a cold one */
    uint8_t state;       /* enum row_state, atomic [N1] */
};

/* g_row_take - a row for GP, which is new; false: there is none left.            [any] */
bool g_row_take(struct g *gp);
/* g_row_of - the row of a slot below g_slots(). */
struct g_row *g_row_of(uint32_t slot);
/* g_next_tid - a tid for the next life of GP. */
uint32_t g_next_tid(struct g *gp);

/* The cold Gs of a class, last in first out.                                    [any] */
void g_cold_push(struct stack_class *c, uint32_t slot);
bool g_cold_pop(struct stack_class *c, uint32_t *slot);

/* g_trim_later - a G has finished: sysmon is to look for memory to give back in a while. [rt] */
extern uint32_t g_trim_armed; /* atomic */
void g_trim_arm(void);
static inline void g_trim_later(void)
{
    if (unlikely(ld_rlx(&g_trim_armed) == 0))
        g_trim_arm();
}
/* g_caches_drop_idle - finished Gs that idle Ps keep: to their classes.        [G] foreign */
void g_caches_drop_idle(void);
/* g_table_forget, g_trim_forget - in a child of fork. */
void g_table_forget(void);
void g_trim_forget(void);

#endif
