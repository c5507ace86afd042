"""The world: identities, panels and stories, each a small dict drawn at random, and the picture of a panel.

    identity   kind, hair, skin, top, bottom, hat, glasses      what a character keeps from panel to panel
    panel      an identity, and: scene, action, style, and where things stand (x, flip, mirror, shift, seed)
    story      panels of one identity in one style
    strangers  a story's panels again, each with another identity of the same kind

All randomness comes from (seed, index) of the story, so a data set is named by two numbers and never stored.
`python3 world.py out.png` draws a sheet, two stories per row.
"""
import random
import sys

import attributes as A
from figure import figure
from pen import Pen
from scenery import PLACES

EVERYTHING = dict(kinds=list(A.KINDS), scenes=list(PLACES), actions=list(A.ACTIONS),
                  styles={style: 1 for style in A.STYLES}, top=[c for c in A.COLOUR if c not in ('brown', 'gray')],
                  bottom=['blue', 'black', 'brown', 'gray', 'green', 'red', 'white'],
                  hat=['red', 'yellow', 'green', 'blue', 'black', 'white'], hair=list(A.HAIR), wander=.10)
PANELS = 4   # of a story


def identity(rng, world):
    kind = rng.choice(world['kinds'])
    return dict(kind=kind, hair=rng.choice(world['hair']) if kind in A.PERSON else 'none',
                skin=rng.choice(list(A.COAT[kind])), top=rng.choice(world['top']), bottom=rng.choice(world['bottom']),
                hat=rng.choice(world['hat']) if rng.random() < .4 else 'none', glasses=rng.random() < .35)


def panel(rng, who, style, world):
    return dict(who, scene=rng.choice(world['scenes']), action=rng.choice(world['actions']), style=style,
                x=.5 + world['wander'] * rng.uniform(-1, 1), flip=rng.random() < .5, mirror=rng.random() < .5,
                shift=.05 * rng.uniform(-1, 1), seed=rng.randrange(1 << 30))


def story(seed, index, world, panels=PANELS):
    rng = random.Random(f'{seed}/{index}')
    who, style = identity(rng, world), rng.choices(list(world['styles']), world['styles'].values())[0]
    return [panel(rng, who, style, world) for _ in range(panels)]


def strangers(seed, index, world, panels):
    """The same panels with somebody else in each: only the kind is kept."""
    rng = random.Random(f'{seed}/{index}/strangers')
    return [dict(panel, **identity(rng, dict(world, kinds=[panel['kind']]))) for panel in panels]


def draw(panel, size):
    """The panel as a PIL image of size x size pixels."""
    pen = Pen(size, panel['style'])
    pen.mirror, pen.shift = panel['mirror'], panel['shift']
    PLACES[panel['scene']](pen, random.Random(panel['seed']))
    pen.mirror, pen.shift = False, 0.0
    figure(pen, panel)
    return pen.finished()


def sheet(rows, size):
    """Rows of PIL images as one image."""
    from PIL import Image
    page = Image.new('RGB', (size * max(len(row) for row in rows), size * len(rows)), (255, 255, 255))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            page.paste(image, (x * size, y * size))
    return page


if __name__ == '__main__':
    sheet([[draw(p, 128) for p in story(1, 2 * row, EVERYTHING, 5) + story(1, 2 * row + 1, EVERYTHING, 5)]
           for row in range(8)], 128).save(sys.argv[1])
