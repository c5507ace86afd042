/* oneDNN (Debian's 2.6.3). A computation is a list of primitives, each with its memories; layouts are the library's
 * own choice wherever it may choose, and what has to be brought into them is brought before the clock starts.
 * Dimensions are arrays of twelve, used or not. */
#include <oneapi/dnnl/dnnl.h>

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peer.h"

enum { MOST_MEMORIES = 8, MOST_STEPS = 3, MOST_ARGUMENTS = 4 };

struct step {
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[MOST_ARGUMENTS];
    int count;
};

struct computation {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_memory_t memories[MOST_MEMORIES];
    int memory_count;
    struct step steps[MOST_STEPS];
    int step_count;
    float *buffers[3]; /* inputs in another form than the problem's */
    void *bytes[2];    /* the same in 8 bits */
    dnnl_memory_t found, plain; /* the result as computed, and row-major */
    float *out;
    int threads;
    bool failed;
};

/* Of the OpenMP library that oneDNN computes with: the shared one, while GCC's in this program is its own. */
static void set_threads(int threads)
{
    void (*set)(int) = (void (*)(int))(uintptr_t)dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    if (set != NULL)
        set(threads);
}

static void must(struct computation *c, dnnl_status_t status)
{
    c->failed = c->failed || status != dnnl_success;
}

/* ------------------------------------------------------------------------------------------------------- pieces */

/* Memory of a description: the caller's, or (NULL) the library's. */
static dnnl_memory_t memory(struct computation *c, const dnnl_memory_desc_t *desc, const void *data)
{
    dnnl_memory_t m = NULL;
    if (c->failed || c->memory_count == MOST_MEMORIES) {
        c->failed = true;
        return NULL;
    }
    must(c, dnnl_memory_create(&m, desc, c->engine, data != NULL ? (void *)data : DNNL_MEMORY_ALLOCATE));
    if (!c->failed)
        c->memories[c->memory_count++] = m;
    return m;
}

static void copy_memory(struct computation *c, dnnl_memory_t from, dnnl_memory_t to)
{
    const dnnl_memory_desc_t *from_desc, *to_desc;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    if (c->failed)
        return;
    must(c, dnnl_memory_get_memory_desc(from, &from_desc));
    must(c, dnnl_memory_get_memory_desc(to, &to_desc));
    must(c, dnnl_reorder_primitive_desc_create(&desc, from_desc, c->engine, to_desc, c->engine, NULL));
    if (!c->failed)
        must(c, dnnl_primitive_create(&primitive, desc));
    if (!c->failed) {
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        must(c, dnnl_primitive_execute(primitive, c->stream, 2, arguments));
        must(c, dnnl_stream_wait(c->stream));
    }
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(desc);
}

static dnnl_memory_desc_t dense(int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t desc;
    memset(&desc, 0, sizeof desc);
    dnnl_memory_desc_init_by_tag(&desc, rank, dims, dnnl_f32, tag);
    return desc;
}

static dnnl_memory_desc_t strided(const dnnl_dims_t dims, const dnnl_dims_t strides)
{
    dnnl_memory_desc_t desc;
    memset(&desc, 0, sizeof desc);
    dnnl_memory_desc_init_by_strides(&desc, 3, dims, dnnl_f32, strides);
    return desc;
}

/* Adds a step; *desc tells the layouts that were chosen and is the caller's to destroy. */
static struct step *add_step(struct computation *c, const_dnnl_op_desc_t operation, const_dnnl_primitive_attr_t attr,
                             dnnl_primitive_desc_t *desc)
{
    struct step *step = &c->steps[c->step_count];
    *desc = NULL;
    if (!c->failed)
        must(c, dnnl_primitive_desc_create(desc, operation, attr, c->engine, NULL));
    if (!c->failed)
        must(c, dnnl_primitive_create(&step->primitive, *desc));
    if (!c->failed)
        c->step_count++;
    return step;
}

static void argument(const struct computation *c, struct step *step, int name, dnnl_memory_t m)
{
    if (c->failed)
        return;
    step->arguments[step->count++] = (dnnl_exec_arg_t){name, m};
}

/* An operand in the layout that the primitive wants, filled from the plain one. */
static void operand(struct computation *c, struct step *step, dnnl_primitive_desc_t desc, int name,
                    dnnl_query_t which, const dnnl_memory_desc_t *plain_desc, const void *data)
{
    if (c->failed)
        return;
    dnnl_memory_t plain = memory(c, plain_desc, data);
    dnnl_memory_t wanted = memory(c, dnnl_primitive_desc_query_md(desc, which, 0), NULL);
    copy_memory(c, plain, wanted);
    argument(c, step, name, wanted);
}

/* The destination in the layout that the primitive chose. */
static void destination(struct computation *c, struct step *step, dnnl_primitive_desc_t desc,
                        const dnnl_memory_desc_t *plain_desc, int64_t count)
{
    c->out = malloc((size_t)count * sizeof *c->out);
    c->failed = c->failed || c->out == NULL;
    if (c->failed)
        return;
    c->found = memory(c, dnnl_primitive_desc_query_md(desc, dnnl_query_dst_md, 0), NULL);
    c->plain = memory(c, plain_desc, c->out);
    argument(c, step, DNNL_ARG_DST, c->found);
}

/* --------------------------------------------------------------------------------------------------- operations */

static void prepare_linear(struct computation *c, const struct problem *p)
{
    int64_t M = p->size.rows, N = p->weight.shape[0], K = p->c->K;
    dnnl_memory_desc_t any_in = dense(2, (dnnl_dims_t){M, K}, dnnl_format_tag_any);
    dnnl_memory_desc_t any_weight = dense(2, (dnnl_dims_t){K, N}, dnnl_format_tag_any);
    dnnl_memory_desc_t any_out = dense(2, (dnnl_dims_t){M, N}, dnnl_format_tag_any);
    dnnl_memory_desc_t in = dense(2, (dnnl_dims_t){M, K}, dnnl_ab), weight = dense(2, (dnnl_dims_t){K, N}, dnnl_ba);
    dnnl_memory_desc_t out = dense(2, (dnnl_dims_t){M, N}, dnnl_ab);
    dnnl_matmul_desc_t operation;
    dnnl_primitive_desc_t desc;
    must(c, dnnl_matmul_desc_init(&operation, &any_in, &any_weight, NULL, &any_out));
    struct step *step = add_step(c, &operation, NULL, &desc);
    c->buffers[0] = problem_joined_input(p);
    c->failed = c->failed || c->buffers[0] == NULL;
    operand(c, step, desc, DNNL_ARG_SRC, dnnl_query_src_md, &in, c->buffers[0]);
    operand(c, step, desc, DNNL_ARG_WEIGHTS, dnnl_query_weights_md, &weight, p->weight_f32);
    destination(c, step, desc, &out, M * N);
    dnnl_primitive_desc_destroy(desc);
}

/* x / scale + offset, to whole numbers. *scale: the largest x is 127. */
static void *to_bytes(struct computation *c, const float *x, int64_t count, int offset, float *scale)
{
    float largest = 0;
    int8_t *out = malloc((size_t)count);
    c->failed = c->failed || out == NULL;
    for (int64_t i = 0; i < count && out != NULL; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    *scale = largest / 127;
    for (int64_t i = 0; i < count && out != NULL; i++)
        out[i] = (int8_t)(lrintf(x[i] / *scale) + offset);
    return out;
}

/* Activations are u8 around a zero point of 128; the result is float32. */
static void prepare_int8(struct computation *c, const struct problem *p)
{
    int64_t M = p->size.rows, N = p->weight.shape[0], K = p->c->K;
    dnnl_memory_desc_t in, weight, any_weight, out = dense(2, (dnnl_dims_t){M, N}, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&in, 2, (dnnl_dims_t){M, K}, dnnl_u8, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&weight, 2, (dnnl_dims_t){K, N}, dnnl_s8, dnnl_ba);
    dnnl_memory_desc_init_by_tag(&any_weight, 2, (dnnl_dims_t){K, N}, dnnl_s8, dnnl_format_tag_any);
    float in_scale = 1, weight_scale = 1;
    c->buffers[0] = problem_joined_input(p);
    c->failed = c->failed || c->buffers[0] == NULL;
    if (c->failed)
        return;
    c->bytes[0] = to_bytes(c, c->buffers[0], M * K, 128, &in_scale);
    c->bytes[1] = to_bytes(c, p->weight_f32, N * K, 0, &weight_scale);
    dnnl_matmul_desc_t operation;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    float scale = in_scale * weight_scale;
    int32_t zero = 128;
    must(c, dnnl_primitive_attr_create(&attr));
    must(c, dnnl_primitive_attr_set_output_scales(attr, 1, 0, &scale));
    must(c, dnnl_primitive_attr_set_zero_points(attr, DNNL_ARG_SRC, 1, 0, &zero));
    must(c, dnnl_matmul_desc_init(&operation, &in, &any_weight, NULL, &out));
    struct step *step = add_step(c, &operation, attr, &desc);
    argument(c, step, DNNL_ARG_SRC, memory(c, &in, c->bytes[0]));
    operand(c, step, desc, DNNL_ARG_WEIGHTS, dnnl_query_weights_md, &weight, c->bytes[1]);
    destination(c, step, desc, &out, M * N);
    dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_attr_destroy(attr);
}

/* Nearest upsampling, which a convolution of theirs cannot do on the way. */
static float *upsampled(const struct problem *p)
{
    const struct case_size *s = &p->size;
    int64_t K = p->c->K;
    float *out = malloc((size_t)(s->h * s->w * K) * sizeof *out);
    for (int64_t i = 0; i < s->h * s->w && out != NULL; i++) {
        int64_t y = i / s->w * s->in_h / s->h, x = i % s->w * s->in_w / s->w;
        memcpy(out + i * K, p->x + (y * s->in_w + x) * K, (size_t)K * sizeof *out);
    }
    return out;
}

static void prepare_conv(struct computation *c, const struct problem *p)
{
    const struct case_size *s = &p->size;
    bool up = p->c->conv == CONV_UP;
    int64_t K = p->c->K, N = p->c->N, h = up ? s->h : s->in_h, w = up ? s->w : s->in_w;
    int64_t stride = p->c->conv == CONV_DOWN ? 2 : 1;
    dnnl_dims_t in_dims = {1, K, h, w}, weight_dims = {N, K, 3, 3}, out_dims = {1, N, s->h, s->w};
    dnnl_dims_t strides = {stride, stride}, before = {1, 1};
    dnnl_dims_t after = {(s->h - 1) * stride + 2 - h, (s->w - 1) * stride + 2 - w};
    dnnl_memory_desc_t any_in = dense(4, in_dims, dnnl_format_tag_any), in = dense(4, in_dims, dnnl_nhwc);
    dnnl_memory_desc_t any_weight = dense(4, weight_dims, dnnl_format_tag_any),
                       weight = dense(4, weight_dims, dnnl_oihw);
    dnnl_memory_desc_t any_out = dense(4, out_dims, dnnl_format_tag_any), out = dense(4, out_dims, dnnl_nhwc);
    dnnl_convolution_desc_t operation;
    dnnl_primitive_desc_t desc;
    must(c, dnnl_convolution_forward_desc_init(&operation, dnnl_forward_inference, dnnl_convolution_auto, &any_in,
                                               &any_weight, NULL, &any_out, strides, before, after));
    struct step *step = add_step(c, &operation, NULL, &desc);
    if (up) {
        c->buffers[0] = upsampled(p);
        c->failed = c->failed || c->buffers[0] == NULL;
    }
    operand(c, step, desc, DNNL_ARG_SRC, dnnl_query_src_md, &in, up ? c->buffers[0] : p->x);
    operand(c, step, desc, DNNL_ARG_WEIGHTS, dnnl_query_weights_md, &weight, p->weight_f32);
    destination(c, step, desc, &out, s->h * s->w * N);
    dnnl_primitive_desc_destroy(desc);
}

/* The rows of all sets, one after the other. */
enum gathered { GATHERED_K, GATHERED_V };
static float *gather(const struct problem *p, enum gathered what)
{
    int64_t width = p->c->K;
    float *out = malloc((size_t)(p->size.keys * width) * sizeof *out), *next = out;
    for (int i = 0; i < p->set_count && out != NULL; i++) {
        const struct key_set *set = &p->sets[i];
        for (int64_t j = 0; j < set->n; j++, next += width) {
            int64_t row = set->rows != NULL ? set->rows[j] : j;
            memcpy(next, (what == GATHERED_K ? set->k : set->v) + row * width, (size_t)width * sizeof *out);
        }
    }
    return out;
}

/* scores = q k^T / sqrt(d), softmax in place, scores v; all heads at once. The scores go through memory. */
static void prepare_attention(struct computation *c, const struct problem *p)
{
    int64_t M = p->size.rows, keys = p->size.keys, heads = p->c->heads, width = p->c->K, d = width / heads;
    dnnl_memory_desc_t q = strided((dnnl_dims_t){heads, M, d}, (dnnl_dims_t){d, width, 1});
    dnnl_memory_desc_t k = strided((dnnl_dims_t){heads, d, keys}, (dnnl_dims_t){d, 1, width});
    dnnl_memory_desc_t v = strided((dnnl_dims_t){heads, keys, d}, (dnnl_dims_t){d, width, 1});
    dnnl_memory_desc_t scores = dense(3, (dnnl_dims_t){heads, M, keys}, dnnl_abc);
    c->buffers[0] = gather(p, GATHERED_K);
    c->buffers[1] = gather(p, GATHERED_V);
    c->out = malloc((size_t)(M * width) * sizeof *c->out);
    if (c->buffers[0] == NULL || c->buffers[1] == NULL || c->out == NULL) {
        c->failed = true;
        return;
    }
    dnnl_memory_t q_memory = memory(c, &q, p->x), k_memory = memory(c, &k, c->buffers[0]);
    dnnl_memory_t v_memory = memory(c, &v, c->buffers[1]), scores_memory = memory(c, &scores, NULL);
    c->found = c->plain = memory(c, &q, c->out);

    dnnl_matmul_desc_t first, last;
    dnnl_softmax_desc_t middle;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_attr_t scaled = NULL;
    float scale = 1 / sqrtf((float)d);
    must(c, dnnl_primitive_attr_create(&scaled));
    must(c, dnnl_primitive_attr_set_output_scales(scaled, 1, 0, &scale));
    must(c, dnnl_matmul_desc_init(&first, &q, &k, NULL, &scores));
    struct step *step = add_step(c, &first, scaled, &desc);
    argument(c, step, DNNL_ARG_SRC, q_memory);
    argument(c, step, DNNL_ARG_WEIGHTS, k_memory);
    argument(c, step, DNNL_ARG_DST, scores_memory);
    dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_attr_destroy(scaled);

    must(c, dnnl_softmax_forward_desc_init(&middle, dnnl_forward_inference, &scores, 2));
    step = add_step(c, &middle, NULL, &desc);
    argument(c, step, DNNL_ARG_SRC, scores_memory);
    argument(c, step, DNNL_ARG_DST, scores_memory);
    dnnl_primitive_desc_destroy(desc);

    must(c, dnnl_matmul_desc_init(&last, &scores, &v, NULL, &q));
    step = add_step(c, &last, NULL, &desc);
    argument(c, step, DNNL_ARG_SRC, scores_memory);
    argument(c, step, DNNL_ARG_WEIGHTS, v_memory);
    argument(c, step, DNNL_ARG_DST, c->found);
    dnnl_primitive_desc_destroy(desc);
}

static void prepare_layer_norm(struct computation *c, const struct problem *p)
{
    int64_t rows = p->size.rows, K = p->c->K;
    dnnl_memory_desc_t data = dense(2, (dnnl_dims_t){rows, K}, dnnl_ab),
                       statistics = dense(1, (dnnl_dims_t){rows}, dnnl_a);
    dnnl_memory_desc_t scale_shift = dense(2, (dnnl_dims_t){2, K}, dnnl_ab);
    dnnl_layer_normalization_desc_t operation;
    dnnl_primitive_desc_t desc;
    c->buffers[0] = malloc((size_t)(2 * K) * sizeof(float));
    c->out = malloc((size_t)(rows * K) * sizeof *c->out);
    if (c->buffers[0] == NULL || c->out == NULL) {
        c->failed = true;
        return;
    }
    memcpy(c->buffers[0], p->weight_f32, (size_t)K * sizeof(float));
    memcpy(c->buffers[0] + K, p->bias_f32, (size_t)K * sizeof(float));
    must(c, dnnl_layer_normalization_forward_desc_init(&operation, dnnl_forward_inference, &data, &statistics,
                                                       norm_eps, dnnl_use_scaleshift));
    struct step *step = add_step(c, &operation, NULL, &desc);
    c->found = c->plain = memory(c, &data, c->out);
    argument(c, step, DNNL_ARG_SRC, memory(c, &data, p->x));
    argument(c, step, DNNL_ARG_SCALE_SHIFT, memory(c, &scale_shift, c->buffers[0]));
    argument(c, step, DNNL_ARG_DST, c->found);
    dnnl_primitive_desc_destroy(desc);
}

/* ------------------------------------------------------------------------------------------------------ a peer */

static void run(void *self)
{
    struct computation *c = self;
    set_threads(c->threads);
    for (int i = 0; i < c->step_count; i++)
        dnnl_primitive_execute(c->steps[i].primitive, c->stream, c->steps[i].count, c->steps[i].arguments);
    dnnl_stream_wait(c->stream);
}

static const float *result(void *self)
{
    struct computation *c = self;
    if (c->found != c->plain)
        copy_memory(c, c->found, c->plain);
    return c->out;
}

static void close_computation(void *self)
{
    struct computation *c = self;
    for (int i = 0; i < c->step_count; i++)
        dnnl_primitive_destroy(c->steps[i].primitive);
    for (int i = 0; i < c->memory_count; i++)
        dnnl_memory_destroy(c->memories[i]);
    dnnl_stream_destroy(c->stream);
    dnnl_engine_destroy(c->engine);
    for (size_t i = 0; i < sizeof c->buffers / sizeof *c->buffers; i++)
        free(c->buffers[i]);
    free(c->bytes[0]);
    free(c->bytes[1]);
    free(c->out);
    free(c);
}

static bool can(const struct problem *p)
{
    double scores = (double)p->c->heads * (double)p->size.rows * (double)p->size.keys * sizeof(float);
    if (p->precision == PRECISION_INT8)
        return p->c->kind == CASE_LINEAR;
    switch (p->c->kind) {
    case CASE_LINEAR:
    case CASE_CONV:
    case CASE_LAYER_NORM: return true;
    case CASE_ATTENTION: return p->c->keys != KEYS_PAST && scores <= 0x1p31;
    case CASE_GROUP_NORM: break;
    }
    return false;
}

static void prepare(struct computation *c, const struct problem *p)
{
    switch (p->c->kind) {
    case CASE_LINEAR: p->precision == PRECISION_INT8 ? prepare_int8(c, p) : prepare_linear(c, p); break;
    case CASE_CONV: prepare_conv(c, p); break;
    case CASE_ATTENTION: prepare_attention(c, p); break;
    case CASE_LAYER_NORM: prepare_layer_norm(c, p); break;
    case CASE_GROUP_NORM: break;
    }
}

bool onednn_open(struct peer *peer, const struct problem *p)
{
    struct computation *c = can(p) ? calloc(1, sizeof *c) : NULL;
    if (c == NULL)
        return false;
    c->threads = p->threads;
    set_threads(c->threads); /* kernels are generated for a number of threads */
    must(c, dnnl_engine_create(&c->engine, dnnl_cpu, 0));
    must(c, c->failed ? dnnl_runtime_error : dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags));
    prepare(c, p);
    if (c->failed) {
        close_computation(c);
        return false;
    }
    bool bare = p->c->kind == CASE_LINEAR || p->c->kind == CASE_CONV;
    *peer = (struct peer){p->precision == PRECISION_INT8 ? "oneDNN u8s8" : "oneDNN",
                          c,
                          run,
                          result,
                          bare ? RESULT_PRODUCT : RESULT_WHOLE,
                          close_computation};
    return true;
}

void onednn_version(char *text, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}
