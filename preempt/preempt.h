/* preempt.h - policy: who loses its P, when, and whether that is safe. */
#ifndef GSHIM_PREEMPT_H
#define GSHIM_PREEMPT_H

/* sysmon_main - body of the monitor thread. */
void *sysmon_main(void *arg);

#endif
