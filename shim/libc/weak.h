/* weak.h - symbols of the C library newer than 2.31 that we call, as weak references.
 *
 * Included before every source file of the library (Makefile).  A reference that is not weak
 * to a version that the C library does not have makes ld.so refuse to start the program that
 * we are preloaded into; with weak ones it loads us, the constructor finds that they are
 * missing, and everything passes through to libc (real.c, init.c).  Nothing calls them then.
 * compat-tests/lint/lint_imports.py names what is missing here.
 */
#ifndef GSHIM_LIBC_WEAK_H
#define GSHIM_LIBC_WEAK_H

/* clang wants to have seen what is to be weak. */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>

extern void __pthread_register_cancel(__pthread_unwind_buf_t *);
extern void __pthread_unregister_cancel(__pthread_unwind_buf_t *);

#pragma weak __libc_single_threaded
#pragma weak __pthread_register_cancel
#pragma weak __pthread_unregister_cancel
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlvsym
#pragma weak fstat
#pragma weak pthread_attr_getaffinity_np
#pragma weak pthread_attr_getguardsize
#pragma weak pthread_attr_getsigmask_np
#pragma weak pthread_attr_getstack
#pragma weak pthread_attr_getstacksize
#pragma weak pthread_attr_setaffinity_np
#pragma weak pthread_attr_setguardsize
#pragma weak pthread_attr_setsigmask_np
#pragma weak pthread_attr_setstack
#pragma weak pthread_attr_setstacksize
#pragma weak pthread_barrierattr_init
#pragma weak pthread_barrierattr_setpshared
#pragma weak pthread_condattr_getclock
#pragma weak pthread_condattr_getpshared
#pragma weak pthread_condattr_setclock
#pragma weak pthread_condattr_setpshared
#pragma weak pthread_getattr_default_np
#pragma weak pthread_key_create
#pragma weak pthread_key_delete
#pragma weak pthread_mutexattr_init
#pragma weak pthread_mutexattr_setpshared
#pragma weak pthread_mutexattr_settype
#pragma weak pthread_setspecific
#pragma weak pthread_testcancel

#endif
