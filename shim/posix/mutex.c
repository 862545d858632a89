/* mutex.c - pthread_mutex_*; the work is in sync/mutex.c. */
#include "shim/posix/posix.h"

EXPORT int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
    /* glibc's own: it checks the attribute and stores the kind, which is all we need. */
    return REAL(pthread_mutex_init)(m, attr);
}

EXPORT int pthread_mutex_destroy(pthread_mutex_t *m)
{
    PASS(pthread_mutex_destroy, m);
    return mutex_destroy(m);
}

EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
{
    PASS(pthread_mutex_lock, m);
    return mutex_lock(m);
}

EXPORT int pthread_mutex_trylock(pthread_mutex_t *m)
{
    PASS(pthread_mutex_trylock, m);
    return mutex_trylock(m);
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *m)
{
    PASS(pthread_mutex_unlock, m);
    return mutex_unlock(m);
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *m, const struct timespec *abstime)
{
    PASS(pthread_mutex_timedlock, m, abstime);
    return mutex_timedlock(m, (struct deadline){CLOCK_REALTIME, abstime});
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock,
                                   const struct timespec *abstime)
{
    PASS(pthread_mutex_clocklock, m, clock, abstime);
    return mutex_timedlock(m, (struct deadline){clock, abstime});
}

EXPORT int pthread_mutex_consistent(pthread_mutex_t *m)
{
    return pshared_mutex_consistent(m);
}

EXPORT int pthread_mutex_getprioceiling(const pthread_mutex_t *m, int *ceiling)
{
    return REAL(pthread_mutex_getprioceiling)(m, ceiling);
}

EXPORT int pthread_mutex_setprioceiling(pthread_mutex_t *m, int ceiling, int *old)
{
    return pshared_mutex_setprioceiling(m, ceiling, old);
}

/* <pthread.h> renames this one to the new name; old binaries import it. */
EXPORT extern __typeof__(pthread_mutex_consistent) old_consistent_np __asm__(
    "pthread_mutex_consistent_np")
    __attribute__((alias("pthread_mutex_consistent"), nothrow, leaf));
ALIAS(__pthread_mutex_init, pthread_mutex_init);
ALIAS(__pthread_mutex_destroy, pthread_mutex_destroy);
ALIAS(__pthread_mutex_lock, pthread_mutex_lock);
ALIAS(__pthread_mutex_trylock, pthread_mutex_trylock);
ALIAS(__pthread_mutex_unlock, pthread_mutex_unlock);
