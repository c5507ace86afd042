#include "bench/cases.h"

enum { TEXT_TOKENS = 77, ID_PANELS = 4 };

/* Columns: kind, name, calls, stride, rows; then what the kind needs. Level 0 of the UNet has 320 channels and a
 * stride of 8, level 1 has 640 and 16, level 2 has 1280 and 32. The VAE's decoder goes from 8 down to 1. */
const struct bench_case bench_cases[] = {
    /* The transformers: two thirds of all arithmetic. */
    {CASE_LINEAR, "unet 1 attention and proj", 70, 16, 0, .K = 640, .N = 640, .residual = true},
    {CASE_LINEAR, "unet 1 ff.net.0 (GEGLU)", 10, 16, 0, .K = 640, .N = 2560, .activation = ACT_GEGLU},
    {CASE_LINEAR, "unet 1 ff.net.2", 10, 16, 0, .K = 2560, .N = 640, .residual = true},
    {CASE_LINEAR, "unet 1 text k, v", 20, 0, TEXT_TOKENS, .K = 2048, .N = 640},
    {CASE_LINEAR, "unet 2 attention and proj", 372, 32, 0, .K = 1280, .N = 1280, .residual = true},
    {CASE_LINEAR, "unet 2 ff.net.0 (GEGLU)", 60, 32, 0, .K = 1280, .N = 5120, .activation = ACT_GEGLU},
    {CASE_LINEAR, "unet 2 ff.net.2", 60, 32, 0, .K = 5120, .N = 1280, .residual = true},
    {CASE_LINEAR, "unet 2 text k, v", 120, 0, TEXT_TOKENS, .K = 2048, .N = 1280},
    /* Shortcuts of the resnets where the width changes; on the way up over x and skip. */
    {CASE_LINEAR, "unet 0 shortcut 640", 2, 8, 0, .K = 640, .N = 320, .concat = 320},
    {CASE_LINEAR, "unet 0 shortcut 960", 1, 8, 0, .K = 960, .N = 320, .concat = 320},
    {CASE_LINEAR, "unet 1 shortcut 320", 1, 16, 0, .K = 320, .N = 640},
    {CASE_LINEAR, "unet 1 shortcut 960", 1, 16, 0, .K = 960, .N = 640, .concat = 320},
    {CASE_LINEAR, "unet 1 shortcut 1280", 1, 16, 0, .K = 1280, .N = 640, .concat = 640},
    {CASE_LINEAR, "unet 1 shortcut 1920", 1, 16, 0, .K = 1920, .N = 640, .concat = 640},
    {CASE_LINEAR, "unet 2 shortcut 640", 1, 32, 0, .K = 640, .N = 1280},
    {CASE_LINEAR, "unet 2 shortcut 1920", 1, 32, 0, .K = 1920, .N = 1280, .concat = 640},
    {CASE_LINEAR, "unet 2 shortcut 2560", 2, 32, 0, .K = 2560, .N = 1280, .concat = 1280},
    /* The time step and the sizes, and what each resnet takes from them. */
    {CASE_LINEAR, "unet time linear_1", 1, 0, 1, .K = 320, .N = 1280, .activation = ACT_SILU},
    {CASE_LINEAR, "unet add linear_1", 1, 0, 1, .K = 2816, .N = 1280, .activation = ACT_SILU},
    {CASE_LINEAR, "unet linear_2, 2 time_emb", 9, 0, 1, .K = 1280, .N = 1280},
    {CASE_LINEAR, "unet 1 time_emb_proj", 5, 0, 1, .K = 1280, .N = 640},
    {CASE_LINEAR, "unet 0 time_emb_proj", 5, 0, 1, .K = 1280, .N = 320},

    {CASE_CONV, "unet conv_in", 1, 8, 0, .K = 4, .N = 320},
    {CASE_CONV, "unet 0 conv 320", 7, 8, 0, .K = 320, .N = 320},
    {CASE_CONV, "unet 0 conv 640 to 320", 2, 8, 0, .K = 640, .N = 320},
    {CASE_CONV, "unet 0 conv 960 to 320", 1, 8, 0, .K = 960, .N = 320},
    {CASE_CONV, "unet 0 upsampler 640", 1, 8, 0, .K = 640, .N = 640, .conv = CONV_UP},
    {CASE_CONV, "unet 1 downsampler 320", 1, 16, 0, .K = 320, .N = 320, .conv = CONV_DOWN},
    {CASE_CONV, "unet 1 conv 320 to 640", 1, 16, 0, .K = 320, .N = 640},
    {CASE_CONV, "unet 1 conv 640", 6, 16, 0, .K = 640, .N = 640},
    {CASE_CONV, "unet 1 conv 960 to 640", 1, 16, 0, .K = 960, .N = 640},
    {CASE_CONV, "unet 1 conv 1280 to 640", 1, 16, 0, .K = 1280, .N = 640},
    {CASE_CONV, "unet 1 conv 1920 to 640", 1, 16, 0, .K = 1920, .N = 640},
    {CASE_CONV, "unet 1 upsampler 1280", 1, 16, 0, .K = 1280, .N = 1280, .conv = CONV_UP},
    {CASE_CONV, "unet 2 downsampler 640", 1, 32, 0, .K = 640, .N = 640, .conv = CONV_DOWN},
    {CASE_CONV, "unet 2 conv 640 to 1280", 1, 32, 0, .K = 640, .N = 1280},
    {CASE_CONV, "unet 2 conv 1280", 10, 32, 0, .K = 1280, .N = 1280},
    {CASE_CONV, "unet 2 conv 1920 to 1280", 1, 32, 0, .K = 1920, .N = 1280},
    {CASE_CONV, "unet 2 conv 2560 to 1280", 2, 32, 0, .K = 2560, .N = 1280},
    {CASE_CONV, "unet conv_out", 1, 8, 0, .K = 320, .N = 4},

    {CASE_ATTENTION, "unet 1 self-attention", 10, 16, 0, .K = 640, .N = 640, .heads = 10},
    {CASE_ATTENTION, "unet 1 text", 10, 16, 0, .K = 640, .N = 640, .heads = 10, .keys = KEYS_TEXT},
    {CASE_ATTENTION, "unet 1 all id panels", 0, 16, 0, .K = 640, .N = 640, .heads = 10, .keys = KEYS_ALL_PANELS},
    {CASE_ATTENTION, "unet 1 write pass", 0, 16, 0, .K = 640, .N = 640, .heads = 10, .keys = KEYS_WRITE_PASS},
    {CASE_ATTENTION, "unet 1 read pass", 0, 16, 0, .K = 640, .N = 640, .heads = 10, .keys = KEYS_READ_PASS},
    {CASE_ATTENTION, "unet 2 self-attention", 60, 32, 0, .K = 1280, .N = 1280, .heads = 20},
    {CASE_ATTENTION, "unet 2 text", 60, 32, 0, .K = 1280, .N = 1280, .heads = 20, .keys = KEYS_TEXT},
    {CASE_ATTENTION, "unet 2 all id panels", 0, 32, 0, .K = 1280, .N = 1280, .heads = 20, .keys = KEYS_ALL_PANELS},
    {CASE_ATTENTION, "unet 2 write pass", 0, 32, 0, .K = 1280, .N = 1280, .heads = 20, .keys = KEYS_WRITE_PASS},
    {CASE_ATTENTION, "unet 2 read pass", 0, 32, 0, .K = 1280, .N = 1280, .heads = 20, .keys = KEYS_READ_PASS},

    {CASE_GROUP_NORM, "unet 0 norm 320", 8, 8, 0, .K = 320, .N = 320, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 0 norm 640", 2, 8, 0, .K = 640, .N = 640, .concat = 320, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 0 norm 960", 1, 8, 0, .K = 960, .N = 960, .concat = 320, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 1 norm 320", 1, 16, 0, .K = 320, .N = 320, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 1 norm 640", 6, 16, 0, .K = 640, .N = 640, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 1 norm 960", 1, 16, 0, .K = 960, .N = 960, .concat = 320, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 1 norm 1280", 1, 16, 0, .K = 1280, .N = 1280, .concat = 640, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 1 norm 1920", 1, 16, 0, .K = 1920, .N = 1920, .concat = 640, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 1 transformer norm", 5, 16, 0, .K = 640, .N = 640},
    {CASE_GROUP_NORM, "unet 2 norm 640", 1, 32, 0, .K = 640, .N = 640, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 2 norm 1280", 10, 32, 0, .K = 1280, .N = 1280, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 2 norm 1920", 1, 32, 0, .K = 1920, .N = 1920, .concat = 640, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 2 norm 2560", 2, 32, 0, .K = 2560, .N = 2560, .concat = 1280, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "unet 2 transformer norm", 6, 32, 0, .K = 1280, .N = 1280},
    {CASE_LAYER_NORM, "unet 1 layer norm", 30, 16, 0, .K = 640, .N = 640},
    {CASE_LAYER_NORM, "unet 2 layer norm", 180, 32, 0, .K = 1280, .N = 1280},

    {CASE_LINEAR, "vae post_quant_conv", 1, 8, 0, .K = 4, .N = 4},
    {CASE_LINEAR, "vae attention", 4, 8, 0, .K = 512, .N = 512, .residual = true},
    {CASE_LINEAR, "vae shortcut 512", 1, 2, 0, .K = 512, .N = 256},
    {CASE_LINEAR, "vae shortcut 256", 1, 1, 0, .K = 256, .N = 128},
    {CASE_CONV, "vae conv_in", 1, 8, 0, .K = 4, .N = 512},
    {CASE_CONV, "vae /8 conv 512", 10, 8, 0, .K = 512, .N = 512},
    {CASE_CONV, "vae /4 upsampler 512", 1, 4, 0, .K = 512, .N = 512, .conv = CONV_UP},
    {CASE_CONV, "vae /4 conv 512", 6, 4, 0, .K = 512, .N = 512},
    {CASE_CONV, "vae /2 upsampler 512", 1, 2, 0, .K = 512, .N = 512, .conv = CONV_UP},
    {CASE_CONV, "vae /2 conv 512 to 256", 1, 2, 0, .K = 512, .N = 256},
    {CASE_CONV, "vae /2 conv 256", 5, 2, 0, .K = 256, .N = 256},
    {CASE_CONV, "vae /1 upsampler 256", 1, 1, 0, .K = 256, .N = 256, .conv = CONV_UP},
    {CASE_CONV, "vae /1 conv 256 to 128", 1, 1, 0, .K = 256, .N = 128},
    {CASE_CONV, "vae /1 conv 128", 5, 1, 0, .K = 128, .N = 128},
    {CASE_CONV, "vae conv_out", 1, 1, 0, .K = 128, .N = 3},
    {CASE_ATTENTION, "vae attention", 1, 8, 0, .K = 512, .N = 512, .heads = 1},
    {CASE_GROUP_NORM, "vae /8 norm 512", 10, 8, 0, .K = 512, .N = 512, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "vae /8 attention norm", 1, 8, 0, .K = 512, .N = 512},
    {CASE_GROUP_NORM, "vae /4 norm 512", 6, 4, 0, .K = 512, .N = 512, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "vae /2 norm 512", 1, 2, 0, .K = 512, .N = 512, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "vae /2 norm 256", 5, 2, 0, .K = 256, .N = 256, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "vae /1 norm 256", 1, 1, 0, .K = 256, .N = 256, .activation = ACT_SILU},
    {CASE_GROUP_NORM, "vae /1 norm 128", 6, 1, 0, .K = 128, .N = 128, .activation = ACT_SILU},

    {CASE_LINEAR, "clip 1 attention", 48, 0, TEXT_TOKENS, .K = 768, .N = 768, .residual = true},
    {CASE_LINEAR, "clip 1 fc1", 12, 0, TEXT_TOKENS, .K = 768, .N = 3072, .activation = ACT_QUICK_GELU},
    {CASE_LINEAR, "clip 1 fc2", 12, 0, TEXT_TOKENS, .K = 3072, .N = 768, .residual = true},
    {CASE_LINEAR, "clip 2 attention", 128, 0, TEXT_TOKENS, .K = 1280, .N = 1280, .residual = true},
    {CASE_LINEAR, "clip 2 fc1", 32, 0, TEXT_TOKENS, .K = 1280, .N = 5120, .activation = ACT_GELU},
    {CASE_LINEAR, "clip 2 fc2", 32, 0, TEXT_TOKENS, .K = 5120, .N = 1280, .residual = true},
    {CASE_LINEAR, "clip 2 text_projection", 1, 0, 1, .K = 1280, .N = 1280},
    {CASE_ATTENTION, "clip 1 attention", 12, 0, TEXT_TOKENS, .K = 768, .N = 768, .heads = 12, .keys = KEYS_PAST},
    {CASE_ATTENTION, "clip 2 attention", 32, 0, TEXT_TOKENS, .K = 1280, .N = 1280, .heads = 20, .keys = KEYS_PAST},
    {CASE_LAYER_NORM, "clip 1 layer norm", 25, 0, TEXT_TOKENS, .K = 768, .N = 768},
    {CASE_LAYER_NORM, "clip 2 layer norm", 65, 0, TEXT_TOKENS, .K = 1280, .N = 1280},
};

const int bench_case_count = sizeof bench_cases / sizeof *bench_cases;

static int64_t key_count(const struct bench_case *c, int64_t queries)
{
    switch (c->keys) {
    case KEYS_TEXT: return TEXT_TOKENS;
    case KEYS_ALL_PANELS: return queries * (1 + ID_PANELS);
    case KEYS_WRITE_PASS: return queries + (ID_PANELS - 1) * (queries / 2);
    case KEYS_READ_PASS: return queries + ID_PANELS * (queries / 2);
    case KEYS_OWN:
    case KEYS_PAST: break;
    }
    return queries;
}

struct case_size case_size(const struct bench_case *c, int64_t px)
{
    struct case_size s = {.rows = c->rows, .h = 1, .w = c->rows, .in_h = 1, .in_w = c->rows};
    if (c->stride > 0) {
        s.h = s.w = s.in_h = s.in_w = (px + c->stride - 1) / c->stride;
        if (c->kind == CASE_CONV && c->conv == CONV_UP)
            s.in_h = s.in_w = (px + 2 * c->stride - 1) / (2 * c->stride);
        if (c->kind == CASE_CONV && c->conv == CONV_DOWN)
            s.in_h = s.in_w = (2 * px + c->stride - 1) / c->stride;
        s.rows = s.h * s.w;
    }
    double M = (double)s.rows, K = (double)c->K, N = (double)c->N;
    double weight_rows = c->activation == ACT_GEGLU ? 2 * N : N;
    switch (c->kind) {
    case CASE_LINEAR:
        s.flops = 2 * M * weight_rows * K;
        s.bytes = 2 * weight_rows * K + 4 * M * (K + N + (c->residual ? N : 0));
        break;
    case CASE_CONV:
        s.flops = 2 * M * N * 9 * K;
        s.bytes = 2 * N * 9 * K + 4 * ((double)(s.in_h * s.in_w) * K + M * N);
        break;
    case CASE_ATTENTION:
        s.keys = key_count(c, s.rows);
        s.flops = 4 * M * (double)s.keys * K * (c->keys == KEYS_PAST ? 0.5 * (M + 1) / M : 1);
        s.bytes = 4 * K * 2 * (M + (double)s.keys);
        break;
    case CASE_GROUP_NORM:
    case CASE_LAYER_NORM: s.bytes = 4 * M * 2 * K; break;
    }
    return s;
}

double case_bar(const struct bench_case *c, const struct case_size *size)
{
    bool vae = c->name[0] == 'v';
    int64_t narrowest = c->K < c->N ? c->K : c->N;
    switch (c->kind) {
    case CASE_LINEAR: return narrowest < 320 ? 0 : size->rows >= 512 ? 85 : size->rows == TEXT_TOKENS ? 60 : 0;
    case CASE_CONV:
        if (c->conv == CONV_DOWN)
            return 82;
        return vae && narrowest >= 128 ? 150 : narrowest >= 320 ? 130 : 0;
    case CASE_ATTENTION: return c->keys == KEYS_TEXT ? 45 : c->keys == KEYS_PAST || vae ? 0 : 65;
    case CASE_GROUP_NORM:
    case CASE_LAYER_NORM: break;
    }
    return c->stride > 0 ? 70 : 0; /* 77 rows are in the cache, and done before a second thread wakes */
}
