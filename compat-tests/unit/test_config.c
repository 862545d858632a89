/* test_config.c - shim/rt/config.c: the environment, maxprocs, GSHIM_DEBUG; and that no
 * bytes harm any of the parsers, those of config_cgroup.c included.
 */
#include <criterion/criterion.h>

#include "compat-tests/unit/fake_os.h"
#include "shim/rt/config.h"

/* --- numbers ------------------------------------------------------------------------ */

Test(config, parse_uint)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } rows[] = {
        {"1", true, 1},
        {"1024", true, 1024},
        {"0016", true, 16},
        {"0", false, 0},
        {"1025", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"0x10", false, 0},
        {"1e3", false, 0},
        {"4294967297", false, 0},
        {"18446744073709551617", false, 0},
        {"99999999999999999999999999999999", false, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t v = 77;
        bool ok = config_parse_uint(rows[i].text, strlen(rows[i].text), 1, 1024, &v);
        cr_expect_eq(ok, rows[i].ok, "\"%s\"", rows[i].text);
        cr_expect_eq(v, ok ? rows[i].value : 77, "\"%s\": %lu", rows[i].text, v);
    }
}

Test(config, parse_uint_whole_range)
{
    uint64_t v;

    cr_assert(config_parse_uint("18446744073709551615", 20, 0, UINT64_MAX, &v));
    cr_assert_eq(v, UINT64_MAX);
    cr_assert_not(config_parse_uint("18446744073709551616", 20, 0, UINT64_MAX, &v));
    cr_assert(config_parse_uint("129", 2, 0, 100, &v), "LEN decides where it ends");
    cr_assert_eq(v, 12);
}

/* --- maxprocs ----------------------------------------------------------------------- */

Test(config, default_is_the_smaller_of_affinity_and_quota)
{
    const struct fake_file *three = FILES({CGROUP, "0::/\n"}, {MOUNTS, V2_MOUNT},
                                          {"/sys/fs/cgroup/cpu.max", "250000 100000\n"});
    const char *source;

    files = three;
    cr_assert_eq(config_default_maxprocs(&source), 3);
    cr_assert_str_eq(source, "cgroup v2 CPU quota");
    affinity = 2;
    cr_assert_eq(config_default_maxprocs(&source), 2);
    cr_assert_str_eq(source, "CPU affinity");
    files = NULL;
    affinity = 0; /* the kernel refused to tell */
    cr_assert_eq(config_default_maxprocs(&source), 1);
    affinity = -38;
    cr_assert_eq(config_default_maxprocs(&source), 1);
    affinity = 1 << 20;
    cr_assert_eq(config_default_maxprocs(&source), CONFIG_MAXPROCS_MAX);
}

Test(config, maxprocs_from_env_reads_no_file)
{
    struct rt_config c;

    config_load_from(&c, ENV("PATH=/bin", "GSHIM_MAXPROCS=8"), false);
    cr_assert_eq(c.maxprocs, 8);
    cr_assert(c.maxprocs_from_env);
    cr_assert_str_eq(c.maxprocs_source, "GSHIM_MAXPROCS");
    cr_assert_eq(opens, 0);
    cr_assert_str_empty(stderr_text);
}

Test(config, maxfilecalls)
{
    struct rt_config c;

    config_load_from(&c, ENV("GSHIM_MAXPROCS=1"), false);
    cr_assert_eq(c.maxfilecalls, CONFIG_MAXFILECALLS_DEFAULT);
    config_load_from(&c, ENV("GSHIM_MAXPROCS=1", "GSHIM_MAXFILECALLS=3"), false);
    cr_assert_eq(c.maxfilecalls, 3);
    cr_assert_str_eq(stderr_text, "");
    config_load_from(&c, ENV("GSHIM_MAXPROCS=1", "GSHIM_MAXFILECALLS=0"), false);
    cr_assert_eq(c.maxfilecalls, CONFIG_MAXFILECALLS_DEFAULT);
    cr_assert(strstr(stderr_text, "GSHIM_MAXFILECALLS=\"0\"") != NULL);
}

Test(config, bad_maxprocs_is_named_and_replaced)
{
    struct rt_config c;

    affinity = 2;
    config_load_from(&c, ENV("GSHIM_MAXPROCS=abc"), false);
    cr_assert_eq(c.maxprocs, 2);
    cr_assert_not(c.maxprocs_from_env);
    cr_assert_str_eq(stderr_text, "gshim: GSHIM_MAXPROCS=\"abc\" is not a number between "
                                  "1 and 1024; using 2\n");
}

Test(config, bad_maxprocs_values)
{
    static char *const bad[] = {
        "GSHIM_MAXPROCS=0",   "GSHIM_MAXPROCS=-1",  "GSHIM_MAXPROCS=1025",
        "GSHIM_MAXPROCS=2.5", "GSHIM_MAXPROCS= 2",  "GSHIM_MAXPROCS=\x1b[31m\n",
        "GSHIM_MAXPROCS=2\t", "GSHIM_MAXPROCS=max", "GSHIM_MAXPROCS=18446744073709551618",
    };

    affinity = 5;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rt_config c;
        stderr_text[0] = '\0';
        config_load_from(&c, ENV(bad[i]), false);
        cr_expect_eq(c.maxprocs, 5, "%s", bad[i]);
        char *newline = strchr(stderr_text, '\n');
        cr_expect(newline != NULL && newline[1] == '\0', "one line for %s", bad[i]);
        cr_expect_null(strchr(stderr_text, '\x1b'), "no control characters");
    }
}

Test(config, long_bad_value_is_cut)
{
    static char value[4096] = "GSHIM_MAXPROCS=";
    struct rt_config c;

    memset(value + strlen(value), 'z', 3000);
    config_load_from(&c, ENV(value), false);
    cr_assert_lt(strlen(stderr_text), 200);
    cr_assert_not_null(strstr(stderr_text, "zzz...\""));
}

Test(config, empty_variables_count_as_unset)
{
    struct rt_config c;

    affinity = 3;
    config_load_from(&c, ENV("GSHIM_MAXPROCS=", "GSHIM_DEBUG=", "GSHIM_TRACE="), false);
    cr_assert_eq(c.maxprocs, 3);
    cr_assert_null(c.trace_path);
    cr_assert_str_empty(stderr_text);
}

Test(config, secure_programs_ignore_the_environment)
{
    struct rt_config c;

    affinity = 3;
    config_load_from(
        &c, ENV("GSHIM_MAXPROCS=8", "GSHIM_DEBUG=off=1,x", "GSHIM_TRACE=/tmp/t"), true);
    cr_assert_eq(c.maxprocs, 3);
    cr_assert_not(c.maxprocs_from_env);
    cr_assert_not(c.off);
    cr_assert_null(c.trace_path);
    cr_assert_str_empty(stderr_text);
}

Test(config, no_environment_at_all)
{
    struct rt_config c;

    memset(&c, 0xff, sizeof(c));
    affinity = 4;
    config_load_from(&c, NULL, false);
    cr_assert_eq(c.maxprocs, 4);
    cr_assert_not(c.off);
    cr_assert_eq(c.schedtrace_ms, 0);
}

Test(config, load_takes_the_environment_of_the_process)
{
    affinity = 4;
    cr_assert_eq(setenv("GSHIM_MAXPROCS", "7", 1), 0);
    config_load();
    cr_assert_eq(rt_config.maxprocs, 7);
    cr_assert_eq(clearenv(), 0);
    config_load();
    cr_assert_eq(rt_config.maxprocs, 7, "once: a second call changes nothing");
}

Test(config, getenv_wants_the_whole_name)
{
    char **env = ENV("GSHIM_MAXPROCSX=1", "XGSHIM_MAXPROCS=2", "GSHIM_MAXPROCS", "=x",
                     "GSHIM_MAXPROCS=3", "GSHIM_MAXPROCS=4");

    cr_assert_str_eq(config_getenv(env, "GSHIM_MAXPROCS"), "3");
    cr_assert_null(config_getenv(env, "GSHIM_DEBUG"));
    cr_assert_null(config_getenv(NULL, "GSHIM_DEBUG"));
}

/* --- GSHIM_DEBUG, GSHIM_TRACE ------------------------------------------------------- */

Test(config, every_debug_key)
{
    struct rt_config c;

    config_load_from(
        &c,
        ENV("GSHIM_DEBUG=off=1,asyncpreemptoff=1,scheddetail=1,stwtrace=1,"
            "preemptlog=1,yieldrandom=1,dumponquit=1,deadlock=1,schedtrace=1000,"
            "preemptus=50",
            "GSHIM_TRACE=/tmp/trace"),
        false);
    cr_expect(c.off && c.asyncpreemptoff && c.scheddetail && c.stwtrace);
    cr_expect(c.preemptlog && c.yieldrandom && c.dumponquit && c.deadlock);
    cr_expect_eq(c.schedtrace_ms, 1000);
    cr_expect_eq(c.preempt_us, 50);
    cr_expect_str_eq(c.trace_path, "/tmp/trace");
    cr_expect_str_empty(stderr_text);
}

Test(config, debug_later_entry_wins_and_empty_ones_do_not_matter)
{
    struct rt_config c = {0};

    config_parse_debug(&c, ",off=1,,deadlock=1,off=0,");
    cr_assert_not(c.off);
    cr_assert(c.deadlock);
    cr_assert_str_empty(stderr_text);
}

Test(config, unknown_debug_key)
{
    struct rt_config c = {0};

    config_parse_debug(&c, "nonsense=1,off=1");
    cr_assert(c.off, "the rest still counts");
    cr_assert_str_eq(stderr_text,
                     "gshim: GSHIM_DEBUG=\"nonsense=1\" is not a known key; ignored\n");
}

Test(config, bad_debug_values)
{
    static const char *const bad[] = {
        "off",
        "off=",
        "off=2",
        "off=-1",
        "off=yes",
        "off=1=1",
        "of=1",
        "offf=1",
        "=1",
        "=",
        "OFF=1",
        "off =1",
        "schedtrace=x",
        "schedtrace",
        "schedtrace=99999999999",
        "off=1 ",
        "preemptus=1000001",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rt_config c = {0}, zero = {0};
        stderr_text[0] = '\0';
        config_parse_debug(&c, bad[i]);
        cr_expect_eq(memcmp(&c, &zero, sizeof(c)), 0, "\"%s\" changed something", bad[i]);
        char *newline = strchr(stderr_text, '\n');
        cr_expect(newline != NULL && newline[1] == '\0', "one line for %s", bad[i]);
        cr_expect_not_null(strstr(stderr_text, bad[i]), "names the value: %s",
                           stderr_text);
    }
    stderr_text[0] = '\0';
    struct rt_config c = {.schedtrace_ms = 5};
    config_parse_debug(&c, "schedtrace=x");
    cr_assert_str_eq(stderr_text, "gshim: GSHIM_DEBUG=\"schedtrace=x\" is not schedtrace="
                                  "number between 0 and 3600000; using 5\n");
}

/* --- any bytes ---------------------------------------------------------------------- */

/* Mutations of good lines, from a fixed seed; build with -fsanitize=address,undefined to
 * see what a crash would not show. */
static unsigned random_below(unsigned n)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

static size_t mutate(const char *seed, char *out, size_t size)
{
    static const char hot[] = "0123456789/:.,- =\\\n\t\377maxcpu";
    size_t len = strlen(seed) < size ? strlen(seed) : size;

    memcpy(out, seed, len);
    for (unsigned n = random_below(6); n > 0 && len > 0; n--) {
        size_t at = random_below((unsigned)len);
        if (random_below(4) == 0)
            len = at; /* cut */
        else
            out[at] = hot[random_below(sizeof(hot) - 1)];
    }
    return len;
}

Test(config, parsers_survive_any_bytes)
{
    static const char *const seeds[] = {
        "4:cpu,cpuacct:/a/b",
        "0::/user.slice/x.scope",
        "32 31 0:29 /docker/x /c\\040d rw shared:1 - cgroup cgroup rw,cpu,cpuacct",
        "30 23 0:26 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        "50000 100000\n",
        "max 100000\n",
        "off=1,schedtrace=1000,preemptus=50,deadlock=1",
    };

    for (int i = 0; i < 200000; i++) {
        char bytes[128], dir[64];
        size_t len = mutate(seeds[random_below(7)], bytes, sizeof(bytes));
        char *text = heap_copy(bytes, len);
        int64_t quota = 0, period = 1;
        config_parse_cfs_us(text, len, &quota);
        if (config_parse_cpu_max(text, len, &quota, &period))
            config_quota_cpus(quota, period);
        free(text);

        bytes[len < sizeof(bytes) ? len : sizeof(bytes) - 1] = '\0';
        char *line = heap_copy(bytes, strlen(bytes) + 1);
        const char *path = "/a";
        struct rt_config c = {0};
        struct config_cgroup_mount m;
        config_parse_debug(&c, line);
        stderr_text[0] = '\0';
        if (config_parse_cgroup_line(line, &path) == CONFIG_CGROUP_NONE)
            path = "/docker/x/y";
        char *mount = heap_copy(bytes, strlen(bytes) + 1);
        config_parse_mount_line(mount, &m);
        if (m.kind != CONFIG_CGROUP_NONE)
            config_cgroup_dir(&m, path, dir, sizeof(dir));
        free(mount);
        free(line);
    }
}
