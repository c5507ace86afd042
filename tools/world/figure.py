"""The figures: a big head, a body, four limbs; kind, attributes and action decide the rest.

Figure coordinates: u to the right, v up from the feet, in units of the figure's height, so the crown of the head
is near v = 1. The head takes nearly half of it, as in comics for children: at 128 pixels it is the only way that
a face, glasses and a hat stay visible.
"""
from attributes import COLOUR, COAT, HAIR, PERSON

BLACK, WHITE, SHOE, LIP = (25, 25, 30), (252, 252, 252), (80, 52, 38), (160, 50, 55)
HEAD_V, HEAD_R = .73, .215

# action -> (left leg, right leg, left arm, right arm), each a polyline from hip or shoulder outwards
POSES = {
    'standing': ([(-.07, .26), (-.08, .05)], [(.07, .26), (.08, .05)],
                 [(-.15, .48), (-.22, .28)], [(.15, .48), (.22, .28)]),
    'waving': ([(-.07, .26), (-.08, .05)], [(.07, .26), (.08, .05)],
               [(-.15, .48), (-.22, .28)], [(.15, .48), (.31, .56), (.33, .80)]),
    'running': ([(-.05, .26), (-.17, .17), (-.30, .20)], [(.05, .26), (.20, .20), (.22, .05)],
                [(-.15, .48), (-.29, .40), (-.22, .28)], [(.15, .48), (.29, .38), (.35, .50)]),
    'jumping': ([(-.07, .26), (-.20, .19), (-.15, .06)], [(.07, .26), (.20, .19), (.15, .06)],
                [(-.15, .48), (-.31, .56), (-.33, .80)], [(.15, .48), (.31, .56), (.33, .80)]),
    'reading': ([(-.07, .26), (-.08, .05)], [(.07, .26), (.08, .05)],
                [(-.15, .48), (-.24, .33), (-.15, .30)], [(.15, .48), (.24, .33), (.15, .30)]),
    'sitting': ([(-.07, .26), (-.18, .22), (-.19, .05)], [(.07, .26), (.18, .22), (.19, .05)],
                [(-.15, .48), (-.24, .32), (-.16, .24)], [(.15, .48), (.24, .32), (.16, .24)]),
    'sleeping': ([(-.07, .26), (-.08, .05)], [(.07, .26), (.08, .05)],
                 [(-.15, .48), (-.20, .28)], [(.15, .48), (.20, .28)]),
}
HEIGHT = dict(man=.92, woman=.90)   # everyone else .86


class Body:
    """The pen, seen from the figure: places and turns the figure, then draws in its coordinates."""

    def __init__(self, pen, panel):
        self.pen, self.height = pen, HEIGHT.get(panel['kind'], .86)
        self.side = -1 if panel['flip'] else 1
        self.lying = panel['action'] == 'sleeping'
        self.x, self.foot = panel['x'], {'jumping': .88, 'sitting': 1.02}.get(panel['action'], .97)

    def at(self, u, v):
        if self.lying:
            return .5 + self.side * (v - .5) * self.height, .70 - u * self.height
        return self.x + self.side * u * self.height, self.foot - v * self.height

    def shape(self, points, colour, outline=1):
        self.pen.shape([self.at(u, v) for u, v in points], colour, outline)

    def oval(self, u, v, radius_u, radius_v, colour, outline=1):
        if self.lying:
            radius_u, radius_v = radius_v, radius_u
        self.pen.oval(*self.at(u, v), radius_u * self.height, radius_v * self.height, colour, outline)

    def stroke(self, points, width, colour):
        self.pen.stroke([self.at(u, v) for u, v in points], width * self.height, colour)

    def line(self, points, colour, width):
        self.pen.line([self.at(u, v) for u, v in points], colour, width * self.height)


def behind(body, panel, coat, hair):
    """What the body hides: a seat, long hair, a tail."""
    if panel['action'] == 'sitting':
        body.shape([(-.27, .24), (.27, .24), (.27, -.08), (-.27, -.08)], (150, 105, 70))
    if panel['kind'] == 'woman':
        body.shape([(-.23, .78), (-.27, .38), (.27, .38), (.23, .78)], hair)
    if panel['kind'] == 'girl':
        for u in (-.25, .25):
            body.oval(u, .84, .09, .09, hair)
    if panel['kind'] in ('cat', 'dog'):
        body.stroke([(-.12, .24), (-.27, .26), (-.32, .40)], .06, coat)


def clothes(body, panel, coat):
    """Legs, skirt or trousers, shirt, arms, and the book."""
    left_leg, right_leg, left_arm, right_arm = POSES[panel['action']]
    top, bottom = COLOUR[panel['top']], COLOUR[panel['bottom']]
    skirt = panel['kind'] in ('girl', 'woman')
    for leg in (left_leg, right_leg):
        u, v = leg[-1]
        body.oval(u + .025, v - .01, .085, .045, SHOE)
        body.stroke(leg, .125, coat if skirt else bottom)
    if skirt:
        hem = .12 if panel['kind'] == 'woman' else .16
        body.shape([(-.14, .36), (.14, .36), (.24, hem), (-.24, hem)], bottom)
    else:
        body.shape([(-.15, .34), (.15, .34), (.14, .22), (-.14, .22)], bottom)
    body.shape([(-.17, .55), (.17, .55), (.16, .31), (-.16, .31)], top)
    if panel['kind'] == 'man':
        body.shape([(-.05, .55), (.05, .55), (0, .42)], WHITE, .6)
    if panel['kind'] == 'robot':
        body.oval(0, .42, .05, .05, (250, 220, 90), .6)
    if panel['action'] == 'reading':
        body.shape([(-.20, .46), (0, .42), (.20, .46), (.20, .27), (0, .23), (-.20, .27)], (250, 248, 236))
        body.line([(0, .42), (0, .23)], BLACK, .018)
    for arm in (left_arm, right_arm):
        body.stroke(arm, .10, top)
        body.oval(*arm[-1], .055, .055, coat)


def head(body, panel, coat, hair):
    kind, v, r = panel['kind'], HEAD_V, HEAD_R
    if kind == 'robot':
        if panel['hat'] == 'none':
            body.stroke([(0, v + r), (0, v + r + .06)], .02, (90, 90, 100))
            body.oval(0, v + r + .07, .035, .035, (240, 60, 60))
        body.shape([(-r, v + .9 * r), (r, v + .9 * r), (r, v - .9 * r), (-r, v - .9 * r)], coat)
        return
    if kind == 'cat':
        for s in (-1, 1):
            body.shape([(s * .20, .80), (s * .20, 1.01), (s * .05, .92)], coat)
    if kind == 'rabbit':
        for u in (-.10, .10):
            body.oval(u, .98, .055, .15, coat)
    body.oval(0, v, r, .93 * r, coat)
    if kind == 'dog':
        for u in (-.21, .21):
            body.oval(u, .72, .065, .14, tuple(round(.7 * c) for c in coat))
    if kind in ('boy', 'man'):
        spikes = [(-.22, .74), (-.24, .90), (-.14, .87), (-.10, .99), (-.01, .91), (.08, 1.0), (.13, .89), (.23, .92),
                  (.22, .74), (.12, .83), (-.12, .83)]
        crop = [(-.22, .72), (-.22, .84), (-.15, .93), (0, .96), (.15, .93), (.22, .84), (.22, .72), (.15, .84),
                (-.15, .84)]
        body.shape(spikes if kind == 'boy' else crop, hair)
    if kind in ('girl', 'woman'):
        body.shape([(-.22, .70), (-.22, .84), (-.15, .93), (0, .96), (.15, .93), (.22, .84), (.22, .70), (.17, .81),
                    (.02, .85), (-.13, .81)], hair)


def face(body, panel):
    kind, v = panel['kind'], HEAD_V
    eyes = (-.085, .085)
    if kind in ('cat', 'dog', 'rabbit'):
        body.oval(0, v - .10, .095, .065, (250, 246, 238), .6)
        body.oval(0, v - .07, .03, .022, (70, 45, 50), 0)
    if kind == 'man':
        body.line([(-.09, v - .095), (0, v - .075), (.09, v - .095)], BLACK, .035)
    for u in eyes:
        if body.lying:
            body.line([(u - .04, v), (u + .04, v)], BLACK, .02)
        else:
            body.oval(u, v, .05, .052, (120, 240, 250) if kind == 'robot' else WHITE, .6)
            body.oval(u + .012, v, .024, .03, BLACK, 0)
    if kind == 'robot':
        body.line([(-.10, v - .12), (.10, v - .12)], BLACK, .03)
    elif kind not in ('cat', 'dog', 'rabbit', 'man'):
        body.line([(-.06, v - .11), (0, v - .13), (.06, v - .11)], LIP, .022)
    if panel['glasses']:
        for u in eyes:
            left, right, bottom, top = u - .075, u + .075, v - .065, v + .065
            ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
            body.line(ring, BLACK, .026)


def hat(body, panel):
    if panel['hat'] == 'none':
        return
    colour = COLOUR[panel['hat']]
    body.shape([(-.19, .86), (-.17, 1.0), (-.08, 1.05), (.08, 1.05), (.17, 1.0), (.19, .86)], colour)
    body.shape([(-.25, .89), (.29, .89), (.29, .84), (-.25, .84)], tuple(round(.8 * c) for c in colour))


def figure(pen, panel):
    coat = COAT[panel['kind']][panel['skin']]
    hair = HAIR[panel['hair']] if panel['kind'] in PERSON else None
    body = Body(pen, panel)
    behind(body, panel, coat, hair)
    clothes(body, panel, coat)
    head(body, panel, coat, hair)
    face(body, panel)
    hat(body, panel)
