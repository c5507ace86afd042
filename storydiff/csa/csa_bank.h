/* The bank: keys and values of the id panels, written by the write passes of a step and read by its read passes.
 *
 *   [layer][character][id panel][k, v][tokens, width]
 *
 * All panels advance together, so a bank of one half of one step is all that exists. (The reference keeps those of
 * all steps.) */
#ifndef STORYDIFF_CSA_BANK_H
#define STORYDIFF_CSA_BANK_H

#include "storydiff/csa/csa_plan.h"

struct csa_bank {
    struct csa_layers layers;
    int id_length;
    float **kept; /* [layers], private */
};

/* An empty bank for so many characters. Its memory is the arena's, which may be a measuring one. */
void csa_bank_start(struct csa_bank *bank, struct arena *arena, const struct csa_layers *layers, int characters,
                    int id_length);

/* K of an id panel [tokens, width]; V follows it. */
float *csa_bank_keys(const struct csa_bank *bank, int layer, int character, int panel);

#endif
