/* config.h - what the environment and the machine say: GSHIM_* variables, CPU limits.
 *
 * config_load runs once, at start-up, before the first G, possibly inside the program's
 * malloc or before libc's constructors.  So nothing here allocates, uses stdio, errno or
 * thread-local storage, and the only state is rt_config.
 *
 * The parsers take text and return values; only config_load and config_default_maxprocs
 * look at the machine.  The parsers accept any bytes.
 */
#ifndef GSHIM_RT_CONFIG_H
#define GSHIM_RT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Upper limit of GSHIM_MAXPROCS: more Ps than any machine has CPUs, few enough that an
 * array of them costs nothing. */
#define CONFIG_MAXPROCS_MAX 1024

/* GSHIM_MAXFILECALLS: kernel threads that may sleep in calls on regular files at a time.  The
 * default keeps a disk's queue full; more only cost memory. */
#define CONFIG_MAXFILECALLS_DEFAULT 64
#define CONFIG_MAXFILECALLS_MAX 10000

/* Longest cgroup path, and longest line of /proc/self/{cgroup,mountinfo}, that is looked
 * at; longer ones are passed over, as if they were not visible.  (cgroup mounts have
 * short lines; the long ones are overlay mounts.) */
#define CONFIG_PATH_MAX 1024
#define CONFIG_LINE_MAX 4096

struct rt_config {
    unsigned maxprocs;           /* 1 ... CONFIG_MAXPROCS_MAX */
    bool maxprocs_from_env;      /* set by hand: sysmon does not re-read the limits */
    const char *maxprocs_source; /* static text for messages: who decided maxprocs */
    unsigned maxfilecalls;       /* GSHIM_MAXFILECALLS: see posix/io_wait.c */
    const char *trace_path;      /* GSHIM_TRACE, into envp; NULL = no trace */

    /* GSHIM_DEBUG keys; false and 0 are the defaults.  The table is in config.c. */
    bool off;               /* off=1             everything passes through to libc   */
    bool asyncpreemptoff;   /* asyncpreemptoff=1 no asynchronous preemption          */
    bool scheddetail;       /* scheddetail=1     schedtrace lists every G, M and P   */
    bool stwtrace;          /* stwtrace=1        one line per stop of the world      */
    bool preemptlog;        /* preemptlog=1      one line per preemption             */
    bool yieldrandom;       /* yieldrandom=1     torture: yield at random entries    */
    bool dumponquit;        /* dumponquit=1      SIGQUIT dumps every thread          */
    bool deadlock;          /* deadlock=1        report when every thread is asleep  */
    unsigned schedtrace_ms; /* schedtrace=MS     one line of counters every MS ms    */
    unsigned preempt_us;    /* preemptus=US      torture: preempt every US us        */
    unsigned preempt_sig;   /* preemptsig=N      the signal used, 0: SIGURG          */
};

/* What config_load found; const after rt_start. */
extern struct rt_config rt_config;

/* config_load - fill rt_config from this process's environment and machine.      [any]
 * Once, from rt_start.  Stack: about 9 KB. */
void config_load(void);

/* config_load_from - the same with everything given.                             [any]
 *   envp    "NAME=value", NULL-terminated; NULL = empty
 *   secure  AT_SECURE: the environment belongs to somebody less privileged, ignore it
 * A bad value is named in one line on stderr together with what is used instead; it is
 * never fatal.  With a good GSHIM_MAXPROCS no file is read. */
void config_load_from(struct rt_config *c, char *const *envp, bool secure);

/* config_default_maxprocs - CPUs that this process may use now.                    [any]
 *   source  static text: which limit decided
 * min(affinity, ceil of the tightest cgroup CPU quota).  Reads /proc and the cgroup file
 * systems each time, so it also notices a changed quota, or a move to another cgroup;
 * some 50 us.  Stack: about 9 KB. */
unsigned config_default_maxprocs(const char **source);

/* --- parsers, config.c -------------------------------------------------------------- */

/* config_parse_uint - TEXT is decimal digits only, with a value from MIN to MAX. */
bool config_parse_uint(const char *text, size_t len, uint64_t min, uint64_t max,
                       uint64_t *out);

/* config_parse_debug - apply "key=value,key=value" to C; a later one wins.  Each entry
 * that is not understood gives one line on stderr and changes nothing. */
void config_parse_debug(struct rt_config *c, const char *text);

/* config_getenv - value of NAME in ENVP, or NULL; the first wins, as in getenv. */
const char *config_getenv(char *const *envp, const char *name);

/* --- parsers, config_cgroup.c ------------------------------------------------------- */

#define CONFIG_NO_QUOTA (-1)

enum config_cgroup_kind {
    CONFIG_CGROUP_NONE, /* not about CPU time, or not understood */
    CONFIG_CGROUP_V1,   /* hierarchy with the cpu controller     */
    CONFIG_CGROUP_V2,   /* the unified hierarchy                 */
};

/* A cgroup mount: both strings point into the parsed line. */
struct config_cgroup_mount {
    enum config_cgroup_kind kind;
    char *root;  /* which cgroup of the hierarchy is mounted ... */
    char *point; /* ... and where */
};

/* config_parse_cpu_max - text of a v2 cpu.max, "50000 100000" or "max 100000".
 * False when it is neither; QUOTA_US is CONFIG_NO_QUOTA for "max". */
bool config_parse_cpu_max(const char *text, size_t len, int64_t *quota_us,
                          int64_t *period_us);

/* config_parse_cfs_us - text of a v1 cpu.cfs_quota_us or cpu.cfs_period_us, one number;
 * any negative one is CONFIG_NO_QUOTA. */
bool config_parse_cfs_us(const char *text, size_t len, int64_t *us);

/* config_quota_cpus - QUOTA/PERIOD rounded up, at least 1; 0 = no limit. */
unsigned config_quota_cpus(int64_t quota_us, int64_t period_us);

/* config_parse_cgroup_line - one line of /proc/self/cgroup, "4:cpu,cpuacct:/a/b" or
 * "0::/a/b".  LINE is NUL-terminated and stays as it is; *path points into it. */
enum config_cgroup_kind config_parse_cgroup_line(const char *line, const char **path);

/* config_parse_mount_line - one line of /proc/self/mountinfo.  LINE is NUL-terminated and
 * is cut up and unescaped in place.  M->kind is CONFIG_CGROUP_NONE for other mounts. */
void config_parse_mount_line(char *line, struct config_cgroup_mount *m);

/* config_cgroup_dir - directory below which the cgroup PATH is visible through mount M.
 * False when it is not visible there, or longer than SIZE. */
bool config_cgroup_dir(const struct config_cgroup_mount *m, const char *path, char *dir,
                       size_t size);

/* config_cgroup_cpus - tightest quota, in CPUs, of this process's cgroups and all their
 * visible parents, v1 and v2; 0 = no limit. */
unsigned config_cgroup_cpus(enum config_cgroup_kind *kind);

#endif
