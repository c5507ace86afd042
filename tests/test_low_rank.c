/* What is added to a weight: by the value, by the row, in products and convolutions, against sums in double. */
#include "nn/conv.h"
#include "nn/linear.h"
#include "tensor/gemm_kernel.h"
#include "tensor/low_rank.h"
#include "tests/check.h"

static struct tensor matrix(const float *x, int64_t rows, int64_t columns)
{
    return (struct tensor){.data = x, .dtype = DTYPE_F32, .rank = 2, .shape = {rows, columns}};
}

/* Two additions, the second of a rank that takes several steps. */
struct sum {
    float *base, *up[2], *down[2];
    struct low_rank added[2];
    int64_t N, K;
};

static const int64_t ranks[2] = {5, 70};

static struct sum make_sum(int64_t N, int64_t K)
{
    struct sum s = {.base = some_floats(1, N * K), .N = N, .K = K};
    for (int i = 0; i < 2; i++) {
        s.up[i] = some_floats(2 + i, N * ranks[i]);
        s.down[i] = some_floats(4 + i, ranks[i] * K);
        s.added[i] = (struct low_rank){.up = matrix(s.up[i], N, ranks[i]), .down = matrix(s.down[i], ranks[i], K),
                                       .scale = i == 0 ? 0.7f : -0.2f};
    }
    return s;
}

/* The tensor with its delta; `next` must point into the struct where it lies. */
static struct tensor tensor_of(struct sum *s)
{
    struct tensor t = matrix(s->base, s->N, s->K);
    s->added[0].next = &s->added[1];
    t.delta = &s->added[0];
    return t;
}

static float *merged(const struct sum *s)
{
    float *w = room(s->N * s->K, sizeof *w);
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t k = 0; k < s->K; k++) {
            double sum = s->base[n * s->K + k];
            for (int i = 0; i < 2; i++)
                for (int64_t r = 0; r < ranks[i]; r++)
                    sum += (double)s->added[i].scale * s->up[i][n * ranks[i] + r] * s->down[i][r * s->K + k];
            w[n * s->K + k] = (float)sum;
        }
    return w;
}

static void free_sum(struct sum *s)
{
    free(s->base);
    for (int i = 0; i < 2; i++) {
        free(s->up[i]);
        free(s->down[i]);
    }
}

/* Sums of some hundred products, in another order. */
static void check_near(const char *what, const float *found, const float *wanted, int64_t n)
{
    double *doubles = room(n, sizeof *doubles);
    for (int64_t i = 0; i < n; i++)
        doubles[i] = wanted[i];
    check_close(what, found, doubles, n, 1e-5);
    free(doubles);
}

static void values_are_those_of_the_sum(void **state)
{
    (void)state;
    struct sum s = make_sum(7, 45);
    struct tensor t = tensor_of(&s);
    float *wanted = merged(&s), out[7 * 45];
    tensor_read(&t, 0, 7 * 45, out);
    check_near("all", out, wanted, 7 * 45);
    tensor_read(&t, 40, 20, out); /* from one row into the next */
    check_near("a part", out, wanted + 40, 20);
    free(wanted);
    free_sum(&s);
}

static void rows_are_those_of_the_sum(void **state)
{
    (void)state;
    struct sum s = make_sum(37, 150);
    struct tensor t = tensor_of(&s);
    float *wanted = merged(&s), *out = room(64 * GEMM_STRIDE, sizeof *out);
    assert_int_equal(gemm_ready(NULL), OK);
    static const struct {
        int64_t first, rows, k, count;
    } parts[] = {{0, 32, 0, 150}, {5, 32, 17, 133}, {36, 1, 3, 140}, {3, 14, 138, 12}};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        weight_rows(&t, s.K, parts[p].first, parts[p].rows, parts[p].k, parts[p].count, out);
        for (int64_t i = 0; i < parts[p].rows; i++)
            check_near("row", out + i * GEMM_STRIDE, wanted + (parts[p].first + i) * s.K + parts[p].k,
                           parts[p].count);
    }
    free(out);
    free(wanted);
    free_sum(&s);
}

struct product {
    struct linear layer;
    struct conv conv;
    const float *x;
    float *y;
    int64_t rows;
    enum activation activation;
    enum precision precision;
    struct features in, out;
    enum conv_kind kind;
};

static void run_linear(const struct context *ctx, void *arg)
{
    const struct product *p = arg;
    struct context chosen = *ctx;
    chosen.precision = p->precision;
    linear(&chosen, p->y, p->x, p->rows, &p->layer, (struct linear_options){.activation = p->activation});
}

static void run_conv(const struct context *ctx, void *arg)
{
    const struct product *p = arg;
    conv3x3(ctx, p->out, p->in, &p->conv, p->kind, (struct conv_options){0});
}

/* A layer with additions does what the layer with the merged weight does. */
static void linears_multiply_with_the_sum(void **state)
{
    (void)state;
    static const struct {
        int64_t M, N, K;
        enum activation activation;
    } cases[] = {{50, 70, 150, ACT_NONE}, {3, 64, 1400, ACT_NONE}, {40, 128, 96, ACT_GEGLU}, {9, 128, 1400, ACT_GEGLU}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sum s = make_sum(cases[c].N, cases[c].K);
        float *w = merged(&s), *x = some_floats(9, cases[c].M * cases[c].K);
        int64_t size = cases[c].M * cases[c].N / (cases[c].activation == ACT_GEGLU ? 2 : 1);
        float *wanted = room(size, sizeof *wanted), *got = room(size, sizeof *got);
        struct product p = {.layer.weight = matrix(w, s.N, s.K), .x = x, .y = wanted, .rows = cases[c].M,
                            .activation = cases[c].activation};
        compute(2, run_linear, &p);
        p.layer.weight = tensor_of(&s);
        p.y = got;
        compute(2, run_linear, &p);
        check_near("linear", got, wanted, size);
        free(w), free(x), free(wanted), free(got);
        free_sum(&s);
    }
}

/* 8-bit products quantize the sum, not the weight: nothing differs but the last bit of what is rounded. */
static void eight_bits_are_those_of_the_sum(void **state)
{
    (void)state;
    struct sum s = make_sum(320, 640);
    int64_t M = 64, size = M * s.N;
    float *w = merged(&s), *x = some_floats(9, M * s.K), *wanted = room(size, sizeof *wanted);
    float *got = room(size, sizeof *got);
    struct product p = {.layer.weight = matrix(w, s.N, s.K), .x = x, .y = wanted, .rows = M,
                        .precision = PRECISION_INT8};
    compute(2, run_linear, &p);
    p.layer.weight = tensor_of(&s);
    p.y = got;
    compute(2, run_linear, &p);
    double difference = 0, largest = 0;
    for (int64_t i = 0; i < size; i++) {
        difference += fabs(got[i] - wanted[i]) / (double)size;
        largest = fmax(largest, fabs(wanted[i]));
    }
    assert_true(difference < 1e-4 * largest);
    free(w), free(x), free(wanted), free(got);
    free_sum(&s);
}

/* Winograd with many tiles and with few, and the implicit product. */
static void convolutions_filter_with_the_sum(void **state)
{
    (void)state;
    static const struct {
        int64_t h, w, in, out;
        enum conv_kind kind;
    } cases[] = {{80, 72, 32, 40, CONV_SAME}, {16, 12, 160, 40, CONV_SAME}, {9, 7, 20, 24, CONV_SAME},
                 {12, 10, 40, 33, CONV_DOWN}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sum s = make_sum(cases[c].out, 9 * cases[c].in);
        float *w = merged(&s), *x = some_floats(9, cases[c].h * cases[c].w * cases[c].in);
        int64_t h = conv_out_size(cases[c].kind, cases[c].h), wd = conv_out_size(cases[c].kind, cases[c].w);
        int64_t size = h * wd * cases[c].out;
        float *wanted = room(size, sizeof *wanted), *got = room(size, sizeof *got);
        struct tensor filter = {.data = w, .rank = 4, .shape = {cases[c].out, cases[c].in, 3, 3}};
        struct product p = {.conv.weight = filter, .in = {x, 1, cases[c].h, cases[c].w, cases[c].in},
                            .out = {wanted, 1, h, wd, cases[c].out}, .kind = cases[c].kind};
        compute(2, run_conv, &p);
        p.conv.weight.data = s.base;
        p.conv.weight.delta = tensor_of(&s).delta;
        p.out.x = got;
        compute(2, run_conv, &p);
        check_near("convolution", got, wanted, size);
        free(w), free(x), free(wanted), free(got);
        free_sum(&s);
    }
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_the_sum),
        cmocka_unit_test(rows_are_those_of_the_sum),
        cmocka_unit_test(linears_multiply_with_the_sum),
        cmocka_unit_test(eight_bits_are_those_of_the_sum),
        cmocka_unit_test(convolutions_filter_with_the_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
