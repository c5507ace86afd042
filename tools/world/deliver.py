"""What the UNet makes of latents: stage 4's decoder learns to draw clean panels from it.

    python3 deliver.py configs/fine.json RUN WEIGHTS SHARDS      writes RUN/delivered/0000.npy, ...

Each story of RUN/latents is noised to a time of its own and denoised again, in steps as the program takes them
(LCM's steps: to the clean latents at once, and fresh noise; guidance 2, consistent self-attention): the panel stays what
it was, the blemishes are the UNet's own. Shards as encode.py's, several processes may work at once.
"""
import os
import random
import sys

import numpy as np
import torch

from captions import story_captions
from diffusion import ALPHAS
from encode import STORIES
from loop import read_config
from model import Model
from tokenizer import world_tokenizer
from unet import Consistency
from world import PANELS, sees, story

TIMES, GUIDANCE = (166, 83), 2.0   # the last two of 12
TOGETHER = 5   # stories in one batch


@torch.no_grad()
def again(model, config, z, stories, rng):
    """[stories * PANELS, 4, h, w] noised and denoised. One start for the batch, one rest of the way each."""
    first = rng.randrange(len(TIMES))
    text, pooled = model.encode([c for panels in stories for c in story_captions(rng, panels, .5)])
    looks = torch.tensor([[[sees(a, b) for b in panels] for a in panels] for panels in stories])
    for t in TIMES[first:]:
        a = ALPHAS[t]
        x = a.sqrt() * z + (1 - a).sqrt() * torch.randn_like(z)
        consistency = Consistency(PANELS, rng, looks)
        time = torch.full((len(x),), t)
        with_text = model(x, time, text, pooled, config['pixels'], consistency)
        v = model(x, time, 0 * text, 0 * pooled, config['pixels'], consistency)
        v = v + GUIDANCE * (with_text - v)
        z = a.sqrt() * x - (1 - a).sqrt() * v
    return z


def main(config_path, run, weights, shards):
    config = read_config(config_path)
    torch.set_num_threads(1)
    model = Model(config, world_tokenizer(run, config['vocabulary_merges'], config['seed'])).eval()
    model.load_state_dict(torch.load(weights, map_location='cpu')['average'])
    os.makedirs(f'{run}/delivered', exist_ok=True)
    for shard in range(int(shards)):
        path = f'{run}/delivered/{shard:04d}.npy'
        try:
            os.close(os.open(path + '.begun', os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        latents, out, rng = np.load(f'{run}/latents/{shard:04d}.npy'), [], random.Random(f'deliver/{shard}')
        torch.manual_seed(shard)
        for first in range(0, STORIES, TOGETHER):
            stories = [story(config['seed'], shard * STORIES + i, config['world'])
                       for i in range(first, first + TOGETHER)]
            z = torch.from_numpy(latents[first * PANELS:(first + TOGETHER) * PANELS]).float()
            out.append(again(model, config, z, stories, rng).half().numpy())
        np.save(path, np.concatenate(out))
        print(path, flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
