/* trace_buffer.h - between the recording half of the trace (trace.c) and the writing half
 * (trace_write.c): chains of chunks, each with one producer and one consumer.
 */
#ifndef GSHIM_RT_TRACE_BUFFER_H
#define GSHIM_RT_TRACE_BUFFER_H

#include "shim/rt/rt.h"

enum { TRACE_CHUNK = 1000 }; /* records: 40 KB, so that a chunk lasts some milliseconds */

struct trace_chunk {
    struct trace_chunk *next; /* set when full; atomic [R2] */
    uint32_t n;               /* taken; own kernel thread and its signal handlers */
    struct trace_record at[TRACE_CHUNK];
};

struct trace_buffer {
    struct trace_buffer *next; /* const after publication */
    struct trace_chunk *last;  /* producer's */
    uint32_t lost;             /* records; atomic */
    struct trace_chunk *first; /* consumer's */
    uint32_t done, lost_told;  /* consumer's */
};

extern struct trace_buffer *trace_buffers; /* atomic [R3] */
extern uint64_t trace_tsc;                 /* at the start of the trace */

/* trace_run_of - the run of GP on MP (NULL: not known) that is under way, or was the last, and what
 * was before; END and HOW are for the caller to fill in. */
static inline struct trace_record trace_run_of(const struct g *gp, const struct m *mp)
{
    const struct trace_g *t = &gp->trace;
    uint32_t tid = mp != NULL ? (uint32_t)ld_rlx(&mp->tid) : 0;
    return (struct trace_record){.begin = t->on,
                                 .extra = (uint64_t)t->by << 32 | tid,
                                 .off = t->off,
                                 .ready = t->woken,
                                 .g = g_number(gp),
                                 .waited = t->waited};
}

struct trace_buffer *trace_buffer_new(void);
void trace_chunk_free(struct trace_chunk *c);
void trace_pool_forked(void);
/* trace_write_start - open the file and make its writer; false: no trace. */
bool trace_write_start(const char *path);

#endif
