/* Resizing, separable and exact.
 *
 *   out[y, x] = sum_j sum_i  v_j h_i  in[y0 + j, x0 + i]  /  (sum v * sum h)
 *
 * Every weight is an integer, so sums are exact and there is one rounding, at the end: the same bytes everywhere.
 *   smaller   out pixel x covers in [x m/n, (x+1) m/n): measured in units of 1/n, the overlaps are integers, sum m
 *   larger    Catmull-Rom (Keys 1981 with a = -1/2) over four neighbours, weights in 1/4096, sum 4096
 * The surprise: Catmull-Rom has negative weights, so a sharp edge overshoots white or black and must be clamped. */
#include "storydiff/picture/image.h"

#include <stdlib.h>

enum { CUBIC_ONE = 4096, PHASE_ONE = 1 << 16 };

/* For one axis: output i reads weight[first_weight(i) .. + count - 1] against input first ... first + count - 1. */
struct taps {
    int *first, *count; /* per output */
    int *weight;        /* [outputs, most] */
    int most;
    int sum; /* of the weights of any one output */
};

static void taps_free(struct taps *taps)
{
    free(taps->first);
    free(taps->count);
    free(taps->weight);
}

/* weight <- the four Catmull-Rom weights at phase t / PHASE_ONE between the second and the third neighbour. */
static void catmull_rom(int64_t t, int weight[4])
{
    const int64_t one = PHASE_ONE, t2 = t * t / one, t3 = t2 * t / one;
    const int64_t twice[4] = {
        -t3 + 2 * t2 - t,
        3 * t3 - 5 * t2 + 2 * one,
        -3 * t3 + 4 * t2 + t,
        t3 - t2,
    };
    const int64_t unit = 2 * one / CUBIC_ONE;
    int rest = CUBIC_ONE;
    for (int i = 0; i < 4; i++) {
        weight[i] = (int)((twice[i] + (twice[i] < 0 ? -unit / 2 : unit / 2)) / unit);
        rest -= weight[i];
    }
    weight[t < one / 2 ? 1 : 2] += rest; /* what rounding lost goes to the largest */
}

static int clamp_index(int64_t i, int count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : (int)i;
}

static void taps_larger(struct taps *taps, int in, int out)
{
    for (int i = 0; i < out; i++) {
        /* centre of output i on the input axis: (i + 1/2) in / out - 1/2, as a fraction of 2 out, shifted to stay
         * positive */
        int64_t numerator = (2 * (int64_t)i + 1) * in - out + 2 * (int64_t)out;
        int64_t base = numerator / (2 * (int64_t)out) - 1;
        int64_t phase = numerator % (2 * (int64_t)out) * PHASE_ONE / (2 * (int64_t)out);
        int cubic[4];
        catmull_rom(phase, cubic);

        int first = clamp_index(base - 1, in), last = clamp_index(base + 2, in);
        int *weight = taps->weight + (size_t)i * 4;
        for (int j = 0; j < 4; j++)
            weight[clamp_index(base - 1 + j, in) - first] += cubic[j];
        taps->first[i] = first;
        taps->count[i] = last - first + 1;
    }
}

static void taps_smaller(struct taps *taps, int in, int out)
{
    for (int i = 0; i < out; i++) {
        int64_t begin = (int64_t)i * in, end = begin + in; /* in units of 1 / out input pixel */
        int first = (int)(begin / out), last = (int)((end - 1) / out);
        int *weight = taps->weight + (size_t)i * (size_t)taps->most;
        for (int j = first; j <= last; j++) {
            int64_t left = (int64_t)j * out, right = left + out;
            weight[j - first] = (int)((right < end ? right : end) - (left > begin ? left : begin));
        }
        taps->first[i] = first;
        taps->count[i] = last - first + 1;
    }
}

static status taps_new(struct taps *taps, int in, int out, struct error *e)
{
    taps->most = out > in ? 4 : in / out + 2;
    taps->sum = out > in ? CUBIC_ONE : in;
    taps->first = calloc((size_t)out, sizeof *taps->first);
    taps->count = calloc((size_t)out, sizeof *taps->count);
    taps->weight = calloc((size_t)out * (size_t)taps->most, sizeof *taps->weight);
    if (taps->first == NULL || taps->count == NULL || taps->weight == NULL)
        return fail(e, ERR_MEMORY, "no memory to resize an image");
    if (out > in)
        taps_larger(taps, in, out);
    else
        taps_smaller(taps, in, out);
    return OK;
}

/* rows: [in.height, out width, 3], horizontal sums, not yet divided. |value| <= 255 * 65535 < 2^31. */
static void resize_rows(const struct image *in, const struct taps *across, int width, int32_t *rows)
{
    for (int y = 0; y < in->height; y++) {
        const uint8_t *source = in->rgb + (size_t)y * (size_t)in->width * 3;
        int32_t *row = rows + (size_t)y * (size_t)width * 3;
        for (int x = 0; x < width; x++) {
            const uint8_t *p = source + (size_t)across->first[x] * 3;
            const int *weight = across->weight + (size_t)x * (size_t)across->most;
            int32_t r = 0, g = 0, b = 0;
            for (int i = 0; i < across->count[x]; i++, p += 3) {
                r += weight[i] * p[0];
                g += weight[i] * p[1];
                b += weight[i] * p[2];
            }
            row[x * 3] = r;
            row[x * 3 + 1] = g;
            row[x * 3 + 2] = b;
        }
    }
}

static void resize_columns(const int32_t *rows, const struct taps *down, int64_t divisor, struct image *out)
{
    const size_t stride = (size_t)out->width * 3;
    for (int y = 0; y < out->height; y++) {
        const int32_t *source = rows + (size_t)down->first[y] * stride;
        const int *weight = down->weight + (size_t)y * (size_t)down->most;
        for (size_t x = 0; x < stride; x++) {
            int64_t sum = 0;
            for (int j = 0; j < down->count[y]; j++)
                sum += (int64_t)weight[j] * source[(size_t)j * stride + x];
            int64_t value = sum < 0 ? 0 : (sum + divisor / 2) / divisor;
            out->rgb[(size_t)y * stride + x] = (uint8_t)(value > 255 ? 255 : value);
        }
    }
}

status image_resize(const struct image *image, int64_t width, int64_t height, struct image *out, struct error *e)
{
    TRY(image_new(width, height, out, e));
    struct taps across = {0}, down = {0};
    int32_t *rows = NULL;
    status s = taps_new(&across, image->width, out->width, e);
    if (s == OK)
        s = taps_new(&down, image->height, out->height, e);
    if (s == OK) {
        rows = calloc((size_t)image->height * (size_t)out->width, 3 * sizeof *rows);
        if (rows == NULL)
            s = fail(e, ERR_MEMORY, "no memory to resize an image");
    }
    if (s == OK) {
        resize_rows(image, &across, out->width, rows);
        resize_columns(rows, &down, (int64_t)across.sum * down.sum, out);
    } else {
        image_free(out);
    }
    free(rows);
    taps_free(&across);
    taps_free(&down);
    return s;
}
