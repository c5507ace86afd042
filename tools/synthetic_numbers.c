#include "tools/synthetic_numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/rng.h"

/* Box and Muller for three billion numbers would take minutes. So 65,536 normal numbers are drawn once, brought to a
 * tensor's scale and format once per tensor, and each element is one of them, chosen by 16 random bits. */
enum { DRAWS = 1 << 16, PIECE = 1 << 19 };

struct synthetic_numbers {
    uint64_t seed;
    float normal[DRAWS];
    union {
        uint16_t halves[DRAWS];
        float floats[DRAWS];
    } scaled;
    union {
        uint16_t halves[PIECE];
        float floats[PIECE];
    } piece;
};

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static double deviation(const char *name, const struct tensor *t)
{
    static const char *const arms[] = {"conv2.weight",    "to_out.0.weight", "ff.net.2.weight",
                                       "proj_out.weight", "out_proj.weight", "fc2.weight"};
    if (ends_with(name, "embedding.weight"))
        return 0.02;
    double fan_in = (double)tensor_count(t) / (double)t->shape[0];
    for (size_t i = 0; i < sizeof arms / sizeof *arms; i++)
        if (ends_with(name, arms[i]))
            return 0.2 / sqrt(fan_in);
    return 1 / sqrt(fan_in);
}

static void store(enum dtype dtype, float value, size_t at, uint16_t *halves, float *floats)
{
    if (dtype == DTYPE_F32)
        floats[at] = value;
    else
        halves[at] = dtype == DTYPE_F16 ? f32_to_f16(value) : f32_to_bf16(value);
}

/* FNV-1a: a name as 32 bits. */
static uint32_t hash(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

/* Two elements from each word of the generator. */
static void draw(struct synthetic_numbers *g, struct mt19937 *mt, enum dtype dtype, size_t count)
{
    for (size_t i = 0; i < count; i += 2) {
        uint32_t word = mt19937_next(mt), low = word & 0xffff, high = word >> 16;
        size_t second = i + 1 < count ? i + 1 : i;
        if (dtype == DTYPE_F32) {
            g->piece.floats[i] = g->scaled.floats[low];
            g->piece.floats[second] = g->scaled.floats[high];
        } else {
            g->piece.halves[i] = g->scaled.halves[low];
            g->piece.halves[second] = g->scaled.halves[high];
        }
    }
}

status synthetic_numbers_emit(struct synthetic_numbers *g, const struct named_tensor *item,
                              status (*take)(void *self, const void *bytes, size_t size, struct error *e), void *self,
                              struct error *e)
{
    const struct tensor *t = &item->tensor;
    bool random = t->rank > 1;
    struct mt19937 mt;
    mt19937_seed_array(&mt, (uint32_t[]){(uint32_t)g->seed, (uint32_t)(g->seed >> 32), hash(item->name)}, 3);
    if (random) {
        double std = deviation(item->name, t);
        for (size_t i = 0; i < DRAWS; i++)
            store(t->dtype, (float)(std * g->normal[i]), i, g->scaled.halves, g->scaled.floats);
    }
    float constant = ends_with(item->name, "weight") ? 1 : 0; /* of a norm: other vectors are biases */
    for (int64_t left = tensor_count(t); left > 0;) {
        size_t count = left < PIECE ? (size_t)left : PIECE;
        if (random)
            draw(g, &mt, t->dtype, count);
        else
            for (size_t i = 0; i < count; i++)
                store(t->dtype, constant, i, g->piece.halves, g->piece.floats);
        TRY(take(self, &g->piece, count * dtype_size(t->dtype), e));
        left -= (int64_t)count;
    }
    return OK;
}

status synthetic_numbers_new(uint64_t seed, struct synthetic_numbers **out, struct error *e)
{
    struct synthetic_numbers *g = malloc(sizeof *g);
    if (g == NULL)
        return fail(e, ERR_MEMORY, "no memory to make numbers in");
    struct torch_rng normal;
    g->seed = seed;
    torch_seed(&normal, seed);
    torch_randn(&normal, g->normal, DRAWS);
    *out = g;
    return OK;
}

void synthetic_numbers_free(struct synthetic_numbers *g)
{
    free(g);
}
