"""Two figures in a panel, and none: what the C program draws of stories with two characters.

    python3 evaluate_cast.py configs/world.json RUN OUT [--program FILE] [--model FOLDER] [--stories N]

A story has two characters of different kinds, whose lines name the top and the bottom; two id panels of each, two
panels with both, two of an empty place. The classifier says, of panels with both, whether the named kinds are there
(left and right, in either order), and whether each wears what its own line names; of [NC] panels, whether there is
nobody. Clothes are judged in styles with colours.
"""
import argparse
import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from captions import ACTION, NOUN, SCENE, description
from classifier import answers, read_judge
from evaluate import HERE, STYLE_NAMES
from training import read_config
from train_vae import images, pixels
from world import identity, sheet

ORDER = ['first', 'second', 'first', 'second', 'both', 'nobody', 'both', 'nobody']


def make(index, world):
    rng = random.Random(f'-7/{index}')
    one = identity(rng, world)
    two = identity(rng, dict(world, kinds=[kind for kind in world['kinds'] if kind != one['kind']]))
    style = list(world['styles'])[index % 8 if index % 8 < 4 else 0]   # half of them comic
    names = dict(first='[A]', second='[B]', both='[A] and [B]')
    lines = [f'style: {rng.choice(STYLE_NAMES[style])}', f'seed: {2000 + index}']
    lines += [f'{key} {description(rng, who, {"top", "bottom"})}' for key, who in (('[A]', one), ('[B]', two))]
    lines += ['---']
    for role, scene in zip(ORDER, (rng.choice(world['scenes']) for _ in ORDER)):
        noun = rng.choice(NOUN[scene])
        if role == 'nobody':
            lines.append('[NC] ' + rng.choice([f'an empty {noun}', f'the {noun}, nobody there', f'the {noun}']))
        else:
            lines.append(f'{names[role]} {ACTION[rng.choice(world["actions"])][0]} {rng.choice(SCENE[scene])}')
    return dict(text='\n'.join(lines) + '\n', style=style, one=one, two=two)


def drawn(story, folder, options):
    os.makedirs(folder, exist_ok=True)
    with open(f'{folder}/story.txt', 'w') as file:
        file.write(story['text'])
    command = [options.program, '--model', options.model, '--story', f'{folder}/story.txt', '--output_dir', folder]
    command += ['--id_length', '2', '--comic_type', 'none', '--threads', '1', '--resume']
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return [Image.open(f'{folder}/panel-{number:02}.png').convert('RGB').resize((128, 128), Image.BOX)
            for number in range(1, len(ORDER) + 1)]


@torch.no_grad()
def main():
    arguments = argparse.ArgumentParser(allow_abbrev=False)
    for name in ('config', 'run', 'out'):
        arguments.add_argument(name)
    arguments.add_argument('--stories', type=int, default=100)
    arguments.add_argument('--program', default=f'{HERE}/../../build/storydiff')
    arguments.add_argument('--model', default=f'{HERE}/../../storydiff/models/world')
    a = arguments.parse_args()
    torch.set_num_threads(1)
    world = read_config(a.config)['world']
    classifier = read_judge(a.run, world)
    stories = [make(index, world) for index in range(a.stories)]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda i: drawn(stories[i], f'{a.out}/{i:03}', a), range(a.stories)))
    sheet(rows[:16], 128).save(f'{a.out}/sheet.png')
    options, totals = answers(world), {}

    def add(name, right):
        totals.setdefault(name, []).append(bool(right))

    for story, row in zip(stories, rows):
        guesses = {q: logits.argmax(1).tolist() for q, logits in classifier(pixels(row)).items()}
        seen = [{q: options[q][guesses[q][i]] for q in options} for i in range(len(row))]
        for role, found in zip(ORDER, seen):
            if role == 'nobody':
                add('nobody', found['count'] == 0)
            elif role != 'both':
                add('one', found['count'] == 1)
            else:
                order = ('', '2') if found['kind'] == story['one']['kind'] else ('2', '')
                kinds = found['count'] == 2 and all(found['kind' + place] == story[who]['kind']
                                                    for who, place in zip(('one', 'two'), order))
                add('two', found['count'] == 2)
                add('both kinds', kinds)
                if story['style'] in ('comic', 'watercolor'):
                    right = [found[what + place] == story[who][what] for who, place in zip(('one', 'two'), order)
                             for what in ('top', 'bottom')]
                    add('both kinds, each with all of its own clothes', kinds and all(right))
                    for one in right:
                        add('a garment', found['count'] == 2 and one)
    for name, right in totals.items():
        print(f'{name}: {np.mean(right):.3f} of {len(right)}')


if __name__ == '__main__':
    main()
