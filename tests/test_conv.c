/* Convolutions against the definition: an image with its border of zeros (or its enlargement) is made as a whole,
 * then each output is one sum in double. With every micro-kernel this CPU can run. */
#include "nn/conv.h"
#include "nn/winograd.h"
#include "tests/check.h"

struct problem {
    enum conv_kind kind;
    int64_t n, h, w, out_h, out_w;     /* out_h, out_w: for CONV_UP; 0: twice the input */
    int64_t channels, concat, filters; /* concat: channels of the second input, 0: none */
    enum dtype dtype;
    bool per_sample, residual, in_place, no_bias;
    bool winograd; /* by minimal filtering, which conv3x3 chooses for large ones only */
};

struct solution {
    struct problem p;
    struct features in, concat, out;
    struct random_tensor weight, bias;
    float *per_sample, *residual;
};

static int64_t output_size(enum conv_kind kind, int64_t in, int64_t up)
{
    return kind != CONV_UP ? conv_out_size(kind, in) : up > 0 ? up : 2 * in;
}

static struct solution pose(struct problem p)
{
    int64_t C = p.channels + p.concat, h = output_size(p.kind, p.h, p.out_h), w = output_size(p.kind, p.w, p.out_w);
    int64_t pixels = p.n * p.h * p.w, results = p.n * h * w * p.filters;
    return (struct solution){
        .p = p,
        .in = {some_floats(1, pixels * p.channels), p.n, p.h, p.w, p.channels},
        .concat = {some_floats(2, pixels * p.concat), p.n, p.h, p.w, p.concat},
        .out = {room(results, sizeof(float)), p.n, h, w, p.filters},
        .weight = random_tensor(3, p.dtype, 4, (int64_t[]){p.filters, C, 3, 3}),
        .bias = random_tensor(4, p.dtype, 1, (int64_t[]){p.filters}),
        .per_sample = some_floats(5, p.n * p.filters),
        .residual = some_floats(6, results),
    };
}

static void dispose(struct solution *s)
{
    free(s->in.x);
    free(s->concat.x);
    free(s->out.x);
    random_tensor_free(&s->weight);
    random_tensor_free(&s->bias);
    free(s->per_sample);
    free(s->residual);
}

static double input_at(const struct solution *s, int64_t n, int64_t y, int64_t x, int64_t c)
{
    int64_t pixel = (n * s->in.h + y) * s->in.w + x;
    return c < s->in.c ? s->in.x[pixel * s->in.c + c] : s->concat.x[pixel * s->concat.c + c - s->in.c];
}

/* The image that the window slides over: what the padding or the enlargement makes of the input. */
struct canvas {
    int64_t h, w, c;
    double *x;
};

static struct canvas canvas_of(const struct solution *s, int64_t n)
{
    const struct problem *p = &s->p;
    int64_t top = p->kind == CONV_DOWN_ASYMMETRIC ? 0 : 1;
    int64_t h = p->kind == CONV_UP ? s->out.h : p->h, w = p->kind == CONV_UP ? s->out.w : p->w;
    struct canvas k = {h + top + 1, w + top + 1, p->channels + p->concat, NULL};
    k.x = room(k.h * k.w * k.c, sizeof *k.x);
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++)
            for (int64_t c = 0; c < k.c; c++) {
                int64_t from_y = p->kind == CONV_UP ? (int64_t)floor((double)y * (double)p->h / (double)h + 1e-9) : y;
                int64_t from_x = p->kind == CONV_UP ? (int64_t)floor((double)x * (double)p->w / (double)w + 1e-9) : x;
                k.x[((y + top) * k.w + x + top) * k.c + c] = input_at(s, n, from_y, from_x, c);
            }
    return k;
}

static double *solve_slowly(const struct solution *s)
{
    const struct problem *p = &s->p;
    int64_t stride = p->kind == CONV_DOWN || p->kind == CONV_DOWN_ASYMMETRIC ? 2 : 1, N = p->filters, at = 0;
    double *out = room(features_count(s->out), sizeof *out);
    for (int64_t n = 0; n < p->n; n++) {
        struct canvas k = canvas_of(s, n);
        for (int64_t y = 0; y < s->out.h; y++)
            for (int64_t x = 0; x < s->out.w; x++)
                for (int64_t f = 0; f < N; f++, at++) {
                    double sum = p->no_bias ? 0 : s->bias.values[f];
                    for (int64_t c = 0; c < k.c; c++)
                        for (int64_t i = 0; i < 9; i++)
                            sum += s->weight.values[(f * k.c + c) * 9 + i] *
                                   k.x[((y * stride + i / 3) * k.w + x * stride + i % 3) * k.c + c];
                    out[at] =
                        sum + (p->per_sample ? s->per_sample[n * N + f] : 0) + (p->residual ? s->residual[at] : 0);
                }
        free(k.x);
    }
    return out;
}

static void run_conv(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    const struct problem *p = &s->p;
    struct conv layer = {s->weight.tensor, s->bias.tensor};
    if (p->no_bias)
        layer.bias = (struct tensor){0};
    if (p->in_place && !arena_measuring(ctx->arena))
        memcpy(s->out.x, s->residual, (size_t)features_count(s->out) * sizeof(float));
    struct conv_options options = {.concat = p->concat > 0 ? &s->concat : NULL,
                                   .per_sample = p->per_sample ? s->per_sample : NULL,
                                   .residual = p->residual ? s->residual : NULL};
    if (p->in_place)
        options.residual = s->out.x;
    if (p->winograd)
        winograd_conv(ctx, s->out, s->in, &layer, p->kind, options);
    else
        conv3x3(ctx, s->out, s->in, &layer, p->kind, options);
}

static void check_problem(struct problem p)
{
    char name[128];
    snprintf(name, sizeof name, "kind %d, %lld x %lld x %lld, %lld + %lld channels", p.kind, (long long)p.n,
             (long long)p.h, (long long)p.w, (long long)p.channels, (long long)p.concat);
    struct solution s = pose(p);
    double *wanted = solve_slowly(&s);
    compute(1, run_conv, &s);
    double rounding = 1e-6 + 1e-7 * sqrt((double)(p.channels + p.concat));
    check_close(name, s.out.x, wanted, features_count(s.out), p.winograd ? 10 * rounding : rounding);
    free(wanted);
    dispose(&s);
}

static const int64_t sizes[][2] = {{2, 2}, {2, 3}, {3, 2}, {5, 7}, {4, 4}, {8, 5}, {9, 16}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void every_kind_is_the_convolution_of_its_padding(void **state)
{
    (void)state;
    for (enum conv_kind kind = CONV_SAME; kind <= CONV_UP; kind++)
        for (int i = 0; i < SIZES; i++)
            check_problem((struct problem){kind, 2, sizes[i][0], sizes[i][1], .channels = 3, .filters = 4});
}

static void images_of_one_row_or_column_have_zeros_all_round(void **state)
{
    (void)state;
    static const int64_t thin[][2] = {{1, 1}, {1, 6}, {5, 1}};
    for (int i = 0; i < 3; i++) {
        check_problem((struct problem){CONV_SAME, 2, thin[i][0], thin[i][1], .channels = 2, .filters = 3});
        check_problem((struct problem){CONV_DOWN, 2, thin[i][0], thin[i][1], .channels = 2, .filters = 3});
        check_problem((struct problem){CONV_UP, 2, thin[i][0], thin[i][1], .channels = 2, .filters = 3});
    }
}

/* A level of odd size is halved upwards, so that the way back enlarges to one less than twice. */
static void enlarging_goes_to_the_size_that_is_asked_for(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES; i++)
        for (int64_t less = 0; less < 4; less++)
            check_problem((struct problem){CONV_UP, 1, sizes[i][0], sizes[i][1], 2 * sizes[i][0] - less % 2,
                                           2 * sizes[i][1] - less / 2, .channels = 2, .filters = 3});
}

static void a_second_input_continues_the_channels(void **state)
{
    (void)state;
    for (enum conv_kind kind = CONV_SAME; kind <= CONV_UP; kind++) {
        check_problem((struct problem){kind, 2, 5, 4, .channels = 3, .concat = 2, .filters = 4});
        check_problem((struct problem){kind, 1, 3, 3, .channels = 1, .concat = 7, .filters = 1});
    }
}

/* K = 9 C is cut into blocks of 128 channels, of the first input, of the second, of both. */
static void many_channels_are_cut_into_blocks(void **state)
{
    (void)state;
    static const int64_t channels[][2] = {{120, 0}, {127, 0}, {128, 0},  {129, 0}, {100, 27}, {100, 28}, {100, 29},
                                          {128, 7}, {7, 128}, {130, 40}, {256, 0}, {3, 300},  {300, 3}};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        check_problem((struct problem){CONV_SAME, 1, 3, 4, .channels = channels[i][0], .concat = channels[i][1],
                                       .filters = 9, .residual = true});
    check_problem((struct problem){CONV_DOWN, 1, 5, 4, .channels = 20, .concat = 120, .filters = 33, .residual = true,
                                   .in_place = true});
    check_problem((struct problem){CONV_UP, 2, 2, 3, .channels = 140, .filters = 8, .per_sample = true});
    check_problem(
        (struct problem){CONV_DOWN_ASYMMETRIC, 2, 6, 4, .channels = 130, .filters = 17, .dtype = DTYPE_F16});
}

static void many_pixels_and_filters_are_cut_into_tiles(void **state)
{
    (void)state;
    check_problem((struct problem){CONV_SAME, 3, 11, 17, .channels = 2, .filters = 3}); /* tiles across samples */
    check_problem((struct problem){CONV_SAME, 3, 11, 9, .channels = 30, .filters = 33});
    check_problem((struct problem){CONV_UP, 1, 5, 7, .channels = 4, .filters = 260});
    check_problem((struct problem){CONV_SAME, 1, 1, 2, .channels = 1, .filters = 1030});
}

static void reads_weights_in_the_format_they_are_stored_in(void **state)
{
    (void)state;
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
        check_problem((struct problem){CONV_SAME, 2, 5, 7, .channels = 6, .filters = 5, .dtype = dtype});
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
        check_problem((struct problem){CONV_SAME, 1, 3, 5, .channels = 40, .filters = 25, .dtype = dtype});
}

static void adds_bias_sample_and_residual(void **state)
{
    (void)state;
    struct problem p = {CONV_SAME, 3, 5, 4, .channels = 3, .filters = 6};
    for (int i = 0; i < 8; i++) {
        p.no_bias = i & 1;
        p.per_sample = i & 2;
        p.residual = i & 4;
        check_problem(p);
    }
    p.in_place = true;
    check_problem(p);
    check_problem(
        (struct problem){CONV_DOWN, 2, 5, 4, .channels = 3, .filters = 6, .residual = true, .in_place = true});
}

/* Tiles of 4 x 4 pixels that the image cuts off anywhere, blocks of 28 tiles, of 128 channels and of 128 filters. */
static void minimal_filtering_gives_the_same_but_for_rounding(void **state)
{
    (void)state;
    struct problem p = {.winograd = true, .n = 2, .channels = 3, .filters = 5};
    for (int i = 0; i < SIZES; i++)
        for (int up = 0; up < 2; up++) {
            p.kind = up ? CONV_UP : CONV_SAME;
            p.h = sizes[i][0];
            p.w = sizes[i][1];
            check_problem(p);
        }
    static const int64_t channels[][3] = {{1, 0, 1},    {127, 0, 9},  {128, 0, 17}, {129, 0, 33}, {100, 60, 7},
                                          {7, 128, 31}, {128, 3, 32}, {5, 0, 127},  {5, 4, 128},  {4, 3, 129}};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        check_problem((struct problem){CONV_SAME, 1, 5, 6, .channels = channels[i][0], .concat = channels[i][1],
                                       .filters = channels[i][2], .winograd = true});
    check_problem((struct problem){CONV_SAME, 3, 13, 22, .channels = 3, .filters = 2, .winograd = true});
    check_problem((struct problem){CONV_UP, 1, 5, 4, 9, 7, .channels = 3, .filters = 2, .winograd = true});
}

static void minimal_filtering_has_the_same_options(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++)
        check_problem((struct problem){CONV_SAME, 3, 5, 6, .channels = 4, .filters = 7, .no_bias = i & 1,
                                       .per_sample = i & 2, .residual = i & 4, .in_place = (i & 12) == 12,
                                       .dtype = (enum dtype)(i % 3), .winograd = true});
}

/* Rows begin .. end - 1 of the output, from a copy of just those rows of the input that their windows reach. */
struct cut {
    const struct solution *s;
    int64_t begin, end;
    struct features in, out;
    struct conv_band band;
};

static struct cut cut_out(const struct solution *s, int64_t begin, int64_t end)
{
    struct cut cut = {s, begin, end, s->in, s->out, {s->in.h, s->in.h, begin, s->out.h}};
    int64_t last = -1, row = s->in.w * s->in.c;
    for (int64_t y = begin; y < end; y++)
        for (int64_t tap = 0; tap < 3; tap++) {
            int64_t from = conv_source(s->p.kind, y, tap, s->in.h, s->out.h);
            if (from >= 0 && from < cut.band.in_first)
                cut.band.in_first = from;
            last = from > last ? from : last;
        }
    cut.in.h = last + 1 - cut.band.in_first;
    cut.in.x = room(cut.in.h * row, sizeof(float));
    memcpy(cut.in.x, s->in.x + cut.band.in_first * row, (size_t)(cut.in.h * row) * sizeof(float));
    cut.out.h = end - begin;
    cut.out.x = room(features_count(cut.out), sizeof(float));
    return cut;
}

static void run_cut(const struct context *ctx, void *arg)
{
    struct cut *cut = arg;
    const struct problem *p = &cut->s->p;
    int64_t first = cut->begin * cut->out.w * cut->out.c;
    struct conv layer = {cut->s->weight.tensor, cut->s->bias.tensor};
    struct conv_options options = {.per_sample = p->per_sample ? cut->s->per_sample : NULL,
                                   .residual = p->residual ? cut->s->residual + first : NULL,
                                   .band = &cut->band};
    if (p->winograd)
        winograd_conv(ctx, cut->out, cut->in, &layer, p->kind, options);
    else
        conv3x3(ctx, cut->out, cut->in, &layer, p->kind, options);
}

/* OpenBLAS may add in another order when it has other rows to multiply. */
static void check_same_but_for_openblas(const char *what, const float *found, const float *wanted, int64_t n)
{
    if (cpu_family() != CPU_OPENBLAS) {
        check_same(what, found, wanted, n);
        return;
    }
    double *values = room(n, sizeof *values);
    for (int64_t i = 0; i < n; i++)
        values[i] = wanted[i];
    check_close(what, found, values, n, 1e-5);
    free(values);
}

static void check_bands(struct problem p, int64_t rows)
{
    struct solution s = pose(p);
    compute(1, run_conv, &s);
    for (int64_t begin = 0; begin < s.out.h; begin += rows) {
        struct cut cut = cut_out(&s, begin, begin + rows < s.out.h ? begin + rows : s.out.h);
        compute(2, run_cut, &cut);
        check_same_but_for_openblas("a band", cut.out.x, s.out.x + begin * s.out.w * s.out.c,
                                    features_count(cut.out));
        free(cut.in.x);
        free(cut.out.x);
    }
    dispose(&s);
}

static void bands_of_an_image_are_the_rows_of_the_whole(void **state)
{
    (void)state;
    for (int64_t rows = 4; rows <= 12; rows += 4) {
        for (enum conv_kind kind = CONV_SAME; kind <= CONV_UP; kind++)
            check_bands((struct problem){kind, 1, 19, 7, .channels = 35, .filters = 33, .residual = true}, rows);
        struct problem p = {CONV_SAME,       1, 23, 14, .channels = 33, .filters = 40, .per_sample = true,
                            .winograd = true};
        check_bands(p, rows);
        p.kind = CONV_UP;
        check_bands(p, rows);
    }
}

/* None of these bands has tiles enough for minimal filtering, the image has. */
static void a_band_is_computed_as_its_image_would_be(void **state)
{
    (void)state;
    struct problem p = {CONV_SAME, 1, 21, 18, .channels = 64, .filters = 64};
    check_bands(p, 4);
    p = (struct problem){CONV_UP, 1, 9, 6, .channels = 64, .filters = 64};
    check_bands(p, 8);
}

static void check_threads(struct problem p)
{
    struct solution one = pose(p), more = pose(p);
    compute(1, run_conv, &one);
    for (int threads = 2; threads <= 7; threads += 5) {
        compute(threads, run_conv, &more);
        check_same("threads", more.out.x, one.out.x, features_count(one.out));
    }
    dispose(&one);
    dispose(&more);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct problem p = {CONV_SAME, 2, 13, 23, .channels = 25, .concat = 10, .filters = 40, .per_sample = true};
    check_threads(p);
    p.winograd = true;
    check_threads(p);
}

static void large_convolutions_are_computed_by_minimal_filtering(void **state)
{
    (void)state;
    struct problem p = {CONV_SAME, 1, 45, 46, .channels = 40, .concat = 24, .filters = 64};
    struct solution s = pose(p), minimal = pose(p);
    assert_true(winograd_wins(s.out, 64, CONV_SAME));
    assert_false(winograd_wins(s.out, 64, CONV_DOWN) || winograd_wins(s.out, 64, CONV_DOWN_ASYMMETRIC));
    minimal.p.winograd = true;
    compute(1, run_conv, &s);
    compute(1, run_conv, &minimal);
    check_same("conv3x3", s.out.x, minimal.out.x, features_count(s.out));
    dispose(&s);
    dispose(&minimal);
}

static void output_sizes_halve_up_or_down(void **state)
{
    (void)state;
    assert_int_equal(conv_out_size(CONV_SAME, 7), 7);
    assert_int_equal(conv_out_size(CONV_DOWN, 7), 4);
    assert_int_equal(conv_out_size(CONV_DOWN, 8), 4);
    assert_int_equal(conv_out_size(CONV_DOWN_ASYMMETRIC, 7), 3);
    assert_int_equal(conv_out_size(CONV_DOWN_ASYMMETRIC, 8), 4);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_the_convolution_of_its_padding),
        cmocka_unit_test(images_of_one_row_or_column_have_zeros_all_round),
        cmocka_unit_test(enlarging_goes_to_the_size_that_is_asked_for),
        cmocka_unit_test(a_second_input_continues_the_channels),
        cmocka_unit_test(many_channels_are_cut_into_blocks),
        cmocka_unit_test(many_pixels_and_filters_are_cut_into_tiles),
        cmocka_unit_test(reads_weights_in_the_format_they_are_stored_in),
        cmocka_unit_test(adds_bias_sample_and_residual),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(minimal_filtering_gives_the_same_but_for_rounding),
        cmocka_unit_test(minimal_filtering_has_the_same_options),
        cmocka_unit_test(large_convolutions_are_computed_by_minimal_filtering),
        cmocka_unit_test(bands_of_an_image_are_the_rows_of_the_whole),
        cmocka_unit_test(a_band_is_computed_as_its_image_would_be),
        cmocka_unit_test(output_sizes_halve_up_or_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
