/* sem.c - sem_*; the work is in sync/sem.c.  Named ones are made by libc, and used here. */
#include "shim/posix/posix.h"

EXPORT int sem_init(sem_t *s, int shared, unsigned value)
{
    PASS(sem_init, s, shared, value);
    EXIT_ERRNO(sync_sem_init(s, shared, value));
}

EXPORT int sem_wait(sem_t *s)
{
    PASS(sem_wait, s);
    EXIT_ERRNO(sync_sem_wait(s, NO_DEADLINE));
}

EXPORT int sem_trywait(sem_t *s)
{
    PASS(sem_trywait, s);
    if (libc_sem_is_shared(s))
        return REAL(sem_trywait)(s);
    EXIT_ERRNO(sync_sem_trywait(s));
}

EXPORT int sem_timedwait(sem_t *s, const struct timespec *abstime)
{
    PASS(sem_timedwait, s, abstime);
    EXIT_ERRNO(sync_sem_wait(s, (struct deadline){CLOCK_REALTIME, abstime}));
}

EXPORT int sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *abstime)
{
    PASS(sem_clockwait, s, clock, abstime);
    EXIT_ERRNO(sync_sem_wait(s, (struct deadline){clock, abstime}));
}

EXPORT int sem_post(sem_t *s)
{
    PASS(sem_post, s);
    if (libc_sem_is_shared(s))
        return REAL(sem_post)(s);
    EXIT_ERRNO(sync_sem_post(s));
}
