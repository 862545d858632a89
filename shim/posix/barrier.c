/* barrier.c - pthread_barrier_*, pthread_once, pthread_spin_lock. */
#include "shim/posix/posix.h"

EXPORT int pthread_barrier_init(pthread_barrier_t *b, const pthread_barrierattr_t *attr,
                                unsigned count)
{
    PASS(pthread_barrier_init, b, attr, count);
    return barrier_init(b, attr, count);
}

EXPORT int pthread_barrier_destroy(pthread_barrier_t *b)
{
    PASS(pthread_barrier_destroy, b);
    return barrier_destroy(b);
}

EXPORT int pthread_barrier_wait(pthread_barrier_t *b)
{
    PASS(pthread_barrier_wait, b);
    return barrier_wait(b);
}

EXPORT int pthread_once(pthread_once_t *once, void (*fn)(void))
{
    PASS(pthread_once, once, fn);
    return once_run(once, fn);
}

EXPORT extern __typeof__(pthread_once) __pthread_once
    __attribute__((alias("pthread_once")));

/* The word's values are the C library's, whose trylock and unlock we leave alone.  A holder
 * that is off its CPU only comes back if we let it: yield after a few hundred tries. */
EXPORT int pthread_spin_lock(pthread_spinlock_t *lock)
{
    real_pthread_spin_trylock_fn *try = REAL(pthread_spin_trylock);
    for (unsigned i = 1; try(lock) != 0; i++) {
        if (i % 256 != 0)
            arch_pause();
        else
            sched_yield();
    }
    return 0;
}
