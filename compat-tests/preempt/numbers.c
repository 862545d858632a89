/* numbers.c - floating-point and vector computations give the same numbers when the threads that
 * make them are preempted at any instruction and go on on other kernel threads.
 *
 * Each kernel is computed once before the first thread exists, then by many threads at
 * a time, each with a rounding mode of its own, over and over: every result must have the
 * same bits, and the exception flags must be those of the thread's own computations.
 *   orbits    bodies that attract each other: double, division and square roots
 *   series    long double: the x87 stack
 *   plane     float: a set of Mandelbrot's
 *   avx2      256-bit vectors with fused multiply-add
 *   avx512    512-bit vectors under masks
 * What the CPU does not have is left out.  Prints each kernel's number for each rounding mode, for
 * comparison with another run.
 *
 *   numbers [seconds] */

#include "compat-tests/stress/stress.h"

#include <fenv.h>
#include <math.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { THREADS = 8, MODES = 4, MOST_KERNELS = 8 };

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
    const unsigned char *c = p;

    for (size_t i = 0; i < n; i++)
        h = (h ^ c[i]) * 0x100000001b3u;
    return h;
}

/* --- kernels: from SEED, the same number for the same rounding mode --------------------- */

static uint64_t orbits(double seed)
{
    enum { BODIES = 5 };
    double x[BODIES], v[BODIES], m[BODIES];

    for (int i = 0; i < BODIES; i++) {
        x[i] = i * 1.7 + seed;
        v[i] = 0.3 - i * 0.11;
        m[i] = 1.0 / (i + 3);
    }
    for (int step = 0; step < 400; step++) {
        for (int i = 0; i < BODIES; i++)
            for (int j = 0; j < BODIES; j++) {
                double d = x[j] - x[i], r = sqrt(d * d + 0.01);
                v[i] += 0.001 * m[j] * d / (r * r * r);
            }
        for (int i = 0; i < BODIES; i++)
            x[i] += 0.001 * v[i];
    }
    return mix(mix(0, x, sizeof(x)), v, sizeof(v));
}

static uint64_t series(double seed)
{
    long double sum = 0, term = 1, x = (long double)seed + 0.7L;
    uint64_t h = 0;

    for (int i = 1; i < 3000; i++) {
        term = term * x / (i % 40 + 1);
        sum += term / (1 + sum * sum);
        if (term > 1e6L || term < 1e-6L)
            term = 1 / x;
    }
    h = mix(h, &sum, 10);
    return mix(h, &term, 10);
}

static uint64_t plane(double seed)
{
    uint64_t h = 0;

    for (int py = 0; py < 8; py++)
        for (int px = 0; px < 8; px++) {
            float cx = (float)px * 0.31f - 2.1f + (float)seed;
            float cy = (float)py * 0.29f - 1.1f, x = 0, y = 0;
            int n = 0;
            for (; n < 200 && x * x + y * y < 4; n++) {
                float t = x * x - y * y + cx;
                y = 2 * x * y + cy;
                x = t;
            }
            h = mix(h, &x, sizeof(x));
            h = mix(h, &n, sizeof(n));
        }
    return h;
}

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) static uint64_t avx2(double seed)
{
    __m256d a = _mm256_set_pd(seed, 1.5, -0.25, 0.125), b = _mm256_set1_pd(0.9999);
    __m256d c = _mm256_set_pd(0.1, -0.2, 0.3, -0.4), s = _mm256_setzero_pd();
    __m256i k = _mm256_set1_epi32(0x9e3779b9);
    double out[4];
    uint64_t bits[4];

    for (int i = 0; i < 3000; i++) {
        a = _mm256_fmadd_pd(a, b, c);
        s = _mm256_add_pd(s, _mm256_div_pd(a, _mm256_add_pd(_mm256_mul_pd(a, a), b)));
        c = _mm256_permute4x64_pd(c, 0x39);
        k = _mm256_xor_si256(_mm256_mullo_epi32(k, _mm256_set1_epi32(747796405)),
                             _mm256_srli_epi32(k, 15));
    }
    _mm256_storeu_pd(out, _mm256_add_pd(s, a));
    _mm256_storeu_si256((__m256i *)bits, k);
    return mix(mix(0, out, sizeof(out)), bits, sizeof(bits));
}

__attribute__((target("avx512f"))) static uint64_t avx512(double seed)
{
    __m512d a = _mm512_set1_pd(seed + 0.5), s = _mm512_setzero_pd();
    __m512d b = _mm512_set_pd(1, 2, 3, 4, 5, 6, 7, 8);
    __m512i k = _mm512_set1_epi64(0x123456789abcdef);
    __mmask8 m = 0x5a;
    double out[8];

    for (int i = 0; i < 3000; i++) {
        a = _mm512_mask_fmadd_pd(a, m, _mm512_set1_pd(0.999), b);
        s = _mm512_mask_add_pd(s, (__mmask8)~m, s, _mm512_sqrt_pd(_mm512_mul_pd(a, a)));
        k = _mm512_mask_xor_epi64(k, m, _mm512_rol_epi64(k, 7), _mm512_srli_epi64(k, 3));
        m = _mm512_cmp_pd_mask(a, s, _CMP_LT_OQ) ^ (__mmask8)i;
        a = _mm512_maskz_min_pd(0xff, a, _mm512_set1_pd(1e3));
    }
    _mm512_storeu_pd(out, _mm512_add_pd(s, a));
    uint64_t h = mix(0, out, sizeof(out));
    _mm512_storeu_si512(out, k);
    return mix(mix(h, out, sizeof(out)), &m, sizeof(m));
}
#endif

static struct kernel {
    const char *name;
    uint64_t (*fn)(double seed);
    uint64_t want[MODES];
} kernels[MOST_KERNELS];
static int nkernels;

static const int modes[MODES] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};

static void add(const char *name, uint64_t (*fn)(double))
{
    kernels[nkernels++] = (struct kernel){.name = name, .fn = fn};
}

/* --- threads -------------------------------------------------------------------------------- */

static void check_flags(int mode, int want)
{
    int have = fetestexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW);

    CHECK(have == want, "exception flags %x, should be %x", have, want);
    CHECK(fegetround() == modes[mode], "rounding mode %x", fegetround());
}

/* Every second thread has divided by zero, and only those. */
static void *compute(void *arg)
{
    long id = (long)arg;
    int mode = (int)id % MODES, want = id < MODES ? FE_DIVBYZERO : 0;

    OK0(fesetround(modes[mode]));
    feclearexcept(FE_ALL_EXCEPT);
    feraiseexcept(want);
    do {
        for (int i = 0; i < nkernels; i++) {
            struct kernel *k = &kernels[i];
            uint64_t got = k->fn(0.25);

            CHECK(got == k->want[mode], "%s gave %016lx, not %016lx", k->name, got,
                  k->want[mode]);
            check_flags(mode, want);
            stress_progress++;
        }
    } while (stress_running());
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];

    stress_begin("numbers", argc, argv);
    add("orbits", orbits);
    add("series", series);
    add("plane", plane);
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        add("avx2", avx2);
    if (__builtin_cpu_supports("avx512f"))
        add("avx512", avx512);
#endif
    for (int i = 0; i < nkernels; i++)
        for (int m = 0; m < MODES; m++) {
            OK0(fesetround(modes[m]));
            kernels[i].want[m] = kernels[i].fn(0.25);
            printf("%s %d: %016lx\n", kernels[i].name, m, kernels[i].want[m]);
        }
    OK0(fesetround(FE_TONEAREST));
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], compute, (void *)i);
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
    return stress_end("%lu computations by %d kernels", stress_progress, nkernels);
}
