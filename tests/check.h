/* What the numerical tests share: numbers to compute with, a place to compute in, comparisons that say where they
 * failed. Include it after the project's headers: it brings cmocka.h, whose macro `fail` would hide ours. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tensor/context.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/rng.h"
#include "tensor/tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* which needs the four above */

/* ------------------------------------------------------------------------------------------------------- numbers */

/* Zeroed memory for n elements of a size; a test that gets none fails. The caller frees. */
static inline void *room(int64_t n, size_t size)
{
    void *p = calloc((size_t)n + 1, size);
    assert_non_null(p);
    return p;
}

/* n standard normal numbers, the same for the same seed. The caller frees. */
static inline float *some_floats(uint64_t seed, int64_t n)
{
    float *x = room(n, sizeof *x);
    struct torch_rng g;
    torch_seed(&g, seed);
    torch_randn(&g, x, n);
    return x;
}

/* A copy of x in a storage format (F32, F16, BF16); x becomes what the copy holds. The caller frees. */
static inline void *stored(enum dtype dtype, float *x, int64_t n)
{
    void *data = room(n, dtype_size(dtype));
    uint16_t *halves = data;
    if (dtype == DTYPE_F32)
        memcpy(data, x, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n && dtype != DTYPE_F32; i++) {
        halves[i] = dtype == DTYPE_F16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
        x[i] = dtype == DTYPE_F16 ? f16_to_f32(halves[i]) : bf16_to_f32(halves[i]);
    }
    return data;
}

/* A tensor of random numbers, and the same as floats. The caller gives it back with random_tensor_free. */
struct random_tensor {
    struct tensor tensor;
    float *values;
};
static inline struct random_tensor random_tensor(uint64_t seed, enum dtype dtype, int rank, const int64_t *shape)
{
    struct random_tensor t = {.tensor = {.dtype = dtype, .rank = rank}};
    memcpy(t.tensor.shape, shape, (size_t)rank * sizeof *shape);
    int64_t n = tensor_count(&t.tensor);
    t.values = some_floats(seed, n);
    t.tensor.data = stored(dtype, t.values, n);
    return t;
}

static inline void random_tensor_free(struct random_tensor *t)
{
    free((void *)t->tensor.data);
    free(t->values);
    *t = (struct random_tensor){0};
}

/* --------------------------------------------------------------------------------------------------- comparisons */

/* No error above `tolerance` times the largest wanted magnitude; a NaN is an error. */
static inline void check_close(const char *what, const float *found, const double *wanted, int64_t n,
                               double tolerance)
{
    double largest = 0, worst = 0;
    int64_t wrong = 0, first = -1, worst_at = -1;
    for (int64_t i = 0; i < n; i++)
        largest = fabs(wanted[i]) > largest ? fabs(wanted[i]) : largest;
    for (int64_t i = 0; i < n; i++) {
        double error = fabs(found[i] - wanted[i]);
        if (error <= tolerance * largest)
            continue;
        wrong++;
        first = first < 0 ? i : first;
        if (worst_at < 0 || error > worst) {
            worst = error;
            worst_at = i;
        }
    }
    if (wrong > 0)
        fail_msg("%s: %lld of %lld values are off by more than %g x %g, the first at %lld, the worst at %lld: %.9g, "
                 "wanted "
                 "%.9g",
                 what, (long long)wrong, (long long)n, tolerance, largest, (long long)first, (long long)worst_at,
                 found[worst_at], wanted[worst_at]);
}

/* The same bits. */
static inline void check_same(const char *what, const float *found, const float *wanted, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&found[i], &wanted[i], sizeof *found) != 0)
            fail_msg("%s: differs first at %lld of %lld: %.9g, wanted %.9g", what, (long long)i, (long long)n,
                     found[i], wanted[i]);
}

static inline void check_finite(const char *what, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            fail_msg("%s: %g at %lld of %lld", what, x[i], (long long)i, (long long)n);
}

/* ------------------------------------------------------------------------------------------------------- a place */

/* Computes as the program does: measured first, then run in an arena of exactly the measured size, which must be
 * used up to its end and given back. */
static inline void compute(int threads, void (*run)(const struct context *ctx, void *arg), void *arg)
{
    struct error e = {0};
    struct arena arena = arena_measure();
    struct context ctx = {.arena = &arena, .threads = threads};
    assert_int_equal(gemm_ready(&e), OK);
    run(&ctx, arg);
    size_t measured = arena.peak;
    assert_int_equal(arena.used, 0);
    assert_int_equal(arena_open(&arena, measured, "a test", &e), OK);
    run(&ctx, arg);
    assert_int_equal(arena.peak, measured);
    assert_int_equal(arena.used, 0);
    arena_close(&arena);
}

/* Runs a group of tests once for each form of the kernels that this CPU has. The form is decided once per process, so
 * each group is in one of its own. Returns how many groups failed. */
static inline int on_every_cpu_family(int (*group)(void))
{
    struct cpu cpu = cpu_detect();
    const char *const names[] = {"portable", "openblas", cpu.avx2_fma ? "avx2" : NULL,
                                 cpu.avx_vnni ? "avx-vnni" : NULL,
                                 cpu.avx512 ? "avx512" : NULL};
    int failed = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i] == NULL)
            continue;
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            setenv("STORYDIFF_CPU", names[i], 1);
            printf("STORYDIFF_CPU=%s\n", names[i]);
            exit(group() != 0);
        }
        int ended = 0;
        failed += child < 0 || waitpid(child, &ended, 0) != child || !WIFEXITED(ended) || WEXITSTATUS(ended) != 0;
    }
    return failed;
}

#endif
