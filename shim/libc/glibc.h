/* glibc.h - what glibc_probe.c found out about the C library, for glibc.c and glibc_tcb.c.
 * Private to them: nothing else may know these things. */
#ifndef GSHIM_GLIBC_H
#define GSHIM_GLIBC_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/libc/libc.h"

/* --- facts, const after the probe ------------------------------------------------- */

struct field {
    uint32_t bits, count, offset; /* as in nptl_db: DESC(...) */
};

#define FIELDS(X)                                                                        \
    X(pthread_tid)                                                                       \
    X(pthread_list)                                                                      \
    X(pthread_cancelhandling)                                                            \
    X(pthread_specific)                                                                  \
    X(pthread_dtvp)                                                                      \
    X(pthread_key_data_seq)                                                              \
    X(pthread_key_data_data)                                                             \
    X(pthread_key_struct_seq)                                                            \
    X(pthread_key_struct_destr)                                                          \
    X(rtld_global__dl_stack_user)                                                        \
    X(rtld_global__dl_tls_dtv_slotinfo_list)                                             \
    X(dtv_slotinfo_list_len)                                                             \
    X(dtv_slotinfo_list_next)                                                            \
    X(dtv_slotinfo_list_slotinfo)                                                        \
    X(dtv_slotinfo_gen)                                                                  \
    X(dtv_slotinfo_map)                                                                  \
    X(dtv_dtv)                                                                           \
    X(dtv_t_pointer_val)                                                                 \
    X(dtv_t_counter)                                                                     \
    X(link_map_l_tls_offset)                                                             \
    X(list_t_next)                                                                       \
    X(list_t_prev)

#define SIZES(X)                                                                         \
    X(pthread)                                                                           \
    X(pthread_key_data)                                                                  \
    X(pthread_key_struct)                                                                \
    X(pthread_key_data_level2)                                                           \
    X(dtv_slotinfo)

struct glibc_fields {
#define X(name) struct field name;
    FIELDS(X)
#undef X
};
extern struct glibc_fields glibc_off;

struct glibc_sizes {
#define X(name) uint32_t name;
    SIZES(X)
#undef X
};
extern struct glibc_sizes glibc_size;

struct glibc_facts {
    int minor; /* of version 2 */
    void *(*allocate_tls)(void *);
    void (*deallocate_tls)(void *, bool);
    void (*get_tls_static_info)(size_t *, size_t *);
    void (*call_tls_dtors)(void);
    void (*ctype_init)(void);
    char *rtld_global;
    char *keys;          /* __pthread_keys */
    intptr_t resp_tpoff; /* of the variable __resp, from the thread pointer */
    intptr_t errno_tpoff;
    intptr_t h_errno_tpoff;
    uintptr_t res_offset; /* of the resolver state in a TCB */
    uintptr_t robust_offset;
    uintptr_t specific_1st_offset;
    size_t key_blocks, keys_per_block; /* thread-specific data has two levels */
    uintptr_t specific_used;  /* offset of the flag "some was set", 0: not known */
    uintptr_t cleanup_offset; /* of cleanup_jmp_buf */
    size_t robust_len;
    long robust_futex_offset;
    intptr_t rseq_offset; /* 0: the library registers none */
    uint32_t rseq_len;
    size_t libc_modid; /* TLS module of libc.so.6 and the size of its block */
    size_t libc_tls_size;
};
extern struct glibc_facts glibc_fact;

/* Mark of a priority-inheriting mutex in a link of the robust list (FUTEX_WAITERS aside, the
 * kernel's own format: include/uapi/linux/futex.h). */
enum { GLIBC_ROBUST_PI = 1 };

static inline void *at(void *base, uintptr_t offset)
{
    return (char *)base + offset;
}

static inline void **ptr_at(void *base, uintptr_t offset)
{
    return (void **)((char *)base + offset);
}

static inline uint32_t *glibc_cancel_word(void *tcb)
{
    return at(tcb, glibc_off.pthread_cancelhandling.offset);
}

/* Parts of an identity that its kernel thread has registered, back to those of a new one. */
void glibc_robust_init(void *tcb);
void glibc_rseq_unregistered(void *tcb);

static inline void *list_head(void)
{
    return glibc_fact.rtld_global + glibc_off.rtld_global__dl_stack_user.offset;
}

#endif
