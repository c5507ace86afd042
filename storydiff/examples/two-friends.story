// Two characters. Each is alone in four panels, which define how it looks.
title: The lost hat
style: Comic book

[Max] a boy with black hair, wearing a green shirt
[Pip] an orange cat, wearing a yellow hat
---
[Max] standing in the park #Max finds a hat. A very small hat.
[Pip] standing in the snow #Somewhere else, a cold head misses it.
[Max] running on the street #"Whose is this?" Nobody knows.
[Pip] walking on the street #Pip follows the trail of questions.
[Max] reading in the kitchen #The book of hats has no answer.
[Pip] jumping in the garden #A short cut. It was not short.
[Max] waving in the city at night #"Hello? Anyone? Small hat?"
[Pip] waving in the city at night #"Mine!"
