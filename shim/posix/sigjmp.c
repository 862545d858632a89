/* sigjmp.c - jumps and contexts that bring a signal mask along.
 *
 * libc sets the kernel's mask by its own system call then, which we do not see; so the G's
 * mask is set first, by our own, and libc does the rest.  A context's mask is mostly that of
 * now, and then there is nothing to do before.
 */
#include <setjmp.h>
#include <ucontext.h>

#include "shim/posix/posix.h"
#include "shim/posix/signal.h"
#include "shim/posix/sys.h"

static void before_jump(const struct __jmp_buf_tag *env)
{
    struct g *gp = rt_self();
    if (gp == NULL)
        return;
    sys_file_abandon(gp);
    if (env->__mask_was_saved)
        pthread_sigmask(SIG_SETMASK, (const sigset_t *)&env->__saved_mask, NULL);
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

/* Does CTX ask for another mask than the calling G has? */
static bool other_mask(const ucontext_t *ctx)
{
    struct g *gp = rt_self();
    return gp != NULL && signal_mask_of(&ctx->uc_sigmask) != rt_kernel_mask(gp->sigmask);
}

EXPORT int setcontext(const ucontext_t *to)
{
    if (other_mask(to))
        pthread_sigmask(SIG_SETMASK, &to->uc_sigmask, NULL);
    return REAL(setcontext)(to);
}

EXPORT int swapcontext(ucontext_t *from, const ucontext_t *to)
{
    volatile bool back = false;
    if (!other_mask(to))
        return REAL(swapcontext)(from, to);
    /* FROM must keep the mask of now: save it before the other is set. */
    if (getcontext(from) != 0)
        return -1;
    if (back)
        return 0;
    back = true;
    return setcontext(to);
}
