/* driver.c - runs every conformance program in every mode and compares.
 *
 * A program is first run on the C library's own threads; what it prints there is the
 * reference. Then it runs with the library preloaded, with 1, 2 and 8 processors, and
 * once more as the variant that was linked against it. Each run must exit with 0 and
 * print the same bytes. Where things are comes from the environment, set by the Makefile:
 *
 *   GSHIM_BUILD    directory that holds conform/NAME and conform/NAME-linked
 *   GSHIM_LIB      path of libgshim.so
 *   CONFORM_ONLY   only programs whose name contains this (for work on one of them)
 *
 * Each run is a process group of its own, killed as a whole when it is over, so that a
 * hanging child of a failed test cannot outlive it. Output goes to memory files and not
 * to pipes: a forgotten grandchild that holds a pipe open would hide the end from us. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUN_TIMEOUT_MS 60000
#define OUTPUT_MAX 16384
#define ENV_MAX 512
#define PATH_ROOM 4096

struct program {
    char name[64];
};

enum how { NATIVE, PRELOADED, LINKED };

struct mode {
    const char *label;
    enum how how;
    const char *maxprocs; /* value of GSHIM_MAXPROCS, NULL = not set */
};

/* The first one makes the reference. */
static const struct mode modes[] = {
    {"native", NATIVE, NULL},         {"preload, P=1", PRELOADED, "1"},
    {"preload, P=2", PRELOADED, "2"}, {"preload, P=8", PRELOADED, "8"},
    {"linked, P=2", LINKED, "2"},
};

struct outcome {
    bool timed_out;
    int status; /* as from waitpid */
    char out[OUTPUT_MAX];
    char err[OUTPUT_MAX];
};

extern char **environ;

static const char *needed_env(const char *name)
{
    const char *value = getenv(name);

    cr_assert(value && *value, "%s is not set; run this by `make check`", name);
    return value;
}

/* ---- the list of programs ---------------------------------------------------------- */

static bool is_program(const char *dir, const char *name)
{
    const char *only = getenv("CONFORM_ONLY");
    size_t n = strlen(name);
    char path[PATH_ROOM + 64];
    struct stat st;

    if (name[0] == '.' || n >= sizeof(((struct program *)0)->name))
        return false;
    if (n > 7 && strcmp(name + n - 7, "-linked") == 0)
        return false;
    if (strchr(name, '.') || (only && !strstr(name, only)))
        return false;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct program *)a)->name, ((const struct program *)b)->name);
}

/* Called before any test runs, hence no assertions; `everything_is_built` complains. */
static size_t list_programs(struct program **list)
{
    const char *build = getenv("GSHIM_BUILD");
    size_t count = 0, room = 0;
    char dir[PATH_ROOM];
    struct dirent *entry;
    DIR *d;

    *list = NULL;
    snprintf(dir, sizeof(dir), "%s/conform", build ? build : "");
    d = opendir(dir);
    if (!d)
        return 0;
    while ((entry = readdir(d))) {
        if (!is_program(dir, entry->d_name))
            continue;
        if (count == room) {
            room = room ? 2 * room : 64;
            *list = realloc(*list, room * sizeof(**list));
            if (!*list)
                abort();
        }
        memset(&(*list)[count], 0, sizeof(**list));
        strcpy((*list)[count++].name, entry->d_name); /* is_program checked the length */
    }
    closedir(d);
    if (count)
        qsort(*list, count, sizeof(**list), by_name);
    return count;
}

/* ---- running one ------------------------------------------------------------------- */

struct environment {
    char *vars[ENV_MAX + 1];
    char preload[PATH_ROOM], path[PATH_ROOM], maxprocs[64];
};

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void make_environment(struct environment *env, const struct mode *mode)
{
    const char *lib = needed_env("GSHIM_LIB");
    const char *slash = strrchr(lib, '/');
    int dir = slash ? (int)(slash - lib) : 1;
    size_t n = 0;

    for (char **v = environ; *v && n < ENV_MAX - 3; v++) {
        if (!starts_with(*v, "LD_PRELOAD=") && !starts_with(*v, "LD_LIBRARY_PATH=") &&
            !starts_with(*v, "GSHIM_MAXPROCS="))
            env->vars[n++] = *v;
    }
    snprintf(env->preload, sizeof(env->preload), "LD_PRELOAD=%s", lib);
    snprintf(env->path, sizeof(env->path), "LD_LIBRARY_PATH=%.*s", dir,
             slash ? lib : ".");
    if (mode->how == PRELOADED)
        env->vars[n++] = env->preload;
    if (mode->how == LINKED)
        env->vars[n++] = env->path;
    if (mode->maxprocs) {
        snprintf(env->maxprocs, sizeof(env->maxprocs), "GSHIM_MAXPROCS=%s",
                 mode->maxprocs);
        env->vars[n++] = env->maxprocs;
    }
    env->vars[n] = NULL;
}

static pid_t start(const char *path, const struct mode *mode, int out, int err)
{
    static struct environment env;
    char *argv[] = {(char *)path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    pid_t pid = -1;
    int rc;

    make_environment(&env, mode);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, err, 2);
    rc = posix_spawn(&pid, path, &actions, &attr, argv, env.vars);
    cr_assert(rc == 0, "%s: %s", path, strerror(rc));
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return pid;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* False when the time is up. Polls, as neither signals nor threads are wanted in here. */
static bool wait_until(pid_t pid, int *status, int64_t deadline_ms)
{
    struct timespec nap = {0, 2000000};

    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);

        if (got == pid)
            return true;
        if (got < 0 && errno != EINTR)
            return false;
        if (now_ms() >= deadline_ms)
            return false;
        nanosleep(&nap, NULL);
    }
}

static void read_back(int fd, char *text)
{
    ssize_t n = pread(fd, text, OUTPUT_MAX - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    close(fd);
}

static void run(const char *name, const struct mode *mode, struct outcome *result)
{
    int out = memfd_create("stdout", MFD_CLOEXEC),
        err = memfd_create("stderr", MFD_CLOEXEC);
    char path[PATH_ROOM];
    pid_t pid;

    cr_assert(out >= 0 && err >= 0, "memfd_create: %s", strerror(errno));
    snprintf(path, sizeof(path), "%s/conform/%s%s", needed_env("GSHIM_BUILD"), name,
             mode->how == LINKED ? "-linked" : "");
    memset(result, 0, sizeof(*result));
    pid = start(path, mode, out, err);
    result->timed_out = !wait_until(pid, &result->status, now_ms() + RUN_TIMEOUT_MS);
    kill(-pid, SIGKILL); /* the whole group, also what a finished program left behind */
    if (result->timed_out)
        waitpid(pid, &result->status, 0);
    read_back(out, result->out);
    read_back(err, result->err);
}

/* ---- judging ----------------------------------------------------------------------- */

static void describe(const struct outcome *o, char *text, size_t size)
{
    if (o->timed_out)
        snprintf(text, size, "still running after %d s", RUN_TIMEOUT_MS / 1000);
    else if (WIFSIGNALED(o->status))
        snprintf(text, size, "killed by signal %d (%s)%s", WTERMSIG(o->status),
                 strsignal(WTERMSIG(o->status)),
                 WTERMSIG(o->status) == SIGALRM
                     ? ": the test after the last line of its output hangs"
                     : "");
    else
        snprintf(text, size, "exit status %d", WEXITSTATUS(o->status));
}

static bool fine(const struct outcome *o)
{
    /* ld.so only warns when it cannot preload, and so does the library when it steps aside;
     * either run would show nothing. */
    return !o->timed_out && WIFEXITED(o->status) && WEXITSTATUS(o->status) == 0 &&
           !strstr(o->err, "cannot be preloaded") && !strstr(o->err, "passing threads");
}

static void report(const char *name, const struct mode *mode, const struct outcome *o,
                   bool differs)
{
    char how[256];

    describe(o, how, sizeof(how));
    fprintf(stderr, "---- %s [%s]: %s%s\n", name, mode->label, how,
            differs ? ", output differs from the native run" : "");
    fprintf(stderr, "-- stdout:\n%s-- stderr:\n%s----\n", o->out, o->err);
}

ParameterizedTestParameters(conform, program)
{
    struct program *list, *params;
    size_t count = list_programs(&list);

    /* They cross into the test's own process, so they live in Criterion's memory. */
    params = cr_malloc((count + 1) * sizeof(*params));
    if (count)
        memcpy(params, list, count * sizeof(*params));
    free(list);
    return cr_make_param_array(struct program, params, count);
}

ParameterizedTest(struct program *p, conform, program, .timeout = 400)
{
    static struct outcome reference, result;
    char failed[256] = "";

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct outcome *o = i == 0 ? &reference : &result;
        bool differs;

        run(p->name, &modes[i], o);
        differs = i > 0 && strcmp(o->out, reference.out) != 0;
        if (fine(o) && !differs)
            continue;
        report(p->name, &modes[i], o, differs);
        snprintf(failed + strlen(failed), sizeof(failed) - strlen(failed), " [%s]",
                 modes[i].label);
    }
    fprintf(stderr, "conform %-16s %s%s\n", p->name, *failed ? "FAILED in" : "ok",
            failed);
    cr_assert(!*failed, "%s failed in%s", p->name, failed);
}

Test(conform, everything_is_built)
{
    const char *build = needed_env("GSHIM_BUILD"), *lib = needed_env("GSHIM_LIB");
    struct program *list;
    size_t count = list_programs(&list);

    cr_assert(access(lib, R_OK) == 0, "%s: %s", lib, strerror(errno));
    cr_assert(count > 0, "no programs in %s/conform", build);
    for (size_t i = 0; i < count; i++) {
        char path[PATH_ROOM];

        snprintf(path, sizeof(path), "%s/conform/%s-linked", build, list[i].name);
        cr_expect(access(path, X_OK) == 0, "%s is missing", path);
    }
    free(list);
}
