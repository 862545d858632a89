/* rwlock.c - pthread_rwlock_*; the work is in sync/rwlock.c. */
#include "shim/posix/posix.h"

EXPORT int pthread_rwlock_init(pthread_rwlock_t *l, const pthread_rwlockattr_t *attr)
{
    PASS(pthread_rwlock_init, l, attr);
    return rwlock_init(l, attr);
}

EXPORT int pthread_rwlock_destroy(pthread_rwlock_t *l)
{
    PASS(pthread_rwlock_destroy, l);
    return rwlock_destroy(l);
}

EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
    PASS(pthread_rwlock_rdlock, l);
    return rwlock_rdlock(l, NO_DEADLINE);
}

EXPORT int pthread_rwlock_tryrdlock(pthread_rwlock_t *l)
{
    PASS(pthread_rwlock_tryrdlock, l);
    return rwlock_tryrdlock(l);
}

EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *l, const struct timespec *abstime)
{
    PASS(pthread_rwlock_timedrdlock, l, abstime);
    return rwlock_rdlock(l, (struct deadline){CLOCK_REALTIME, abstime});
}

EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *l, clockid_t clock,
                                      const struct timespec *abstime)
{
    PASS(pthread_rwlock_clockrdlock, l, clock, abstime);
    struct deadline d = {clock, abstime};
    int err = deadline_clock(d);
    return err != 0 ? err : rwlock_rdlock(l, d);
}

EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
    PASS(pthread_rwlock_wrlock, l);
    return rwlock_wrlock(l, NO_DEADLINE);
}

EXPORT int pthread_rwlock_trywrlock(pthread_rwlock_t *l)
{
    PASS(pthread_rwlock_trywrlock, l);
    return rwlock_trywrlock(l);
}

EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *l, const struct timespec *abstime)
{
    PASS(pthread_rwlock_timedwrlock, l, abstime);
    return rwlock_wrlock(l, (struct deadline){CLOCK_REALTIME, abstime});
}

EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *l, clockid_t clock,
                                      const struct timespec *abstime)
{
    PASS(pthread_rwlock_clockwrlock, l, clock, abstime);
    struct deadline d = {clock, abstime};
    int err = deadline_clock(d);
    return err != 0 ? err : rwlock_wrlock(l, d);
}

EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *l)
{
    PASS(pthread_rwlock_unlock, l);
    return rwlock_unlock(l);
}

ALIAS(__pthread_rwlock_init, pthread_rwlock_init);
ALIAS(__pthread_rwlock_destroy, pthread_rwlock_destroy);
ALIAS(__pthread_rwlock_rdlock, pthread_rwlock_rdlock);
ALIAS(__pthread_rwlock_tryrdlock, pthread_rwlock_tryrdlock);
ALIAS(__pthread_rwlock_wrlock, pthread_rwlock_wrlock);
ALIAS(__pthread_rwlock_trywrlock, pthread_rwlock_trywrlock);
ALIAS(__pthread_rwlock_unlock, pthread_rwlock_unlock);
