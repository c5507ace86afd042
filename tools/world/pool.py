"""Panels, drawn ahead by many processes: groups of the same places and poses with different persons.

    group      four stories (`VARIANTS`) that differ only in who is in them: each is a stranger in the others' panels
    panel      number  group * 16 + variant * 4 + place in the story
    Pool       images uint8 [n, 256, 256, 3], and matter uint8 [n, 32, 32]: how much of a place is a person (255: head)

Nothing is stored: (seed, number) says what a panel shows. Memory is shared between the processes that draw and the one
that trains, which begins while they draw.
"""
import mmap
import os
import random

import numpy as np

from world import PANELS, draw_with_matter, identity, story

VARIANTS = 4
GROUP = VARIANTS * PANELS
PIXELS, MATTER = 256, 32


def group(seed, index, world):
    """-> [VARIANTS][PANELS] panels."""
    panels, rng, out = story(seed, index, world), random.Random(f'{seed}/{index}/variants'), []
    for variant in range(VARIANTS):
        who, other = (identity(rng, dict(world, kinds=[kind])) if variant and kind else {} for kind in kinds(panels))
        out.append([as_other(panel, who, other) for panel in panels])
    return out


def kinds(panels):
    """The kinds of a story's first and second character, None where there is none."""
    found = [None, None]
    for panel in panels:
        if panel['role'] in ('first', 'both', 'nobody'):
            found[0] = panel['kind']
        if panel['role'] == 'second':
            found[1] = panel['kind']
        if 'other' in panel:
            found[1] = panel['other']['kind']
    return found


def as_other(panel, who, other):
    """The panel with other persons; {} leaves the one who is there."""
    if panel['role'] == 'second':
        return dict(panel, **other)
    out = dict(panel, **who)
    if 'other' in panel:
        out['other'] = dict(panel['other'], **other)
    return out


class Pool:
    def __init__(self, seed, world, groups, workers):
        """Begins to draw at once; `ready()` panels are there, in order."""
        self.count, self.workers, self.groups = groups * GROUP, workers, groups
        self.images = self._shared((self.count, PIXELS, PIXELS, 3))
        self.matter = self._shared((self.count, MATTER, MATTER))
        self.done = self._shared((workers, 8)).view(np.int64)
        for worker in range(workers):
            if os.fork() == 0:
                try:
                    self._draw(seed, world, worker)
                finally:
                    os._exit(0)

    @staticmethod
    def _shared(shape):
        return np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)

    def _draw(self, seed, world, worker):
        os.nice(5)
        for index in range(worker, self.groups, self.workers):
            for number, panel in enumerate(p for panels in group(seed, index, world) for p in panels):
                image, matter = draw_with_matter(panel, PIXELS, MATTER)
                self.images[index * GROUP + number], self.matter[index * GROUP + number] = image, matter
            self.done[worker] += 1

    def ready(self):
        """Workers take groups in turns: all before the first that is missing are there."""
        missing = min(worker + self.workers * int(done) for worker, done in enumerate(self.done[:, 0]))
        return min(missing, self.groups) * GROUP
