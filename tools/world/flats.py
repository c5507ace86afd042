"""How flat are flats? The mean local deviation inside flat areas: of what the program drew, and of decoded real panels.

    python3 flats.py configs/world.json MODEL OUT/masked-own [--stories N]      a folder that evaluate.py has filled

A window is a 25th of the panel wide. It is flat where no colour in it ranges over more than 40 of 255 levels: there is
no line and no edge in it, only what should be one colour. Its deviation is the root mean square from its mean.
"""
import argparse
import glob

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from training import read_config
from train_vae import pixels
from vae import read_vae
from world import draw, story

RANGE = 40


def roughness(x):
    """x [n, 3, H, W] in -1..1 -> deviation in levels of 255 for each panel, and the share of it that is flat."""
    side = x.shape[-1] // 25 | 1
    x = (x + 1) * 127.5
    mean = F.avg_pool2d(x, side, 1)
    variance = (F.avg_pool2d(x.square(), side, 1) - mean.square()).clamp(min=0).mean(1)
    highest, lowest = F.max_pool2d(x, side, 1), -F.max_pool2d(-x, side, 1)
    flat = ((highest - lowest).amax(1) <= RANGE).float()
    return (variance.sqrt() * flat).sum((1, 2)) / flat.sum((1, 2)).clamp(min=1), flat.mean((1, 2))


@torch.no_grad()
def main():
    arguments = argparse.ArgumentParser(allow_abbrev=False)
    for name in ('config', 'model', 'drawn'):
        arguments.add_argument(name)
    arguments.add_argument('--stories', type=int, default=20)
    a = arguments.parse_args()
    torch.set_num_threads(1)
    config = read_config(a.config)
    vae = read_vae(f'{a.model}/vae', 'diffusion_pytorch_model.fp16')
    paths = sorted(glob.glob(f'{a.drawn}/*/panel-*.png'))[:5 * a.stories]
    drawn = pixels([np.asarray(Image.open(path).convert('RGB')) for path in paths])
    real = [p for i in range(a.stories) for p in story(-5, i, dict(config['world'], two=0, nobody=0), 5)]
    real = pixels([draw(p, drawn.shape[-1]) for p in real])
    decoded = torch.cat([vae.decode(vae.encode(one)[0]).clamp(-1, 1) for one in real.split(5)])
    out = {}
    for name, x in (('real', real), ('decoded', decoded), ('drawn', drawn)):
        deviation, share = (torch.cat(v).mean().item() for v in zip(*(roughness(one) for one in x.split(20))))
        out[name] = deviation
        print(f'{name:8} {deviation:.2f} levels in the flat {100 * share:.0f} % of {len(x)} panels')
    print(f'drawn / decoded: {out["drawn"] / out["decoded"]:.2f}')


if __name__ == '__main__':
    main()
