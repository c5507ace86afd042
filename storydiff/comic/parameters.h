/* The `parameters` text of a PNG: what the web UIs and picture sorters of others read. Beside our own recipe, which
 * says more.
 *
 *   comic book style,  a girl ..            the final prompt; of a page, the prompts of its panels, a line each
 *   Negative prompt: photo, realistic
 *   Steps: 40, Sampler: DDIM, CFG scale: 2, Seed: 4, Size: 128x128, Model: world, Version: storydiff 0.1.0
 *
 * Source: the format of AUTOMATIC1111's web UI (modules/infotext_utils.py reads it). */
#ifndef STORYDIFF_PARAMETERS_H
#define STORYDIFF_PARAMETERS_H

#include "storydiff/comic/comic.h"

extern const char PARAMETERS_KEY[];

/* panels: [count] whose prompts it has, from 0. */
void parameters_append(struct text *out, const struct comic *c, const int *panels, int count);

/* What those programs call a sampler of ours ("DPM++ 2M" for dpmpp_2m and dpmpp_2m_karras), or `sampler` itself. */
const char *parameters_sampler(const char *sampler);

#endif
