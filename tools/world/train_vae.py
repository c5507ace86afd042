"""Stage 1: the autoencoder, on crops of panels.

    python3 train_vae.py configs/fine.json RUN

The loss is absolute error + squared error + half the error of differences between neighbours (edges) + a hint: three
numbers read linearly off each latent must be the mean colour of its patch. Without the hint a small autoencoder keeps
edges and forgets hue: two of four latent channels die and green comes out grey, while the PSNR looks fine. With it,
latents are also smooth, thumbnail-like images, which is what a small diffusion model learns most easily.
"""
import math
import random
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from loop import DEVICE, Loop, Parallel, read_config
from vae import VAE
from world import draw, sheet, story


def pixels(images):
    """PIL images of one size -> [n, 3, H, W] in -1..1."""
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float() / 127.5 - 1


def images(x):
    """The inverse: [n, 3, H, W] -> PIL images."""
    from PIL import Image
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(i) for i in x]


def crops(seed, step, count, crop, world):
    """Three steps of four: square crops of 128 px panels and whole panels of the crop's size. The fourth: a few whole
    panels, so that group norms meet whole panels too."""
    rng, out = random.Random(f'{seed}/vae/{step}'), []
    if step % 4 == 3:
        whole = [story(seed, rng.randrange(1 << 30), world, 1)[0] for _ in range(count // 4)]
        return pixels([draw(panel, 2 * crop) for panel in whole])
    while len(out) < count:
        panel = story(seed, rng.randrange(1 << 30), world, 1)[0]
        if rng.random() < .2:
            out.append(draw(panel, crop))
            continue
        whole = draw(panel, 2 * crop)
        for _ in range(2):
            x, y = min(crop, max(0, round(rng.gauss(.5, .3) * crop))), rng.randrange(crop + 1)
            out.append(whole.crop((x, y, x + crop, y + crop)))
    return pixels(out[:count])


def psnr(error):
    return 10 * math.log10(4 / max(float(error), 1e-9))


class Training(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.vae = VAE(**config['vae']['net'])
        self.hint = nn.Conv2d(config['vae']['net']['latent_channels'], 3, 1)

    def losses(self, x, noise):
        mean, log_variance = self.vae.encode(x)
        z = mean + torch.exp(.5 * log_variance) * noise
        error = self.vae.decode(z) - x
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        colour = (self.hint(z) - F.avg_pool2d(x, x.shape[-1] // z.shape[-1])).square().mean()
        kl = .5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = error.abs().mean() + error.square().mean() + .5 * edges + 2 * colour + 1e-4 * kl
        return loss, dict(squared=error.square().mean().detach(), colour=colour.detach(), kl=kl.detach())


def main(config_path, run):
    config = read_config(config_path)
    options, channels = config['train']['vae'], config['vae']['net']['latent_channels']
    torch.manual_seed(config['seed'])
    training, parallel = Training(config).to(DEVICE), Parallel(options['workers'])
    loop = Loop(f'{run}/vae.pt', training, options['steps'], options['rate'], average=.995)
    factor, reports = 2 ** (len(config['vae']['net']['widths']) - 1), []
    for step in loop:
        x = crops(config['seed'], step, options['batch'], options['crop'], config['world'])
        torch.manual_seed(config['seed'] * 1000003 + step)
        noise = torch.randn(len(x), channels, x.shape[2] // factor, x.shape[3] // factor)
        parts = list(zip(x.to(DEVICE).chunk(parallel.workers), noise.to(DEVICE).chunk(parallel.workers)))
        reports += parallel.gradients(loop.parameters, lambda part: training.losses(*part), parts)
        loop.update()
        if (step + 1) % 100 == 0:
            mean = {k: sum(r[k] for r in reports) / len(reports) for k in reports[0]}
            loop.log(psnr=psnr(mean['squared']), colour=psnr(mean['colour']), kl=mean['kl'])
            reports = []
    if loop.stopping:
        return
    training.load_state_dict(loop.average)
    vae = training.vae.cpu().eval()
    with torch.no_grad():
        x = pixels([draw(story(-1, i, config['world'], 1)[0], config['vae']['pixels']) for i in range(96)])
        latents = torch.cat([vae.encode(part)[0] for part in x.split(16)])
        print('eigenvalues of the latents', [round(v, 4) for v in vae.whiten(latents, config['vae']['whiten'])])
        again = torch.cat([vae.decode(vae.encode(part)[0]) for part in x.split(16)]).clamp(-1, 1)
        latents = torch.cat([vae.encode(part)[0] for part in x.split(16)])
    print(f'unseen panels: {psnr((again - x).square().mean()):.2f} dB; latents std {latents.std((0, 2, 3)).tolist()}')
    torch.save(vae.state_dict(), f'{run}/vae-white.pt')
    rows = [i for k in range(0, 32, 8) for i in (images(x[k:k + 8]), images(again[k:k + 8]))]
    sheet(rows, config['vae']['pixels']).save(f'{run}/vae.png')


if __name__ == '__main__':
    main(*sys.argv[1:])
