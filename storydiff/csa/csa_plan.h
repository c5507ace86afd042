/* The random decisions of consistent self-attention, one step at a time (RandSample in the paper's Algorithm 1).
 *
 *   subset   which tokens of an id panel the others see: torch.rand < rate, anew each step, for each grid of tokens
 *   gate     whether a layer is consistent at all: u in [0, 1) > .3; from step 20 on > .1; asked from `start` on
 *
 * Both come from random numbers seeded as in the reference, before every pass with the same seed; so all passes of a
 * step share one plan, drawn once. */
#ifndef STORYDIFF_CSA_PLAN_H
#define STORYDIFF_CSA_PLAN_H

#include <stdbool.h>

#include "tensor/arena.h"
#include "tensor/rng.h"

/* `masked` and `sampled` are the two forms that the reference has. They differ in when consistency starts, in when a
 * subset is drawn, in what read passes see before the start, and in the order of the keys. */
enum csa_mode { CSA_OFF, CSA_MASKED, CSA_SAMPLED };
extern const char *const csa_mode_names[]; /* "off", .., NULL */

/* What a read pass sees at the steps before `start`. */
enum csa_before { BEFORE_ALL_TOKENS, BEFORE_PLAIN };

struct csa_settings {
    enum csa_mode mode;
    int start;         /* first consistent step; at least 1. Defaults: masked 5, sampled 1 */
    double sa32, sa64; /* sampling rates of the grids (csa.h says why): sa32 of the first, sa64 of the others */
    int id_length;     /* id panels per character */
    enum csa_before read_before_start; /* BEFORE_ALL_TOKENS for masked, BEFORE_PLAIN for sampled */
    uint64_t seed;
};

/* The reference's values for a mode: rates 0.5, id_length 4. */
struct csa_settings csa_defaults(enum csa_mode mode);

enum { CSA_GRIDS = 3, CSA_MAX_ID_LENGTH = 16 }; /* grids: 1/32, 1/16, 1/8 of the pixels' height and width */

/* The self-attentions of the up blocks, in the order of execution: those of grid g are first[g] .. first[g + 1] - 1.
 */
struct csa_layers {
    int count, first[CSA_GRIDS + 1];
    int64_t tokens[CSA_GRIDS], width[CSA_GRIDS]; /* tokens and channels of such a layer; 0: there is none */
};

/* The grid, 0 .. CSA_GRIDS - 1, that a self-attention of the up blocks works on. */
int csa_grid(const struct csa_layers *layers, int layer);

/* What was decided for the current step. */
struct csa_plan {
    int step;                                    /* -1: none yet */
    double *gate;                                /* [layers] the number drawn, -1 where none is */
    bool *consistent;                            /* [layers] */
    int32_t *rows[CSA_GRIDS][CSA_MAX_ID_LENGTH]; /* sampled tokens of an id panel, ascending */
    int64_t count[CSA_GRIDS][CSA_MAX_ID_LENGTH];
    /* private */
    struct csa_settings settings;
    struct csa_layers layers;
    struct python_rng gates;
    struct torch_rng subsets;
    float *draws;
};

/* A plan before its first step. Its memory is the arena's, which may be a measuring one (it then decides nothing). */
void csa_plan_start(struct csa_plan *plan, struct arena *arena, const struct csa_settings *settings,
                    const struct csa_layers *layers);

/* Draws the plan of a step. Steps are visited in order from 0; a later one may be asked for directly (a resumed run),
 * the draws between are then made and dropped; so may an earlier one, which begins anew from the seed. */
void csa_plan_step(struct csa_plan *plan, int step);

#endif
