/* Sinusoidal embeddings of scalars: time steps, and SDXL's sizes and crops.
 *
 *   f_i = 10000^(-i / (half - shift)),  i = 0 .. half-1,  half = dim / 2
 *   out = [cos(t f_0) .. cos(t f_half-1), sin(t f_0) .. ]        flip_sin_to_cos, as Stable Diffusion has it
 *   out = [sin .., cos ..]                                       otherwise
 *
 * Source: Ho et al. 2020 after Vaswani et al. 2017, section 3.5; diffusers get_timestep_embedding. */
#ifndef NN_EMBEDDING_H
#define NN_EMBEDDING_H

#include <stdint.h>

enum embedding_order { COSINE_FIRST, SINE_FIRST };

/* out: [dim]. t may be fractional (Karras sigmas make such time steps). dim is even and > 2 shift. */
void sinusoidal_embedding(float *out, double t, int64_t dim, double shift, enum embedding_order order);

#endif
