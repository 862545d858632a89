/* debug.h - what the runtime tells about itself: schedtrace, thread dumps, deadlock report.
 *
 * All of it is written with os_print from hints read without locks, so it works when
 * everything else is stuck, and may be a little out of date while things run.
 */
#ifndef GSHIM_RT_DEBUG_H
#define GSHIM_RT_DEBUG_H

#include "shim/rt/rt.h"

/* Is there anything for debug_tick to do?  const after start. */
extern bool rt_debug_on;

/* debug_start - before sysmon's first look. */
void debug_start(void);

/* debug_tick - sysmon's call, each time around: print what GSHIM_DEBUG asked for and is due.
 *   idle  no P is busy
 * Returns when it wants to be called again, RT_FOREVER: never by itself. */
int64_t debug_tick(int64_t now_ns, bool idle);

/* debug_want_dump - have sysmon dump every thread on stderr.                        [sig] */
void debug_want_dump(void);

/* debug_dump_threads - every thread with state, wait, name and who called whom.     [any] [sig]
 * FD may block: not from sysmon unless it is stderr. */
void debug_dump_threads(int fd);

/* debug_dump_code - every range of code, and whether a thread may be interrupted there. [any] */
void debug_dump_code(int fd);

/* debug_state - "running", "runnable", or what it waits for. */
const char *debug_state(struct g *gp);

/* schedtrace_print - one report of GSHIM_DEBUG=schedtrace; DETAIL: every P, M and G too. */
void schedtrace_print(int64_t since_start_ns, bool detail);

/* deadlock_now - can nobody ever run again, as far as we can see?  On sysmon. */
bool deadlock_now(void);

#endif
