/* fork.h - children of a G; see fork.c. */
#ifndef GSHIM_POSIX_FORK_H
#define GSHIM_POSIX_FORK_H

/* fork_register - see that our handler is the first to run in a child of fork.       [any] */
void fork_register(void);

/* fork_after_syscall - system call NR with arguments A has returned RET: if this is a new
 * process, forget the runtime. */
void fork_after_syscall(long nr, const long *a, long ret);

#endif
