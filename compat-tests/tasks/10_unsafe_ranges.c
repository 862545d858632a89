/* 10 - which code of a process may be interrupted, and which not? */
#include <dlfcn.h>
#include <sys/auxv.h>

#include "task.h"

GSHIM_UNSAFE void marked(void);
GSHIM_UNSAFE void marked(void)
{
    __asm__ volatile("");
}

static void *nothing(void *arg)
{
    return arg;
}

static void child(const char *mode)
{
    (void)mode;
    if (gshim_dump_code == NULL)
        die("not under libgshim");
    pthread_join(start(nothing, NULL), NULL);
    void *libm = dlopen("libm.so.6", RTLD_NOW);
    gshim_dump_code(1);
    printf("program %p\n", (void *)child);
    printf("marked %p\n", (void *)marked);
    printf("libm %p\n", libm != NULL ? dlsym(libm, "expm1f") : NULL);
    printf("libc %p\n", dlsym(RTLD_DEFAULT, "regcomp"));
    printf("malloc %p\n", dlsym(RTLD_DEFAULT, "malloc"));
    printf("libgshim %p\n", dlsym(RTLD_DEFAULT, "gshim_yield"));
    printf("loader %p\n", (void *)(getauxval(AT_BASE) + 0x2000)); /* behind its headers */
    say("end", 1);
}

/* What the list says about the address that the child said under NAME: the last line that
 * covers it, as marked functions come after the objects they lie in. */
static const char *kind_of(const char *name)
{
    static char kind[32];
    char label[32];
    unsigned long at = 0, lo, hi;
    snprintf(label, sizeof label, "\n%s 0x", name);
    const char *said = strstr(output, label);
    if (said == NULL || sscanf(said + strlen(label) - 2, "%lx", &at) != 1)
        return "not said";
    strcpy(kind, "not listed");
    for (const char *p = output; p != NULL;
         p = strchr(p, '\n') != NULL ? strchr(p, '\n') + 1 : NULL) {
        char k[32];
        if (sscanf(p, "%lx-%lx %31s", &lo, &hi, k) == 3 && at >= lo && at < hi)
            strcpy(kind, k);
    }
    return kind;
}

static void check(const char *name, const char *want)
{
    const char *kind = kind_of(name);
    OBSERVE("%-8s %s", name, kind);
    if (strcmp(kind, want) != 0) {
        printf("  NOT SO:   %s is %s\n%s\n", name, want, output);
        failures++;
    }
}

static void task(void)
{
    EXPECT(
        "the program and its libraries are safe; libc, the loader, the allocator and libgshim "
        "are not, nor is a function marked GSHIM_UNSAFE");
    CHECK(run("list", 1, NULL) == 0);
    CHECK(get("end") == 1);
    check("program", "safe");
    check("libm", "safe");
    check("marked", "unsafe");
    check("libc", "unsafe");
    check("malloc", "unsafe");
    check("loader", "unsafe");
    check("libgshim", "unsafe");
}
