/* bound.h - system calls about one kernel thread; see bound.c. */
#ifndef GSHIM_POSIX_BOUND_H
#define GSHIM_POSIX_BOUND_H

#include <stdbool.h>

/* bound_syscall - system call NR with arguments A, if it is about one kernel thread and the
 * calling one is a G: true, and the result or -errno in *RET.                        [G] */
bool bound_syscall(long *ret, long nr, const long *a);

#endif
