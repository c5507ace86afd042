/* The multiply and the linear layers on it, against a sum in double for each output, with every micro-kernel this CPU
 * can run. */
#include "nn/linear.h"
#include "tests/check.h"

/* One product with all that may surround it. */
struct problem {
    int64_t M, N, K;
    enum dtype dtype;
    enum activation activation;
    int64_t split;           /* K of the first of two inputs; 0: one input */
    int64_t rows_per_sample; /* 0: no per_sample */
    bool bias, residual, in_place;
    int threads;
};

struct solution {
    struct problem p;
    float *first, *second; /* [M, split], [M, K - split]; or [M, K] and NULL */
    struct random_tensor weight, bias;
    float *per_sample, *residual;
    float *out; /* [M, N] */
};

static double activated(enum activation activation, double x)
{
    switch (activation) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case ACT_GELU: return 0.5 * x * erfc(-x / sqrt(2));
    case ACT_GEGLU:
    case ACT_NONE: break;
    }
    return x;
}

static double input_at(const struct solution *s, int64_t m, int64_t k)
{
    if (s->p.split == 0)
        return s->first[m * s->p.K + k];
    return k < s->p.split ? s->first[m * s->p.split + k] : s->second[m * (s->p.K - s->p.split) + k - s->p.split];
}

static double product(const struct solution *s, int64_t m, int64_t row)
{
    double sum = s->p.bias ? s->bias.values[row] : 0;
    for (int64_t k = 0; k < s->p.K; k++)
        sum += input_at(s, m, k) * s->weight.values[row * s->p.K + k];
    return sum;
}

static double *solve_slowly(const struct solution *s)
{
    int64_t N = s->p.N;
    double *out = room(s->p.M * N, sizeof *out);
    for (int64_t m = 0; m < s->p.M; m++)
        for (int64_t n = 0; n < N; n++) {
            double x = product(s, m, n);
            if (s->p.rows_per_sample > 0)
                x += s->per_sample[m / s->p.rows_per_sample * N + n];
            if (s->p.activation == ACT_GEGLU)
                x *= activated(ACT_GELU, product(s, m, N + n));
            else
                x = activated(s->p.activation, x);
            out[m * N + n] = x + (s->p.residual ? s->residual[m * N + n] : 0);
        }
    return out;
}

static struct solution pose(struct problem p)
{
    int64_t rows = p.activation == ACT_GEGLU ? 2 * p.N : p.N, split = p.split > 0 ? p.split : p.K;
    return (struct solution){
        .p = p,
        .first = some_floats(1, p.M * split),
        .second = some_floats(2, p.M * (p.K - split)),
        .weight = random_tensor(3, p.dtype, 2, (int64_t[]){rows, p.K}),
        .bias = random_tensor(4, p.dtype, 1, (int64_t[]){rows}),
        .per_sample = some_floats(5, p.M * p.N), /* enough for one row a sample */
        .residual = some_floats(6, p.M * p.N),
        .out = room(p.M * p.N, sizeof(float)),
    };
}

static void dispose(struct solution *s)
{
    free(s->first);
    free(s->second);
    random_tensor_free(&s->weight);
    random_tensor_free(&s->bias);
    free(s->per_sample);
    free(s->residual);
    free(s->out);
}

static void run_gemm(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    const struct problem *p = &s->p;
    struct gemm_rows in = {s->first, p->split > 0 ? p->split : p->K, p->split > 0 ? s->second : NULL,
                           p->K - p->split};
    if (p->in_place && !arena_measuring(ctx->arena))
        memcpy(s->out, s->residual, (size_t)(p->M * p->N) * sizeof *s->out);
    gemm_run(ctx, &(struct gemm){
                      .M = p->M,
                      .N = p->N,
                      .K = p->K,
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
                      .op = OP_LINEAR,
                  });
}

/* Rounding: a sum of K products of unit variance is about sqrt(K), its error at most K roundings of that. */
static void check_problem(struct problem p)
{
    char name[128];
    snprintf(name, sizeof name, "M %lld N %lld K %lld %s activation %d split %lld", (long long)p.M, (long long)p.N,
             (long long)p.K, dtype_name(p.dtype), p.activation, (long long)p.split);
    struct solution s = pose(p);
    double *wanted = solve_slowly(&s);
    compute(p.threads > 0 ? p.threads : 1, run_gemm, &s);
    check_close(name, s.out, wanted, p.M * p.N, 1e-6 + 1e-8 * (double)p.K);
    free(wanted);
    dispose(&s);
}

/* Beside the blocks of gemm.c (64 columns, 1280 deep, 1024 rows), those of its kernels (56, 48, 96 and 256 rows) and
 * their tiles (14 x 32, 6 x 16, 8 x 8, 256 x 128). */
static const int64_t sizes[][3] = {
    {1, 1, 1},     {1, 77, 5},    {77, 1, 3},    {7, 13, 77},    {257, 5, 3},    {3, 5, 1281},   {1, 320, 320},
    {1, 31, 300},  {2, 32, 300},  {3, 33, 300},  {5, 15, 600},   {6, 16, 600},   {7, 17, 600},   {8, 63, 200},
    {13, 64, 200}, {14, 65, 200}, {15, 90, 100}, {28, 7, 1200},  {29, 9, 1000},  {83, 40, 210},  {84, 41, 210},
    {85, 42, 210}, {95, 90, 100}, {96, 90, 100}, {97, 90, 100},  {255, 34, 250}, {256, 33, 260}, {257, 257, 33},
    {5, 1279, 9},  {5, 1280, 9},  {5, 1281, 9},  {2, 2561, 5},   {3, 8, 1279},   {3, 8, 1280},   {3, 8, 1281},
    {4, 9, 2559},  {4, 9, 2560},  {4, 9, 2561},  {15, 34, 1290}, {9, 1290, 11},  {259, 10, 900},
    {3, 1279, 70}, {3, 1280, 70}, {3, 1281, 70}, {2, 2560, 65},  {2, 2561, 65},  {2, 1281, 1281},
    {1024, 3, 20}, {1025, 9, 20}, {2050, 33, 7}, {1100, 5, 1290},
};

static void multiplies_matrices_of_any_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_problem((struct problem){sizes[i][0], sizes[i][1], sizes[i][2], .bias = i % 2});
}

/* No rows, or no columns, are no work. */
static void nothing_to_compute_is_no_mistake(void **state)
{
    (void)state;
    check_problem((struct problem){0, 40, 30, .bias = true});
    check_problem((struct problem){0, 40, 30, .dtype = DTYPE_F16, .residual = true});
    check_problem((struct problem){40, 0, 30, .bias = true});
    check_problem((struct problem){0, 40, 1300, .activation = ACT_GEGLU, .bias = true});
}

/* Sums in one chain would be off by 1.1e-6 at 1280 products and by 2.7e-6 at 5120. */
static void long_sums_are_sums_of_shorter_ones(void **state)
{
    (void)state;
    for (int64_t K = 1280; K <= 5120; K *= 4) {
        struct solution s = pose((struct problem){77, 256, K, .threads = 0});
        double *wanted = solve_slowly(&s);
        compute(2, run_gemm, &s);
        check_close("long sums", s.out, wanted, 77 * 256, 8e-7);
        free(wanted);
        dispose(&s);
    }
}

static void reads_weights_in_the_format_they_are_stored_in(void **state)
{
    (void)state;
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        check_problem((struct problem){9, 260, 77, .dtype = dtype, .bias = true});
        check_problem((struct problem){3, 9, 1300, .dtype = dtype, .bias = true});
        check_problem((struct problem){3, 5, 101, .dtype = dtype, .bias = true});
    }
}

static void applies_every_activation_after_the_bias(void **state)
{
    (void)state;
    static const int64_t sizes_of[][3] = {{7, 13, 5}, {17, 40, 300}, {3, 20, 1300}};
    for (enum activation a = ACT_NONE; a <= ACT_GEGLU; a++)
        for (int i = 0; i < 3; i++) {
            struct problem p = {sizes_of[i][0], sizes_of[i][1], sizes_of[i][2], .activation = a};
            check_problem(p);
            p.bias = true;
            check_problem(p);
            p.residual = true;
            check_problem(p);
        }
}

/* A strip of values is followed by that of its gates; beyond 1280 deep the two are made one after the other. */
static void geglu_finds_the_gate_of_every_column(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 127, 256, 300};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int64_t K = 11; K <= 300; K += 289)
            check_problem(
                (struct problem){15, widths[i], K, .activation = ACT_GEGLU, .bias = i % 2, .residual = i % 3 == 0});
    for (int64_t N = 1279; N <= 1281; N++)
        check_problem((struct problem){3, N, 10, .activation = ACT_GEGLU, .bias = true});
    check_problem((struct problem){15, 40, 1280, .activation = ACT_GEGLU, .dtype = DTYPE_F16, .bias = true});
    check_problem((struct problem){9, 40, 1281, .activation = ACT_GEGLU, .bias = true, .residual = true});
    check_problem((struct problem){3, 40, 2600, .activation = ACT_GEGLU, .residual = true});
}

static void adds_a_row_per_sample_before_the_activation(void **state)
{
    (void)state;
    check_problem((struct problem){20, 7, 5, .rows_per_sample = 5, .activation = ACT_SILU, .bias = true});
    check_problem((struct problem){300, 30, 280, .rows_per_sample = 100}); /* a sample across blocks */
    check_problem((struct problem){4, 300, 30, .rows_per_sample = 1, .residual = true});
    check_problem((struct problem){6, 9, 1300, .rows_per_sample = 3, .residual = true, .activation = ACT_SILU});
    for (int64_t K = 20; K <= 1300; K += 1280)
        check_problem((struct problem){6, 9, K, .rows_per_sample = 3, .bias = true, .activation = ACT_GEGLU});
}

/* Between blocks of K the sums wait in the output, which may be the residual where there is no activation. */
static void residual_is_added_last_and_may_be_the_output(void **state)
{
    (void)state;
    for (enum activation a = ACT_NONE; a <= ACT_QUICK_GELU; a++)
        for (int64_t K = 3; K < 3000; K = K * 5 + 1) {
            struct problem p = {9, 50, K, .residual = true, .activation = a, .bias = K % 2};
            check_problem(p);
            p.in_place = true;
            if (a == ACT_NONE)
                check_problem(p);
        }
}

/* The second input may take over anywhere: within a block of K, at its edge, after several, before the first ends. */
static void two_inputs_are_one_concatenated(void **state)
{
    (void)state;
    static const int64_t splits[][2] = {{1, 2},       {3, 77},      {76, 77},     {3, 2000},
                                        {1000, 1100}, {1280, 1290}, {1279, 1281}, {1290, 1300},
                                        {1500, 2600}, {2560, 2561}, {2600, 2700}};
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        check_problem((struct problem){5, 10, splits[i][1], .split = splits[i][0], .bias = true});
    check_problem((struct problem){300, 7, 1290, .split = 1270});
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct problem p = {100, 70, 1300, .dtype = DTYPE_F16, .activation = ACT_SILU, .bias = true, .residual = true};
    struct solution one = pose(p), more = pose(p);
    compute(1, run_gemm, &one);
    compute(2, run_gemm, &more);
    check_same("2 threads", more.out, one.out, p.M * p.N);
    compute(7, run_gemm, &more);
    check_same("7 threads", more.out, one.out, p.M * p.N);
    dispose(&one);
    dispose(&more);
}

/* One sample is computed like several, though a weight that few rows use is multiplied as it lies in the file. Of our
 * kernels: OpenBLAS has others for few rows. */
static void few_rows_have_the_bits_of_many(void **state)
{
    (void)state;
    if (cpu_family() == CPU_OPENBLAS)
        skip();
    static const int64_t K[] = {5, 320, 640, 1290, 2600};
    static const struct problem kinds[] = {
        {.bias = true, .activation = ACT_SILU},
        {.bias = true, .activation = ACT_SILU, .residual = true},
        {.bias = true},
        {.bias = true, .residual = true},
        {.bias = true, .residual = true, .in_place = true},
    };
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        for (size_t i = 0; i < sizeof K / sizeof *K; i++) {
            struct problem p = kinds[kind];
            p.M = 40, p.N = i % 2 ? 88 : 72, p.K = K[i], p.dtype = DTYPE_F16;
            struct solution many = pose(p);
            compute(1, run_gemm, &many);
            for (int64_t M = 1; M <= 5; M++) {
                struct solution few = many;
                few.p.M = M;
                few.out = room(M * p.N, sizeof(float));
                compute(2, run_gemm, &few);
                check_same("few rows", few.out, many.out, M * p.N);
                free(few.out);
            }
            dispose(&many);
        }
}

static void large_inputs_stay_with_their_own_row(void **state)
{
    (void)state;
    struct problem p = {40, 20, 500, .bias = true};
    struct solution s = pose(p), spoilt = pose(p);
    for (int64_t k = 0; k < p.K; k++)
        spoilt.first[17 * p.K + k] = INFINITY;
    compute(1, run_gemm, &s);
    compute(1, run_gemm, &spoilt);
    check_same("rows before", spoilt.out, s.out, 17 * p.N);
    check_same("rows after", spoilt.out + 18 * p.N, s.out + 18 * p.N, 22 * p.N);
    dispose(&s);
    dispose(&spoilt);
}

/* ---------------------------------------------------------------------------------------------------- nn/linear.h */

struct layer_run {
    struct solution *s;
    bool pointwise; /* the weight as a 1x1 convolution's */
};

static void run_linear(const struct context *ctx, void *arg)
{
    const struct layer_run *run = arg;
    struct solution *s = run->s;
    struct linear layer = {s->weight.tensor, {0}};
    if (s->p.bias)
        layer.bias = s->bias.tensor;
    if (run->pointwise) {
        layer.weight.rank = 4;
        layer.weight.shape[2] = layer.weight.shape[3] = 1;
    }
    if (s->p.split > 0)
        linear_concat(ctx, s->out, s->first, s->p.split, s->second, s->p.K - s->p.split, s->p.M, &layer);
    else
        linear(ctx, s->out, s->first, s->p.M, &layer,
               (struct linear_options){s->p.activation, s->p.residual ? s->residual : NULL});
}

static void linear_layers_are_the_multiply_with_the_layers_shapes(void **state)
{
    (void)state;
    static const struct problem problems[] = {
        {5, 7, 11, .bias = true},
        {5, 7, 11, .activation = ACT_QUICK_GELU, .residual = true},
        {5, 8, 11, .activation = ACT_GEGLU, .bias = true},
        {5, 7, 11, .split = 4, .bias = true},
        {50, 70, 150, .activation = ACT_SILU, .bias = true},
    };
    for (size_t i = 0; i < 2 * sizeof problems / sizeof *problems; i++) {
        struct solution s = pose(problems[i / 2]);
        double *wanted = solve_slowly(&s);
        compute(2, run_linear, &(struct layer_run){&s, i % 2});
        check_close("linear", s.out, wanted, s.p.M * s.p.N, 1e-6);
        free(wanted);
        dispose(&s);
    }
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiplies_matrices_of_any_size),
        cmocka_unit_test(nothing_to_compute_is_no_mistake),
        cmocka_unit_test(long_sums_are_sums_of_shorter_ones),
        cmocka_unit_test(reads_weights_in_the_format_they_are_stored_in),
        cmocka_unit_test(applies_every_activation_after_the_bias),
        cmocka_unit_test(geglu_finds_the_gate_of_every_column),
        cmocka_unit_test(adds_a_row_per_sample_before_the_activation),
        cmocka_unit_test(residual_is_added_last_and_may_be_the_output),
        cmocka_unit_test(two_inputs_are_one_concatenated),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(few_rows_have_the_bits_of_many),
        cmocka_unit_test(large_inputs_stay_with_their_own_row),
        cmocka_unit_test(linear_layers_are_the_multiply_with_the_layers_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
