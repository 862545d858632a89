/* exec.c - what a program that is started from here inherits.
 *
 * The preemption signal is not blocked on any M, and has our handler, whatever the program wants.
 * A new program must find its own mask and SIG_IGN.  So around exec and its relatives, if they
 * differ from what the kernel has, the kernel is shown what the program wants: the G's mask on
 * this M, and SIG_IGN for all.  Requests to preempt that get lost meanwhile are repeated.
 * In the common case, signal neither blocked nor ignored, nothing is done.
 * The timer slack of Ms is not the program's either.
 * The entries end in libc's functions; those with a list of arguments make a vector of it, as
 * libc does.
 */
#include <alloca.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shim/posix/bound.h"
#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

struct shown {
    bool ignored, blocked;
    unsigned long slack;
};

static void show(struct shown *s)
{
    struct g *gp = rt_self();
    s->ignored = signal_show_ignored(true);
    s->slack = bound_show_slack();
    s->blocked = gp != NULL && (gp->sigmask & rt_preempt_bit) != 0;
    if (s->blocked) {
        gp->mask_shown = true; /* also after a handler that comes meanwhile */
        gp->m->sigmask = gp->sigmask;
        os_sigmask(RT_SIG_SETMASK, &gp->m->sigmask, NULL);
    }
}

static void hide(const struct shown *s)
{
    struct g *gp = rt_self();
    if (s->blocked && gp != NULL) {
        gp->mask_shown = false;
        gp->m->sigmask = rt_kernel_mask(gp->sigmask);
        os_sigmask(RT_SIG_SETMASK, &gp->m->sigmask, NULL);
    }
    if (s->ignored)
        signal_show_ignored(false);
    if (s->slack != 0)
        os_set_timer_slack(s->slack);
}

#define SHOWN(type, call)                                                                \
    struct shown shown_;                                                                 \
    show(&shown_);                                                                       \
    type result_ = (call);                                                               \
    hide(&shown_);                                                                       \
    return result_

/* --- with a vector ----------------------------------------------------------------------- */

EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
    SHOWN(int, REAL(execve)(path, argv, envp));
}

EXPORT int execv(const char *path, char *const argv[])
{
    SHOWN(int, REAL(execve)(path, argv, environ));
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
    SHOWN(int, REAL(execvpe)(file, argv, envp));
}

EXPORT int execvp(const char *file, char *const argv[])
{
    SHOWN(int, REAL(execvpe)(file, argv, environ));
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
    SHOWN(int, REAL(fexecve)(fd, argv, envp));
}

EXPORT int execveat(int fd, const char *path, char *const argv[], char *const envp[],
                    int flags)
{
    SHOWN(int, REAL(execveat)(fd, path, argv, envp, flags));
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa,
                       const posix_spawnattr_t *attr, char *const argv[],
                       char *const envp[])
{
    SHOWN(int, REAL(posix_spawn)(pid, path, fa, attr, argv, envp));
}

EXPORT int posix_spawnp(pid_t *pid, const char *file,
                        const posix_spawn_file_actions_t *fa,
                        const posix_spawnattr_t *attr, char *const argv[],
                        char *const envp[])
{
    SHOWN(int, REAL(posix_spawnp)(pid, file, fa, attr, argv, envp));
}

EXPORT FILE *popen(const char *command, const char *mode)
{
    SHOWN(FILE *, REAL(popen)(command, mode));
}

/* --- with a list --------------------------------------------------------------------------- */

static size_t count(va_list ap)
{
    size_t n = 1;
    while (va_arg(ap, const char *) != NULL)
        n++;
    return n;
}

/* argv[0] = FIRST, the rest from the list AP, the NULL included. */
#define VECTOR(argv, first, ap)                                                          \
    va_list again_;                                                                      \
    va_start(ap, first);                                                                 \
    va_copy(again_, ap);                                                                 \
    size_t n_ = count(again_);                                                           \
    va_end(again_);                                                                      \
    char **argv = alloca((n_ + 1) * sizeof *argv);                                       \
    argv[0] = (char *)(uintptr_t)(first);                                                \
    for (size_t i_ = 1; i_ <= n_; i_++)                                                  \
    argv[i_] = va_arg(ap, char *)

EXPORT int execl(const char *path, const char *first, ...)
{
    va_list ap;
    VECTOR(argv, first, ap);
    va_end(ap);
    return execve(path, argv, environ);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    va_list ap;
    VECTOR(argv, first, ap);
    va_end(ap);
    return execvpe(file, argv, environ);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    va_list ap;
    VECTOR(argv, first, ap);
    char *const *envp = va_arg(ap, char *const *);
    va_end(ap);
    return execve(path, argv, envp);
}
