/* stack.h - blocks of memory for Gs; see stack.c.  Private to shim/rt. */
#ifndef GSHIM_STACK_H
#define GSHIM_STACK_H

#include "shim/rt/rt.h"

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
/* stack_block_new - a fresh zeroed block, guard installed; NULL: no memory. */
char *stack_block_new(struct stack_class *c);
/* Finished Gs of the class, last in first out. */
struct g *stack_class_pop(struct stack_class *c);
void stack_class_push(struct stack_class *c, struct g *gp);
/* stack_forget - after fork: leave all blocks where they are, start anew. */
void stack_forget(void);

#endif
