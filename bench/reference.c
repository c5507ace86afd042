#include "bench/reference.h"

#include <math.h>

static double activated(enum activation act, double x)
{
    switch (act) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case ACT_NONE:
    case ACT_GEGLU: break;
    }
    return x;
}

/* Channel c of an input row, whichever of the two inputs has it. */
static double input_at(const struct problem *p, int64_t row, int64_t c)
{
    int64_t own = p->c->K - p->c->concat;
    return c < own ? p->x[row * own + c] : p->concat[row * p->c->concat + c - own];
}

/* -------------------------------------------------------------------------------------------------- products */

static double linear_product(const struct problem *p, int64_t row, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < p->c->K; k++)
        sum += input_at(p, row, k) * p->weight_f32[n * p->c->K + k];
    return sum;
}

/* Rows and columns are padded by one all round; with stride 2 the window moves two at a time; upsampled, an output
 * pixel stands on a quarter of an input pixel. */
static double conv_product(const struct problem *p, int64_t row, int64_t n)
{
    const struct case_size *s = &p->size;
    enum conv_kind kind = p->c->conv;
    int64_t y = row / s->w, x = row % s->w, stride = kind == CONV_DOWN ? 2 : 1, K = p->c->K;
    int64_t virtual_h = kind == CONV_UP ? s->h : s->in_h, virtual_w = kind == CONV_UP ? s->w : s->in_w;
    double sum = 0;
    for (int64_t i = 0; i < 3; i++)
        for (int64_t j = 0; j < 3; j++) {
            int64_t at_y = y * stride + i - 1, at_x = x * stride + j - 1;
            if (at_y < 0 || at_x < 0 || at_y >= virtual_h || at_x >= virtual_w)
                continue;
            int64_t pixel = (at_y * s->in_h / virtual_h) * s->in_w + at_x * s->in_w / virtual_w;
            for (int64_t k = 0; k < K; k++)
                sum += (double)p->x[pixel * K + k] * p->weight_f32[((n * K + k) * 3 + i) * 3 + j];
        }
    return sum;
}

static double product(const struct problem *p, int64_t row, int64_t n)
{
    return p->c->kind == CASE_CONV ? conv_product(p, row, n) : linear_product(p, row, n);
}

static double layer_output(const struct problem *p, int64_t row, int64_t n)
{
    double value = product(p, row, n) + p->bias_f32[n];
    if (p->c->activation == ACT_GEGLU)
        value *= activated(ACT_GELU, product(p, row, p->c->N + n) + p->bias_f32[p->c->N + n]);
    else
        value = activated(p->c->activation, value);
    return value + (p->residual != NULL ? p->residual[row * p->c->N + n] : 0);
}

/* ------------------------------------------------------------------------------------------------- attention */

/* Row j of a set, counted within the set. */
static int64_t key_row(const struct key_set *set, int64_t j)
{
    return set->rows != NULL ? set->rows[j] : j;
}

static double score(const struct problem *p, int64_t query, int64_t head, const float *k)
{
    int64_t width = p->c->K, d = width / p->c->heads;
    double sum = 0;
    for (int64_t i = 0; i < d; i++)
        sum += (double)p->x[query * width + head * d + i] * k[head * d + i];
    return sum / sqrt((double)d);
}

/* Scores of random numbers are small: no maximum has to be taken off before exp. */
static double attention_output(const struct problem *p, int64_t query, int64_t column)
{
    int64_t width = p->c->K, head = column / (width / p->c->heads);
    double weights = 0, sum = 0;
    for (int s = 0; s < p->set_count; s++) {
        const struct key_set *set = &p->sets[s];
        int64_t seen = p->c->keys == KEYS_PAST ? query + 1 : set->n;
        for (int64_t j = 0; j < seen; j++) {
            int64_t row = key_row(set, j);
            double weight = exp(score(p, query, head, set->k + row * width));
            weights += weight;
            sum += weight * set->v[row * width + column];
        }
    }
    return sum / weights;
}

/* ----------------------------------------------------------------------------------------------------- norms */

/* Over rows first .. first + rows - 1 and channels c .. c + width - 1. */
static double normed(const struct problem *p, int64_t row, int64_t column, int64_t first, int64_t rows, int64_t c,
                     int64_t width)
{
    double sum = 0, squares = 0, count = (double)rows * (double)width;
    for (int64_t r = first; r < first + rows; r++)
        for (int64_t i = c; i < c + width; i++)
            sum += input_at(p, r, i);
    double mean = sum / count;
    for (int64_t r = first; r < first + rows; r++)
        for (int64_t i = c; i < c + width; i++)
            squares += (input_at(p, r, i) - mean) * (input_at(p, r, i) - mean);
    double value = (input_at(p, row, column) - mean) / sqrt(squares / count + (double)norm_eps);
    return activated(p->c->activation, value * p->weight_f32[column] + p->bias_f32[column]);
}

double reference_element(const struct problem *p, int64_t row, int64_t column, enum result_kind kind)
{
    int64_t width = p->c->K / NORM_GROUPS;
    switch (p->c->kind) {
    case CASE_LINEAR:
    case CASE_CONV: return kind == RESULT_PRODUCT ? product(p, row, column) : layer_output(p, row, column);
    case CASE_ATTENTION: return attention_output(p, row, column);
    case CASE_GROUP_NORM: return normed(p, row, column, 0, p->size.rows, column / width * width, width);
    case CASE_LAYER_NORM: return normed(p, row, column, row, 1, 0, p->c->K);
    }
    return 0;
}
