/* bare.c - signals while RLIMIT_SIGPENDING is used up: set it to 0 (ulimit -i 0) and run this.
 *
 *   bare errors   what can be sent, and what comes; the same text natively
 *   bare urgent   threads that compute, with a handler for SIGURG: it runs as often as SIGURG is
 *                 sent, and no more, however often the threads are interrupted
 *   bare cross    threads that signal each other, one signal at a time: none is lost, and none
 *                 comes that was not sent
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) ((x) ? (void)0 : (printf("line %d: %s\n", __LINE__, #x), exit(1)))

static int handled; /* atomic */

static int calls(void)
{
    return __atomic_load_n(&handled, __ATOMIC_SEQ_CST);
}

static void note(int sig)
{
    (void)sig;
    __atomic_fetch_add(&handled, 1, __ATOMIC_SEQ_CST);
}

static void install(int sig)
{
    struct sigaction sa = {.sa_handler = note, .sa_flags = SA_RESTART};

    CHECK(sigaction(sig, &sa, NULL) == 0);
}

static void pause_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) != 0)
        ;
}

/* ---- errors ------------------------------------------------------------------------------ */

static void tell(const char *what, int err)
{
    printf("%s: %s, handled %d\n", what, err == 0 ? "sent" : strerror(err), calls());
}

static void *send_all(void *arg)
{
    union sigval v = {.sival_int = 7};
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;

    tell("pthread_kill", pthread_kill(pthread_self(), SIGUSR1));
    tell("pthread_kill, real-time", pthread_kill(pthread_self(), SIGRTMIN));
    tell("pthread_sigqueue", pthread_sigqueue(pthread_self(), SIGUSR1, v));
    tell("pthread_sigqueue, real-time", pthread_sigqueue(pthread_self(), SIGRTMIN, v));
    tell("raise", raise(SIGUSR1) == 0 ? 0 : errno);
    tell("raise, real-time", raise(SIGRTMIN) == 0 ? 0 : errno);
    tell("sigqueue, real-time", sigqueue(getpid(), SIGRTMIN, v) == 0 ? 0 : errno);
    tell("timer_create", timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0 ? 0 : errno);
    return arg;
}

static int mode_errors(void)
{
    pthread_t t;

    install(SIGUSR1);
    install(SIGRTMIN);
    send_all(NULL);
    CHECK(pthread_create(&t, NULL, send_all, NULL) == 0);
    pthread_join(t, NULL);
    tell("kill, real-time", kill(getpid(), SIGRTMIN) == 0 ? 0 : errno);
    tell("sigqueue", sigqueue(getpid(), SIGUSR1, (union sigval){0}) == 0 ? 0 : errno);
    return 0;
}

/* ---- urgent ------------------------------------------------------------------------------ */

enum { SPINNERS = 4 };

static int stop; /* atomic */

static void *spin(void *arg)
{
    volatile unsigned long n = 0;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        n = n + 1;
    return arg;
}

static int mode_urgent(void)
{
    pthread_t t[SPINNERS];

    install(SIGURG);
    for (int i = 0; i < SPINNERS; i++)
        CHECK(pthread_create(&t[i], NULL, spin, NULL) == 0);
    for (int ms = 0; ms < 300; ms += 10)
        pause_ms(10);
    CHECK(calls() == 0);
    for (int n = 1; n <= 40; n++) {
        CHECK(pthread_kill(t[n % SPINNERS], SIGURG) == 0);
        while (calls() < n)
            pause_ms(1);
    }
    CHECK(kill(getpid(), SIGURG) == 0);
    while (calls() < 41)
        pause_ms(1);
    pause_ms(50);
    CHECK(calls() == 41);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < SPINNERS; i++)
        pthread_join(t[i], NULL);
    return 0;
}

/* ---- cross ------------------------------------------------------------------------------- */

enum { PAIRS = 4, ROUNDS = 300 };

struct pair {
    pthread_t to;
    int sig, sent, got; /* got: atomic */
};

static struct pair pairs[PAIRS];

static void note_pair(int sig)
{
    for (int i = 0; i < PAIRS; i++)
        if (pairs[i].sig == sig)
            __atomic_fetch_add(&pairs[i].got, 1, __ATOMIC_SEQ_CST);
}

static void *target(void *arg)
{
    struct pair *p = arg;
    unsigned long n = 0;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        if (p->sig == SIGUSR2 || ++n % 1000 == 0) /* sleeps, or computes */
            pause_ms(1);
    return arg;
}

static void *sender(void *arg)
{
    struct pair *p = arg;

    for (p->sent = 1; p->sent <= ROUNDS; p->sent++) {
        CHECK(pthread_kill(p->to, p->sig) == 0);
        while (__atomic_load_n(&p->got, __ATOMIC_SEQ_CST) < p->sent)
            sched_yield();
        CHECK(__atomic_load_n(&p->got, __ATOMIC_SEQ_CST) == p->sent);
    }
    return arg;
}

static int mode_cross(void)
{
    static const int sigs[PAIRS] = {SIGUSR1, SIGUSR2, SIGWINCH, SIGSEGV};
    struct sigaction sa = {.sa_handler = note_pair};
    pthread_t from[PAIRS];

    for (int i = 0; i < PAIRS; i++) {
        pairs[i].sig = sigs[i];
        CHECK(sigaction(sigs[i], &sa, NULL) == 0);
        CHECK(pthread_create(&pairs[i].to, NULL, target, &pairs[i]) == 0);
    }
    for (int i = 0; i < PAIRS; i++)
        CHECK(pthread_create(&from[i], NULL, sender, &pairs[i]) == 0);
    for (int i = 0; i < PAIRS; i++)
        pthread_join(from[i], NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < PAIRS; i++) {
        pthread_join(pairs[i].to, NULL);
        CHECK(pairs[i].got == ROUNDS);
    }
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2 && strcmp(argv[1], "errors") == 0)
        return mode_errors();
    if (argc == 2 && strcmp(argv[1], "urgent") == 0)
        return mode_urgent();
    if (argc == 2 && strcmp(argv[1], "cross") == 0)
        return mode_cross();
    return 2;
}
