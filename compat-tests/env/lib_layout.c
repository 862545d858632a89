/* lib_layout.c - a C library whose description of a thread is not what it was: preloaded before
 * the library under test, it answers for one of the descriptors that libc.so.6 has for the
 * debugger.  NAME, and BITS, COUNT and OFFSET as in nptl_db, come from the command line. */
#include <stdint.h>

__attribute__((visibility("default"))) const uint32_t NAME[3] = {BITS, COUNT, OFFSET};
