#include "nn/conv.h"

#include <assert.h>
#include <string.h>

#include "nn/conv_int8.h"
#include "nn/winograd.h"

struct window {
    struct features out, in;
    const struct features *concat;
    enum conv_kind kind;
    struct conv_band band;
};

int64_t conv_out_size(enum conv_kind kind, int64_t size)
{
    switch (kind) {
    case CONV_DOWN: return (size + 1) / 2;
    case CONV_DOWN_ASYMMETRIC: return size / 2;
    case CONV_SAME:
    case CONV_UP: break;
    }
    return size;
}

int64_t conv_source(enum conv_kind kind, int64_t at, int64_t tap, int64_t in_size, int64_t out_size)
{
    int64_t stride = kind == CONV_DOWN || kind == CONV_DOWN_ASYMMETRIC ? 2 : 1;
    int64_t before = kind == CONV_DOWN_ASYMMETRIC ? 0 : 1;
    int64_t coordinate = at * stride + tap - before;
    int64_t size = kind == CONV_UP ? out_size : in_size;
    if (coordinate < 0 || coordinate >= size)
        return -1;
    return kind == CONV_UP ? coordinate * in_size / out_size : coordinate;
}

struct conv_band conv_band_of(struct features out, struct features in, struct conv_options options)
{
    return options.band != NULL ? *options.band : (struct conv_band){0, in.h, 0, out.h};
}

/* Channels c.begin .. c.end of one pixel, or zeros; the channels of `concat` follow those of `in`. */
static float *copy_channels(const struct window *w, int64_t pixel, struct range c, float *panel)
{
    int64_t own = w->in.c;
    if (pixel < 0) {
        memset(panel, 0, (size_t)(c.end - c.begin) * sizeof(float));
        return panel + (c.end - c.begin);
    }
    if (c.begin < own) {
        int64_t n = (c.end < own ? c.end : own) - c.begin;
        memcpy(panel, w->in.x + pixel * own + c.begin, (size_t)n * sizeof(float));
        panel += n;
    }
    if (c.end > own) {
        int64_t first = c.begin > own ? c.begin - own : 0, n = c.end - own - first;
        memcpy(panel, w->concat->x + pixel * w->concat->c + first, (size_t)n * sizeof(float));
        panel += n;
    }
    return panel;
}

static void pack_window(const void *self, struct range m, struct range k, float *panel, int64_t stride)
{
    const struct window *w = self;
    int64_t C = w->in.c + (w->concat ? w->concat->c : 0);
    for (int64_t i = m.begin; i < m.end; i++, panel += stride) {
        int64_t x = i % w->out.w, y = i / w->out.w % w->out.h, sample = i / (w->out.w * w->out.h);
        float *run = panel;
        for (int64_t j = k.begin; j < k.end;) {
            struct gemm_column at = gemm_column_at(j, C);
            int64_t end = at.first + at.count < at.c + k.end - j ? at.first + at.count : at.c + k.end - j;
            int64_t from_y =
                conv_source(w->kind, w->band.out_first + y, at.tap / 3, w->band.in_height, w->band.out_height);
            int64_t from_x = conv_source(w->kind, x, at.tap % 3, w->in.w, w->out.w);
            int64_t row = sample * w->in.h + from_y - w->band.in_first;
            int64_t pixel = from_y < 0 || from_x < 0 ? -1 : row * w->in.w + from_x;
            run = copy_channels(w, pixel, (struct range){at.c, end}, run);
            j += end - at.c;
        }
    }
}

static void implicit_gemm(const struct context *ctx, struct features out, struct features in,
                          const struct conv *layer, enum conv_kind kind, struct conv_options options)
{
    struct window window = {out, in, options.concat, kind, conv_band_of(out, in, options)};
    gemm_run(ctx, &(struct gemm){
                      .M = features_rows(out),
                      .N = out.c,
                      .K = 9 * (in.c + (options.concat ? options.concat->c : 0)),
                      .in = {.pack = pack_window, .self = &window},
                      .weight = {&layer->weight, 9},
                      .epilogue = {.bias = &layer->bias,
                                   .per_sample = options.per_sample,
                                   .rows_per_sample = out.h * out.w,
                                   .residual = options.residual},
                      .out = out.x,
                      .op = OP_CONV,
                  });
}

static bool well_cut(struct features out, struct conv_band band)
{
    if (out.h == band.out_height)
        return true;
    bool last = band.out_first + out.h == band.out_height;
    return out.n == 1 && band.out_first % CONV_BAND == 0 && (last || out.h % CONV_BAND == 0);
}

void conv3x3(const struct context *ctx, struct features out, struct features in, const struct conv *layer,
             enum conv_kind kind, struct conv_options options)
{
    struct conv_band band = conv_band_of(out, in, options);
    struct features image = out;
    image.h = band.out_height; /* where an image is cut has no say in how it is computed */
    assert(well_cut(out, band));
    int64_t channels = in.c + (options.concat ? options.concat->c : 0);
    if (ctx->precision == PRECISION_INT8 && options.band == NULL && conv_int8_wins(image, channels, kind))
        conv_int8(ctx, out, in, layer, options);
    else if (winograd_wins(image, channels, kind))
        winograd_conv(ctx, out, in, layer, kind, options);
    else
        implicit_gemm(ctx, out, in, layer, kind, options);
}
