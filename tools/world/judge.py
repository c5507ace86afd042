"""What the model draws, before the C program draws it: a sheet of panels, and numbers from the classifier.

    python3 judge.py configs/fine.json RUN OUT [stories] [steps]

For consistent self-attention off and on, each with a panel's own noise and with one noise for all panels of a story:
how often a panel shows what its caption names, and how often two panels of a story agree on what it leaves open.
"""
import os
import random
import sys

import torch

from attributes import OPEN
from captions import ACTION, SCENE, description, styled
from classifier import Classifier, answers, visible
from diffusion import sample
from loop import DEVICE, read_config
from model import Model
from tokenizer import world_tokenizer
from train_vae import images
from unet import Consistency
from vae import load_vae
from world import PANELS, sheet, story

SOME = 4   # stories sampled at a time


def tasks(count, world, seed=11):
    """Stories to draw: (panels, captions, named). Scenes differ within a story; all captions say scene and action."""
    rng, out = random.Random(seed), []
    for index in range(count):
        panels = story(-4, index, world)
        for panel, scene in zip(panels, rng.sample(world['scenes'], PANELS)):
            panel['scene'] = scene
        possible = [what for what in OPEN if visible(dict(panels[0], style='comic'), what)]
        named = set(rng.sample(possible, rng.choice([0, 1, 1, 2])))
        who, form = description(rng, panels[0], named), rng.getrandbits(32)
        captions = [styled(random.Random(form), f'{who}, {ACTION[p["action"]][0]} {SCENE[p["scene"]][0]}', p['style'])
                    for p in panels]
        out.append((panels, captions, named))
    return out


def draw_all(model, vae, work, config, steps, consistent, shared, seed=5):
    """-> pictures [stories * PANELS, 3, h, w]."""
    generator, rng, out = torch.Generator().manual_seed(seed), random.Random(seed), []
    v, pixels = config['vae']['net'], config['pixels']
    cells = pixels // 2 ** (len(v['widths']) - 1)
    for i in range(0, len(work), SOME):
        captions = [c for _, story_captions, _ in work[i:i + SOME] for c in story_captions]
        noise = torch.randn((len(captions), v['latent_channels'], cells, cells), generator=generator)
        if shared:
            noise = noise[::PANELS].repeat_interleave(PANELS, 0)
        z = sample(model, captions, noise.to(DEVICE), pixels, steps,
                   consistency=(lambda: Consistency(PANELS, rng)) if consistent else None)
        with torch.no_grad():
            out.append(vae.decode(z).clamp(-1, 1).cpu())
    return torch.cat(out)


def numbers(classifier, x, work, world):
    """-> adherence per question, agreement of open attributes, both as fractions."""
    with torch.no_grad():
        guesses = {q: logits.argmax(1).view(len(work), PANELS) for q, logits in classifier(x).items()}
    right, agree = {}, {}
    for i, (panels, _, named) in enumerate(work):
        for question, options in answers(world).items():
            told = question in ('kind', 'scene', 'action', 'style') or question in named
            if not visible(panels[0], question):
                continue
            seen = guesses[question][i].tolist()
            if told:
                group = question if question not in OPEN else 'named'
                right.setdefault(group, []).extend(g == options.index(p[question]) for g, p in zip(seen, panels))
            else:
                pairs = [seen[a] == seen[b] for a in range(PANELS) for b in range(a)]
                agree.setdefault(question, []).append(sum(pairs) / len(pairs))
    mean = lambda values: round(sum(values) / len(values), 3)
    every = [v for values in agree.values() for v in values]
    return {q: mean(v) for q, v in right.items()}, dict({q: mean(v) for q, v in agree.items()}, all=mean(every))


def main(config_path, run, out, stories=24, steps=20):
    torch.set_num_threads(1)
    config = read_config(config_path)
    model = Model(config, world_tokenizer(run, config['vocabulary_merges'], config['seed'])).to(DEVICE).eval()
    vae = load_vae(config, run).to(DEVICE)
    saved = torch.load(f'{run}/unet.pt', map_location='cpu')
    model.load_state_dict(saved['average'])
    work = tasks(int(stories), config['world'])
    os.makedirs(out, exist_ok=True)
    with open(f'{out}/captions.txt', 'w') as file:
        file.writelines(caption + '\n' for _, captions, _ in work for caption in captions)
    classifier = None
    if os.path.exists(f'{run}/classifier.pt'):
        classifier = Classifier(config['world']).eval()
        classifier.load_state_dict(torch.load(f'{run}/classifier.pt', map_location='cpu')['average'])
    print(f'after {saved["step"]} steps, {len(work)} stories')
    for name, consistent, shared in (('own', False, False), ('csa-own', True, False), ('shared', False, True),
                                     ('csa-shared', True, True)):
        x = draw_all(model, vae, work, config, int(steps), consistent, shared)
        page = images(x)
        rows = [page[i:i + 2 * PANELS] for i in range(0, len(page), 2 * PANELS)]
        sheet(rows[:8], config['pixels']).save(f'{out}/{name}.png')
        if classifier:
            adherence, agreement = numbers(classifier, x, work, config['world'])
            print(f'{name}\n  adherence {adherence}\n  agreement {agreement}', flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
