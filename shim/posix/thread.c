/* thread.c - pthread_create, _join, _detach, _exit and their C11 cousins' common half. */
#include "shim/posix/thread.h"

#include <string.h>
#include <sys/resource.h>

#include "shim/posix/bound.h"
#include "shim/posix/posix.h"
#include "shim/posix/sched.h"
#include "shim/posix/signal.h"
#include "shim/posix/sys.h"

/* Defaults for threads made without attributes: read when the runtime starts, and again when
 * the program changes them.  Once it has, there is more to them than sizes. */
static struct {
    bool known;
    bool given; /* by pthread_setattr_default_np; atomic */
    size_t stack_bytes, guard_bytes;
} defaults;

static void read_sizes(const pthread_attr_t *attr, struct g_attr *ga)
{
    void *addr;
    size_t raw;
    int detach;
    pthread_attr_getstack(attr, &addr, &raw);
    pthread_attr_getstacksize(attr, &ga->stack_bytes);
    pthread_attr_getguardsize(attr, &ga->guard_bytes);
    pthread_attr_getdetachstate(attr, &detach);
    ga->detached = detach == PTHREAD_CREATE_DETACHED;
    /* glibc: a stack address that was never set reads as 0 minus the size */
    ga->user_stack = (uintptr_t)addr + raw != 0 ? addr : NULL;
}

static void default_sizes(struct g_attr *ga)
{
    if (!ld_acq(&defaults.known)) { /* MO: acquire <- [D1] */
        pthread_attr_t attr;
        struct g_attr d = {0};
        pthread_getattr_default_np(&attr);
        read_sizes(&attr, &d);
        pthread_attr_destroy(&attr);
        defaults.stack_bytes = d.stack_bytes;
        defaults.guard_bytes = d.guard_bytes;
        st_rel(&defaults.known, true); /* MO: release -> [D1] */
    }
    ga->stack_bytes = defaults.stack_bytes;
    ga->guard_bytes = defaults.guard_bytes;
}

EXPORT int pthread_setattr_default_np(const pthread_attr_t *attr)
{
    int err = REAL(pthread_setattr_default_np)(attr);
    if (err == 0)
        st_rlx(&defaults.given, true);
    st_rel(&defaults.known, false); /* MO: release -> [D1] */
    return err;
}

/* As glibc's allocate_stack: sums that overflow, or leave no room for a frame. */
static int check_sizes(const struct g_attr *ga)
{
    size_t page = os_page_size();
    if (ga->user_stack != NULL)
        return 0;
    if (ga->guard_bytes > SIZE_MAX - page ||
        ga->stack_bytes > SIZE_MAX - ga->guard_bytes - page)
        return EINVAL;
    return ga->stack_bytes < 2048 ? EINVAL : 0;
}

static void run_start(void *arg)
{
    struct g *gp = arg;
    rt_begin(gp);
    void *ret = gp->c11 ? (void *)(intptr_t)((thrd_start_t)(void *)gp->start)(gp->arg)
                        : gp->start(gp->arg);
    gp->ret = ret;
}

/* A thread may still be cancelled, or exit, in a destructor after its function has returned;
 * that counts then, as in glibc. */
static void thread_body(struct g *gp)
{
    libc_thread_begin();
    libc_thread_run(run_start, gp);
    bool canceled = libc_unwound(gp->tcb) && !gp->exiting;
    sys_file_abandon(gp);
    join_last();
    signal_end(gp);
    join_exit(gp, canceled ? PTHREAD_CANCELED : gp->ret);
}

/* What a thread inherits from its creator. */
static void inherit(struct g *gp, const pthread_attr_t *attr)
{
    struct g *self = rt_self();
    sigset_t set;
    if (self != NULL) {
        gp->sigmask = self->sigmask;
        gp->named = self->named;
        memcpy(gp->name, self->name, sizeof gp->name);
    } else {
        os_sigmask(RT_SIG_SETMASK, NULL, &gp->sigmask);
    }
    sched_inherit(gp);
    if (attr != NULL && pthread_attr_getsigmask_np(attr, &set) == 0)
        gp->sigmask = signal_mask_of(&set);
}

static bool is_explicit(const pthread_attr_t *attr)
{
    int inherit_sched = PTHREAD_INHERIT_SCHED;
    if (attr != NULL)
        pthread_attr_getinheritsched(attr, &inherit_sched);
    return inherit_sched == PTHREAD_EXPLICIT_SCHED;
}

static int new_g(struct g **gp, const struct g_attr *ga)
{
    int err = g_new(gp, ga, thread_body);
    if (likely(err != EAGAIN))
        return err;
    sched_yield(); /* what there is too little of may be held by threads that wait to end */
    return g_new(gp, ga, thread_body);
}

static int create(pthread_t *t, const pthread_attr_t *attr, void *(*start)(void *),
                  void *arg, bool c11)
{
    struct g_attr ga = {0};
    struct g *gp;
    if (attr != NULL)
        read_sizes(attr, &ga);
    else
        default_sizes(&ga);
    int err = check_sizes(&ga);
    if (err != 0)
        return err;
    park_room(ld_rlx(&sched.ng) + 1);
    err = new_g(&gp, &ga);
    if (err != 0)
        return err;
    gp->start = start;
    gp->arg = arg;
    gp->c11 = c11;
    gp->sched_explicit = is_explicit(attr);
    inherit(gp, attr);
    err = attr != NULL ? sched_from_attr(gp, attr) : 0;
    if (err == 0)
        err = bound_inherit(gp);
    if (err != 0) {
        g_abandon(gp);
        return err;
    }
    *t = (pthread_t)gp->tcb;
    signal_begin(gp);
    g_start(gp);
    return 0;
}

int thread_create(pthread_t *t, const pthread_attr_t *attr, void *(*start)(void *),
                  void *arg, bool c11)
{
    pthread_attr_t copy;
    if (likely(attr != NULL || !ld_rlx(&defaults.given)))
        return create(t, attr, start, arg, c11);
    int err = pthread_getattr_default_np(&copy);
    if (err != 0)
        return err;
    err = create(t, &copy, start, arg, c11);
    pthread_attr_destroy(&copy);
    return err;
}

EXPORT int pthread_create(pthread_t *t, const pthread_attr_t *attr,
                          void *(*start)(void *), void *arg)
{
    if (!posix_start())
        return REAL(pthread_create)(t, attr, start, arg);
    return thread_create(t, attr, start, arg, false);
}

EXPORT void pthread_exit(void *ret)
{
    struct g *gp = rt_self();
    if (gp != NULL) {
        gp->ret = ret;
        gp->exiting = true;
        rt_hook_main_exit(gp);
    }
    REAL(pthread_exit)(ret);
    __builtin_unreachable();
}

static int join(pthread_t t, void **ret, struct deadline d)
{
    struct g *gp = posix_g(t);
    if (gp != NULL)
        return join_wait(gp, ret, d);
    rt_block_begin(true);
    int err = d.at == NULL ? REAL(pthread_join)(t, ret)
                           : REAL(pthread_clockjoin_np)(t, ret, d.clock, d.at);
    rt_block_end();
    return err;
}

EXPORT int pthread_join(pthread_t t, void **ret)
{
    return join(t, ret, NO_DEADLINE);
}

EXPORT int pthread_tryjoin_np(pthread_t t, void **ret)
{
    struct g *gp = posix_g(t);
    return gp != NULL ? join_try(gp, ret) : REAL(pthread_tryjoin_np)(t, ret);
}

EXPORT int pthread_timedjoin_np(pthread_t t, void **ret, const struct timespec *abstime)
{
    return join(t, ret, (struct deadline){CLOCK_REALTIME, abstime});
}

EXPORT int pthread_clockjoin_np(pthread_t t, void **ret, clockid_t clock,
                                const struct timespec *abstime)
{
    struct deadline d = {clock, abstime};
    int err = deadline_clock(d);
    return err != 0 ? err : join(t, ret, d);
}

EXPORT int pthread_detach(pthread_t t)
{
    struct g *gp = posix_g(t);
    return gp != NULL ? join_detach(gp) : REAL(pthread_detach)(t);
}
