/* A step asks the one before it for the rows it needs: out for h, h for the normalised x, that for x. One row more
 * than its own would do, but bands begin at multiples of CONV_BAND, so each step runs CONV_BAND rows ahead of the
 * next:
 *
 *            begin      end
 *   x        ..|---------|----|----|      what is above begin - 1 is forgotten when its room is needed
 *   normed   ..|---------|----|----|
 *   h        ..|---------|----|
 *   out        |---------|
 */
#include "sdxl/vae/vae_bands.h"

#include <assert.h>
#include <string.h>

enum { AHEAD = CONV_BAND };

const struct vae_memory vae_memory_default = {.whole = 640000000, .band = 1 << 25};

/* Rows first .. end - 1 of an image. With room for all of them they stay from one sweep to the next. */
struct rows {
    struct features room; /* .h: how many rows it holds */
    int64_t first, end;
};

struct job {
    const struct context *ctx;
    const struct resnet *r;
    int64_t h, band;            /* rows of the image, of a band */
    int64_t begin;              /* of the current band */
    const struct conv *sampler; /* from `small` to x, or NULL: x is there */
    struct rows small, x, normed, hidden;
    int64_t finished; /* rows of `hidden` that norm2 and SiLU have been applied to */
    struct group_statistics norm1, norm2;
    struct features out;
    const struct conv *conv_out; /* without r */
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t ahead(const struct job *job, int64_t row)
{
    return smaller(row + AHEAD, job->h);
}

/* ------------------------------------------------------------------------------------------------------------ rows
 */

static struct rows whole_image(struct features f)
{
    return (struct rows){f, 0, f.h};
}

static struct rows room_for(const struct job *job, int64_t rows, int64_t w, int64_t c)
{
    return (struct rows){.room = features_new(job->ctx->arena, 1, smaller(rows, job->h), w, c)};
}

/* A band, the row above it, and the rows that `steps` steps run ahead. */
static int64_t band_and(const struct job *job, int steps)
{
    return job->band + 1 + steps * AHEAD;
}

static int64_t row_size(struct features f)
{
    return f.w * f.c;
}

static struct features view(const struct rows *r, int64_t begin, int64_t end)
{
    struct features f = r->room;
    if (f.x != NULL) /* as a picture's that is only measured */
        f.x += (begin - r->first) * row_size(f);
    f.h = end - begin;
    return f;
}

static int64_t bytes(struct features f)
{
    return features_count(f) * (int64_t)sizeof(float);
}

static struct features move(const struct context *ctx, struct features f, float *to)
{
    if (to != f.x && !arena_measuring(ctx->arena))
        memmove(to, f.x, (size_t)bytes(f));
    f.x = to;
    return f;
}

/* Room for the rows from r->end to `end`. */
static struct features append(const struct job *job, struct rows *r, int64_t end)
{
    if (end - r->first > r->room.h) {
        struct features kept = view(r, larger(job->begin - 1, 0), r->end);
        move(job->ctx, kept, r->room.x);
        r->first = r->end - kept.h;
        assert(end - r->first <= r->room.h);
    }
    int64_t begin = r->end;
    r->end = end;
    return view(r, begin, end);
}

static void forget(const struct job *job, struct rows *r)
{
    if (r->room.h < job->h)
        r->first = r->end = 0;
}

/* ----------------------------------------------------------------------------------------------------------- steps
 */

/* Rows begin .. begin + out.h - 1 of the result, from what is there of an image in_height high. */
static void convolve(const struct job *job, struct features out, int64_t begin, const struct rows *in,
                     int64_t in_height, const struct conv *layer, enum conv_kind kind, const float *residual)
{
    struct conv_band band = {in->first, in_height, begin, job->h};
    conv3x3(job->ctx, out, view(in, in->first, in->end), layer, kind,
            (struct conv_options){.residual = residual, .band = &band});
}

static void need_x(struct job *job, int64_t end)
{
    int64_t begin = job->x.end;
    if (begin >= end)
        return;
    struct features x = append(job, &job->x, end);
    convolve(job, x, begin, &job->small, job->small.end, job->sampler, CONV_UP, NULL);
}

static void need_normed(struct job *job, int64_t end)
{
    int64_t begin = job->normed.end;
    need_x(job, end);
    if (begin >= end)
        return;
    struct features normed = append(job, &job->normed, end);
    group_norm_apply(job->ctx, &job->norm1, normed.x, view(&job->x, begin, end), NULL, ACT_SILU);
}

static void need_hidden(struct job *job, int64_t end)
{
    int64_t begin = job->hidden.end;
    if (begin >= end)
        return;
    need_normed(job, ahead(job, end));
    struct features hidden = append(job, &job->hidden, end);
    convolve(job, hidden, begin, &job->normed, job->h, &job->r->conv1, CONV_SAME, NULL);
}

static void need_normed_hidden(struct job *job, int64_t end)
{
    need_hidden(job, end);
    if (job->finished >= end)
        return;
    struct features hidden = view(&job->hidden, job->finished, end);
    group_norm_apply(job->ctx, &job->norm2, hidden.x, hidden, NULL, ACT_SILU);
    job->finished = end;
}

/* ---------------------------------------------------------------------------------------------------------- sweeps
 */

/* band(job, end) for every band job->begin .. end - 1. */
static void sweep(struct job *job, void (*band)(struct job *job, int64_t end))
{
    forget(job, &job->x);
    forget(job, &job->normed);
    forget(job, &job->hidden);
    job->finished = 0;
    for (job->begin = 0; job->begin < job->h;) {
        int64_t end = smaller(job->begin + job->band, job->h);
        band(job, end);
        job->begin = end;
    }
}

static void count_x(struct job *job, int64_t end)
{
    need_x(job, end);
    group_statistics_add(job->ctx, &job->norm1, view(&job->x, job->begin, end), NULL, job->begin);
}

static void count_hidden(struct job *job, int64_t end)
{
    need_hidden(job, end);
    group_statistics_add(job->ctx, &job->norm2, view(&job->hidden, job->begin, end), NULL, job->begin);
}

/* out = shortcut(x), then out += conv2: rows of the result overwrite rows of x, the same or earlier ones, and x is
 * done with. */
static void finish_resnet(struct job *job, int64_t end)
{
    const struct context *ctx = job->ctx;
    size_t mark = arena_mark(ctx->arena);
    const struct linear *shortcut = &job->r->conv_shortcut;
    need_normed_hidden(job, ahead(job, end));
    struct features x = view(&job->x, job->begin, end), sum = x;
    struct rows all = whole_image(job->out);
    if (shortcut->weight.data != NULL) {
        sum = features_new(ctx->arena, 1, x.h, x.w, job->out.c);
        linear(ctx, sum.x, x.x, features_rows(x), shortcut, (struct linear_options){0});
    }
    sum = move(ctx, sum, view(&all, job->begin, end).x);
    convolve(job, sum, job->begin, &job->hidden, job->h, &job->r->conv2, CONV_SAME, sum.x);
    arena_release(ctx->arena, mark);
}

static void finish_out(struct job *job, int64_t end)
{
    struct rows all = whole_image(job->out);
    need_normed(job, ahead(job, end));
    convolve(job, view(&all, job->begin, end), job->begin, &job->normed, job->h, job->conv_out, CONV_SAME, NULL);
}

/* ---------------------------------------------------------------------------------------------------------- memory
 */

/* Rows of a band of a map whose pixels have `most` channels in its widest form. */
static int64_t band_rows(int64_t h, int64_t w, int64_t most, struct vae_memory memory)
{
    int64_t fit = memory.band / (w * most * (int64_t)sizeof(float));
    return smaller(larger(fit / CONV_BAND * CONV_BAND, CONV_BAND), h);
}

struct kept {
    bool x, hidden;
};

/* What of a resnet that makes `out` of x is there as a whole, besides `out`, which takes the place of x. h is given
 * up first: an enlarged x is dearer to make again. Without a sampler x is there already. */
static struct kept what_is_kept(const struct context *ctx, const struct vae_map *map, struct features x,
                                struct features out, struct vae_memory memory)
{
    bool x_is_kept = map->sampler == NULL || bytes(x) <= memory.whole || ctx->observer != NULL;
    return (struct kept){.x = x_is_kept,
                         .hidden = x_is_kept && larger(bytes(x), bytes(out)) + bytes(out) <= memory.whole};
}

/* Memory for `count` floats where the map lies: the arena gives the same place again, and what is there stays. */
static float *grow(const struct context *ctx, const struct vae_map *map, int64_t count)
{
    arena_release(ctx->arena, map->mark);
    return arena_floats(ctx->arena, count);
}

/* A band of the enlarged x may end where the first row read for it begins: half a band further, and one row for the
 * window, in rows of `small`. */
struct vae_layout vae_layout(struct features out, struct features x, struct features small, bool keep_x, int64_t band)
{
    bool enlarged = x.h != small.h;
    int64_t before = larger(features_count(out) - features_count(x), 0), after = (band / 2 + 1) * row_size(small);
    int64_t size = before + features_count(x) + (enlarged ? after : 0);
    if (!keep_x)
        size = larger(features_count(out), features_count(small));
    return (struct vae_layout){.size = size, .x = before, .small = size - features_count(small)};
}

static void lay_out(struct job *job, const struct vae_map *map, struct features x, bool keep_x)
{
    const struct context *ctx = job->ctx;
    struct vae_layout layout = vae_layout(job->out, x, map->x, keep_x, job->band);
    job->out.x = grow(ctx, map, layout.size);
    job->small = whole_image(move(ctx, map->x, job->out.x + layout.small));
    x.x = job->out.x + layout.x;
    if (map->sampler == NULL)
        job->x = job->small;
    else if (keep_x)
        job->x.room = x;
    else
        job->x = room_for(job, band_and(job, 2), x.w, x.c);
}

/* ----------------------------------------------------------------------------------------------------------- calls
 */

void vae_bands_resnet(const struct context *ctx, struct vae_map *map, const struct resnet *r,
                      struct vae_memory memory)
{
    int scale = map->sampler != NULL ? 2 : 1;
    struct features x = {NULL, 1, scale * map->x.h, scale * map->x.w, r->in_channels}, out = x;
    out.c = r->out_channels;
    struct kept keep = what_is_kept(ctx, map, x, out, memory);
    struct job job = {.ctx = ctx, .r = r, .h = x.h, .sampler = map->sampler, .out = out};
    job.band = band_rows(x.h, x.w, larger(x.c, out.c), memory);
    lay_out(&job, map, x, keep.x);
    job.normed = room_for(&job, band_and(&job, 2), x.w, x.c);
    job.hidden = room_for(&job, keep.hidden ? x.h : band_and(&job, 1), x.w, out.c);
    job.norm1 = group_statistics_new(ctx, &r->norm1, r->groups, r->eps, x);
    job.norm2 = group_statistics_new(ctx, &r->norm2, r->groups, r->eps, out);

    sweep(&job, count_x);
    group_statistics_finish(ctx, &job.norm1);
    if (map->sampler != NULL && job.x.room.h == job.h)
        observe_features(ctx, map->name, job.x.room);
    sweep(&job, count_hidden);
    group_statistics_finish(ctx, &job.norm2);
    sweep(&job, finish_resnet);

    grow(ctx, map, features_count(out));
    *map = (struct vae_map){.x = job.out, .mark = map->mark};
    observe_features(ctx, r->name, map->x);
}

void vae_bands_out(const struct context *ctx, struct features out, struct features x, const struct norm *norm,
                   int64_t groups, float eps, const struct conv *conv, struct vae_memory memory)
{
    size_t mark = arena_mark(ctx->arena);
    struct job job = {.ctx = ctx, .h = x.h, .x = whole_image(x), .out = out, .conv_out = conv};
    job.band = band_rows(x.h, x.w, x.c, memory);
    job.normed = room_for(&job, band_and(&job, 1), x.w, x.c);
    job.norm1 = group_statistics_new(ctx, norm, groups, eps, x);
    sweep(&job, count_x);
    group_statistics_finish(ctx, &job.norm1);
    sweep(&job, finish_out);
    arena_release(ctx->arena, mark);
}
