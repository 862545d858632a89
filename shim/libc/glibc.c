/* glibc.c - libc.h on the GNU C library, 2.34 to 2.43.  With glibc_probe.c, which
 * finds the facts and checks them, the only place that knows anything private.
 *
 * A TCB goes on `_dl_stack_user`, the list of threads with stacks of their own.  That
 * makes dlopen initialise a new library's initial-exec TLS in every G, and makes dlclose
 * wait for a G inside the loader (gscope).  Only threads with user-given stacks are put
 * there by libc, and our kernel threads have none, so our lock serialises the list's
 * writers; readers walk it forward under libc's own lock, and an insertion becomes visible
 * by its last store.  Nothing is ever taken glibc_off.
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
#include <locale.h>
#include <resolv.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#undef p_type /* resolv.h's old name for a printing function, in the way of ElfW(Phdr) */

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

static void list_insert(void *tcb)
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

static void robust_init(void *tcb)
{
    void *head = at(tcb, glibc_fact.robust_offset);
    *ptr_at(tcb, glibc_fact.robust_offset - 8) = head; /* robust_prev */
    *ptr_at(head, 0) = head;
    *(long *)at(head, 8) = glibc_fact.robust_futex_offset;
}

static void rseq_unregistered(void *tcb)
{
    if (glibc_fact.rseq_offset != 0)
        *(int32_t *)at(tcb, (uintptr_t)glibc_fact.rseq_offset + 4) = -2; /* cpu_id */
}

int libc_tcb_make(void *tcb, uint32_t tid)
{
    char *self = (char *)arch_tp();
    if (glibc_fact.allocate_tls(tcb) == NULL)
        return ENOMEM;
    *ptr_at(tcb, 0) = tcb;
    *ptr_at(tcb, ARCH_TCB_SELF) = tcb;
    memcpy(at(tcb, ARCH_TCB_STACK_GUARD), self + ARCH_TCB_STACK_GUARD, sizeof(long));
    memcpy(at(tcb, ARCH_TCB_POINTER_GUARD), self + ARCH_TCB_POINTER_GUARD, sizeof(long));
    memcpy(at(tcb, ARCH_TCB_FEATURE_1), self + ARCH_TCB_FEATURE_1, sizeof(int));
    *(int *)at(tcb, ARCH_TCB_MULTIPLE_THREADS) = 1;
    *ptr_at(tcb, glibc_off.pthread_specific.offset) =
        at(tcb, glibc_fact.specific_1st_offset);
    robust_init(tcb);
    rseq_unregistered(tcb);
    *(void **)((char *)tcb + glibc_fact.resp_tpoff) = at(tcb, glibc_fact.res_offset);
    *libc_tid_word(tcb) = tid;
    list_insert(tcb);
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
    char *block = (char *)tcb - static_offset(glibc_fact.libc_modid);
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

/* Bits of cancelhandling, nptl/descr.h. */
enum {
    CANCEL_DISABLED = 1,
    CANCEL_ASYNC = 2,
    CANCELING = 4,
    CANCELED = 8,
    EXITING = 16,
    TERMINATED = 32,
    SETXID = 64,
};

static uint32_t *cancel_word(void *tcb)
{
    return at(tcb, glibc_off.pthread_cancelhandling.offset);
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
    *cancel_word(tcb) = 0;
    *(int *)((char *)tcb + glibc_fact.errno_tpoff) = 0;
    *(int *)((char *)tcb + glibc_fact.h_errno_tpoff) = 0;
    *libc_tid_word(tcb) = tid;
    return 0;
}

bool libc_cancel_request(void *tcb)
{
    return (or_ar(cancel_word(tcb), CANCELING | CANCELED) & CANCELED) == 0;
}

const uint32_t libc_cancel_relevant = CANCEL_DISABLED | CANCELED | EXITING | TERMINATED;
const uint32_t libc_cancel_set = CANCELED;

const uint32_t *libc_cancel_word(void *tcb)
{
    return cancel_word(tcb);
}

bool libc_cancel_requested(void *tcb)
{
    return (ld_rlx(cancel_word(tcb)) & (CANCELING | CANCELED | EXITING | TERMINATED)) !=
           0;
}

bool libc_setxid_marked(void *tcb)
{
    return (ld_rlx(cancel_word(tcb)) & SETXID) != 0;
}

bool libc_cancel_pending(void *tcb)
{
    return (ld_rlx(cancel_word(tcb)) & libc_cancel_relevant) == libc_cancel_set;
}

bool libc_cancel_at_once(void *tcb)
{
    return libc_cancel_pending(tcb) && (ld_rlx(cancel_word(tcb)) & CANCEL_ASYNC) != 0;
}

bool libc_cancel_async(void *tcb)
{
    return (ld_rlx(cancel_word(tcb)) & (CANCEL_DISABLED | CANCEL_ASYNC)) == CANCEL_ASYNC;
}

/* --- life of a thread ------------------------------------------------------------- */

void libc_thread_begin(void)
{
    glibc_fact.ctype_init();
}

/* One pass over the keys; true when a destructor may have set data anew. */
static bool tsd_pass(void *tcb)
{
    bool ran = false;
    size_t first = glibc_fact.key_blocks, second = glibc_fact.keys_per_block;
    size_t idx = 0;
    for (size_t i = 0; i < first; i++, idx += second) {
        char *block =
            *ptr_at(tcb, glibc_off.pthread_specific.offset + i * sizeof(void *));
        if (block == NULL)
            continue;
        for (size_t j = 0; j < second; j++, block += glibc_size.pthread_key_data) {
            void **data = ptr_at(block, glibc_off.pthread_key_data_data.offset);
            if (likely(*data == NULL))
                continue;
            void *value = *data;
            *data = NULL;
            char *key = glibc_fact.keys + (idx + j) * glibc_size.pthread_key_struct;
            uintptr_t seq = *(uintptr_t *)(block + glibc_off.pthread_key_data_seq.offset);
            void (*destr)(void *) =
                *(void (**)(void *))(key + glibc_off.pthread_key_struct_destr.offset);
            if (seq == *(uintptr_t *)(key + glibc_off.pthread_key_struct_seq.offset) &&
                destr != NULL) {
                destr(value);
                ran = true;
            }
        }
    }
    return ran;
}

/* As __nptl_deallocate_tsd, which is not exported. */
static void tsd_destroy(void *tcb)
{
    char *used = glibc_fact.specific_used != 0 ? at(tcb, glibc_fact.specific_used) : NULL;
    if (likely(used != NULL && *used == 0))
        return;
    for (int i = 0; i < PTHREAD_DESTRUCTOR_ITERATIONS && tsd_pass(tcb); i++)
        ;
    for (size_t i = 1; i < glibc_fact.key_blocks; i++) {
        void **block =
            ptr_at(tcb, glibc_off.pthread_specific.offset + i * sizeof(void *));
        if (*block != NULL) {
            free(*block);
            *block = NULL;
        }
    }
    memset(at(tcb, glibc_fact.specific_1st_offset), 0,
           glibc_size.pthread_key_data_level2);
    if (used != NULL)
        *used = 0;
}

static void thread_finish(void)
{
    void *tcb = (void *)arch_tp();
    glibc_fact.call_tls_dtors();
    tsd_destroy(tcb);
    uselocale(LC_GLOBAL_LOCALE);
    struct __res_state *res =
        *(struct __res_state **)((char *)tcb + glibc_fact.resp_tpoff);
    if (unlikely(res == at(tcb, glibc_fact.res_offset) &&
                 (res->options & RES_INIT) != 0)) {
        res_nclose(res);
        memset(res, 0, sizeof *res);
    }
}

bool libc_thread_run(void (*body)(void *), void *arg)
{
    /* As start_thread does: glibc's unwinder, driven by pthread_exit and cancellation, jumps
     * here once every frame above has been cleaned up; again if a destructor exits. */
    __pthread_unwind_buf_t buf;
    volatile bool returned = false;
    if (__sigsetjmp_cancel(buf.__cancel_jmp_buf, 0) == 0) {
        __pthread_register_cancel(&buf);
        body(arg);
        returned = true;
    }
    thread_finish();
    __pthread_unregister_cancel(&buf);
    return returned;
}

bool libc_unwound(void *tcb)
{
    return (ld_rlx(cancel_word(tcb)) & EXITING) != 0;
}

bool libc_cancel_frame(bool async, void (*body)(void *), void *arg)
{
    __pthread_unwind_buf_t buf;
    volatile bool returned = false;
    st_rlx(cancel_word((void *)arch_tp()), 0); /* a request that came too late */
    if (__sigsetjmp_cancel(buf.__cancel_jmp_buf, 0) == 0) {
        __pthread_register_cancel(&buf);
        if (async)
            st_rlx(cancel_word((void *)arch_tp()), CANCEL_ASYNC);
        body(arg);
        st_rlx(cancel_word((void *)arch_tp()), 0);
        returned = true;
    }
    __pthread_unregister_cancel(&buf);
    st_rlx(cancel_word((void *)arch_tp()), 0);
    return returned;
}

void libc_main_finish(void)
{
    tsd_destroy((void *)arch_tp());
}

/* --- main thread ------------------------------------------------------------------ */

bool libc_main_exit_hook(void *main_tcb, void (*fn)(void))
{
    /* Buffers are chained by their first private word, oldest last: the oldest is the one
     * in __libc_start_call_main.  Its stack pointer stays, so the unwinder still stops at
     * that frame; only the place to go on from changes. */
    __pthread_unwind_buf_t *buf = *ptr_at(main_tcb, glibc_fact.cleanup_offset);
    if (buf == NULL)
        return false;
    while (buf->__pad[0] != NULL)
        buf = buf->__pad[0];
    uintptr_t guard = *(uintptr_t *)at(main_tcb, ARCH_TCB_POINTER_GUARD);
    long *regs = (long *)(void *)buf->__cancel_jmp_buf[0].__cancel_jmp_buf;
    regs[ARCH_JB_PC] = (long)arch_mangle((uintptr_t)fn, guard);
    return true;
}

/* --- kernel registrations --------------------------------------------------------- */

/* Signature before an abort handler, as glibc registers it (sysdeps/.../rseq.h). */
enum { RSEQ_SIGNATURE = 0x53053053, RSEQ_UNREGISTER = 1 };

static void rseq_move(void *tcb, void *old_tcb)
{
    if (glibc_fact.rseq_offset == 0)
        return;
    /* The registered length is not published before 2.40: try the known ones. */
    static const uint32_t lens[] = {32, 64, 28, 20};
    void *old = at(old_tcb, (uintptr_t)glibc_fact.rseq_offset);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        if (os_rseq(old, lens[i], RSEQ_UNREGISTER, RSEQ_SIGNATURE) == 0) {
            glibc_fact.rseq_len = lens[i];
            rseq_unregistered(old_tcb);
            break;
        }
    }
    if (glibc_fact.rseq_len != 0)
        os_rseq(at(tcb, (uintptr_t)glibc_fact.rseq_offset), glibc_fact.rseq_len, 0,
                RSEQ_SIGNATURE);
}

static void *robust_next(void *node)
{
    return (void *)((uintptr_t)*ptr_at(node, 0) & ~(uintptr_t)GLIBC_ROBUST_PI);
}

/* Robust mutexes that the main thread holds when the first thread is made: the kernel must
 * find them on the list that is registered from now on.  A node is the address of its link to
 * the next; the link to the one before lies 8 bytes below. */
static void robust_move(void *tcb, void *old_tcb)
{
    void *head = at(tcb, glibc_fact.robust_offset);
    void *old = at(old_tcb, glibc_fact.robust_offset), *last = old;
    robust_init(tcb);
    if (robust_next(old) == old)
        return;
    *ptr_at(head, 0) = *ptr_at(old, 0);
    *(void **)((char *)robust_next(old) - 8) = head;
    while (robust_next(last) != old)
        last = robust_next(last);
    uintptr_t pi = (uintptr_t)*ptr_at(last, 0) & GLIBC_ROBUST_PI;
    *ptr_at(last, 0) = (void *)((uintptr_t)head | pi);
    *ptr_at(tcb, glibc_fact.robust_offset - 8) = last;
    robust_init(old_tcb);
}

bool libc_robust_held(void *tcb)
{
    void *head = at(tcb, glibc_fact.robust_offset);
    return robust_next(head) != head;
}

void libc_kernel_adopt(void *tcb, void *old_tcb)
{
    robust_move(tcb, old_tcb);
    os_robust_list_set(at(tcb, glibc_fact.robust_offset), glibc_fact.robust_len);
    os_set_tid_address((int *)libc_tid_word(tcb));
    rseq_move(tcb, old_tcb);
}

void libc_kernel_move(void *tcb, void *old_tcb)
{
    /* fork itself registered the robust list and the clear-tid word of the caller's TCB. */
    rseq_move(tcb, old_tcb);
}

void libc_list_reset(void *tcb)
{
    /* fork left this thread alone on one of libc's two lists; which one depends on a flag
     * that no descriptor tells.  Take it off there and make it the only user thread. */
    void *node = at(tcb, glibc_off.pthread_list.offset);
    uintptr_t next = glibc_off.list_t_next.offset, prev = glibc_off.list_t_prev.offset;
    void *n = *ptr_at(node, next), *p = *ptr_at(node, prev);
    *ptr_at(p, next) = n;
    *ptr_at(n, prev) = p;
    list_lock = plan_lock = 0;
    list_insert(tcb);
}
