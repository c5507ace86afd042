"""A pen that draws flat shapes in one of four styles.

Everything in the world is drawn with five strokes: box, oval, shape, stroke, line. Coordinates are fractions of
the panel (x right, y down), so a panel can be drawn at any size. A style is two decisions, made here and nowhere
else: what a colour becomes when it is painted, and what ink its outline has.

    comic        the colour itself, black outlines
    watercolor   the colour thinned with paper, no outlines; a fine pen's washes have darker rims and bleed
    line art     white (grey where the colour is dark), black outlines
    noir         grey of raised contrast, black outlines
"""
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

PAPER = (255, 250, 240)
OUTLINE = .011   # of the panel's width: 1.4 pixels at 128
OVERSAMPLE = 2   # panels are drawn twice as large and averaged: smooth edges


SHADE = {'comic': .84, 'watercolor': .86, 'line art': 1, 'noir': .55}


def mixed(colour, other, share):
    return tuple(round((1 - share) * a + share * b) for a, b in zip(colour, other))


def luminance(colour):
    red, green, blue = colour
    return .30 * red + .59 * green + .11 * blue


def paint(style, colour, fine=False):
    """What `colour` looks like in `style`, as an RGB triple."""
    if style == 'watercolor':
        return mixed(colour, PAPER, .16 if fine else .4)
    if style == 'line art':
        return (255, 255, 255) if luminance(colour) > 60 else (205, 205, 205)
    if style == 'noir':
        grey = min(255, max(0, round(1.25 * luminance(colour) - 45)))
        return (grey, grey, grey)
    return tuple(colour)


def washed(image):
    """Watercolor's last touch: pigment gathers at the edges of a wash, and inside it thins out."""
    flat = np.asarray(image, np.float32)
    near = np.asarray(image.filter(ImageFilter.GaussianBlur(image.size[0] * .012)), np.float32)
    pale = flat + .08 * (255 - flat)
    return Image.fromarray(np.clip(pale - .7 * np.abs(flat - near), 0, 255).round().astype(np.uint8))


class Pen:
    """Draws on one panel. `mirror` and `shift` move what follows: scenery varies by them, figures do not.

    A `fine` pen is for large panels: it adds what follows from the plain panel alone (shading, highlights, a mouth's
    corners), so that a decoder can draw it from latents that do not hold it.
    """

    def __init__(self, size, style, fine=False):
        self.fine = fine
        self.pixels = size * OVERSAMPLE
        self.image = Image.new('RGB', (self.pixels, self.pixels), (255, 255, 255))
        self.draw = ImageDraw.Draw(self.image)
        self.style = style
        self.ink = (16, 16, 22) if style != 'watercolor' else (96, 68, 62) if fine else None
        self.outline = OUTLINE * (.5 if style == 'watercolor' else 1)
        self.mirror, self.shift = False, 0.0

    def finished(self):
        size = self.pixels // OVERSAMPLE
        image = self.image.resize((size, size), Image.BOX)
        return washed(image) if self.fine and self.style == 'watercolor' else image

    def shade(self, colour):
        """`colour` away from the light."""
        return mixed((20, 20, 60), colour, SHADE[self.style])

    def _at(self, x, y):
        x = (1 - x if self.mirror else x) + self.shift
        return x * self.pixels, y * self.pixels

    def _width(self, fraction):
        return max(1, round(fraction * self.pixels))

    def shape(self, points, colour, outline=1):
        points = [self._at(x, y) for x, y in points]
        self.draw.polygon(points, fill=paint(self.style, colour, self.fine))
        if self.ink and outline:
            self.draw.line(points + points[:2], fill=self.ink, width=self._width(self.outline * outline), joint='curve')

    def edge(self, points):
        """The outline of a shape once more, where something was drawn over it."""
        points = [self._at(x, y) for x, y in points]
        if self.ink:
            self.draw.line(points + points[:2], fill=self.ink, width=self._width(self.outline), joint='curve')

    def shadow(self, x, y, radius):
        """What lies there, darker: a figure's shadow on the floor."""
        if SHADE[self.style] == 1:
            return
        mask = Image.new('L', self.image.size, 0)
        x, y, across = x * self.pixels, y * self.pixels, radius * self.pixels
        ImageDraw.Draw(mask).ellipse([x - across, y - .13 * across, x + across, y + .13 * across], fill=70)
        self.image.paste((10, 10, 30), mask=mask)

    def box(self, left, top, right, bottom, colour, outline=1):
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], colour, outline)

    def oval(self, x, y, radius_x, radius_y, colour, outline=1):
        x, y = self._at(x, y)
        radius_x, radius_y = radius_x * self.pixels, radius_y * self.pixels
        inked = self.fine and self.ink and not outline and luminance(colour) < 30   # a pupil
        self.draw.ellipse([x - radius_x, y - radius_y, x + radius_x, y + radius_y],
                          fill=self.ink if inked else paint(self.style, colour, self.fine),
                          outline=self.ink if outline else None, width=self._width(self.outline * (outline or 1)))

    def line(self, points, colour, width):
        """A bare line, without outline. A dark one is ink: line art would paint it grey."""
        fill = self.ink if self.ink and luminance(colour) < 60 else paint(self.style, colour, self.fine)
        self.draw.line([self._at(x, y) for x, y in points], fill=fill, width=self._width(width), joint='curve')

    def stroke(self, points, width, colour):
        """A thick round-ended line with an outline: an arm, a leg, a tail."""
        points = [self._at(x, y) for x, y in points]

        def sweep(thick, fill):
            self.draw.line(points, fill=fill, width=round(thick), joint='curve')
            for x, y in (points[0], points[-1]):
                self.draw.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=fill)

        thick = width * self.pixels
        if self.ink:
            sweep(thick + 2 * self.outline * self.pixels, self.ink)
        sweep(thick, paint(self.style, colour, self.fine))
