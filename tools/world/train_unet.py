"""Stage 2: UNet and both text encoders, jointly, from noise.

A batch is whole stories. A part of them has consistent self-attention switched on in the up blocks. When sampled, the
panels of a story share time step and description, and where the noise hides a shirt's colour in one it hides it in all:
looking at the neighbours then gains so little that a network does not learn it. Two things make looking pay:

    apart       a part of the consistent stories gives each panel a time step of its own, and, independently, as large
                a part a description of its own: now the neighbour may be clear, or told.
    strangers   under much noise, a part of the panels of consistent stories shows somebody else (same kind, pose and
                place), while what is asked for stays the person of the story. So sampling begins: each panel has
                guessed a person of its own before it may look, and has to learn to give in.

The loss of a place in the panel counts by how much of a person is there: a face is small, and what makes it this face
smaller. Consistent stories have more of the noisy time steps, where persons are decided.

A tenth of the captions is dropped. Mostly the text becomes all zeros, which is what the program feeds for an empty
negative prompt; sometimes it is a typical negative prompt instead.
"""
import os
import random

import numpy as np
import torch

from captions import negative, story_captions
from diffusion import ALPHAS, mixed
from pool import GROUP, VARIANTS, group
from training import DEVICE, Training, compiled
from unet import Consistency
from world import PANELS, sees, story

DROP, DROP_TO_ZERO = .10, .7
LAYERS = 4   # that may be consistent: those of the up blocks


class Batches:
    """Batch k, from (seed, k) alone, as numpy arrays."""

    def __init__(self, config, tokenizer, groups):
        self.config, self.tokenizer, self.groups = config, tokenizer, groups
        self.options, self.seed = config['train']['unet'], config['seed']
        self.two = [index for index in range(groups)   # stories of two characters
                    if any(panel['role'] == 'both' for panel in story(self.seed, index, config['world']))]

    def story(self, rng):
        """A group and one of its stories; those of two characters more often."""
        two = rng.random() < self.options['pairs'] and self.two
        index = rng.choice(self.two) if two else rng.randrange(self.groups)
        variant = rng.randrange(VARIANTS)
        return index, variant, group(self.seed, index, self.config['world'])[variant]

    def get(self, step):
        options, stories = self.options, self.options['batch'] // PANELS
        rng = random.Random(f'{self.seed}/unet/{step}')
        which, seen, captions, keep, times, looks, active = [], [], [], [], [], [], []
        places = [(i + rng.random()) / stories for i in range(stories)]   # one time from each part of the range
        rng.shuffle(places)
        for place in places:
            index, variant, panels = self.story(rng)
            consistent = rng.random() < options['consistent']
            told_apart, timed_apart = (consistent and rng.random() < options['apart'] for _ in range(2))
            said = story_captions(rng, panels, rng.choice(options['attribute']), apart=told_apart or not consistent)
            dropped = rng.random() < DROP
            zero = dropped and rng.random() < DROP_TO_ZERO
            captions += [negative(rng)] * PANELS if dropped else said
            keep += [0.0 if zero else 1.0] * PANELS
            late = .7 if consistent else 1   # below 1: more of the noisy time steps
            alone = timed_apart or not consistent
            mine = [int(1000 * ((place + p / PANELS) % 1 if alone else place) ** late) for p in range(PANELS)]
            turn = rng.randrange(VARIANTS - 1)
            for number, time in enumerate(mine):
                stranger = consistent and rng.random() < options['strangers'] * (time - 400) / 400
                other = (variant + 1 + (number + turn) % (VARIANTS - 1)) % VARIANTS if stranger else variant
                which.append(index * GROUP + variant * PANELS + number)
                seen.append(index * GROUP + other * PANELS + number)
            times += mine
            looks.append([[consistent and sees(a, b) for b in panels] for a in panels])
            active.append([rng.random() > Consistency.SKIP for _ in range(LAYERS)])
        ids, ids_2 = (np.array([self.tokenizer(c, pad) for c in captions]) for pad in (self.tokenizer.end, 0))
        grid = self.config['pixels'] // 2 ** (len(self.config['vae']['net']['widths']) - 1)
        rows = {name: np.array([rng.sample(range(tokens), round(Consistency.RATE * tokens)) for _ in range(PANELS)])
                for name, tokens in (('rows1', grid ** 2 // 4), ('rows2', grid ** 2 // 16))}
        return dict(which=np.array(which), seen=np.array(seen), t=np.array(times), ids=ids, ids_2=ids_2,
                    keep=np.array(keep, np.float32), looks=np.array(looks), active=np.array(active).T.copy(), **rows)


class Ahead:
    """Batches made by other processes, each every so many steps."""

    def __init__(self, batches, workers):
        import multiprocessing
        context = multiprocessing.get_context('fork')
        self.queues = [context.Queue(6) for _ in range(workers)]
        self.step = 0
        for worker, queue in enumerate(self.queues):
            context.Process(target=self._make, args=(batches, queue, worker, workers), daemon=True).start()

    @staticmethod
    def _make(batches, queue, step, workers):
        torch.set_num_threads(1)
        while True:
            queue.put(batches.get(step))
            step += workers

    def __call__(self):
        batch = self.queues[self.step % len(self.queues)].get()
        self.step += 1
        return {k: torch.from_numpy(v) for k, v in batch.items()}


def consistency_of(batch, count=None):
    """For the first `count` panels."""
    stories = None if count is None else count // PANELS
    rows = {batch[name].shape[1] * 2: batch[name] for name in ('rows1', 'rows2')}
    return Consistency(PANELS, rows, batch['looks'][:stories], batch['active'][:, :stories])


def training(model, latents, weights, options):
    """latents [n, 4, h, w], weights [n, h, w]: of all panels, on the device; they may be filled later."""
    alphas = ALPHAS.to(DEVICE)

    @compiled
    def through(x, seen, noise, weight, a, batch):
        noisy, v = mixed(x.float(), seen.float(), noise, a)
        text, pooled = model.encode(batch['ids'], batch['ids_2'])
        keep = batch['keep']
        guess = model(noisy, batch['t'], text * keep[:, None, None], pooled * keep[:, None], consistency_of(batch))
        return (weight[:, None].float() * (guess.float() - v).square()).mean((1, 2, 3))

    def losses(batch):
        t, which = batch['t'], batch['which']
        x, seen = latents.index_select(0, which), latents.index_select(0, batch['seen'])
        noise = torch.randn(x.shape, device=DEVICE)
        squared = through(x, seen, noise, weights.index_select(0, which), alphas[t], batch)
        return squared.mean(), {f't{250 * quarter}': mean_of(squared, t // 250 == quarter) for quarter in range(4)}

    model.unet.to(memory_format=torch.channels_last)
    return Training('unet', model, losses, options['rate'], options['average'], warmup=.03)


def mean_of(values, chosen):
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def weights_of(matter):
    """How much a place counts: 1 on average."""
    weights = .3 + matter.float() / 255
    return (weights / weights.mean()).half()
