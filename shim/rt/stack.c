/* stack.c - memory for Gs: one arena per size, blocks never given back, reused LIFO.
 *
 * Block, addresses growing upwards:
 *      guard | stack ........ | static TLS | TCB | struct g
 * What a parked G touches (the end of its stack, TLS, TCB, struct g) lies together at the
 * top: two pages.  A class is a pair (stack size, guard size); its chunks are large unreserved
 * mappings, so a hundred thousand stacks cost a handful of VMAs; guard pages are markers in
 * the page table (Linux 6.13) and split none.  Without markers mprotect is used, for as
 * many stacks as a quarter of the kernel's limit of mappings (16,000 by default); further
 * stacks go unguarded, and one line on stderr says so.
 * Blocks stay mapped for the life of the process, since a timer or a stale pthread_t may
 * still name a G; their pages are given back when nobody has needed them for a while
 * (gtrim.c).
 */
#include "shim/rt/rt.h"

#include "shim/rt/stack.h"

enum { FIRST_CHUNK = 16, LAST_CHUNK = 4096, MAX_CLASSES = 256 };
static const size_t CHUNK_BYTES = (size_t)16 << 30; /* of address space, not of memory */

static struct stack_class classes[MAX_CLASSES]; /* rows const once counted */
static uint32_t nclasses;                       /* atomic [C1] */
static struct rt_lock class_lock;
static bool guard_warned;

/* Where chunks are.  A million threads with stacks of 8 MB need 512. */
enum { MAX_CHUNKS = 16384 };
static struct chunk {
    uintptr_t lo, hi;
} * chunks;              /* MAX_CHUNKS; atomic [C2] */
static uint32_t nchunks; /* atomic [C2] */

static size_t round_up(size_t v, size_t to)
{
    return (v + to - 1) / to * to;
}

/* Sizes are rounded so that a program with many different ones shares classes. */
static size_t class_size(size_t bytes)
{
    size_t page = os_page_size();
    size_t step = bytes <= STACK_EXACT ? page : bytes <= 4u << 20 ? 64 * 1024 : 1u << 20;
    return round_up(bytes, step);
}

static struct stack_class *class_lookup(size_t bytes, size_t guard, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (classes[i].stack_bytes == bytes && classes[i].guard_bytes == guard)
            return &classes[i];
    return NULL;
}

struct stack_class *stack_class_get(size_t stack_bytes, size_t guard_bytes,
                                    size_t top_bytes)
{
    struct rt_section s;
    size_t bytes = stack_bytes != 0 ? class_size(stack_bytes) : 0;
    size_t guard = round_up(guard_bytes, os_page_size());
    /* MO: acquire <- [C1] release below: the row is complete */
    struct stack_class *c = class_lookup(bytes, guard, ld_acq(&nclasses));
    if (likely(c != NULL))
        return c;
    rt_lock_in(&s, &class_lock);
    c = class_lookup(bytes, guard, nclasses);
    if (c == NULL && nclasses < MAX_CLASSES) {
        c = &classes[nclasses];
        *c = (struct stack_class){.stack_bytes = bytes, .guard_bytes = guard};
        c->block_bytes = guard + round_up(bytes + top_bytes, os_page_size());
        c->next_chunk = FIRST_CHUNK;
        st_rel(&nclasses, nclasses + 1); /* MO: release -> [C1] */
    }
    rt_unlock_in(&s, &class_lock);
    return c;
}

static bool note_chunk(uintptr_t lo, uintptr_t hi)
{
    struct rt_section s;
    rt_lock_in(&s, &class_lock);
    if (chunks == NULL)
        st_rel(&chunks, os_map(MAX_CHUNKS * sizeof *chunks)); /* MO: release -> [C2] */
    bool room = chunks != NULL && nchunks < MAX_CHUNKS;
    if (room) {
        chunks[nchunks] = (struct chunk){lo, hi};
        st_rel(&nchunks, nchunks + 1); /* MO: release -> [C2] */
    }
    rt_unlock_in(&s, &class_lock);
    return room;
}

bool stack_owns(const void *p)
{
    uint32_t n = ld_acq(&nchunks); /* MO: acquire <- [C2] */
    const struct chunk *at = ld_acq(&chunks);
    for (uint32_t i = 0; i < n; i++)
        if ((uintptr_t)p >= at[i].lo && (uintptr_t)p < at[i].hi)
            return true;
    return false;
}

static bool add_chunk(struct stack_class *c)
{
    size_t n = c->next_chunk;
    while (n > 1 && n * c->block_bytes > CHUNK_BYTES)
        n /= 2;
    char *p = os_map(n * c->block_bytes);
    if (p == NULL) {
        n = 1;
        p = os_map(c->block_bytes);
    }
    if (p == NULL)
        return false;
    if (!note_chunk((uintptr_t)p, (uintptr_t)p + n * c->block_bytes)) {
        os_unmap(p, n * c->block_bytes);
        return false;
    }
    c->bump = p;
    c->chunk_end = p + n * c->block_bytes;
    if (c->next_chunk < LAST_CHUNK)
        c->next_chunk *= 2;
    return true;
}

/* Without markers each guard costs two mappings; half of what the kernel allows is left for
 * everybody else, ourselves included. */
static void protect(char *p, size_t bytes)
{
    static size_t budget; /* atomic; 0: not asked yet */
    if (ld_rlx(&budget) == 0)
        st_rlx(&budget, os_mapping_limit() / 4 + 1);
    if (ld_rlx(&budget) > 1 && add_rlx(&budget, (size_t)-1) > 1 &&
        os_protect(p, bytes) == 0)
        return;
    st_rlx(&budget, 1);
    if (!guard_warned) {
        guard_warned = true;
        os_log(
            "the kernel's limit of memory mappings is near; further thread stacks have no "
            "guard page");
    }
}

char *stack_block_new(struct stack_class *c)
{
    struct rt_section s;
    rt_lock_in(&s, &c->lock);
    char *p = NULL;
    if (c->bump != c->chunk_end || add_chunk(c)) {
        p = c->bump;
        c->bump += c->block_bytes;
    }
    rt_unlock_in(&s, &c->lock);
    if (p != NULL && c->guard_bytes != 0 && os_guard(p, c->guard_bytes) != 0)
        protect(p, c->guard_bytes);
    return p;
}

char *stack_block_at(const struct stack_class *c, const struct g *gp)
{
    return (char *)round_up((uintptr_t)(gp + 1), os_page_size()) - c->block_bytes;
}

void stack_block_reguard(struct stack_class *c, char *block)
{
    if (c->guard_bytes != 0)
        os_guard(block, c->guard_bytes);
}

void stack_block_unguard(struct stack_class *c, char *block)
{
    if (c->guard_bytes != 0)
        os_unguard(block, c->guard_bytes);
}

struct g *stack_class_pop(struct stack_class *c)
{
    struct rt_section s;
    rt_lock_in(&s, &c->lock);
    struct g *gp = c->free;
    if (gp != NULL) {
        c->free = gp->link;
        c->nused -= gp->stack_used;
        if (--c->nfree < c->low)
            c->low = c->nfree;
    }
    rt_unlock_in(&s, &c->lock);
    return gp;
}

void stack_class_push(struct stack_class *c, struct g *gp)
{
    struct rt_section s;
    rt_lock_in(&s, &c->lock);
    gp->link = c->free;
    c->free = gp;
    c->nfree++;
    c->nused += gp->stack_used;
    rt_unlock_in(&s, &c->lock);
}

struct stack_class *stack_class_at(uint32_t i)
{
    return i < ld_acq(&nclasses) ? &classes[i] : NULL; /* MO: acquire <- [C1] */
}

void stack_classes_watch(void)
{
    struct rt_section s;
    struct stack_class *c;
    for (uint32_t i = 0; (c = stack_class_at(i)) != NULL; i++) {
        rt_lock_in(&s, &c->lock);
        c->low = c->nfree;
        rt_unlock_in(&s, &c->lock);
    }
}

uint32_t stack_class_unneeded(const struct stack_class *c, uint32_t keep)
{
    uint32_t low = ld_rlx(&c->low);
    return low > keep ? low - keep : 0;
}

void stack_forget(void)
{
    nclasses = nchunks = 0;
    chunks = NULL;
    class_lock.word = 0;
}
