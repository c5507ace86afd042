#include "bench/problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/reference.h"
#include "nn/linear.h"
#include "tensor/int8_kernel.h"
#include "tensor/rng.h"

/* ---------------------------------------------------------------------------------------------------- making it */

/* A block of normal numbers, repeated: a picture of a million pixels would else take minutes to fill. Its length is
 * prime, so that no two rows of a power of two are the same. */
enum { PERIOD = 65521 };

struct maker {
    float normal[PERIOD];
    uint16_t halves[PERIOD];
    int64_t next; /* each array begins elsewhere */
    bool failed;  /* out of memory */
};

static void *room(struct maker *m, int64_t count, size_t size)
{
    void *memory = malloc(((size_t)count + 1) * size);
    m->failed = m->failed || memory == NULL;
    return memory;
}

static float *random_floats(struct maker *m, int64_t count)
{
    float *x = room(m, count, sizeof *x);
    m->next = (m->next + 12345) % PERIOD;
    for (int64_t i = 0; i < count && x != NULL; i++)
        x[i] = m->normal[(m->next + i) % PERIOD];
    return x;
}

/* offset + scale * normal, as halves and as the floats that these halves are. */
static void random_weight(struct maker *m, struct tensor *t, float **f32, int rank, const int64_t *shape,
                          double offset, double scale)
{
    *t = (struct tensor){.dtype = DTYPE_F16, .rank = rank};
    memcpy(t->shape, shape, (size_t)rank * sizeof *shape);
    int64_t count = tensor_count(t);
    uint16_t *halves = room(m, count, sizeof *halves);
    t->data = halves;
    *f32 = room(m, count, sizeof **f32);
    m->next = (m->next + 12345) % PERIOD;
    for (int64_t i = 0; i < PERIOD; i++)
        m->halves[i] = f32_to_f16((float)(offset + scale * m->normal[i]));
    for (int64_t i = 0; i < count && halves != NULL && *f32 != NULL; i++) {
        halves[i] = m->halves[(m->next + i) % PERIOD];
        (*f32)[i] = f16_to_f32(halves[i]);
    }
}

static void make_weights(struct problem *p, struct maker *m)
{
    const struct bench_case *c = p->c;
    int64_t rows = c->activation == ACT_GEGLU ? 2 * c->N : c->N;
    switch (c->kind) {
    case CASE_LINEAR:
        random_weight(m, &p->weight, &p->weight_f32, 2, (int64_t[]){rows, c->K}, 0, 1 / sqrt((double)c->K));
        random_weight(m, &p->bias, &p->bias_f32, 1, &rows, 0, 1);
        break;
    case CASE_CONV:
        random_weight(m, &p->weight, &p->weight_f32, 4, (int64_t[]){rows, c->K, 3, 3}, 0,
                      1 / sqrt(9.0 * (double)c->K));
        random_weight(m, &p->bias, &p->bias_f32, 1, &rows, 0, 1);
        break;
    case CASE_GROUP_NORM:
    case CASE_LAYER_NORM:
        random_weight(m, &p->weight, &p->weight_f32, 1, &c->K, 1, 0.1);
        random_weight(m, &p->bias, &p->bias_f32, 1, &c->K, 0, 0.1);
        break;
    case CASE_ATTENTION: break;
    }
}

/* `count` of the rows 0 .. total - 1, ascending (Knuth, TAOCP 2, 3.4.2, algorithm S). */
static void choose(struct mt19937 *mt, int64_t total, int64_t count, int32_t *rows)
{
    for (int64_t row = 0; row < total && count > 0; row++)
        if ((int64_t)(mt19937_next(mt) % (uint64_t)(total - row)) < count) {
            *rows++ = (int32_t)row;
            count--;
        }
}

static void make_keys(struct problem *p, struct maker *m)
{
    int64_t width = p->c->K, rows = p->size.rows, sampled = rows / 2;
    bool lists = p->c->keys == KEYS_WRITE_PASS || p->c->keys == KEYS_READ_PASS;
    int64_t first = p->c->keys == KEYS_TEXT ? p->size.keys : rows, more = lists ? sampled : rows;
    p->set_count = 1 + (int)((p->size.keys - first) / more);
    p->k = random_floats(m, p->set_count * first * width);
    p->v = random_floats(m, p->set_count * first * width);
    p->chosen = room(m, p->set_count * rows, sizeof *p->chosen);
    if (m->failed)
        return;
    struct mt19937 mt;
    mt19937_seed(&mt, 1);
    for (int i = 0; i < p->set_count; i++) {
        int32_t *list = lists && i > 0 ? p->chosen + i * rows : NULL;
        if (list != NULL)
            choose(&mt, rows, sampled, list);
        p->sets[i] = (struct key_set){p->k + i * first * width, p->v + i * first * width, list, i > 0 ? more : first};
    }
}

static void make(struct problem *p, struct maker *m)
{
    const struct bench_case *c = p->c;
    struct torch_rng rng;
    torch_seed(&rng, 1);
    torch_randn(&rng, m->normal, PERIOD);
    p->x = random_floats(m, p->size.in_h * p->size.in_w * (c->K - c->concat));
    if (c->concat > 0)
        p->concat = random_floats(m, p->size.rows * c->concat);
    if (c->residual)
        p->residual = random_floats(m, p->size.rows * c->N);
    p->y = random_floats(m, p->size.rows * c->N); /* touched, so that no page is new while the time is taken */
    make_weights(p, m);
    if (c->kind == CASE_ATTENTION)
        make_keys(p, m);
}

status problem_open(struct problem *p, const struct bench_case *c, int64_t px, int threads, struct error *e)
{
    *p = (struct problem){.c = c, .size = case_size(c, px), .threads = threads, .arena = arena_measure()};
    struct maker *m = calloc(1, sizeof *m);
    if (m == NULL)
        return fail(e, ERR_MEMORY, "no memory for random numbers");
    make(p, m);
    bool failed = m->failed;
    free(m);
    p->precision = PRECISION_INT8;
    problem_run(p); /* measures what either takes */
    p->precision = PRECISION_FLOAT32;
    problem_run(p);
    status s = failed ? fail(e, ERR_MEMORY, "no memory for \"%s\"", c->name)
                      : arena_open(&p->arena, p->arena.peak, "a kernel", e);
    if (s != OK)
        problem_close(p);
    return s;
}

void problem_close(struct problem *p)
{
    free(p->x);
    free(p->concat);
    free(p->residual);
    free(p->y);
    free((void *)p->weight.data);
    free((void *)p->bias.data);
    free(p->weight_f32);
    free(p->bias_f32);
    free(p->k);
    free(p->v);
    free(p->chosen);
    arena_close(&p->arena);
    *p = (struct problem){0};
}

float *problem_joined_input(const struct problem *p)
{
    int64_t K = p->c->K, second = p->c->concat, own = K - second, rows = p->size.in_h * p->size.in_w;
    float *joined = malloc((size_t)(rows * K) * sizeof *joined);
    for (int64_t row = 0; row < rows && joined != NULL; row++) {
        memcpy(joined + row * K, p->x + row * own, (size_t)own * sizeof *joined);
        if (second > 0)
            memcpy(joined + row * K + own, p->concat + row * second, (size_t)second * sizeof *joined);
    }
    return joined;
}

/* --------------------------------------------------------------------------------------------------- running it */

static void run_linear(const struct context *ctx, const struct problem *p)
{
    const struct bench_case *c = p->c;
    struct linear layer = {p->weight, p->bias};
    if (c->concat > 0)
        linear_concat(ctx, p->y, p->x, c->K - c->concat, p->concat, c->concat, p->size.rows, &layer);
    else
        linear(ctx, p->y, p->x, p->size.rows, &layer,
               (struct linear_options){.activation = c->activation, .residual = p->residual});
}

void problem_run(struct problem *p)
{
    const struct bench_case *c = p->c;
    const struct case_size *s = &p->size;
    struct context ctx = {.arena = &p->arena, .threads = p->threads, .precision = p->precision};
    struct features in = {p->x, 1, s->in_h, s->in_w, c->K - c->concat}, out = {p->y, 1, s->h, s->w, c->N};
    struct features second = {p->concat, 1, s->h, s->w, c->concat};
    struct conv conv = {p->weight, p->bias};
    struct norm norm = {p->weight, p->bias};
    switch (c->kind) {
    case CASE_LINEAR: run_linear(&ctx, p); break;
    case CASE_CONV: conv3x3(&ctx, out, in, &conv, c->conv, (struct conv_options){.residual = p->residual}); break;
    case CASE_ATTENTION:
        attention(&ctx, &(struct attention){.out = p->y,
                                            .q = p->x,
                                            .queries = s->rows,
                                            .heads = c->heads,
                                            .d = c->K / c->heads,
                                            .sets = p->sets,
                                            .count = p->set_count,
                                            .span = c->keys == KEYS_PAST ? ATTEND_PAST : ATTEND_ALL});
        break;
    case CASE_GROUP_NORM:
        group_norm(&ctx, p->y, in, c->concat > 0 ? &second : NULL, &norm, NORM_GROUPS, norm_eps, c->activation);
        break;
    case CASE_LAYER_NORM: layer_norm(&ctx, p->y, p->x, s->rows, c->K, &norm, norm_eps); break;
    }
}

/* -------------------------------------------------------------------------------------------------- checking it */

enum { SAMPLES = 48 };

/* A sum of n products in float32 is off by about u sqrt(n) of its own size, u = 2^-24, if roundings are independent:
 * 8 times that for the largest of many samples. Winograd's transforms subtract large numbers: F(4x4, 3x3) loses about
 * a decimal digit, hence 16 times that. Norms round a handful of times. */
static double allowed(const struct problem *p)
{
    const double u = 0x1p-24;
    if (p->precision == PRECISION_INT8) /* 1 % on average with 8 bits, 1.6 % with AVX2's 7 (tests/test_int8.c): of many
                                           samples, each maybe a product of two sums, ten times that */
        return 0.1 * 254 / int8_kernel()->levels;
    switch (p->c->kind) {
    case CASE_LINEAR: return 8 * u * sqrt((double)p->c->K);
    case CASE_CONV: return 8 * u * sqrt(9.0 * (double)p->c->K) * 16;
    case CASE_ATTENTION: return 8 * u * sqrt((double)(p->size.keys + p->c->K / p->c->heads));
    case CASE_GROUP_NORM:
    case CASE_LAYER_NORM: break;
    }
    return 32 * u;
}

status problem_check(const struct problem *p, const char *whose, const float *result, enum result_kind kind,
                     double *error, struct error *e)
{
    int64_t rows = p->size.rows, width = p->c->N;
    if (kind == RESULT_PRODUCT && p->c->activation == ACT_GEGLU)
        width *= 2;
    struct mt19937 mt;
    mt19937_seed(&mt, 2);
    double squares = 0, worst = -1, found = 0, wanted = 0;
    int64_t at = 0;
    for (int i = 0; i < SAMPLES; i++) {
        int64_t random =
            (int64_t)(((uint64_t)mt19937_next(&mt) << 32 | mt19937_next(&mt)) % (uint64_t)(rows * width));
        int64_t place = i == 0 ? 0 : i == 1 ? rows * width - 1 : random; /* the corners, too */
        double value = reference_element(p, place / width, place % width, kind), off = fabs(result[place] - value);
        squares += value * value;
        if (!(off <= worst)) { /* a NaN is the worst of all */
            worst = off;
            at = place;
            found = result[place];
            wanted = value;
        }
    }
    *error = worst / sqrt(squares / SAMPLES);
    if (*error <= allowed(p))
        return OK;
    return fail(e, ERR_FORMAT,
                "%s: row %lld, column %lld is %.8g, wanted %.8g: off by %.1e of the usual size, %.1e is allowed",
                whose, (long long)(at / width), (long long)(at % width), found, wanted, *error, allowed(p));
}
