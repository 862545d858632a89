/* api.c - the functions of gshim.h. */
#include "shim/gshim.h"

#include <sched.h>

#include "preempt/preempt.h"
#include "shim/posix/posix.h"
#include "shim/rt/config.h"
#include "shim/rt/debug.h"

EXPORT void gshim_yield(void)
{
    sched_yield();
}

EXPORT size_t gshim_num_threads(void)
{
    return rt_is_started() ? ld_rlx(&sched.ng) : 1;
}

EXPORT unsigned gshim_maxprocs(void)
{
    return posix_start() ? ld_rlx(&sched.np) : 0;
}

EXPORT void gshim_lock_os_thread(void)
{
    if (posix_start())
        rt_lock_m();
}

EXPORT void gshim_unlock_os_thread(void)
{
    if (rt_is_started())
        rt_unlock_m();
}

EXPORT void gshim_dump_threads(int fd)
{
    debug_dump_threads(fd);
}

EXPORT void gshim_dump_code(int fd)
{
    uintptr_t lo, hi;
    debug_dump_code(fd);
    for (uint32_t i = 0; preempt_unsafe_get(i, &lo, &hi); i++)
        if (lo != 0)
            os_print(fd, "%lx-%lx unsafe (GSHIM_UNSAFE)\n", lo, hi);
}

EXPORT unsigned long long gshim_preemptions(void)
{
    return ld_rlx(&preempt_counts[PREEMPT_YES]) +
           ld_rlx(&preempt_counts[PREEMPT_YES_PROLOGUE]);
}

EXPORT void gshim_split_stack(void)
{
    st_rlx(&rt_guards_used, true);
}

EXPORT unsigned gshim_set_maxprocs(unsigned n)
{
    if (!posix_start())
        return 0;
    preempt_stop_the_world("maxprocs");
    unsigned before = proc_set_maxprocs(n != 0 ? n : rt_config.maxprocs);
    preempt_start_the_world();
    return before;
}

EXPORT void gshim_preempt_off(const char *reason)
{
    rt_preempt_off(reason);
}

EXPORT void gshim_preempt_on(void)
{
    rt_preempt_on();
}

EXPORT void gshim_stop_the_world(const char *reason)
{
    if (posix_start())
        preempt_stop_the_world(reason);
}

EXPORT void gshim_start_the_world(void)
{
    if (rt_is_started())
        preempt_start_the_world();
}

EXPORT int gshim_unsafe_range(const void *begin, const void *end)
{
    return preempt_unsafe_range(begin, end) ? 0 : ENOMEM;
}

EXPORT void gshim_unsafe_gone(const void *begin)
{
    preempt_safe_again(begin);
}
