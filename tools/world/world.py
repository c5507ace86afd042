"""The world: identities, panels and stories, each a small dict drawn at random, and the picture of a panel.

    identity   kind, hair, skin, top, bottom, hat, glasses      what a character keeps from panel to panel
    panel      an identity, and: scene, action, style, and where things stand (x, flip, mirror, shift, seed)
    role       who of the story is in a panel: its first character, its second, both (the second is `other`), nobody
    story      panels of one style, with one character or two
    strangers  a story's panels again, each with other identities of the same kinds

All randomness comes from (seed, index) of the story, so a data set is named by two numbers and never stored.
`python3 world.py out.png` draws a sheet, two stories per row.
"""
import random
import sys

import numpy as np
from PIL import Image, ImageDraw

import attributes as A
from figure import figure
from pen import Pen
from scenery import PLACES

EVERYTHING = dict(kinds=list(A.KINDS), scenes=list(PLACES), actions=list(A.ACTIONS),
                  styles={style: 1 for style in A.STYLES}, top=[c for c in A.COLOUR if c not in ('brown', 'gray')],
                  bottom=['blue', 'black', 'brown', 'gray', 'green', 'red', 'white'],
                  hat=['red', 'yellow', 'green', 'blue', 'black', 'white'], hair=list(A.HAIR),
                  wander=.10, hats=.4, glasses=.35, two=.1, nobody=.1)
PANELS = 4   # of a story


def identity(rng, world):
    kind = rng.choice(world['kinds'])
    return dict(kind=kind, hair=rng.choice(world['hair']) if kind in A.PERSON else 'none',
                skin=rng.choice(list(A.COAT[kind])), top=rng.choice(world['top']), bottom=rng.choice(world['bottom']),
                hat=rng.choice(world['hat']) if rng.random() < world['hats'] else 'none',
                glasses=rng.random() < world['glasses'])


def panel(rng, who, style, world):
    return dict(who, scene=rng.choice(world['scenes']), action=rng.choice(world['actions']), style=style, role='first',
                x=.5 + world['wander'] * rng.uniform(-1, 1), flip=rng.random() < .5, mirror=rng.random() < .5,
                shift=.05 * rng.uniform(-1, 1), seed=rng.randrange(1 << 30))


def story(seed, index, world, panels=PANELS):
    rng = random.Random(f'{seed}/{index}')
    who, style = identity(rng, world), rng.choices(list(world['styles']), world['styles'].values())[0]
    return cast(random.Random(f'{seed}/{index}/cast'), [panel(rng, who, style, world) for _ in range(panels)], world)


def cast(rng, panels, world):
    """Who of the story is in which of its panels. A second character is mostly of another kind."""
    if rng.random() >= world['two']:
        return [dict(panel, role='nobody' if rng.random() < world['nobody'] else 'first') for panel in panels]
    kinds = [kind for kind in world['kinds'] if kind != panels[0]['kind'] or rng.random() < .3] or world['kinds']
    other, out = identity(rng, dict(world, kinds=kinds)), []
    for number, panel in enumerate(panels):
        role = ('both', 'first', 'second')[number] if number < 3 else rng.choice(['both', 'both', 'first', 'second'])
        out.append(dict(panel, role=role, other=other) if role != 'second' else dict(panel, role=role, **other))
    rng.shuffle(out)
    return out


def sees(panel, neighbour):
    """Whether a panel may look at another one, as in storydiff: at panels of a character of its own, alone in them."""
    return neighbour['role'] in {'both': ('first', 'second'), 'nobody': ()}.get(panel['role'], (panel['role'],))


def strangers(seed, index, world, panels):
    """The same panels with other persons in each: only the kinds are kept."""
    rng, out = random.Random(f'{seed}/{index}/strangers'), []
    for panel in panels:
        out.append(dict(panel, **identity(rng, dict(world, kinds=[panel['kind']]))))
        if panel['role'] == 'both':
            out[-1]['other'] = identity(rng, dict(world, kinds=[panel['other']['kind']]))
    return out


def figures(panel):
    """What figure() draws: for each person of the panel, the panel as if that one were alone."""
    if panel['role'] == 'nobody':
        return []
    if panel['role'] != 'both':
        return [panel]
    left, right = dict(panel, scale=.8, x=panel['x'] - .23), dict(panel, scale=.8, x=panel['x'] + .23)
    return [left, dict(right, **panel['other'], flip=not panel['flip'])]


def place(panel, size):
    """A pen that has drawn where the panel is."""
    pen = Pen(size, panel['style'])
    pen.mirror, pen.shift = panel['mirror'], panel['shift']
    PLACES[panel['scene']](pen, random.Random(panel['seed']))
    pen.mirror, pen.shift = False, 0.0
    return pen


def draw(panel, size):
    """The panel as a PIL image of size x size pixels."""
    pen = place(panel, size)
    for one in figures(panel):
        figure(pen, one)
    return pen.finished()


def draw_with_matter(panel, size, grid):
    """The panel as an array [size, size, 3], and [grid, grid]: 0 the place, up to 120 a figure, 255 its head."""
    pen = place(panel, size)
    factor = pen.pixels // (2 * grid)
    before = np.asarray(pen.image.reduce(factor), np.int16)
    heads = [figure(pen, one) for one in figures(panel)]
    after = np.asarray(pen.image.reduce(factor), np.int16)
    changed = (np.abs(after - before).max(2) > 12).reshape(grid, 2, grid, 2).mean((1, 3)) * 120
    matter = Image.fromarray(changed.astype(np.uint8))
    for x, y, radius in heads:
        box = [grid * (x - radius), grid * (y - radius), grid * (x + radius), grid * (y + radius)]
        ImageDraw.Draw(matter).ellipse(box, fill=255)
    return np.asarray(pen.finished()), np.asarray(matter)


def sheet(rows, size):
    """Rows of PIL images as one image."""
    from PIL import Image
    page = Image.new('RGB', (size * max(len(row) for row in rows), size * len(rows)), (255, 255, 255))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            page.paste(image, (x * size, y * size))
    return page


if __name__ == '__main__':
    sheet([[draw(p, 256).reduce(2) for p in story(1, row, EVERYTHING, 5) + story(1, row + 8, EVERYTHING, 5)]
           for row in range(8)], 128).save(sys.argv[1])
