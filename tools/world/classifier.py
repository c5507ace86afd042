"""The judge: a small convolutional network that reads every attribute off a panel.

    python3 classifier.py configs/fine.json RUN          trains it, prints its accuracy on panels it has not seen

Only what can be seen is asked: colours in the styles that have colours, hair of persons; of two figures, the left one
by the plain questions, the right one by those that end in 2. Training panels are drawn by either pen, blurred and made
noisy at random, so that it judges what a panel shows and not how sharply.
"""
import random
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

import attributes as A
from loop import DEVICE, Loop, Parallel, read_config
from train_vae import pixels
from world import draw, story

COLOURS = ('hair', 'skin', 'top', 'bottom', 'hat')
OF_ONE = ('kind', *COLOURS, 'glasses')
ROLE_COUNT = dict(nobody=0, first=1, second=1, both=2)


def answers(world):
    """Question -> list of possible answers."""
    coats = sorted({name for kind in world['kinds'] for name in A.COAT[kind]})
    of_one = dict(kind=world['kinds'], hair=world['hair'], skin=coats, top=world['top'], bottom=world['bottom'],
                  hat=['none'] + world['hat'], glasses=[False, True])
    return dict(of_one, scene=world['scenes'], action=world['actions'], style=list(world['styles']), count=[0, 1, 2],
                **{f'{question}2': options for question, options in of_one.items()})


def asked(panel, question):
    """-> the figure of the panel that a question is about, the question without its number; None: nobody there."""
    if question in ('scene', 'style', 'count'):
        return panel, question
    if panel['role'] == 'nobody' or (question[-1] == '2' and panel['role'] != 'both'):
        return None, question
    return (dict(panel, **panel['other']), question[:-1]) if question[-1] == '2' else (panel, question)


def visible(panel, question):
    figure, question = asked(panel, question)
    if not figure or (question == 'hair' and figure['kind'] not in A.PERSON):
        return False
    return question not in COLOURS or panel['style'] in ('comic', 'watercolor')


def answer(panel, question):
    if question == 'count':
        return ROLE_COUNT[panel['role']]
    figure, question = asked(panel, question)
    return figure[question]


class Classifier(nn.Module):
    """[n, 3, 128, 128] in -1..1 -> {question: [n, answers]}."""

    def __init__(self, world, width=24):
        super().__init__()
        layers, inputs = [], 3
        for outputs in (width, 2 * width, 3 * width, 4 * width):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()]
            inputs = outputs
        self.body = nn.Sequential(*layers, nn.Conv2d(inputs, 2 * width, 3, padding=1), nn.ReLU(), nn.Flatten(),
                                  nn.Linear(2 * width * 64, 192), nn.ReLU())
        self.heads = nn.ModuleDict({question: nn.Linear(192, len(options))
                                    for question, options in answers(world).items()})

    def forward(self, x):
        h = self.body(x)
        return {question: head(h) for question, head in self.heads.items()}


def truth(panels, world):
    """{question: [n] index of the answer, or -100 where it cannot be seen}."""
    return {question: torch.tensor([options.index(answer(p, question)) if visible(p, question) else -100 for p in panels])
            for question, options in answers(world).items()}


def seen_by_judge(panels, rng):
    """128 pixels of each, drawn large and fine, or small and plain."""
    return pixels([draw(p, 256, True).reduce(2) if rng.random() < .7 else draw(p, 128) for p in panels])


def blemished(x, rng):
    """Blur by a random amount, add noise: about what a small autoencoder does to a panel."""
    sharp, soft = rng.random(), F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode='replicate'), 3, stride=1)
    return sharp * x + (1 - sharp) * soft + .15 * rng.random() * torch.randn_like(x)


def accuracy(classifier, x, panels, world):
    with torch.no_grad():
        guesses = {q: logits.argmax(1) for q, logits in classifier(x).items()}
    out = {}
    for question, right in truth(panels, world).items():
        seen = right >= 0
        out[question] = (guesses[question][seen] == right[seen]).float().mean().item()
    return out


def main(config_path, run):
    config = read_config(config_path)
    world, options = config['world'], config['train']['classifier']
    torch.manual_seed(config['seed'])
    classifier, parallel = Classifier(world).to(DEVICE), Parallel(options['workers'])
    loop = Loop(f'{run}/classifier.pt', classifier, options['steps'], options['rate'], average=.99)

    def losses(part):
        x, panels = part
        guesses = classifier(x.to(DEVICE))
        loss = sum(F.cross_entropy(guesses[q], right.to(DEVICE)) for q, right in truth(panels, world).items()
                   if (right >= 0).any())
        return loss, dict(loss=loss.detach())

    reports = []
    for step in loop:
        rng = random.Random(f'{config["seed"]}/classifier/{step}')
        panels = [rng.choice(story(-2, rng.randrange(1 << 30), world, 3)) for _ in range(options['batch'])]
        torch.manual_seed(step)
        x, size = blemished(seen_by_judge(panels, rng), rng), options['batch'] // options['workers']
        reports += parallel.gradients(loop.parameters, losses,
                                      [(x[i:i + size], panels[i:i + size]) for i in range(0, len(x), size)])
        loop.update()
        if (step + 1) % 100 == 0:
            loop.log(loss=sum(r['loss'] for r in reports) / len(reports))
            reports = []
    if loop.stopping:
        return
    classifier.load_state_dict(loop.average)
    classifier.cpu().eval()
    panels = [story(-3, i, world, 3)[i % 3] for i in range(1000)]
    x = torch.cat([seen_by_judge(panels[i:i + 100], random.Random(i)) for i in range(0, 1000, 100)])
    right = accuracy(classifier, x, panels, world)
    print('accuracy on 1000 unseen panels:', {question: round(v, 3) for question, v in right.items()})


if __name__ == '__main__':
    main(*sys.argv[1:])
