/* omp.c - an OpenMP program whose parallel results are checked against serial ones.
 *
 *   omp [LAPS]
 *
 * Reductions, static, dynamic and guided loops, tasks with dependencies, barriers,
 * single, critical, ordered, locks, atomics, threadprivate data and nested regions.
 * Prints the same text for every number of threads and every wait policy. */

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 20000, SIDE = 96, MAX_THREADS = 256 };

static long data[N], out[N];
static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
static int failures;
static int mine = -1;
#pragma omp threadprivate(mine)

static void expect(const char *what, long got, long want)
{
    if (got != want) {
        printf("WRONG %s: %ld instead of %ld\n", what, got, want);
        failures++;
    }
}

static void fill(void)
{
    for (long i = 0; i < N; i++)
        data[i] = (i * 7919) % 1009;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            a[i][j] = (i * 3 + j) % 7;
            b[i][j] = (i + j * 5) % 11;
        }
}

static void loops(void)
{
    long want = 0, max = 0, sum = 0, top = 0, chunks = 0;

    for (int i = 0; i < N; i++) {
        want += data[i];
        max = data[i] > max ? data[i] : max;
    }
#pragma omp parallel for reduction(+ : sum) reduction(max : top) schedule(static)
    for (int i = 0; i < N; i++) {
        sum += data[i];
        top = data[i] > top ? data[i] : top;
    }
    expect("static reduction", sum, want);
    expect("max reduction", top, max);
    sum = 0;
#pragma omp parallel for reduction(+ : sum) schedule(dynamic, 64)
    for (int i = 0; i < N; i++)
        sum += data[i];
    expect("dynamic reduction", sum, want);
#pragma omp parallel for schedule(guided)
    for (int i = 0; i < N; i++) {
        out[i] = data[i] * 2;
#pragma omp atomic
        chunks++;
    }
    expect("guided loop", chunks, N);
    for (int i = 0; i < N; i++)
        expect("guided element", out[i], data[i] * 2);
}

static void matrix(void)
{
    long want = 0, got = 0;

#pragma omp parallel for collapse(2)
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            c[i][j] = 0;
            for (int k = 0; k < SIDE; k++)
                c[i][j] += a[i][k] * b[k][j];
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            double serial = 0;

            for (int k = 0; k < SIDE; k++)
                serial += a[i][k] * b[k][j];
            want += (long)serial;
            got += (long)c[i][j];
        }
    expect("matrix product", got, want);
}

/* Each phase may only see the values of the phase before: the barriers order it. */
static void barriers(void)
{
    static long slot[2][MAX_THREADS];
    long wrong = 0;

    memset(slot, 0, sizeof(slot));
#pragma omp parallel reduction(+ : wrong)
    {
        int id = omp_get_thread_num(), n = omp_get_num_threads();

        for (int phase = 1; phase <= 20; phase++) {
            slot[phase & 1][id] = phase;
#pragma omp barrier
            for (int i = 0; i < n; i++)
                wrong += slot[phase & 1][i] != phase;
        }
    }
    expect("barrier phases", wrong, 0);
}

static void exclusion(void)
{
    long critical = 0, locked = 0, singles = 0, order = 0, wrong = 0;
    omp_lock_t lock;

    omp_init_lock(&lock);
#pragma omp parallel
    {
#pragma omp for
        for (int i = 0; i < 500; i++) {
#pragma omp critical
            critical++;
            omp_set_lock(&lock);
            locked++;
            omp_unset_lock(&lock);
        }
#pragma omp single
        singles++;
#pragma omp for ordered
        for (int i = 0; i < 200; i++) {
#pragma omp ordered
            {
                wrong += order != i;
                order++;
            }
        }
    }
    omp_destroy_lock(&lock);
    expect("critical", critical, 500);
    expect("lock", locked, 500);
    expect("single", singles, 1);
    expect("ordered", wrong, 0);
}

static long fib(int n)
{
    long x, y;

    if (n < 2)
        return n;
#pragma omp task shared(x) if (n > 8)
    x = fib(n - 1);
#pragma omp task shared(y) if (n > 8)
    y = fib(n - 2);
#pragma omp taskwait
    return x + y;
}

static void tasks(void)
{
    long got = 0, chain = 0;

#pragma omp parallel
#pragma omp single
    {
        got = fib(16);
        for (int i = 0; i < 50; i++) {
#pragma omp task depend(inout : chain) shared(chain) firstprivate(i)
            chain = chain * 3 % 1000003 + i;
        }
    }
    expect("fib by tasks", got, 987);
    for (int i = 0; i < 50; i++)
        got = i ? got * 3 % 1000003 + i : 0;
    expect("task dependencies", chain, got);
}

static void nested(void)
{
    long sum = 0, wrong = 0;

#pragma omp parallel reduction(+ : sum, wrong)
    {
        long inner = 0;

        mine = omp_get_thread_num();
#pragma omp parallel for reduction(+ : inner)
        for (int i = 1; i <= 100; i++)
            inner += i;
        wrong += mine != omp_get_thread_num();
        wrong += inner != 5050;
        sum += 1;
    }
    expect("nested regions", wrong, 0);
    expect("outer region ran", sum > 0, 1);
}

int main(int argc, char **argv)
{
    int laps = argc > 1 ? atoi(argv[1]) : 20;

    fill();
    for (int i = 0; i < laps; i++) {
        loops();
        matrix();
        barriers();
        exclusion();
        tasks();
        nested();
    }
    printf("OpenMP: %d laps, %d failures\n", laps, failures);
    return failures != 0;
}
