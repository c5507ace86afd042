"""The figures: a big head, a body, four limbs; kind, attributes and action decide the rest.

Figure coordinates: u to the right, v up from the feet, in units of the figure's height, so the crown of the head
is near v = 1. The head takes nearly half of it, as in comics for children: at 128 pixels it is the only way that
a face, glasses and a hat stay visible.
"""
from attributes import ANIMAL, COLOUR, COAT, HAIR, PERSON
from pen import mixed

BLACK, WHITE, SHOE, LIP = (25, 25, 30), (252, 252, 252), (80, 52, 38), (160, 50, 55)
THROAT, TONGUE, BLUSH, LENS = (120, 28, 40), (235, 120, 120), (240, 100, 100), (150, 205, 245)
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
        self.pen, self.height = pen, HEIGHT.get(panel['kind'], .86) * panel.get('scale', 1)
        self.side = -1 if panel['flip'] else 1
        self.lying = panel['action'] == 'sleeping'
        self.x, self.foot = panel['x'], {'jumping': .88, 'sitting': 1.02}.get(panel['action'], .97)

    def at(self, u, v):
        if self.lying:
            return .5 + self.side * (v - .5) * self.height, .70 - u * self.height
        return self.x + self.side * u * self.height, self.foot - v * self.height

    def shape(self, points, colour, outline=1):
        self.pen.shape([self.at(u, v) for u, v in points], colour, outline)

    def edge(self, points):
        self.pen.edge([self.at(u, v) for u, v in points])

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
        for u in (-.26, .26):
            body.oval(u, .80, .105, .105, hair)
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
    torso = [(-.17, .55), (.17, .55), (.16, .31), (-.16, .31)]
    body.shape(torso, top)
    s = body.side   # light comes from the left, however the figure is turned
    body.shape([(s * .06, .55), (s * .17, .55), (s * .16, .31), (s * .10, .31)], body.pen.shade(top), 0)
    if panel['kind'] in PERSON:
        body.shape([(-.06, .55), (.06, .55), (0, .49)], coat, .7)
    body.edge(torso)
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
        box = [(-r, v + .9 * r), (r, v + .9 * r), (r, v - .9 * r), (-r, v - .9 * r)]
        body.shape(box, coat)
        s = body.side
        body.shape([(s * .72 * r, v + .9 * r), (s * r, v + .9 * r), (s * r, v - .9 * r), (s * .72 * r, v - .9 * r)],
                   body.pen.shade(coat), 0)
        body.edge(box)
        return
    if kind == 'cat':
        for s in (-1, 1):
            body.shape([(s * .20, .80), (s * .20, 1.01), (s * .05, .92)], coat)
    if kind == 'rabbit':
        for u in (-.10, .10):
            body.oval(u, .98, .055, .15, coat)
    body.oval(0, v, r, .93 * r, body.pen.shade(coat))
    if kind == 'cat':
        for s in (-1, 1):
            body.shape([(s * .18, .87), (s * .185, .965), (s * .11, .915)], mixed(coat, BLUSH, .5), 0)
    body.oval(-.02 * body.side, v + .012, .88 * r, .82 * r, coat, 0)
    if kind == 'dog':
        for u in (-.21, .21):
            body.oval(u, .72, .065, .14, tuple(round(.7 * c) for c in coat))
    if kind in ('boy', 'man'):
        spikes = [(-.235, .69), (-.25, .90), (-.14, .87), (-.10, .99), (-.01, .91), (.08, 1.0), (.13, .89), (.24, .92),
                  (.235, .69), (.15, .79), (.10, .85), (-.10, .85), (-.15, .79)]
        crop = [(-.22, .72), (-.22, .84), (-.15, .93), (0, .96), (.15, .93), (.22, .84), (.22, .72), (.15, .84),
                (-.15, .84)]
        body.shape(spikes if kind == 'boy' else crop, hair)
    if kind in ('girl', 'woman'):
        body.shape([(-.22, .70), (-.22, .84), (-.15, .93), (0, .96), (.15, .93), (.22, .84), (.22, .70), (.17, .81),
                    (.02, .85), (-.13, .81)], hair)
    if kind in PERSON:
        s = -body.side
        body.line([(s * .145, .875), (s * .09, .905), (s * .02, .918)], mixed(hair, WHITE, .35), .022)


def mouth(body, panel):
    """Open where the action is a glad one."""
    kind, v, glad = panel['kind'], HEAD_V, panel['action'] in ('waving', 'jumping')
    if kind == 'robot':
        if glad:
            body.shape([(-.10, v - .095), (.10, v - .095), (.10, v - .155), (-.10, v - .155)], WHITE, .8)
            for u in (-.05, 0, .05):
                body.line([(u, v - .095), (u, v - .155)], BLACK, .01)
        else:
            body.line([(-.10, v - .12), (.10, v - .12)], BLACK, .03)
        return
    low = v - (.125 if kind in ANIMAL else .10)
    if kind in ANIMAL:
        body.line([(0, v - .08), (0, low)], BLACK, .012)
    if glad:
        body.shape([(-.065, low), (.065, low), (.045, low - .045), (0, low - .06), (-.045, low - .045)], THROAT, .7)
        body.oval(0, low - .045, .032, .013, TONGUE, 0)
    elif kind in PERSON:
        body.line([(-.06, low), (-.03, low - .018), (0, low - .024), (.03, low - .018), (.06, low)], LIP, .022)
    else:
        body.line([(-.045, low + .005), (-.022, low - .012), (0, low), (.022, low - .012), (.045, low + .005)],
                  BLACK, .012)


def face(body, panel, coat, hair):
    kind, v = panel['kind'], HEAD_V
    eyes = (-.085, .085)
    if kind in ANIMAL:
        body.oval(0, v - .10, .095, .065, (250, 246, 238), .6)
        body.oval(0, v - .07, .03, .022, (70, 45, 50), 0)
    if kind == 'man':
        body.line([(-.09, v - .095), (0, v - .075), (.09, v - .095)], BLACK, .035)
    if kind in PERSON:
        for u in (-.145, .145):
            body.oval(u, v - .085, .034, .022, mixed(coat, BLUSH, .4), 0)
    if kind == 'cat':
        for s in (-1, 1):
            for rise in (-.012, .012):
                body.line([(s * .11, v - .095 + rise), (s * .20, v - .085 + 2.5 * rise)], BLACK, .008)
    mouth(body, panel)
    for u in eyes:
        if panel['glasses']:
            body.shape([(u - .08, v - .07), (u + .08, v - .07), (u + .08, v + .07), (u - .08, v + .07)], LENS, 0)
        if body.lying:
            body.line([(u - .04, v), (u + .04, v)], BLACK, .02)
            continue
        body.oval(u, v, .05, .052, (120, 240, 250) if kind == 'robot' else WHITE, .6)
        body.oval(u + .012, v, .024, .03, BLACK, 0)
        body.oval(u + .012 - .008 * body.side, v + .013, .009, .009, WHITE, 0)
    if panel['glasses']:
        for u in eyes:
            left, right, bottom, top = u - .08, u + .08, v - .07, v + .07
            ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom), (right, bottom)]
            body.line(ring, BLACK, .026)


def hat(body, panel):
    if panel['hat'] == 'none':
        return
    colour = COLOUR[panel['hat']]
    crown = [(-.19, .86), (-.17, 1.0), (-.08, 1.05), (.08, 1.05), (.17, 1.0), (.19, .86)]
    body.shape(crown, colour)
    s = body.side
    body.shape([(s * .09, .86), (s * .08, 1.02), (s * .10, 1.045), (s * .17, 1.0), (s * .19, .86)],
               body.pen.shade(colour), 0)
    body.edge(crown)
    body.shape([(-.25, .89), (.29, .89), (.29, .84), (-.25, .84)], tuple(round(.8 * c) for c in colour))


def figure(pen, panel):
    """Draws it; -> where its head is: x, y and radius as shares of the panel."""
    coat = COAT[panel['kind']][panel['skin']]
    hair = HAIR[panel['hair']] if panel['kind'] in PERSON else None
    body = Body(pen, panel)
    if panel['action'] != 'sitting':
        pen.shadow(body.x, .965, .24 * body.height / .86)
    behind(body, panel, coat, hair)
    clothes(body, panel, coat)
    head(body, panel, coat, hair)
    face(body, panel, coat, hair)
    hat(body, panel)
    return *body.at(0, HEAD_V + .05), 1.3 * HEAD_R * body.height
