"""The places: what stands behind a figure. One function each, back to front, on a unit square.

The middle third is left to the figure, so each place is recognisable by its sides, its sky and its floor.
A place varies only by the pen's mirror and shift, and by `rng` where something is scattered (snow, stars).
"""


def cloud(pen, x, y, size):
    for dx, dy, radius in ((-.9, .15, .55), (0, 0, .8), (.9, .2, .6)):
        pen.oval(x + dx * size, y + dy * size, radius * size, .8 * radius * size, (252, 252, 255), 0)


def glow(pen, x, y, radius, colour):
    """A ring of light around the sun or the moon."""
    pen.oval(x, y, 1.45 * radius, 1.45 * radius, colour, 0)


def bedroom(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (208, 188, 228), 0)
    pen.box(-.2, .74, 1.2, 1.2, (172, 122, 82))
    pen.box(.05, .10, .33, .42, (150, 208, 246))
    pen.line([(.19, .10), (.19, .42)], (250, 250, 250), .02)
    pen.line([(.05, .26), (.33, .26)], (250, 250, 250), .02)
    pen.box(.03, .41, .35, .45, (236, 226, 206), .7)
    pen.box(.62, .50, 1.3, .88, (72, 112, 202))
    pen.box(.66, .44, .92, .58, (250, 250, 250))
    pen.box(.62, .62, 1.3, .68, (236, 240, 250), .5)
    pen.box(.62, .80, 1.3, .88, pen.shade((72, 112, 202)), .5)


def kitchen(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (250, 236, 172), 0)
    pen.box(-.2, .78, 1.2, 1.2, (216, 214, 206))
    pen.box(-.2, .06, .34, .26, (192, 122, 72))
    pen.box(-.2, .54, .36, .90, (238, 238, 242))
    pen.box(.04, .64, .26, .84, (72, 72, 82))
    pen.line([(.14, .06), (.14, .26)], (60, 40, 30), .01)
    pen.box(-.2, .54, .36, .575, (176, 150, 128), .6)
    pen.line([(.08, .61), (.22, .61)], (60, 60, 60), .014)
    pen.shape([(.07, .80), (.14, .68), (.18, .68), (.11, .80)], (110, 112, 126), 0)
    pen.box(.72, .16, 1.02, .90, (150, 214, 208))
    pen.line([(.76, .40), (.76, .54)], (60, 60, 60), .02)
    pen.line([(.72, .36), (1.02, .36)], (40, 70, 70), .01)


def street(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (152, 212, 246), 0)
    cloud(pen, .62, .12, .09)
    for left, top, colour in ((-.2, .20, (228, 122, 92)), (.12, .34, (242, 202, 142)), (.60, .28, (152, 172, 202)),
                              (.88, .12, (218, 152, 162))):
        pen.box(left, top, left + .30, .80, colour)
        pen.box(left - .012, top - .02, left + .312, top + .015, pen.shade(colour), .7)
        for column in (.06, .18):
            for row in (.08, .24, .40):
                pen.box(left + column, top + row, left + column + .07, top + row + .09, (246, 246, 212), .5)
                pen.box(left + column, top + row + .055, left + column + .07, top + row + .09, (190, 214, 222), .4)
    pen.box(-.2, .78, 1.2, 1.2, (112, 112, 120))
    pen.box(-.2, .78, 1.2, .81, (178, 176, 172), .6)
    for left in (-.05, .25, .55, .85):
        pen.box(left, .90, left + .16, .93, (246, 240, 220), 0)


def office(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (192, 218, 216), 0)
    pen.box(-.2, .78, 1.2, 1.2, (122, 132, 152))
    pen.oval(.18, .18, .10, .10, (250, 250, 250))
    pen.line([(.18, .11), (.18, .18), (.23, .18)], (30, 30, 30), .015)
    pen.box(.64, .30, .98, .52, (40, 45, 60))
    pen.box(.68, .34, .94, .48, (112, 202, 242), .5)
    pen.box(.60, .58, 1.3, .66, (152, 97, 57))
    pen.box(.68, .66, .74, .92, (112, 72, 42))


def park(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (142, 212, 250), 0)
    glow(pen, .14, .14, .10, (206, 226, 206))
    pen.oval(.14, .14, .10, .10, (255, 226, 62))
    cloud(pen, .46, .12, .09)
    pen.box(-.2, .66, 1.2, 1.2, (112, 198, 86))
    pen.box(.80, .40, .88, .76, (126, 82, 46))
    pen.oval(.84, .28, .21, .22, (48, 150, 60))
    pen.oval(.79, .23, .13, .13, (86, 180, 84), 0)
    pen.oval(.08, .68, .15, .09, (68, 166, 70))
    pen.oval(.05, .65, .09, .04, (104, 190, 92), 0)


def beach(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (122, 216, 250), 0)
    glow(pen, .82, .15, .11, (190, 226, 214))
    pen.oval(.82, .15, .11, .11, (255, 216, 62))
    cloud(pen, .42, .14, .09)
    pen.box(-.2, .44, 1.2, 1.2, (32, 132, 206))
    pen.box(-.2, .68, 1.2, 1.2, (246, 216, 142))
    pen.box(-.2, .55, 1.2, .56, (90, 176, 226), 0)
    pen.box(-.2, .655, 1.2, .695, (240, 248, 250), 0)
    pen.box(.14, .34, .17, .86, (242, 242, 242), .7)
    pen.shape([(-.08, .42), (.02, .28), (.155, .22), (.29, .28), (.39, .42)], (230, 60, 60))
    pen.shape([(.08, .42), (.155, .22), (.23, .42)], (250, 246, 240), .6)


def snow(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (176, 202, 226), 0)
    pen.shape([(-.2, .64), (.18, .16), (.46, .56), (.76, .10), (1.2, .64)], (142, 162, 192))
    for x, y, left, right in ((.18, .16, .79, .70), (.76, .10, .75, .815)):
        cap = [(x, y), (x - left * .12, y + .12), (x - .03, y + .10), (x + .01, y + .14), (x + right * .12, y + .12)]
        pen.shape(cap, (246, 250, 254), .6)
    pen.box(-.2, .62, 1.2, 1.2, (248, 250, 252))
    for trunk in (.06, .94):
        for tier in range(3):
            half, foot = .15 - .03 * tier, .78 - .15 * tier
            pen.shape([(trunk - half, foot), (trunk, foot - .22), (trunk + half, foot)], (36, 112, 82))
            pen.shape([(trunk - .3 * half, foot - .155), (trunk, foot - .22), (trunk + .3 * half, foot - .155)],
                      (240, 248, 250), .6)
    for _ in range(14):
        pen.oval(rng.random(), .7 * rng.random(), .013, .013, (255, 255, 255), 0)


def night(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (22, 26, 72), 0)
    glow(pen, .82, .14, .10, (58, 60, 106))
    pen.oval(.82, .14, .10, .10, (250, 246, 202))
    pen.oval(.85, .11, .022, .022, (226, 218, 166), 0)
    pen.oval(.79, .17, .03, .03, (226, 218, 166), 0)
    for left, top in ((-.2, .22), (.10, .40), (.60, .42), (.86, .30)):
        pen.box(left, top, left + .27, .82, (52, 48, 94))
        pen.box(left, top, left + .27, top + .02, (84, 80, 136), .6)
        for column in (.05, .15):
            for row in (.06, .20, .34):
                pen.box(left + column, top + row, left + column + .06, top + row + .08, (255, 222, 92), 0)
    pen.box(-.2, .80, 1.2, 1.2, (56, 56, 72))


def forest(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (40, 106, 70), 0)
    pen.box(-.2, .72, 1.2, 1.2, (72, 122, 52))
    for x, half in ((.06, .05), (.26, .035), (.74, .04), (.94, .055)):
        pen.box(x - half, -.2, x + half, .76, (102, 66, 40))
    for x in (.0, .25, .5, .75, 1.):
        pen.oval(x, .04, .17, .12, (30, 132, 60))


def space(pen, rng):
    pen.box(-.2, -.2, 1.2, 1.2, (14, 10, 36), 0)
    for _ in range(18):
        pen.oval(rng.random(), .7 * rng.random(), .01, .01, (255, 255, 242), 0)
    pen.oval(.18, .22, .14, .14, pen.shade((236, 142, 72)))
    pen.oval(.165, .205, .115, .115, (240, 156, 88), 0)
    pen.shape([(-.05, .28), (-.03, .31), (.41, .16), (.39, .13)], (246, 216, 152), .6)
    pen.oval(.5, 1.14, .90, .40, (162, 162, 174))
    pen.oval(.84, .90, .09, .03, (122, 122, 134))
    pen.oval(.84, .908, .072, .018, (142, 142, 154), 0)
    pen.oval(.14, .93, .08, .03, (122, 122, 134))
    pen.oval(.14, .938, .064, .018, (142, 142, 154), 0)


def library(pen, rng):
    spines = ((202, 62, 52), (62, 112, 182), (236, 192, 82), (72, 142, 92), (152, 82, 152))
    pen.box(-.2, -.2, 1.2, 1.2, (122, 76, 46), 0)
    for shelf in range(3):
        foot = .24 + .25 * shelf
        for book in range(14):
            left = -.18 + .10 * book
            top = foot - .17 + .03 * ((book * 2 + shelf) % 2)
            pen.box(left, top, left + .08, foot, spines[(book * 3 + shelf) % 5], .5)
        pen.box(-.2, foot, 1.2, foot + .04, (92, 52, 32), .6)
    pen.box(-.2, .80, 1.2, 1.2, (132, 40, 50))


PLACES = dict(bedroom=bedroom, kitchen=kitchen, street=street, office=office, park=park, beach=beach, snow=snow,
              night=night, forest=forest, space=space, library=library)
