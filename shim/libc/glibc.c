/* glibc.c - libc.h on the GNU C library, 2.34 to 2.43.  All private knowledge is here.
 *
 * Where each fact comes from, and how it is checked at start
 *   Entry points `_dl_allocate_tls`, `_dl_deallocate_tls`, `_dl_get_tls_static_info`
 *   (ld.so), `__call_tls_dtors`, `__ctype_init`, `__resp` (libc.so.6): exported with
 *   version GLIBC_PRIVATE, found by dlvsym; a missing one ends the probe.
 *   Field offsets: libc.so.6 exports the descriptors `_thread_db_*` for the debugger
 *   library (nptl_db/structs.def): three words {bits, count, offset}, or one word for a
 *   size.  They are data of the libc that runs, so nothing is compiled in.  Checked: our
 *   own tid and our own list node are found through them.
 *   Offsets without descriptor are measured: robust_head by get_robust_list, the first
 *   block of thread-specific data by specific[0] of the main thread, cleanup_jmp_buf by
 *   registering a buffer and looking where its address appeared, the resolver state by
 *   reading __resp on a thread that libc made, errno by __errno_location, the flag that
 *   thread-specific data was set by setting some.
 *   `list_t`, dtv entries {value, pointer to free} and the dtv's length at index -1:
 *   through descriptors; read only.
 *
 * A TCB goes on `_dl_stack_user`, the list of threads with stacks of their own.  That
 * makes dlopen initialise a new library's initial-exec TLS in every G, and makes dlclose
 * wait for a G inside the loader (gscope).  Only threads with user-given stacks are put
 * there by libc, and our kernel threads have none, so our lock serialises the list's
 * writers; readers walk it forward under libc's own lock, and an insertion becomes visible
 * by its last store.  Nothing is ever taken off.
 *
 * What a thread made by libc has and a bare TCB lacks (nptl/pthread_create.c, start_thread;
 * nptl/allocatestack.c): self pointers, stack and pointer guard, multiple_threads, tid,
 * robust list head linked to itself, specific[0], setxid state, __resp, ctype tables, and
 * an rseq area that says "not registered" (sched_getcpu would believe CPU 0 otherwise).
 */
#include "shim/libc/libc.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <link.h>
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <resolv.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ctype.h>

#undef p_type /* resolv.h's old name for a printing function, in the way of ElfW(Phdr) */

#include "arch/arch.h"
#include "arch/atomic.h"
#include "shim/libc/real.h"
#include "shim/os/os.h"

struct libc_layout libc_layout;

/* --- facts, const after the probe ------------------------------------------------- */

struct field {
    uint32_t bits, count, offset; /* as in nptl_db: DESC(...) */
};

#define FIELDS(X)                                                                          \
    X(pthread_tid)                                                                         \
    X(pthread_list)                                                                        \
    X(pthread_cancelhandling)                                                              \
    X(pthread_specific)                                                                    \
    X(pthread_dtvp)                                                                        \
    X(pthread_key_data_seq)                                                                \
    X(pthread_key_data_data)                                                               \
    X(pthread_key_struct_seq)                                                              \
    X(pthread_key_struct_destr)                                                            \
    X(rtld_global__dl_stack_user)                                                          \
    X(rtld_global__dl_tls_dtv_slotinfo_list)                                               \
    X(dtv_slotinfo_list_len)                                                               \
    X(dtv_slotinfo_list_next)                                                              \
    X(dtv_slotinfo_list_slotinfo)                                                          \
    X(dtv_slotinfo_gen)                                                                    \
    X(dtv_slotinfo_map)                                                                    \
    X(dtv_dtv)                                                                             \
    X(dtv_t_pointer_val)                                                                   \
    X(dtv_t_counter)                                                                       \
    X(link_map_l_tls_offset)                                                               \
    X(list_t_next)                                                                         \
    X(list_t_prev)

#define SIZES(X)                                                                           \
    X(pthread)                                                                             \
    X(pthread_key_data)                                                                    \
    X(pthread_key_struct)                                                                  \
    X(pthread_key_data_level2)                                                             \
    X(dtv_slotinfo)

static struct {
#define X(name) struct field name;
    FIELDS(X)
#undef X
} off;

static struct {
#define X(name) uint32_t name;
    SIZES(X)
#undef X
} size;

static struct {
    void *(*allocate_tls)(void *);
    void (*deallocate_tls)(void *, bool);
    void (*get_tls_static_info)(size_t *, size_t *);
    void (*call_tls_dtors)(void);
    void (*ctype_init)(void);
    char *rtld_global;
    char *keys;            /* __pthread_keys */
    intptr_t resp_tpoff;   /* of the variable __resp, from the thread pointer */
    intptr_t errno_tpoff;
    intptr_t h_errno_tpoff;
    uintptr_t res_offset;  /* of the resolver state in a TCB */
    uintptr_t robust_offset;
    uintptr_t specific_1st_offset;
    size_t key_blocks, keys_per_block; /* thread-specific data has two levels */
    uintptr_t specific_used;  /* offset of the flag "some was set", 0: not known */
    uintptr_t cleanup_offset; /* of cleanup_jmp_buf */
    size_t robust_len;
    long robust_futex_offset;
    intptr_t rseq_offset;  /* 0: the library registers none */
    uint32_t rseq_len;
    size_t libc_modid;     /* TLS module of libc.so.6 and the size of its block */
    size_t libc_tls_size;
} fact;

extern void __pthread_register_cancel(__pthread_unwind_buf_t *);
extern void __pthread_unregister_cancel(__pthread_unwind_buf_t *);

static inline void *at(void *base, uintptr_t offset)
{
    return (char *)base + offset;
}

static inline void **ptr_at(void *base, uintptr_t offset)
{
    return (void **)((char *)base + offset);
}

/* --- probe ------------------------------------------------------------------------ */

static void *private_symbol(const char *name)
{
    return dlvsym(RTLD_DEFAULT, name, "GLIBC_PRIVATE");
}

static const char *probe_version(void)
{
    const char *v = gnu_get_libc_version();
    long major = strtol(v, NULL, 10);
    const char *dot = strchr(v, '.');
    long minor = dot != NULL ? strtol(dot + 1, NULL, 10) : 0;
    if (major != 2 || minor < 34)
        return "glibc older than 2.34 keeps threads in a library of its own";
    return NULL;
}

static const char *probe_symbols(void)
{
    fact.allocate_tls = private_symbol("_dl_allocate_tls");
    fact.deallocate_tls = private_symbol("_dl_deallocate_tls");
    fact.get_tls_static_info = private_symbol("_dl_get_tls_static_info");
    fact.call_tls_dtors = private_symbol("__call_tls_dtors");
    fact.ctype_init = private_symbol("__ctype_init");
    fact.rtld_global = private_symbol("_rtld_global");
    fact.keys = private_symbol("__pthread_keys");
    char *resp = private_symbol("__resp");
    if (!fact.allocate_tls || !fact.deallocate_tls || !fact.get_tls_static_info ||
        !fact.call_tls_dtors || !fact.ctype_init || !fact.rtld_global || !fact.keys || !resp)
        return "a private entry point of glibc is missing";
    fact.resp_tpoff = (intptr_t)resp - (intptr_t)arch_tp();
    fact.errno_tpoff = (intptr_t)__errno_location() - (intptr_t)arch_tp();
    fact.h_errno_tpoff = (intptr_t)__h_errno_location() - (intptr_t)arch_tp();
    ptrdiff_t *rseq_offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    unsigned *rseq_size = dlsym(RTLD_DEFAULT, "__rseq_size");
    if (rseq_offset != NULL && rseq_size != NULL && *rseq_size != 0)
        fact.rseq_offset = *rseq_offset;
    return NULL;
}

static const char *probe_descriptors(void)
{
    const void *p;
#define X(name)                                                                            \
    p = private_symbol("_thread_db_" #name);                                               \
    if (p == NULL)                                                                         \
        return "glibc does not describe " #name;                                           \
    memcpy(&off.name, p, sizeof off.name);
    FIELDS(X)
#undef X
#define X(name)                                                                            \
    p = private_symbol("_thread_db_sizeof_" #name);                                        \
    if (p == NULL)                                                                         \
        return "glibc does not describe the size of " #name;                               \
    memcpy(&size.name, p, sizeof size.name);
    SIZES(X)
#undef X
    if (off.pthread_tid.offset + 4 > size.pthread || off.pthread_tid.bits != 32 ||
        off.pthread_list.offset + 16 > size.pthread || size.pthread > 65536 ||
        off.pthread_dtvp.offset + 8 > size.pthread || off.pthread_specific.bits == 0 ||
        off.dtv_dtv.bits % 8 != 0 || off.dtv_dtv.bits == 0 || size.dtv_slotinfo == 0)
        return "glibc describes a thread that makes no sense";
    return NULL;
}

static void *list_head(void)
{
    return fact.rtld_global + off.rtld_global__dl_stack_user.offset;
}

static bool on_list(void *tcb)
{
    void *head = list_head(), *node = head;
    for (int i = 0; i < 100000; i++) {
        node = *ptr_at(node, off.list_t_next.offset);
        if (node == NULL || node == head)
            return false;
        if (node == at(tcb, off.pthread_list.offset))
            return true;
    }
    return false;
}

/* Where in the TCB does the address of a registered cleanup buffer appear? */
static bool probe_cleanup(void *tcb)
{
    static __pthread_unwind_buf_t buf;
    size_t hits = 0;
    __pthread_register_cancel(&buf);
    for (size_t o = 0; o + sizeof(void *) <= size.pthread; o += sizeof(void *)) {
        if (*ptr_at(tcb, o) == &buf) {
            fact.cleanup_offset = o;
            hits++;
        }
    }
    __pthread_unregister_cancel(&buf);
    return hits == 1;
}

static bool probe_mangling(void *tcb)
{
    jmp_buf jb;
    long sp_here;
    if (_setjmp(jb) != 0)
        return false;
    uintptr_t guard = *(uintptr_t *)at(tcb, ARCH_TCB_POINTER_GUARD);
    const long *regs = (const long *)(const void *)jb;
    uintptr_t sp = arch_demangle((uintptr_t)regs[ARCH_JB_SP], guard);
    uintptr_t pc = arch_demangle((uintptr_t)regs[ARCH_JB_PC], guard);
    uintptr_t here = (uintptr_t)&probe_mangling;
    return sp - (uintptr_t)&sp_here + 65536 < 131072 && pc - here < 4096;
}

static const char *probe_fields(void *tcb, bool on_main)
{
    uintptr_t base = (uintptr_t)tcb;
    if (*(uintptr_t *)at(tcb, ARCH_TCB_SELF) != base)
        return "the TCB does not name itself";
    if (*(int *)at(tcb, off.pthread_tid.offset) != os_gettid())
        return "the tid is not where glibc says";
    if (on_main && !on_list(tcb))
        return "the thread is not on glibc's list";
    void *head;
    if (os_robust_list_get(&head, &fact.robust_len) != 0)
        return "the kernel tells no robust list";
    fact.robust_offset = (uintptr_t)head - base;
    if (fact.robust_offset + fact.robust_len > size.pthread || fact.robust_offset < 8 ||
        *ptr_at(tcb, fact.robust_offset - 8) != head)
        return "the robust list is not in the TCB";
    fact.robust_futex_offset = *(long *)at(head, 8);
    fact.specific_1st_offset = (uintptr_t)*ptr_at(tcb, off.pthread_specific.offset) - base;
    if (fact.specific_1st_offset >= size.pthread)
        return "thread-specific data is not in the TCB";
    fact.keys_per_block = size.pthread_key_data_level2 / size.pthread_key_data;
    if (fact.keys_per_block == 0 || PTHREAD_KEYS_MAX % fact.keys_per_block != 0)
        return "thread-specific data is laid out in an unknown way";
    fact.key_blocks = PTHREAD_KEYS_MAX / fact.keys_per_block;
    if (fact.rseq_offset != 0 && (uintptr_t)fact.rseq_offset + 32 > size.pthread)
        return "the rseq area is not in the TCB";
    if (!probe_cleanup(tcb))
        return "the cleanup frame is not in the TCB";
    if (!probe_mangling(tcb))
        return "a jmp_buf is not as expected";
    return NULL;
}

static int find_libc_module(struct dl_phdr_info *info, size_t n, void *arg)
{
    (void)n;
    uintptr_t pc = (uintptr_t)arg;
    size_t tls_size = 0;
    bool here = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type == PT_LOAD && pc - (info->dlpi_addr + ph->p_vaddr) < ph->p_memsz)
            here = true;
        if (ph->p_type == PT_TLS)
            tls_size = ph->p_memsz;
    }
    if (here) {
        fact.libc_modid = info->dlpi_tls_modid;
        fact.libc_tls_size = tls_size;
    }
    return here;
}

const char *libc_probe(void *tcb, bool on_main)
{
    const char *why = probe_version();
    if (why == NULL)
        why = probe_symbols();
    if (why == NULL)
        why = probe_descriptors();
    if (why == NULL)
        why = probe_fields(tcb, on_main);
    if (why == NULL)
        why = libc_probe_objects();
    if (why != NULL)
        return why;
    size_t total, align;
    fact.get_tls_static_info(&total, &align);
    if (total < size.pthread || total > (1u << 24) || align == 0 || align > 4096 ||
        (align & (align - 1)) != 0)
        return "the size of static TLS makes no sense";
    libc_layout.tcb_size = size.pthread;
    libc_layout.tls_size = total - size.pthread;
    libc_layout.tls_align = align < 64 ? 64 : align;
    libc_layout.tid_offset = off.pthread_tid.offset;
    dl_iterate_phdr(find_libc_module, (void *)(uintptr_t)fact.ctype_init);
    if (fact.libc_modid == 0)
        return "libc.so.6 has no TLS module";
    return NULL;
}

/* The flag behind specific[] spares looking through 32 slots when a thread ends.  On a fresh
 * thread it is false, and setting data turns it to true; else do without. */
static void probe_specific_used(char *tcb)
{
    uintptr_t o = off.pthread_specific.offset + fact.key_blocks * sizeof(void *);
    pthread_key_t key;
    if (o >= size.pthread || tcb[o] != 0 || pthread_key_create(&key, NULL) != 0)
        return;
    pthread_setspecific(key, tcb);
    if (tcb[o] == 1)
        fact.specific_used = o;
    pthread_setspecific(key, NULL);
    pthread_key_delete(key);
}

const char *libc_probe_native(void)
{
    uintptr_t tcb = arch_tp();
    uintptr_t res = *(uintptr_t *)(tcb + fact.resp_tpoff);
    if (res - tcb >= size.pthread)
        return "the resolver state is not in the TCB";
    fact.res_offset = res - tcb;
    probe_specific_used((char *)tcb);
    return NULL;
}

void libc_early(void)
{
    const struct field *f = private_symbol("_thread_db_pthread_tid");
    if (f != NULL && f->bits == 32 && f->offset < 65536 &&
        *(int *)at((void *)arch_tp(), f->offset) == os_gettid())
        libc_layout.tid_offset = f->offset;
}

const char *libc_probe_objects(void)
{
    pthread_mutexattr_t ma;
    pthread_mutex_t m;
    pthread_condattr_t ca;
    pthread_cond_t c;
    pthread_barrierattr_t ba;
    pthread_barrier_t b;
    sem_t sem;
    bool ok = true;
    pthread_mutexattr_init(&ma);
    pthread_mutexattr_settype(&ma, PTHREAD_MUTEX_RECURSIVE);
    REAL(pthread_mutex_init)(&m, &ma);
    ok &= (m.__data.__kind & LIBC_MUTEX_SPECIAL) == 0 &&
          (m.__data.__kind & LIBC_MUTEX_KIND) == PTHREAD_MUTEX_RECURSIVE;
    pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
    REAL(pthread_mutex_init)(&m, &ma);
    ok &= (m.__data.__kind & LIBC_MUTEX_SPECIAL) != 0;
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    REAL(pthread_cond_init)(&c, &ca);
    ok &= (c.__data.__wrefs & LIBC_COND_SHARED) != 0;
    pthread_barrierattr_init(&ba);
    REAL(pthread_barrier_init)(&b, &ba, 2);
    ok &= !libc_barrier_is_shared(&b);
    pthread_barrierattr_setpshared(&ba, PTHREAD_PROCESS_SHARED);
    REAL(pthread_barrier_init)(&b, &ba, 2);
    ok &= libc_barrier_is_shared(&b);
    REAL(sem_init)(&sem, 0, 0);
    ok &= !libc_sem_is_shared(&sem);
    REAL(sem_init)(&sem, 1, 0);
    ok &= libc_sem_is_shared(&sem);
    return ok ? NULL : "glibc marks shared objects in an unknown way";
}

const char *libc_selftest(void *tcb)
{
    char buf[64];
    if (pthread_self() != (pthread_t)(uintptr_t)tcb)
        return "pthread_self does not follow the TCB";
    errno = EXDEV;
    if (*(int *)((char *)tcb + fact.errno_tpoff) != EXDEV)
        return "errno does not follow the TCB";
    if (!isalpha('a') || isalpha('1') || toupper('q') != 'Q')
        return "ctype does not follow the TCB";
    snprintf(buf, sizeof buf, "%d %.2f %s", 42, 1.25, "x");
    if (strcmp(buf, "42 1.25 x") != 0)
        return "snprintf does not follow the TCB";
    char *p = malloc(100);
    if (p == NULL)
        return "malloc does not follow the TCB";
    memset(p, 1, 100);
    free(p);
    errno = 0;
    return NULL;
}

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
    bool complete;   /* false: too many or too large, take the slow way */
    size_t nrows, bytes;
    struct plan_row rows[PLAN_ROWS];
    char image[];
};

static struct plan *plan_now;     /* atomic [L1] */
static uint32_t plan_lock;        /* spin: builders only */

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
    char *list = *(char **)(fact.rtld_global +
                            off.rtld_global__dl_tls_dtv_slotinfo_list.offset);
    while (list != NULL) {
        size_t len = *(size_t *)(list + off.dtv_slotinfo_list_len.offset);
        if (modid < len)
            return list + off.dtv_slotinfo_list_slotinfo.offset + modid * size.dtv_slotinfo;
        modid -= len;
        list = *(char **)(list + off.dtv_slotinfo_list_next.offset);
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
        uint64_t gen = ld_rlx((uint64_t *)(slot + off.dtv_slotinfo_gen.offset));
        uint64_t map = ld_rlx((uint64_t *)(slot + off.dtv_slotinfo_map.offset));
        sig = (sig * 31 + gen) * 31 + map;
    }
    return sig;
}

/* Offset of MODID's block below the TCB; 0 when its TLS is dynamic. */
static size_t static_offset(size_t modid)
{
    char *slot = slotinfo(modid);
    void *map = slot != NULL ? *(void **)(slot + off.dtv_slotinfo_map.offset) : NULL;
    if (map == NULL)
        return 0;
    ptrdiff_t o = *(ptrdiff_t *)at(map, off.link_map_l_tls_offset.offset);
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
    if (offset == 0 || modid == fact.libc_modid)
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
        memcpy(pl->image + pl->bytes, (void *)(info->dlpi_addr + ph->p_vaddr), ph->p_filesz);
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
    struct plan *pl = ld_acq(&plan_now); /* MO: acquire <- [L1] release below: its bytes */
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
    void *node = at(tcb, off.pthread_list.offset);
    void *head = list_head();
    uintptr_t next = off.list_t_next.offset, prev = off.list_t_prev.offset;
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
    void *head = at(tcb, fact.robust_offset);
    *ptr_at(tcb, fact.robust_offset - 8) = head; /* robust_prev */
    *ptr_at(head, 0) = head;
    *(long *)at(head, 8) = fact.robust_futex_offset;
}

static void rseq_unregistered(void *tcb)
{
    if (fact.rseq_offset != 0)
        *(int32_t *)at(tcb, (uintptr_t)fact.rseq_offset + 4) = -2; /* cpu_id */
}

int libc_tcb_make(void *tcb, uint32_t tid)
{
    char *self = (char *)arch_tp();
    if (fact.allocate_tls(tcb) == NULL)
        return ENOMEM;
    *ptr_at(tcb, 0) = tcb;
    *ptr_at(tcb, ARCH_TCB_SELF) = tcb;
    memcpy(at(tcb, ARCH_TCB_STACK_GUARD), self + ARCH_TCB_STACK_GUARD, sizeof(long));
    memcpy(at(tcb, ARCH_TCB_POINTER_GUARD), self + ARCH_TCB_POINTER_GUARD, sizeof(long));
    memcpy(at(tcb, ARCH_TCB_FEATURE_1), self + ARCH_TCB_FEATURE_1, sizeof(int));
    *(int *)at(tcb, ARCH_TCB_MULTIPLE_THREADS) = 1;
    *ptr_at(tcb, off.pthread_specific.offset) = at(tcb, fact.specific_1st_offset);
    robust_init(tcb);
    rseq_unregistered(tcb);
    *(void **)((char *)tcb + fact.resp_tpoff) = at(tcb, fact.res_offset);
    *libc_tid_word(tcb) = tid;
    list_insert(tcb);
    return 0;
}

/* Does this TCB own dynamically allocated TLS blocks? */
static bool has_dynamic_tls(void *tcb)
{
    size_t entry = off.dtv_dtv.bits / 8;
    char *dtv = *(char **)at(tcb, off.pthread_dtvp.offset);
    size_t len = *(size_t *)(dtv - entry + off.dtv_t_counter.offset);
    char *lo = (char *)tcb - libc_layout.tls_size;
    for (size_t i = 1; i <= len; i++) {
        char *val = *(char **)(dtv + i * entry + off.dtv_t_pointer_val.offset);
        if (val != NULL && val != (char *)-1 && !(val >= lo && val < (char *)tcb))
            return true;
    }
    return false;
}

/* The slow way: let libc free all dynamic blocks and lay the TLS out anew, and carry its
 * own module's block over, so that its thread cache is not lost. */
static int renew_tls(void *tcb)
{
    char *block = (char *)tcb - static_offset(fact.libc_modid);
    size_t bytes = fact.libc_tls_size;
    char *keep = malloc(bytes);
    if (keep == NULL)
        return ENOMEM;
    memcpy(keep, block, bytes);
    fact.deallocate_tls(tcb, false);
    int err = fact.allocate_tls(tcb) == NULL ? ENOMEM : 0;
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
    *libc_cancel_word(tcb) = 0;
    *(int *)((char *)tcb + fact.errno_tpoff) = 0;
    *(int *)((char *)tcb + fact.h_errno_tpoff) = 0;
    *libc_tid_word(tcb) = tid;
    return 0;
}

uint32_t *libc_cancel_word(void *tcb)
{
    return at(tcb, off.pthread_cancelhandling.offset);
}

/* --- life of a thread ------------------------------------------------------------- */

void libc_thread_begin(void)
{
    fact.ctype_init();
}

/* One pass over the keys; true when a destructor may have set data anew. */
static bool tsd_pass(void *tcb)
{
    bool ran = false;
    size_t first = fact.key_blocks, second = fact.keys_per_block;
    size_t idx = 0;
    for (size_t i = 0; i < first; i++, idx += second) {
        char *block = *ptr_at(tcb, off.pthread_specific.offset + i * sizeof(void *));
        if (block == NULL)
            continue;
        for (size_t j = 0; j < second; j++, block += size.pthread_key_data) {
            void **data = ptr_at(block, off.pthread_key_data_data.offset);
            if (likely(*data == NULL))
                continue;
            void *value = *data;
            *data = NULL;
            char *key = fact.keys + (idx + j) * size.pthread_key_struct;
            uintptr_t seq = *(uintptr_t *)(block + off.pthread_key_data_seq.offset);
            void (*destr)(void *) =
                *(void (**)(void *))(key + off.pthread_key_struct_destr.offset);
            if (seq == *(uintptr_t *)(key + off.pthread_key_struct_seq.offset) &&
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
    char *used = fact.specific_used != 0 ? at(tcb, fact.specific_used) : NULL;
    if (likely(used != NULL && *used == 0))
        return;
    for (int i = 0; i < PTHREAD_DESTRUCTOR_ITERATIONS && tsd_pass(tcb); i++)
        ;
    for (size_t i = 1; i < fact.key_blocks; i++) {
        void **block = ptr_at(tcb, off.pthread_specific.offset + i * sizeof(void *));
        if (*block != NULL) {
            free(*block);
            *block = NULL;
        }
    }
    memset(at(tcb, fact.specific_1st_offset), 0, size.pthread_key_data_level2);
    if (used != NULL)
        *used = 0;
}

static void thread_finish(void)
{
    void *tcb = (void *)arch_tp();
    fact.call_tls_dtors();
    tsd_destroy(tcb);
    uselocale(LC_GLOBAL_LOCALE);
    struct __res_state *res = *(struct __res_state **)((char *)tcb + fact.resp_tpoff);
    if (unlikely(res == at(tcb, fact.res_offset) && (res->options & RES_INIT) != 0)) {
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
    __pthread_unwind_buf_t *buf = *ptr_at(main_tcb, fact.cleanup_offset);
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
    if (fact.rseq_offset == 0)
        return;
    /* The registered length is not published before 2.40: try the known ones. */
    static const uint32_t lens[] = {32, 64, 28, 20};
    void *old = at(old_tcb, (uintptr_t)fact.rseq_offset);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        if (os_rseq(old, lens[i], RSEQ_UNREGISTER, RSEQ_SIGNATURE) == 0) {
            fact.rseq_len = lens[i];
            rseq_unregistered(old_tcb);
            break;
        }
    }
    if (fact.rseq_len != 0)
        os_rseq(at(tcb, (uintptr_t)fact.rseq_offset), fact.rseq_len, 0, RSEQ_SIGNATURE);
}

void libc_kernel_adopt(void *tcb, void *old_tcb)
{
    robust_init(tcb);
    os_robust_list_set(at(tcb, fact.robust_offset), fact.robust_len);
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
    void *node = at(tcb, off.pthread_list.offset);
    uintptr_t next = off.list_t_next.offset, prev = off.list_t_prev.offset;
    void *n = *ptr_at(node, next), *p = *ptr_at(node, prev);
    *ptr_at(p, next) = n;
    *ptr_at(n, prev) = p;
    list_lock = plan_lock = 0;
    list_insert(tcb);
}
