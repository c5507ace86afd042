"""From the 4x autoencoder that made the UNet's latents to an 8x one for the same latents.

    python3 grow.py configs/large.json FINE/vae-white.pt RUN       writes RUN/grown.pt

A level of twice the size is added, and the smallest becomes twice as wide, without changing what the rest computes: a
channel is doubled beside itself, which leaves the group norms' means and variances alone, and whoever reads it reads
both at half weight. A little noise tells the twins apart. The new level begins as "show each pixel four times".
"""
import os
import sys

import torch

from loop import read_config
from vae import VAE

ODD = .1   # relative noise on doubled weights


def doubled(weight, outputs, inputs):
    """A convolution, linear layer, norm or bias with its outputs and its inputs each repeated so many times."""
    weight = weight.repeat_interleave(outputs, 0)
    if weight.dim() > 1:
        weight = weight.repeat_interleave(inputs, 1) / inputs
        if outputs * inputs > 1:
            weight = weight * (1 + ODD * torch.randn_like(weight))
    return weight


def widened(old, name, target):
    """Tensor `name` of the old network, at the shape it has in the new one."""
    weight = old[name]
    outputs = target.shape[0] // weight.shape[0]
    inputs = target.shape[1] // weight.shape[1] if weight.dim() > 1 else 1
    weight = doubled(weight, outputs, inputs)
    if '.to_q.' in name:   # twins double the scores, and their divisor grows only by the square root
        weight = weight / outputs ** .5
    assert weight.shape == target.shape, (name, weight.shape, target.shape)
    return weight


def grown(old, vae):
    """The state of `vae`, begun with that of the old autoencoder."""
    state = vae.state_dict()
    for name in old:
        if name.startswith('encoder.conv_in'):
            continue
        new = name
        if name.startswith('encoder.down_blocks.'):
            parts = name.split('.')
            new = '.'.join(parts[:2] + [str(int(parts[2]) + 1)] + parts[3:])
        state[new] = widened(old, name, state[new])
    wide = len(state['decoder.up_blocks.2.upsamplers.0.conv.bias'])
    same = torch.zeros(wide, wide, 3, 3)
    same[range(wide), range(wide), 1, 1] = 1
    state['decoder.up_blocks.2.upsamplers.0.conv.weight'] = same
    state['decoder.up_blocks.2.upsamplers.0.conv.bias'] *= 0
    return state


def main(config_path, old, run):
    config = read_config(config_path)
    os.makedirs(run, exist_ok=True)
    torch.manual_seed(config['seed'])
    vae = VAE(**config['vae']['net'])
    vae.load_state_dict(grown(torch.load(old), vae))
    torch.save(vae.state_dict(), f'{run}/grown.pt')


if __name__ == '__main__':
    main(*sys.argv[1:])
