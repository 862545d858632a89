/* rwlock.c - read-write locks private to the process.
 *
 * The object is glibc's; our word is its first one (__readers), its own __cur_writer (tid of
 * the writer) and __flags (preference) keep their meaning.  Word:
 *   RW_WRITER      a writer holds it
 *   RW_RPARKED     readers may sleep on it    \  legal when nobody does, illegal to be
 *   RW_WPARKED     writers may sleep on it    /  clear while one does
 *   RW_READER * n  n readers hold it
 * Who may enter:
 *   a writer   when nobody holds it
 *   a reader   when no writer holds it, and, with preference for writers
 *              (PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP), no writer waits
 * To release with waiters: under the bucket lock look who waits, decide whom to let in, store
 * the new word as the last access to the object, then wake.  Preference decides between
 * readers and a writer, as in glibc.
 * Who is woken competes anew; but when one of them has waited a millisecond, the lock is theirs
 * with the wake (token HANDED): else a thread that locks again at once, and sleeps with it,
 * would never let them in.
 */
#include "shim/sync/sync.h"

enum { RW_WRITER = 1, RW_RPARKED = 2, RW_WPARKED = 4, RW_READER = 8 };
enum { TAG_READER, TAG_WRITER };
enum { HANDED = 1 };
enum { RW_MAX_READERS = (int)(UINT_MAX / RW_READER) - 1 };

static unsigned *word_of(pthread_rwlock_t *l)
{
    return &l->__data.__readers;
}

static bool is_shared(const pthread_rwlock_t *l)
{
    return l->__data.__shared != 0;
}

static bool prefers_writers(const pthread_rwlock_t *l)
{
    return l->__data.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
}

int rwlock_init(pthread_rwlock_t *l, const pthread_rwlockattr_t *attr)
{
    return REAL(pthread_rwlock_init)(l, attr); /* zeroes it and stores kind and sharing */
}

int rwlock_destroy(pthread_rwlock_t *l)
{
    return is_shared(l) ? REAL(pthread_rwlock_destroy)(l) : 0;
}

/* --- entering -------------------------------------------------------------------------- */

static bool reader_blocked(const pthread_rwlock_t *l, unsigned v)
{
    return (v & RW_WRITER) != 0 || ((v & RW_WPARKED) != 0 && prefers_writers(l));
}

static bool writer_blocked(unsigned v)
{
    return (v & RW_WRITER) != 0 || v >= RW_READER;
}

static bool reader_sleeps(void *arg)
{
    pthread_rwlock_t *l = arg;
    unsigned v = ld_rlx(word_of(l));
    while (reader_blocked(l, v))
        if (cas_rlx(word_of(l), &v, v | RW_RPARKED))
            return true;
    return false;
}

static bool writer_sleeps(void *arg)
{
    pthread_rwlock_t *l = arg;
    unsigned v = ld_rlx(word_of(l));
    while (writer_blocked(v))
        if (cas_rlx(word_of(l), &v, v | RW_WPARKED))
            return true;
    return false;
}

/* 0, EBUSY or EAGAIN (too many readers) */
static int try_read(pthread_rwlock_t *l)
{
    unsigned v = ld_rlx(word_of(l));
    while (!reader_blocked(l, v)) {
        if (v / RW_READER >= RW_MAX_READERS)
            return EAGAIN;
        if (cas_acq(word_of(l), &v, v + RW_READER)) /* MO: acquire <- [RW] */
            return 0;
    }
    return EBUSY;
}

static int try_write(pthread_rwlock_t *l)
{
    unsigned v = ld_rlx(word_of(l));
    while (!writer_blocked(v)) {
        if (cas_acq(word_of(l), &v, v | RW_WRITER)) { /* MO: acquire <- [RW] */
            st_rlx(&l->__data.__cur_writer, (int)libc_tid());
            return 0;
        }
    }
    return EBUSY;
}

static void settle(pthread_rwlock_t *l, unsigned release);

static int enter(pthread_rwlock_t *l, struct deadline d, bool write)
{
    struct park_op op = {
        .key = l, .arg = l, .reason = WAIT_RWLOCK, .ended_by = PARK_BY_SIGNAL};
    op.validate = write ? writer_sleeps : reader_sleeps;
    op.tag = write ? TAG_WRITER : TAG_READER;
    bool armed = false;
    for (;;) {
        int err = write ? try_write(l) : try_read(l);
        if (err != EBUSY)
            return err;
        if (!armed && (err = deadline_set(&op, d)) != 0)
            return err;
        armed = true;
        uintptr_t token = 0;
        err = park_wait(&op, &token);
        if (err == 0 && token == HANDED) {
            if (write)
                st_rlx(&l->__data.__cur_writer, (int)libc_tid());
            return 0;
        }
        if (err != ETIMEDOUT)
            continue;
        if (write)
            settle(l, 0); /* readers may have waited only because this writer did */
        return ETIMEDOUT;
    }
}

static bool held_by_caller(const pthread_rwlock_t *l)
{
    return ld_rlx(&l->__data.__cur_writer) == (int)libc_tid();
}

int rwlock_rdlock(pthread_rwlock_t *l, struct deadline d)
{
    int err = deadline_check(d);
    if (unlikely(err != 0))
        return err;
    if (unlikely(is_shared(l)))
        return pshared_rwlock_lock(l, d, false);
    err = try_read(l);
    if (likely(err != EBUSY))
        return err;
    return held_by_caller(l) ? EDEADLK : enter(l, d, false);
}

int rwlock_wrlock(pthread_rwlock_t *l, struct deadline d)
{
    int err = deadline_check(d);
    if (unlikely(err != 0))
        return err;
    if (unlikely(is_shared(l)))
        return pshared_rwlock_lock(l, d, true);
    if (likely(try_write(l) == 0))
        return 0;
    return held_by_caller(l) ? EDEADLK : enter(l, d, true);
}

int rwlock_tryrdlock(pthread_rwlock_t *l)
{
    return is_shared(l) ? pshared_rwlock_try(l, false) : try_read(l);
}

int rwlock_trywrlock(pthread_rwlock_t *l)
{
    return is_shared(l) ? pshared_rwlock_try(l, true) : try_write(l);
}

/* --- leaving ----------------------------------------------------------------------------- */

struct settle {
    pthread_rwlock_t *l;
    unsigned release;        /* what to subtract from the word */
    size_t readers, writers; /* waiting */
    enum { LET_NONE, LET_READERS, LET_WRITER } let;
    bool decided, took_writer;
};

static void look(void *arg, uintptr_t tag)
{
    struct settle *s = arg;
    if (tag == TAG_READER)
        s->readers++;
    else
        s->writers++;
}

static void decide(struct settle *s)
{
    unsigned v = ld_rlx(word_of(s->l)) - s->release;
    bool writers_first = prefers_writers(s->l);
    s->decided = true;
    s->let = LET_NONE;
    if ((v & RW_WRITER) != 0)
        return;
    if (s->readers != 0 && (!writers_first || s->writers == 0))
        s->let = LET_READERS;
    else if (s->writers != 0 && v < RW_READER)
        s->let = LET_WRITER;
}

static enum park_pick pick(void *arg, uintptr_t tag)
{
    struct settle *s = arg;
    if (!s->decided)
        decide(s);
    if (tag == TAG_READER && s->let == LET_READERS) {
        s->readers--;
        return PARK_TAKE;
    }
    if (tag == TAG_WRITER && s->let == LET_WRITER) {
        s->let = LET_NONE;
        s->took_writer = true;
        s->writers--;
        return PARK_TAKE;
    }
    return PARK_SKIP;
}

static uintptr_t store(void *arg, struct park_found found)
{
    struct settle *s = arg;
    unsigned bits =
        (s->readers != 0 ? RW_RPARKED : 0) | (s->writers != 0 ? RW_WPARKED : 0);
    unsigned *word = word_of(s->l), v = ld_rlx(word), n;
    bool hand;
    do {
        n = ((v - s->release) & ~(unsigned)(RW_RPARKED | RW_WPARKED)) | bits;
        /* Others may have come in since we decided: then it is not ours to give. */
        bool is_free =
            s->took_writer ? n < RW_READER && (n & RW_WRITER) == 0 : (n & RW_WRITER) == 0;
        hand = found.woken != 0 && found.fair && is_free;
        if (hand)
            n += s->took_writer ? RW_WRITER : (unsigned)found.woken * RW_READER;
    } while (!cas_rel(word, &v, n)); /* MO: release -> [RW]; last access to the object */
    return hand ? HANDED : 0;
}

static void settle(pthread_rwlock_t *l, unsigned release)
{
    struct settle s = {.l = l, .release = release};
    park_wake_filter(l, look, pick, store, &s);
}

int rwlock_unlock(pthread_rwlock_t *l)
{
    if (unlikely(is_shared(l)))
        return pshared_rwlock_unlock(l);
    unsigned v = ld_rlx(word_of(l));
    unsigned release = (v & RW_WRITER) != 0 ? RW_WRITER : RW_READER;
    if (release == RW_WRITER)
        st_rlx(&l->__data.__cur_writer, 0);
    while ((v & (RW_RPARKED | RW_WPARKED)) == 0)
        if (cas_rel(word_of(l), &v, v - release)) /* MO: release -> [RW] */
            return 0;
    settle(l, release);
    return 0;
}
