"""Stage 2: stories drawn and encoded once, in shards that a run can be interrupted between.

    python3 encode.py configs/coarse.json RUN      writes RUN/latents/0000.npy, ... and RUN/strangers/0000.npy, ...

A shard is [1000 panels, 4, h, w] in float16. Shard k holds stories 250 k to 250 k + 249, or their strangers; what they
show is not stored, since (seed, index) says it. Several processes may work at once: each takes the next shard that
nobody has begun; where one was killed, delete its `.begun` file, and both folders after training the autoencoder
further.
"""
import os
import sys
from itertools import product

import numpy as np
import torch

from loop import DEVICE, read_config
from train_vae import pixels
from vae import load_vae
from world import PANELS, draw, story, strangers

STORIES = 250


def main(config_path, run):
    config = read_config(config_path)
    torch.set_num_threads(1)
    vae = load_vae(config, run).to(DEVICE)
    for folder, shard in product(('latents', 'strangers'), range(config['train']['panels'] // (STORIES * PANELS))):
        path = f'{run}/{folder}/{shard:04d}.npy'
        os.makedirs(f'{run}/{folder}', exist_ok=True)
        try:
            os.close(os.open(path + '.begun', os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        out = []
        for index in range(shard * STORIES, (shard + 1) * STORIES):
            panels = story(config['seed'], index, config['world'])
            if folder == 'strangers':
                panels = strangers(config['seed'], index, config['world'], panels)
            with torch.no_grad():
                x = pixels([draw(p, config['vae']['pixels']) for p in panels]).to(DEVICE)
                out.append(vae.encode(x)[0].half().cpu().numpy())
        np.save(path, np.concatenate(out))
        print(path, flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
