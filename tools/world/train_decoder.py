"""Stage 3: the decoder repairs what the UNet leaves.

Most of its latents are noised to one of the last two steps of twelve and denoised again by the UNet as the program
does it (LCM's steps: to the clean latents at once, and fresh noise; guidance, consistent self-attention): the panel
stays what it was, the blemishes are the UNet's own, the picture asked for is the clean one. Mottled flats and broken
lines are then inputs that it has learned to draw clean. From earlier steps shapes come back elsewhere, and it would
learn to blur.
"""
import torch

from diffusion import ALPHAS
from train_unet import consistency_of
from train_vae import drawing_losses, picked, unpacked
from training import DEVICE, Training, compiled
from world import PANELS

TIMES, GUIDANCE = (166, 83), 2.0   # the last two of 12


def training(vae, model, latents, images, matter, options):
    """A third of what is drawn is as encoded, the rest delivered."""
    for name, parameter in vae.named_parameters():
        parameter.requires_grad = name.startswith(('decoder', 'post'))
    alphas = [float(ALPHAS[t]) for t in TIMES]
    some = options['batch'] // 3 // PANELS * PANELS

    def again(z, noise, time, text, pooled, consistency):
        """The latents noised to `time` of TIMES and denoised in one step."""
        a = alphas[time]
        x = a ** .5 * z + (1 - a) ** .5 * noise
        t = torch.full((len(z),), TIMES[time], device=z.device)
        with_text = model(x, t, text, pooled, consistency).float()
        consistency.layer = 0
        v = model(x, t, 0 * text, 0 * pooled, consistency).float()
        consistency.layer = 0
        return a ** .5 * x - (1 - a) ** .5 * (v + GUIDANCE * (with_text - v))

    @compiled
    def delivered(z, noise, batch):
        text, pooled = model.encode(batch['ids'][:2 * some], batch['ids_2'][:2 * some])
        consistency = consistency_of(batch, 2 * some)
        once = again(z, noise[0], 0, text, pooled, consistency)
        return again(torch.cat([once[:some], z[some:]]), noise[1], 1, text, pooled, consistency)

    @compiled
    def drawn(z, images, matter):
        x, weight = unpacked(images, matter, options['person'])
        return drawing_losses(vae.decode(z), x, weight)

    def losses(batch):
        which = batch['which'][:3 * some]
        z = latents.index_select(0, which).float()
        with torch.no_grad():
            noise = torch.randn((2, *z[:2 * some].shape), device=DEVICE)
            z = torch.cat([delivered(z[:2 * some], noise, batch), z[2 * some:]])
        loss, squared = drawn(z, *picked(images, matter, which))
        return loss, dict(squared=squared)

    return Training('decoder', vae, losses, options['rate'], average=.998)
