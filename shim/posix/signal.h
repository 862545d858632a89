/* signal.h - signals of a G; see signal.c. */
#ifndef GSHIM_POSIX_SIGNAL_H
#define GSHIM_POSIX_SIGNAL_H

#include <signal.h>

struct g;

/* signal_attention - on GP itself: raise what other threads sent. */
void signal_attention(struct g *gp);
/* signal_keep_altstack - GP, the caller, has just set its signal stack in the kernel. */
void signal_keep_altstack(struct g *gp, const stack_t *set);
/* fault_start - take over SIGSEGV and SIGBUS, once the runtime runs (fault.c). */
void fault_start(void);
/* quit_start - SIGQUIT dumps all threads, if GSHIM_DEBUG says so; from fault_start (quit.c). */
void quit_start(void);

#endif
