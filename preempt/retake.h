/* retake.h - sysmon's look at the Ps.  Private to sysmon.c, retake.c, running.c, spin.c. */
#ifndef GSHIM_RETAKE_H
#define GSHIM_RETAKE_H

#include <stdbool.h>
#include <stdint.h>

/* Go's forcePreemptNS: how long a thread may run while others wait. */
static const int64_t TICK_NS = 10000000;

struct g;
struct m;

struct retake {
    int64_t now_ns;  /* when it began */
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

/* --- spin.c: who only waits, in a loop of its own --- */
/* The turn of one that does.  Giving way and sysmon's look cost a twentieth of it. */
static const int64_t SPIN_TURN_NS = 500000;
/* spin_turn_ns - how long GP may run while others wait: TICK_NS or SPIN_TURN_NS. */
int64_t spin_turn_ns(const struct g *gp);

/* --- running.c: of kernel threads; on sysmon only --- */
/* running_now - does MP run, or wait for a CPU?  CPU: its clock, read just now. */
bool running_now(const struct m *mp, int64_t cpu);
/* running_state - as os_thread_state. */
char running_state(int tid);
/* running_rest - nobody runs: keep nothing open.  running_forget - the child of fork has nothing
 * open. */
void running_rest(void);
void running_forget(void);

#endif
