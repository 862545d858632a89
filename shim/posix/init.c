/* init.c - the constructor, and the runtime's upcalls.
 *
 * The constructor does no more than a process without threads can afford: where the tid is,
 * who is the main thread, whether to stay out of the way, and what to do in a child of fork.
 * Entry points may be called before it; they then see a process with one foreign thread.
 */
#include <signal.h>
#include <stdlib.h>

#include "preempt/preempt.h"
#include "shim/posix/block.h"
#include "shim/posix/fork.h"
#include "shim/posix/bound.h"
#include "shim/posix/posix.h"
#include "shim/posix/sched.h"
#include "shim/posix/signal.h"
#include "shim/posix/sys.h"
#include "shim/rt/config.h"
#include "shim/sync/io.h"

bool posix_off;

void posix_fork_child(void)
{
    signal_forked();
    park_forget();
    once_forked();
    sys_file_forked();
    system_forked();
    bound_show_slack();
    preempt_forked();
    rt_fork_child();
}

/* pthread_exit in main ends here, on the frame of libc's start-up code. */
static ARCH_JUMP_TARGET void main_exit(void)
{
    struct g *gp = rt_self();
    libc_main_finish();
    if (gp !=
        NULL) /* else in a child of fork, which had forgotten it before this began */
        sys_file_abandon(gp);
    join_last();
    signal_end(gp);
    join_exit(gp, gp->exiting ? gp->ret : PTHREAD_CANCELED);
}

/* Somebody left something for this G to do (g.attention). */
static void attention(struct g *gp)
{
    if (gp->starting || gp->sig_landing) /* it looks when it goes on */
        return;
    do {
        st_rlx(&gp->attention, false);
        fence_sig();
        sched_attention(gp);
        timers_attention(gp);
        signal_attention(gp);
        if (!gp->hold && libc_cancel_at_once(gp->tcb))
            block_act();
    } while (unlikely(ld_rlx(&gp->attention)));
}

static void prepare(void)
{
    signal_prepare(preempt_prepare());
    setxid_start();
}

bool posix_start(void)
{
    static const struct rt_hooks hooks = {
        .sysmon = sysmon_main,
        .prepare = prepare,
        .main_exit = main_exit,
        .attention = attention,
        .landed = signal_landed,
        .left = signal_left,
        .io_ready = io_ready,
        .ended = join_publish,
    };
    if (posix_off || !rt_start(&hooks))
        return false;
    signal_start();
    return true;
}

__attribute__((constructor(101))) static void construct(void)
{
    if (real_old_libc()) {
        real_init_old();
        posix_off = true;
        config_load();
        if (!rt_config.off)
            os_log("passing threads through to the C library: it is older than 2.34");
        return;
    }
    libc_early();
    rt_note_main();
    if (getenv("GSHIM_DEBUG") != NULL) {
        config_load();
        posix_off = rt_config.off;
    }
    if (!posix_off)
        fork_register();
}

/* exit, or the return of main; the program's own handlers have run. */
__attribute__((destructor)) static void destruct(void)
{
    trace_finish();
}

/* _exit - leave at once, but with a complete trace.  libc's own ends by these, too, where it calls
 * them by name (exit does not). */
EXPORT void _exit(int status)
{
    trace_finish();
    os_exit(status);
}

EXPORT void _Exit(int status)
{
    _exit(status);
}
