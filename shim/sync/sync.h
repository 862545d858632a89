/* sync.h - every way to wait, on top of the parking lot.
 *
 * All return 0 or a positive errno value and leave errno alone; all may be called from Gs and
 * from foreign threads.  Objects keep the C library's size and static initialisers; process
 * shared, robust and priority objects are routed to its own functions (pshared.c).
 *
 * A deadline is a clock and an absolute time.  As in glibc, an unknown clock is EINVAL at
 * once; a bad tv_nsec too for semaphores and rwlocks, for the others when they must wait.
 */
#ifndef GSHIM_SYNC_H
#define GSHIM_SYNC_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "shim/libc/libc.h"
#include "shim/libc/real.h"
#include "shim/sync/park.h"

struct deadline {
    clockid_t clock;
    const struct timespec *at; /* NULL: none */
};
#define NO_DEADLINE ((struct deadline){CLOCK_MONOTONIC, NULL})

/* deadline_clock - 0, or EINVAL when CLOCK cannot be waited on. */
int deadline_clock(struct deadline d);
/* deadline_ns - fill OP's clock and deadline_ns; 0, EINVAL (tv_nsec) or ETIMEDOUT (tv_sec
 * before the epoch). */
int deadline_set(struct park_op *op, struct deadline d);
/* deadline_check - 0 or EINVAL, for those that glibc checks before trying. */
int deadline_check(struct deadline d);

/* Are there other threads, so that locked instructions are needed? */
static inline bool sync_alone(void)
{
    return &__libc_single_threaded != NULL && __libc_single_threaded; /* weak.h */
}

/* sync_cancel_point - act on a pending cancellation, if enabled: does not return then. */
static inline void sync_cancel_point(void)
{
    if (unlikely(rt_self() == NULL || libc_cancel_pending((void *)arch_tp())))
        pthread_testcancel();
}

/* sync_hold - no asynchronous cancellation of the caller until sync_release: it has something
 * to put right before it may unwind (a mutex to take again).  Both nest with nothing. */
static inline void sync_hold(void)
{
    struct g *gp = rt_self();
    if (gp != NULL)
        gp->hold = true;
}

/* CANCELED: the wait ended with ECANCELED. */
static inline void sync_release(bool canceled)
{
    struct g *gp = rt_self();
    if (gp != NULL) {
        gp->hold = false;
        fence_sig(); /* a kick from here on acts by itself */
        canceled |= libc_cancel_at_once(gp->tcb);
    }
    if (unlikely(canceled))
        sync_cancel_point();
}

/* Whether a wait that a signal ended fails, or goes on: it fails when a handler has run on this
 * G; one without a deadline, as the kernel's, only when that was set without SA_RESTART.
 * A foreign thread's wait was the kernel's, and its answer stands. */
struct sync_signals {
    struct g *gp;
    uint32_t *count, before;
};

static inline struct sync_signals sync_signals_now(bool timed)
{
    struct g *gp = rt_self();
    uint32_t *count = gp == NULL ? NULL : timed ? &gp->sig_ran : &gp->sig_eintr;
    return (struct sync_signals){gp, count, count != NULL ? *count : 0};
}

static inline bool sync_interrupted(const struct sync_signals *s)
{
    return s->gp == NULL || ld_rlx(s->count) != s->before;
}

/* --- mutex.c --- */
int mutex_lock_slow(pthread_mutex_t *m, struct deadline d);
int mutex_lock_kind(pthread_mutex_t *m, struct deadline d);
int mutex_trylock(pthread_mutex_t *m);
int mutex_unlock_kind(pthread_mutex_t *m);
void mutex_unlock_slow(pthread_mutex_t *m);
int mutex_timedlock(pthread_mutex_t *m, struct deadline d);
int mutex_destroy(pthread_mutex_t *m);
/* For condition variables.  mutex_mark_parked - under the bucket locks: waiters are about to
 * be moved to M's queue; tells whether M is locked.  mutex_relock - lock again after the wait
 * that ended with TOKEN, which may have brought the lock with it. */
/* mutex_share - from now on M, which the caller holds, follows the C library's protocol, as a
 * mutex shared between processes does. */
void mutex_share(pthread_mutex_t *m);
bool mutex_may_unlock(const pthread_mutex_t *m);
bool mutex_mark_parked(pthread_mutex_t *m);
int mutex_relock(pthread_mutex_t *m, uintptr_t token);
static inline bool mutex_is_special(const pthread_mutex_t *m)
{
    return (m->__data.__kind & LIBC_MUTEX_SPECIAL) != 0;
}

/* 2 is left to the C library's protocol, see mutex_share. */
enum { MU_LOCKED = 1, MU_LIBC_PARKED = 2, MU_PARKED = 4, MU_WOKEN = 8 };

static inline int mutex_lock(pthread_mutex_t *m)
{
    unsigned *word = (unsigned *)&m->__data.__lock, e = 0;
    if (unlikely((m->__data.__kind & (LIBC_MUTEX_KIND | LIBC_MUTEX_SPECIAL)) != 0))
        return mutex_lock_kind(m, NO_DEADLINE);
    if (sync_alone() && *word == 0)
        *word = MU_LOCKED;
    else if (unlikely(!cas_acq(word, &e, MU_LOCKED))) /* MO: acquire <- [MU] in unlock */
        return mutex_lock_slow(m, NO_DEADLINE);
    m->__data.__owner = (int)libc_tid();
    return 0;
}

static inline int mutex_unlock(pthread_mutex_t *m)
{
    unsigned *word = (unsigned *)&m->__data.__lock, e = MU_LOCKED;
    if (unlikely((m->__data.__kind & (LIBC_MUTEX_KIND | LIBC_MUTEX_SPECIAL)) != 0))
        return mutex_unlock_kind(m);
    m->__data.__owner = 0;
    if (sync_alone() && *word == MU_LOCKED)
        *word = 0;
    else if (unlikely(!cas_rel(word, &e, 0))) /* MO: release -> [MU] */
        mutex_unlock_slow(m);
    return 0;
}

/* --- cond.c --- */
int cond_init(pthread_cond_t *c, const pthread_condattr_t *attr);
int cond_destroy(pthread_cond_t *c);
int cond_signal(pthread_cond_t *c);
int cond_broadcast(pthread_cond_t *c);
int cond_wait(pthread_cond_t *c, pthread_mutex_t *m, struct deadline d);
clockid_t cond_clock(const pthread_cond_t *c);

/* --- rwlock.c --- */
int rwlock_init(pthread_rwlock_t *l, const pthread_rwlockattr_t *attr);
int rwlock_destroy(pthread_rwlock_t *l);
int rwlock_rdlock(pthread_rwlock_t *l, struct deadline d);
int rwlock_wrlock(pthread_rwlock_t *l, struct deadline d);
int rwlock_tryrdlock(pthread_rwlock_t *l);
int rwlock_trywrlock(pthread_rwlock_t *l);
int rwlock_unlock(pthread_rwlock_t *l);

/* --- sem.c --- */
enum { SYNC_ERRNO = -1 }; /* result: the C library has failed and set errno itself */
int sync_sem_init(sem_t *s, int shared, unsigned value);
int sync_sem_wait(sem_t *s, struct deadline d);
int sync_sem_trywait(sem_t *s);
int sync_sem_post(sem_t *s);

/* --- barrier.c, once.c --- */
int barrier_init(pthread_barrier_t *b, const pthread_barrierattr_t *attr, unsigned count);
int barrier_destroy(pthread_barrier_t *b);
int barrier_wait(pthread_barrier_t *b);
int once_run(pthread_once_t *once, void (*fn)(void));
void once_forked(void); /* in a child of fork */

/* --- join.c --- */
int join_wait(struct g *gp, void **ret, struct deadline d);
int join_try(struct g *gp, void **ret);
int join_detach(struct g *gp);
/* join_last - the caller's function has returned.  The last thread ends the process, here: in
 * exit's handlers it is a thread like any other, and takes signals. */
void join_last(void);
/* join_exit - the calling G is finished: RET is its result.  Does not return. */
_Noreturn void join_exit(struct g *gp, void *ret);
/* join_publish - GP has ended: tell its joiner, or free it.             [rt] sysmon */
void join_publish(struct g *gp);

/* --- futex.c --- */
/* sync_futex - SYS_futex on a private word: true when handled, result or -errno in *ret. */
bool sync_futex(long *ret, uint32_t *word, int op, uint32_t val,
                const struct timespec *timeout, uint32_t *word2, uint32_t val3);

/* --- sleep.c --- */
/* sync_sleep - 0, EINTR or EINVAL. */
int sync_sleep(clockid_t clock, int64_t deadline_ns);
/* sync_nap - for NS and no less; no cancellation point, and no signal ends it.               [G] */
void sync_nap(int64_t ns);

/* --- pshared.c: the real protocols --- */
int pshared_mutex_lock(pthread_mutex_t *m, struct deadline d);
int pshared_mutex_trylock(pthread_mutex_t *m);
int pshared_mutex_unlock(pthread_mutex_t *m);
/* pshared_mutex_adopt - M, which the caller has locked as a private one, is special now. */
void pshared_mutex_adopt(pthread_mutex_t *m);
int pshared_mutex_consistent(pthread_mutex_t *m);
int pshared_mutex_setprioceiling(pthread_mutex_t *m, int ceiling, int *old);
int pshared_cond_wait(pthread_cond_t *c, pthread_mutex_t *m, struct deadline d);
int pshared_rwlock_lock(pthread_rwlock_t *l, struct deadline d, bool write);
int pshared_rwlock_try(pthread_rwlock_t *l, bool write);
int pshared_rwlock_unlock(pthread_rwlock_t *l);
int pshared_sem_wait(sem_t *s, struct deadline d);
int pshared_barrier_wait(pthread_barrier_t *b);

#endif
