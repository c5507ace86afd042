/* Consistent self-attention (StoryDiffusion: Zhou et al. 2024, section 3.1): who sees whom.
 *
 * In the self-attentions of the UNet's up blocks a panel attends, beside its own tokens, to randomly sampled tokens
 * (the paper's RandSample; csa_plan.h) of the panels that define its character (the id panels):
 *
 *   write pass   all id panels of a character together: each sees itself and a sample of every other one
 *   read pass    one later panel: sees itself and a sample of the id panels of every character it names
 *
 * In each layer and step a gate decides between this and ordinary self-attention. Keys and values of a write pass are
 * kept in a bank (csa_bank.h) until the read passes of the same step are done. There is no mask and no concatenation:
 * an attention over several key sets with row lists is exactly this (nn/attention.h).
 *
 * Where and at which rate: in every self-attention of the up blocks, by how coarse its grid of tokens is,
 *
 *   1/32 of the pixels' height and width   SDXL's up_blocks.0, SD 1.5's up_blocks.1   rate sa32
 *   1/16                                   SDXL's up_blocks.1, SD 1.5's up_blocks.2   rate sa64
 *   1/8                                                        SD 1.5's up_blocks.3   rate sa64
 *
 * The names come from SDXL's 1024 px, at which the grids have 32 x 32 and 64 x 64 tokens; so a rate means the same part
 * of the picture in every model and at every size. SDXL has no attention at 1/8, and the reference, whose code that
 * runs is for SDXL alone, has no rate for it; sa64 is taken because the share of a fine grid that is enough to know a
 * face by is enough all the more where the grid is finer. Each grid draws a subset of its own. */
#ifndef STORYDIFF_CSA_H
#define STORYDIFF_CSA_H

#include "sdxl/unet/unet.h"
#include "storydiff/csa/csa_bank.h"
#include "storydiff/csa/csa_plan.h"
#include "storydiff/story/plan.h"

struct csa {
    struct csa_settings settings;
    struct csa_layers layers;
    struct csa_plan plan; /* csa_plan_step before each step */
    struct csa_bank bank;
    struct arena memory; /* private: plan and bank */
};

/* The most characters that one panel may name: so many that all their id panels, and itself, fit into HOOK_KEY_SETS. */
int csa_most_characters(int id_length);

/* How many bytes csa_open will ask for: plan and bank. */
size_t csa_memory(const struct unet *u, const struct csa_settings *settings, int64_t h, int64_t w, int characters);

/* h, w: size of the latents, multiples of 4. Refuses a UNet with self-attention on the way up at less than 1/32 of the
 * pixels, or with none at all, rates outside [0, 1], a start below 1, an id_length outside 1 .. CSA_MAX_ID_LENGTH. The
 * caller closes it. */
status csa_open(struct csa *csa, const struct unet *u, const struct csa_settings *settings, int64_t h, int64_t w,
                int characters, struct error *e);
void csa_close(struct csa *csa); /* fine on a zeroed struct */

/* A batch under way, one sample per panel of the pass, all of one half (0: unconditional where there is guidance);
 * given to the UNet through csa_hook. The halves never see each other, so the bank is that of one: all passes of a
 * half, then all of the other.
 *
 * A write pass has id_length panels. A read pass names characters that are written before it, so few that
 * character_count * id_length < HOOK_KEY_SETS. */
struct csa_pass {
    struct csa *csa;
    const struct story_pass *pass;
    int half; /* for the observer's names alone */
};

/* The hook for one call of unet_forward. It points at *pass, which must outlive that call. */
struct attention_hook csa_hook(struct csa_pass *pass);

#endif
