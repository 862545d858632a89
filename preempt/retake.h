/* retake.h - sysmon's look at the Ps.  Private to sysmon.c and retake.c. */
#ifndef GSHIM_RETAKE_H
#define GSHIM_RETAKE_H

#include <stdbool.h>
#include <stdint.h>

/* Go's forcePreemptNS: how long a thread may run while others wait. */
static const int64_t TICK_NS = 10000000;

struct retake {
    bool busy;       /* some P is in use, or some M runs without one: look again */
    bool took;       /* a P was handed on: look again soon */
    bool torture;    /* some G runs that preemptus= is to interrupt */
    int64_t next_ns; /* when somebody's time will be up, RT_FOREVER: not known */
};

/* retake_start - in a child of fork, what sysmon knew is of the parent. */
void retake_start(void);
/* retake_woken - only let the woken have the Ps of hogs; returns when to look again. */
int64_t retake_woken(int64_t now_ns);
/* retake - one look at all Ps; on sysmon only. */
struct retake retake(int64_t now_ns);

#endif
