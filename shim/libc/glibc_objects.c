/* glibc_objects.c - whose code is at an address: asked in a signal handler.
 *
 * _dl_find_object (glibc 2.35) answers without lock, allocation or thread-local access, and
 * always for what is loaded now, so no copy of the list of objects has to follow dlopen and
 * dlclose.  The link map that it gives stays valid while we look: a thread is executing the
 * object's code at that moment, so nobody may unload it.
 * With glibc 2.34, which lacks the function, a table of the objects present at start takes
 * its place; what is loaded later is then unknown, and unknown code is left alone.
 *
 * Kinds are told by name: the C library, its loader and the modules it loads for itself
 * (NSS, character sets), the vDSO, the unwinder, sanitizers; and the library that provides
 * malloc, whatever its name, unless it is the program itself.
 * Rejected: interposing dlopen to keep a table: dlopen looks at its caller's RUNPATH, which
 * would then be ours.
 */
#include "shim/libc/libc.h"

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

enum { AT_START_MAX = 128 };

/* As struct dl_find_object of <dlfcn.h>, which older headers lack. */
struct found {
    unsigned long long flags;
    void *start, *end;
    struct link_map *map;
    void *eh_frame;
    unsigned long long reserved[7];
};
typedef int find_fn(void *, struct found *);

static find_fn *find_object;
static struct link_map *our_map, *main_map, *malloc_map;

/* Code present at start; const after libc_objects_init. */
static struct segment {
    uintptr_t lo, hi;
    struct libc_object object;
} at_start[AT_START_MAX];
static size_t n_at_start;

static const char *const not_application[] = {
    "libc.so",    "libc-2",   "ld-linux", "ld-2",          "ld.so",        "linux-vdso",
    "linux-gate", "libgcc_s", "libnss_",  "libpthread.so", "libthread_db", "libasan",
    "liblsan",    "libtsan",  "libubsan", "libSegFault",
};

static bool starts_with(const char *s, const char *prefix)
{
    while (*prefix != '\0')
        if (*s++ != *prefix++)
            return false;
    return true;
}

/* NAME: a path, or empty for the program itself. */
static enum libc_text kind_of_name(const char *name)
{
    const char *base = name;
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '/')
            base = c + 1;
        if (starts_with(c, "/gconv/"))
            return LIBC_TEXT_LIBC;
    }
    for (size_t i = 0; i < sizeof not_application / sizeof not_application[0]; i++)
        if (starts_with(base, not_application[i]))
            return LIBC_TEXT_LIBC;
    return LIBC_TEXT_APP;
}

static enum libc_text kind_of_map(const struct link_map *map)
{
    if (map == our_map)
        return LIBC_TEXT_OURS;
    if (map == main_map)
        return LIBC_TEXT_APP;
    if (map == malloc_map)
        return LIBC_TEXT_LIBC;
    return kind_of_name(map->l_name);
}

/* --- glibc 2.34 -------------------------------------------------------------------------- */

static int note_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    uintptr_t us = (uintptr_t)libc_objects_init, heap = (uintptr_t)arg;
    enum libc_text kind = kind_of_name(info->dlpi_name);
    size_t first = n_at_start;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum && n_at_start < AT_START_MAX; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        uintptr_t lo = info->dlpi_addr + ph->p_vaddr, hi = lo + ph->p_memsz;
        if (ph->p_type != PT_LOAD || (ph->p_flags & PF_X) == 0)
            continue;
        if (us >= lo && us < hi)
            kind = LIBC_TEXT_OURS;
        else if (heap >= lo && heap < hi && info->dlpi_name[0] != '\0')
            kind = LIBC_TEXT_LIBC;
        struct libc_object o = {info->dlpi_name, info->dlpi_addr, kind};
        at_start[n_at_start++] = (struct segment){lo, hi, o};
    }
    for (size_t i = first; i < n_at_start; i++)
        at_start[i].object.kind = kind;
    return 0;
}

static struct libc_object look_up_at_start(uintptr_t pc)
{
    for (size_t i = 0; i < n_at_start; i++)
        if (pc >= at_start[i].lo && pc < at_start[i].hi)
            return at_start[i].object;
    return (struct libc_object){NULL, 0, LIBC_TEXT_UNKNOWN};
}

/* ----------------------------------------------------------------------------------------- */

struct libc_object libc_object_of(uintptr_t pc)
{
    struct found f;
    if (find_object == NULL)
        return look_up_at_start(pc);
    if (find_object((void *)pc, &f) != 0)
        return (struct libc_object){NULL, 0, LIBC_TEXT_UNKNOWN};
    return (struct libc_object){f.map->l_name, f.map->l_addr, kind_of_map(f.map)};
}

static struct link_map *map_of(const void *p)
{
    struct found f;
    return find_object((void *)(uintptr_t)p, &f) == 0 ? f.map : NULL;
}

void libc_objects_init(bool may_find)
{
    static bool done;
    if (done) /* in a child of fork, where the loader's lock may be held by nobody */
        return;
    done = true;
    void *heap = dlsym(RTLD_DEFAULT, "malloc");
    find_object = may_find ? (find_fn *)dlsym(RTLD_DEFAULT, "_dl_find_object") : NULL;
    if (find_object == NULL) {
        n_at_start = 0;
        dl_iterate_phdr(note_object, heap);
        return;
    }
    our_map = map_of((void *)libc_objects_init);
    main_map = ((struct link_map *)dlopen(NULL, RTLD_LAZY | RTLD_NOLOAD));
    malloc_map = map_of(heap);
    if (malloc_map == main_map)
        malloc_map = NULL;
}
