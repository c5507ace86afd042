/* Noise schedules: how much noise there is at each training step, and which of them a sampler visits.
 *
 *   alphas_cumprod[t] = product of (1 - beta_s) for s = 0 .. t           a-bar in Ho et al. 2020, eq. 4
 *   x_t = sqrt(a) x_0 + sqrt(1 - a) noise,   a = alphas_cumprod[t]     variance preserving: DDIM, LCM, PNDM, DPM-Solver
 *   x_t / sqrt(a) = x_0 + sigma noise,       sigma = sqrt((1 - a) / a) variance exploding: Euler
 *
 * The surprise: precision is part of the definition. The reference holds betas and alphas in float32, where 1 - a
 * near t = 0 has lost four digits; so do we, or our last sigmas would not be its own.
 *
 * Sources: diffusers 0.25; Lin et al. 2023 (Common Diffusion Noise Schedules and Sample Steps are Flawed), table 2
 * for the spacings and algorithm 1 for the zero terminal SNR. */
#ifndef SDXL_SCHEDULE_H
#define SDXL_SCHEDULE_H

#include <stdint.h>

#include "sdxl/sampling/scheduler_config.h"
#include "tensor/status.h"

/* alphas_cumprod: [settings->num_train_timesteps], strictly between 0 and 1, but for a last one of 0 with
 * rescale_betas_zero_snr. Fails if the betas do not give such. `source` names the config in messages. */
status schedule_alphas_cumprod(const struct scheduler_settings *settings, const char *source, float *alphas_cumprod,
                               struct error *e);

/* sigmas[t] = sqrt((1 - a) / a). Both: [count]. */
void schedule_sigmas(const float *alphas_cumprod, int64_t count, float *sigmas);

/* The sigma at a fractional timestep, by linear interpolation; the ends go on outside. sigmas: [count]. */
double schedule_sigma_at(const float *sigmas, int64_t count, double t);

/* The inverse, interpolated in log sigma, in the float32 arithmetic of the reference. */
double schedule_timestep_at(const float *log_sigmas, int64_t count, double log_sigma);

/* Karras et al. 2022, eq. 5 with rho = 7: sigmas[0] = sigma_max .. sigmas[steps-1] = sigma_min. */
void schedule_karras(double sigma_max, double sigma_min, int steps, double *sigmas);

/* The spacings write timesteps in sampling order, so descending; they may be fractional and are not rounded here,
 * except by trailing.
 *   leading   i * (range / points), integer division, + offset         short of the last training step by a stride
 *   linspace  from range - 1 to 0, both included
 *   trailing  range - i * stride, rounded, - 1                         always begins at the last training step */
void schedule_leading(int64_t range, int points, int offset, double *timesteps);
void schedule_linspace(int64_t range, int points, double *timesteps);
/* At most `points`, fewer if they would fall below 0; returns how many. */
int schedule_trailing(int64_t range, double stride, int points, double *timesteps);

/* The three over all training steps: what DDIM and the two Euler samplers do. Returns how many, at most `steps`. */
int schedule_timesteps(const struct scheduler_settings *settings, int steps, double *timesteps);

#endif
