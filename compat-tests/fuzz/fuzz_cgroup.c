/* fuzz_cgroup.c - /proc/self/cgroup, mountinfo and the quota files: any bytes give a number of
 * CPUs or none, every file that was opened is closed, and no access leaves a line.
 *
 * The input is three texts with a line "---" between: cgroup, mountinfo, and what every other
 * file says.  libFuzzer calls LLVMFuzzerTestOneInput.
 */
#include "compat-tests/unit/fake_os.h"
#include "shim/rt/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES_MAX = 16 };

static void must(bool so)
{
    if (!so)
        abort();
}

static void check_lines(const char *text)
{
    char *all = heap_copy(text, strlen(text) + 1), *rest = all, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        size_t len = strlen(line);
        char *own = heap_copy(line, len + 1);
        const char *path = NULL;
        if (config_parse_cgroup_line(own, &path) != CONFIG_CGROUP_NONE)
            must(path >= own && path <= own + len);
        must(strcmp(own, line) == 0); /* it stays as it is */
        struct config_cgroup_mount m;
        config_parse_mount_line(own, &m);
        if (m.kind != CONFIG_CGROUP_NONE) {
            char dir[64];
            must(m.root >= own && m.root <= own + len);
            must(m.point >= own && m.point <= own + len);
            if (config_cgroup_dir(&m, "/a/b", dir, sizeof dir))
                must(memchr(dir, '\0', sizeof dir) != NULL);
        }
        free(own);
    }
    free(all);
}

static void check_numbers(const char *text)
{
    int64_t quota, period;
    size_t len = strlen(text);
    char *own = heap_copy(text, len); /* no NUL behind it */
    if (config_parse_cpu_max(own, len, &quota, &period)) {
        must(quota == CONFIG_NO_QUOTA || quota >= 0);
        must(period >= 0);
        config_quota_cpus(quota, period);
    }
    if (config_parse_cfs_us(own, len, &quota))
        must(quota >= CONFIG_NO_QUOTA);
    free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *part[3] = {NULL};
    enum config_cgroup_kind kind;
    if (text == NULL)
        abort();
    for (size_t i = 0; i < size; i++) /* a file of text holds no NUL that matters */
        text[i] = data[i] != 0 ? (char)data[i] : ' ';
    text[size] = '\0';
    char *at = text;
    for (int i = 0; i < 3; i++) {
        char *end = i < 2 ? strstr(at, "\n---\n") : NULL;
        if (end != NULL)
            *end = '\0';
        part[i] = at;
        at = end != NULL ? end + 5 : at + strlen(at);
    }
    struct fake_file table[] = {
        {CGROUP, part[0]},
        {MOUNTS, part[1]},
        {"/sys/fs/cgroup/cpu.max", part[2]},
        {"/sys/fs/cgroup/a/cpu.max", part[2]},
        {"/sys/fs/cgroup/a/b/cpu.max", part[2]},
        {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", part[2]},
        {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", part[2]},
        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", part[2]},
        {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", part[2]},
        {NULL, NULL},
    };
    files = table;
    opens = closes = 0;
    read_chunk = size % 7 == 0 ? 13 : SIZE_MAX; /* lines that arrive in pieces */
    config_cgroup_cpus(&kind);
    must(opens == closes);
    check_lines(part[0]);
    check_lines(part[1]);
    check_numbers(part[2]);
    files = NULL;
    free(text);
    return 0;
}
