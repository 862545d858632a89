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

struct trace_buffer *trace_buffer_new(void);
void trace_chunk_free(struct trace_chunk *c);
void trace_pool_forked(void);
/* trace_write_start - open the file and make its writer; false: no trace. */
bool trace_write_start(const char *path);

#endif
