"""From nothing to a model, in minutes on one GPU.

    python3 train.py configs/world.json RUN SECONDS

    others       draw panels ahead (pool.py)
    this one     autoencoder; then all panels to latents; the judge, while the UNet is trained; then the decoder
    the other    UNet and text encoders: compiles while the autoencoder is trained, begins when the latents are there

RUN gets merges.json, vae.pt, unet.pt, classifier.pt, *.curve.txt and vae.png; export.py makes a model folder of it.
Every file is there as soon as it can be, and what is there is used: with a vae.pt the autoencoder is not trained again,
and its time is the UNet's; from a unet.pt the UNet goes on. Without a GPU everything runs, for days.
"""
import gc
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import numpy as np
import torch

import classifier as judge
import train_decoder
import train_unet
import train_vae
from model import Model
from pool import GROUP, Pool, group
from tokenizer import world_tokenizer
from training import CUDA, DEVICE, read_config, save, write_curve
from vae import VAE
from world import draw, sheet, story

WORKERS = max(1, (os.cpu_count() or 2) - 2)
SAVE_EVERY = 60   # seconds


class Clock:
    """When each stage has to be over, and what the time is."""

    def __init__(self, shares, seconds):
        self.begun, self.end = time.time(), {}
        at = self.begun
        for stage in ('vae', 'unet', 'decoder'):
            at += shares[stage]['share'] * seconds
            self.end[stage] = at

    def say(self, what):
        print(f'{time.time() - self.begun:.0f} s: {what}', flush=True)


class OnDevice:
    """What of the pool has been drawn, on the device."""

    def __init__(self, pool):
        self.pool, self.count = pool, 0
        self.images = torch.empty(pool.images.shape, dtype=torch.uint8, device=DEVICE)
        self.matter = torch.empty(pool.matter.shape, dtype=torch.uint8, device=DEVICE)

    def fetch(self, most=2048):
        begin, end = self.count, min(self.pool.ready(), self.count + most)
        for own, drawn in ((self.images, self.pool.images), (self.matter, self.pool.matter)):
            if end > begin:
                own[begin:end].copy_(torch.from_numpy(drawn[begin:end]))
        self.count = end

    def wait(self, count):
        while self.count < count:
            self.fetch()
            time.sleep(.01)


def train_autoencoder(config, run, shown, clock):
    vae, options, path = VAE(**config['vae']['net']), config['train']['vae'], f'{run}/vae.pt'
    if os.path.exists(path):
        vae.load_state_dict(torch.load(path, map_location='cpu'))
        return vae.to(DEVICE)
    shown.wait(min(2048, shown.pool.count // 2))
    curve = train_vae.train(vae, shown.images, shown.matter, lambda: shown.count, options, clock.end['vae'],
                            shown.fetch)
    write_curve(f'{run}/vae.curve.txt', curve)
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
    with torch.no_grad():
        some = train_vae.unpacked(shown.images[:1536], shown.matter[:1536], 0)[0]
        latents = torch.cat([vae.encode(part)[0].cpu() for part in some.split(16)])
        eigenvalues = vae.cpu().whiten(latents, config['vae']['whiten'])
    clock.say(f'eigenvalues of the latents {[round(v, 4) for v in eigenvalues]}')
    save(path, vae.state_dict())
    return vae.to(DEVICE)


def train_classifier(config, run, shown, clock):
    options, world = config['train']['classifier'], config['world']
    groups = min(options['groups'], config['train']['groups'])
    panels = [p for index in range(groups) for stories in group(config['seed'], index, world) for p in stories]
    labels = {question: right.to(DEVICE) for question, right in judge.truth(panels, world).items()}
    classifier = judge.Classifier(world).to(DEVICE)
    training = judge.training(classifier, shown.images, labels, options)
    training.run(lambda: dict(which=torch.randint(len(panels), (options['batch'],), device=DEVICE)),
                 time.time() + options['seconds'])
    classifier.cpu()
    save(f'{run}/classifier.pt', classifier.state_dict())
    clock.say(f'classifier: {({q: round(v, 3) for q, v in judge.test(classifier, world, 500).items()})}')


def the_other(config, run, end, latents_path):
    """UNet and text encoders."""
    torch.manual_seed(config['seed'])
    tokenizer, groups = world_tokenizer(run, config['vocabulary_merges'], config['seed']), config['train']['groups']
    batches = train_unet.Ahead(train_unet.Batches(config, tokenizer, groups), max(1, WORKERS * 3 // 4))
    model, grid = Model(config, tokenizer).to(DEVICE), config['pixels'] // 8
    if os.path.exists(f'{run}/unet.pt'):
        model.load_state_dict(torch.load(f'{run}/unet.pt', map_location=DEVICE))
    latents = torch.randn(groups * GROUP, 4, grid, grid, device=DEVICE).half()
    weights = torch.ones(groups * GROUP, grid, grid, device=DEVICE).half()
    training = train_unet.training(model, latents, weights, config['train']['unet'])
    training.prepare(batches())
    while not os.path.exists(latents_path):
        time.sleep(.1)
    with np.load(latents_path) as there:
        latents.copy_(torch.from_numpy(there['latents']))
        weights.copy_(train_unet.weights_of(torch.from_numpy(there['matter'])))
    saved = time.time()

    def sometimes():
        nonlocal saved
        if time.time() > saved + SAVE_EVERY:
            saved = time.time()
            save(f'{run}/unet.pt', training.averaged())

    write_curve(f'{run}/unet.curve.txt', training.run(batches, end, sometimes))
    save(f'{run}/unet.pt', training.averaged())


@torch.no_grad()
def unseen(vae, config, count=96):
    """PSNR of panels that no stage has seen, and the panels before and after."""
    panels = [story(-1, i, config['world'], 1)[0] for i in range(count)]
    x = train_vae.pixels([draw(panel, config['pixels']) for panel in panels])
    again = torch.cat([vae.decode(vae.encode(one.to(DEVICE))[0]).cpu() for one in x.split(4)]).clamp(-1, 1)
    return train_vae.psnr((again - x).square().mean()), x, again


@contextmanager
def beside(command):
    """Another process, which does not outlive this one's trouble."""
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()


def main(config_path, run, seconds, *other):
    config = read_config(config_path)
    if other:
        return the_other(config, run, float(other[0]), other[1])
    os.makedirs(run, exist_ok=True)
    clock, options = Clock(config['train'], float(seconds)), config['train']
    tokenizer = world_tokenizer(run, config['vocabulary_merges'], config['seed'])
    pool = Pool(config['seed'], config['world'], options['groups'], WORKERS)
    batches = train_unet.Ahead(train_unet.Batches(config, tokenizer, options['groups']), 2)
    torch.manual_seed(config['seed'])
    torch.backends.cudnn.benchmark = True
    with tempfile.TemporaryDirectory() as folder, beside([sys.executable, __file__, config_path, run, seconds,
                                                          str(clock.end['unet']), f'{folder}/latents.npz']) as unet:
        shown = OnDevice(pool)
        vae = train_autoencoder(config, run, shown, clock)
        shown.wait(pool.count)
        clock.say(f'{pool.count} panels; unseen ones: {unseen(vae, config)[0]:.2f} dB')
        latents = train_vae.encoded(vae, shown.images)
        np.savez(f'{folder}/new.npz', latents=latents.numpy(), matter=pool.matter)
        os.replace(f'{folder}/new.npz', f'{folder}/latents.npz')
        clock.say('encoded')
        if not os.path.exists(f'{run}/classifier.pt'):
            train_classifier(config, run, shown, clock)
        model, latents = Model(config, tokenizer).to(DEVICE), latents.to(DEVICE)
        training = train_decoder.training(vae, model, latents, shown.images, shown.matter, options['decoder'])
        training.prepare(batches())
        if unet.wait() != 0:
            sys.exit('the UNet was not trained')
        model.load_state_dict(torch.load(f'{run}/unet.pt', map_location=DEVICE))
        write_curve(f'{run}/decoder.curve.txt', training.run(batches, clock.end['decoder']))
        save(f'{run}/vae.pt', {name: value.cpu() for name, value in vae.state_dict().items()})
        decibels, x, again = unseen(vae, config)
        clock.say(f'unseen panels: {decibels:.2f} dB')
        rows = [train_vae.images(v[i:i + 6]) for i in range(0, 24, 6) for v in (x, again)]
        sheet(rows, config['pixels']).save(f'{run}/vae.png')


if __name__ == '__main__':
    main(*sys.argv[1:])
