/* wake.c - a thread that sleeps for a millisecond among threads that never stop computing is
 * woken in time, and those get equal shares.
 *
 * Two spinners for each processor, and one sleeper that measures how late it is. A machine
 * with other work is late natively too, and its spinners unequal; so the program runs itself
 * without the library in between, and must not be worse than MARGIN times that, unless it
 * is below the promised numbers anyway: p99 of 1 ms, max/min of 1.5 over 2 s. One of TRIES
 * attempts must succeed.
 *
 *   wake        all of that
 *   wake @run   one measurement: prints p99 in us, and the ratio in thousandths
 *   wake @chain the same for a wake-up by another thread (a semaphore), made by a spinner
 *   wake @io    the same for a message from another process, through a pipe
 *   wake @spare the first with one spinner and processors to spare: the timer belongs to the one
 *               that the spinner has, which does not look */

#include "compat-tests/stress/stress.h"
#include "shim/gshim.h"

#include <sys/wait.h>

enum { SPINNERS = 4, SAMPLES = 4000, TRIES = 5, MARGIN = 2 };
enum { GOOD_P99_US = 1000, GOOD_RATIO = 1500 };

static const double RUN_S = 2;

static volatile bool enough;
static volatile unsigned long count[SPINNERS][16];
static sem_t sem;
static int messages;
static _Atomic int64_t posted_ns;

static void *spinner(void *arg)
{
    long id = (long)arg;

    while (!enough)
        count[id][0]++;
    return arg;
}

/* One of the spinners wakes the waiter each millisecond, and goes on. */
static void *poster(void *arg)
{
    int64_t next = stress_now_ns();

    while (!enough) {
        count[0][0]++;
        if (count[0][0] % 1000 == 0 && stress_now_ns() > next) {
            next = stress_now_ns() + 2000000;
            posted_ns = stress_now_ns();
            OKSYS(sem_post(&sem));
        }
    }
    OKSYS(sem_post(&sem));
    return arg;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t late_by_sleep(void)
{
    int64_t begin = stress_now_ns();

    stress_sleep_ns(1000000);
    return stress_now_ns() - begin - 1000000;
}

static int64_t late_by_post(void)
{
    stress_sem_wait(&sem);
    return stress_now_ns() - posted_ns;
}

/* Another process writes down the time each 2 ms, until nobody reads any more. */
static void start_messages(void)
{
    int p[2];

    OKSYS(pipe(p));
    messages = p[0];
    pid_t pid = fork();
    OKSYS(pid);
    if (pid != 0) {
        OKSYS(close(p[1]));
        return;
    }
    close(p[0]);
    for (int64_t now;;) {
        stress_sleep_ns(2000000);
        now = stress_now_ns();
        if (write(p[1], &now, sizeof(now)) != sizeof(now))
            _exit(0);
    }
}

static int64_t late_by_message(void)
{
    int64_t sent;

    CHECK(read(messages, &sent, sizeof(sent)) == sizeof(sent), "read");
    return stress_now_ns() - sent;
}

static int measure(const char *mode)
{
    bool chain = strcmp(mode, "@chain") == 0, io = strcmp(mode, "@io") == 0;
    long spinners = strcmp(mode, "@spare") == 0 ? 1 : SPINNERS;
    static int64_t late[SAMPLES];
    pthread_t t[SPINNERS];
    unsigned long low = ~0ul, high = 0;
    int n = 0;

    OKSYS(sem_init(&sem, 0, 0));
    if (io)
        start_messages();
    if (spinners == 1)
        CHECK(gshim_set_maxprocs == NULL || gshim_set_maxprocs(4) > 0, "set_maxprocs");
    for (long i = 0; i < spinners; i++)
        stress_create(&t[i], chain && i == 0 ? poster : spinner, (void *)i);
    int64_t end = stress_now_ns() + (int64_t)(RUN_S * 1e9);
    while (stress_now_ns() < end && n < SAMPLES)
        late[n++] = chain ? late_by_post() : io ? late_by_message() : late_by_sleep();
    enough = true;
    for (long i = 0; i < spinners; i++) {
        stress_join(t[i], (void *)i);
        low = count[i][0] < low ? count[i][0] : low;
        high = count[i][0] > high ? count[i][0] : high;
    }
    qsort(late, (size_t)n, sizeof(late[0]), compare);
    printf("%ld %ld\n", (long)(late[n * 99 / 100] / 1000),
           chain ? 1000 : (long)(1000.0 * (double)high / (double)(low + 1)));
    return 0;
}

/* What PROGRAM MODE prints, with or without the library. */
static void run(const char *program, const char *mode, bool native, long out[2])
{
    char command[4096];
    FILE *f;

    snprintf(command, sizeof(command), "%s '%s' %s", native ? "LD_PRELOAD=" : "", program,
             mode);
    f = popen(command, "r");
    CHECK(f != NULL, "popen");
    CHECK(fscanf(f, "%ld %ld", &out[0], &out[1]) == 2, "%s failed", command);
    CHECK(pclose(f) == 0, "%s failed", command);
}

static bool good(long is, long promised, long native)
{
    return is <= promised || is <= MARGIN * native;
}

static void judge(const char *program, const char *mode)
{
    long ours[2], native[2];

    stress_where = mode;
    for (int i = 0; i < TRIES; i++) {
        run(program, mode, false, ours);
        run(program, mode, true, native);
        printf("%s: p99 %ld us late (native %ld), max/min %ld/1000 (native %ld)\n", mode,
               ours[0], native[0], ours[1], native[1]);
        if (good(ours[0], GOOD_P99_US, native[0]) && good(ours[1], GOOD_RATIO, native[1]))
            return;
    }
    CHECK(0, "%s: not once as promised", mode);
}

int main(int argc, char **argv)
{
    const char *none[] = {argv[0], "20", NULL};

    if (argc > 1 && argv[1][0] == '@')
        return measure(argv[1]);
    stress_begin("wake", 2, (char **)none);
    judge(argv[0], "@run");
    judge(argv[0], "@chain");
    judge(argv[0], "@io");
    judge(argv[0], "@spare");
    return stress_end("in time, and fair");
}
