"""From a panel to a sentence that someone might type, and the word lists behind it.

A caption names a random part of what can be seen. What it leaves open is what consistency is about: nothing in the
text decides it, so panels agree on it only by looking at each other. In a story the same description stands in every
panel (the character's line), only place and action change.
"""
import random

from attributes import ANIMAL, OPEN, PERSON

KIND = dict(boy=['boy'], girl=['girl'], man=['man', 'guy'], woman=['woman', 'lady'], cat=['cat', 'kitten'],
            dog=['dog', 'puppy'], rabbit=['rabbit', 'bunny'], robot=['robot', 'android'])
SCENE = dict(bedroom=['in the bedroom', 'at home in the bedroom', 'at home'],
             kitchen=['in the kitchen', 'at home in the kitchen', 'having breakfast in the kitchen'],
             street=['on the street', 'in the street', 'in the city', 'in town'],
             office=['in the office', 'at work', 'at the office'],
             park=['in the park', 'in the garden', 'under a tree in the park'],
             beach=['on the beach', 'at the beach', 'by the sea'],
             snow=['in the snow', 'in the snowy mountains', 'in winter snow'],
             night=['at night', 'in the city at night', 'on the street at night'],
             forest=['in the forest', 'in the woods'],
             space=['in space', 'on the moon', 'in outer space'],
             library=['in the library', 'among books in the library', 'in the bookstore'])
# an empty place
NOUN = dict(bedroom=['bedroom'], kitchen=['kitchen'], street=['street', 'city'], office=['office'],
            park=['park', 'garden'], beach=['beach', 'sea'], snow=['snow', 'snowy mountains', 'winter snow'],
            night=['street at night', 'city at night', 'night'], forest=['forest', 'woods'],
            space=['moon', 'outer space', 'space'], library=['library', 'bookstore'])
ACTION = dict(standing=['standing', 'stands', 'standing still'], waving=['waving', 'waves hello', 'waving a hand'],
              running=['running', 'runs', 'jogging', 'walking'], jumping=['jumping', 'jumps for joy', 'jumping up'],
              reading=['reading', 'reads a book', 'reading a book'],
              sitting=['sitting', 'sits down', 'sitting on a box'],
              sleeping=['sleeping', 'sleeps', 'lying asleep'])
# style -> words that stand before the sentence, and after it: those of storydiff/story/styles.c, and the usual ones
STYLE = {
    'comic': (['comic book style', 'cartoon', 'comic', 'comic book'],
              ['comic', 'bold ink outlines', 'bright flat colors', 'simple rounded shapes', 'thick outlines',
               'cheerful colors', 'comic art', 'graphic novel art', 'vibrant', 'highly detailed']),
    'watercolor': (['watercolor painting', 'watercolor'],
                   ['watercolor', 'pastel washes', 'soft edges', 'white paper', 'painterly', 'beautiful',
                    'artistic']),
    'line art': (['line art drawing', 'sketch', 'line art'],
                 ['line art', 'thin black ink on white paper', 'no shading', 'loose pencil line art drawing',
                  'light hatching', 'white paper', 'minimalist', 'vector graphics']),
    'noir': (['film noir', 'noir', 'black and white'],
             ['black and white', 'noir', 'hard shadows', 'slanted light', 'film grain', 'monochrome',
              'high contrast']),
}
NEGATIVE = ['photo', 'realistic', '3d render', 'blurry', 'washed out', 'lettering', 'speech bubble', 'watermark',
            'gritty', 'fine texture', 'western comic', 'line art', 'flat color', 'frame', 'signature',
            'thick outlines', 'hard shadows', 'dark', 'flat drawing', 'sketch', 'scary', 'drawing', 'painting',
            'cartoon', 'color', 'gradient', 'dirty paper', 'polished', 'colorful', 'pastel', 'cheerful',
            'flat light', 'deformed', 'bad anatomy', 'bad hands', 'extra limb', 'low quality', 'ugly', 'mutation',
            'photograph']


def join(rng, phrases):
    if len(phrases) == 1:
        return phrases[0]
    return ', '.join(phrases[:-1]) + rng.choice([' and ', ', ', ', and ']) + phrases[-1]


def with_article(words):
    return f'an {words}' if words[0] in 'aeiou' else f'a {words}'


def description(rng, panel, named):
    """Who it is. `named` holds the open attributes to mention."""
    kind, phrases, before = panel['kind'], [], ''
    if 'hair' in named and kind in PERSON:
        phrases.append(f'{panel["hair"]} hair')
    if 'skin' in named:
        if kind in PERSON:
            phrases.append(f'{panel["skin"]} skin')
        elif kind in ANIMAL and rng.random() < .3:
            phrases.append(f'{panel["skin"]} fur')
        else:
            before = panel['skin'] + ' '
    if 'top' in named:
        phrases.append(with_article(f'{panel["top"]} {rng.choice(["shirt", "shirt", "top", "sweater"])}'))
    if 'bottom' in named:
        skirt = kind in ('girl', 'woman')
        phrases.append(f'a {panel["bottom"]} skirt' if skirt else
                       f'{panel["bottom"]} {rng.choice(["trousers", "pants"])}')
    if 'hat' in named:
        phrases.append('no hat' if panel['hat'] == 'none' else f'a {panel["hat"]} {rng.choice(["hat", "cap"])}')
    if 'glasses' in named:
        phrases.append('glasses' if panel['glasses'] else 'no glasses')
    rng.shuffle(phrases)
    who = before + rng.choice(KIND[kind])
    who = rng.choice([with_article(who), with_article(who), f'the {who}', who])
    if kind in PERSON and 'hair' in named and rng.random() < .2:   # "a red-haired girl"
        phrases.remove(f'{panel["hair"]} hair')
        who = f'a {panel["hair"]}-haired {rng.choice(KIND[kind])}'
    return who + rng.choice([' with ', ' wearing ', ', wearing ', ', ']) + join(rng, phrases) if phrases else who


def happening(rng, panel, named=('scene', 'action')):
    """What goes on where, in either order."""
    phrases = [rng.choice(table[panel[what]]) for what, table in (('action', ACTION), ('scene', SCENE))
               if what in named]
    if rng.random() < .4:
        phrases.reverse()
    return rng.choice([' ', ' ', ', ']).join(phrases)


def styled(rng, text, style):
    """The sentence inside a style template, whole or in part."""
    words, tail = STYLE[style]
    form = rng.random()
    if form < .35:
        return f'{rng.choice(words)} {text}'
    if form < .55:
        return f'{text}, {rng.choice(words)}'
    some = rng.sample(tail, rng.randint(2, len(tail)))
    return rng.choice(['{}, {}, {}', '{} {} . {}']).format(rng.choice(words), text, ', '.join(some))


def empty(rng, panel):
    """A place without anybody."""
    noun, where = rng.choice(NOUN[panel['scene']]), rng.choice(SCENE[panel['scene']])
    return rng.choice([f'the {noun}', f'an empty {noun}', f'the empty {noun}', f'{noun}', f'{where}, nobody',
                       f'nobody {where}', f'the {noun}, nobody there', f'the {noun}, empty', f'the quiet {noun}',
                       f'the {noun}, empty {NOUN[panel["scene"]][0]}', f'{where}', f'no one {where}'])


def story_captions(rng, panels, attribute=.3, main=.92, apart=False):
    """One caption a panel. In all of a story a character has one description, as on a page, unless told `apart`."""
    def describe(identity):
        some = .7 * attribute if any(panel['role'] == 'both' for panel in panels) else attribute
        return description(rng, identity, {what for what in OPEN if rng.random() < some})

    known, form, out = {}, rng.getrandbits(32), []

    def who(role, identity):
        if apart or role not in known:
            known[role] = describe(identity)
        return known[role]

    for panel in panels:
        role = panel['role']
        if role == 'nobody':
            text = empty(rng, panel)
        else:
            people = [who(role, panel)] if role != 'both' else [who('first', panel), who('second', panel['other'])]
            said = [what for what in ('action', 'scene') if rng.random() < main]
            text = ', '.join(part for part in (' and '.join(people), happening(rng, panel, said)) if part)
            if rng.random() < .5:   # as a story's line is put together: without the comma
                text = text.replace(f'{people[-1]}, ', f'{people[-1]} ')
        same = random.Random(form)   # one template for the whole page
        out.append(styled(same, text, panel['style']) if same.random() < main else text)
    return out


def negative(rng):
    """A typical negative prompt: up to fourteen of the usual words."""
    return ', '.join(rng.sample(NEGATIVE, rng.randint(0, 14)))
