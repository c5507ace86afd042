#include "tensor/peak.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensor/cpu.h"
#include "tensor/parallel.h"
#include "tensor/profile.h"

/* ------------------------------------------------------------------------------------------------- arithmetic */

/* Chains of x = x a + b with a < 1: they converge, so no operand is ever subnormal or infinite. A chain's next step
 * waits 4 cycles or so for the last one, and CPUs start two a cycle: 8 chains are the least, 16 are safe. AVX2 has
 * only 16 registers, two of which hold a and b. */
enum { CHAINS = 16, CHAINS_AVX2 = 12, FLOAT_CHAINS = 64 };

struct kernel {
    const char *isa;
    float (*run)(int64_t rounds); /* the sum of all chains, so that no compiler drops them */
    double flops_per_round;
};

static float run_portable(int64_t rounds)
{
    float x[FLOAT_CHAINS] = {0}, sum = 0;
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < FLOAT_CHAINS; i++)
            x[i] = x[i] * 0.999f + 0.001f;
    for (int i = 0; i < FLOAT_CHAINS; i++)
        sum += x[i];
    return sum;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static float run_avx512(int64_t rounds)
{
    __m512 x[CHAINS], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm512_setzero_ps();
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm512_fmadd_ps(x[i], a, b);
    for (int i = 1; i < CHAINS; i++)
        x[0] = _mm512_add_ps(x[0], x[i]);
    return _mm512_reduce_add_ps(x[0]);
}

__attribute__((target("avx2,fma"))) static float run_avx2(int64_t rounds)
{
    __m256 x[CHAINS_AVX2], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    for (int i = 0; i < CHAINS_AVX2; i++)
        x[i] = _mm256_setzero_ps();
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS_AVX2; i++)
            x[i] = _mm256_fmadd_ps(x[i], a, b);
    for (int i = 1; i < CHAINS_AVX2; i++)
        x[0] = _mm256_add_ps(x[0], x[i]);
    return _mm256_cvtss_f32(x[0]);
}
#endif

#if defined(__x86_64__)
/* Sums of products of bytes, kept apart from each other as above. The operands come from outside, or compilers would
 * know the sums. */
__attribute__((target("avx512f,avx512vnni"))) static float run_avx512_vnni(int64_t rounds)
{
    __m512i x[CHAINS], a = _mm512_set1_epi32((int)rounds), b = _mm512_set1_epi32((int)rounds + 1);
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm512_setzero_si512();
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm512_dpbusd_epi32(x[i], a, b);
    for (int i = 1; i < CHAINS; i++)
        x[0] = _mm512_add_epi32(x[0], x[i]);
    return (float)_mm512_reduce_add_epi32(x[0]);
}

__attribute__((target("avx2,avxvnni"))) static float run_avx_vnni(int64_t rounds)
{
    __m256i x[CHAINS_AVX2], a = _mm256_set1_epi32((int)rounds), b = _mm256_set1_epi32((int)rounds + 1);
    for (int i = 0; i < CHAINS_AVX2; i++)
        x[i] = _mm256_setzero_si256();
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS_AVX2; i++)
            x[i] = _mm256_dpbusd_avx_epi32(x[i], a, b);
    for (int i = 1; i < CHAINS_AVX2; i++)
        x[0] = _mm256_add_epi32(x[0], x[i]);
    return (float)_mm256_extract_epi32(x[0], 0);
}

/* The second operand changes, or one product would do for all. */
__attribute__((target("avx2"))) static float run_avx2_bytes(int64_t rounds)
{
    __m256i x[CHAINS_AVX2 - 2], a = _mm256_set1_epi32((int)rounds), b = _mm256_set1_epi32((int)rounds + 1);
    for (int i = 0; i < CHAINS_AVX2 - 2; i++)
        x[i] = _mm256_setzero_si256();
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS_AVX2 - 2; i++) {
            __asm__("" : "+x"(b));
            x[i] = _mm256_add_epi32(x[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)));
        }
    for (int i = 1; i < CHAINS_AVX2 - 2; i++)
        x[0] = _mm256_add_epi32(x[0], x[i]);
    return (float)_mm256_extract_epi32(x[0], 0);
}
#endif

static struct kernel int8_kernel_in_use(void)
{
    switch (cpu_bytes()) {
#if defined(__x86_64__)
    case CPU_BYTES_AVX512_VNNI: return (struct kernel){"AVX-512 VNNI", run_avx512_vnni, 2.0 * 64 * CHAINS};
    case CPU_BYTES_AVX_VNNI: return (struct kernel){"AVX-VNNI", run_avx_vnni, 2.0 * 32 * CHAINS_AVX2};
    case CPU_BYTES_AVX2: return (struct kernel){"AVX2", run_avx2_bytes, 2.0 * 32 * (CHAINS_AVX2 - 2)};
#endif
    default: return (struct kernel){0};
    }
}

static struct kernel best_kernel(void)
{
#if defined(__x86_64__)
    struct cpu cpu = cpu_detect();
    if (cpu.avx512 && cpu_family() != CPU_AVX2) /* asked for AVX2, nothing is measured by more than it has */
        return (struct kernel){"AVX-512", run_avx512, 2.0 * 16 * CHAINS};
    if (cpu.avx2_fma)
        return (struct kernel){"AVX2", run_avx2, 2.0 * 8 * CHAINS_AVX2};
#endif
    return (struct kernel){"portable C", run_portable, 2.0 * FLOAT_CHAINS};
}

const char *peak_isa(void)
{
    return best_kernel().isa;
}

struct flops_job {
    struct kernel kernel;
    int64_t rounds;
    struct chains {
        float sum;
        double cpu_seconds;
    } * chains; /* per task */
};

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_chains(void *arg, int64_t i, int thread)
{
    (void)thread;
    struct flops_job *job = arg;
    double start = cpu_seconds();
    job->chains[i].sum = job->kernel.run(job->rounds);
    job->chains[i].cpu_seconds = cpu_seconds() - start;
}

/* Whether each of these tasks had a core to itself for as long as all of them took. */
static bool side_by_side(const struct chains *chains, int tasks, double seconds)
{
    for (int i = 0; i < tasks; i++)
        if (chains[i].cpu_seconds < 0.95 * seconds)
            return false;
    return true;
}

/* Of two threads that have just begun the system may put one beside the other, on one core while the other is idle or
 * does work of low priority, and find a better place some time later: such readings are half of the truth, so they are
 * repeated, and the best one counts. */
static double operations(struct kernel kernel, int threads)
{
    enum { MOST_TASKS = 1024, MOST_READINGS = 20 };
    struct chains chains[MOST_TASKS];
    int tasks = threads < MOST_TASKS ? threads : MOST_TASKS, readings = 0;
    struct flops_job job = {kernel, 10000, chains};
    double best = 0;
    while (readings < MOST_READINGS) { /* the first, short attempts also wake the threads */
        double start = seconds_now();
        parallel_for(tasks, tasks, run_chains, &job);
        double seconds = seconds_now() - start;
        if (seconds < 0.01) {
            job.rounds = seconds < 1e-4 ? job.rounds * 10 : (int64_t)((double)job.rounds * 0.012 / seconds) + 1;
            continue;
        }
        best = fmax(best, kernel.flops_per_round * (double)job.rounds * tasks / seconds);
        readings = side_by_side(chains, tasks, seconds) ? MOST_READINGS : readings + 1;
    }
    return best;
}

double peak_flops(int threads)
{
    return operations(best_kernel(), threads);
}

double peak_flops_mean(int threads)
{
    enum { READINGS = 10 };
    double sum = 0;
    for (int i = 0; i < READINGS; i++)
        sum += peak_flops(threads);
    return sum / READINGS;
}

double peak_int8_ops(int threads)
{
    struct kernel kernel = int8_kernel_in_use();
    return kernel.run != NULL ? operations(kernel, threads) : 0;
}

/* ----------------------------------------------------------------------------------------------------- memory */

enum { COPY_BYTES = 128 << 20, COPY_TASKS = 64 };

status peak_copy_open(struct peak_copy *p, struct error *e)
{
    *p = (struct peak_copy){malloc(COPY_BYTES), malloc(COPY_BYTES)};
    if (p->from == NULL || p->to == NULL) {
        peak_copy_close(p);
        return fail(e, ERR_MEMORY, "no memory for two blocks of 128 MiB to copy");
    }
    memset(p->from, 1, COPY_BYTES); /* untouched pages are all the same page of zeros */
    memset(p->to, 2, COPY_BYTES);
    return OK;
}

void peak_copy_close(struct peak_copy *p)
{
    free(p->from);
    free(p->to);
    *p = (struct peak_copy){0};
}

static void copy_part(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct peak_copy *p = arg;
    size_t part = COPY_BYTES / COPY_TASKS;
    memcpy(p->to + (size_t)i * part, p->from + (size_t)i * part, part);
}

double peak_copy_bytes(const struct peak_copy *p, int threads)
{
    double start = seconds_now();
    parallel_for(threads, COPY_TASKS, copy_part, (void *)p);
    return 2.0 * COPY_BYTES / (seconds_now() - start);
}
