/* mutex.c - mutexes private to the process.
 *
 * The object is glibc's pthread_mutex_t: word __lock, depth __count, owner __owner (a tid),
 * type __kind.  Word:
 *   MU_LOCKED  somebody owns it
 *   MU_PARKED  somebody may sleep on it.  Legal to be set when nobody does (a waiter that
 *              timed out); illegal to be clear while one does.  Changed to 0 only under the
 *              bucket lock.
 *   MU_WOKEN   a waiter was woken and has not competed yet: no second one need be.  Set under
 *              the bucket lock by the wake, cleared by that waiter alone, when it takes the
 *              lock or goes back to sleep; it never leaves in another way.  So a hot mutex
 *              costs its owner one slow unlock per waiter that really ran, not one per unlock.
 * To lock:   0 -> LOCKED by CAS; else spin a little while the owner may be running; else,
 *            under the bucket lock, set PARKED and sleep if the word is still LOCKED.
 * To unlock: LOCKED -> 0 by CAS; with WOKEN, or nobody parked, drop LOCKED by CAS; else, under
 *            the bucket lock, take one waiter off and store the new word; nothing of the mutex
 *            is touched after that store, so its next owner may destroy it.
 * A woken waiter competes anew, which is fast and unfair; one that has waited a millisecond
 * is handed the lock (token HANDED), so nobody starves.
 * A private mutex that is used with a process-shared condition variable becomes a shared one
 * (mutex_share): the wait is in the C library, which unlocks and locks it by its own protocol.
 * The owner marks the kind, then, under the bucket lock, wakes all waiters and leaves the
 * library's word (2: locked, somebody may sleep).  Nobody parks any more after that, since who
 * would looks at the kind under that lock; and a thread that is past its look at the kind can
 * do one thing only, 0 -> LOCKED, which means the same in both protocols: no other value of
 * ours occurs in the library's.
 * Before the second thread exists plain loads and stores do.
 * Owner and depth belong to the owner; __owner is also read by others to compare it with
 * their own tid, which it can only equal if they stored it.
 */
#include "shim/sync/sync.h"

/* What a wake by unlock brings: the lock itself, or MU_WOKEN to be cleared. */
enum { HANDED = 1, MARKED = 2, SHARED = 3 };
/* lock_word: the mutex has become a shared one meanwhile. */
enum { NOT_OURS = -1 };
static const unsigned HELD = MU_LOCKED | MU_LIBC_PARKED;
enum { SPINS = 40 };

static unsigned *word_of(pthread_mutex_t *m)
{
    return (unsigned *)&m->__data.__lock;
}

/* __lock is the first field. */
static pthread_mutex_t *mutex_of(unsigned *word)
{
    return (pthread_mutex_t *)(void *)word;
}

/* One attempt to get the lock. */
struct lock_try {
    unsigned *word;
    unsigned woken; /* MU_WOKEN when the mark is ours to clear, else 0 */
};

static bool still_held(void *arg)
{
    const struct lock_try *t = arg;
    unsigned v = ld_rlx(t->word);
    while ((v & MU_LOCKED) != 0 && !mutex_is_special(mutex_of(t->word)))
        if (cas_rlx(t->word, &v, (v | MU_PARKED) & ~t->woken))
            return true;
    return false;
}

static bool take_word(const struct lock_try *t)
{
    unsigned v = ld_rlx(t->word);
    while ((v & HELD) == 0)
        if (cas_acq(t->word, &v, (v | MU_LOCKED) & ~t->woken)) /* MO: acquire <- [MU] */
            return true;
    return false;
}

static bool spin_for(const struct lock_try *t)
{
    if (ld_rlx(&sched.np) < 2)
        return false; /* the owner cannot be running */
    for (int i = 0; i < SPINS; i++) {
        unsigned v = ld_rlx(t->word);
        if ((v & MU_PARKED) != 0)
            return false;
        if ((v & HELD) == 0 && take_word(t))
            return true;
        arch_pause();
    }
    return false;
}

/* WOKEN: what the caller's last wake brought, MU_WOKEN or 0. */
static int lock_word(unsigned *word, unsigned woken, struct deadline d)
{
    struct lock_try t = {word, woken};
    struct park_op op = {.key = word,
                         .validate = still_held,
                         .arg = &t,
                         .reason = WAIT_MUTEX,
                         .ended_by = PARK_BY_SIGNAL};
    if (spin_for(&t))
        return 0;
    bool armed = false;
    for (;;) {
        if (take_word(&t))
            return 0;
        if (unlikely(mutex_is_special(mutex_of(word))))
            return NOT_OURS;
        if (!armed) {
            int err = deadline_set(&op, d);
            if (err != 0)
                return err;
            armed = true;
        }
        uintptr_t token;
        int err = park_wait(&op, &token);
        if (err == ETIMEDOUT)
            return err;
        if (err == 0 && token == HANDED)
            return 0;
        if (err != EAGAIN) /* else we did not sleep: the mark is as it was */
            t.woken = err == 0 && token == MARKED ? MU_WOKEN : 0;
    }
}

int mutex_lock_slow(pthread_mutex_t *m, struct deadline d)
{
    int err = lock_word(word_of(m), 0, d);
    if (unlikely(err == NOT_OURS))
        return pshared_mutex_lock(m, d);
    if (err == 0)
        m->__data.__owner = (int)libc_tid();
    return err;
}

static uintptr_t to_shared(void *arg, struct park_found found)
{
    (void)found;
    st_rel((unsigned *)arg, MU_LIBC_PARKED); /* MO: release -> [MU] */
    return SHARED;
}

void mutex_share(pthread_mutex_t *m)
{
    st_rlx(&m->__data.__kind, m->__data.__kind | LIBC_MUTEX_SHARED);
    pshared_mutex_adopt(m);
    park_wake_n(word_of(m), SIZE_MAX, to_shared, word_of(m));
}

static uintptr_t release(void *arg, struct park_found found)
{
    unsigned *word = arg, parked = found.more ? MU_PARKED : 0;
    if (found.woken != 0 && found.fair) {
        st_rlx(word, MU_LOCKED | parked); /* never unlocked */
        return HANDED;
    }
    st_rel(word, parked | (found.woken != 0 ? MU_WOKEN : 0)); /* MO: release -> [MU] */
    return MARKED;
}

void mutex_unlock_slow(pthread_mutex_t *m)
{
    unsigned *word = word_of(m), v = ld_rlx(word);
    while ((v & MU_LOCKED) != 0) { /* else: unlocked by a program in error */
        if ((v & (MU_PARKED | MU_WOKEN)) == MU_PARKED) {
            park_wake_one(word, release, word);
            return;
        }
        if (cas_rel(word, &v, v & ~(unsigned)MU_LOCKED)) /* MO: release -> [MU] */
            return;
    }
}

bool mutex_mark_parked(pthread_mutex_t *m)
{
    return (__atomic_fetch_or(word_of(m), MU_PARKED, __ATOMIC_RELAXED) & MU_LOCKED) != 0;
}

int mutex_relock(pthread_mutex_t *m, uintptr_t token)
{
    if (token == 0 || token == SHARED)
        return mutex_lock(m);
    if (token == MARKED && lock_word(word_of(m), MU_WOKEN, NO_DEADLINE) == NOT_OURS)
        return pshared_mutex_lock(m, NO_DEADLINE);
    m->__data.__count = 1;
    st_rlx(&m->__data.__owner, (int)libc_tid());
    return 0;
}

/* --- kinds --------------------------------------------------------------------------- */

static int enter_again(pthread_mutex_t *m)
{
    if (m->__data.__count == UINT_MAX)
        return EAGAIN;
    m->__data.__count++;
    return 0;
}

int mutex_lock_kind(pthread_mutex_t *m, struct deadline d)
{
    if (mutex_is_special(m))
        return pshared_mutex_lock(m, d);
    int kind = m->__data.__kind & LIBC_MUTEX_KIND;
    int tid = (int)libc_tid();
    if (ld_rlx(&m->__data.__owner) == tid) {
        if (kind == PTHREAD_MUTEX_RECURSIVE)
            return enter_again(m);
        if (kind == PTHREAD_MUTEX_ERRORCHECK)
            return EDEADLK;
    }
    unsigned e = 0;
    if (!cas_acq(word_of(m), &e, MU_LOCKED)) { /* MO: acquire <- [MU] */
        int err = lock_word(word_of(m), 0, d);
        if (unlikely(err == NOT_OURS))
            return pshared_mutex_lock(m, d);
        if (err != 0)
            return err;
    }
    m->__data.__count = 1;
    st_rlx(&m->__data.__owner, tid);
    if (unlikely(mutex_is_special(m)))
        pshared_mutex_adopt(m);
    return 0;
}

int mutex_timedlock(pthread_mutex_t *m, struct deadline d)
{
    int err = deadline_clock(d);
    return err != 0 ? err : mutex_lock_kind(m, d);
}

int mutex_trylock(pthread_mutex_t *m)
{
    if (mutex_is_special(m))
        return pshared_mutex_trylock(m);
    int tid = (int)libc_tid();
    if ((m->__data.__kind & LIBC_MUTEX_KIND) == PTHREAD_MUTEX_RECURSIVE &&
        ld_rlx(&m->__data.__owner) == tid)
        return enter_again(m);
    struct lock_try t = {.word = word_of(m)};
    if (!take_word(&t))
        return EBUSY;
    m->__data.__count = 1;
    st_rlx(&m->__data.__owner, tid);
    if (unlikely(mutex_is_special(m)))
        pshared_mutex_adopt(m);
    return 0;
}

int mutex_unlock_kind(pthread_mutex_t *m)
{
    if (mutex_is_special(m))
        return pshared_mutex_unlock(m);
    int kind = m->__data.__kind & LIBC_MUTEX_KIND;
    if (kind == PTHREAD_MUTEX_RECURSIVE || kind == PTHREAD_MUTEX_ERRORCHECK) {
        if (ld_rlx(&m->__data.__owner) != (int)libc_tid())
            return EPERM;
        if (kind == PTHREAD_MUTEX_RECURSIVE && --m->__data.__count != 0)
            return 0;
    }
    st_rlx(&m->__data.__owner, 0);
    unsigned e = MU_LOCKED;
    if (!cas_rel(word_of(m), &e, 0)) /* MO: release -> [MU] */
        mutex_unlock_slow(m);
    return 0;
}

bool mutex_may_unlock(const pthread_mutex_t *m)
{
    int kind = m->__data.__kind & LIBC_MUTEX_KIND;
    if (kind != PTHREAD_MUTEX_RECURSIVE && kind != PTHREAD_MUTEX_ERRORCHECK)
        return true;
    return ld_rlx(&m->__data.__owner) == (int)libc_tid();
}

int mutex_destroy(pthread_mutex_t *m)
{
    /* The library also counts users, which is not exact for one that was private once. */
    if ((m->__data.__kind & LIBC_MUTEX_SPECIAL & ~LIBC_MUTEX_SHARED) != 0)
        return REAL(pthread_mutex_destroy)(m);
    if ((ld_rlx(word_of(m)) & HELD) != 0)
        return EBUSY;
    m->__data.__kind = -1; /* as glibc: use after destroy is EINVAL there */
    return 0;
}
