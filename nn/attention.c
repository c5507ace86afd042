/* Which form of attention is run. */
#include "nn/attention_forms.h"

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

void attention(const struct context *ctx, const struct attention *a)
{
    double start = seconds_now();
    const struct attention_kernels *kernels = attention_kernels(cpu_family());
    if (kernels != NULL && a->d % ATTENTION_CHANNELS == 0)
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
