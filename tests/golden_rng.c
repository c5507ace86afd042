/* Random numbers: what torch and Python drew, number by number.
 *
 * rng/NAME.safetensors has one seed, in its metadata. A tensor's name says what was drawn, its shape how much:
 *   rand.*, randn.*                right after manual_seed(seed); its format says of which kind
 *   randn.latent_head, _tail       the ends of one large draw, whose shape is in the description of _head
 *   randn.latent_stat              its sum and its sum of squares
 *   sequence.NN.rand, .randn       one generator through all of them, in the order of their names
 *   csa_mask.FORMAT.*              rand < rate, one generator per format through all of them
 *   python.random                  random.seed(seed), random.random()
 * rng/NAME.json is {"<seed>": {"rand8": [..], "randn16": [..], "python_random": [..]}, ..}.
 *
 * Uniform draws must be equal. Normal ones go through log, cos and sin, whose last bits differ between libraries:
 * they may be 1e-6 off, and that is absolute, for in a relative limit the largest would excuse the others. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/rng.h"
#include "tests/golden.h"

/* ------------------------------------------------------------------------------ kinds that the program never draws
 *
 * The recordings have them, and they show that the words come in the right order. From the words of the generator:
 * half and bfloat16 take the low 11 and 8 bits of one, double the low 53 of two; normals as in tensor/rng.c. */

static double word_of_two(struct torch_rng *g)
{
    uint64_t high = mt19937_next(&g->mt), word = high << 32 | mt19937_next(&g->mt);
    return (double)(word & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

static void rand_f16(struct torch_rng *g, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(mt19937_next(&g->mt) & 0x7ff) / 2048;
}

static void rand_bf16(struct torch_rng *g, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(mt19937_next(&g->mt) & 0xff) / 256;
}

static void rand_f64(struct torch_rng *g, double *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = word_of_two(g);
}

static const double two_pi = 6.283185307179586476925286766559;

/* 16 uniforms to normals: i with i + 8. */
static void normal_block(double *x)
{
    for (int i = 0; i < 8; i++) {
        double radius = sqrt(-2 * log(1 - x[i])), theta = two_pi * x[i + 8];
        x[i] = radius * cos(theta);
        x[i + 8] = radius * sin(theta);
    }
}

static void randn_f64(struct torch_rng *g, double *out, int64_t n)
{
    for (int64_t i = 0; n < 16 && i < n; i++) { /* by pairs, of which one may be left over */
        out[i] = g->next_normal;
        g->has_next_normal = !g->has_next_normal;
        if (!g->has_next_normal)
            continue;
        double theta = two_pi * word_of_two(g), radius = sqrt(-2 * log1p(-word_of_two(g)));
        out[i] = radius * cos(theta);
        g->next_normal = radius * sin(theta);
    }
    if (n < 16)
        return;
    rand_f64(g, out, n);
    for (int64_t i = 0; i + 16 <= n; i += 16)
        normal_block(out + i);
    if (n % 16 != 0) {
        rand_f64(g, out + n - 16, 16);
        normal_block(out + n - 16);
    }
}

/* In double the two sides differ by a few units of 2^-53 in numbers below 9. */
static const double limit_randn_f64 = 1e-14;

static const struct draw {
    const char *name;
    enum dtype dtype;
    void (*floats)(struct torch_rng *g, float *out, int64_t n); /* this one or the next */
    void (*doubles)(struct torch_rng *g, double *out, int64_t n);
    const double *limit; /* absolute */
} draws[] = {
    {"rand", DTYPE_F32, torch_rand, NULL, &LIMIT_EXACT},
    {"rand", DTYPE_F16, rand_f16, NULL, &LIMIT_EXACT},
    {"rand", DTYPE_BF16, rand_bf16, NULL, &LIMIT_EXACT},
    {"rand", DTYPE_F64, NULL, rand_f64, &LIMIT_EXACT},
    {"randn", DTYPE_F32, torch_randn, NULL, &LIMIT_RANDN},
    {"randn", DTYPE_F64, NULL, randn_f64, &limit_randn_f64},
};

/* The draw that a word begins with: "randn.33" and "randn16" are "randn". NULL: none. */
static const struct draw *find_draw(const char *word, enum dtype dtype)
{
    size_t length = strcspn(word, ".0123456789");
    for (size_t i = 0; i < sizeof draws / sizeof *draws; i++)
        if (draws[i].dtype == dtype && strlen(draws[i].name) == length && strncmp(draws[i].name, word, length) == 0)
            return &draws[i];
    return NULL;
}

/* n numbers as doubles, which hold every kind of them exactly. NULL: no memory. The caller frees. */
static double *drawn(struct torch_rng *g, const struct draw *draw, int64_t n)
{
    double *out = calloc((size_t)n + 1, sizeof *out);
    float *floats = calloc((size_t)n + 1, sizeof *floats);
    if (out == NULL || floats == NULL) {
        free(out);
        free(floats);
        return NULL;
    }
    if (draw->doubles != NULL) {
        draw->doubles(g, out, n);
    } else {
        draw->floats(g, floats, n);
        for (int64_t i = 0; i < n; i++)
            out[i] = floats[i];
    }
    free(floats);
    return out;
}

static double *drawn_by_python(int64_t seed, int64_t n)
{
    struct python_rng g;
    double *out = calloc((size_t)n + 1, sizeof *out);
    python_seed(&g, seed);
    for (int64_t i = 0; out != NULL && i < n; i++)
        out[i] = python_random(&g);
    return out;
}

struct recording {
    struct golden *g;
    const char *path;
    struct safetensors file;
    uint64_t seed;
    struct torch_rng sequence, mask, half_mask; /* each runs through its names */
};

/* Frees `ours`. */
static void compare(const struct recording *r, const char *name, const struct tensor *recorded, double *ours,
                    double limit)
{
    if (ours != NULL)
        golden_compare_doubles(r->g, r->path, name, recorded, ours, tensor_count(recorded), ABSOLUTE, limit);
    else
        golden_check(r->g, r->path, name, false, "not enough memory to draw it");
    free(ours);
}

static void check_draw(const struct recording *r, const struct named_tensor *item, struct torch_rng *g,
                       const char *word)
{
    const struct draw *draw = find_draw(word, item->tensor.dtype);
    if (draw == NULL)
        golden_check(r->g, r->path, item->name, false, "no such draw is known");
    else
        compare(r, item->name, &item->tensor, drawn(g, draw, tensor_count(&item->tensor)), *draw->limit);
}

/* The number of elements in "... torch.randn((1, 4, 96, 96)) ..."; -1 if the text says no such thing. */
static int64_t described_count(const char *description)
{
    static const char call[] = "torch.randn((";
    const char *at = description != NULL ? strstr(description, call) : NULL;
    int64_t shape[TENSOR_MAX_RANK];
    int rank = 0;
    size_t bytes;
    if (at == NULL)
        return -1;
    at += strlen(call);
    for (int length; rank < TENSOR_MAX_RANK && sscanf(at, "%" SCNd64 "%n", &shape[rank], &length) == 1; rank++) {
        at += length;
        at += strspn(at, ", ");
    }
    return *at == ')' && shape_bytes(DTYPE_U8, rank, shape, &bytes) ? (int64_t)bytes : -1;
}

static void check_latent(const struct recording *r, const struct named_tensor *item, struct torch_rng *g)
{
    const char *part = item->name + strlen("randn.latent_");
    int64_t count = described_count(safetensors_meta(&r->file, "randn.latent_head"));
    int64_t kept = tensor_count(&item->tensor);
    bool known = strcmp(part, "head") == 0 || strcmp(part, "tail") == 0 || (strcmp(part, "stat") == 0 && kept == 2);
    if (!known || count < kept) {
        golden_check(r->g, r->path, item->name, false, known ? "its shape is not said" : "no such draw is known");
        return;
    }
    double *ours = drawn(g, find_draw("randn", DTYPE_F32), count), limit = LIMIT_RANDN;
    if (ours != NULL && strcmp(part, "tail") == 0)
        memmove(ours, ours + count - kept, (size_t)kept * sizeof *ours);
    if (ours != NULL && strcmp(part, "stat") == 0) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < count; i++) {
            sum += ours[i];
            squares += ours[i] * ours[i];
        }
        ours[0] = sum;
        ours[1] = squares;
        /* d more in every value is count * d more in the sum, and up to 1.6 times that in the squares. */
        limit = (double)count * LIMIT_RANDN;
    }
    compare(r, item->name, &item->tensor, ours, limit);
}

/* The description ends in "< RATE". torch compares in the format of the draw, so the rate is rounded to it. */
static void check_mask(struct recording *r, const struct named_tensor *item)
{
    bool half = strncmp(item->name, "csa_mask.half.", strlen("csa_mask.half.")) == 0;
    bool single = strncmp(item->name, "csa_mask.float32.", strlen("csa_mask.float32.")) == 0;
    const char *description = safetensors_meta(&r->file, item->name);
    const char *comparison = description != NULL ? strrchr(description, '<') : NULL;
    if (comparison == NULL || (!half && !single)) {
        golden_check(r->g, r->path, item->name, false, comparison ? "no such draw is known" : "its rate is not said");
        return;
    }
    int64_t count = tensor_count(&item->tensor);
    float rate = strtof(comparison + 1, NULL);
    if (half)
        rate = f16_to_f32(f32_to_f16(rate));
    double *ours = drawn(half ? &r->half_mask : &r->mask, find_draw("rand", half ? DTYPE_F16 : DTYPE_F32), count);
    for (int64_t i = 0; ours != NULL && i < count; i++)
        ours[i] = ours[i] < (double)rate;
    compare(r, item->name, &item->tensor, ours, LIMIT_EXACT);
}

static void check_item(struct recording *r, const struct named_tensor *item)
{
    const char *name = item->name;
    struct torch_rng fresh;
    torch_seed(&fresh, r->seed);
    if (strncmp(name, "sequence.", strlen("sequence.")) == 0)
        check_draw(r, item, &r->sequence, strrchr(name, '.') + 1);
    else if (strncmp(name, "csa_mask.", strlen("csa_mask.")) == 0)
        check_mask(r, item);
    else if (strncmp(name, "randn.latent_", strlen("randn.latent_")) == 0)
        check_latent(r, item, &fresh);
    else if (strcmp(name, "python.random") == 0)
        compare(r, name, &item->tensor, drawn_by_python((int64_t)r->seed, tensor_count(&item->tensor)), LIMIT_EXACT);
    else
        check_draw(r, item, &fresh, name);
}

static void tensors_file(struct golden *g, const char *folder, const char *path)
{
    struct recording r = {.g = g, .path = path};
    struct error e = {0};
    (void)folder;
    if (safetensors_open(path, &r.file, &e) == OK && safetensors_meta(&r.file, "seed") == NULL)
        fail(&e, ERR_FORMAT, "%s: no \"seed\" in its metadata", path);
    if (e.code == OK) {
        r.seed = strtoull(safetensors_meta(&r.file, "seed"), NULL, 10);
        torch_seed(&r.sequence, r.seed);
        torch_seed(&r.mask, r.seed);
        torch_seed(&r.half_mask, r.seed);
        if (r.file.count == 0)
            golden_check(g, path, "", false, "no tensors");
        for (size_t i = 0; i < r.file.count; i++) /* sorted by name, which is the order of the sequences */
            check_item(&r, &r.file.items[i]);
    } else {
        golden_error(g, path, &e);
    }
    safetensors_close(&r.file);
}

/* One list of numbers of a seed. */
static void check_list(const struct recording *r, const char *seed, const struct json *list)
{
    char name[128];
    struct torch_rng g;
    const struct draw *draw = find_draw(list->key, DTYPE_F32);
    bool python = strcmp(list->key, "python_random") == 0;
    int64_t count = (int64_t)list->count;
    double *values = calloc(list->count + 1, sizeof *values), *next = values;
    for (const struct json *v = list->child; values != NULL && v != NULL; v = v->next)
        *next++ = json_double(v, NAN);
    struct tensor recorded = {.data = values, .dtype = DTYPE_F64, .rank = 1, .shape = {count}};
    torch_seed(&g, strtoull(seed, NULL, 10));
    snprintf(name, sizeof name, "%s.%s", seed, list->key);
    if (values == NULL || (draw == NULL && !python))
        golden_check(r->g, r->path, name, false, values != NULL ? "no such draw is known" : "not enough memory");
    else
        compare(r, name, &recorded, python ? drawn_by_python(strtoll(seed, NULL, 10), count) : drawn(&g, draw, count),
                python ? LIMIT_EXACT : *draw->limit);
    free(values);
}

static void lists_file(struct golden *g, const char *folder, const char *path)
{
    struct recording r = {.g = g, .path = path};
    struct error e = {0};
    const struct json *root;
    (void)folder;
    if (json_read(path, &root, &e) != OK) {
        golden_error(g, path, &e);
        return;
    }
    if (root->kind != JSON_OBJECT || root->count == 0)
        golden_check(g, path, "", false, "no object of seeds");
    for (const struct json *seed = root->child; seed != NULL && root->kind == JSON_OBJECT; seed = seed->next) {
        if (seed->kind != JSON_OBJECT || seed->count == 0)
            golden_check(g, path, seed->key, false, "no object of draws");
        for (const struct json *list = seed->child; list != NULL && seed->kind == JSON_OBJECT; list = list->next)
            check_list(&r, seed->key, list);
    }
    json_free(root);
}

void golden_rng(struct golden *g, const char *folder)
{
    golden_files(g, folder, "", ".safetensors", tensors_file);
    golden_files(g, folder, "", ".json", lists_file);
}
