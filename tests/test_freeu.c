/* FreeU's filter against a whole discrete Fourier transform, a mask as the reference cuts it out, and the way back.
 */
#include "sdxl/unet/freeu.h"
#include "tests/check.h"

#include <complex.h>

struct problem {
    struct features hidden, skip;
    float *hidden_before, *skip_before;
    float s, b;
};

static struct problem pose(int64_t n, int64_t h, int64_t w, int64_t hidden_c, int64_t skip_c, float s, float b)
{
    int64_t hidden = n * h * w * hidden_c, skip = n * h * w * skip_c;
    return (struct problem){
        .hidden = {room(hidden, sizeof(float)), n, h, w, hidden_c},
        .skip = {room(skip, sizeof(float)), n, h, w, skip_c},
        .hidden_before = some_floats(1, hidden),
        .skip_before = some_floats(2, skip),
        .s = s,
        .b = b,
    };
}

static void dispose(struct problem *p)
{
    free(p->hidden.x);
    free(p->skip.x);
    free(p->hidden_before);
    free(p->skip_before);
}

static void run_freeu(const struct context *ctx, void *arg)
{
    struct problem *p = arg;
    memcpy(p->hidden.x, p->hidden_before, (size_t)features_count(p->hidden) * sizeof(float));
    memcpy(p->skip.x, p->skip_before, (size_t)features_count(p->skip) * sizeof(float));
    freeu_apply(ctx, p->hidden, p->skip, p->s, p->b);
}

/* Python's range(size)[from:to]: a negative end counts from the last. */
static bool in_slice(int64_t i, int64_t from, int64_t to, int64_t size)
{
    from = from < 0 ? from + size : from;
    return i >= (from < 0 ? 0 : from) && i < to;
}

/* mask[h//2 - 1 : h//2 + 1, w//2 - 1 : w//2 + 1] = s, in the order of fftshift: frequency u is at (u + h//2) mod h.
 */
static double mask(const struct problem *p, int64_t u, int64_t v)
{
    int64_t h = p->skip.h, w = p->skip.w;
    bool weakened =
        in_slice((u + h / 2) % h, h / 2 - 1, h / 2 + 1, h) && in_slice((v + w / 2) % w, w / 2 - 1, w / 2 + 1, w);
    return weakened ? (double)p->s : 1;
}

static double complex wave(const struct features *f, int64_t u, int64_t v, int64_t y, int64_t x, double sign)
{
    return cexp(sign * 2 * M_PI * I * ((double)(u * y) / (double)f->h + (double)(v * x) / (double)f->w));
}

static void filter_slowly(const struct problem *p, int64_t n, int64_t c, double *out)
{
    const struct features *f = &p->skip;
    const float *in = p->skip_before + n * f->h * f->w * f->c + c;
    for (int64_t u = 0; u < f->h; u++)
        for (int64_t v = 0; v < f->w; v++) {
            double complex coefficient = 0;
            for (int64_t y = 0; y < f->h; y++)
                for (int64_t x = 0; x < f->w; x++)
                    coefficient += in[(y * f->w + x) * f->c] * wave(f, u, v, y, x, -1);
            coefficient *= mask(p, u, v) / (double)(f->h * f->w);
            for (int64_t y = 0; y < f->h; y++)
                for (int64_t x = 0; x < f->w; x++)
                    out[((n * f->h + y) * f->w + x) * f->c + c] += creal(coefficient * wave(f, u, v, y, x, 1));
        }
}

static void check_skip(int64_t n, int64_t h, int64_t w, int64_t c, float s)
{
    char name[64];
    snprintf(name, sizeof name, "%lld x %lld", (long long)h, (long long)w);
    struct problem p = pose(n, h, w, 2, c, s, 1);
    double *wanted = room(features_count(p.skip), sizeof *wanted);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            filter_slowly(&p, i, j, wanted);
    compute(1, run_freeu, &p);
    check_close(name, p.skip.x, wanted, features_count(p.skip), 1e-6);
    free(wanted);
    dispose(&p);
}

static void skips_are_filtered_as_by_a_fourier_transform(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{2, 2}, {4, 4}, {3, 3}, {5, 7}, {4, 7}, {7, 4}, {8, 6}, {9, 2}, {2, 3}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_skip(2, sizes[i][0], sizes[i][1], 3, 0.6f);
    check_skip(1, 6, 6, 1, 0.0f);
    check_skip(1, 6, 6, 1, 1.7f);
}

/* In one row there is one frequency, not two: the waves of -1 and 0 are the same. */
static void a_single_row_or_column_is_filtered_once(void **state)
{
    (void)state;
    check_skip(1, 1, 6, 2, 0.6f);
    check_skip(1, 5, 1, 2, 0.6f);
    check_skip(2, 1, 1, 2, 0.6f);
}

static void the_first_half_of_the_channels_is_strengthened(void **state)
{
    (void)state;
    for (int64_t c = 1; c < 8; c++) {
        struct problem p = pose(2, 3, 4, c, 2, 0.5f, 1.25f);
        compute(1, run_freeu, &p);
        for (int64_t i = 0; i < features_count(p.hidden); i++)
            assert_true(p.hidden.x[i] == p.hidden_before[i] * (i % c < c / 2 ? 1.25f : 1.0f));
        dispose(&p);
    }
}

static void factors_of_one_change_nothing(void **state)
{
    (void)state;
    struct problem p = pose(2, 5, 6, 4, 3, 1, 1);
    compute(1, run_freeu, &p);
    check_same("hidden", p.hidden.x, p.hidden_before, features_count(p.hidden));
    check_same("skip", p.skip.x, p.skip_before, features_count(p.skip));
    dispose(&p);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct problem one = pose(2, 12, 11, 6, 9, 0.6f, 1.1f), more = pose(2, 12, 11, 6, 9, 0.6f, 1.1f);
    compute(1, run_freeu, &one);
    for (int threads = 2; threads <= 7; threads += 5) {
        compute(threads, run_freeu, &more);
        check_same("hidden", more.hidden.x, one.hidden.x, features_count(one.hidden));
        check_same("skip", more.skip.x, one.skip.x, features_count(one.skip));
    }
    dispose(&one);
    dispose(&more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(skips_are_filtered_as_by_a_fourier_transform),
        cmocka_unit_test(a_single_row_or_column_is_filtered_once),
        cmocka_unit_test(the_first_half_of_the_channels_is_strengthened),
        cmocka_unit_test(factors_of_one_change_nothing),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
