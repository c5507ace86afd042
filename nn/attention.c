/* Chooses the form of attention. */
#include "nn/attention.h"

#include "nn/attention_forms.h"

const struct attention_kernels *attention_kernels(enum cpu_family family)
{
    switch (family) {
    case CPU_AVX2: return attention_kernels_avx2();
    case CPU_AVX512: return attention_kernels_avx512();
    case CPU_PORTABLE:
    case CPU_OPENBLAS: break;
    }
    return NULL;
}

/* The heads of real models are 40 to 160 wide, 512 in the VAE. Smaller ones are in models made for tests: those amplify
 * rounding so much that their recordings can only be compared with sums in double. */
static const struct attention_kernels *kernels_for(int64_t d)
{
    return d % 16 == 0 && d <= 512 ? attention_kernels(cpu_family()) : NULL;
}

void attention(const struct context *ctx, const struct attention *a)
{
    double start = seconds_now();
    const struct attention_kernels *kernels = kernels_for(a->d);
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
