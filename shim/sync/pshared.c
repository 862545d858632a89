/* pshared.c - objects that other processes or the kernel take part in: the C library's own
 * protocol, reached so that no other G is stopped.
 *
 * Such mutexes name their owner by kernel tid, and robust ones hang on the kernel thread's
 * robust list.  So the G is bound to its M from the lock to the unlock, and the library's
 * function runs with the M's own thread control block loaded: owner, list and priority are
 * then those of the kernel thread that really holds the lock, and if the process is killed
 * the kernel finds it.
 * Other shared objects only need not to stop the P: the call is a blocking call.
 *
 * A cancellation of the G is made one of the M's identity (block_on_kick), by which the library
 * unwinds its own wait, up to wait_natively.  Waiting for a condition, a cancellation point, goes
 * on there with the mutex held, as ever.  Waiting for a lock is none; but a G that is cancellable
 * asynchronously ends there at once, as the library's threads do.  Then nobody knows whether it
 * has the lock; so it stays bound, its M ends with it, and the kernel does for a robust mutex
 * what it does for any owner that ends.
 */
#include "shim/sync/sync.h"

/* The G, whose P is with others, takes its M's identity.  in_call says so, for signal handlers:
 * from before to after.  What comes while in_rt is set and the identity is still the G's own is
 * left for the end of the section, far away; so look, as that does.  False: look first. */
static bool take_identity(struct g *gp)
{
    gp->in_rt++;
    fence_sig();
    st_rlx(&gp->in_call, CALL_NATIVE);
    arch_set_tp((uintptr_t)gp->m->g0.tcb);
    fence_sc(); /* MO: [C2] "in_call, identity; fence; load word" */
    /* While its M's slot is emptied nobody would look. */
    return likely(!ld_rlx(&gp->attention)) || gp->sig_landing;
}

static void drop_identity(struct g *gp)
{
    arch_set_tp((uintptr_t)gp->tcb);
    st_rlx(&gp->in_call, CALL_NONE);
    fence_sig();
    gp->in_rt--;
}

/* Run with the identity of the M, on which the G stays meanwhile: it is in the runtime, and, with
 * BLOCKS, bound as well.  Then its P goes to others, and a handler of the program that comes
 * meanwhile runs with the G's own identity (posix/sigentry.c). */
static struct g *native_begin(bool blocks)
{
    struct g *gp = rt_self();
    struct rt_section s;
    if (gp == NULL)
        return NULL;
    if (!blocks) {
        rt_enter(&s);
        arch_set_tp((uintptr_t)gp->m->g0.tcb);
        return gp;
    }
    rt_lock_m();
    rt_block_begin(true);
    while (!take_identity(gp)) {
        drop_identity(gp);
        rt_block_end(); /* handlers run here */
        rt_block_begin(true);
    }
    return gp;
}

static void native_end(struct g *gp, bool blocks)
{
    struct rt_section s = {.gp = gp};
    if (gp == NULL)
        return;
    if (blocks) {
        drop_identity(gp);
        rt_block_end();
        rt_unlock_m();
    } else {
        arch_set_tp((uintptr_t)gp->tcb);
        fence_sig();
        rt_exit(&s);
    }
}

/* Does it matter to the library or the kernel which thread holds M? */
static bool has_owner(const pthread_mutex_t *m)
{
    int kind = m->__data.__kind, type = kind & LIBC_MUTEX_KIND;
    return (kind & LIBC_MUTEX_SPECIAL & ~LIBC_MUTEX_SHARED) != 0 ||
           type == PTHREAD_MUTEX_RECURSIVE || type == PTHREAD_MUTEX_ERRORCHECK;
}

/* A call of the library's that waits. */
struct native_wait {
    struct g *gp; /* NULL: foreign */
    bool async;
    void (*call)(struct native_wait *);
    void *object;
    pthread_mutex_t *m; /* of a condition */
    struct deadline d;
    bool write; /* of a read-write lock */
    int err;
};

static void native_body(void *arg)
{
    struct native_wait *w = arg;
    if (libc_cancel_pending(w->gp->tcb)) { /* [C2] */
        libc_cancel_request((void *)arch_tp());
        if (w->async)
            pthread_testcancel();
    }
    w->call(w);
}

/* False: the G is to be cancelled.  POINT: also if not asynchronously. */
static bool wait_natively(struct native_wait *w, bool point)
{
    bool returned = true;
    w->gp = native_begin(true);
    w->async = w->gp != NULL && !point && !w->gp->hold && libc_cancel_async(w->gp->tcb);
    if (w->gp != NULL && (point || w->async))
        returned = libc_cancel_frame(w->async, native_body, w);
    else
        w->call(w);
    native_end(w->gp, true);
    return returned;
}

/* For a lock. */
static int wait_for_lock(struct native_wait *w)
{
    if (!wait_natively(w, false))
        sync_cancel_point(); /* does not return: nothing but its own cancellation ends it so */
    return w->err;
}

static void real_lock(struct native_wait *w)
{
    if (w->d.at == NULL)
        w->err = REAL(pthread_mutex_lock)(w->object);
    else
        w->err = REAL(pthread_mutex_clocklock)(w->object, w->d.clock, w->d.at);
}

static bool gives_lock(int err)
{
    return err == 0 || err == EOWNERDEAD;
}

/* The library counts the ceilings that a thread has met in its TCB, failures included; so a
 * G that uses priority ceilings keeps its M, which ends with it. */
static void bind(const pthread_mutex_t *m)
{
    struct g *gp = rt_self();
    if (gp != NULL && (m->__data.__kind & LIBC_MUTEX_PROTECT) != 0 && !gp->has_ceilings) {
        gp->has_ceilings = true;
        rt_lock_m();
    }
    if (has_owner(m))
        rt_lock_m();
}

static void unbind(bool owned)
{
    if (owned)
        rt_unlock_m();
}

void pshared_mutex_adopt(pthread_mutex_t *m)
{
    struct g *gp = rt_self();
    bind(m);
    if (gp != NULL)
        m->__data.__owner = (int)*libc_tid_word(gp->m->g0.tcb);
    m->__data.__nusers++;
}

/* A plain one without giving up the P when the lock is free.  Not so others: trylock keeps the
 * lock of a robust mutex that cannot be recovered. */
int pshared_mutex_lock(pthread_mutex_t *m, struct deadline d)
{
    bool owned = has_owner(m);
    int err = owned ? EBUSY : pshared_mutex_trylock(m);
    if (err != EBUSY)
        return err;
    bind(m);
    struct native_wait w = {.call = real_lock, .object = m, .d = d};
    err = wait_for_lock(&w);
    if (!gives_lock(err))
        unbind(owned);
    return err;
}

int pshared_mutex_trylock(pthread_mutex_t *m)
{
    bool owned = has_owner(m);
    bind(m);
    struct g *gp = native_begin(false);
    int err = REAL(pthread_mutex_trylock)(m);
    native_end(gp, false);
    if (!gives_lock(err))
        unbind(owned);
    return err;
}

/* The mutex may be gone once it is unlocked. */
int pshared_mutex_unlock(pthread_mutex_t *m)
{
    bool owned = has_owner(m);
    struct g *gp = native_begin(false);
    int err = REAL(pthread_mutex_unlock)(m);
    native_end(gp, false);
    if (err == 0)
        unbind(owned);
    return err;
}

int pshared_mutex_consistent(pthread_mutex_t *m)
{
    struct g *gp = native_begin(false);
    int err = REAL(pthread_mutex_consistent)(m);
    native_end(gp, false);
    return err;
}

int pshared_mutex_setprioceiling(pthread_mutex_t *m, int ceiling, int *old)
{
    bind(m);
    struct g *gp = native_begin(true);
    int err = REAL(pthread_mutex_setprioceiling)(m, ceiling, old);
    native_end(gp, true);
    rt_unlock_m();
    return err;
}

/* --- condition variables ------------------------------------------------------------------ */

static void real_cond_wait(struct native_wait *w)
{
    if (w->d.at == NULL)
        w->err = REAL(pthread_cond_wait)(w->object, w->m);
    else
        w->err = REAL(pthread_cond_clockwait)(w->object, w->m, w->d.clock, w->d.at);
}

/* The mutex of a shared condition is shared itself, or becomes so. */
int pshared_cond_wait(pthread_cond_t *c, pthread_mutex_t *m, struct deadline d)
{
    struct native_wait w = {.call = real_cond_wait, .object = c, .m = m, .d = d};
    if (!mutex_is_special(m)) {
        if (!mutex_may_unlock(m))
            return EPERM;
        mutex_share(m);
    }
    sync_cancel_point();
    if (!wait_natively(&w, true)) {
        sync_cancel_point();
        return 0; /* never: nothing but its own cancellation ends it so */
    }
    return w.err;
}

static void real_rwlock(struct native_wait *w)
{
    pthread_rwlock_t *l = w->object;
    struct deadline d = w->d;
    if (d.at == NULL)
        w->err =
            w->write ? REAL(pthread_rwlock_wrlock)(l) : REAL(pthread_rwlock_rdlock)(l);
    else if (w->write)
        w->err = REAL(pthread_rwlock_clockwrlock)(l, d.clock, d.at);
    else
        w->err = REAL(pthread_rwlock_clockrdlock)(l, d.clock, d.at);
}

/* A writer is known by its tid (EDEADLK): that of the kernel thread, since tids of Gs mean
 * nothing to another process. */
int pshared_rwlock_lock(pthread_rwlock_t *l, struct deadline d, bool write)
{
    struct native_wait w = {.call = real_rwlock, .object = l, .d = d, .write = write};
    rt_lock_m();
    int err = wait_for_lock(&w);
    if (err != 0 || !write)
        rt_unlock_m();
    return err;
}

int pshared_rwlock_try(pthread_rwlock_t *l, bool write)
{
    rt_lock_m();
    struct g *gp = native_begin(false);
    int err =
        write ? REAL(pthread_rwlock_trywrlock)(l) : REAL(pthread_rwlock_tryrdlock)(l);
    native_end(gp, false);
    if (err != 0 || !write)
        rt_unlock_m();
    return err;
}

int pshared_rwlock_unlock(pthread_rwlock_t *l)
{
    struct g *gp = native_begin(false);
    bool write = l->__data.__cur_writer == (int)libc_tid();
    int err = REAL(pthread_rwlock_unlock)(l);
    native_end(gp, false);
    if (write)
        rt_unlock_m();
    return err;
}

static void real_sem_wait(struct native_wait *w)
{
    int r = w->d.at == NULL ? REAL(sem_wait)(w->object)
                            : REAL(sem_clockwait)(w->object, w->d.clock, w->d.at);
    w->err = r == 0 ? 0 : errno; /* of the identity that it ran with */
}

int pshared_sem_wait(sem_t *s, struct deadline d)
{
    struct native_wait w = {.call = real_sem_wait, .object = s, .d = d};
    if (REAL(sem_trywait)(s) == 0)
        return 0;
    if (!wait_natively(&w, true))
        sync_cancel_point(); /* does not return */
    return w.err;
}

int pshared_barrier_wait(pthread_barrier_t *b)
{
    rt_block_begin(true);
    int err = REAL(pthread_barrier_wait)(b);
    rt_block_end();
    return err;
}
