/* config.c - GSHIM_MAXPROCS, GSHIM_MAXFILECALLS, GSHIM_DEBUG, GSHIM_TRACE and the default number of Ps.
 *
 * Rule for bad values: say so once, in one line that names the variable, the value and
 * what is used instead, and go on.  An empty variable counts as unset.
 *
 * Default number of Ps = min(CPUs in the affinity mask, tightest cgroup quota rounded
 * up).  Rounded up, because rounding 1.5 down wastes a third of what was paid for, while
 * the kernel throttles what is too much.  At least 1: Go 1.25 rounds up too, but to no
 * less than 2, so that its background work keeps off the only P.  We have no such work, a
 * blocked P is handed on, and a second P under a quota of one CPU only spends the quota
 * twice as fast and has every thread throttled for the rest of the period.
 *
 * Known limit: a number above CONFIG_MAXPROCS_MAX is refused, not clamped, as it is more
 * likely a mistake than a wish.
 */
#include "shim/rt/config.h"

#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "shim/os/os.h"

#define QUOTE_MAX 48 /* longest piece of a bad value that is printed */

struct rt_config rt_config;

/* One key of GSHIM_DEBUG: a bool (max is 1) or an unsigned at OFFSET in rt_config. */
struct debug_key {
    const char *name;
    size_t offset;
    unsigned max;
    bool is_bool;
};

#define KEY_BOOL(key)                                                                    \
    {                                                                                    \
#key, offsetof(struct rt_config, key), 1, true                                   \
    }
#define KEY_UINT(name, field, max)                                                       \
    {                                                                                    \
        name, offsetof(struct rt_config, field), max, false                              \
    }

static const struct debug_key debug_keys[] = {
    KEY_BOOL(off),
    KEY_BOOL(asyncpreemptoff),
    KEY_BOOL(scheddetail),
    KEY_BOOL(stwtrace),
    KEY_BOOL(preemptlog),
    KEY_BOOL(yieldrandom),
    KEY_BOOL(dumponquit),
    KEY_BOOL(deadlock),
    KEY_UINT("schedtrace", schedtrace_ms, 3600 * 1000), /* an hour */
    KEY_UINT("preemptsig", preempt_sig, 64),
    KEY_UINT("preemptus", preempt_us, 1000 * 1000), /* a second: longer is no torture */
};

/* quote - TEXT as it can stand in a message: short, and without control characters. */
static const char *quote(char out[QUOTE_MAX + 4], const char *text, size_t len)
{
    size_t n = len < QUOTE_MAX ? len : QUOTE_MAX;

    for (size_t i = 0; i < n; i++)
        out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    memcpy(out + n, len > n ? "..." : "", len > n ? 4 : 1);
    return out;
}

bool config_parse_uint(const char *text, size_t len, uint64_t min, uint64_t max,
                       uint64_t *out)
{
    uint64_t v = 0;

    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v))
            return false;
    }
    if (v < min || v > max)
        return false;
    *out = v;
    return true;
}

static const struct debug_key *find_debug_key(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(debug_keys) / sizeof(debug_keys[0]); i++) {
        const struct debug_key *k = &debug_keys[i];
        if (strlen(k->name) == len && memcmp(k->name, name, len) == 0)
            return k;
    }
    return NULL;
}

/* store_debug - one "key=value" of GSHIM_DEBUG. */
static void store_debug(struct rt_config *c, const char *entry, size_t len)
{
    char shown[QUOTE_MAX + 4];
    const char *eq = memchr(entry, '=', len);
    const struct debug_key *k = find_debug_key(entry, eq ? (size_t)(eq - entry) : len);
    uint64_t v;

    if (k == NULL) {
        os_log("GSHIM_DEBUG=\"%s\" is not a known key; ignored",
               quote(shown, entry, len));
        return;
    }
    char *field = (char *)c + k->offset;
    if (eq == NULL ||
        !config_parse_uint(eq + 1, len - (size_t)(eq + 1 - entry), 0, k->max, &v)) {
        unsigned now = k->is_bool ? *(bool *)field : *(unsigned *)field;
        os_log("GSHIM_DEBUG=\"%s\" is not %s=number between 0 and %u; using %u",
               quote(shown, entry, len), k->name, k->max, now);
        return;
    }
    if (k->is_bool)
        *(bool *)field = v != 0;
    else
        *(unsigned *)field = (unsigned)v;
}

void config_parse_debug(struct rt_config *c, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        if (len > 0)
            store_debug(c, text, len);
        text += len;
        if (*text == ',')
            text++;
    }
}

const char *config_getenv(char *const *envp, const char *name)
{
    size_t len = strlen(name);

    for (; envp != NULL && *envp != NULL; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return *envp + len + 1;
    return NULL;
}

/* get_nonempty - like config_getenv; an empty variable is none. */
static const char *get_nonempty(char *const *envp, const char *name)
{
    const char *value = config_getenv(envp, name);

    return value != NULL && *value != '\0' ? value : NULL;
}

unsigned config_default_maxprocs(const char **source)
{
    enum config_cgroup_kind kind;
    int affinity = os_cpu_count_affinity();
    unsigned n = affinity > 0 ? (unsigned)affinity : 1;
    unsigned quota = config_cgroup_cpus(&kind);

    *source = "CPU affinity";
    if (quota != 0 && quota < n) {
        n = quota;
        *source =
            kind == CONFIG_CGROUP_V1 ? "cgroup v1 CPU quota" : "cgroup v2 CPU quota";
    }
    return n < CONFIG_MAXPROCS_MAX ? n : CONFIG_MAXPROCS_MAX;
}

static void load_maxprocs(struct rt_config *c, const char *value)
{
    char shown[QUOTE_MAX + 4];
    uint64_t v;

    if (value != NULL &&
        config_parse_uint(value, strlen(value), 1, CONFIG_MAXPROCS_MAX, &v)) {
        c->maxprocs = (unsigned)v;
        c->maxprocs_from_env = true;
        c->maxprocs_source = "GSHIM_MAXPROCS";
        return;
    }
    c->maxprocs = config_default_maxprocs(&c->maxprocs_source);
    if (value != NULL)
        os_log("GSHIM_MAXPROCS=\"%s\" is not a number between 1 and %d; using %u",
               quote(shown, value, strlen(value)), CONFIG_MAXPROCS_MAX, c->maxprocs);
}

static void load_maxfilecalls(struct rt_config *c, const char *value)
{
    char shown[QUOTE_MAX + 4];
    uint64_t v = CONFIG_MAXFILECALLS_DEFAULT;

    if (value != NULL &&
        !config_parse_uint(value, strlen(value), 1, CONFIG_MAXFILECALLS_MAX, &v)) {
        v = CONFIG_MAXFILECALLS_DEFAULT;
        os_log("GSHIM_MAXFILECALLS=\"%s\" is not a number between 1 and %d; using %d",
               quote(shown, value, strlen(value)), CONFIG_MAXFILECALLS_MAX, (int)v);
    }
    c->maxfilecalls = (unsigned)v;
}

void config_load_from(struct rt_config *c, char *const *envp, bool secure)
{
    const char *debug;

    if (secure)
        envp = NULL;
    memset(c, 0, sizeof(*c));
    load_maxprocs(c, get_nonempty(envp, "GSHIM_MAXPROCS"));
    load_maxfilecalls(c, get_nonempty(envp, "GSHIM_MAXFILECALLS"));
    debug = get_nonempty(envp, "GSHIM_DEBUG");
    if (debug != NULL)
        config_parse_debug(c, debug);
    c->trace_path = get_nonempty(envp, "GSHIM_TRACE");
}

void config_load(void)
{
    static bool loaded; /* messages about bad values appear once */
    if (loaded)
        return;
    loaded = true;
    config_load_from(&rt_config, environ, getauxval(AT_SECURE) != 0);
}
