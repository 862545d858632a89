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
    uint32_t nfree, low; /* how many, and the least since stack_classes_watch; hints */
    uint32_t nused;      /* of them with stack_used */
    uint32_t cold;       /* list of cold Gs, see gtable.h; a hint */
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
/* stack_block_at - the block of this class that ends with GP. */
char *stack_block_at(const struct stack_class *c, const struct g *gp);
/* stack_block_unguard, stack_block_reguard - take the guard of a block away and install it
 * again, where it is a marker: one survives that its pages are discarded, and keeps their page
 * table. */
void stack_block_unguard(struct stack_class *c, char *block);
void stack_block_reguard(struct stack_class *c, char *block);
/* stack_owns - is P in a block of some class? */
bool stack_owns(const void *p);
/* stack_class_at - the I-th class, NULL after the last. */
struct stack_class *stack_class_at(uint32_t i);
/* stack_classes_watch - begin to watch how few free Gs a class ever has;
 * stack_class_unneeded - how many of them, beyond KEEP, were there all the time. */
void stack_classes_watch(void);
uint32_t stack_class_unneeded(const struct stack_class *c, uint32_t keep);
/* Finished Gs of the class, last in first out. */
struct g *stack_class_pop(struct stack_class *c);
void stack_class_push(struct stack_class *c, struct g *gp);
/* stack_forget - after fork: leave all blocks where they are, start anew. */
void stack_forget(void);

#endif
