/* sched.h - scheduling attributes of a G; see sched.c. */
#ifndef GSHIM_POSIX_SCHED_H
#define GSHIM_POSIX_SCHED_H

#include <pthread.h>

struct g;

/* sched_attention - on GP itself: take up attributes that another thread left. */
void sched_attention(struct g *gp);
/* sched_from_attr - the attributes that a thread is created with; 0, EPERM or EINVAL. */
int sched_from_attr(struct g *gp, const pthread_attr_t *attr);
/* 0, EPERM, EINVAL; GP lives. */
int sched_set_policy(struct g *gp, int policy, int priority);
int sched_set_affinity(struct g *gp, size_t n, const cpu_set_t *set);

#endif
