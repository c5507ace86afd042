#include "tensor/low_rank.h"

#include <string.h>

#include "tensor/gemm_kernel.h"

int64_t low_rank_rank(const struct low_rank *d)
{
    return d->down.shape[0];
}

static int64_t columns_of(const struct low_rank *d)
{
    return tensor_count(&d->down) / low_rank_rank(d);
}

void low_rank_add(const struct low_rank *d, int64_t first, int64_t count, float *out)
{
    for (; d != NULL; d = d->next) {
        int64_t K = columns_of(d), rank = low_rank_rank(d);
        for (int64_t i = 0; i < count; i++) {
            int64_t row = (first + i) / K, column = (first + i) % K;
            float sum = 0;
            for (int64_t r = 0; r < rank; r++) {
                float u, v;
                tensor_read(&d->up, row * rank + r, 1, &u);
                tensor_read(&d->down, r * K + column, 1, &v);
                sum += u * v;
            }
            out[i] += d->scale * sum;
        }
    }
}

/* ---------------------------------------------------------------------------------------------------------- rows */

/* What a step takes at most; the micro-kernels of this house have MR and NR within. */
enum { ROWS = 16, RANKS = 64, COLUMNS = 128 };

/* Ranks r .. r + ranks - 1 of one addition: the micro-kernel's product of scaled up [rows, ranks] and strips of NR
 * columns of down [ranks, NR], onto the rows that were read. */
static void add_ranks(const struct low_rank *d, int64_t first, int64_t rows, int64_t k, int64_t count, int64_t r,
                      int64_t ranks, float *out)
{
    const struct gemm_kernel *kernel = gemm_kernel();
    int64_t K = columns_of(d), rank = low_rank_rank(d), NR = kernel->NR;
    float up[ROWS * GEMM_STRIDE], down[RANKS * COLUMNS];
    for (int64_t i = 0; i < rows; i++) {
        float *row = up + i * GEMM_STRIDE;
        tensor_read(&d->up, (first + i) * rank + r, ranks, row);
        for (int64_t j = 0; j < ranks; j++)
            row[j] *= d->scale;
    }
    for (int64_t c = 0; c < count; c += NR) {
        int64_t width = smaller(NR, count - c);
        if (width < NR)
            memset(down, 0, (size_t)(ranks * NR) * sizeof *down);
        for (int64_t j = 0; j < ranks; j++)
            tensor_read(&d->down, (r + j) * K + k + c, width, down + j * NR);
        kernel->run(rows, ranks, up, GEMM_STRIDE, down, out + c, GEMM_STRIDE, GEMM_ADD, (struct gemm_after){0});
    }
}

void weight_rows(const struct tensor *weight, int64_t K, int64_t first, int64_t rows, int64_t k, int64_t count,
                 float *out)
{
    struct tensor base = *weight;
    base.delta = NULL;
    for (int64_t i = 0; i < rows; i++)
        tensor_read(&base, (first + i) * K + k, count, out + i * GEMM_STRIDE);
    int64_t MR = smaller(gemm_kernel()->MR, ROWS);
    for (const struct low_rank *d = weight->delta; d != NULL; d = d->next)
        for (int64_t r = 0; r < low_rank_rank(d); r += RANKS)
            for (int64_t i = 0; i < rows; i += MR)
                add_ranks(d, first + i, smaller(MR, rows - i), k, count, r, smaller(RANKS, low_rank_rank(d) - r),
                          out + i * GEMM_STRIDE);
}
