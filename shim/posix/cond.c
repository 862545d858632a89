/* cond.c - pthread_cond_*; the work is in sync/cond.c. */
#include "shim/posix/posix.h"

EXPORT int pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr)
{
    PASS(pthread_cond_init, c, attr);
    return cond_init(c, attr);
}

EXPORT int pthread_cond_destroy(pthread_cond_t *c)
{
    PASS(pthread_cond_destroy, c);
    return cond_destroy(c);
}

EXPORT int pthread_cond_signal(pthread_cond_t *c)
{
    PASS(pthread_cond_signal, c);
    return cond_signal(c);
}

EXPORT int pthread_cond_broadcast(pthread_cond_t *c)
{
    PASS(pthread_cond_broadcast, c);
    return cond_broadcast(c);
}

EXPORT int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    PASS(pthread_cond_wait, c, m);
    return cond_wait(c, m, NO_DEADLINE);
}

EXPORT int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
                                  const struct timespec *abstime)
{
    PASS(pthread_cond_timedwait, c, m, abstime);
    return cond_wait(c, m, (struct deadline){cond_clock(c), abstime});
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock,
                                  const struct timespec *abstime)
{
    PASS(pthread_cond_clockwait, c, m, clock, abstime);
    struct deadline d = {clock, abstime};
    int err = deadline_clock(d);
    return err != 0 ? err : cond_wait(c, m, d);
}
