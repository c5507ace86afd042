"""Stage 5: lines instead of smears. The decoder goes on, told by a critic what drawn patches look like.

    python3 train_critic.py configs/large.json RUN      goes on from RUN/vae-white.pt, and ends there

Where the latents leave a line's place open, the least mean error is a smear between its places. The critic (a small
network of patches, with spectral norm and the hinge loss, beside the decoder's own losses as in the autoencoder of
Rombach et al. 2022) has never seen smears in drawn panels. Its pull is kept at `strength` of the other losses', both
measured at the picture.

`watercolors` of the panels are watercolors: the plain pen's have neither lines nor rims, the fine pen's do, and the
decoder has to find them.
"""
import os
import random
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import spectral_norm

from loop import read_config
from train_large import Batches, decoder_losses, unseen, weights_of
from train_vae import images, pixels, psnr
from vae import VAE
from world import PANELS, draw, sheet, story

WAIT = 100   # steps in which the critic learns alone


class Critic(nn.Module):
    """[n, 3, H, W] -> [n, 1, H/8, W/8]: does this patch look drawn?"""

    def __init__(self, widths=(3, 24, 48, 96)):
        super().__init__()
        layers = [nn.Sequential(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(.2))
                  for a, b in zip(widths, widths[1:])]
        self.net = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))

    def forward(self, x):
        return self.net(x)


class Panels(Batches):
    def get(self, step, options):
        """Batch `step`: latents, the fine panels, and how much each pixel counts. From (seed, step) alone."""
        rng, z, fine, weights = random.Random(f'critic/{step}'), [], [], []
        while len(z) < options['batch']:
            some = self.delivered if rng.random() < self.share else self.latents
            wash = rng.random() < options['watercolors']
            while True:
                index, number = rng.randrange(len(some)), rng.randrange(PANELS)
                panel = story(self.config['seed'], index, self.config['world'])[number]
                if panel['role'] == 'both' and some is self.delivered:
                    continue
                if panel['style'] == 'watercolor' or not wash:
                    break
            fine.append(draw(panel, self.config['vae']['pixels'], True))
            weights.append(weights_of(panel, fine[-1], options['person']))
            z.append(some[index, number])
        weights = torch.from_numpy(np.stack(weights)).float()[:, None]
        return torch.from_numpy(np.stack(z)).float(), pixels(fine), weights


def judged(critic, optimiser, x, y):
    """One step of the critic; -> its loss: 2 where it knows nothing."""
    loss = F.relu(1 - critic(x)).mean() + F.relu(1 + critic(y)).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss)


def drawn(vae, critic, optimiser, batch, y, strength):
    """One step of the decoder, whose pictures are y."""
    loss, _ = decoder_losses(vae, batch, y)
    plain, = torch.autograd.grad(loss, y, retain_graph=True)
    pull, = torch.autograd.grad(-critic(y).mean(), y)
    optimiser.zero_grad()
    y.backward(plain + strength * plain.norm() / (pull.norm() + 1e-8) * pull)
    torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]['params'], 1.0)
    optimiser.step()


def main(config_path, run):
    config = read_config(config_path)
    options = config['train']['critic']
    torch.set_num_threads(1)
    torch.manual_seed(config['seed'])
    vae, critic = VAE(**config['vae']['net']), Critic()
    vae.load_state_dict(torch.load(f'{run}/vae-white.pt'))
    for network in (vae, critic):
        network.to(memory_format=torch.channels_last)
    mine = [p for name, p in vae.named_parameters() if name.startswith(('decoder', 'post'))]
    optimisers = [torch.optim.Adam(mine, options['rate'], (.5, .99)),
                  torch.optim.Adam(critic.parameters(), options['critic_rate'], (.5, .99))]
    kept = dict(vae=vae, critic=critic, decoder_optimiser=optimisers[0], critic_optimiser=optimisers[1])
    average, first, path = {k: v.clone() for k, v in vae.state_dict().items()}, 0, f'{run}/critic.pt'
    if os.path.exists(path):
        saved = torch.load(path)
        for name, thing in kept.items():
            thing.load_state_dict(saved[name])
        average, first = saved['average'], saved['step']
    panels, losses = Panels(config, run, options['delivered']), []
    for step in range(first, options['steps']):
        left = 1 - step / options['steps']
        optimisers[0].param_groups[0]['lr'] = options['rate'] * min(1, max(.05, left / .4))
        z, x, weight = panels.get(step, options)
        with torch.set_grad_enabled(step >= WAIT):
            y = vae.decode(z)
        losses.append(judged(critic, optimisers[1], x, y.detach()))
        if step >= WAIT:
            drawn(vae, critic, optimisers[0], (z, x, weight), y, options['strength'])
        with torch.no_grad():
            for name, value in vae.state_dict().items():
                average[name].lerp_(value, .005)
        if (step + 1) % 50 == 0:
            print(step + 1, 'critic', round(sum(losses) / len(losses), 3), flush=True)
            losses = []
        if (step + 1) % 200 == 0:
            torch.save(dict({k: v.state_dict() for k, v in kept.items()}, average=average, step=step + 1), path)
    torch.save(average, f'{run}/vae-white.pt')
    vae.load_state_dict(average)
    decibels, x, again = unseen(vae, config)
    print(f'unseen panels: {decibels:.2f} dB')
    sheet([images(v[i:i + 6]) for i in range(0, 24, 6) for v in (x, again)], x.shape[-1]).save(f'{run}/vae.png')


if __name__ == '__main__':
    main(*sys.argv[1:])
