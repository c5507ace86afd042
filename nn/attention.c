/* Which form of attention is run. */
#include "nn/attention_forms.h"
#include "tensor/activation.h"

const struct attention_kernels *attention_kernels(enum cpu_family family)
{
#if defined(__x86_64__)
    switch (family) {
    case CPU_AVX512: return &attention_avx512;
    case CPU_AVX2: return &attention_avx2;
    case CPU_PORTABLE:
    case CPU_OPENBLAS: break;
    }
#endif
    (void)family;
    return NULL;
}

/* Narrow layers are computed by the definition: tensor/gemm_portable.c says why. */
static const struct attention_kernels *kernels_for(const struct attention *a)
{
    bool narrow = a->heads * a->d < NARROW_LAYER;
    return narrow || a->d % ATTENTION_CHANNELS != 0 ? NULL : attention_kernels(cpu_family());
}

void attention(const struct context *ctx, const struct attention *a)
{
    double start = seconds_now();
    const struct attention_kernels *kernels = kernels_for(a);
    if (kernels != NULL)
        attention_tiled(ctx, a, kernels);
    else
        attention_portable(ctx, a);
    int64_t keys = 0;
    for (int i = 0; i < a->count; i++)
        keys += a->sets[i].n;
    double pairs = (double)a->queries * (double)keys, width = (double)(a->heads * a->d);
    profile_add(ctx->profile, OP_ATTENTION, start, 4 * pairs * width,
                4 * width * (2 * (double)a->queries + 2 * (double)keys));
}
