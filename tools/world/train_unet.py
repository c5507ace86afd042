"""Stage 3: UNet and both text encoders, jointly, from noise.

    python3 train_unet.py configs/coarse.json COARSE
    python3 train_unet.py configs/fine.json RUN COARSE/unet.pt     begins with what another run has learned

Part of the batches are whole stories with consistent self-attention switched on in the up blocks, the others single
panels. When sampled, the panels of a story share time step and description, and where the noise hides a shirt's colour
in one it hides it in all: looking at the neighbours then gains so little that a network does not learn it (we tried
for 15,000 steps). Two things make looking pay:

    apart       a part of the consistent batches gives each panel a time step of its own, and, independently, as large
                a part a description of its own: now the neighbour may be clear, or told.
    strangers   under much noise, a part of the panels of consistent batches shows somebody else (same kind, pose and
                place), while what is asked for stays the person of the story. So sampling begins: each panel has
                guessed a person of its own before it may look, and has to learn to give in.

The loss of a place in the panel counts in proportion to how much the person there matters: a face is small, and what
makes it this face smaller. Consistent batches have more of the noisy time steps, where persons are decided.

A tenth of the captions is dropped. Mostly the text becomes all zeros, which is what the program feeds for an empty
negative prompt; sometimes it is a typical negative prompt instead.
"""
import glob
import os
import random
import sys

import numpy as np
import torch

from captions import negative, story_captions
from encode import STORIES
from diffusion import mixed
from loop import DEVICE, Loop, Parallel, read_config
from model import Model
from tokenizer import world_tokenizer
from unet import Consistency
from world import PANELS, sees, story

DROP, DROP_TO_ZERO = .10, .7


def load_latents(run, folder):
    """-> [stories, PANELS, 4, h, w], from all shards."""
    shards = sorted(glob.glob(f'{run}/{folder}/*.npy'))
    numbers = [int(path[-8:-4]) for path in shards]
    if not shards or numbers != list(range(len(shards))):
        raise SystemExit(f'{run}/{folder}: no whole run of shards: run encode.py first')
    x = np.concatenate([np.load(path) for path in shards])
    return x.reshape(len(shards) * STORIES, PANELS, *x.shape[1:])


class Batches:
    """Batch k, from (seed, k) alone."""

    def __init__(self, config, run):
        self.config = config
        self.latents, self.strangers = (load_latents(run, folder) for folder in ('latents', 'strangers'))
        some = slice(0, 1000)
        differing = np.square(self.latents[some].astype(np.float32) - self.strangers[some]).mean((0, 1, 2))
        self.pairs = [index for index in range(len(self.latents))   # stories of two characters
                      if any(panel['role'] == 'both' for panel in story(config['seed'], index, config['world']))]
        self.weight = torch.from_numpy(.25 + .75 * differing / differing.mean())   # [h, w], 1 on average

    def get(self, step):
        options, seed = self.config['train']['unet'], self.config['seed']
        rng = random.Random(f'{seed}/unet/{step}')
        consistent = rng.random() < options['consistent']
        per_story = PANELS if consistent else 1
        count = options['batch'] // per_story
        indices = [rng.choice(self.pairs) if rng.random() < options['pairs'] else rng.randrange(len(self.latents))
                   for _ in range(count)]
        told_apart, timed_apart = (consistent and rng.random() < options['apart'] for _ in range(2))
        chosen, captions, keep, looks = [], [], [], []
        for index in indices:
            panels = story(seed, index, self.config['world'])
            which = range(PANELS) if consistent else [rng.randrange(PANELS)]
            said = story_captions(rng, [panels[i] for i in which], apart=told_apart)
            dropped = rng.random() < DROP
            zero = dropped and rng.random() < DROP_TO_ZERO
            captions += [negative(rng)] * per_story if dropped else said
            keep += [0.0 if zero else 1.0] * per_story
            chosen += [(index, i) for i in which]
            looks.append([[sees(a, b) for b in panels] for a in panels])
        times = len(chosen) if timed_apart else count
        places = [i + rng.random() for i in range(times)]   # stratified: one time step from each part of the range
        rng.shuffle(places)
        late = .7 if consistent else 1   # below 1: more of the noisy time steps
        t = torch.tensor([int(1000 * (place / times) ** late) for place in places]).repeat_interleave(len(chosen) // times)
        astray = [consistent and rng.random() < options['strangers'] * (time - 400) / 400 for time in t.tolist()]
        x = [self.latents[where] for where in chosen]
        seen = [(self.strangers if lost else self.latents)[where] for where, lost in zip(chosen, astray)]
        generator = torch.Generator().manual_seed(seed * 1000003 + step)
        x, seen = (torch.from_numpy(np.stack(panels)).float() for panels in (x, seen))
        return dict(x=x, seen=seen, noise=torch.randn(x.shape, generator=generator), t=t, captions=captions, looks=torch.tensor(looks).repeat_interleave(per_story, 0),
                    keep=torch.tensor(keep), weight=self.weight, seed=step if consistent else None)


def split(batch, parts):
    """The batch in equal parts, stories kept whole."""
    n = len(batch['x']) // parts
    for i in range(parts):
        own = slice(i * n, (i + 1) * n)
        yield {k: v[own] if k in ('x', 'seen', 'noise', 't', 'captions', 'keep', 'looks') else v for k, v in batch.items()}


def losses(model, pixels, batch):
    x, seen, noise, t, keep, weight = (batch[k].to(DEVICE) for k in ('x', 'seen', 'noise', 't', 'keep', 'weight'))
    text, pooled = model.encode(batch['captions'])
    noisy, v = mixed(x, seen.to(memory_format=torch.channels_last), noise, t)   # a sixth faster on CPUs
    looking = batch['seed'] is not None
    consistency = Consistency(PANELS, random.Random(f'consistent/{batch["seed"]}'), batch['looks'][::PANELS])
    consistency = consistency if looking else None
    guess = model(noisy, t, text * keep[:, None, None], pooled * keep[:, None], pixels, consistency)
    squared = (weight * (guess - v).square()).mean((1, 2, 3))
    return squared.mean(), dict(squared=squared.detach().cpu(), t=batch['t'], looking=looking)


def report(results):
    """Mean loss; of plain and of consistent batches; by quarter of the time range."""
    squared, t = (torch.cat([r[k] for r in results]) for k in ('squared', 't'))
    out = dict(loss=squared.mean())
    for name, looking in (('plain', False), ('consistent', True)):
        chosen = [r['squared'] for r in results if r['looking'] == looking]
        out[name] = torch.cat(chosen).mean() if chosen else float('nan')
    return dict(out, **{f't{250 * quarter}': squared[t // 250 == quarter].mean() for quarter in range(4)})


def main(config_path, run, start=None):
    config = read_config(config_path)
    options = config['train']['unet']
    torch.manual_seed(config['seed'])
    model = Model(config, world_tokenizer(run, config['vocabulary_merges'], config['seed'])).to(DEVICE)
    print('parameters', {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()})
    model.unet.to(memory_format=torch.channels_last)
    if start and not os.path.exists(f'{run}/unet.pt'):
        model.load_state_dict(torch.load(start, map_location=DEVICE)['average'])
    parallel, batches = Parallel(options['workers']), Batches(config, run)
    loop = Loop(f'{run}/unet.pt', model, options['steps'], options['rate'], warmup=200, average=options['average'],
                save_every=250)
    results = []
    for step in loop:
        parts = list(split(batches.get(step), options['workers']))
        results += parallel.gradients(loop.parameters, lambda part: losses(model, config['pixels'], part), parts)
        loop.update()
        if (step + 1) % 100 == 0:
            loop.log(**report(results))
            results = []


if __name__ == '__main__':
    main(*sys.argv[1:])
