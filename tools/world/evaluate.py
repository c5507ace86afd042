"""Consistency, measured on what the C program draws.

    python3 evaluate.py configs/world.json RUN OUT [--program FILE] [--model FOLDER] [--stories N] [--settings all]
                        [--sampler NAME] [--steps N] [--guidance G]

Stories of five panels in which only place and action change. The character's line names the kind and none to two
attributes; all others stay open. The program draws every story with --id_length 3, so panels 1 to 3 define the
character (write) and 4 and 5 look at them (read), with each kind of consistent self-attention and of noise. The
classifier then says what the panels show:

    adherence   the share of panels that show what their prompt names
    agreement   of an open attribute, the share of pairs of panels for which the classifier gives the same answer:
                pairs of write panels; of a write and a read panel; all ten pairs
    chance      the same between panels of different stories, same kind, same style, attribute open in both: what
                agreement is where nothing but the model's habits makes it ("no hat" is most people's headwear)

Two more rows say what the judge can see: the stories' panels as world.py draws them, where all figures but chance
should be 1, and those after the model's autoencoder, which no drawing of the model can be expected to surpass.

Intervals hold 95 % of the figures of 1000 draws of stories with replacement. All settings have the same stories and
seeds, so differences between them are drawn together, and are more certain than the figures.

In OUT: SETTING/STORY/ with the panels, sheets/ to look at, table.md, figures.json. What is drawn already is not drawn
again; the program itself sees to that (--resume), and refuses a folder that another model or other settings drew.
"""
import argparse
import json
import os
import random
import subprocess
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from attributes import OPEN
from captions import ACTION, SCENE, description
from classifier import accuracy, answers, read_judge, seen_by_judge, visible
from training import read_config
from train_vae import images, pixels
from vae import read_vae
from world import draw, sheet, story

HERE = os.path.dirname(os.path.abspath(__file__))
PANELS, WRITE = 5, 3   # of a story here; training has four
SETTINGS = [f'{csa}/{noise}' for csa in ('off', 'masked', 'sampled') for noise in ('own', 'shared', 'reference')]
STYLE_NAMES = {'comic': ['Comic book', 'Cartoon'], 'watercolor': ['Watercolor'], 'line art': ['Line art', 'Sketch'],
               'noir': ['Black and White Film Noir']}   # of storydiff/story/styles.c
STORY_SEED, REAL_SEED = -5, -6   # of world.story; training and judging have others
TOLD = ('scene', 'style', 'kind', 'action')
SIDE = 128   # pixels that the classifier was trained on
LARGE = 256   # pixels of a picture of the model's

PARTS = dict(write=slice(0, WRITE), read=slice(WRITE, PANELS), all=slice(0, PANELS))
PAIRS = dict(write=list(combinations(range(WRITE), 2)), read=list(product(range(WRITE), range(WRITE, PANELS))),
             all=list(combinations(range(PANELS), 2)))


def make_stories(count, world):
    world, out = dict(world, two=0, nobody=0), []
    for index in range(count):
        panels, rng = story(STORY_SEED, index, world, PANELS), random.Random(f'{STORY_SEED}/{index}/words')
        for panel, scene in zip(panels, rng.sample(world['scenes'], PANELS)):
            panel['scene'] = scene
        possible = [what for what in OPEN if visible(dict(panels[0], style='comic'), what)]
        named = rng.sample(possible, rng.choice([0, 1, 1, 2]))
        out.append(dict(panels=panels, named=named, who=description(rng, panels[0], named), seed=1000 + index,
                        style_name=rng.choice(STYLE_NAMES[panels[0]['style']]),
                        prompts=[f'{ACTION[p["action"]][0]} {SCENE[p["scene"]][0]}' for p in panels]))
    return out


def run_program(common, setting, told, folder):
    csa, noise = setting.split('/')
    command = common + ['--csa', csa, '--noise', noise, '--general_prompt', told['who'], '--seed', str(told['seed']),
                        '--style_name', told['style_name'], '--output_dir', folder]
    for prompt in told['prompts']:
        command += ['--prompt', prompt]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit((done.stderr.strip().splitlines() or [f'{command[0]}: {done.returncode}'])[-1])


def draw_setting(common, setting, stories, out):
    """-> [stories * PANELS, 3, h, w]. Two programs of one thread each: a picture is too small to share."""
    folders = [f'{out}/{setting.replace("/", "-")}/{index:03}' for index in range(len(stories))]
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run_program, common, setting, *pair) for pair in zip(stories, folders)]
        try:
            for run in runs:
                run.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    paths = [f'{folder}/panel-{number:02}.png' for folder in folders for number in range(1, PANELS + 1)]
    return pixels([Image.open(path).convert('RGB').resize((SIDE, SIDE), Image.BOX) for path in paths])


@torch.no_grad()
def through_autoencoder(model, panels):
    vae = read_vae(f'{model}/vae', 'diffusion_pytorch_model.fp16')
    out = []
    for some in (panels[i:i + PANELS] for i in range(0, len(panels), PANELS)):
        again = vae.decode(vae.encode(pixels([draw(panel, LARGE) for panel in some]))[0]).clamp(-1, 1)
        out.append(F.avg_pool2d(again, LARGE // SIDE))
    return torch.cat(out)


@torch.no_grad()
def judged(classifier, x):
    """-> {question: [stories, PANELS] index of the classifier's answer}"""
    parts = [{q: logits.argmax(1) for q, logits in classifier(part).items()} for part in x.split(100)]
    return {q: torch.cat([part[q] for part in parts]).view(-1, PANELS).numpy() for q in parts[0]}


def agreement(a, b, pairs):
    return np.mean([a[i] == b[j] for i, j in pairs])


def count_up(stories, guesses, world):
    """-> {(what, question, part): [2, stories] sums and counts}, where sum / count is the figure of a story. The
    question 'attributes' takes all attributes together."""
    totals = defaultdict(lambda: np.zeros((2, len(stories))))

    def add(what, question, part, i, values):
        for name in {question, 'attributes' if question in OPEN else question}:
            totals[what, name, part][:, i] += np.sum(values), np.size(values)

    for question, options in answers(world).items():
        if question not in (*TOLD, *OPEN):
            continue
        asked = [i for i, told in enumerate(stories) if visible(told['panels'][0], question)]
        is_open = [i for i in asked if question in OPEN and question not in stories[i]['named']]
        seen, alike = guesses[question], defaultdict(list)
        for i in is_open:
            alike[stories[i]['panels'][0]['kind'], stories[i]['panels'][0]['style']].append(i)
        for i in set(asked) - set(is_open):
            right = seen[i] == [options.index(panel[question]) for panel in stories[i]['panels']]
            for part, which in PARTS.items():
                add('adherence', question, part, i, right[which])
        for group in alike.values():
            for i, (part, pairs) in product(group, PAIRS.items()):
                add('agreement', question, part, i, agreement(seen[i], seen[i], pairs))
                others = [agreement(seen[i], seen[j], pairs) for j in group if j != i]
                if others:
                    add('chance', question, part, i, np.mean(others))
    return totals


def bootstrap(totals, draws):
    """Sums and counts -> {name: (figure, its value in every draw)}. draws: [n, stories], how often each is in."""
    with np.errstate(invalid='ignore'):   # a draw may have no story that was asked: nan
        return {name: (sums.sum() / counts.sum(), (draws @ sums) / (draws @ counts))
                for name, (sums, counts) in totals.items()}


def difference(a, b):
    return {name: (a[name][0] - b[name][0], a[name][1] - b[name][1]) for name in a if name in b}


def interval(figure):
    return [round(float(v), 4) for v in (figure[0], *np.nanpercentile(figure[1], [2.5, 97.5]))]


def number(value, signed=False):
    return f'{round(value, 2) + 0.0:{"+" if signed else ""}.2f}'.replace('0.', '.', 1)


def with_interval(figures, *name, signed=False):
    """`.45 [.41, .49]`"""
    if name not in figures:
        return '-'
    value, low, high = (number(v, signed) for v in interval(figures[name]))
    return f'{value} [{low}, {high}]'


def bare(figures, what, question, *parts):
    """`.98 / .97`"""
    names = [(what, question, part) for part in parts]
    return ' / '.join(number(figures[name][0]) if name in figures else '-' for name in names)


def table(head, groups, cells):
    """Markdown, a row for each of groups {name: figures}."""
    rows = [head, ['---'] * len(head), *([name, *cells(figures)] for name, figures in groups.items())]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)


def report(results, changes, accuracies, count):
    """changes: {setting: figures less those of `off` with the same noise}."""
    asked = [('adherence', question, part) for question in (*TOLD, 'attributes') for part in ('write', 'read')]
    edges = [interval(figures[name])[1:] for figures in results.values() for name in asked if name in figures]
    widest = max(high - low for low, high in edges)

    def agreements(figures, signed=False):
        return [with_interval(figures, 'agreement', 'attributes', part, signed=signed) for part in PARTS]

    text = [
        f'{count} stories of {PANELS} panels, {WRITE} of them id panels. On real panels the classifier is right: '
        + ', '.join(f'{question} {number(value)}' for question, value in accuracies.items()) + '.',
        f'Adherence in write / read panels (intervals at most {number(widest)} wide), agreement of open attributes:',
        table(['csa/noise', *TOLD, 'named', 'agreement: write', 'read', 'all', 'by chance'], results, lambda f: [
            *(bare(f, 'adherence', q, 'write', 'read') for q in (*TOLD, 'attributes')), *agreements(f),
            bare(f, 'chance', 'attributes', 'all')]),
        'Agreement of each attribute where it is open, all pairs; and by chance:',
        table(['csa/noise', *OPEN], results, lambda f: [
            with_interval(f, 'agreement', q, 'all') + '; ' + bare(f, 'chance', q, 'all') for q in OPEN]),
        'Adherence of each attribute where it is named, all panels:',
        table(['csa/noise', *OPEN], results, lambda f: [with_interval(f, 'adherence', q, 'all') for q in OPEN])]
    if changes:
        text += ['Change against `off` with the same noise: agreement, and adherence in all panels:', table(
            ['csa/noise', 'agreement: write', 'read', 'all', *TOLD, 'named'], changes, lambda f: [
                *agreements(f, signed=True),
                *(with_interval(f, 'adherence', q, 'all', signed=True) for q in (*TOLD, 'attributes'))])]
    return '\n\n'.join(text) + '\n'


def plain(groups):
    """For JSON."""
    return {s: {' '.join(name): interval(f) for name, f in sorted(figures.items())} for s, figures in groups.items()}


def main():
    parser = argparse.ArgumentParser()
    for name in ('config', 'run', 'out'):
        parser.add_argument(name)
    parser.add_argument('--program', default=f'{HERE}/../../build/storydiff')
    parser.add_argument('--model')
    parser.add_argument('--stories', type=int, default=200)
    parser.add_argument('--settings', default='all', help='off/own,masked/own,..')
    parser.add_argument('--sampler')
    parser.add_argument('--steps')
    parser.add_argument('--guidance')
    args = parser.parse_args()
    settings = SETTINGS if args.settings == 'all' else args.settings.split(',')
    if not set(settings) <= set(SETTINGS):
        parser.error(f'settings are {", ".join(SETTINGS)}')
    exported = f'{args.run}/export'
    model = args.model or (exported if os.path.isdir(exported) else f'{HERE}/../../storydiff/models/world')
    common = [args.program, '--model', model, '--id_length', str(WRITE), '--comic_type', 'none', '--threads', '1',
              '--resume']
    for option, value in (('--sampler', args.sampler), ('--sampling_steps', args.steps),
                          ('--guidance_scale', args.guidance)):
        common += [option, value] if value else []

    torch.set_num_threads(2)
    world = read_config(args.config)['world']
    classifier = read_judge(args.run, world)
    alone = dict(world, two=0, nobody=0)
    unseen = [story(REAL_SEED, i, alone, 1)[0] for i in range(1000)]
    accuracies = accuracy(classifier, seen_by_judge(unseen), unseen, world)
    accuracies = {question: accuracies[question] for question in (*TOLD, *OPEN)}
    print('accuracy on 1000 real panels', {q: round(v, 3) for q, v in accuracies.items()}, flush=True)
    if min(accuracies.values()) < .95:
        raise SystemExit('the classifier must be right on 95 % of real panels in every question: train it longer')

    stories = make_stories(args.stories, world)
    draws = np.random.default_rng(1).multinomial(len(stories), np.full(len(stories), 1 / len(stories)), 1000)
    real = [panel for told in stories for panel in told['panels']]
    os.makedirs(f'{args.out}/sheets', exist_ok=True)
    results = {}

    def take(name, x):
        results[name] = bootstrap(count_up(stories, judged(classifier, x), world), draws)
        row = images(x[:12 * PANELS])
        sheet([row[i:i + PANELS] for i in range(0, len(row), PANELS)], SIDE).save(
            f'{args.out}/sheets/{name.replace("/", "-")}.png')

    take('real panels', pixels([draw(panel, LARGE).reduce(LARGE // SIDE) for panel in real]))
    take('autoencoder', through_autoencoder(model, real))
    for setting in settings:
        begun = time.time()
        take(setting, draw_setting(common, setting, stories, args.out))
        print(f'{setting}: {time.time() - begun:.0f} s', flush=True)

    before = {s: f'off/{s.split("/")[1]}' for s in settings if not s.startswith('off/')}
    changes = {s: difference(results[s], results[off]) for s, off in before.items() if off in results}
    text = report(results, changes, accuracies, len(stories))
    with open(f'{args.out}/table.md', 'w') as file:
        file.write(text)
    with open(f'{args.out}/figures.json', 'w') as file:
        json.dump(dict(stories=len(stories), classifier=accuracies, figures=plain(results), changes=plain(changes)),
                  file, indent=1)
    print(text, end='')


if __name__ == '__main__':
    main()
