/* sys_real.c - libc's own functions behind the rows of syscalls.def.
 *
 * Looked up at first use, not at the start: most programs need few of them, and a preloaded
 * malloc that reads a file while it initialises must not find us in the loader.
 */
#include "shim/posix/sys.h"

static const char *const names[SYSREAL_COUNT] = {
#define SYS_ROW(name) [SYSREAL_##name] = #name,
#include "shim/posix/sys_rows.h"
#undef SYS_ROW
};

static void *found[SYSREAL_COUNT]; /* atomic [R2] */

void *sys_real(enum sys_index i)
{
    void *fn = ld_acq(&found[i]); /* MO: acquire <- [R2]: the code is mapped */
    if (likely(fn != NULL))
        return fn;
    fn = real_lookup(names[i], NULL);
    if (fn == NULL) {
        os_log("the C library has no %s; cannot go on", names[i]);
        os_abort();
    }
    st_rel(&found[i], fn); /* MO: release -> [R2] */
    return fn;
}
