/* config_cgroup.c - how much CPU time the cgroups allow this process.
 *
 * Protocol: /proc/self/cgroup tells the process's path in the unified (v2) hierarchy and
 * in the v1 hierarchy with the cpu controller; /proc/self/mountinfo tells where either is
 * mounted.  Below every such mount the quota files are read from the process's own cgroup
 * up to the mount point, as each parent limits its children.  The tightest wins.
 *
 * Mount roots: in a container, what is mounted may be a part of the hierarchy (root
 * "/docker/x").  Then only paths below that root are visible, at the mount point plus the
 * rest.  A root of "/.." (mounted outside our cgroup namespace) shows a parent of ours:
 * its name for us is unknown, but its own limit holds, so the mount point alone is read.
 *
 * Hybrid systems mount both versions; the one without the cpu controller has no quota
 * files there, and a file that is missing or unreadable limits nothing.
 *
 * Rejected: caching the directories.  The process may be moved while it runs, and reading
 * costs some tens of microseconds about once a second.
 *
 * Source: cgroups(7), cgroup_namespaces(7), proc(5); kernel Documentation/admin-guide/
 * cgroup-v2.rst and scheduler/sched-bwc.rst.
 */
#include "shim/rt/config.h"

#include <string.h>

#include "shim/os/os.h"

#define V2_PERIOD_US 100000 /* the kernel's default, should cpu.max not name one */
#define QUOTA_FILE_MAX 64   /* two 64-bit numbers and a newline fit */

/* Lines of a file.  A line that does not fit is dropped whole. */
struct line_reader {
    int fd;
    size_t start, end; /* buf[start, end) is read and not yet returned */
    char buf[CONFIG_LINE_MAX];
};

struct cpu_scan {
    char path[2][CONFIG_PATH_MAX]; /* [0] v1, [1] v2; empty = not a member */
    char dir[2 * CONFIG_PATH_MAX];
    unsigned cpus; /* tightest so far; 0 = none */
    enum config_cgroup_kind kind;
    struct line_reader lines;
};

/* --- numbers ------------------------------------------------------------------------ */

static size_t trim_newline(const char *text, size_t len)
{
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    return len;
}

bool config_parse_cfs_us(const char *text, size_t len, int64_t *us)
{
    bool negative = len > 0 && text[0] == '-';
    uint64_t v;

    len = trim_newline(text, len);
    if (!config_parse_uint(text + negative, len - negative, 0, INT64_MAX, &v))
        return false;
    *us = negative ? CONFIG_NO_QUOTA : (int64_t)v;
    return true;
}

bool config_parse_cpu_max(const char *text, size_t len, int64_t *quota_us,
                          int64_t *period_us)
{
    uint64_t quota, period = V2_PERIOD_US;

    len = trim_newline(text, len);
    const char *space = memchr(text, ' ', len);
    size_t first = space ? (size_t)(space - text) : len;
    if (space != NULL &&
        !config_parse_uint(space + 1, len - first - 1, 1, INT64_MAX, &period))
        return false;
    if (first == 3 && memcmp(text, "max", 3) == 0)
        *quota_us = CONFIG_NO_QUOTA;
    else if (config_parse_uint(text, first, 0, INT64_MAX, &quota))
        *quota_us = (int64_t)quota;
    else
        return false;
    *period_us = (int64_t)period;
    return true;
}

unsigned config_quota_cpus(int64_t quota_us, int64_t period_us)
{
    if (quota_us < 0 || period_us <= 0)
        return 0;
    int64_t cpus = quota_us / period_us + (quota_us % period_us != 0);
    if (cpus < 1)
        return 1;
    return cpus < CONFIG_MAXPROCS_MAX ? (unsigned)cpus : CONFIG_MAXPROCS_MAX;
}

/* --- lines of /proc ----------------------------------------------------------------- */

/* has_word - WORD is one of the comma-separated words of LIST. */
static bool has_word(const char *list, size_t list_len, const char *word)
{
    size_t want = strlen(word);

    while (list_len > 0) {
        const char *comma = memchr(list, ',', list_len);
        size_t len = comma ? (size_t)(comma - list) : list_len;
        if (len == want && memcmp(list, word, len) == 0)
            return true;
        len += comma != NULL;
        list += len;
        list_len -= len;
    }
    return false;
}

enum config_cgroup_kind config_parse_cgroup_line(const char *line, const char **path)
{
    const char *controllers = strchr(line, ':');

    if (controllers == NULL)
        return CONFIG_CGROUP_NONE;
    controllers++;
    const char *end = strchr(controllers, ':');
    if (end == NULL || end[1] != '/')
        return CONFIG_CGROUP_NONE;
    *path = end + 1;
    if (end == controllers) /* v1 hierarchies have a controller or "name=" here */
        return line[0] == '0' && line[1] == ':' ? CONFIG_CGROUP_V2 : CONFIG_CGROUP_NONE;
    return has_word(controllers, (size_t)(end - controllers), "cpu") ? CONFIG_CGROUP_V1
                                                                     : CONFIG_CGROUP_NONE;
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* unescape - the kernel writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
    char *to = s;

    while (*s != '\0') {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && is_octal(s[2]) &&
            is_octal(s[3])) {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}

/* next_field - cut the next blank-separated field off *rest; NULL when there is none. */
static char *next_field(char **rest)
{
    char *field = *rest + strspn(*rest, " ");
    char *end = field + strcspn(field, " ");

    if (*field == '\0')
        return NULL;
    *rest = *end != '\0' ? end + 1 : end;
    *end = '\0';
    return field;
}

/* id parent major:minor root point options [optional ...] - type source super-options */
void config_parse_mount_line(char *line, struct config_cgroup_mount *m)
{
    char *field[6], *f, *type, *source, *super;

    m->kind = CONFIG_CGROUP_NONE;
    for (int i = 0; i < 6; i++)
        if ((field[i] = next_field(&line)) == NULL)
            return;
    do {
        if ((f = next_field(&line)) == NULL)
            return;
    } while (strcmp(f, "-") != 0);
    type = next_field(&line);
    source = next_field(&line);
    super = next_field(&line);
    if (type == NULL || source == NULL || field[3][0] != '/' || field[4][0] != '/')
        return;

    m->root = field[3];
    m->point = field[4];
    unescape(m->root);
    unescape(m->point);
    if (strcmp(type, "cgroup2") == 0)
        m->kind = CONFIG_CGROUP_V2;
    else if (strcmp(type, "cgroup") == 0 && super != NULL &&
             has_word(super, strlen(super), "cpu"))
        m->kind = CONFIG_CGROUP_V1;
}

/* --- paths -------------------------------------------------------------------------- */

/* has_dotdot - some component of PATH, which begins with '/' or is empty, is "..". */
static bool has_dotdot(const char *path)
{
    for (; (path = strstr(path, "/..")) != NULL; path += 3)
        if (path[3] == '/' || path[3] == '\0')
            return true;
    return false;
}

bool config_cgroup_dir(const struct config_cgroup_mount *m, const char *path, char *dir,
                       size_t size)
{
    size_t root_len = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
    size_t point_len = strlen(m->point);
    const char *rest = path + root_len;

    if (strncmp(path, m->root, root_len) != 0 || (*rest != '/' && *rest != '\0')) {
        if (!has_dotdot(m->root) || has_dotdot(path))
            return false;
        rest = ""; /* the mount shows a parent of ours: its own limit is all we can see */
    }
    if (strcmp(rest, "/") == 0)
        rest = "";
    if (has_dotdot(rest) || point_len + strlen(rest) >= size)
        return false;
    memcpy(dir, m->point, point_len);
    memcpy(dir + point_len, rest, strlen(rest) + 1);
    return true;
}

/* --- reading ------------------------------------------------------------------------ */

static void drop_line_start(struct line_reader *r)
{
    memmove(r->buf, r->buf + r->start, r->end - r->start);
    r->end -= r->start;
    r->start = 0;
}

/* next_line - the next line, NUL-terminated and writable; NULL at the end. */
static char *next_line(struct line_reader *r)
{
    bool too_long = false;

    for (;;) {
        char *line = r->buf + r->start;
        char *newline = memchr(line, '\n', r->end - r->start);
        if (newline != NULL) {
            *newline = '\0';
            r->start = (size_t)(newline + 1 - r->buf);
            if (!too_long)
                return line;
            too_long = false;
            continue;
        }
        drop_line_start(r);
        if (r->end == sizeof(r->buf)) {
            too_long = true;
            r->end = 0;
        }
        long n = os_read(r->fd, r->buf + r->end, sizeof(r->buf) - r->end);
        if (n <= 0)
            return NULL; /* a last line without newline: the kernel writes none */
        r->end += (size_t)n;
    }
}

/* for_each_line - call FN for every line of FILE. */
static void for_each_line(struct cpu_scan *s, const char *file,
                          void (*fn)(struct cpu_scan *, char *))
{
    char *line;

    s->lines.fd = os_open_ro(file);
    if (s->lines.fd < 0)
        return;
    s->lines.start = s->lines.end = 0;
    while ((line = next_line(&s->lines)) != NULL)
        fn(s, line);
    os_close(s->lines.fd);
}

/* read_quota_file - contents of S->dir/NAME; the length, or 0. */
static size_t read_quota_file(struct cpu_scan *s, const char *name, char *buf)
{
    size_t dir_len = strlen(s->dir);

    if (dir_len + strlen(name) >= sizeof(s->dir))
        return 0;
    memcpy(s->dir + dir_len, name, strlen(name) + 1);
    int fd = os_open_ro(s->dir);
    s->dir[dir_len] = '\0';
    if (fd < 0)
        return 0;
    long n = os_read(fd, buf, QUOTA_FILE_MAX);
    os_close(fd);
    return n > 0 ? (size_t)n : 0;
}

/* quota_of_dir - CPUs that the cgroup S->dir allows; 0 = no limit. */
static unsigned quota_of_dir(struct cpu_scan *s, enum config_cgroup_kind kind)
{
    char buf[QUOTA_FILE_MAX];
    int64_t quota, period;

    if (kind == CONFIG_CGROUP_V2) {
        if (!config_parse_cpu_max(buf, read_quota_file(s, "/cpu.max", buf), &quota,
                                  &period))
            return 0;
    } else {
        if (!config_parse_cfs_us(buf, read_quota_file(s, "/cpu.cfs_quota_us", buf),
                                 &quota))
            return 0;
        if (!config_parse_cfs_us(buf, read_quota_file(s, "/cpu.cfs_period_us", buf),
                                 &period))
            return 0;
    }
    return config_quota_cpus(quota, period);
}

static void scan_cgroup_line(struct cpu_scan *s, char *line)
{
    const char *path;
    enum config_cgroup_kind kind = config_parse_cgroup_line(line, &path);

    if (kind == CONFIG_CGROUP_NONE || strlen(path) >= CONFIG_PATH_MAX)
        return;
    memcpy(s->path[kind == CONFIG_CGROUP_V2], path, strlen(path) + 1);
}

static void scan_mount_line(struct cpu_scan *s, char *line)
{
    struct config_cgroup_mount m;

    config_parse_mount_line(line, &m);
    if (m.kind == CONFIG_CGROUP_NONE)
        return;
    const char *path = s->path[m.kind == CONFIG_CGROUP_V2];
    if (*path == '\0' || !config_cgroup_dir(&m, path, s->dir, sizeof(s->dir)))
        return;
    for (;;) {
        unsigned cpus = quota_of_dir(s, m.kind);
        if (cpus != 0 && (s->cpus == 0 || cpus < s->cpus)) {
            s->cpus = cpus;
            s->kind = m.kind;
        }
        if (strlen(s->dir) <= strlen(m.point))
            return;
        *strrchr(s->dir, '/') = '\0'; /* to the parent, but never above the mount point */
    }
}

unsigned config_cgroup_cpus(enum config_cgroup_kind *kind)
{
    struct cpu_scan s;

    s.path[0][0] = s.path[1][0] = '\0';
    s.cpus = 0;
    s.kind = CONFIG_CGROUP_NONE;
    for_each_line(&s, "/proc/self/cgroup", scan_cgroup_line);
    if (s.path[0][0] != '\0' || s.path[1][0] != '\0')
        for_each_line(&s, "/proc/self/mountinfo", scan_mount_line);
    *kind = s.kind;
    return s.cpus;
}
