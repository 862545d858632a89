/* glibc_probe.c - finding out, and checking, how this glibc lays out a thread.
 *
 * Where each fact comes from, and how it is checked at start
 *   Entry points `_dl_allocate_tls`, `_dl_deallocate_tls`, `_dl_get_tls_static_info`
 *   (ld.so), `__call_tls_dtors`, `__ctype_init`, `__resp` (libc.so.6): exported with
 *   version GLIBC_PRIVATE, found by dlvsym; a missing one ends the probe.
 *   Field offsets: libc.so.6 exports the descriptors `_thread_db_*` for the debugger
 *   library (nptl_db/structs.def): three words {bits, count, offset}, or one word for a
 *   glibc_size.  They are data of the libc that runs, so nothing is compiled in.  Checked: our
 *   own tid and our own list node are found through them.
 *   Offsets without descriptor are measured: robust_head by get_robust_list, the first
 *   block of thread-specific data by specific[0] of the main thread, cleanup_jmp_buf by
 *   registering a buffer and looking where its address appeared, the resolver state by
 *   reading __resp on a thread that libc made, errno by __errno_location, the flag that
 *   thread-specific data was set by setting some.
 *   `list_t`, dtv entries {value, pointer to free} and the dtv's length at index -1:
 *   through descriptors; read only.
 */
#include "shim/libc/glibc.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <link.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "arch/atomic.h"
#include "shim/libc/real.h"
#include "shim/os/os.h"

struct libc_layout libc_layout;
struct glibc_fields glibc_off;
struct glibc_sizes glibc_size;
struct glibc_facts glibc_fact;

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
    glibc_fact.minor = (int)minor;
    return NULL;
}

static const char *probe_symbols(void)
{
    glibc_fact.allocate_tls = private_symbol("_dl_allocate_tls");
    glibc_fact.deallocate_tls = private_symbol("_dl_deallocate_tls");
    glibc_fact.get_tls_static_info = private_symbol("_dl_get_tls_static_info");
    glibc_fact.call_tls_dtors = private_symbol("__call_tls_dtors");
    glibc_fact.ctype_init = private_symbol("__ctype_init");
    glibc_fact.rtld_global = private_symbol("_rtld_global");
    glibc_fact.keys = private_symbol("__pthread_keys");
    char *resp = private_symbol("__resp");
    if (!glibc_fact.allocate_tls || !glibc_fact.deallocate_tls ||
        !glibc_fact.get_tls_static_info || !glibc_fact.call_tls_dtors ||
        !glibc_fact.ctype_init || !glibc_fact.rtld_global || !glibc_fact.keys || !resp)
        return "a private entry point of glibc is missing";
    glibc_fact.resp_tpoff = (intptr_t)resp - (intptr_t)arch_tp();
    glibc_fact.errno_tpoff = (intptr_t)__errno_location() - (intptr_t)arch_tp();
    glibc_fact.h_errno_tpoff = (intptr_t)__h_errno_location() - (intptr_t)arch_tp();
    ptrdiff_t *rseq_offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    unsigned *rseq_size = dlsym(RTLD_DEFAULT, "__rseq_size");
    if (rseq_offset != NULL && rseq_size != NULL && *rseq_size != 0)
        glibc_fact.rseq_offset = *rseq_offset;
    return NULL;
}

static const char *probe_descriptors(void)
{
    const void *p;
#define X(name)                                                                          \
    p = private_symbol("_thread_db_" #name);                                             \
    if (p == NULL)                                                                       \
        return "glibc does not describe " #name;                                         \
    memcpy(&glibc_off.name, p, sizeof glibc_off.name);
    FIELDS(X)
#undef X
#define X(name)                                                                          \
    p = private_symbol("_thread_db_sizeof_" #name);                                      \
    if (p == NULL)                                                                       \
        return "glibc does not describe the size of " #name;                             \
    memcpy(&glibc_size.name, p, sizeof glibc_size.name);
    SIZES(X)
#undef X
    if (glibc_off.pthread_tid.offset + 4 > glibc_size.pthread ||
        glibc_off.pthread_tid.bits != 32 ||
        glibc_off.pthread_list.offset + 16 > glibc_size.pthread ||
        glibc_size.pthread > 65536 ||
        glibc_off.pthread_dtvp.offset + 8 > glibc_size.pthread ||
        glibc_off.pthread_specific.bits == 0 || glibc_off.dtv_dtv.bits % 8 != 0 ||
        glibc_off.dtv_dtv.bits == 0 || glibc_size.dtv_slotinfo == 0)
        return "glibc describes a thread that makes no sense";
    return NULL;
}

static const char *probe_sizes(void)
{
    size_t total, align;
    glibc_fact.get_tls_static_info(&total, &align);
    if (total < glibc_size.pthread || total > (1u << 24) || align == 0 || align > 4096 ||
        (align & (align - 1)) != 0)
        return "the size of static TLS makes no sense";
    libc_layout.tcb_size = glibc_size.pthread;
    libc_layout.tls_size = total - glibc_size.pthread;
    libc_layout.tls_align = align < 64 ? 64 : align;
    return NULL;
}

/* Read with care: where the description is wrong, this walks through anything. */
static bool on_list(void *tcb)
{
    char *head = list_head(), *node = head;
    for (int i = 0; i < 10000; i++) {
        if (!os_peek(node + glibc_off.list_t_next.offset, &node, sizeof node) ||
            node == head)
            return false;
        if (node == at(tcb, glibc_off.pthread_list.offset))
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
    for (size_t o = 0; o + sizeof(void *) <= glibc_size.pthread; o += sizeof(void *)) {
        if (*ptr_at(tcb, o) == &buf) {
            glibc_fact.cleanup_offset = o;
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

/* Thread-specific data: an array of pointers to blocks, the first block right before it. */
static const char *probe_specific(void *tcb)
{
    size_t block = glibc_size.pthread_key_data_level2, row = glibc_size.pthread_key_data;
    uintptr_t specific = glibc_off.pthread_specific.offset;
    if (row == 0 || block == 0 || block % row != 0 ||
        PTHREAD_KEYS_MAX % (block / row) != 0 ||
        specific + sizeof(void *) > glibc_size.pthread || specific < block)
        return "thread-specific data is laid out in an unknown way";
    glibc_fact.keys_per_block = block / row;
    glibc_fact.key_blocks = PTHREAD_KEYS_MAX / glibc_fact.keys_per_block;
    glibc_fact.specific_1st_offset = specific - block;
    if (*ptr_at(tcb, specific) != at(tcb, glibc_fact.specific_1st_offset))
        return "thread-specific data is not in the TCB";
    return NULL;
}

/* Is LAST the last node of the robust list at HEAD?  Of an empty one that is HEAD itself. */
static bool ends_at(void *last, void *head)
{
    uintptr_t next;
    return os_peek(last, &next, sizeof next) &&
           (next & ~(uintptr_t)GLIBC_ROBUST_PI) == (uintptr_t)head;
}

static const char *probe_fields(void *tcb, bool on_main)
{
    uintptr_t base = (uintptr_t)tcb;
    if (*(uintptr_t *)at(tcb, ARCH_TCB_SELF) != base)
        return "the TCB does not name itself";
    if (*(int *)at(tcb, glibc_off.pthread_tid.offset) != os_gettid())
        return "the tid is not where glibc says";
    if (on_main && !on_list(tcb))
        return "the thread is not on glibc's list";
    void *head;
    if (os_robust_list_get(&head, &glibc_fact.robust_len) != 0)
        return "the kernel tells no robust list";
    glibc_fact.robust_offset = (uintptr_t)head - base;
    if (glibc_fact.robust_offset + glibc_fact.robust_len > glibc_size.pthread ||
        glibc_fact.robust_offset < 8 ||
        !ends_at(*ptr_at(tcb, glibc_fact.robust_offset - 8), head))
        return "the robust list is not in the TCB";
    glibc_fact.robust_futex_offset = *(long *)at(head, 8);
    const char *why = probe_specific(tcb);
    if (why != NULL)
        return why;
    /* Up to 2.40 in the TCB, from 2.41 on in the static TLS below it. */
    if (glibc_fact.rseq_offset < -(intptr_t)libc_layout.tls_size ||
        glibc_fact.rseq_offset + 32 > (intptr_t)glibc_size.pthread)
        return "the rseq area is neither in the TCB nor in static TLS";
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
        glibc_fact.libc_modid = info->dlpi_tls_modid;
        glibc_fact.libc_tls_size = tls_size;
    }
    return here;
}

/* Does an attribute object say what was set in it as we believe? */
static bool attr_says(void)
{
    pthread_attr_t attr;
    struct sched_param param = {0};
    pthread_attr_init(&attr);
    bool ok = libc_attr_sched(&attr) == 0;
    pthread_attr_setschedpolicy(&attr, SCHED_OTHER);
    ok &= libc_attr_sched(&attr) == LIBC_ATTR_POLICY;
    pthread_attr_setschedparam(&attr, &param);
    ok &= libc_attr_sched(&attr) == (LIBC_ATTR_POLICY | LIBC_ATTR_PRIORITY);
    pthread_attr_destroy(&attr);
    return ok;
}

const char *libc_probe(void *tcb, bool on_main)
{
    const char *why = probe_version();
    if (why == NULL)
        why = probe_symbols();
    if (why == NULL)
        why = probe_descriptors();
    if (why == NULL)
        why = probe_sizes();
    if (why == NULL)
        why = probe_fields(tcb, on_main);
    if (why == NULL)
        why = libc_probe_objects();
    if (why == NULL && !attr_says())
        why = "glibc's thread attributes have another layout";
    if (why != NULL)
        return why;
    libc_layout.tid_offset = glibc_off.pthread_tid.offset;
    dl_iterate_phdr(find_libc_module, (void *)(uintptr_t)glibc_fact.ctype_init);
    if (glibc_fact.libc_modid == 0)
        return "libc.so.6 has no TLS module";
    return NULL;
}

/* The flag behind specific[] spares looking through 32 slots when a thread ends.  On a fresh
 * thread it is false, and setting data turns it to true; else do without. */
static void probe_specific_used(char *tcb)
{
    uintptr_t o =
        glibc_off.pthread_specific.offset + glibc_fact.key_blocks * sizeof(void *);
    pthread_key_t key;
    if (o >= glibc_size.pthread || tcb[o] != 0 || pthread_key_create(&key, NULL) != 0)
        return;
    pthread_setspecific(key, tcb);
    if (tcb[o] == 1)
        glibc_fact.specific_used = o;
    pthread_setspecific(key, NULL);
    pthread_key_delete(key);
}

const char *libc_probe_native(void)
{
    uintptr_t tcb = arch_tp();
    uintptr_t res = *(uintptr_t *)(tcb + glibc_fact.resp_tpoff);
    if (res - tcb >= glibc_size.pthread)
        return "the resolver state is not in the TCB";
    glibc_fact.res_offset = res - tcb;
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

uint32_t libc_cond_flags_at;

/* The one word that differs between a plain condition variable and one that is shared and
 * monotonic; where there is no such word, the place in the headers we were built with, and
 * libc_probe_objects refuses. */
uint32_t libc_cond_flags_find(void)
{
    enum { BOTH = LIBC_COND_SHARED | LIBC_COND_MONOTONIC };
    pthread_condattr_t ca;
    pthread_cond_t c;
    uint32_t found = 0, hits = 0;
    memset(&c, 0, sizeof c);
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    REAL(pthread_cond_init)(&c, &ca);
    for (uint32_t o = LIBC_COND_OURS; o < sizeof c; o += sizeof(uint32_t)) {
        if (*(uint32_t *)at(&c, o) == BOTH) {
            found = o;
            hits++;
        }
    }
    if (hits != 1)
        found = offsetof(pthread_cond_t, __data.__wrefs);
    st_rlx(&libc_cond_flags_at, found);
    return found;
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
    ok &= (m.__data.__kind & LIBC_MUTEX_SPECIAL) == LIBC_MUTEX_SHARED;
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    REAL(pthread_cond_init)(&c, &ca);
    ok &= *libc_cond_flags(&c) == LIBC_COND_SHARED;
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_PRIVATE);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    REAL(pthread_cond_init)(&c, &ca);
    ok &= *libc_cond_flags(&c) == LIBC_COND_MONOTONIC;
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
    if (*(int *)((char *)tcb + glibc_fact.errno_tpoff) != EXDEV)
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
