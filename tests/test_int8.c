/* The multiply in 8-bit integers, against its definition written once more, slowly: blocks of 320, a scale each,
 * integers of 8 bits or 7, exact sums, added block by block. Not what float32 gives, but these very
 * bits. */
#include "tensor/int8_kernel.h"
#include "nn/linear.h"
#include "tests/check.h"

/* ------------------------------------------------------------------------------------------------- the definition */

/* Row x[K] as integers q[K] and scales [blocks]: weights, or activations, whose integers are q - zero. */
enum side { WEIGHT, ACTIVATION };
static void quantise(const float *x, int64_t K, enum side side, int *q, float *scale)
{
    for (int64_t first = 0; first < K; first += INT8_BLOCK) {
        int64_t end = smaller(first + INT8_BLOCK, K);
        float largest = 0, above = 0, below = 0;
        for (int64_t k = first; k < end; k++) {
            largest = fmaxf(largest, fabsf(x[k]));
            above = fmaxf(above, x[k]);
            below = fmaxf(below, -x[k]);
        }
        float range = side == WEIGHT ? largest : above + below,
              steps = side == WEIGHT ? 127 : (float)int8_kernel()->levels;
        for (int64_t k = first; k < end; k++)
            q[k] = range > 0x1p-100f ? (int)nearbyintf(x[k] * (steps / range)) : 0;
        scale[first / INT8_BLOCK] = range / steps;
    }
}

/* The product of a row of activations and a row of a weight. */
static float product(const int *a, const float *a_scale, const int *w, const float *w_scale, int64_t K)
{
    float sum = 0;
    for (int64_t first = 0; first < K; first += INT8_BLOCK) {
        int64_t exact = 0;
        for (int64_t k = first; k < smaller(first + INT8_BLOCK, K); k++)
            exact += (int64_t)a[k] * w[k];
        sum = fmaf((float)exact * w_scale[first / INT8_BLOCK], a_scale[first / INT8_BLOCK], sum);
    }
    return sum;
}

struct problem {
    int64_t M, N, K; /* N: of the output */
    enum dtype dtype;
    enum activation activation;
    bool bias, residual, in_place;
    int64_t rows_per_sample; /* 0: no row per sample */
    int64_t split;           /* columns of the first of two inputs; 0: one */
};

struct solution {
    struct problem p;
    float *x, *first, *second, *per_sample, *residual, *out; /* x: first and second side by side */
    struct random_tensor weight, bias;
};

static struct solution pose(struct problem p)
{
    int64_t rows = p.activation == ACT_GEGLU ? 2 * p.N : p.N, split = p.split > 0 ? p.split : p.K;
    struct solution s = {
        .p = p,
        .x = some_floats(1, p.M * p.K),
        .first = room(p.M * split, sizeof(float)),
        .second = room(p.M * (p.K - split), sizeof(float)),
        .per_sample = some_floats(5, p.M * p.N),
        .residual = some_floats(6, p.M * p.N),
        .out = room(p.M * p.N, sizeof(float)),
        .weight = random_tensor(3, p.dtype, 2, (int64_t[]){rows, p.K}),
        .bias = random_tensor(4, p.dtype, 1, (int64_t[]){rows}),
    };
    for (int64_t m = 0; m < p.M; m++) {
        memcpy(s.first + m * split, s.x + m * p.K, (size_t)split * sizeof(float));
        memcpy(s.second + m * (p.K - split), s.x + m * p.K + split, (size_t)(p.K - split) * sizeof(float));
    }
    return s;
}

static void dispose(struct solution *s)
{
    free(s->x), free(s->first), free(s->second), free(s->per_sample), free(s->residual), free(s->out);
    random_tensor_free(&s->weight);
    random_tensor_free(&s->bias);
}

static double after(enum activation activation, double x, double gate)
{
    switch (activation) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_GELU: return x * 0.5 * (1 + erf(x * sqrt(0.5)));
    case ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case ACT_GEGLU: return x * gate * 0.5 * (1 + erf(gate * sqrt(0.5)));
    case ACT_NONE: break;
    }
    return x;
}

/* The wanted output; the caller frees. */
static double *solve_slowly(const struct solution *s)
{
    const struct problem *p = &s->p;
    int64_t rows = p->activation == ACT_GEGLU ? 2 * p->N : p->N, blocks = (p->K + INT8_BLOCK - 1) / INT8_BLOCK;
    int *a = room(p->M * p->K, sizeof *a), *w = room(rows * p->K, sizeof *w);
    float *a_scale = room(p->M * blocks, sizeof(float)), *w_scale = room(rows * blocks, sizeof(float));
    double *wanted = room(p->M * p->N, sizeof *wanted);
    for (int64_t m = 0; m < p->M; m++)
        quantise(s->x + m * p->K, p->K, ACTIVATION, a + m * p->K, a_scale + m * blocks);
    for (int64_t n = 0; n < rows; n++)
        quantise(s->weight.values + n * p->K, p->K, WEIGHT, w + n * p->K, w_scale + n * blocks);
    for (int64_t m = 0; m < p->M; m++)
        for (int64_t n = 0; n < p->N; n++) {
            double sum[2] = {0};
            for (int part = 0; part < (p->activation == ACT_GEGLU ? 2 : 1); part++) {
                int64_t row = part * p->N + n;
                sum[part] = product(a + m * p->K, a_scale + m * blocks, w + row * p->K, w_scale + row * blocks, p->K);
                sum[part] += p->bias ? (double)s->bias.values[row] : 0;
            }
            sum[0] += p->rows_per_sample > 0 ? (double)s->per_sample[m / p->rows_per_sample * p->N + n] : 0;
            wanted[m * p->N + n] =
                after(p->activation, sum[0], sum[1]) + (p->residual ? (double)s->residual[m * p->N + n] : 0);
        }
    free(a), free(w), free(a_scale), free(w_scale);
    return wanted;
}

static void run_gemm(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    const struct problem *p = &s->p;
    bool two = p->split > 0;
    struct gemm_rows in = {s->first, two ? p->split : p->K, two ? s->second : NULL, p->K - p->split};
    if (p->in_place && !arena_measuring(ctx->arena))
        memcpy(s->out, s->residual, (size_t)(p->M * p->N) * sizeof *s->out);
    gemm_run(ctx, &(struct gemm){
                      .M = p->M,
                      .N = p->N,
                      .K = p->K,
                      .precision = PRECISION_INT8,
                      .in = gemm_input_rows(&in),
                      .weight = {&s->weight.tensor, 1},
                      .epilogue = {.bias = p->bias ? &s->bias.tensor : NULL,
                                   .per_sample = p->rows_per_sample > 0 ? s->per_sample : NULL,
                                   .rows_per_sample = p->rows_per_sample,
                                   .activation = p->activation,
                                   .residual = p->in_place   ? s->out
                                               : p->residual ? s->residual
                                                             : NULL},
                      .out = s->out,
                  });
}

/* Bare products to the bit; with an epilogue to a few roundings. */
static void check_problem(struct problem p)
{
    char name[120];
    snprintf(name, sizeof name, "M %lld N %lld K %lld %s activation %d split %lld", (long long)p.M, (long long)p.N,
             (long long)p.K, dtype_name(p.dtype), p.activation, (long long)p.split);
    struct solution s = pose(p);
    double *wanted = solve_slowly(&s);
    compute(2, run_gemm, &s);
    bool bare = !p.bias && !p.residual && p.activation == ACT_NONE && p.rows_per_sample == 0;
    check_close(name, s.out, wanted, p.M * p.N, bare ? 0 : 1e-6);
    free(wanted);
    dispose(&s);
}

/* ------------------------------------------------------------------------------------------------------- products */

/* Beside blocks of 320, pieces of 1280 and 5120, panels of 4, 5, 6 and 14 rows, groups of 54 to 56, strips of 8, 16
 * and 32. */
static const int64_t sizes[][3] = {
    {1, 1, 1},     {1, 1, 2},     {1, 2, 3},     {2, 3, 4},     {3, 5, 127},   {4, 7, 128},   {5, 8, 129},
    {6, 9, 130},   {7, 15, 131},  {13, 16, 255}, {14, 17, 256}, {15, 31, 257}, {27, 32, 258}, {28, 33, 259},
    {29, 63, 260}, {112, 20, 64}, {113, 65, 65}, {250, 40, 96}, {3, 1279, 40}, {3, 1280, 40}, {3, 1281, 40},
    {5, 6, 319},   {5, 6, 320},   {5, 6, 321},   {15, 33, 640}, {15, 33, 641}, {3, 40, 5121}, {3, 40, 6500},
    {2, 2600, 12}, {9, 11, 1280}, {9, 11, 1281}, {9, 11, 2999}, {2, 5, 5120},
    {56, 70, 90},  {57, 70, 90},  {57, 5, 330},
};

static void products_are_the_definitions_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_problem((struct problem){sizes[i][0], sizes[i][1], sizes[i][2], .bias = false});
}

/* What is shared is 6 MiB at a time, but one panel or strip at least; more comes in several goes, whichever side it is.
 * Sizes so that all instruction sets need two. */
static void what_is_shared_is_taken_in_turns(void **state)
{
    (void)state;
    check_problem((struct problem){17, 18, 350000, .bias = false}); /* rows: 16, 15, 12 and 14 at a time */
    check_problem((struct problem){34, 33, 158000, .bias = false}); /* columns: 32 at a time */
}

static void weights_are_read_in_the_format_they_are_stored_in(void **state)
{
    (void)state;
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
        check_problem((struct problem){9, 40, 333, .dtype = dtype});
}

static void what_follows_the_product_is_float32(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 8, 15, 16, 31, 32, 33, 70};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (enum activation a = ACT_NONE; a <= ACT_GEGLU; a++) {
            struct problem p = {17, widths[i], 150, .activation = a, .bias = i % 2};
            check_problem(p);
            p.residual = true;
            check_problem(p);
            p.bias = !p.bias;
            check_problem(p);
        }
    check_problem((struct problem){20, 33, 140, .rows_per_sample = 5, .bias = true, .activation = ACT_SILU});
    check_problem((struct problem){20, 33, 140, .residual = true, .in_place = true, .bias = true});
    check_problem((struct problem){9, 1300, 20, .activation = ACT_GEGLU, .bias = true});
}

static void two_inputs_are_one_concatenated(void **state)
{
    (void)state;
    static const int64_t splits[][2] = {{1, 2},     {127, 300}, {128, 300}, {129, 300}, {255, 600},
                                        {319, 700}, {320, 700}, {321, 700}, {599, 600}};
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        check_problem((struct problem){5, 10, splits[i][1], .split = splits[i][0]});
}

/* No rows, or no columns, are no work. */
static void nothing_to_compute_is_no_mistake(void **state)
{
    (void)state;
    check_problem((struct problem){0, 40, 30, .bias = true});
    check_problem((struct problem){40, 0, 30, .bias = true});
    check_problem((struct problem){0, 40, 30, .activation = ACT_GEGLU});
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct problem p = {100, 170, 700, .dtype = DTYPE_F16, .activation = ACT_SILU, .bias = true, .residual = true};
    struct solution one = pose(p), more = pose(p);
    compute(1, run_gemm, &one);
    for (int threads = 2; threads <= 7; threads += 5) {
        compute(threads, run_gemm, &more);
        check_same("threads", more.out, one.out, p.M * p.N);
    }
    dispose(&one);
    dispose(&more);
}

/* ------------------------------------------------------------------------------------------------------- extremes */

/* Every value the largest of its block: sums of 16 bits and of 32 must not overflow. */
static void the_largest_sums_fit(void **state)
{
    (void)state;
    for (int signs = 0; signs < 4; signs++) {
        struct solution s = pose((struct problem){15, 33, 1300, .bias = false});
        for (int64_t i = 0; i < s.p.M * s.p.K; i++)
            s.x[i] = s.first[i] = signs & 1 ? -3 : 3;
        for (int64_t i = 0; i < s.p.N * s.p.K; i++)
            s.weight.values[i] = ((float *)s.weight.tensor.data)[i] = signs & 2 ? -2 : 2;
        compute(1, run_gemm, &s);
        for (int64_t i = 0; i < s.p.M * s.p.N; i++)
            assert_true(fabs(s.out[i] - (signs == 0 || signs == 3 ? 7800.0 : -7800.0)) < 7800 * 1e-6);
        dispose(&s);
    }
}

static void infinities_and_nan_are_not_lost_and_stay_in_their_row(void **state)
{
    (void)state;
    const struct problem problem = {20, 40, 300, .bias = false};
    static const float values[] = {INFINITY, -INFINITY, NAN, -NAN};
    for (int i = 0; i < 4; i++) {
        struct solution s = pose(problem), spoilt = pose(problem);
        spoilt.first[9 * 300 + 200] = values[i];
        compute(1, run_gemm, &s);
        compute(1, run_gemm, &spoilt);
        check_same("rows before", spoilt.out, s.out, 9 * 40);
        check_same("rows after", spoilt.out + 10 * 40, s.out + 10 * 40, 10 * 40);
        for (int n = 0; n < 40; n++)
            assert_false(isfinite(spoilt.out[9 * 40 + n]));
        dispose(&s);
        dispose(&spoilt);
    }
}

static void those_of_a_weight_stay_in_its_column(void **state)
{
    (void)state;
    const struct problem problem = {20, 40, 300, .bias = false};
    static const float values[] = {INFINITY, -INFINITY, NAN, -NAN};
    for (int i = 0; i < 4; i++) {
        struct solution s = pose(problem), spoilt = pose(problem);
        ((float *)spoilt.weight.tensor.data)[9 * 300 + 200] = values[i];
        compute(1, run_gemm, &s);
        compute(1, run_gemm, &spoilt);
        for (int m = 0; m < 20; m++) {
            check_same("columns before", spoilt.out + m * 40, s.out + m * 40, 9);
            check_same("columns after", spoilt.out + m * 40 + 10, s.out + m * 40 + 10, 30);
            assert_false(isfinite(spoilt.out[m * 40 + 9]));
        }
        dispose(&s);
        dispose(&spoilt);
    }
}

static void nothing_times_anything_is_nothing(void **state)
{
    (void)state;
    static const float values[] = {0, -0.0f, 1e-40f, 0x1p-101f};
    for (int i = 0; i < 8; i++) { /* rows, then weights */
        struct solution s = pose((struct problem){3, 5, 200, .bias = false});
        for (int64_t k = 0; k < (i < 4 ? 3 : 5) * 200; k++)
            (i < 4 ? s.first : (float *)s.weight.tensor.data)[k] = values[i % 4];
        compute(1, run_gemm, &s);
        for (int n = 0; n < 15; n++)
            assert_true(s.out[n] == 0);
        dispose(&s);
    }
}

/* ------------------------------------------------------------------------------------------------------ precision */

static void run_linear(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    struct linear layer = {s->weight.tensor, {0}};
    struct context own = *ctx;
    own.precision = s->p.in_place ? PRECISION_INT8 : PRECISION_FLOAT32;
    linear(&own, s->out, s->first, s->p.M, &layer, (struct linear_options){0});
}

/* Of normal numbers the largest of 320 is about 3 times the usual one, and rounding to a step d is off by d / sqrt
 * 12: 3 / 127 / 3.46 = 0.7 % a side with 8 bits, 1.4 % with 7. */
static void a_layer_is_off_by_what_its_bits_explain(void **state)
{
    (void)state;
    double side = 3 / sqrt(12), expected = hypot(side / 127, side / (int8_kernel()->levels / 2)), off = 0, all = 0;
    struct problem p = {64, 100, 1280, .dtype = DTYPE_F16};
    struct solution exact = pose(p), rounded = pose(p);
    rounded.p.in_place = true;
    compute(1, run_linear, &exact);
    compute(1, run_linear, &rounded);
    for (int64_t i = 0; i < p.M * p.N; i++) {
        off += (rounded.out[i] - exact.out[i]) * (rounded.out[i] - exact.out[i]);
        all += exact.out[i] * exact.out[i];
    }
    assert_true(sqrt(off / all) > 0.7 * expected && sqrt(off / all) < 1.3 * expected);
    dispose(&exact);
    dispose(&rounded);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_the_definitions_bits),
        cmocka_unit_test(what_is_shared_is_taken_in_turns),
        cmocka_unit_test(weights_are_read_in_the_format_they_are_stored_in),
        cmocka_unit_test(what_follows_the_product_is_float32),
        cmocka_unit_test(two_inputs_are_one_concatenated),
        cmocka_unit_test(nothing_to_compute_is_no_mistake),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(the_largest_sums_fit),
        cmocka_unit_test(infinities_and_nan_are_not_lost_and_stay_in_their_row),
        cmocka_unit_test(those_of_a_weight_stay_in_its_column),
        cmocka_unit_test(nothing_times_anything_is_nothing),
        cmocka_unit_test(a_layer_is_off_by_what_its_bits_explain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
