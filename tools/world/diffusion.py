"""The noise schedule, and what the UNet is asked to predict.

    alphas_cumprod a_t from betas that rise linearly in their square roots, as SDXL's
    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e          v = sqrt(a_t) e - sqrt(1 - a_t) x_0     (Salimans & Ho 2022)

The last beta is .02 where SDXL has .012: at t = 999 only 1.5 % of the panel is left in the noise, not 6.8 %. A white
line drawing and a night sky differ so much in their mean that 6.8 % would give them away in training, and be missed
in sampling.

The model is sampled by storydiff: DDIM on trailing steps, so that the first starts at t = 999, where training ended.
"""
import torch

BETA_START, BETA_END, STEPS = .00085, .02, 1000
betas = torch.linspace(BETA_START ** .5, BETA_END ** .5, STEPS, dtype=torch.float64) ** 2
ALPHAS = torch.cumprod(1 - betas, 0).float()


def mixed(x0, seen, noise, a):
    """For each panel of the batch, a [n] of ALPHAS: x_t, made of `seen`, and the v that leads from there to x0."""
    a = a[:, None, None, None]
    noisy = a.sqrt() * seen + (1 - a).sqrt() * noise
    return noisy, (a.sqrt() * noisy - x0) / (1 - a).sqrt()   # where seen is x0: sqrt(a_t) e - sqrt(1 - a_t) x_0
