"""Stage 1: the autoencoder, on whole panels.

The loss is absolute + squared error, half the error of differences between neighbours (edges), all counted more on
figures, and a hint: three numbers read linearly off each latent must be the mean colour of its patch. Without the hint
a small autoencoder keeps edges and forgets hue. With it, latents are also smooth, thumbnail-like images, which is what
a small diffusion model learns most easily.
"""
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from training import DEVICE, Training, compiled


def pixels(images):
    """PIL images of one size -> [n, 3, H, W] in -1..1."""
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float() / 127.5 - 1


def images(x):
    """The inverse: [n, 3, H, W] -> PIL images."""
    from PIL import Image
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(i) for i in x]


def psnr(error):
    return 10 * math.log10(4 / max(float(error), 1e-9))


def picked(images, matter, which):
    """Some panels of the pool, as bytes."""
    return images.index_select(0, which), matter.index_select(0, which)


def unpacked(images, matter, person):
    """-> [n, 3, H, W] in -1..1, and [n, 1, H, W] how much each pixel counts."""
    x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    return x, F.interpolate(1 + person / 255 * matter[:, None].float(), size=x.shape[-1], mode='nearest')


def drawing_losses(again, x, weight):
    """-> loss, squared error"""
    error = again.float() - x
    across, down = error.diff(dim=3), error.diff(dim=2)
    edges = (weight[..., 1:] * across.abs()).mean() + (weight[..., 1:, :] * down.abs()).mean()
    loss = (weight * error.abs()).mean() + .5 * edges + 2 * (weight * error.square()).mean()
    return loss, error.clamp(-2, 2).square().mean()


class WithHint(nn.Module):
    def __init__(self, vae, channels):
        super().__init__()
        self.vae, self.hint = vae, nn.Conv2d(channels, 3, 1)


def train(vae, images, matter, ready, options, deadline, between):
    """`ready()`: how many panels of the pool are on the device. -> the learning curve"""
    channels, factor = vae.post_quant_conv.in_channels, 2 ** (len(vae.encoder.down_blocks) - 1)
    net = WithHint(vae, channels).to(DEVICE).to(memory_format=torch.channels_last)
    latents = options['batch'], channels, images.shape[1] // factor, images.shape[2] // factor

    @compiled
    def through(some, matter, noise):
        x, weight = unpacked(some, matter, options['person'])
        mean, log_variance = net.vae.encode(x)
        z = mean + torch.exp(.5 * log_variance) * noise
        loss, squared = drawing_losses(net.vae.decode(z), x, weight)
        colour = (net.hint(z).float() - F.avg_pool2d(x, factor)).square().mean()
        kl = .5 * (mean.square() + log_variance.exp() - 1 - log_variance).float().mean()
        return loss + colour + options['kl'] * kl, squared, colour, kl

    def losses(batch):
        noise = torch.randn(latents, device=DEVICE)
        loss, squared, colour, kl = through(*picked(images, matter, batch['which']), noise)
        return loss, dict(squared=squared, colour=colour, kl=kl)

    def batches():
        return dict(which=torch.randint(ready(), (options['batch'],), device=DEVICE))

    return Training('vae', net, losses, options['rate'], average=.998).run(batches, deadline, between)


@torch.no_grad()
def encoded(vae, images, batch=128):
    """-> latents [n, 4, h, w] float16 on the CPU."""
    out = []
    for some in images.split(batch):
        x = some.permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == 'cuda'):
            out.append(vae.encode(x)[0].half().cpu())
    return torch.cat(out)
