/* trace_write.c - the writing half of GSHIM_TRACE: a file that Perfetto and chrome://tracing open.
 *
 * Format: the Trace Event Format of Chrome as a JSON array, of which viewers allow the end to be
 * missing; so every event is one line, each write ends with a whole line, and what a killed
 * process leaves is still good.  Two "processes": 1 has a track for each P, 2 one for each thread.
 *
 * The writer is a native thread of its own, for a slow disk must hold up
 * neither the program nor sysmon.  It looks every LOOK_NS, and drains all buffers under
 * write_lock; so does the thread that ends the process (trace_finish).
 * The rate of the time stamp counter is measured once, at the first look, over the time since the
 * start; all of the trace uses that one rate, so order and nesting are those of the ticks.
 *
 * The file belongs to the process that has the lock on it: children that are traced as well, since
 * they inherit the environment, write to FILE.PID.  If the program closes our descriptor (some
 * close all they do not know) and gets another file under its number, the trace ends.
 *
 * Source: "Trace Event Format", Google, revision of 2016.
 */
#include <errno.h>

#include "shim/rt/trace_buffer.h"

enum { OUT = 256 * 1024, LINE_MAX_BYTES = 512, WRITER_STACK = 128 * 1024 };
static const int64_t LOOK_NS = 50000000;
/* TSC ticks, some 0.5 us: who is switched to at once was not kept waiting.  In a program that
 * switches all the time a quarter of the trace would say so. */
static const uint64_t AT_ONCE_TICKS = 1000;
enum { PROCESSORS = 1, THREADS = 2 }; /* "pid" of the tracks */

static struct rt_lock write_lock; /* everything below */
static int fd = -1;
static uint64_t file_id[2];
static char *out;
static size_t nout;
static bool some; /* an event was written */
static int64_t start_ns;
static uint64_t ns_per_tick;     /* 32.32 fixed point; 0: not known yet */
static uint64_t p_end[RT_MAX_P]; /* latest slice of each P, TSC */
static bool p_known[RT_MAX_P];
static uint32_t wake; /* futex nobody wakes: the writer's alarm clock */

const char *const *trace_verdict_names;
uint8_t trace_verdicts;

/* --- text ---------------------------------------------------------------------------------- */

static void flush(void)
{
    size_t done = 0;
    while (fd >= 0 && done < nout) {
        long n = os_write(fd, out + done, nout - done);
        if (n <= 0) { /* disk full, or a reader that went away */
            os_log("GSHIM_TRACE: cannot write (error %d); the trace ends here", (int)-n);
            os_close(fd);
            fd = -1;
            st_rlx(&trace_on, false);
            break;
        }
        done += (size_t)n;
    }
    nout = 0;
}

/* Inline, so that the length of a literal is known. */
static inline void text(const char *s)
{
    size_t n = __builtin_strlen(s);
    __builtin_memcpy(out + nout, s, n);
    nout += n;
}

enum { DIGITS = 24 }; /* room for any number */

/* V in digits that end at END; returns where they begin. */
static char *digits(char *end, uint64_t v)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    for (; v >= 100; v /= 100)
        __builtin_memcpy(end -= 2, pairs + v % 100 * 2, 2);
    if (v >= 10)
        __builtin_memcpy(end -= 2, pairs + v * 2, 2);
    else
        *--end = (char)('0' + v);
    return end;
}

/* What lies from FROM to END, in a buffer with as much room behind.  A copy of fixed length, for
 * these are short and many. */
static inline void put(const char *from, const char *end)
{
    __builtin_memcpy(out + nout, from, DIGITS);
    nout += (size_t)(end - from);
}

static void number(uint64_t v)
{
    char buf[2 * DIGITS], *end = buf + DIGITS;
    put(digits(end, v), end);
}

static void micros(uint64_t ns)
{
    char buf[2 * DIGITS], *end = buf + DIGITS;
    unsigned rest = (unsigned)(ns % 1000);
    end[-1] = (char)('0' + rest % 10);
    end[-2] = (char)('0' + rest / 10 % 10);
    end[-3] = (char)('0' + rest / 100);
    end[-4] = '.';
    put(digits(end - 4, ns / 1000), end);
}

/* Names come from the program: only what JSON takes as it is. */
static void quoted(const char *s, size_t max)
{
    out[nout++] = '"';
    for (; max > 0 && *s != '\0'; s++, max--)
        out[nout++] = *s < ' ' || *s > '~' || *s == '"' || *s == '\\' ? '?' : *s;
    out[nout++] = '"';
}

static uint64_t ns_of(uint64_t tsc)
{
    return (uint64_t)((unsigned __int128)(tsc - trace_tsc) * ns_per_tick >> 32);
}

/* --- events ---------------------------------------------------------------------------------- */

static void begin_event(char phase, unsigned pid, uint32_t track)
{
    if (nout > OUT - LINE_MAX_BYTES)
        flush();
    text(some ? ",\n{\"ph\":\"" : "{\"ph\":\"");
    some = true;
    out[nout++] = phase;
    text("\",\"pid\":");
    number(pid);
    text(",\"tid\":");
    number(track);
}

static void at(uint64_t tsc)
{
    text(",\"ts\":");
    micros(ns_of(tsc));
}

static void slice(unsigned pid, uint32_t track, uint64_t from, uint64_t to)
{
    uint64_t begin = ns_of(from), end = ns_of(to);
    begin_event('X', pid, track);
    text(",\"ts\":");
    micros(begin);
    text(",\"dur\":");
    micros(end - begin);
    text(",\"name\":\"");
}

static void arg(const char *name, uint64_t v)
{
    text("\",\"args\":{\"");
    text(name);
    text("\":");
    number(v);
    text("}}");
}

static void name_track(unsigned pid, uint32_t track, const char *kind, uint32_t id,
                       const char *name)
{
    char label[48];
    os_format(label, sizeof label, *name != '\0' ? "%s%u %s" : "%s%u", kind, id, name);
    begin_event('M', pid, track);
    text(",\"name\":\"thread_name\",\"args\":{\"name\":");
    quoted(label, sizeof label);
    text("}}");
}

static void name_process(unsigned pid, const char *name)
{
    begin_event('M', pid, 0);
    text(",\"name\":\"process_name\",\"args\":{\"name\":");
    quoted(name, 40);
    text("}}");
}

static const char *end_name(uint8_t how)
{
    static const char *const names[] = {"yield", "preempted", "exit", "lost P", "open"};
    if (how >= TRACE_YIELDED && how <= TRACE_OPEN)
        return names[how - TRACE_YIELDED];
    return how < WAIT_REASONS ? rt_wait_names[how] : "?";
}

static void p_slice(const struct trace_record *r)
{
    if (!p_known[r->p]) {
        p_known[r->p] = true;
        name_track(PROCESSORS, r->p, "P", r->p, "");
    }
    if (r->end > p_end[r->p])
        p_end[r->p] = r->end;
    slice(PROCESSORS, r->p, r->begin, r->end);
    text("G");
    number(r->g);
    text("\",\"args\":{\"end\":\"");
    text(end_name(r->how));
    text("\",\"m\":");
    number((uint32_t)r->extra);
    text("}}");
}

static void waits(uint32_t g, uint64_t begin, uint64_t end, uint8_t why)
{
    slice(THREADS, g, begin, end);
    text(end_name(why));
    text("\"}");
}

/* A run and what was before.  How it ended, and on what, the slice of its P tells. */
static void g_slice(const struct trace_record *r)
{
    uint32_t by = (uint32_t)(r->extra >> 32);
    if (r->waited != WAIT_NONE)
        waits(r->g, r->off, r->ready, r->waited);
    if (r->begin - r->ready > AT_ONCE_TICKS) {
        slice(THREADS, r->g, r->ready, r->begin);
        text("runnable\"}");
    }
    slice(THREADS, r->g, r->begin, r->end);
    text("running");
    if (by != 0)
        arg("by", by);
    else
        text("\"}");
}

static void g_name(const struct trace_record *r)
{
    char name[17] = "";
    __builtin_memcpy(name, &r->begin, 8);
    __builtin_memcpy(name + 8, &r->end, 8);
    name_track(THREADS, r->g, "G", r->g, r->g == 1 && name[0] == '\0' ? "main" : name);
}

static void point(unsigned pid, uint32_t track, const struct trace_record *r)
{
    begin_event('i', pid, track);
    at(r->begin);
    text(",\"s\":\"t\",\"name\":\"");
}

static void verdict(const struct trace_record *r)
{
    if (r->p == UINT16_MAX)
        point(THREADS, r->g, r);
    else
        point(PROCESSORS, r->p, r);
    text("preempt\",\"args\":{\"g\":");
    number(r->g);
    text(",\"verdict\":\"");
    text(r->how < trace_verdicts ? trace_verdict_names[r->how] : "?");
    text("\",\"pc\":");
    number(r->extra);
    text("}}");
}

static void born_or_gone(const struct trace_record *r)
{
    begin_event(r->type == TRACE_BORN ? 'B' : 'E', THREADS, r->g);
    at(r->begin);
    text(",\"name\":\"thread");
    if (r->type == TRACE_BORN)
        arg("tid", r->extra);
    else
        text("\"}");
}

static void call(const struct trace_record *r)
{
    if (r->begin == r->end)
        return;
    slice(THREADS, r->g, r->begin, r->end);
    text("call ");
    if (r->extra != UINT64_MAX)
        number(r->extra);
    text("\"}");
}

static void event(const struct trace_record *r)
{
    switch (r->type) {
    case TRACE_RUN:
        p_slice(r);
        g_slice(r);
        break;
    case TRACE_RUN_P:
        p_slice(r);
        break;
    case TRACE_RUN_G:
        g_slice(r);
        break;
    case TRACE_WAIT:
        waits(r->g, r->begin, r->end, r->how);
        break;
    case TRACE_CALL:
        call(r);
        break;
    case TRACE_BORN:
    case TRACE_GONE:
        born_or_gone(r);
        break;
    case TRACE_NAME:
        g_name(r);
        break;
    case TRACE_TAKEN:
        point(PROCESSORS, r->p, r);
        text("taken");
        arg("m", r->extra);
        break;
    default:
        verdict(r);
        break;
    }
}

/* --- draining ----------------------------------------------------------------------------------- */

static void tell_lost(struct trace_buffer *b)
{
    uint32_t lost = ld_rlx(&b->lost);
    if (lost == b->lost_told)
        return;
    begin_event('i', PROCESSORS, 0);
    at(arch_cycles());
    text(",\"s\":\"g\",\"name\":\"lost records");
    arg("n", lost - b->lost_told);
    b->lost_told = lost;
}

static void drain(struct trace_buffer *b)
{
    for (;;) {
        struct trace_chunk *c = b->first;
        for (; b->done < TRACE_CHUNK; b->done++) {
            struct trace_record *r = &c->at[b->done];
            if (ld_acq(&r->type) == TRACE_NONE) /* MO: acquire <- [R1] in put */
                return;
            event(r);
        }
        struct trace_chunk *next =
            ld_acq(&c->next); /* MO: acquire <- [R2] in take_slot */
        if (next == NULL)
            return;
        b->first = next;
        b->done = 0;
        trace_chunk_free(c);
    }
}

/* At least a millisecond has to pass for a rate that is right to 1 in 10,000. */
static void measure_rate(void)
{
    int64_t ns;
    uint64_t tsc;
    do {
        ns = os_now_ns() - start_ns;
        tsc = arch_cycles() - trace_tsc;
    } while (ns < 1000000);
    ns_per_tick = (uint64_t)(((unsigned __int128)ns << 32) / tsc);
}

static void drain_all(void)
{
    uint64_t id[2];
    if (fd >= 0 && (!os_file_id(fd, id) || id[0] != file_id[0] || id[1] != file_id[1])) {
        os_log("GSHIM_TRACE: the program has closed the file; the trace ends here");
        fd = -1;
        st_rlx(&trace_on, false);
    }
    if (fd < 0)
        return;
    if (ns_per_tick == 0)
        measure_rate();
    /* MO: acquire <- [R3] release in trace_buffer_new */
    for (struct trace_buffer *b = ld_acq(&trace_buffers); b != NULL; b = b->next) {
        drain(b);
        tell_lost(b);
    }
    flush();
}

static void *writer(void *unused)
{
    for (;;) {
        os_futex_wait(&wake, 0, os_now_ns() + LOOK_NS);
        rt_lock(&write_lock);
        drain_all();
        rt_unlock(&write_lock);
    }
    return unused;
}

/* --- begin and end --------------------------------------------------------------------------------- */

bool trace_write_start(const char *path)
{
    char own[1024];
    if (out == NULL)
        out = os_map(OUT);
    int r = out != NULL ? os_open_log(path) : -ENOMEM;
    if (r == -EAGAIN) { /* another process, our parent perhaps, writes it */
        os_format(own, sizeof own, "%s.%d", path, os_getpid());
        path = own;
        r = os_open_log(path);
    }
    if (r < 0) {
        os_log("GSHIM_TRACE=\"%s\" cannot be opened (error %d); no trace", path, -r);
        return false;
    }
    fd = r;
    os_file_id(fd, file_id);
    start_ns = os_now_ns();
    trace_tsc = arch_cycles();
    text("[\n");
    name_process(PROCESSORS, "processors");
    name_process(THREADS, "threads");
    flush(); /* the program may close the file before the writer's first look */
    if (fd < 0)
        return false;
    if (rt_native_thread(NULL, WRITER_STACK, writer, NULL) == 0) {
        add_rlx(&rt_helper_threads, 1);
        return true;
    }
    os_close(fd);
    fd = -1;
    return false;
}

/* What is still going on: a slice for each P that runs something, and for each thread.  Threads
 * go on meanwhile, untraced: what counts is what they told last [R3], so that nothing is told
 * twice. */
static void close_slices(void)
{
    uint64_t now = arch_cycles();
    for (uint32_t i = 0; i < ld_rlx(&sched.npall); i++) {
        struct trace_p *t = &sched.allp[i]->trace;
        struct g *gp = ld_rlx(&t->gp);
        uint64_t begin = ld_rlx(&t->begin);
        if (gp == NULL || begin < p_end[i] || begin > now)
            continue; /* it ended while we looked */
        struct trace_record r = trace_run_of(gp, ld_rlx(&gp->m));
        r.type = TRACE_RUN_P;
        r.p = (uint16_t)i;
        r.how = TRACE_OPEN;
        r.begin = begin;
        r.end = now;
        event(&r);
    }
    for (struct g *gp = g_first(); gp != NULL; gp = g_next(gp)) {
        bool runs = ld_acq(&gp->trace.runs); /* MO: acquire <- [R3] */
        struct trace_record r = trace_run_of(gp, ld_rlx(&gp->m));
        r.type = runs ? TRACE_RUN_G : TRACE_WAIT;
        r.how = runs ? TRACE_OPEN : ld_rlx(&gp->wait_reason);
        if (!runs)
            r.begin = r.off;
        r.end = gp->trace.last > now ? gp->trace.last : now;
        if (!gp->trace.born)
            continue;
        if (runs || r.how != WAIT_NONE)
            event(&r);
        r.begin = r.end;
        r.type = TRACE_GONE;
        event(&r);
    }
}

void trace_finish(void)
{
    struct rt_section s;
    if (!ld_rlx(&trace_on))
        return;
    rt_lock_in(&s, &write_lock);
    st_rlx(&trace_on, false);
    drain_all();
    if (fd >= 0) {
        close_slices();
        text("\n]\n");
        flush();
        os_close(fd);
        fd = -1;
    }
    rt_unlock_in(&s, &write_lock);
}

void trace_forked(void)
{
    st_rlx(&trace_on, false);
    if (fd >= 0)
        os_close(fd);
    fd = -1;
    nout = 0;
    some = false;
    ns_per_tick = 0;
    write_lock.word = 0;
    trace_buffers = NULL;
    __builtin_memset(p_end, 0, sizeof p_end);
    __builtin_memset(p_known, 0, sizeof p_known);
    trace_pool_forked();
}
