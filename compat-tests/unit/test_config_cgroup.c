/* test_config_cgroup.c - shim/rt/config_cgroup.c: quota files, the lines of /proc, and
 * the scan over a faked machine, in the shapes that hosts, containers and hybrids have.
 */
#include <criterion/criterion.h>

#include "compat-tests/unit/fake_os.h"
#include "shim/rt/config.h"

static unsigned cpus_with(const struct fake_file *f, enum config_cgroup_kind *kind)
{
    enum config_cgroup_kind unused;

    files = f;
    return config_cgroup_cpus(kind != NULL ? kind : &unused);
}

/* --- numbers ------------------------------------------------------------------------ */

Test(config, cpu_max)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t quota, period;
    } rows[] = {
        {"max 100000\n", true, CONFIG_NO_QUOTA, 100000},
        {"max", true, CONFIG_NO_QUOTA, 100000},
        {"50000 100000\n", true, 50000, 100000},
        {"50000\n", true, 50000, 100000},
        {"1000 1000000", true, 1000, 1000000},
        {"9223372036854775807 1\n", true, INT64_MAX, 1},
        {"50000 0\n", false, 0, 0},
        {"50000  100000\n", false, 0, 0},
        {"50000 100000 7\n", false, 0, 0},
        {"maximum 100000\n", false, 0, 0},
        {"-1 100000\n", false, 0, 0},
        {"9223372036854775808 1\n", false, 0, 0},
        {"", false, 0, 0},
        {"\n", false, 0, 0},
        {" ", false, 0, 0},
        {"max max\n", false, 0, 0},
        {"ma", false, 0, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t quota = 7, period = 7;
        size_t len = strlen(rows[i].text);
        char *text = heap_copy(rows[i].text, len);
        bool ok = config_parse_cpu_max(text, len, &quota, &period);
        free(text);
        cr_expect_eq(ok, rows[i].ok, "\"%s\"", rows[i].text);
        if (ok) {
            cr_expect_eq(quota, rows[i].quota, "\"%s\": %ld", rows[i].text, quota);
            cr_expect_eq(period, rows[i].period, "\"%s\": %ld", rows[i].text, period);
        }
    }
}

Test(config, cfs_us)
{
    int64_t us;

    cr_assert(config_parse_cfs_us("-1\n", 3, &us));
    cr_assert_eq(us, CONFIG_NO_QUOTA);
    cr_assert(config_parse_cfs_us("-250\n", 5, &us));
    cr_assert_eq(us, CONFIG_NO_QUOTA);
    cr_assert(config_parse_cfs_us("150000\n", 7, &us));
    cr_assert_eq(us, 150000);
    cr_assert_not(config_parse_cfs_us("", 0, &us));
    cr_assert_not(config_parse_cfs_us("\n", 1, &us));
    cr_assert_not(config_parse_cfs_us("-\n", 2, &us));
    cr_assert_not(config_parse_cfs_us("--1\n", 4, &us));
    cr_assert_not(config_parse_cfs_us("max\n", 4, &us));
}

Test(config, quota_rounds_up_and_is_at_least_one)
{
    cr_expect_eq(config_quota_cpus(CONFIG_NO_QUOTA, 100000), 0);
    cr_expect_eq(config_quota_cpus(0, 100000), 1);
    cr_expect_eq(config_quota_cpus(1000, 100000), 1);
    cr_expect_eq(config_quota_cpus(50000, 100000), 1);
    cr_expect_eq(config_quota_cpus(100000, 100000), 1);
    cr_expect_eq(config_quota_cpus(100001, 100000), 2);
    cr_expect_eq(config_quota_cpus(150000, 100000), 2);
    cr_expect_eq(config_quota_cpus(350000, 100000), 4);
    cr_expect_eq(config_quota_cpus(INT64_MAX, 1), CONFIG_MAXPROCS_MAX);
    cr_expect_eq(config_quota_cpus(100000, 0), 0, "no period, no limit");
    cr_expect_eq(config_quota_cpus(100000, -1), 0);
}

/* --- lines of /proc ----------------------------------------------------------------- */

Test(config, cgroup_line)
{
    static const struct {
        const char *line;
        enum config_cgroup_kind kind;
        const char *path;
    } rows[] = {
        {"0::/", CONFIG_CGROUP_V2, "/"},
        {"0::/user.slice/a:b", CONFIG_CGROUP_V2, "/user.slice/a:b"},
        {"0::/../other", CONFIG_CGROUP_V2, "/../other"},
        {"0::/gone (deleted)", CONFIG_CGROUP_V2, "/gone (deleted)"},
        {"4:cpu,cpuacct:/a", CONFIG_CGROUP_V1, "/a"},
        {"4:cpuacct,cpu:/a", CONFIG_CGROUP_V1, "/a"},
        {"1:cpu:/", CONFIG_CGROUP_V1, "/"},
        {"3:cpuset:/a", CONFIG_CGROUP_NONE, NULL},
        {"2:cpuacct:/a", CONFIG_CGROUP_NONE, NULL},
        {"9:name=cpu:/a", CONFIG_CGROUP_NONE, NULL},
        {"5::/a", CONFIG_CGROUP_NONE, NULL},
        {"0::", CONFIG_CGROUP_NONE, NULL},
        {"0::a", CONFIG_CGROUP_NONE, NULL},
        {"0:", CONFIG_CGROUP_NONE, NULL},
        {"4:cpu", CONFIG_CGROUP_NONE, NULL},
        {"", CONFIG_CGROUP_NONE, NULL},
        {":::", CONFIG_CGROUP_NONE, NULL},
        {"::/", CONFIG_CGROUP_NONE, NULL},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *path = NULL;
        enum config_cgroup_kind kind = config_parse_cgroup_line(rows[i].line, &path);
        cr_expect_eq(kind, rows[i].kind, "\"%s\": %d", rows[i].line, kind);
        if (kind != CONFIG_CGROUP_NONE)
            cr_expect_str_eq(path, rows[i].path);
    }
}

Test(config, mount_line)
{
    static const struct {
        const char *line;
        enum config_cgroup_kind kind;
        const char *root, *point;
    } rows[] = {
        {"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", CONFIG_CGROUP_V2, "/",
         "/sys/fs/cgroup"},
        {"30 23 0:26 / /c rw shared:1 master:2 propagate_from:3 unbindable - cgroup2 x rw",
         CONFIG_CGROUP_V2, "/", "/c"},
        {"30 23 0:26 / /c rw - cgroup2 none", CONFIG_CGROUP_V2, "/", "/c"},
        {"32 31 0:29 /docker/x /c/cpu rw - cgroup cgroup rw,cpu,cpuacct",
         CONFIG_CGROUP_V1, "/docker/x", "/c/cpu"},
        {"32 31 0:29 / /c/my\\040cpu\\134x\\011 rw - cgroup cgroup cpu", CONFIG_CGROUP_V1,
         "/", "/c/my cpu\\x\t"},
        {"32 31 0:29 /a\\040b /c rw - cgroup cgroup cpu", CONFIG_CGROUP_V1, "/a b", "/c"},
        {"32 31 0:29 /a\\04 /c\\999\\ rw - cgroup cgroup cpu", CONFIG_CGROUP_V1, "/a\\04",
         "/c\\999\\"},
        {"32 31 0:29 / /c rw - cgroup cgroup rw,cpuacct", CONFIG_CGROUP_NONE, "", ""},
        {"32 31 0:29 / /c rw - cgroup cgroup rw,cpuset", CONFIG_CGROUP_NONE, "", ""},
        {"32 31 0:29 / /c rw - cgroup cgroup", CONFIG_CGROUP_NONE, "", ""},
        {"32 31 0:29 / /cpu rw,cpu - tmpfs cgroup rw,cpu", CONFIG_CGROUP_NONE, "", ""},
        {"99 31 0:4 net:[4026532281] /run/netns/a rw - nsfs nsfs rw", CONFIG_CGROUP_NONE,
         "", ""},
        {"30 23 0:26 x /c rw - cgroup2 cgroup2 rw", CONFIG_CGROUP_NONE, "", ""},
        {"30 23 0:26 / /c rw cgroup2 cgroup2 rw", CONFIG_CGROUP_NONE, "", ""},
        {"30 23 0:26 / /c rw -", CONFIG_CGROUP_NONE, "", ""},
        {"30 23 0:26 / /c rw - cgroup2", CONFIG_CGROUP_NONE, "", ""},
        {"30 23 0:26 / /c", CONFIG_CGROUP_NONE, "", ""},
        {"", CONFIG_CGROUP_NONE, "", ""},
        {"        ", CONFIG_CGROUP_NONE, "", ""},
        {"- - - - - - - - - -", CONFIG_CGROUP_NONE, "", ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct config_cgroup_mount m;
        char *line = heap_copy(rows[i].line, strlen(rows[i].line) + 1);
        config_parse_mount_line(line, &m);
        cr_expect_eq(m.kind, rows[i].kind, "\"%s\": %d", rows[i].line, m.kind);
        if (m.kind != CONFIG_CGROUP_NONE) {
            cr_expect_str_eq(m.root, rows[i].root);
            cr_expect_str_eq(m.point, rows[i].point);
        }
        free(line);
    }
}

Test(config, cgroup_dir)
{
    static const struct {
        const char *root, *path, *dir; /* mounted at /c; NULL = not visible */
    } rows[] = {
        {"/", "/", "/c"},         {"/", "/a/b", "/c/a/b"},
        {"/a", "/a", "/c"},       {"/a", "/a/b", "/c/b"},
        {"/a", "/ab", NULL},      {"/a", "/", NULL},
        {"/a/b", "/a", NULL},     {"/..", "/", "/c"},
        {"/..", "/x", "/c"},      {"/../..", "/", "/c"},
        {"/..", "/../y", "/c/y"}, {"/..", "/../../y", NULL},
        {"/../a", "/../b", NULL}, {"/", "/../b", NULL},
        {"/", "/..", NULL},       {"/", "/..b/c..", "/c/..b/c.."},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char dir[32], root[16], point[] = "/c";
        struct config_cgroup_mount m = {CONFIG_CGROUP_V2, root, point};
        strcpy(root, rows[i].root);
        bool ok = config_cgroup_dir(&m, rows[i].path, dir, sizeof(dir));
        cr_expect_eq(ok, rows[i].dir != NULL, "root %s path %s", rows[i].root,
                     rows[i].path);
        if (ok && rows[i].dir != NULL)
            cr_expect_str_eq(dir, rows[i].dir);
    }
}

Test(config, cgroup_dir_does_not_overrun)
{
    char dir[8], root[] = "/", point[] = "/cc";
    struct config_cgroup_mount m = {CONFIG_CGROUP_V2, root, point};

    cr_assert(config_cgroup_dir(&m, "/123", dir, sizeof(dir)));
    cr_assert_str_eq(dir, "/cc/123");
    cr_assert_not(config_cgroup_dir(&m, "/1234", dir, sizeof(dir)));
}

/* --- the scan over a faked machine -------------------------------------------------- */

Test(config, v2_own_limit)
{
    enum config_cgroup_kind kind;

    cr_assert_eq(cpus_with(FILES({CGROUP, "0::/a/b\n"}, {MOUNTS, V2_MOUNT},
                                 {"/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n"}),
                           &kind),
                 2);
    cr_assert_eq(kind, CONFIG_CGROUP_V2);
    cr_assert_eq(opens, closes, "every opened file is closed");
}

Test(config, v2_tighter_parent_counts)
{
    cr_assert_eq(cpus_with(FILES({CGROUP, "0::/a/b/c\n"}, {MOUNTS, V2_MOUNT},
                                 {"/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n"},
                                 {"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
                                 {"/sys/fs/cgroup/a/cpu.max", "300000 100000\n"}),
                           NULL),
                 3);
}

Test(config, v2_limit_on_the_mount_point_counts)
{
    /* A cgroup namespace: what is mounted is our own cgroup. */
    cr_assert_eq(cpus_with(FILES({CGROUP, "0::/\n"}, {MOUNTS, V2_MOUNT},
                                 {"/sys/fs/cgroup/cpu.max", "20000 100000\n"}),
                           NULL),
                 1);
}

Test(config, directories_above_the_mount_point_do_not_count)
{
    cr_assert_eq(cpus_with(FILES({CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT},
                                 {"/sys/fs/cpu.max", "100000 100000\n"},
                                 {"/cpu.max", "100000 100000\n"}),
                           NULL),
                 0);
}

Test(config, deleted_cgroup_still_has_parents)
{
    cr_assert_eq(cpus_with(FILES({CGROUP, "0::/a/x (deleted)\n"}, {MOUNTS, V2_MOUNT},
                                 {"/sys/fs/cgroup/a/cpu.max", "400000 100000\n"}),
                           NULL),
                 4);
}

Test(config, v1_limit_and_parents)
{
    enum config_cgroup_kind kind;

    cr_assert_eq(
        cpus_with(FILES({CGROUP, "5:memory:/m\n4:cpu,cpuacct:/a/b\n"}, {MOUNTS, V1_MOUNT},
                        {"/sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n"},
                        {"/sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n"},
                        {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "120000\n"},
                        {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "50000\n"}),
                  &kind),
        3);
    cr_assert_eq(kind, CONFIG_CGROUP_V1);
}

Test(config, v1_quota_without_period_is_no_limit)
{
    cr_assert_eq(cpus_with(FILES({CGROUP, "4:cpu:/\n"}, {MOUNTS, V1_MOUNT},
                                 {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "120000\n"}),
                           NULL),
                 0);
}

Test(config, v1_container_sees_a_part_of_the_hierarchy)
{
    cr_assert_eq(
        cpus_with(
            FILES({CGROUP, "4:cpu:/docker/x/sub\n"},
                  {MOUNTS, "1 0 0:29 /docker/x /cg rw master:3 - cgroup cgroup rw,cpu\n"},
                  {"/cg/sub/cpu.cfs_quota_us", "900000\n"},
                  {"/cg/sub/cpu.cfs_period_us", "100000\n"},
                  {"/cg/cpu.cfs_quota_us", "500000\n"},
                  {"/cg/cpu.cfs_period_us", "100000\n"}),
            NULL),
        5);
}

Test(config, hybrid_takes_the_tighter_of_v1_and_v2)
{
    const struct fake_file both[] = {
        {CGROUP, "4:cpu:/a\n1:name=systemd:/s\n0::/b\n"},
        {MOUNTS, "1 0 0:1 / /proc rw - proc proc rw\n" V1_MOUNT
                 "99 31 0:4 net:[4026532281] /run/netns/a rw - nsfs nsfs rw\n"
                 "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
        {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "600000\n"},
        {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/unified/b/cpu.max", "200000 100000\n"},
        {NULL, NULL},
    };
    struct fake_file v1_only[6];
    enum config_cgroup_kind kind;

    cr_assert_eq(cpus_with(both, &kind), 2);
    cr_assert_eq(kind, CONFIG_CGROUP_V2);
    memcpy(v1_only, both, sizeof(v1_only));
    v1_only[4].path = NULL; /* the v2 hierarchy has no cpu controller */
    cr_assert_eq(cpus_with(v1_only, &kind), 6);
    cr_assert_eq(kind, CONFIG_CGROUP_V1);
}

Test(config, mount_point_with_a_space)
{
    cr_assert_eq(
        cpus_with(FILES({CGROUP, "0::/a\n"},
                        {MOUNTS, "1 0 0:1 / /my\\040cg rw - cgroup2 cgroup2 rw\n"},
                        {"/my cg/a/cpu.max", "100000 100000\n"}),
                  NULL),
        1);
}

Test(config, garbage_in_quota_files_is_no_limit)
{
    static const char *const garbage[] = {"",        "\n",          "abc\n",
                                          "1 2 3\n", "-5 100000\n", "\377\376\n"};

    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
        cr_expect_eq(cpus_with(FILES({CGROUP, "0::/\n"}, {MOUNTS, V2_MOUNT},
                                     {"/sys/fs/cgroup/cpu.max", garbage[i]}),
                               NULL),
                     0, "\"%s\"", garbage[i]);
}

Test(config, no_proc_no_limit)
{
    cr_assert_eq(cpus_with(FILES({"/x", ""}), NULL), 0);
    cr_assert_eq(cpus_with(FILES({CGROUP, ""}, {MOUNTS, ""}), NULL), 0);
    cr_assert_eq(cpus_with(FILES({CGROUP, "0::/\n"}), NULL), 0);
    cr_assert_eq(opens, closes);
}

Test(config, lines_longer_than_the_buffer_are_passed_over)
{
    size_t big = 3 * CONFIG_LINE_MAX + 17;
    char *mounts = malloc(big + sizeof(V2_MOUNT) + 2);

    cr_assert_not_null(mounts);
    memset(mounts, 'x', big);
    strcpy(mounts + big, "\n" V2_MOUNT);
    cr_assert_eq(cpus_with(FILES({CGROUP, "0::/\n"}, {MOUNTS, mounts},
                                 {"/sys/fs/cgroup/cpu.max", "700000 100000\n"}),
                           NULL),
                 7);
    free(mounts);
}

Test(config, line_that_just_fits_or_just_does_not)
{
    static char mounts[CONFIG_LINE_MAX + 8];
    int line_len = (int)strlen(V2_MOUNT) - 1;

    for (int len = CONFIG_LINE_MAX - 3; len < CONFIG_LINE_MAX + 3; len++) {
        /* super options filled up to LEN bytes with the newline */
        snprintf(mounts, sizeof(mounts), "%.*s,", line_len, V2_MOUNT);
        memset(mounts + line_len + 1, 'y', (size_t)(len - line_len - 2));
        strcpy(mounts + len - 1, "\n");
        unsigned cpus = cpus_with(FILES({CGROUP, "0::/\n"}, {MOUNTS, mounts},
                                        {"/sys/fs/cgroup/cpu.max", "700000 100000\n"}),
                                  NULL);
        cr_expect_eq(cpus, len <= CONFIG_LINE_MAX ? 7 : 0, "length %d: %u", len, cpus);
    }
}

Test(config, short_reads_give_the_same)
{
    for (read_chunk = 1; read_chunk < 40; read_chunk++) {
        const char *limit = read_chunk < 20 ? "7\n" : "700000 100000\n";
        cr_expect_eq(
            cpus_with(FILES({CGROUP, "3:cpuset:/x\n0::/a\n"}, {MOUNTS, V1_MOUNT V2_MOUNT},
                            {"/sys/fs/cgroup/a/cpu.max", limit}),
                      NULL),
            read_chunk < 20 ? 1 : 7, "chunk %zu", read_chunk);
    }
}

Test(config, overlong_cgroup_path_is_passed_over)
{
    static char cgroup[2 * CONFIG_PATH_MAX];

    strcpy(cgroup, "0::/");
    memset(cgroup + 4, 'a', CONFIG_PATH_MAX + 10);
    strcpy(cgroup + 4 + CONFIG_PATH_MAX + 10, "\n");
    cr_assert_eq(cpus_with(FILES({CGROUP, cgroup}, {MOUNTS, V2_MOUNT},
                                 {"/sys/fs/cgroup/cpu.max", "100000 100000\n"}),
                           NULL),
                 0);
}
