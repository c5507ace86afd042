"""The noise schedule, what the UNet is asked to predict, and the sampler that asks it.

    alphas_cumprod a_t from betas that rise linearly in their square roots, as SDXL's
    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e          v = sqrt(a_t) e - sqrt(1 - a_t) x_0     (Salimans & Ho 2022)

The last beta is .02 where SDXL has .012: at t = 999 only 1.6 % of the panel is left in the noise, not 6.8 %. A white
line drawing and a night sky differ so much in their mean that 6.8 % would give them away in training, and be missed
in sampling.

Sampling is DDIM without noise (eta 0) on trailing steps: the first step starts at t = 999, where training ended.
"""
import torch

BETA_START, BETA_END, STEPS = .00085, .02, 1000
betas = torch.linspace(BETA_START ** .5, BETA_END ** .5, STEPS, dtype=torch.float64) ** 2
ALPHAS = torch.cumprod(1 - betas, 0).float()


def mixed(x0, noise, t):
    """x_t and v for each panel of the batch."""
    a = ALPHAS.to(x0.device)[t][:, None, None, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x0


def trailing(count):
    """Time steps, first to last: 4 steps are 999, 749, 499, 249."""
    return [round(STEPS - i * STEPS / count) - 1 for i in range(count)]


@torch.no_grad()
def sample(model, captions, noise, pixels, steps=20, guidance=5.0, negative=None, consistency=None, start=1):
    """captions (stories one after the other) and noise [n, 4, h, w] -> latents.

    negative None is SDXL's empty prompt: all-zero text. `consistency()` makes the Consistency of one step, from step
    `start` on.
    """
    n, x = len(captions), noise
    text, pooled = model.encode(captions)
    other = [torch.zeros_like(y) for y in (text, pooled)] if negative is None else model.encode([negative] * n)
    text, pooled = torch.cat([other[0], text]), torch.cat([other[1], pooled])
    times = trailing(steps)
    for i, t in enumerate(times):
        seen = consistency() if consistency and i >= start else None
        both = model(torch.cat([x, x]), torch.full((2 * n,), t, device=x.device), text, pooled, pixels, seen)
        without, with_text = both.chunk(2)
        v = without + guidance * (with_text - without)
        a = ALPHAS[t]
        x0, noise = a.sqrt() * x - (1 - a).sqrt() * v, a.sqrt() * v + (1 - a).sqrt() * x
        after = ALPHAS[times[i + 1]] if i + 1 < steps else torch.tensor(1.0)
        x = after.sqrt() * x0 + (1 - after).sqrt() * noise
    return x
