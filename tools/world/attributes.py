"""What there is: the words of the world and the colours behind them. A config file picks a part of it."""

COLOUR = dict(red=(214, 40, 40), orange=(245, 135, 30), yellow=(250, 215, 50), green=(50, 160, 70),
              blue=(45, 95, 215), purple=(135, 60, 180), pink=(245, 130, 180), white=(245, 245, 245),
              black=(35, 35, 42), brown=(125, 75, 40), gray=(130, 130, 138))
HAIR = dict(black=(30, 28, 34), brown=(112, 64, 32), blonde=(246, 208, 92), red=(205, 80, 28), pink=(240, 112, 172),
            white=(232, 232, 238))
SKIN = dict(light=(252, 222, 196), tan=(228, 174, 128), brown=(165, 106, 66), dark=(98, 60, 40))
FUR = dict(orange=(240, 150, 60), gray=(150, 150, 160), black=(60, 56, 64), white=(240, 238, 234),
           brown=(140, 92, 56))
METAL = dict(silver=(176, 184, 196), blue=(90, 140, 215), red=(206, 78, 66), yellow=(236, 196, 76),
             green=(100, 172, 122))

PERSON = ('boy', 'girl', 'man', 'woman')
ANIMAL = ('cat', 'dog', 'rabbit')
COAT = {**{kind: SKIN for kind in PERSON}, **{kind: FUR for kind in ANIMAL}, 'robot': METAL}

KINDS = PERSON + ANIMAL + ('robot',)
ACTIONS = ('standing', 'waving', 'running', 'jumping', 'reading', 'sitting', 'sleeping')
STYLES = ('comic', 'watercolor', 'line art', 'noir')
OPEN = ('hair', 'skin', 'top', 'bottom', 'hat', 'glasses')   # what a caption may leave open
