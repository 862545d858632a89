/* thread.h - thread creation, shared by pthread_create and thrd_create. */
#ifndef GSHIM_POSIX_THREAD_H
#define GSHIM_POSIX_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* thread_create - a new G running START(ARG); the runtime is up.                 [any]
 *   c11  START returns int
 * Returns 0, EAGAIN, EINVAL or EPERM as pthread_create. */
int thread_create(pthread_t *t, const pthread_attr_t *attr, void *(*start)(void *),
                  void *arg, bool c11);

#endif
