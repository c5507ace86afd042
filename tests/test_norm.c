/* Normalisation against means and variances in double, with every form this CPU can run. */
#include "nn/norm.h"
#include "nn/norm_forms.h"
#include "tests/check.h"

struct problem {
    int64_t n, h, w, c, concat, groups;
    enum dtype dtype;
    enum activation activation;
    float eps, offset, spread; /* x = offset + spread * normal */
    bool in_place;
};

struct solution {
    struct problem p;
    struct features x, concat;
    struct random_tensor weight, bias;
    float *y;
};

static void spread_out(float *x, int64_t n, const struct problem *p)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = p->offset + p->spread * x[i];
}

static struct solution pose(struct problem p)
{
    p.spread = p.spread > 0 ? p.spread : 1;
    int64_t pixels = p.n * p.h * p.w, C = p.c + p.concat;
    struct solution s = {
        .p = p,
        .x = {some_floats(1, pixels * p.c), p.n, p.h, p.w, p.c},
        .concat = {some_floats(2, pixels * p.concat), p.n, p.h, p.w, p.concat},
        .weight = random_tensor(3, p.dtype, 1, (int64_t[]){C}),
        .bias = random_tensor(4, p.dtype, 1, (int64_t[]){C}),
        .y = room(pixels * C, sizeof(float)),
    };
    spread_out(s.x.x, pixels * p.c, &p);
    spread_out(s.concat.x, pixels * p.concat, &p);
    return s;
}

static void dispose(struct solution *s)
{
    free(s->x.x);
    free(s->concat.x);
    random_tensor_free(&s->weight);
    random_tensor_free(&s->bias);
    free(s->y);
}

static double input_at(const struct solution *s, int64_t row, int64_t c)
{
    return c < s->p.c ? s->x.x[row * s->p.c + c] : s->concat.x[row * s->p.concat + c - s->p.c];
}

struct block {
    int64_t first_row, rows, first_c, channels;
};

/* out = (x - mean) / sqrt(var + eps) * weight + bias over one block: a group of a sample, or a row. */
static void normalise_slowly(const struct solution *s, struct block b, double *out)
{
    double count = (double)(b.rows * b.channels), mean = 0, variance = 0;
    int64_t C = s->p.c + s->p.concat;
    for (int64_t r = b.first_row; r < b.first_row + b.rows; r++)
        for (int64_t c = b.first_c; c < b.first_c + b.channels; c++)
            mean += input_at(s, r, c) / count;
    for (int64_t r = b.first_row; r < b.first_row + b.rows; r++)
        for (int64_t c = b.first_c; c < b.first_c + b.channels; c++)
            variance += pow(input_at(s, r, c) - mean, 2) / count;
    for (int64_t r = b.first_row; r < b.first_row + b.rows; r++)
        for (int64_t c = b.first_c; c < b.first_c + b.channels; c++) {
            double y = (input_at(s, r, c) - mean) / sqrt(variance + (double)s->p.eps) * s->weight.values[c] +
                       s->bias.values[c];
            out[r * C + c] = s->p.activation == ACT_SILU ? y / (1 + exp(-y)) : y;
        }
}

static void run_group_norm(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    struct features x = s->x;
    if (s->p.in_place && !arena_measuring(ctx->arena))
        memcpy(s->y, x.x, (size_t)features_count(x) * sizeof(float));
    if (s->p.in_place)
        x.x = s->y;
    struct norm layer = {s->weight.tensor, s->bias.tensor};
    group_norm(ctx, s->y, x, s->p.concat > 0 ? &s->concat : NULL, &layer, s->p.groups, s->p.eps, s->p.activation);
}

static void run_layer_norm(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    int64_t rows = features_rows(s->x);
    struct norm layer = {s->weight.tensor, s->bias.tensor};
    if (s->p.in_place && !arena_measuring(ctx->arena))
        memcpy(s->y, s->x.x, (size_t)(rows * s->p.c) * sizeof(float));
    layer_norm(ctx, s->y, s->p.in_place ? s->y : s->x.x, rows, s->p.c, &layer, s->p.eps);
}

static void check_group_norm(struct problem p, double tolerance)
{
    struct solution s = pose(p);
    int64_t C = p.c + p.concat, pixels = p.h * p.w, width = C / p.groups;
    double *wanted = room(p.n * pixels * C, sizeof *wanted);
    for (int64_t i = 0; i < p.n; i++)
        for (int64_t g = 0; g < p.groups; g++)
            normalise_slowly(&s, (struct block){i * pixels, pixels, g * width, width}, wanted);
    compute(1, run_group_norm, &s);
    check_close("group norm", s.y, wanted, p.n * pixels * C, tolerance);
    free(wanted);
    dispose(&s);
}

static void check_layer_norm(struct problem p, double tolerance)
{
    struct solution s = pose(p);
    int64_t rows = features_rows(s.x);
    double *wanted = room(rows * p.c, sizeof *wanted);
    for (int64_t r = 0; r < rows; r++)
        normalise_slowly(&s, (struct block){r, 1, 0, p.c}, wanted);
    compute(1, run_layer_norm, &s);
    check_close("layer norm", s.y, wanted, rows * p.c, tolerance);
    free(wanted);
    dispose(&s);
}

static void normalises_each_group_of_each_sample(void **state)
{
    (void)state;
    static const int64_t shapes[][5] = {/* n, h, w, c, groups */
                                        {1, 1, 1, 4, 2},      {2, 3, 5, 12, 4},  {3, 1, 7, 8, 8},  {2, 4, 4, 6, 1},
                                        {1, 20, 30, 64, 32},  {1, 1, 1, 64, 32}, {3, 5, 7, 65, 5}, {2, 9, 3, 133, 19},
                                        {1, 40, 50, 320, 32}, {2, 3, 3, 1290, 6}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_group_norm(
            (struct problem){shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], 0, shapes[i][4], .eps = 1e-5f},
            1e-6);
}

/* 10 + 6 channels in groups of 4: the third group has two channels of each input. */
static void a_group_may_span_both_inputs(void **state)
{
    (void)state;
    check_group_norm((struct problem){2, 3, 5, 10, 6, 4, .eps = 1e-5f}, 1e-6);
    check_group_norm((struct problem){2, 3, 5, 1, 15, 2, .eps = 1e-5f}, 1e-6);
    check_group_norm((struct problem){2, 3, 5, 15, 1, 1, .eps = 1e-5f, .activation = ACT_SILU}, 1e-6);
    check_group_norm((struct problem){2, 13, 5, 70, 26, 12, .eps = 1e-5f}, 1e-6);
    check_group_norm((struct problem){1, 13, 5, 640, 320, 32, .eps = 1e-5f, .activation = ACT_SILU}, 1e-6);
    check_group_norm((struct problem){3, 7, 5, 1, 64, 5, .eps = 1e-5f, .activation = ACT_SILU}, 1e-6);
}

static void reads_weights_in_the_format_they_are_stored_in(void **state)
{
    (void)state;
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        check_group_norm((struct problem){2, 3, 5, 8, 0, 2, .dtype = dtype, .eps = 1e-5f}, 1e-6);
        check_layer_norm((struct problem){2, 3, 5, 8, 0, 1, .dtype = dtype, .eps = 1e-5f}, 1e-6);
        check_group_norm((struct problem){2, 3, 5, 80, 0, 2, .dtype = dtype, .eps = 1e-5f}, 1e-6);
        check_layer_norm((struct problem){2, 3, 5, 80, 0, 1, .dtype = dtype, .eps = 1e-5f}, 1e-6);
    }
}

/* With features of variance 1e-6 the results for an eps of 1e-5 and of 1e-6 differ by a factor of two. */
static void eps_is_added_to_the_variance(void **state)
{
    (void)state;
    for (float eps = 1e-8f; eps < 1; eps *= 10) {
        check_group_norm((struct problem){2, 4, 4, 8, 0, 2, .eps = eps, .spread = 1e-3f}, 1e-6);
        check_layer_norm((struct problem){2, 4, 4, 8, 0, 1, .eps = eps, .spread = 1e-3f}, 1e-6);
        check_group_norm((struct problem){2, 4, 4, 96, 0, 3, .eps = eps, .spread = 1e-3f}, 1e-6);
        check_layer_norm((struct problem){2, 4, 4, 96, 0, 1, .eps = eps, .spread = 1e-3f}, 1e-6);
    }
}

/* Deviations of 1 from a mean of 10000, of which float32 keeps a thousandth: they are taken as they are stored, and
 * what is computed from them is as exact as with a mean of 0. */
static void a_large_mean_does_not_drown_the_variance(void **state)
{
    (void)state;
    static const int64_t widths[] = {4, 8, 16, 60, 64, 68, 96, 320};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        check_group_norm((struct problem){2, 8, 8, widths[i], 0, 4, .eps = 1e-5f, .offset = 1e4f}, 1e-6);
        check_layer_norm((struct problem){2, 4, 4, widths[i], 0, 1, .eps = 1e-5f, .offset = 1e4f}, 1e-6);
    }
}

static void check_constant(int64_t c)
{
    struct solution s = pose((struct problem){1, 4, 4, c, 0, 2, .eps = 1e-5f});
    double *wanted = room(16 * c, sizeof *wanted);
    for (int64_t i = 0; i < 16 * c; i++) {
        s.x.x[i] = 3;
        wanted[i] = s.bias.values[i % c];
    }
    compute(1, run_group_norm, &s);
    check_close("group norm", s.y, wanted, 16 * c, 1e-4); /* 3 * scale + shift, where scale is 316: 3e-5 */
    compute(1, run_layer_norm, &s);
    check_close("layer norm", s.y, wanted, 16 * c, 1e-6);
    free(wanted);
    dispose(&s);
}

static void constant_features_become_the_bias(void **state)
{
    (void)state;
    check_constant(8);
    check_constant(70);
}

static void the_input_may_be_the_output(void **state)
{
    (void)state;
    check_group_norm((struct problem){2, 3, 5, 8, 0, 2, .eps = 1e-5f, .activation = ACT_SILU, .in_place = true},
                     1e-6);
    check_layer_norm((struct problem){2, 3, 5, 8, 0, 1, .eps = 1e-5f, .in_place = true}, 1e-6);
    check_group_norm((struct problem){2, 3, 5, 72, 0, 2, .eps = 1e-5f, .activation = ACT_SILU, .in_place = true},
                     1e-6);
    check_layer_norm((struct problem){2, 3, 5, 77, 0, 1, .eps = 1e-5f, .in_place = true}, 1e-6);
}

static void normalises_each_row(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 2, 7, 63, 64, 65, 79, 320, 1280};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        check_layer_norm((struct problem){1, 3, 11, widths[i], 0, 1, .eps = 1e-5f}, 1e-6);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    static const int64_t parts[][2] = {{24, 8}, {70, 26}};
    for (int w = 0; w < 2; w++) {
        struct problem p = {2, 40, 33, parts[w][0], parts[w][1], 4, .eps = 1e-6f, .activation = ACT_SILU};
        struct solution one = pose(p), more = pose(p);
        int64_t rows = features_rows(one.x), counts[] = {rows * (p.c + p.concat), rows * p.c};
        void (*const runs[])(const struct context *, void *) = {run_group_norm, run_layer_norm};
        for (int i = 0; i < 2; i++) {
            compute(1, runs[i], &one);
            compute(2, runs[i], &more);
            check_same("2 threads", more.y, one.y, counts[i]);
            compute(7, runs[i], &more);
            check_same("7 threads", more.y, one.y, counts[i]);
        }
        dispose(&one);
        dispose(&more);
    }
}

struct banded {
    struct solution s;
    int64_t rows; /* of a band */
};

static struct features rows_of(struct features f, int64_t begin, int64_t end)
{
    f.x += begin * f.w * f.c;
    f.h = end - begin;
    return f;
}

/* Counts bands in from the last to the first, then normalises them. */
static void run_banded(const struct context *ctx, void *arg)
{
    const struct banded *b = arg;
    const struct problem *p = &b->s.p;
    size_t mark = arena_mark(ctx->arena);
    int64_t h = p->h, C = p->c + p->concat, bands = (h + b->rows - 1) / b->rows;
    struct norm layer = {b->s.weight.tensor, b->s.bias.tensor};
    struct group_statistics g =
        group_statistics_new(ctx, &layer, p->groups, p->eps, (struct features){NULL, 1, h, p->w, C});
    for (int64_t i = bands; i-- > 0;) {
        int64_t begin = i * b->rows, end = begin + b->rows < h ? begin + b->rows : h;
        struct features second = rows_of(b->s.concat, begin, end);
        group_statistics_add(ctx, &g, rows_of(b->s.x, begin, end), p->concat > 0 ? &second : NULL, begin);
    }
    group_statistics_finish(ctx, &g);
    for (int64_t begin = 0; begin < h; begin += b->rows) {
        int64_t end = begin + b->rows < h ? begin + b->rows : h;
        struct features second = rows_of(b->s.concat, begin, end);
        group_norm_apply(ctx, &g, b->s.y + begin * p->w * C, rows_of(b->s.x, begin, end),
                         p->concat > 0 ? &second : NULL, p->activation);
    }
    arena_release(ctx->arena, mark);
}

/* Widths whose blocks of statistics are one, two and four rows. */
static void bands_of_an_image_are_the_rows_of_the_whole(void **state)
{
    (void)state;
    static const int64_t shapes[][4] = {/* h, w, c, concat */ {9, 520, 64, 0},
                                        {23, 260, 64, 0},
                                        {31, 17, 65, 0},
                                        {13, 110, 100, 60},
                                        {9, 1030, 16, 16},
                                        {3, 5, 64, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int64_t rows = 4; rows <= 16; rows *= 2) {
            const int64_t *shape = shapes[i], C = shape[2] + shape[3];
            struct problem p = {1,        shape[0],         shape[1],     shape[2],
                                shape[3], C == 65 ? 5 : 32, .eps = 1e-6f, .activation = ACT_SILU};
            struct solution whole = pose(p);
            struct banded banded = {pose(p), rows};
            compute(1, run_group_norm, &whole);
            compute(3, run_banded, &banded);
            check_same("bands", banded.s.y, whole.y, features_rows(whole.x) * C);
            dispose(&whole);
            dispose(&banded.s);
        }
}

/* Every length that a register can be cut into, at an odd place in memory. */
static void every_form_gives_the_same_bytes(void **state)
{
    (void)state;
    enum { ROWS = 3, MOST = 150 };
    const struct norm_form *portable = norm_form(CPU_PORTABLE), *form = norm_form(cpu_family());
    float *x = some_floats(1, ROWS * MOST + 1), *weights = some_floats(2, 3 * MOST);
    float a[MOST + 1], b[MOST + 1];
    for (int64_t c = 1; c <= MOST; c++) {
        double sums[2][2 * MOST] = {{0}};
        portable->column_sums(sums[0], sums[0] + c, x + 1, ROWS, c);
        form->column_sums(sums[1], sums[1] + c, x + 1, ROWS, c);
        assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
        memcpy(a, x, sizeof a);
        memcpy(b, x, sizeof b);
        portable->affine(a + 1, weights, weights + c, weights + 2 * c, c);
        form->affine(b + 1, weights, weights + c, weights + 2 * c, c);
        check_same("affine", b, a, MOST + 1);
        portable->layer_row(a + 1, weights, weights + c, c, 1e-5f);
        form->layer_row(b + 1, weights, weights + c, c, 1e-5f);
        check_same("layer_row", b, a, MOST + 1);
    }
    free(x);
    free(weights);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalises_each_group_of_each_sample),
        cmocka_unit_test(a_group_may_span_both_inputs),
        cmocka_unit_test(reads_weights_in_the_format_they_are_stored_in),
        cmocka_unit_test(eps_is_added_to_the_variance),
        cmocka_unit_test(a_large_mean_does_not_drown_the_variance),
        cmocka_unit_test(constant_features_become_the_bias),
        cmocka_unit_test(the_input_may_be_the_output),
        cmocka_unit_test(normalises_each_row),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(bands_of_an_image_are_the_rows_of_the_whole),
        cmocka_unit_test(every_form_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
