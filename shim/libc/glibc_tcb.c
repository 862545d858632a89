/* glibc_tcb.c - identities: TCB and static TLS for a thread, made, reused, given up.
 *
 * A TCB goes on `_dl_stack_user`, the list of threads with stacks of their own.  That
 * makes dlopen initialise a new library's initial-exec TLS in every G, and makes dlclose
 * wait for a G inside the loader (gscope).  Only threads with user-given stacks are put
 * there by libc, and our kernel threads have none, so our lock serialises the list's
 * writers; readers walk it forward under libc's own lock, and an insertion becomes visible
 * by its last store.  A node that is taken off still leads on (rt/gtrim.c).
 *
 * What a thread made by libc has and a bare TCB lacks (nptl/pthread_create.c, start_thread;
 * nptl/allocatestack.c): self pointers, stack and pointer guard, multiple_threads, tid,
 * robust list head linked to itself, specific[0], setxid state, __resp, ctype tables, and
 * an rseq area that says "not registered" (sched_getcpu would believe CPU 0 otherwise).
 * The guard word of -fsplit-stack code (ARCH_TCB_SPLIT_GUARD) is tcbhead_t's __private_ss on
 * x86-64 (sysdeps/x86_64/nptl/tls.h): reserved for compilers, zero in a new thread, and never
 * read or written by libc itself.
 */
#include "shim/libc/glibc.h"

#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "arch/atomic.h"
#include "shim/os/os.h"

/* --- reset plan ------------------------------------------------------------------- */

/* What to copy into a TCB's static TLS for its next thread: the initial images of all
 * modules but libc.  A plan is immutable and owns its image bytes, so a library may be
 * closed while a thread is being created; a new one is made when the table of modules
 * has changed.  Old plans stay: a few hundred bytes for each time libraries with TLS
 * came or went. */
struct plan_row {
    size_t offset; /* block = tcb - offset */
    size_t image_at, image_size, total_size;
};

enum { PLAN_ROWS = 96, PLAN_BYTES = 1 << 16 };

struct plan {
    uint64_t signature;
    size_t max_modid;
    bool complete; /* false: too many or too large, take the slow way */
    size_t nrows, bytes;
    struct plan_row rows[PLAN_ROWS];
    char image[];
};

static struct plan *plan_now; /* atomic [L1] */
static uint32_t plan_lock;    /* spin: builders only */

static void spin_lock(uint32_t *l)
{
    while (xchg_acq(l, 1) != 0)
        os_yield();
}

static void spin_unlock(uint32_t *l)
{
    st_rel(l, 0);
}

/* The slot of module MODID: {generation, link map}. */
static char *slotinfo(size_t modid)
{
    char *list = *(char **)(glibc_fact.rtld_global +
                            glibc_off.rtld_global__dl_tls_dtv_slotinfo_list.offset);
    while (list != NULL) {
        size_t len = *(size_t *)(list + glibc_off.dtv_slotinfo_list_len.offset);
        if (modid < len)
            return list + glibc_off.dtv_slotinfo_list_slotinfo.offset +
                   modid * glibc_size.dtv_slotinfo;
        modid -= len;
        list = *(char **)(list + glibc_off.dtv_slotinfo_list_next.offset);
    }
    return NULL;
}

/* Changes whenever a module with TLS was loaded or unloaded.  A new module takes a free
 * slot at or below one past the highest, so looking that far is enough. */
static uint64_t signature_upto(size_t max_modid)
{
    uint64_t sig = 1;
    for (size_t i = 1; i <= max_modid + 1; i++) {
        char *slot = slotinfo(i);
        if (slot == NULL)
            break;
        uint64_t gen = ld_rlx((uint64_t *)(slot + glibc_off.dtv_slotinfo_gen.offset));
        uint64_t map = ld_rlx((uint64_t *)(slot + glibc_off.dtv_slotinfo_map.offset));
        sig = (sig * 31 + gen) * 31 + map;
    }
    return sig;
}

/* Offset of MODID's block below the TCB; 0 when its TLS is dynamic. */
static size_t static_offset(size_t modid)
{
    char *slot = slotinfo(modid);
    void *map =
        slot != NULL ? *(void **)(slot + glibc_off.dtv_slotinfo_map.offset) : NULL;
    if (map == NULL)
        return 0;
    ptrdiff_t o = *(ptrdiff_t *)at(map, glibc_off.link_map_l_tls_offset.offset);
    return o > 0 ? (size_t)o : 0; /* 0: none yet; -1: forced dynamic */
}

static int plan_module(struct dl_phdr_info *info, size_t n, void *arg)
{
    (void)n;
    struct plan *pl = arg;
    size_t modid = info->dlpi_tls_modid;
    if (modid == 0)
        return 0;
    if (modid > pl->max_modid)
        pl->max_modid = modid;
    size_t offset = static_offset(modid);
    if (offset == 0 || modid == glibc_fact.libc_modid)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_TLS)
            continue;
        if (pl->nrows == PLAN_ROWS || pl->bytes + ph->p_filesz > PLAN_BYTES) {
            pl->complete = false;
            return 1;
        }
        struct plan_row *r = &pl->rows[pl->nrows++];
        r->offset = offset;
        r->image_at = pl->bytes;
        r->image_size = ph->p_filesz;
        r->total_size = ph->p_memsz;
        memcpy(pl->image + pl->bytes, (void *)(info->dlpi_addr + ph->p_vaddr),
               ph->p_filesz);
        pl->bytes += ph->p_filesz;
    }
    return 0;
}

static struct plan *plan_build(void)
{
    struct plan *pl = os_map(sizeof *pl + PLAN_BYTES);
    if (pl == NULL)
        return NULL;
    pl->complete = true;
    uint64_t before;
    do {
        pl->nrows = pl->bytes = 0;
        before = signature_upto(pl->max_modid);
        dl_iterate_phdr(plan_module, pl);
        pl->signature = signature_upto(pl->max_modid);
    } while (before != pl->signature);
    return pl;
}

static struct plan *plan_get(void)
{
    struct plan *pl =
        ld_acq(&plan_now); /* MO: acquire <- [L1] release below: its bytes */
    if (likely(pl != NULL && pl->signature == signature_upto(pl->max_modid)))
        return pl;
    struct plan *fresh = plan_build();
    if (fresh == NULL)
        return pl;
    spin_lock(&plan_lock);
    st_rel(&plan_now, fresh); /* MO: release -> [L1] */
    spin_unlock(&plan_lock);
    return fresh;
}

/* --- making and reusing a TCB ----------------------------------------------------- */

static uint32_t list_lock; /* writers of _dl_stack_user */

void libc_tcb_list(void *tcb)
{
    void *node = at(tcb, glibc_off.pthread_list.offset);
    void *head = list_head();
    uintptr_t next = glibc_off.list_t_next.offset, prev = glibc_off.list_t_prev.offset;
    spin_lock(&list_lock);
    void *first = *ptr_at(head, next);
    *ptr_at(node, next) = first;
    *ptr_at(node, prev) = head;
    *ptr_at(first, prev) = node;
    st_rel(ptr_at(head, next), node); /* MO: release -> libc's walkers: node complete */
    spin_unlock(&list_lock);
}

/* Off whichever list it is on. */
void libc_tcb_unlist(void *tcb)
{
    void *node = at(tcb, glibc_off.pthread_list.offset);
    uintptr_t next = glibc_off.list_t_next.offset, prev = glibc_off.list_t_prev.offset;
    spin_lock(&list_lock);
    void *n = *ptr_at(node, next), *p = *ptr_at(node, prev);
    st_rel(ptr_at(p, next), n); /* MO: release -> libc's walkers */
    *ptr_at(n, prev) = p;
    spin_unlock(&list_lock);
}

/* --- what libc keeps per thread ------------------------------------------------------- */

/* The TLS of libc's own module, malloc's cache above all, of an identity that was given up:
 * the next one to be made begins with it.  So nothing in a cache is lost, as it would be if
 * the block were forgotten; only a thread that ends natively can free one. */
struct kept {
    struct kept *next;
    uintptr_t lo, hi; /* where the identity was */
    uintptr_t block[];
};
enum { KEPT_CHUNK = 64 * 1024 };
static struct kept *kept, *kept_unused; /* atomic hints; under list_lock */

static char *libc_block(void *tcb)
{
    return (char *)tcb - static_offset(glibc_fact.libc_modid);
}

static struct kept *kept_pop(struct kept **list)
{
    if (likely(ld_rlx(list) == NULL))
        return NULL;
    spin_lock(&list_lock);
    struct kept *k = *list;
    if (k != NULL)
        *list = k->next;
    spin_unlock(&list_lock);
    return k;
}

static void kept_push(struct kept **list, struct kept *k)
{
    spin_lock(&list_lock);
    k->next = *list;
    *list = k;
    spin_unlock(&list_lock);
}

/* Memory of our own: nothing here may call malloc. */
static struct kept *kept_new(void)
{
    size_t bytes = (sizeof(struct kept) + glibc_fact.libc_tls_size + 15) & ~(size_t)15;
    struct kept *k = kept_pop(&kept_unused);
    if (k != NULL)
        return k;
    char *chunk = os_map(KEPT_CHUNK);
    if (chunk == NULL)
        return NULL;
    for (size_t i = bytes; i + bytes <= KEPT_CHUNK; i += bytes)
        kept_push(&kept_unused, (struct kept *)(void *)(chunk + i));
    return (struct kept *)(void *)chunk;
}

static void errors_clear(void *tcb)
{
    *(int *)((char *)tcb + glibc_fact.errno_tpoff) = 0;
    *(int *)((char *)tcb + glibc_fact.h_errno_tpoff) = 0;
}

/* What points into the old identity is to point to the same place of the new one. */
static void kept_take(void *tcb)
{
    struct kept *k = kept_pop(&kept);
    if (likely(k == NULL))
        return;
    uintptr_t lo = (uintptr_t)tcb - libc_layout.tls_size;
    for (size_t i = 0; i < glibc_fact.libc_tls_size / sizeof *k->block; i++)
        if (k->block[i] >= k->lo && k->block[i] < k->hi)
            k->block[i] += lo - k->lo;
    memcpy(libc_block(tcb), k->block, glibc_fact.libc_tls_size);
    errors_clear(tcb);
    kept_push(&kept_unused, k);
}

bool libc_tcb_drop(void *tcb)
{
    struct kept *k = kept_new();
    if (k == NULL)
        return false;
    k->lo = (uintptr_t)tcb - libc_layout.tls_size;
    k->hi = (uintptr_t)tcb + libc_layout.tcb_size;
    memcpy(k->block, libc_block(tcb), glibc_fact.libc_tls_size);
    glibc_fact.deallocate_tls(tcb, false);
    kept_push(&kept, k);
    return true;
}

void glibc_robust_init(void *tcb)
{
    void *head = at(tcb, glibc_fact.robust_offset);
    *ptr_at(tcb, glibc_fact.robust_offset - 8) = head; /* robust_prev */
    *ptr_at(head, 0) = head;
    *(long *)at(head, 8) = glibc_fact.robust_futex_offset;
}

void glibc_rseq_unregistered(void *tcb)
{
    if (glibc_fact.rseq_offset != 0)
        *(int32_t *)at(tcb, (uintptr_t)glibc_fact.rseq_offset + 4) = -2; /* cpu_id */
}

int libc_tcb_make(void *tcb, uint32_t tid)
{
    char *self = (char *)arch_tp();
    if (glibc_fact.allocate_tls(tcb) == NULL)
        return ENOMEM;
    kept_take(tcb);
    *ptr_at(tcb, 0) = tcb;
    *ptr_at(tcb, ARCH_TCB_SELF) = tcb;
    memcpy(at(tcb, ARCH_TCB_STACK_GUARD), self + ARCH_TCB_STACK_GUARD, sizeof(long));
    memcpy(at(tcb, ARCH_TCB_POINTER_GUARD), self + ARCH_TCB_POINTER_GUARD, sizeof(long));
    memcpy(at(tcb, ARCH_TCB_FEATURE_1), self + ARCH_TCB_FEATURE_1, sizeof(int));
    *(int *)at(tcb, ARCH_TCB_MULTIPLE_THREADS) = 1;
    *ptr_at(tcb, glibc_off.pthread_specific.offset) =
        at(tcb, glibc_fact.specific_1st_offset);
    glibc_robust_init(tcb);
    glibc_rseq_unregistered(tcb);
    *(void **)((char *)tcb + glibc_fact.resp_tpoff) = at(tcb, glibc_fact.res_offset);
    *libc_tid_word(tcb) = tid;
    libc_tcb_list(tcb);
    return 0;
}

/* Does this TCB own dynamically allocated TLS blocks? */
static bool has_dynamic_tls(void *tcb)
{
    size_t entry = glibc_off.dtv_dtv.bits / 8;
    char *dtv = *(char **)at(tcb, glibc_off.pthread_dtvp.offset);
    size_t len = *(size_t *)(dtv - entry + glibc_off.dtv_t_counter.offset);
    char *lo = (char *)tcb - libc_layout.tls_size;
    for (size_t i = 1; i <= len; i++) {
        char *val = *(char **)(dtv + i * entry + glibc_off.dtv_t_pointer_val.offset);
        if (val != NULL && val != (char *)-1 && !(val >= lo && val < (char *)tcb))
            return true;
    }
    return false;
}

/* The slow way: let libc free all dynamic blocks and lay the TLS out anew, and carry its
 * own module's block over, so that its thread cache is not lost. */
static int renew_tls(void *tcb)
{
    char *block = libc_block(tcb);
    size_t bytes = glibc_fact.libc_tls_size;
    char *keep = malloc(bytes);
    if (keep == NULL)
        return ENOMEM;
    memcpy(keep, block, bytes);
    glibc_fact.deallocate_tls(tcb, false);
    int err = glibc_fact.allocate_tls(tcb) == NULL ? ENOMEM : 0;
    memcpy(block, keep, bytes);
    free(keep);
    return err;
}

static void apply_plan(void *tcb, const struct plan *pl)
{
    for (size_t i = 0; i < pl->nrows; i++) {
        const struct plan_row *r = &pl->rows[i];
        char *block = (char *)tcb - r->offset;
        memcpy(block, pl->image + r->image_at, r->image_size);
        memset(block + r->image_size, 0, r->total_size - r->image_size);
    }
}

int libc_tcb_reuse(void *tcb, uint32_t tid)
{
    const struct plan *pl = plan_get();
    if (unlikely(pl == NULL || !pl->complete || has_dynamic_tls(tcb))) {
        int err = renew_tls(tcb);
        if (err != 0)
            return err;
    } else {
        apply_plan(tcb, pl);
    }
    *glibc_cancel_word(tcb) = 0;
    errors_clear(tcb);
    *libc_tid_word(tcb) = tid;
    return 0;
}

void libc_list_reset(void *tcb)
{
    /* fork left this thread alone on one of libc's two lists; which one depends on a flag
     * that no descriptor tells.  Take it off there and make it the only user thread. */
    list_lock = plan_lock = 0;
    libc_tcb_unlist(tcb);
    libc_tcb_list(tcb);
}
