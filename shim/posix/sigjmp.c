/* sigjmp.c - jumps and contexts that bring a signal mask along.
 *
 * libc sets the kernel's mask by its own system call then, which we do not see; so the G's
 * mask is set first, by our own, and libc does the rest.  A context's mask is mostly that of
 * now, and then there is nothing to do before.
 * libc saved the kernel's mask, which never has the preemption signal.  So if that is the G's of now
 * without this signal, or, in a handler, of what the handler interrupted, it is taken for that.
 * When the function of a context returns, libc goes on in uc_link by a call inside itself.  So
 * whenever a context is about to begin its function (what it returns to is where libc lets them
 * all return to), that is made to be ours, which calls our setcontext.
 * Rejected: a makecontext of our own.  Contexts are also made before we are asked for anything.
 */
#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>

#include "shim/posix/posix.h"
#include "shim/posix/signal.h"
#include "shim/posix/sys.h"

/* SEEN was the kernel's when the jump's target was set. */
static uint64_t saved_mask(struct g *gp, uint64_t seen)
{
    bool out = rt_in_handler(gp, (uintptr_t)__builtin_frame_address(0));
    if (out && rt_kernel_mask(gp->handler_over) == seen)
        return gp->handler_over;
    return rt_kernel_mask(gp->sigmask) == seen ? gp->sigmask : seen;
}

static void before_jump(const struct __jmp_buf_tag *env)
{
    struct g *gp = rt_self();
    sigset_t set;
    if (gp == NULL)
        return;
    sys_file_abandon(gp);
    if (env->__mask_was_saved) {
        signal_set_of(
            &set, saved_mask(gp, signal_mask_of((const sigset_t *)&env->__saved_mask)));
        pthread_sigmask(SIG_SETMASK, &set, NULL);
    }
}

#define JUMP(name)                                                                       \
    EXPORT void name(struct __jmp_buf_tag env[1], int val)                               \
    {                                                                                    \
        before_jump(env);                                                                \
        REAL(name)(env, val);                                                            \
        __builtin_unreachable();                                                         \
    }

extern _Noreturn void __longjmp_chk(struct __jmp_buf_tag env[1], int val);

JUMP(longjmp)
JUMP(_longjmp)
JUMP(siglongjmp)
JUMP(__longjmp_chk)

/* --- contexts ----------------------------------------------------------------------------- */

static uintptr_t
    libc_end; /* where libc's contexts return to; atomic, all write the same */

static void context_next(void *link)
{
    if (link != NULL)
        setcontext(link);
    exit(link == NULL ? EXIT_SUCCESS : EXIT_FAILURE); /* as libc */
}

static void never(void)
{
}

static uintptr_t find_end(void)
{
    char stack[1024] __attribute__((aligned(16)));
    ucontext_t uc;
    getcontext(&uc);
    uc.uc_stack.ss_sp = stack;
    uc.uc_stack.ss_size = sizeof stack;
    makecontext(&uc, never, 0);
    uintptr_t *at = arch_uc_return(&uc);
    return at != NULL ? *at : 0;
}

/* CTX is about to be gone on in. */
static void see_to_end(const ucontext_t *ctx)
{
    uintptr_t *at = arch_uc_return(ctx), end = ld_acq(&libc_end);
    if (at == NULL)
        return;
    if (unlikely(end == 0)) {
        arch_context_next = context_next;
        end = find_end();
        st_rel(&libc_end, end); /* MO: release -> the acquire above: arch_context_next */
    }
    if (unlikely(*at == end))
        *at = (uintptr_t)arch_context_end;
}

/* Does CTX ask for another mask than the calling G has? */
static bool other_mask(const ucontext_t *ctx)
{
    struct g *gp = rt_self();
    return gp != NULL && signal_mask_of(&ctx->uc_sigmask) != rt_kernel_mask(gp->sigmask);
}

EXPORT int setcontext(const ucontext_t *to)
{
    see_to_end(to);
    if (other_mask(to))
        pthread_sigmask(SIG_SETMASK, &to->uc_sigmask, NULL);
    return REAL(setcontext)(to);
}

EXPORT int swapcontext(ucontext_t *from, const ucontext_t *to)
{
    volatile bool back = false;
    if (!other_mask(to)) {
        see_to_end(to);
        return REAL(swapcontext)(from, to);
    }
    /* FROM must keep the mask of now: save it before the other is set. */
    if (getcontext(from) != 0)
        return -1;
    if (back)
        return 0;
    back = true;
    return setcontext(to);
}
