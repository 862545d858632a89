/* stdio_storm.c - one FILE used by many threads; libc's own locks, which cannot be
 * hooked.
 *
 *   lines   all write to one stream: by one fprintf, or several calls between flockfile
 *           and funlockfile, some with a yield or a sleep inside while they hold the
 *           lock. Read back: every line is whole, and each thread's lines are complete
 *           and in order.
 *   pipe    readers block inside fgets on a pipe, holding the stream's lock, while
 *           writers feed it and others want the lock: whoever waits must not stop the
 *           others
 *   own     each thread formats into streams of its own (open_memstream, fmemopen) */

#include "stress.h"

#define WRITERS 12
#define READERS 4
#define MAX_LINES 200000

static FILE *shared;
static _Atomic long written[WRITERS];

static void *line_writer(void *arg)
{
    int id = (int)(intptr_t)arg;
    uint64_t rng = stress_seed_for((uint64_t)id);

    while (stress_running() && written[id] < MAX_LINES / WRITERS) {
        long n = written[id]++;

        if (stress_rand(&rng) & 1) {
            CHECK(fprintf(shared, "%d %ld %08lx end\n", id, n, n * 31 + id) > 0,
                  "fprintf");
        } else {
            flockfile(shared);
            fprintf(shared, "%d ", id);
            if (stress_rand(&rng) % 8 == 0)
                stress_jitter(&rng);
            flockfile(shared); /* recursive */
            fprintf(shared, "%ld ", n);
            funlockfile(shared);
            fprintf(shared, "%08lx end", n * 31 + id);
            putc_unlocked('\n', shared);
            funlockfile(shared);
        }
        if (stress_rand(&rng) % 64 == 0)
            fflush(shared);
        stress_progress++;
    }
    return arg;
}

static void check_lines(void)
{
    long next[WRITERS] = {0};
    char line[128];

    rewind(shared);
    while (fgets(line, sizeof(line), shared)) {
        int id = -1, end = 0;
        long n;
        unsigned long code;

        CHECK(sscanf(line, "%d %ld %lx end%n", &id, &n, &code, &end) == 3 &&
                  line[end] == '\n',
              "broken line '%s'", line);
        CHECK(id >= 0 && id < WRITERS && (long)code == n * 31 + id, "mixed line '%s'",
              line);
        CHECK(n == next[id], "line %ld of %d, expected %ld", n, id, next[id]);
        next[id]++;
    }
    for (int i = 0; i < WRITERS; i++)
        CHECK(next[i] == written[i], "%ld of %ld lines of %d", next[i], written[i], i);
}

static void run_lines(void)
{
    pthread_t t[WRITERS];

    stress_phase("lines", 0.35);
    shared = tmpfile();
    CHECK(shared != NULL, "tmpfile: errno %d", errno);
    for (long i = 0; i < WRITERS; i++)
        stress_create(&t[i], line_writer, (void *)i);
    for (long i = 0; i < WRITERS; i++)
        stress_join(t[i], (void *)i);
    check_lines();
    fclose(shared);
}

/* --- pipe ------------------------------------------------------------------------- */

static FILE *pipe_in, *pipe_out;
static _Atomic long lines_out, lines_in, sum_out, sum_in;

static void *pipe_reader(void *arg)
{
    char line[64];

    while (fgets(line, sizeof(line), pipe_in)) {
        char *end;
        long v = strtol(line, &end, 10);

        CHECK(end != line && *end == '\n', "broken line '%s'", line);
        lines_in++;
        sum_in += v;
    }
    return arg;
}

static void *pipe_writer(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        long v = stress_rand(&rng);

        lines_out++;
        sum_out += v;
        CHECK(fprintf(pipe_out, "%ld\n", v) > 0, "fprintf: errno %d", errno);
        if (stress_rand(&rng) % 8 == 0)
            stress_sleep_ns(stress_rand(&rng) % 100000);
        stress_progress++;
    }
    return arg;
}

/* bystander - has nothing to do with the pipe and must get on while readers block. */
static void *bystander(void *arg)
{
    while (stress_running()) {
        sched_yield();
        ++*(long *)arg;
    }
    return arg;
}

static void run_pipe(void)
{
    pthread_t w[3], r[READERS], b;
    long laps = 0;
    int fds[2];

    stress_phase("pipe", 0.35);
    OKSYS(pipe(fds));
    pipe_in = fdopen(fds[0], "r");
    pipe_out = fdopen(fds[1], "w");
    setvbuf(pipe_out, NULL, _IOLBF, 256);
    for (long i = 0; i < READERS; i++)
        stress_create(&r[i], pipe_reader, (void *)i);
    stress_create(&b, bystander, &laps);
    for (long i = 0; i < 3; i++)
        stress_create(&w[i], pipe_writer, (void *)i);
    for (long i = 0; i < 3; i++)
        stress_join(w[i], (void *)i);
    fclose(pipe_out);
    for (long i = 0; i < READERS; i++)
        stress_join(r[i], (void *)i);
    stress_join(b, &laps);
    fclose(pipe_in);
    CHECK(lines_in == lines_out && sum_in == sum_out, "%ld lines of %ld", lines_in,
          lines_out);
    CHECK(laps > 0, "the bystander never ran");
}

/* --- own -------------------------------------------------------------------------- */

static void *own_streams(void *arg)
{
    long id = (long)(intptr_t)arg;
    uint64_t rng = stress_seed_for((uint64_t)id);

    while (stress_running()) {
        char *text = NULL;
        size_t bytes = 0;
        FILE *f = open_memstream(&text, &bytes);
        long lines = 1 + stress_rand(&rng) % 20, a;
        double d;

        for (long i = 0; i < lines; i++) {
            fprintf(f, "%ld %.2f %s\n", id * 1000 + i, i / 4.0, i % 2 ? "odd" : "even");
            stress_jitter(&rng);
        }
        OK0(fclose(f));
        f = fmemopen(text, bytes, "r");
        for (long i = 0; i < lines; i++) {
            char word[8];

            CHECK(fscanf(f, "%ld %lf %7s", &a, &d, word) == 3, "line %ld of %ld", i,
                  lines);
            CHECK(a == id * 1000 + i && d == i / 4.0, "read %ld %f in line %ld", a, d, i);
        }
        fclose(f);
        free(text);
        stress_progress++;
    }
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[WRITERS];

    stress_begin("stdio_storm", argc, argv);
    run_lines();
    run_pipe();
    stress_phase("own", 0.3);
    for (long i = 0; i < WRITERS; i++)
        stress_create(&t[i], own_streams, (void *)i);
    for (long i = 0; i < WRITERS; i++)
        stress_join(t[i], (void *)i);
    return stress_end("%lu operations", stress_progress);
}
