"""Stage 4: the autoencoder of twice the size, for latents that stay as they are.

    python3 grow.py configs/large.json FINE/vae-white.pt RUN       a start from the small one
    python3 train_large.py configs/large.json RUN decoder
    python3 train_large.py configs/large.json RUN encoder          goes on with the decoder beside it

The world is vector art: what the old encoder saw as a plain panel of 128 pixels can be drawn at 256 by a fine pen.

decoder     Draws the fine panel from the plain one's latents, and, in most panels, from what the UNet makes of them
            (deliver.py): mottled flats and broken lines are then inputs that it has learned to draw clean. Errors on
            figures count more.
encoder     Gives, for the fine panel, the latents that the old encoder gives for the plain one.

Whole panels always: group norms and the middle attention see what they will see in use.
"""
import glob
import random
import sys

import numpy as np
import torch

from loop import Loop, Parallel, read_config
from train_unet import load_latents
from train_vae import images, pixels, psnr
from vae import VAE
from world import PANELS, draw, sheet, story


def weights_of(panel, fine, person):
    """[H, W]: 1, and 1 + person where there is somebody."""
    place = np.asarray(draw(dict(panel, role='nobody'), fine.size[0], True), np.int16)
    return 1 + person * (np.abs(np.asarray(fine, np.int16) - place).max(2) > 12)


class Batches:
    """Batch k, from (seed, k) alone: latents, the fine panels, and how much each pixel counts."""

    def __init__(self, config, run, delivered):
        self.config, self.latents = config, load_latents(run, 'latents')
        self.delivered = load_latents(run, 'delivered') if delivered else None
        self.share = delivered

    def get(self, step, count, person):
        rng, z, fine, weights = random.Random(f'{self.config["seed"]}/large/{step}'), [], [], []
        for _ in range(count):
            some = self.delivered if rng.random() < self.share else self.latents
            index, number = rng.randrange(len(some)), rng.randrange(PANELS)
            panel = story(self.config['seed'], index, self.config['world'])[number]
            if panel['role'] == 'both' and some is self.delivered:
                some = self.latents
            fine.append(draw(panel, self.config['vae']['pixels'], True))
            weights.append(weights_of(panel, fine[-1], person))
            z.append(some[index, number])
        return torch.from_numpy(np.stack(z)).float(), pixels(fine), torch.from_numpy(np.stack(weights)).float()[:, None]


def decoder_losses(vae, part, drawn=None):
    z, x, weight = part
    error = (vae.decode(z) if drawn is None else drawn) - x
    across, down = error.diff(dim=3), error.diff(dim=2)
    edges = (weight[..., 1:] * across.abs()).mean() + (weight[..., 1:, :] * down.abs()).mean()
    loss = (weight * error.abs()).mean() + .5 * edges + .5 * (weight * error.square()).mean()
    return loss, dict(squared=error.detach().clamp(-2, 2).square().mean(), absolute=error.detach().abs().mean())


def encoder_losses(vae, part):
    z, x, _ = part
    mean, log_variance = vae.encode(x)
    squared = (mean - z).square().mean()
    return squared + 1e-4 * (log_variance + 12).square().mean(), dict(squared=squared.detach())


@torch.no_grad()
def unseen(vae, config, count=96):
    """PSNR of panels that no stage has seen, and the panels before and after."""
    panels = [story(-1, i, config['world'], 1)[0] for i in range(count)]
    x = pixels([draw(panel, config['vae']['pixels'], True) for panel in panels])
    again = torch.cat([vae.decode(vae.encode(one)[0]) for one in x.split(4)]).clamp(-1, 1)
    return psnr((again - x).square().mean()), x, again


def main(config_path, run, part):
    config = read_config(config_path)
    options = config['train'][part]
    torch.manual_seed(config['seed'])
    vae, parallel = VAE(**config['vae']['net']), Parallel(1)
    vae.load_state_dict(torch.load(f'{run}/grown.pt'))
    for name, parameter in vae.named_parameters():
        parameter.requires_grad = name.startswith(('decoder', 'post')) == (part == 'decoder')
    vae.to(memory_format=torch.channels_last)
    losses = decoder_losses if part == 'decoder' else encoder_losses
    batches = Batches(config, run, options.get('delivered', 0))
    loop = Loop(f'{run}/{part}.pt', vae, options['steps'], options['rate'], average=.998)
    reports = []
    for step in loop:
        batch = batches.get(step, options['batch'], options.get('person', 0))
        reports += parallel.gradients(loop.parameters, lambda part: losses(vae, part), [batch])
        loop.update()
        if (step + 1) % 50 == 0:
            loop.log(**{k: psnr(sum(r[k] for r in reports) / len(reports)) if k == 'squared' else
                        sum(r[k] for r in reports) / len(reports) for k in reports[0]})
            reports = []
        if (step + 1) % 200 == 0:
            finish(loop, run, part)
    finish(loop, run, part)
    if loop.stopping:
        return
    vae.load_state_dict(torch.load(f'{run}/vae-white.pt'))
    decibels, x, again = unseen(vae, config)
    print(f'unseen panels: {decibels:.2f} dB')
    sheet([images(v[i:i + 6]) for i in range(0, 24, 6) for v in (x, again)], x.shape[-1]).save(f'{run}/vae.png')


def finish(loop, run, part):
    """The averaged weights of this part, in a file of their own; vae-white.pt has those of both."""
    mine = ('decoder', 'post') if part == 'decoder' else ('encoder', 'quant')
    torch.save({k: v for k, v in loop.average.items() if k.startswith(mine)}, f'{run}/{part}-average.pt')
    state = torch.load(f'{run}/grown.pt')
    for path in glob.glob(f'{run}/*-average.pt'):
        state.update(torch.load(path))
    torch.save(state, f'{run}/vae-white.pt')


if __name__ == '__main__':
    main(*sys.argv[1:])
