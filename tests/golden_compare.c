/* Comparing, and reporting what came of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/golden.h"

const double LIMIT_EXACT = 0, LIMIT_RANDN = 1e-6, LIMIT_STEP = 1e-5, LIMIT_LAYER = 2e-4, LIMIT_ATTENTION = 1e-4,
             LIMIT_TRAJECTORY = 1e-3;

/* Keeps the lines that used most of their limit. */
static void remember(struct golden *g, double used, const char *where, const char *name)
{
    int place = CLOSEST_LINES;
    while (place > 0 && used > g->closest[place - 1].used)
        place--;
    if (place == CLOSEST_LINES)
        return;
    memmove(&g->closest[place + 1], &g->closest[place], (size_t)(CLOSEST_LINES - 1 - place) * sizeof *g->closest);
    g->closest[place].used = used;
    snprintf(g->closest[place].line, sizeof g->closest[place].line, "%s %s", where, name);
}

/* And the one that is off most, of its largest value. */
static void remember_worst(struct golden *g, double error, const char *where, const char *name)
{
    if (error > g->worst.error || isnan(error)) {
        g->worst.error = error;
        snprintf(g->worst.line, sizeof g->worst.line, "%s %s", where, name);
    }
}

static void report(struct golden *g, bool ok, const char *where, const char *name, const char *detail)
{
    *(ok ? &g->passed : &g->failed) += 1;
    if (!ok || !g->quiet)
        printf("%s  %s %s  %s\n", ok ? "PASS" : "FAIL", where, name, detail);
}

void golden_check(struct golden *g, const char *where, const char *name, bool ok, const char *detail)
{
    report(g, ok, where, name, detail);
}

void golden_passed(struct golden *g, const char *where, const char *name, int count, const char *detail)
{
    g->passed += count - 1;
    report(g, true, where, name, detail);
}

void golden_skip(struct golden *g, const char *where, const char *why)
{
    g->skipped++;
    printf("SKIP  %s  %s\n", where, why);
}

void golden_error(struct golden *g, const char *where, const struct error *e)
{
    report(g, false, where, "", e->message);
}

/* One element of any format; a float64 keeps its digits. */
static double element(const struct tensor *t, int64_t i)
{
    float value;
    switch (t->dtype) {
    case DTYPE_F64: return ((const double *)t->data)[i];
    case DTYPE_I64: return (double)((const int64_t *)t->data)[i];
    case DTYPE_I32: return ((const int32_t *)t->data)[i];
    case DTYPE_U8:
    case DTYPE_BOOL: return ((const uint8_t *)t->data)[i];
    default: tensor_read(t, i, 1, &value); return value;
    }
}

/* Where element i of a channels-last array lies in the channels-first recording. */
static int64_t recorded_index(const struct tensor *t, int64_t i, enum layout layout)
{
    if (layout == AS_IS || t->rank < 3)
        return i;
    int64_t c = t->shape[t->rank - 3], h = t->shape[t->rank - 2], w = t->shape[t->rank - 1];
    int64_t channel = i % c, x = i / c % w, y = i / (c * w) % h, sample = i / (c * w * h);
    return ((sample * c + channel) * h + y) * w + x;
}

static bool same_count(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                       int64_t count)
{
    char shape[96], detail[256];
    if (tensor_count(recorded) == count)
        return true;
    shape_text(recorded->rank, recorded->shape, shape, sizeof shape);
    snprintf(detail, sizeof detail, "%s, ours has %lld values", shape, (long long)count);
    report(g, false, where, name, detail);
    return false;
}

/* The larger one, or the one that is no number: a comparison must not lose it. */
static double worse(double a, double b)
{
    return b > a || isnan(b) ? b : a;
}

void golden_compare_doubles(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                            const double *ours, int64_t count, enum measure measure, double limit)
{
    static const char *const words[] = {
        [OF_LARGEST] = "relative", [OF_STEP] = "relative by step", [ABSOLUTE] = "absolute"};
    if (!same_count(g, where, name, recorded, count))
        return;
    int64_t part = measure == OF_STEP && recorded->rank > 0 && count > 0 ? count / recorded->shape[0] : count;
    double worst = 0, measured = 0;
    for (int64_t first = 0; first < count; first += part) {
        double error = 0, scale = 0;
        for (int64_t i = first; i < first + part; i++) {
            double wanted = element(recorded, i);
            error = worse(error, fabs(wanted - ours[i]));
            scale = fmax(scale, fabs(wanted));
        }
        worst = worse(worst, error);
        measured = worse(measured, measure != ABSOLUTE && scale > 0 ? error / scale : error);
    }
    char shape[96], detail[256];
    shape_text(recorded->rank, recorded->shape, shape, sizeof shape);
    snprintf(detail, sizeof detail, "%s  worst %.3g  %s %.3g  (limit %.3g)", shape, worst, words[measure], measured,
             limit);
    if (limit > 0)
        remember(g, measured / limit, where, name);
    if (measure == OF_LARGEST)
        remember_worst(g, measured, where, name);
    report(g, measured <= limit, where, name, detail);
}

void golden_compare(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                    const float *ours, int64_t count, enum layout layout, double limit)
{
    if (!same_count(g, where, name, recorded, count))
        return;
    double *turned = malloc((size_t)(count + 1) * sizeof *turned);
    for (int64_t i = 0; turned != NULL && i < count; i++)
        turned[recorded_index(recorded, i, layout)] = ours[i];
    if (turned != NULL)
        golden_compare_doubles(g, where, name, recorded, turned, count, OF_LARGEST, limit);
    else
        report(g, false, where, name, "not enough memory to compare");
    free(turned);
}

/* --------------------------------------------------------------------------------------- tensors of a file */

/* Three times the reference's own error, where that is recorded and more than the limit. */
static double allowed(const struct safetensors *file, const char *name, double limit)
{
    const char *text = safetensors_meta(file, "reference_error");
    const struct json *errors = NULL;
    if (text == NULL || json_parse("reference_error", text, strlen(text), &errors, NULL) != OK)
        return limit;
    double error = json_double(json_get(errors, name), 0);
    json_free(errors);
    return fmax(limit, 3 * error);
}

/* "part.NAME": which elements these are. */
struct sampling {
    struct tensor whole; /* its shape; no data */
    int64_t stride;
    double largest;
};

static const struct tensor *find_part(const struct safetensors *file, const char *name, struct sampling *s)
{
    char key[256];
    const struct json *stat = NULL;
    snprintf(key, sizeof key, "part.%s", name);
    const struct tensor *part = safetensors_find(file, key);
    snprintf(key, sizeof key, "stat.%s", name);
    const char *text = safetensors_meta(file, key);
    if (part == NULL || text == NULL || json_parse(key, text, strlen(text), &stat, NULL) != OK)
        return NULL;
    *s = (struct sampling){.stride = json_int(json_get(stat, "stride"), 0),
                           .largest = json_double(json_get(stat, "largest"), 0)};
    const struct json *shape = json_get(stat, "shape");
    for (const struct json *v = shape != NULL ? shape->child : NULL; v != NULL && s->whole.rank < TENSOR_MAX_RANK;
         v = v->next)
        s->whole.shape[s->whole.rank++] = json_int(v, 0);
    json_free(stat);
    int64_t count = tensor_count(&s->whole);
    bool right = s->stride > 0 && count > 0 && (count + s->stride - 1) / s->stride == tensor_count(part);
    return right ? part : NULL;
}

bool golden_recorded_shape(const struct safetensors *file, const char *name, struct tensor *whole)
{
    struct sampling s = {0};
    const struct tensor *t = safetensors_find(file, name);
    if (t == NULL && find_part(file, name, &s) == NULL)
        return false;
    *whole = t != NULL ? *t : s.whole;
    whole->data = NULL;
    return true;
}

static void compare_part(struct golden *g, struct golden_recording r, const struct tensor *part,
                         const struct sampling *s, const float *ours, int64_t count, enum layout layout, double limit)
{
    const char *label = r.label != NULL ? r.label : r.name, *where = r.file->path;
    double worst = 0;
    int64_t compared = 0, begin = r.offset, end = r.offset + count, size = tensor_count(&s->whole);
    if (end > size) {
        report(g, false, where, label, "more values than were recorded");
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t at = begin + recorded_index(&s->whole, i, layout);
        if (at % s->stride != 0)
            continue;
        worst = worse(worst, fabs(element(part, at / s->stride) - ours[i]));
        compared++;
    }
    char shape[96], detail[256];
    double measured = s->largest > 0 ? worst / s->largest : worst;
    shape_text(s->whole.rank, s->whole.shape, shape, sizeof shape);
    snprintf(detail, sizeof detail, "%lld of %s  worst %.3g  relative %.3g  (limit %.3g)", (long long)compared, shape,
             worst, measured, limit);
    remember(g, measured / limit, where, label);
    remember_worst(g, measured, where, label);
    report(g, compared > 0 && measured <= limit, where, label, detail);
}

bool golden_compare_recorded(struct golden *g, struct golden_recording r, const float *ours, int64_t count,
                             enum layout layout, double limit)
{
    struct sampling s = {0};
    const struct tensor *t = safetensors_find(r.file, r.name), *part = t ? NULL : find_part(r.file, r.name, &s);
    const char *label = r.label != NULL ? r.label : r.name;
    limit = allowed(r.file, r.name, limit);
    if (part != NULL)
        compare_part(g, r, part, &s, ours, count, layout, limit);
    if (t == NULL)
        return part != NULL;
    if (r.offset == 0 && tensor_count(t) == count) {
        golden_compare(g, r.file->path, label, t, ours, count, layout, limit);
        return true;
    }
    if (r.offset + count > tensor_count(t)) {
        report(g, false, r.file->path, label, "more values than were recorded");
        return true;
    }
    struct tensor some = {.dtype = t->dtype, .rank = 1, .shape = {count}}; /* the values from offset on */
    some.data = (const char *)t->data + (size_t)r.offset * dtype_size(t->dtype);
    if (layout == CHANNELS_FIRST && t->rank >= 3) {
        const int64_t *last = t->shape + t->rank - 3;
        some.rank = 4;
        memcpy(some.shape, (int64_t[]){count / (last[0] * last[1] * last[2]), last[0], last[1], last[2]},
               4 * sizeof *last);
    }
    golden_compare(g, r.file->path, label, &some, ours, count, layout, limit);
    return true;
}

void golden_compare_image(struct golden *g, const char *where, const char *name, const struct tensor *recorded,
                          const unsigned char *ours, int64_t count)
{
    char shape[96], detail[256];
    shape_text(recorded->rank, recorded->shape, shape, sizeof shape);
    int worst = 0;
    int64_t beyond_one = 0;
    bool same = tensor_count(recorded) == count && recorded->dtype == DTYPE_U8;
    for (int64_t i = 0; same && i < count; i++) {
        int error = abs((int)ours[i] - ((const uint8_t *)recorded->data)[i]);
        worst = error > worst ? error : worst;
        beyond_one += error > 1;
    }
    double allowed = 0.005 * (double)count;
    snprintf(detail, sizeof detail, "%s  worst %d of 255, %lld beyond 1", shape, worst, (long long)beyond_one);
    if (same && count > 0)
        remember(g, fmax(worst / 2.0, (double)beyond_one / allowed), where, name);
    report(g, same && worst <= 2 && (double)beyond_one <= allowed, where, name, detail);
}

float *golden_floats(const struct tensor *t, enum layout layout)
{
    if (t == NULL)
        return NULL;
    int64_t count = tensor_count(t);
    float *out = malloc((size_t)(count + 1) * sizeof *out);
    for (int64_t i = 0; out != NULL && i < count; i++)
        out[i] = (float)element(t, recorded_index(t, i, layout));
    return out;
}
