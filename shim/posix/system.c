/* system.c - system(), which libc makes of calls inside itself.
 *
 * Those would change the kernel's handlers and mask, and not what the program is shown of
 * them; and the command would find the preemption signal open that the caller has blocked, or not
 * ignored that it ignores.  So it is made here, of our own: SIGINT and SIGQUIT are ignored as long
 * as any thread is in here, SIGCHLD is blocked in the caller, the command gets the actions and
 * the mask from before; and if the caller is cancelled meanwhile, the command is killed.
 * Source: glibc sysdeps/posix/system.c, whose results it gives.
 */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim/posix/posix.h"
#include "shim/posix/signal.h"

static struct {
    pthread_mutex_t lock;
    uint32_t users;              /* under lock */
    struct sigaction intr, quit; /* under lock: from before the first user */
} sys = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct call {
    sigset_t mask;
    pid_t pid;
};

static void begin(struct call *c, sigset_t *to_default)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t child;
    sigemptyset(to_default);
    pthread_mutex_lock(&sys.lock);
    if (sys.users++ == 0) {
        sigaction(SIGINT, &ignore, &sys.intr);
        sigaction(SIGQUIT, &ignore, &sys.quit);
    }
    if (sys.intr.sa_handler != SIG_IGN)
        sigaddset(to_default, SIGINT);
    if (sys.quit.sa_handler != SIG_IGN)
        sigaddset(to_default, SIGQUIT);
    pthread_mutex_unlock(&sys.lock);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &child, &c->mask);
    signal_mask_sync(); /* if all block it now, nobody has taken it when it is unblocked */
}

static void end(const struct call *c)
{
    pthread_mutex_lock(&sys.lock);
    if (--sys.users == 0) {
        sigaction(SIGINT, &sys.intr, NULL);
        sigaction(SIGQUIT, &sys.quit, NULL);
    }
    pthread_mutex_unlock(&sys.lock);
    pthread_sigmask(SIG_SETMASK, &c->mask, NULL);
}

void system_forked(void)
{
    sys.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static int wait_for(pid_t pid)
{
    int status;
    pid_t r;
    while ((r = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        ;
    return r == pid ? status : -1;
}

static void cancelled(void *arg)
{
    struct call *c = arg;
    kill(c->pid, SIGKILL);
    wait_for(c->pid);
    end(c);
}

static int start(struct call *c, const char *line, const sigset_t *to_default)
{
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
                    (char *)(uintptr_t)line, NULL};
    posix_spawnattr_t attr;
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &c->mask);
    posix_spawnattr_setsigdefault(&attr, to_default);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int err = posix_spawn(&c->pid, "/bin/sh", NULL, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    return err;
}

static int run(const char *line)
{
    struct call c;
    sigset_t to_default;
    int status = 127 << 8; /* as if the shell could not be executed */
    begin(&c, &to_default);
    int err = start(&c, line, &to_default);
    if (err == 0) {
        pthread_cleanup_push(cancelled, &c);
        status = wait_for(c.pid);
        pthread_cleanup_pop(0);
        err = errno;
    }
    end(&c);
    errno = err;
    return status;
}

EXPORT int system(const char *line)
{
    if (rt_self() == NULL)
        return REAL(system)(line);
    if (line == NULL)
        return run("exit 0") == 0;
    return run(line);
}
