/* c11.c - <threads.h>.  libc's own versions call its internals past our names. */
#include "shim/posix/posix.h"
#include "shim/posix/thread.h"

static int to_thrd(int err)
{
    switch (err) {
    case 0:
        return thrd_success;
    case ENOMEM:
    case EAGAIN: /* pthread_create's word for no memory, as glibc maps it */
        return thrd_nomem;
    case ETIMEDOUT:
        return thrd_timedout;
    case EBUSY:
        return thrd_busy;
    default:
        return thrd_error;
    }
}

static pthread_mutex_t *mtx(mtx_t *m)
{
    return (pthread_mutex_t *)m;
}

static pthread_cond_t *cnd(cnd_t *c)
{
    return (pthread_cond_t *)c;
}

/* --- threads -------------------------------------------------------------------------- */

EXPORT int thrd_create(thrd_t *t, thrd_start_t start, void *arg)
{
    if (!posix_start())
        return REAL(thrd_create)(t, start, arg);
    return to_thrd(
        thread_create((pthread_t *)t, NULL, (void *(*)(void *))(void *)start, arg, true));
}

EXPORT int thrd_join(thrd_t t, int *ret)
{
    void *value;
    int err = pthread_join((pthread_t)t, &value);
    if (err == 0 && ret != NULL)
        *ret = (int)(intptr_t)value;
    return to_thrd(err);
}

EXPORT int thrd_detach(thrd_t t)
{
    return to_thrd(pthread_detach((pthread_t)t));
}

EXPORT _Noreturn void thrd_exit(int ret)
{
    pthread_exit((void *)(intptr_t)ret);
}

EXPORT void thrd_yield(void)
{
    sched_yield();
}

EXPORT int thrd_sleep(const struct timespec *duration, struct timespec *left)
{
    int err = clock_nanosleep(CLOCK_REALTIME, 0, duration, left);
    return err == 0 ? 0 : err == EINTR ? -1 : -2;
}

/* --- mutexes --------------------------------------------------------------------------- */

EXPORT int mtx_init(mtx_t *m, int type)
{
    pthread_mutexattr_t attr;
    PASS(mtx_init, m, type);
    if ((type & ~(mtx_plain | mtx_timed | mtx_recursive)) != 0)
        return thrd_error;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, (type & mtx_recursive) != 0 ? PTHREAD_MUTEX_RECURSIVE
                                                                 : PTHREAD_MUTEX_NORMAL);
    return to_thrd(pthread_mutex_init(mtx(m), &attr));
}

EXPORT void mtx_destroy(mtx_t *m)
{
    pthread_mutex_destroy(mtx(m));
}

EXPORT int mtx_lock(mtx_t *m)
{
    return to_thrd(pthread_mutex_lock(mtx(m)));
}

EXPORT int mtx_trylock(mtx_t *m)
{
    return to_thrd(pthread_mutex_trylock(mtx(m)));
}

EXPORT int mtx_timedlock(mtx_t *m, const struct timespec *abstime)
{
    return to_thrd(pthread_mutex_timedlock(mtx(m), abstime));
}

EXPORT int mtx_unlock(mtx_t *m)
{
    return to_thrd(pthread_mutex_unlock(mtx(m)));
}

/* --- condition variables ----------------------------------------------------------------- */

EXPORT int cnd_init(cnd_t *c)
{
    return to_thrd(pthread_cond_init(cnd(c), NULL));
}

EXPORT void cnd_destroy(cnd_t *c)
{
    pthread_cond_destroy(cnd(c));
}

EXPORT int cnd_signal(cnd_t *c)
{
    return to_thrd(pthread_cond_signal(cnd(c)));
}

EXPORT int cnd_broadcast(cnd_t *c)
{
    return to_thrd(pthread_cond_broadcast(cnd(c)));
}

EXPORT int cnd_wait(cnd_t *c, mtx_t *m)
{
    return to_thrd(pthread_cond_wait(cnd(c), mtx(m)));
}

EXPORT int cnd_timedwait(cnd_t *c, mtx_t *m, const struct timespec *abstime)
{
    return to_thrd(pthread_cond_timedwait(cnd(c), mtx(m), abstime));
}

EXPORT void call_once(once_flag *once, void (*fn)(void))
{
    pthread_once((pthread_once_t *)once, fn);
}
