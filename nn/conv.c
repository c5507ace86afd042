#include "nn/conv.h"

#include <string.h>

#include "nn/winograd.h"

struct window {
    struct features out, in;
    const struct features *concat;
    enum conv_kind kind;
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
    for (int64_t row = m.begin; row < m.end; row++, panel += stride) {
        int64_t x = row % w->out.w, y = row / w->out.w % w->out.h, sample = row / (w->out.w * w->out.h);
        float *run = panel;
        for (int64_t i = k.begin; i < k.end;) {
            struct gemm_column at = gemm_column_at(i, C);
            int64_t end = at.first + at.count < at.c + k.end - i ? at.first + at.count : at.c + k.end - i;
            int64_t from_y = conv_source(w->kind, y, at.tap / 3, w->in.h, w->out.h);
            int64_t from_x = conv_source(w->kind, x, at.tap % 3, w->in.w, w->out.w);
            int64_t pixel = from_y < 0 || from_x < 0 ? -1 : (sample * w->in.h + from_y) * w->in.w + from_x;
            run = copy_channels(w, pixel, (struct range){at.c, end}, run);
            i += end - at.c;
        }
    }
}

static void implicit_gemm(const struct context *ctx, struct features out, struct features in,
                          const struct conv *layer, enum conv_kind kind, struct conv_options options)
{
    struct window window = {.out = out, .in = in, .concat = options.concat, .kind = kind};
    gemm_run(ctx, &(struct gemm){
                      .M = features_rows(out),
                      .N = out.c,
                      .K = 9 * (in.c + (options.concat ? options.concat->c : 0)),
                      .in = {pack_window, &window},
                      .weight = {&layer->weight, 9},
                      .epilogue = {.bias = &layer->bias,
                                   .per_sample = options.per_sample,
                                   .rows_per_sample = out.h * out.w,
                                   .residual = options.residual},
                      .out = out.x,
                      .op = OP_CONV,
                  });
}

void conv3x3(const struct context *ctx, struct features out, struct features in, const struct conv *layer,
             enum conv_kind kind, struct conv_options options)
{
    if (winograd_wins(out, in.c + (options.concat ? options.concat->c : 0), kind))
        winograd_conv(ctx, out, in, layer, kind, options);
    else
        implicit_gemm(ctx, out, in, layer, kind, options);
}
