/* signal.h - signals of a G; see signal.c. */
#ifndef GSHIM_POSIX_SIGNAL_H
#define GSHIM_POSIX_SIGNAL_H

#include <signal.h>

struct g;

/* signal_attention - on GP itself: raise what other threads sent. */
void signal_attention(struct g *gp);
/* signal_keep_altstack - GP, the caller, has just set its signal stack in the kernel. */
void signal_keep_altstack(struct g *gp, const stack_t *set);
/* fault_start - take over SIGSEGV, SIGBUS and the preemption signal (0: none), when the
 * runtime starts (fault.c).  fault_fork_child - the last one is the program's again. */
void fault_start(int preempt_sig);
void fault_fork_child(void);
/* quit_start - SIGQUIT dumps all threads, if GSHIM_DEBUG says so; from fault_start (quit.c). */
void quit_start(void);

#endif
