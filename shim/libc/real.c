/* real.c - the table of real functions; see real.h.
 *
 * A C library before 2.34 keeps threads, dlsym and some more in libraries of their own, which
 * a process may not have loaded; real_old_libc tells, and there what its libc.so.6 has for its
 * own use serves for the lookup.
 *
 * Two threads may resolve one slot at once: both find the same address, so a plain
 * release store is enough ([R1] pairs with the acquire load in real_get: the code behind
 * the pointer was mapped before).
 */
#include "shim/libc/real.h"

#include <dlfcn.h>
#include <stddef.h>

#include "shim/os/os.h"

void *real_slot[REAL_COUNT];

static const struct {
    const char *name;
    const char *version;
} rows[REAL_COUNT] = {
#define REAL_ROW(result, name, params) [REAL_##name] = {#name, NULL},
#define REAL_ROW_V(result, name, params, version) [REAL_##name] = {#name, version},
#include "shim/libc/real.def"
#undef REAL_ROW
#undef REAL_ROW_V
};

/* GLIBC_PRIVATE, gone in 2.34. */
extern void *__libc_dlopen_mode(const char *name, int mode) __attribute__((weak));
extern void *__libc_dlsym(void *map, const char *name) __attribute__((weak));
enum { FROM_LIBC = (int)0x80000000 }; /* __RTLD_DLOPEN, which such a call must give */

bool real_old_libc(void)
{
    void *(*volatile lookup)(void *, const char *) = dlsym; /* weak, see weak.h */
    return lookup == NULL && __libc_dlopen_mode != NULL && __libc_dlsym != NULL;
}

static void *lookup_old(const char *name)
{
    static const char *const libs[] = {"libpthread.so.0", "libc.so.6", "librt.so.1",
                                       "libdl.so.2"};
    void *fn = NULL;
    for (size_t i = 0; fn == NULL && i < sizeof libs / sizeof libs[0]; i++) {
        void *map = __libc_dlopen_mode(libs[i], RTLD_LAZY | FROM_LIBC);
        fn = map != NULL ? __libc_dlsym(map, name) : NULL;
    }
    return fn;
}

void *real_lookup(const char *name, const char *version)
{
    void *fn = NULL;
    if (real_old_libc())
        return lookup_old(name);
    if (version != NULL)
        fn = dlvsym(RTLD_NEXT, name, version);
    return fn != NULL ? fn : dlsym(RTLD_NEXT, name);
}

void *real_resolve(enum real_index i)
{
    void *fn = real_lookup(rows[i].name, rows[i].version);
    if (fn == NULL) {
        os_log("the C library has no %s; cannot go on", rows[i].name);
        os_abort();
    }
    st_rel(&real_slot[i], fn); /* MO: release -> [R1] acquire in real_get */
    return fn;
}

void real_init(void)
{
    for (int i = 0; i < REAL_COUNT; i++)
        real_get((enum real_index)i);
}

/* Once, from the constructor: each lookup allocates, and malloc may come back to us.  What is
 * newer than this C library is missing; its programs cannot call it. */
void real_init_old(void)
{
    for (int i = 0; i < REAL_COUNT; i++)
        st_rel(&real_slot[i], lookup_old(rows[i].name)); /* MO: release -> [R1] */
}
