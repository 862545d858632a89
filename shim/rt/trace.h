/* trace.h - GSHIM_TRACE=FILE: what every thread and every P did, as slices of time.
 *
 * RECORDS
 *   Each record is one finished slice with begin and end, so that a lost one leaves a gap and
 *   no confusion.  An M writes to its own buffer (mp->trace), sysmon to one of its own; whoever
 *   records is alone on its buffer but for signal handlers on the same kernel thread.
 *
 * WHO OWNS WHICH TIME
 *   g.trace  the G itself while it runs, whoever resumes it while it does not; `ready` and
 *            `waker`: who readied it, before it is queued.
 *   p.trace  whoever holds the P: its M inside the runtime, or sysmon that took it.  So slices of
 *            one P never overlap.
 *
 * Off, each point costs one predictable branch on trace_on.  Included by objects.h.
 */
#ifndef GSHIM_RT_TRACE_H
#define GSHIM_RT_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/atomic.h"

struct g;
struct m;
struct p;

enum trace_type {
    TRACE_NONE, /* a record that is not complete yet */
    TRACE_RUN, /* G ran on P all the time; extra: kernel thread, and above its 32 bits the
                  * number of the G that readied it, 0: nobody */
    TRACE_RUN_G, /* the same, on several Ps or on none for a part of it */
    TRACE_RUN_P, /* P's part of such a run; extra: kernel thread */
    TRACE_WAIT,  /* G waits, and the trace ends; how = wait_reason */
    TRACE_CALL,  /* G was in a blocking call; extra: its number, UINT64_MAX: not known */
    TRACE_BORN,  /* point; extra: tid */
    TRACE_GONE,  /* point */
    TRACE_NAME,  /* of G; begin and end are its 16 bytes */
    TRACE_TAKEN, /* point: sysmon took P from G; extra: kernel thread */
    TRACE_VERDICT, /* point: G on P was to be preempted; how: verdict; extra: its pc */
};

/* How a run ended: a wait_reason, or one of these. */
enum trace_end {
    TRACE_YIELDED = 64,
    TRACE_PREEMPTED,
    TRACE_EXITED,
    TRACE_LOST_P, /* it goes on without, or waits for another */
    TRACE_OPEN,   /* the trace ended first */
};

struct trace_record {
    uint64_t begin, end; /* TSC */
    uint64_t extra;
    uint64_t off, ready; /* before a run of G: when it had stopped, and was readied */
    uint32_t g;
    uint16_t p;
    uint8_t how;
    uint8_t waited; /* for what from OFF to READY, a wait_reason */
    uint8_t type;   /* enum trace_type, last to be written; atomic [R1] */
};

struct trace_buffer;

struct trace_g {
    uint64_t last;  /* latest time used for it: times of one G do not go back */
    uint64_t on;    /* when it began to run */
    uint64_t off;   /* when it stopped */
    bool runs;      /* which of the two holds; the last thing told, not what is: atomic */
    uint64_t ready; /* when it was readied; by the readier */
    uint64_t call;  /* when its blocking call began */
    uint32_t waker; /* by the readier */
    /* of the run under way */
    uint32_t by;    /* waker */
    uint64_t woken; /* when it was readied, from off to on */
    uint8_t waited; /* for what until then */
    bool born;
    bool preempted; /* its run ends by preemption; set before, by the G */
    char name[16];  /* as last recorded */
};

struct trace_p {
    uint64_t begin, end; /* of the slice that is open; of the last one */
    struct g *gp;        /* who runs; NULL: no slice is open */
};

extern bool trace_on; /* atomic, hint */
/* What the numbers in TRACE_VERDICT mean; set by preempt before the trace starts. */
extern const char *const *trace_verdict_names;
extern uint8_t trace_verdicts;

/* trace_start - open GSHIM_TRACE's file, if there is one, and make the writer.  From rt_start. */
void trace_start(void);
/* trace_finish - write the rest and the end of the file; the process is about to exit. [any] */
void trace_finish(void);
/* trace_forked - in the child: the file is the parent's. */
void trace_forked(void);

/* The points; only with trace_on. */
void trace_switch(struct m *mp, struct g *from, struct g *to);
void trace_main(struct m *mp, struct g *gp); /* the main thread has a P */
void trace_ready(struct g *gp);
void trace_p_begin(struct p *pp, struct g *gp); /* GP runs and has got a P */
void trace_p_end(struct p *pp, struct m *mp);   /* it gives it up */
void trace_p_taken(struct p *pp, struct m *mp); /* sysmon has taken it; on sysmon */
void trace_call_begin(struct g *gp);            /* its number is in gp->call_nr */
void trace_call_end(struct g *gp);
/* trace_verdict - a preemption of GP was asked for, and decided.               [sig] on MP */
void trace_verdict(struct m *mp, struct g *gp, uint8_t verdict, uintptr_t pc);

/* trace_m_new - a buffer for MP; NULL without memory or trace. */
struct trace_buffer *trace_m_new(void);

static inline bool tracing(void)
{
    return unlikely(ld_rlx(&trace_on));
}

#endif
