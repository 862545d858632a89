/* stack.h - blocks of memory for Gs; see stack.c.  Private to shim/rt. */
#ifndef GSHIM_STACK_H
#define GSHIM_STACK_H

#include "shim/rt/rt.h"

enum {
    /* Up to here sizes are rounded to pages only, and a thread that uses more than it asked
     * for is to meet its guard, not the slack below its TLS.  Beyond, the end of the stack
     * shares its page with the TLS, which saves a page per parked thread. */
    STACK_EXACT = 256 * 1024,
};

struct stack_class {
    size_t stack_bytes, guard_bytes, block_bytes; /* const */
    struct rt_lock lock;
    /* under lock */
    struct g *free;
    char *bump, *chunk_end;
    size_t next_chunk;
};

/* stack_class_get - the class for these sizes; NULL when there are too many. [any]
 *   top_bytes  room above the stack for TLS, TCB and struct g */
struct stack_class *stack_class_get(size_t stack_bytes, size_t guard_bytes,
                                    size_t top_bytes);
/* stack_class_usable - how much of the ROOM between guard and TLS is stack. */
static inline size_t stack_class_usable(const struct stack_class *c, size_t room)
{
    return c->stack_bytes <= STACK_EXACT ? c->stack_bytes : room;
}
/* stack_block_new - a fresh zeroed block, guard installed; NULL: no memory. */
char *stack_block_new(struct stack_class *c);
/* Finished Gs of the class, last in first out. */
struct g *stack_class_pop(struct stack_class *c);
void stack_class_push(struct stack_class *c, struct g *gp);
/* stack_forget - after fork: leave all blocks where they are, start anew. */
void stack_forget(void);

#endif
