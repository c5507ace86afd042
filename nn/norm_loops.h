/* The loops behind nn/norm_forms.h, once per instruction set: an including file defines TARGET, the attribute of
 * every function. Sums are double (a square of a float is exact in one, and the mean's square may be subtracted from
 * it); what is done to each value is float, on numbers that have the mean already taken out. */
#include <math.h>

#include "nn/norm_forms.h"

enum {
    LANES = 16,   /* independent sums of a row, so that no addition waits for the one before */
    LINE = 16,    /* floats in a cache line */
    CHUNK = 64,   /* floats between two looks ahead */
    AHEAD = 1024, /* floats. Measured: half or twice as far is no better */
};

/* Row by row, so that memory is read in order; the sums, two doubles per channel, stay in level 1 cache. So much is
 * done between two cache lines that the CPU does not fetch ahead enough by itself: told to, it is three times faster.
 */
TARGET static void column_sums(double *restrict sum, double *restrict squares, const float *restrict x, int64_t rows,
                               int64_t c)
{
    for (; rows > 0; rows--, x += c)
        for (int64_t first = 0; first < c; first += CHUNK) {
            int64_t end = first + CHUNK < c ? first + CHUNK : c;
            for (int64_t j = first; j < end; j += LINE)
                __builtin_prefetch(x + j + AHEAD);
            for (int64_t j = first; j < end; j++) {
                double value = x[j];
                sum[j] += value;
                squares[j] += value * value;
            }
        }
}

TARGET static void affine(float *restrict y, const float *restrict mean, const float *restrict scale,
                          const float *restrict shift, int64_t c)
{
    for (int64_t j = 0; j < c; j++)
        y[j] = (y[j] - mean[j]) * scale[j] + shift[j];
}

/* The mean as a float is off by `rest`: too much to ignore where the mean is large and the deviation small. */
TARGET static void layer_row(float *restrict y, const float *restrict weight, const float *restrict bias, int64_t c,
                             float eps)
{
    double sums[LANES] = {0}, squares[LANES] = {0}, sum = 0, square = 0;
    int64_t whole = c - c % LANES;
    for (int64_t j = 0; j < whole; j += LANES)
        for (int i = 0; i < LANES; i++) {
            double value = y[j + i];
            sums[i] += value;
            squares[i] += value * value;
        }
    for (int64_t j = whole; j < c; j++) {
        double value = y[j];
        sums[j - whole] += value;
        squares[j - whole] += value * value;
    }
    for (int i = 0; i < LANES; i++) {
        sum += sums[i];
        square += squares[i];
    }
    double exact = sum / (double)c, variance = square / (double)c - exact * exact;
    double inverse = 1.0 / sqrt((variance > 0 ? variance : 0) + eps);
    float mean = (float)exact, scale = (float)inverse, rest = (float)((mean - exact) * inverse);
    for (int64_t j = 0; j < c; j++)
        y[j] = ((y[j] - mean) * scale + rest) * weight[j] + bias[j];
}
