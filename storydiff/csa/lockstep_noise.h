/* The noise of a lockstep, a part of lockstep.c: which random generators there are, and what each draws for whom.
 *
 *   reference   a generator for every pass: torch.randn((panels of the pass, c, h, w)), as the reference's calls do
 *   shared      one: torch.randn((1, c, h, w)) for all panels
 *   own         one: torch.randn((panels of the story, c, h, w))
 *
 * Where panels have seeds of their own, there is a set of these for every seed, and a panel takes its place in the draw
 * of its seed: it gets what it would get if the whole story had that seed. */
#ifndef STORYDIFF_LOCKSTEP_NOISE_H
#define STORYDIFF_LOCKSTEP_NOISE_H

#include "storydiff/csa/lockstep.h"

/* Values in one latent. */
static inline int64_t lockstep_latent_size(const struct lockstep *l)
{
    return l->h * l->w * l->c;
}

/* Generators for one seed: passes, or 1. */
int noise_groups(const struct lockstep_request *r);

/* The seeds of all drawn panels, each once, in the order of the passes; returns how many. seeds NULL: the number of
 * drawn panels, which is at least that. */
int noise_seeds(const struct lockstep_request *r, uint64_t *seeds);

/* l->noise: fresh noise for every panel that is drawn. */
void noise_draw(struct lockstep *l);

/* The generators as they are before step l->step: seeded, the initial noise drawn, the noise of the steps done drawn.
 */
void noise_replay(struct lockstep *l);

#endif
