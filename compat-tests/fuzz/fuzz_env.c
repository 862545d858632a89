/* fuzz_env.c - the environment: any bytes in GSHIM_* give settings within their bounds.
 *
 * The input is an environment, one variable a line.  libFuzzer calls LLVMFuzzerTestOneInput.
 */
#include "compat-tests/unit/fake_os.h"
#include "shim/rt/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool so)
{
    if (!so)
        abort();
}

static bool is_bool(const bool *b)
{
    unsigned char v;
    memcpy(&v, b, 1);
    return v <= 1;
}

static void check(const struct rt_config *c)
{
    must(c->maxprocs >= 1 && c->maxprocs <= CONFIG_MAXPROCS_MAX);
    must(c->maxprocs_source != NULL && strlen(c->maxprocs_source) > 0);
    must(c->schedtrace_ms <= 3600 * 1000 && c->preempt_us <= 1000 * 1000);
    must(c->trace_path == NULL || c->trace_path[0] != '\0');
    must(is_bool(&c->off) && is_bool(&c->asyncpreemptoff) && is_bool(&c->scheddetail) &&
         is_bool(&c->stwtrace) && is_bool(&c->preemptlog) && is_bool(&c->yieldrandom) &&
         is_bool(&c->dumponquit) && is_bool(&c->deadlock));
    /* What goes to stderr is text, line by line. */
    for (const char *p = stderr_text; *p != '\0'; p++)
        must(*p == '\n' || (*p >= ' ' && *p <= '~'));
}

/* Against another way to read a number. */
static void check_uint(const char *text)
{
    uint64_t v = 0;
    size_t len = strlen(text);
    bool ok = config_parse_uint(text, len, 0, UINT64_MAX, &v);
    bool digits = len > 0 && strspn(text, "0123456789") == len;
    errno = 0;
    unsigned long long want = digits ? strtoull(text, NULL, 10) : 0;
    must(ok == (digits && errno == 0));
    must(!ok || v == want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { VARIABLES = 64 };
    char *copy = heap_copy((const char *)data, size), *envp[VARIABLES + 1], *line;
    size_t n = 0;
    struct rt_config c;
    char *text = malloc(size + 1);
    if (text == NULL)
        abort();
    memcpy(text, copy, size);
    text[size] = '\0';
    free(copy);
    char *rest = text;
    while (n < VARIABLES && (line = strsep(&rest, "\n")) != NULL)
        envp[n++] = heap_copy(line, strlen(line) + 1);
    envp[n] = NULL;
    stderr_text[0] = '\0';
    config_load_from(&c, envp, false);
    check(&c);
    config_load_from(&c, envp, true); /* of a set-uid program: nothing is read */
    must(!c.maxprocs_from_env && !c.off && c.trace_path == NULL);
    for (size_t i = 0; i < n; i++) {
        const char *eq = strchr(envp[i], '=');
        check_uint(eq != NULL ? eq + 1 : envp[i]);
        free(envp[i]);
    }
    free(text);
    return 0;
}
