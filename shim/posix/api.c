/* api.c - the functions of gshim.h. */
#include "shim/gshim.h"

#include <sched.h>

#include "preempt/preempt.h"
#include "shim/posix/posix.h"
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
    debug_dump_code(fd);
}

EXPORT unsigned long long gshim_preemptions(void)
{
    return ld_rlx(&preempt_counts[PREEMPT_YES]);
}
