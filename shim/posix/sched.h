/* sched.h - scheduling attributes of a G; see sched.c. */
#ifndef GSHIM_POSIX_SCHED_H
#define GSHIM_POSIX_SCHED_H

#include <pthread.h>
#include <stdbool.h>

struct g;

/* sched_attention - on GP itself: take up attributes that another thread left. */
void sched_attention(struct g *gp);
/* sched_inherit - GP, new, gets what its creator has; sched_from_attr - what its attributes
 * say instead; 0, EPERM or EINVAL. */
void sched_inherit(struct g *gp);
int sched_from_attr(struct g *gp, const pthread_attr_t *attr);
/* Of GP, which lives.  Setting: 0 or an errno value.  sched_get_affinity: as the system call. */
int sched_set_policy(struct g *gp, int policy, int priority);
void sched_get_policy(struct g *gp, int *policy, int *priority);
int sched_set_affinity(struct g *gp, size_t n, const cpu_set_t *set);
long sched_get_affinity(struct g *gp, size_t n, cpu_set_t *set);
int sched_set_nice(struct g *gp, int value);
int sched_get_nice(struct g *gp);
/* sched_by_kernel - system call NR with arguments A, which name GP: on its kernel thread. */
long sched_by_kernel(struct g *gp, long nr, const long *a);
bool sched_ended(struct g *gp);

#endif
