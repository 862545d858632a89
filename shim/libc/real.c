/* real.c - the table of real functions; see real.h.
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

void *real_resolve(enum real_index i)
{
    void *fn = NULL;
    if (rows[i].version != NULL)
        fn = dlvsym(RTLD_NEXT, rows[i].name, rows[i].version);
    if (fn == NULL)
        fn = dlsym(RTLD_NEXT, rows[i].name);
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
