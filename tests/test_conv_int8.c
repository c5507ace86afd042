/* Convolutions in 8-bit integers, against their definition written once more, slowly: every pixel of the input has
 * one scale and one zero for each 320 of its channels, every filter one scale for as many, all taps; sums are exact
 * within a tap of such a block. Not what float32 gives, but these very bits. */
#include "nn/conv_int8.h"
#include "tensor/int8_kernel.h"
#include "tensor/low_rank.h"
#include "tests/check.h"

struct problem {
    int64_t n, h, w, channels, concat, filters;
    enum dtype dtype;
    bool bias, per_sample, residual, in_place;
};

struct solution {
    struct problem p;
    struct features in, concat, out;
    struct random_tensor weight, bias;
    float *per_sample, *residual;
};

/* Values as after a SiLU, from which no zero in the middle could be told; the first ones have both signs. */
static float *some_pixels(uint64_t seed, int64_t n)
{
    float *x = some_floats(seed, n);
    for (int64_t i = 40; i < n; i++)
        x[i] = x[i] / (1 + expf(-x[i]));
    return x;
}

static struct solution pose(struct problem p)
{
    int64_t C = p.channels + p.concat, pixels = p.n * p.h * p.w;
    return (struct solution){
        .p = p,
        .in = {some_pixels(1, pixels * p.channels), p.n, p.h, p.w, p.channels},
        .concat = {some_pixels(2, pixels * p.concat), p.n, p.h, p.w, p.concat},
        .out = {room(pixels * p.filters, sizeof(float)), p.n, p.h, p.w, p.filters},
        .weight = random_tensor(3, p.dtype, 4, (int64_t[]){p.filters, C, 3, 3}),
        .bias = random_tensor(4, p.dtype, 1, (int64_t[]){p.filters}),
        .per_sample = some_floats(5, p.n * p.filters),
        .residual = some_floats(6, pixels * p.filters),
    };
}

static void dispose(struct solution *s)
{
    free(s->in.x), free(s->concat.x), free(s->out.x), free(s->per_sample), free(s->residual);
    random_tensor_free(&s->weight);
    random_tensor_free(&s->bias);
}

static float value(const struct solution *s, int64_t pixel, int64_t c)
{
    return c < s->in.c ? s->in.x[pixel * s->in.c + c] : s->concat.x[pixel * s->concat.c + c - s->in.c];
}

static int nearest(float x, float steps, float range)
{
    return range > 0x1p-100f ? (int)nearbyintf(x * (steps / range)) : 0;
}

/* All pixels and all filters as integers, with their scales. */
struct integers {
    int64_t C, blocks;
    int *pixels;          /* [pixels, C] */
    float *scales;        /* [pixels, blocks] */
    int *filters;         /* [filters, C, 9] */
    float *filter_scales; /* [filters, blocks] */
};

static struct integers round_all(const struct solution *s)
{
    int64_t C = s->in.c + s->concat.c, blocks = (C + INT8_BLOCK - 1) / INT8_BLOCK, pixels = features_rows(s->in);
    float levels = (float)int8_kernel()->levels;
    struct integers all = {C,
                           blocks,
                           room(pixels * C, sizeof(int)),
                           room(pixels * blocks, sizeof(float)),
                           room(s->out.c * C * 9, sizeof(int)),
                           room(s->out.c * blocks, sizeof(float))};
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * INT8_BLOCK, end = smaller(first + INT8_BLOCK, C);
        for (int64_t i = 0; i < pixels; i++) {
            float above = 0, below = 0;
            for (int64_t c = first; c < end; c++) {
                above = fmaxf(above, value(s, i, c));
                below = fmaxf(below, -value(s, i, c));
            }
            for (int64_t c = first; c < end; c++)
                all.pixels[i * C + c] = nearest(value(s, i, c), levels, above + below);
            all.scales[i * blocks + b] = (above + below) / levels;
        }
        for (int64_t n = 0; n < s->out.c; n++) {
            const float *w = s->weight.values + n * C * 9;
            float largest = 0;
            for (int64_t k = first * 9; k < end * 9; k++)
                largest = fmaxf(largest, fabsf(w[k]));
            for (int64_t k = first * 9; k < end * 9; k++)
                all.filters[n * C * 9 + k] = nearest(w[k], 127, largest);
            all.filter_scales[n * blocks + b] = largest / 127;
        }
    }
    return all;
}

static void integers_free(struct integers *all)
{
    free(all->pixels), free(all->scales), free(all->filters), free(all->filter_scales);
}

/* One block of channels of one output value. */
static float block_sum(const struct solution *s, const struct integers *all, int64_t pixel, int64_t n, int64_t b)
{
    int64_t x = pixel % s->in.w, y = pixel / s->in.w % s->in.h;
    float sum = 0;
    for (int tap = 0; tap < 9; tap++) {
        int64_t to_x = x + tap % 3 - 1, to_y = y + tap / 3 - 1, exact = 0;
        if (to_x < 0 || to_x >= s->in.w || to_y < 0 || to_y >= s->in.h)
            continue;
        int64_t from = pixel + (to_y - y) * s->in.w + to_x - x;
        for (int64_t c = b * INT8_BLOCK; c < smaller((b + 1) * INT8_BLOCK, all->C); c++)
            exact += (int64_t)all->pixels[from * all->C + c] * all->filters[(n * all->C + c) * 9 + tap];
        sum = fmaf((float)exact * all->filter_scales[n * all->blocks + b], all->scales[from * all->blocks + b], sum);
    }
    return sum;
}

/* The caller frees. */
static float *solve_slowly(const struct solution *s)
{
    struct integers all = round_all(s);
    int64_t N = s->out.c, pixels = features_rows(s->out);
    float *wanted = room(pixels * N, sizeof *wanted);
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t n = 0; n < N; n++) {
            float *to = &wanted[i * N + n];
            for (int64_t b = 0; b < all.blocks; b++) {
                float sum = block_sum(s, &all, i, n, b);
                if (b == 0 && s->p.bias)
                    sum += s->bias.values[n];
                if (b == 0 && s->p.per_sample)
                    sum += s->per_sample[i / (s->out.h * s->out.w) * N + n];
                if (b > 0)
                    sum += *to;
                else if (s->p.residual)
                    sum += s->residual[i * N + n];
                *to = sum;
            }
        }
    integers_free(&all);
    return wanted;
}

static void run(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    const struct problem *p = &s->p;
    struct conv layer = {s->weight.tensor, p->bias ? s->bias.tensor : (struct tensor){0}};
    if (p->in_place && !arena_measuring(ctx->arena))
        memcpy(s->out.x, s->residual, (size_t)features_count(s->out) * sizeof(float));
    conv_int8(ctx, s->out, s->in, &layer,
              (struct conv_options){.concat = p->concat > 0 ? &s->concat : NULL,
                                    .per_sample = p->per_sample ? s->per_sample : NULL,
                                    .residual = p->in_place   ? s->out.x
                                                : p->residual ? s->residual
                                                              : NULL});
}

static void check_problem(struct problem p)
{
    char name[120];
    snprintf(name, sizeof name, "%lld x %lld x %lld, %lld + %lld channels to %lld", (long long)p.n, (long long)p.h,
             (long long)p.w, (long long)p.channels, (long long)p.concat, (long long)p.filters);
    struct solution s = pose(p);
    float *wanted = solve_slowly(&s);
    compute(2, run, &s);
    check_same(name, s.out.x, wanted, features_count(s.out));
    free(wanted);
    dispose(&s);
}

/* Tiles of 4 and 8 pixels of a line, lines of a group, several images. */
static void images_of_any_size_have_zeros_all_round(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {1, 1, 5}, {2, 6, 1},  {1, 2, 4},  {3, 3, 7},
                                       {1, 5, 8}, {2, 4, 9}, {1, 9, 17}, {1, 3, 65}, {1, 1, 130}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_problem((struct problem){sizes[i][0], sizes[i][1], sizes[i][2], .channels = 5, .filters = 9});
}

/* Blocks of 320 channels, of the first input, of the second, of both; strips of 8, 16 and 32, few and many. */
static void channels_are_cut_into_blocks(void **state)
{
    (void)state;
    static const int64_t channels[][3] = {{1, 0, 1},     {4, 0, 7},      {319, 0, 8},  {320, 0, 15}, {321, 0, 16},
                                          {300, 40, 17}, {320, 320, 31}, {640, 3, 32}, {3, 640, 33}, {10, 2, 600}};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        check_problem((struct problem){1, 3, 4, channels[i][0], channels[i][1], channels[i][2], .bias = true});
}

static void filters_are_read_in_the_format_they_are_stored_in(void **state)
{
    (void)state;
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
        check_problem((struct problem){1, 4, 5, .channels = 330, .filters = 20, .dtype = dtype});
}

static void bias_sample_and_residual_are_added_once(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        bool residual = i & 4;
        check_problem((struct problem){3, 3, 4, .channels = 324, .filters = 11, .bias = i & 1, .per_sample = i & 2,
                                       .residual = residual, .in_place = residual && (i & 8)});
    }
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    for (int64_t filters = 40; filters <= 640; filters += 600) { /* few strips and many */
        struct problem p = {2, 13, 23, .channels = 330, .filters = filters, .dtype = DTYPE_F16, .per_sample = true};
        struct solution one = pose(p), more = pose(p);
        compute(1, run, &one);
        for (int threads = 2; threads <= 7; threads += 5) {
            compute(threads, run, &more);
            check_same("threads", more.out.x, one.out.x, features_count(one.out));
        }
        dispose(&one);
        dispose(&more);
    }
}

/* The largest values everywhere: no sum may overflow, and a float must hold it. */
static void the_largest_sums_fit(void **state)
{
    (void)state;
    struct solution s = pose((struct problem){1, 3, 3, .channels = 320, .filters = 33});
    for (int64_t i = 0; i < features_count(s.in); i++)
        s.in.x[i] = 3;
    for (int64_t i = 0; i < 33 * 320 * 9; i++)
        s.weight.values[i] = ((float *)s.weight.tensor.data)[i] = i % 2 == 0 ? 2 : -2;
    float *wanted = solve_slowly(&s);
    compute(1, run, &s);
    check_same("the largest", s.out.x, wanted, features_count(s.out));
    free(wanted);
    dispose(&s);
}

static void a_nan_is_not_lost_and_spoils_its_neighbourhood_alone(void **state)
{
    (void)state;
    struct problem p = {1, 5, 5, .channels = 12, .filters = 9};
    struct solution s = pose(p), spoilt = pose(p);
    spoilt.in.x[(1 * 5 + 1) * 12 + 7] = NAN;
    compute(1, run, &s);
    compute(1, run, &spoilt);
    for (int64_t i = 0; i < 25; i++)
        for (int64_t n = 0; n < 9; n++)
            if (i / 5 <= 2 && i % 5 <= 2)
                assert_false(isfinite(spoilt.out.x[i * 9 + n]));
            else
                check_same("far away", spoilt.out.x + i * 9 + n, s.out.x + i * 9 + n, 1);
    dispose(&s);
    dispose(&spoilt);
}

static void a_nan_in_a_filter_spoils_its_channel_alone(void **state)
{
    (void)state;
    struct problem p = {1, 5, 5, .channels = 12, .filters = 9};
    static const float values[] = {INFINITY, -INFINITY, NAN, -NAN};
    for (int k = 0; k < 4; k++) {
        struct solution s = pose(p), spoilt = pose(p);
        ((float *)spoilt.weight.tensor.data)[4 * 12 * 9 + 50] = values[k];
        compute(1, run, &s);
        compute(1, run, &spoilt);
        for (int64_t i = 0; i < 25; i++) {
            check_same("channels before", spoilt.out.x + i * 9, s.out.x + i * 9, 4);
            check_same("channels after", spoilt.out.x + i * 9 + 5, s.out.x + i * 9 + 5, 4);
            assert_false(isfinite(spoilt.out.x[i * 9 + 4]));
        }
        dispose(&s);
        dispose(&spoilt);
    }
}

/* A LoRA on a convolution: the filters are the sum, as if it had been merged, up to a rounding that may take a value
 * to the next integer. */
static void what_is_added_to_filters_counts(void **state)
{
    (void)state;
    enum { RANK = 3, N = 37, C = 330 };
    struct problem p = {1, 4, 5, .channels = C, .filters = N};
    struct solution merged = pose(p), added = pose(p);
    struct random_tensor up = random_tensor(7, DTYPE_F32, 4, (int64_t[]){N, RANK, 1, 1});
    struct random_tensor down = random_tensor(8, DTYPE_F32, 4, (int64_t[]){RANK, C, 3, 3});
    struct low_rank delta = {up.tensor, down.tensor, 0.5f, NULL};
    added.weight.tensor.delta = &delta;
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < C * 9; k++)
            for (int r = 0; r < RANK; r++)
                ((float *)merged.weight.tensor.data)[n * C * 9 + k] +=
                    0.5f * up.values[n * RANK + r] * down.values[r * C * 9 + k];
    compute(1, run, &merged);
    compute(2, run, &added);
    double *wanted = room(features_count(merged.out), sizeof *wanted);
    for (int64_t i = 0; i < features_count(merged.out); i++)
        wanted[i] = merged.out.x[i];
    check_close("LoRA", added.out.x, wanted, features_count(merged.out), 1e-3);
    free(wanted);
    random_tensor_free(&up);
    random_tensor_free(&down);
    dispose(&merged);
    dispose(&added);
}

/* ------------------------------------------------------------------------------------------------------ precision */

static void run_conv3x3(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    struct context own = *ctx;
    own.precision = s->p.in_place ? PRECISION_INT8 : PRECISION_FLOAT32;
    conv3x3(&own, s->out, s->in, &(struct conv){s->weight.tensor, {0}}, CONV_SAME, (struct conv_options){0});
}

/* What a SiLU leaves is between -0.28 and about 3, 0.6 in its root mean square; the largest of 320 * 9 weights is
 * about 3.5: rounding to steps d is off by d / sqrt 12. */
static void a_layer_is_off_by_what_its_bits_explain(void **state)
{
    (void)state;
    struct problem p = {1, 8, 9, .channels = 320, .filters = 320, .dtype = DTYPE_F16};
    struct solution exact = pose(p), rounded = pose(p);
    double expected = hypot(3.5 / 127, 3.2 / int8_kernel()->levels / 0.6) / sqrt(12), off = 0, all = 0;
    compute(1, run_conv3x3, &exact);
    compute(1, run, &rounded);
    for (int64_t i = 0; i < features_count(exact.out); i++) {
        off += (rounded.out.x[i] - exact.out.x[i]) * (rounded.out.x[i] - exact.out.x[i]);
        all += exact.out.x[i] * exact.out.x[i];
    }
    assert_true(sqrt(off / all) > 0.7 * expected && sqrt(off / all) < 1.3 * expected);
    dispose(&exact);
    dispose(&rounded);
}

static void wide_layers_are_computed_so_where_bytes_are_fast(void **state)
{
    (void)state;
    bool fast = cpu_bytes() == CPU_BYTES_AVX512_VNNI || cpu_bytes() == CPU_BYTES_AVX_VNNI;
    for (int64_t filters = 300; filters <= 330; filters += 30) {
        struct problem p = {1, 8, 9, .channels = 320, .filters = filters, .dtype = DTYPE_F16};
        struct solution asked = pose(p), exact = pose(p), rounded = pose(p);
        asked.p.in_place = true;
        compute(1, run_conv3x3, &asked);
        compute(1, run_conv3x3, &exact);
        compute(1, run, &rounded);
        check_same("conv3x3", asked.out.x, fast && filters >= 320 ? rounded.out.x : exact.out.x,
                   features_count(asked.out));
        dispose(&asked), dispose(&exact), dispose(&rounded);
    }
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_of_any_size_have_zeros_all_round),
        cmocka_unit_test(channels_are_cut_into_blocks),
        cmocka_unit_test(filters_are_read_in_the_format_they_are_stored_in),
        cmocka_unit_test(bias_sample_and_residual_are_added_once),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(the_largest_sums_fit),
        cmocka_unit_test(a_nan_is_not_lost_and_spoils_its_neighbourhood_alone),
        cmocka_unit_test(a_nan_in_a_filter_spoils_its_channel_alone),
        cmocka_unit_test(what_is_added_to_filters_counts),
        cmocka_unit_test(a_layer_is_off_by_what_its_bits_explain),
        cmocka_unit_test(wide_layers_are_computed_so_where_bytes_are_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
