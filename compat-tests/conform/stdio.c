/* stdio.c - streams that many threads use. */
#include "conform.h"

#define THREADS 10
#define LINES 400

static FILE *file;

static void *write_lines(void *arg)
{
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < LINES; i++) {
        CHECK(fprintf(file, "<%d:%d:%s>\n", me, i, "the quick brown fox") > 0);
        if (i % 50 == 0)
            sched_yield();
    }
    return NULL;
}

static void *write_in_pieces(void *arg)
{
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < LINES; i++) {
        flockfile(file); /* POSIX: makes several calls one */
        fprintf(file, "<%d:", me);
        if (i % 50 == 0)
            sched_yield();
        fprintf(file, "%d:", i);
        fputs("the quick brown fox", file);
        flockfile(file); /* POSIX: counts */
        putc_unlocked('>', file);
        funlockfile(file);
        putc_unlocked('\n', file);
        funlockfile(file);
    }
    return NULL;
}

static void lines_stay_whole(void *(*fn)(void *))
{
    int next[THREADS] = {0}, lines = 0, me, i;
    pthread_t t[THREADS];
    char text[128];

    file = tmpfile();
    CHECK(file != NULL);
    if (!file)
        return;
    for (int k = 0; k < THREADS; k++)
        t[k] = spawn(fn, (void *)(intptr_t)k);
    for (int k = 0; k < THREADS; k++)
        join(t[k]);
    rewind(file);
    while (fgets(text, sizeof(text), file)) {
        char end[64] = "";

        CHECK_EQ(sscanf(text, "<%d:%d:%63[^>]>", &me, &i, end), 3);
        CHECK(strcmp(end, "the quick brown fox") == 0);
        CHECK(me >= 0 && me < THREADS && next[me] == i); /* each thread's in its order */
        if (me >= 0 && me < THREADS)
            next[me]++;
        lines++;
    }
    CHECK_EQ(lines, THREADS * LINES);
    fclose(file);
}

TEST(lines_are_whole)
{
    lines_stay_whole(write_lines); /* POSIX: every call locks the stream */
}

TEST(locked_sequences_are_whole)
{
    lines_stay_whole(write_in_pieces);
}

static void *try_lock(void *arg)
{
    int rc = ftrylockfile(arg);

    if (rc == 0)
        funlockfile(arg);
    return (void *)(intptr_t)(rc != 0);
}

TEST(ftrylockfile_respects_the_owner)
{
    FILE *f = tmpfile();

    CHECK(f != NULL);
    flockfile(f);
    CHECK_EQ(ftrylockfile(f), 0); /* POSIX: the owner again */
    CHECK_EQ((intptr_t)join(spawn(try_lock, f)), 1);
    funlockfile(f);
    CHECK_EQ((intptr_t)join(spawn(try_lock, f)), 1);
    funlockfile(f);
    CHECK_EQ((intptr_t)join(spawn(try_lock, f)), 0);
    fclose(f);
}

static void *owner_elsewhere(void *arg)
{
    flockfile(arg);
    for (int i = 0; i < 30; i++) {
        sleep_ms(1);                    /* may come back on another kernel thread */
        CHECK_EQ(ftrylockfile(arg), 0); /* and is the owner nevertheless */
        funlockfile(arg);
    }
    funlockfile(arg);
    return NULL;
}

TEST(owner_that_wanders)
{
    FILE *f = tmpfile();
    pthread_t t[6];

    CHECK(f != NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(owner_elsewhere, f);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ((intptr_t)join(spawn(try_lock, f)), 0);
    fclose(f);
}

static void *open_and_close(void *arg)
{
    for (int i = 0; i < 50; i++) {
        FILE *f = tmpfile();
        char text[64];
        int back = -1;

        CHECK(f != NULL);
        if (!f)
            return NULL;
        fprintf(f, "%d\n", (int)(intptr_t)arg * 1000 + i);
        rewind(f);
        CHECK(fgets(text, sizeof(text), f) && sscanf(text, "%d", &back) == 1);
        CHECK_EQ(back, (int)(intptr_t)arg * 1000 + i);
        CHECK_EQ(fclose(f), 0); /* the list of open streams has a lock of its own */
        fflush(NULL);
    }
    return NULL;
}

TEST(streams_come_and_go)
{
    pthread_t t[THREADS];

    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(open_and_close, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
}

static void *copy(void *arg)
{
    FILE **f = arg;
    int c, n = 0;

    while ((c = getc(f[0])) != EOF) {
        CHECK(putc(c, f[1]) != EOF);
        n++;
    }
    return (void *)(intptr_t)n;
}

TEST(shared_reading_loses_nothing)
{
    FILE *f[2] = {tmpfile(), tmpfile()};
    pthread_t t[4];
    int total = 0;

    CHECK(f[0] != NULL && f[1] != NULL);
    for (int i = 0; i < 20000; i++)
        putc('a' + i % 26, f[0]);
    rewind(f[0]);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(copy, f);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        total += (int)(intptr_t)join(t[i]);
    CHECK_EQ(total, 20000); /* POSIX: each byte is read once */
    CHECK_EQ(ftell(f[1]), 20000);
    fclose(f[0]);
    fclose(f[1]);
}
