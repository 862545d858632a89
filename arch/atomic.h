/* atomic.h - the only names by which shared memory is touched.
 *
 * Each name says its order: rlx (relaxed), acq (acquire), rel (release), ar (acquire and
 * release), sc (sequentially consistent).  A non-relaxed use carries a tag (a letter
 * and a number in brackets) in its comment; the tag stands on both sides of the pairing.  They are macros over the
 * compiler's builtins, so that they work on plain fields whose layout an ABI fixes
 * (pthread_mutex_t) as well as on our own.
 */
#ifndef GSHIM_ATOMIC_H
#define GSHIM_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define ld_rlx(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define ld_acq(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define ld_sc(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)

#define st_rlx(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define st_rel(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define st_sc(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

#define xchg_acq(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define xchg_rel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_RELEASE)
#define xchg_ar(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)

#define add_rlx(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define add_rel(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELEASE)
#define add_ar(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define add_sc(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define sub_rel(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_RELEASE)
#define sub_ar(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
#define sub_sc(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)
#define or_ar(p, v) __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define and_ar(p, v) __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)

/* Compare and swap: true when *p was *e and is now v; else *e is what was found. */
#define cas_rlx(p, e, v)                                                                 \
    __atomic_compare_exchange_n((p), (e), (v), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define cas_acq(p, e, v)                                                                 \
    __atomic_compare_exchange_n((p), (e), (v), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define cas_rel(p, e, v)                                                                 \
    __atomic_compare_exchange_n((p), (e), (v), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define cas_ar(p, e, v)                                                                  \
    __atomic_compare_exchange_n((p), (e), (v), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define cas_sc(p, e, v)                                                                  \
    __atomic_compare_exchange_n((p), (e), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE)

#define fence_sc() __atomic_thread_fence(__ATOMIC_SEQ_CST)
/* Order against a signal handler on the same kernel thread; costs nothing. */
#define fence_sig() __atomic_signal_fence(__ATOMIC_SEQ_CST)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
