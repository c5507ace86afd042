#include "storydiff/csa/csa_bank.h"

/* Floats of K or V of one id panel. */
static int64_t size_of(const struct csa_layers *layers, int layer)
{
    int grid = csa_grid(layers, layer);
    return layers->tokens[grid] * layers->width[grid];
}

void csa_bank_start(struct csa_bank *bank, struct arena *arena, const struct csa_layers *layers, int characters,
                    int id_length)
{
    *bank = (struct csa_bank){.layers = *layers, .id_length = id_length};
    bank->kept = arena_bytes(arena, (size_t)layers->count * sizeof *bank->kept);
    for (int layer = 0; layer < layers->count; layer++) {
        float *kept = arena_floats(arena, (int64_t)characters * id_length * 2 * size_of(layers, layer));
        if (!arena_measuring(arena))
            bank->kept[layer] = kept;
    }
}

float *csa_bank_keys(const struct csa_bank *bank, int layer, int character, int panel)
{
    int64_t index = (int64_t)character * bank->id_length + panel;
    return bank->kept[layer] + index * 2 * size_of(&bank->layers, layer);
}
