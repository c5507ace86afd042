"""The judge: a small convolutional network that reads every attribute off a panel.

Only what can be seen is asked: colours in the styles that have colours, hair of persons; of two figures, the left one
by the plain questions, the right one by those that end in 2. Training panels are blurred and made noisy at random, so
that it judges what a panel shows and not how sharply.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import attributes as A
from train_vae import pixels
from training import DEVICE, Training, compiled
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


def read_judge(run, world):
    judge = Classifier(world).eval()
    judge.load_state_dict(torch.load(f'{run}/classifier.pt', map_location='cpu'))
    return judge


def truth(panels, world):
    """{question: [n] index of the answer, or -100 where it cannot be seen}."""
    def one(panel, question, options):
        return options.index(answer(panel, question)) if visible(panel, question) else -100
    return {question: torch.tensor([one(panel, question, options) for panel in panels])
            for question, options in answers(world).items()}


def seen_by_judge(panels):
    """128 pixels of each."""
    return pixels([draw(p, 256).reduce(2) for p in panels])


def blemished(x, noise, sharp, loud):
    """Blurred by a random amount and made noisy: about what a small autoencoder does to a panel."""
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode='replicate'), 3, stride=1)
    return sharp * x + (1 - sharp) * soft + .15 * loud * noise


def accuracy(classifier, x, panels, world):
    with torch.no_grad():
        guesses = {q: logits.argmax(1) for q, logits in classifier(x).items()}
    out = {}
    for question, right in truth(panels, world).items():
        seen = right >= 0
        out[question] = (guesses[question][seen] == right[seen]).float().mean().item()
    return out


def training(classifier, images, labels, options):
    """images [n, 256, 256, 3] of the pool, labels {question: [n]}, on the device."""
    @compiled
    def through(some, noise, sharp, loud):
        x = F.avg_pool2d(some.permute(0, 3, 1, 2).float() / 127.5 - 1, 2)
        return classifier(blemished(x, noise, sharp, loud))

    def losses(batch):
        which, count = batch['which'], options['batch']
        noise = torch.randn(count, 3, 128, 128, device=DEVICE)
        sharp, loud = torch.rand(2, count, 1, 1, 1, device=DEVICE)
        guesses = through(images.index_select(0, which), noise, sharp, loud)
        loss = sum(F.cross_entropy(guesses[q].float(), right[which]) for q, right in labels.items())
        return loss, {}

    return Training('classifier', classifier, losses, options['rate'], average=.99)


def test(classifier, world, count=1000):
    """{question: how often it is right} on panels it has not seen."""
    panels = [story(-3, i, world, 3)[i % 3] for i in range(count)]
    x = torch.cat([seen_by_judge(panels[i:i + 100]) for i in range(0, count, 100)])
    return accuracy(classifier, x, panels, world)
