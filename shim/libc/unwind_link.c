/* unwind_link.c - the unwinder's two entry points that the compiler makes our code call, without
 * a dependency on libgcc_s.so.1, which would cost every process a tenth of a millisecond.
 *
 * They are called only while some unwinder walks through frames of ours that clean up
 * (cancellation, pthread_exit, a C++ exception), so libgcc_s is loaded then, by libc or by the
 * program; else the first call loads it.  The frame of the forwarder has nothing to clean up,
 * so that it lies between does not matter.  glibc does the same for itself
 * (misc/unwind-link.c).
 */
#include <dlfcn.h>
#include <unwind.h>

#include "arch/atomic.h"
#include "shim/os/os.h"

#define HIDDEN __attribute__((visibility("hidden")))

typedef void resume_fn(struct _Unwind_Exception *);
typedef _Unwind_Reason_Code personality_fn(int, _Unwind_Action, _Unwind_Exception_Class,
                                           struct _Unwind_Exception *,
                                           struct _Unwind_Context *);

/* By other names, since <unwind.h> says that they are visible. */
HIDDEN resume_fn unwind_link_resume __asm__("_Unwind_Resume");
HIDDEN personality_fn unwind_link_personality __asm__("__gcc_personality_v0");

static void *find(const char *name)
{
    void *lib = dlopen("libgcc_s.so.1", RTLD_NOW);
    void *fn = lib != NULL ? dlsym(lib, name) : NULL;
    if (fn == NULL) {
        os_log("libgcc_s.so.1 has no %s; cannot unwind", name);
        os_abort();
    }
    return fn;
}

/* Both are always the same address, so races do not matter. */
void unwind_link_resume(struct _Unwind_Exception *e)
{
    static resume_fn *real; /* atomic */
    if (ld_rlx(&real) == NULL)
        st_rlx(&real, (resume_fn *)find("_Unwind_Resume"));
    ld_rlx (&real)(e);
}

_Unwind_Reason_Code unwind_link_personality(int version, _Unwind_Action actions,
                                            _Unwind_Exception_Class cls,
                                            struct _Unwind_Exception *e,
                                            struct _Unwind_Context *context)
{
    static personality_fn *real; /* atomic */
    if (ld_rlx(&real) == NULL)
        st_rlx(&real, (personality_fn *)find("__gcc_personality_v0"));
    return ld_rlx(&real)(version, actions, cls, e, context);
}
