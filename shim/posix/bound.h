/* bound.h - system calls about one kernel thread; see bound.c. */
#ifndef GSHIM_POSIX_BOUND_H
#define GSHIM_POSIX_BOUND_H

#include <stdbool.h>

struct g;

/* bound_syscall - system call NR with arguments A, if it is about one kernel thread and the
 * calling one is a G: true, and the result or -errno in *RET.                        [G] */
bool bound_syscall(long *ret, long nr, const long *a);

/* bound_inherit - GP, about to be started by the caller, is bound to a kernel thread that inherits
 * from the caller's, if that has state of its own.  0 or an errno value.              [G] */
int bound_inherit(struct g *gp);
/* bound_show_slack - let the calling kernel thread have the timer slack that the program knows, for
 * others to inherit.  Returns what is to be set again afterwards, 0: nothing.            [G] */
unsigned long bound_show_slack(void);

#endif
