// Two characters. Each is alone in four panels, which define how it looks; then they meet.
title: The lost hat
style: Comic book
negative_prompt: crowd, lettering

[Max] a boy with black hair, wearing a green shirt
[Pip] an orange cat, wearing a yellow hat
---
[Max] standing in the park #Max finds a hat. A very small hat.
[Pip] sitting in the rain #Somewhere else, a wet head misses it.
[Max] running on the street #"Whose is this?" Nobody knows.
[Pip] standing on the street #Pip follows the trail of questions.
[Max] reading in the library #The book of hats has no answer.
[Pip] running in the snow #A short cut. It was not short.
[Max] waving in the city at night #"Hello? Anyone? Small hat?"
[Pip] jumping in the city at night #"Mine!"
[Max] and [Pip] sitting in the park #Max and Pip share one bench, and one hat.
