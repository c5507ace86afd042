"""What each lever costs in pictures: the same stories drawn with each, judged by the classifier of tools/world, and
compared with those of float32 picture by picture.

    python3 quality.py CONFIG RUN OUT [--program FILE] [--model FOLDER] [--stories N] [--setting masked/own]
                       [--levers int8,fast] [--arguments "--sampler ddim --sampling_steps 30"]

CONFIG and RUN as for tools/world/evaluate.py, whose stories and measures these are (python3-torch, -numpy, -pil).
Printed for each lever: adherence (the share of panels that show what their prompt names), agreement (of open
attributes, all pairs of panels) and their change against float32, with 95 % intervals over draws of stories; PSNR of
the pictures in dB, the median and the worst; how far final latents are off, as the largest difference of a story (they
are about normal: 1 is much): the median of stories and the worst; seconds of the program, which mean something on a
quiet machine alone. A story is drawn with all levers before the next one is begun; what is drawn is not drawn again.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f'{HERE}/../tools/world')

import numpy as np
import torch
from PIL import Image

from classifier import read_judge
from evaluate import PANELS, SIDE, TOLD, WRITE, bootstrap, count_up, difference, judged, make_stories
from training import read_config
from train_vae import pixels
from weights import read

LEVERS = {
    'float32': [],
    'fast': ['--fast'],
    'int8': ['--precision', 'int8'],
    'cache 2': ['--cache_interval', '2'],
    'cache 3': ['--cache_interval', '3'],
    'guidance 0-0.8': ['--guidance_interval', '0-0.8'],
}


def folder_of(out, lever, index):
    return f'{out}/{lever.replace(" ", "-")}/{index:03}'


def run_program(common, setting, told, folder):
    """As evaluate.py does. The state of the run, which is saved after the last step and removed at the end, is kept: it
    has the latents."""
    csa, noise = setting.split('/')
    reading, writing = os.pipe()
    command = common + ['--csa', csa, '--noise', noise, '--general_prompt', told['who'], '--seed', str(told['seed']),
                        '--style_name', told['style_name'], '--output_dir', folder, '--progress_fd', str(writing)]
    for prompt in told['prompts']:
        command += ['--prompt', prompt]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[writing]) as program:
        os.close(writing)
        for event in map(json.loads, os.fdopen(reading)):
            if event['event'] == 'step' and event['step'] == event['steps']:
                shutil.copy(f'{folder}/unfinished.safetensors', f'{folder}/latents.safetensors')
            if event['event'] == 'failed':
                raise SystemExit(event['text'])


def draw_all(common, levers, setting, stories, out):
    """-> {lever: seconds}. Two programs of one thread each: a picture is too small to share."""
    seconds = dict.fromkeys(levers, 0)

    def draw_story(index):
        for lever in levers:
            begun, folder = time.time(), folder_of(out, lever, index)
            os.makedirs(folder, exist_ok=True)
            if not os.path.exists(f'{folder}/panel-{PANELS:02}.png'):   # the last thing written
                run_program(common + LEVERS[lever], setting, stories[index], folder)
            seconds[lever] += time.time() - begun

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(draw_story, range(len(stories))))
    return seconds


def pictures(out, lever, count):
    """-> [count * PANELS] arrays of bytes"""
    return [np.asarray(Image.open(f'{folder_of(out, lever, i)}/panel-{number:02}.png').convert('RGB'))
            for i in range(count) for number in range(1, PANELS + 1)]


def latents(out, lever, count):
    """-> [count] of [panels, h, w, c]"""
    return [read(f'{folder_of(out, lever, i)}/latents.safetensors')['latents'] for i in range(count)]


def psnr(a, b):
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return 10 * np.log10(255 ** 2 / error) if error > 0 else np.inf


def shown(figures, *names, signed=False):
    values = [figures[name] for name in names if name in figures]
    if not values:
        return '-'
    middle, drawn = np.mean([v[0] for v in values]), np.mean([v[1] for v in values], axis=0)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    form = '{:+.3f} [{:+.3f}, {:+.3f}]' if signed else '{:.3f} [{:.3f}, {:.3f}]'
    return form.format(middle, low, high)


ADHERENCE = [('adherence', question, 'all') for question in (*TOLD, 'attributes')]
AGREEMENT = ('agreement', 'attributes', 'all')


def main():
    parser = argparse.ArgumentParser()
    for name in ('config', 'run', 'out'):
        parser.add_argument(name)
    parser.add_argument('--program', default=f'{HERE}/../build/storydiff')
    parser.add_argument('--model', default=f'{HERE}/../storydiff/models/world')
    parser.add_argument('--stories', type=int, default=100)
    parser.add_argument('--setting', default='masked/own')
    parser.add_argument('--levers', default=','.join(LEVERS))
    parser.add_argument('--arguments', default='', help='of the program, for float32 and all levers')
    args = parser.parse_args()
    levers = list(dict.fromkeys(['float32', *args.levers.split(',')]))
    common = [args.program, '--model', args.model, '--id_length', str(WRITE), '--comic_type', 'none', '--threads', '1',
              '--resume', *args.arguments.split()]
    world = read_config(args.config)['world']
    stories = make_stories(args.stories, world)
    seconds = draw_all(common, levers, args.setting, stories, args.out)

    torch.set_num_threads(2)
    classifier = read_judge(args.run, world)
    draws = np.random.default_rng(1).multinomial(len(stories), np.full(len(stories), 1 / len(stories)), 1000)
    figures, exact = {}, pictures(args.out, 'float32', len(stories))
    exact_latents = latents(args.out, 'float32', len(stories))
    print(f'{len(stories)} stories of {PANELS} panels, {args.setting}\n')
    print('| lever | adherence | change | agreement | change | PSNR: median | worst | latents off: median | worst | '
          'seconds |')
    print('| --- |' + ' --- |' * 9)
    for lever in levers:
        drawn = pictures(args.out, lever, len(stories))
        small = pixels([np.asarray(Image.fromarray(x).resize((SIDE, SIDE), Image.BOX)) for x in drawn])
        figures[lever] = bootstrap(count_up(stories, judged(classifier, small), world), draws)
        change = difference(figures[lever], figures['float32'])
        decibels = [psnr(a, b) for a, b in zip(drawn, exact)]
        off = [float(abs(a - b).max()) for a, b in zip(latents(args.out, lever, len(stories)), exact_latents)]
        print(f'| {lever} | {shown(figures[lever], *ADHERENCE)} | {shown(change, *ADHERENCE, signed=True)} | '
              f'{shown(figures[lever], AGREEMENT)} | {shown(change, AGREEMENT, signed=True)} | '
              f'{np.median(decibels):.1f} | {min(decibels):.1f} | '
              f'{np.median(off):.2g} | {max(off):.2g} | {seconds[lever]:.0f} |', flush=True)


if __name__ == '__main__':
    main()
