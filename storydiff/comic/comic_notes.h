/* Nothing is silent: what was given and has no effect in this comic is said, once. */
#ifndef STORYDIFF_COMIC_NOTES_H
#define STORYDIFF_COMIC_NOTES_H

#include "storydiff/comic/comic.h"

/* Appends a line for each setting that somebody gave and that changes nothing here: one table, a row per setting. All
 * else of the comic is decided. */
void comic_note_effects(const struct comic *c, struct text *notes);

/* Appends a line if the sampler clamps what the model predicts only because the scheduler's config does not say
 * otherwise. diffusers' DDIM does so by default, and its own Stable Diffusion pipelines warn of it. */
void comic_note_clamping(const struct comic *c, struct text *notes);

#endif
