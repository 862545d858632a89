/* sigurg.c - a program may use the signal that preempts its threads.
 *
 *   handler   out-of-band data on a socket calls the program's handler, once each time, and
 *             nothing else does, while spinners are preempted
 *   blocked   every thread blocks SIGURG and is told so; a SIGURG stays pending and is delivered
 *             when it is unblocked; spinners give way all the same
 *   asked     sigaction and pthread_sigmask answer what the program has set
 *   children  a program started by posix_spawn, by fork and exec, or by popen has the mask and
 *             the disposition of the thread that started it
 *
 * Valid without the library, too. */

#include "compat-tests/stress/stress.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { SPINNERS = 3, SENDS = 200 };

static volatile bool enough;
static volatile unsigned long count[SPINNERS][16];
static _Atomic int urgent;
static const char *self;

static void on_urgent(int sig)
{
    CHECK(sig == SIGURG, "signal %d", sig);
    urgent++;
}

static void set_action(void (*handler)(int))
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART}, now;

    sigemptyset(&sa.sa_mask);
    OKSYS(sigaction(SIGURG, &sa, NULL));
    OKSYS(sigaction(SIGURG, NULL, &now));
    CHECK(now.sa_handler == handler, "sigaction answers another handler");
}

static void set_blocked(bool blocked)
{
    sigset_t set, now;

    sigemptyset(&set);
    sigaddset(&set, SIGURG);
    OK0(pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL));
    OK0(pthread_sigmask(SIG_BLOCK, NULL, &now));
    CHECK(sigismember(&now, SIGURG) == blocked, "pthread_sigmask answers another mask");
}

static void *spinner(void *arg)
{
    long id = (long)arg;

    while (!enough)
        count[id][0]++;
    return arg;
}

/* Each spinner gets its turns, or this does not end. */
static void all_spin(void)
{
    unsigned long before[SPINNERS];

    for (int i = 0; i < SPINNERS; i++)
        before[i] = count[i][0];
    for (int i = 0; i < SPINNERS; i++)
        while (count[i][0] == before[i])
            ;
}

static void begin(pthread_t *t)
{
    enough = false;
    for (long i = 0; i < SPINNERS; i++)
        stress_create(&t[i], spinner, (void *)i);
}

static void end(pthread_t *t)
{
    enough = true;
    for (long i = 0; i < SPINNERS; i++)
        stress_join(t[i], (void *)i);
}

static void connected(int fd[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof(a);
    int l = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    OKSYS(bind(l, (struct sockaddr *)&a, sizeof(a)));
    OKSYS(listen(l, 1));
    OKSYS(getsockname(l, (struct sockaddr *)&a, &n));
    OKSYS(fd[0] = socket(AF_INET, SOCK_STREAM, 0));
    OKSYS(connect(fd[0], (struct sockaddr *)&a, sizeof(a)));
    OKSYS(fd[1] = accept(l, NULL, NULL));
    close(l);
}

static void handler(int fd[2])
{
    pthread_t t[SPINNERS];
    char c = 'x';

    stress_where = "handler";
    set_action(on_urgent);
    urgent = 0;
    begin(t);
    for (int i = 1; i <= SENDS; i++) {
        CHECK(send(fd[0], &c, 1, MSG_OOB) == 1, "send");
        while (urgent < i)
            sched_yield();
        CHECK(recv(fd[1], &c, 1, MSG_OOB) == 1, "recv");
        CHECK(urgent == i, "%d calls after %d messages", urgent, i);
        stress_progress++;
    }
    all_spin();
    CHECK(urgent == SENDS, "the handler was called without a message");
    end(t);
}

static void blocked(int fd[2])
{
    pthread_t t[SPINNERS];
    sigset_t pending;
    char c = 'y';

    stress_where = "blocked";
    set_action(on_urgent);
    set_blocked(true);
    urgent = 0;
    begin(t); /* they inherit it */
    all_spin();
    CHECK(send(fd[0], &c, 1, MSG_OOB) == 1, "send");
    do {
        all_spin();
        OKSYS(sigpending(&pending));
    } while (!sigismember(&pending, SIGURG));
    CHECK(urgent == 0, "a blocked signal was delivered");
    set_blocked(false);
    while (urgent < 1)
        sched_yield();
    CHECK(recv(fd[1], &c, 1, MSG_OOB) == 1, "recv");
    CHECK(urgent == 1, "delivered %d times", urgent);
    end(t);
}

/* ---- children --------------------------------------------------------------------------- */

/* Exit status: 1 SIGURG is blocked, 2 it is ignored. */
static int child(void)
{
    sigset_t mask;
    struct sigaction sa;

    OKSYS(sigprocmask(SIG_BLOCK, NULL, &mask));
    OKSYS(sigaction(SIGURG, NULL, &sa));
    return (sigismember(&mask, SIGURG) ? 1 : 0) | (sa.sa_handler == SIG_IGN ? 2 : 0);
}

static void expect_status(const char *how, int status, int want)
{
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == want, "%s: status %x, want %d", how,
          status, want);
}

static void *start_children(void *arg)
{
    char *argv[] = {(char *)self, "@child", NULL};
    extern char **environ;
    int want = *(int *)arg, status;
    char command[4096];
    pid_t pid;
    FILE *f;

    set_blocked((want & 1) != 0);
    OK0(posix_spawn(&pid, self, NULL, NULL, argv, environ));
    OKSYS(waitpid(pid, &status, 0));
    expect_status("posix_spawn", status, want);
    OKSYS(pid = fork());
    if (pid == 0) {
        execl(self, self, "@child", (char *)NULL);
        _exit(99);
    }
    OKSYS(waitpid(pid, &status, 0));
    expect_status("fork, execl", status, want);
    snprintf(command, sizeof(command), "exec '%s' @child", self);
    f = popen(command, "r");
    CHECK(f != NULL, "popen");
    expect_status("popen", pclose(f), want);
    return arg;
}

static void children(void)
{
    pthread_t t, s[SPINNERS];

    stress_where = "children";
    begin(s);
    for (int want = 0; want < 4; want++) {
        set_action((want & 2) != 0 ? SIG_IGN : SIG_DFL);
        stress_create(&t, start_children, &want);
        stress_join(t, &want);
        all_spin();
    }
    end(s);
}

int main(int argc, char **argv)
{
    int fd[2];

    if (argc > 1 && strcmp(argv[1], "@child") == 0)
        return child();
    stress_begin("sigurg", argc, argv);
    self = argv[0];
    connected(fd);
    OKSYS(fcntl(fd[1], F_SETOWN, getpid()));
    do {
        handler(fd);
        blocked(fd);
        children();
    } while (stress_running());
    return stress_end("%lu messages", stress_progress);
}
