/* Consistent self-attention (StoryDiffusion: Zhou et al. 2024, section 3.1): who sees whom.
 *
 * In the self-attentions of the UNet's up blocks a panel attends, beside its own tokens, to randomly sampled tokens
 * of the panels that define its character (the id panels):
 *
 *   write pass   all id panels of a character together: each sees itself and a sample of every other one
 *   read pass    one later panel: sees itself and a sample of the id panels of every character it names
 *
 * Sampling says which tokens: one subset per id panel, drawn anew each step. A gate says whether: in each layer and
 * step a number u in [0, 1) decides between this (u > .3; from step 20 on, u > .1) and ordinary self-attention. Both come from random numbers seeded as in the
 * reference, before every pass with the same seed; so all passes of a step share one plan, drawn once.
 *
 * Keys and values of a write pass are kept in a bank until the read passes of the same step are done: all panels
 * advance together, so a bank of one half of one step is all that exists. There is no mask and no concatenation: an
 * attention over several key sets with row lists is exactly this (nn/attention.h).
 *
 * Two forms exist, as the reference has them, `masked` and `sampled`. They differ in when consistency starts, in when
 * a subset is drawn, in what read passes see before the start, and in the order of the keys. */
#ifndef STORYDIFF_CSA_H
#define STORYDIFF_CSA_H

#include "sdxl/unet/unet.h"
#include "tensor/rng.h"

enum csa_mode { CSA_OFF, CSA_MASKED, CSA_SAMPLED };

/* What a read pass sees at the steps before `start`. */
enum csa_before { BEFORE_ALL_TOKENS, BEFORE_PLAIN };

struct csa_settings {
    enum csa_mode mode;
    int start;         /* first consistent step; at least 1. Defaults: masked 5, sampled 1 */
    double sa32, sa64; /* sampling rates at the layers of 1/32 and 1/16 of the pixels' height and width: at 1024 px
                          their grids are 32 x 32 and 64 x 64 tokens, which gave the names */
    int id_length;     /* id panels per character */
    enum csa_before read_before_start; /* BEFORE_ALL_TOKENS for masked, BEFORE_PLAIN for sampled */
    uint64_t seed;
};

/* The reference's values for a mode: rates 0.5, id_length 4. */
struct csa_settings csa_defaults(enum csa_mode mode);

enum { CSA_GRIDS = 2, CSA_MAX_ID_LENGTH = 16 }; /* grids: 0 = 1/32 (up_blocks.0), 1 = 1/16 (up_blocks.1) */

/* What was decided for the current step. */
struct csa_plan {
    int step;                                    /* -1: none yet */
    double *gate;                                /* [layers] the number drawn, -1 where none is */
    bool *consistent;                            /* [layers] */
    int32_t *rows[CSA_GRIDS][CSA_MAX_ID_LENGTH]; /* sampled tokens of an id panel, ascending */
    int64_t count[CSA_GRIDS][CSA_MAX_ID_LENGTH];
};

struct csa {
    struct csa_settings settings;
    int layers, layers32;                        /* self-attentions in all up blocks, in up_blocks.0 */
    int64_t tokens[CSA_GRIDS], width[CSA_GRIDS]; /* tokens and channels of a layer */
    int characters;
    struct csa_plan plan;
    /* private */
    struct python_rng gates;
    struct torch_rng subsets;
    struct arena memory;
    float *draws;
    float **bank; /* [layers] -> [characters, id_length, 2 (k, v), tokens, width], of one half */
};

/* How many bytes csa_open will ask for: plan and bank. */
size_t csa_memory(const struct unet *u, const struct csa_settings *settings, int64_t h, int64_t w, int characters);

/* h, w: size of the latents, multiples of 4. Refuses a UNet whose up blocks are not those of SDXL (CSA is defined on
 * the two lowest of three levels), rates outside [0, 1], a start below 1, an id_length outside 1 .. CSA_MAX_ID_LENGTH.
 * The caller closes it. */
status csa_open(struct csa *csa, const struct unet *u, const struct csa_settings *settings, int64_t h, int64_t w,
                int characters, struct error *e);
void csa_close(struct csa *csa); /* fine on a zeroed struct */

/* Draws the plan of a step. Steps are visited in order from 0; a later one may be asked for directly (a resumed run),
 * the draws between are then made and dropped; so may an earlier one, which begins anew from the seed. */
void csa_begin_step(struct csa *csa, int step);

/* A batch under way, one sample per panel, all of one half (0: unconditional where there is guidance); given to the
 * UNet through csa_hook. The halves never see each other, so the bank is that of one: all passes of a half, then all
 * of the other. */
enum csa_role { CSA_WRITE, CSA_READ };
struct csa_pass {
    struct csa *csa;
    enum csa_role role;
    int half;              /* for the observer's names alone */
    const int *characters; /* numbers from 0 to csa.characters - 1. Write: the one, whose id_length panels the batch
                              is; read: those named in the panel, in the order of their lines, all written before */
    int character_count;   /* so few that character_count * id_length < HOOK_KEY_SETS */
};
struct attention_hook csa_hook(struct csa_pass *pass);

#endif
