// A day in the life of one character.
title: Rosa's day off
style: Comic book
seed: 11
comic_type: classic

[Rosa] a girl wearing a red top and a blue skirt
---
[Rosa] standing in the bedroom #No alarm today. Rosa wakes up anyway.
[Rosa] reading in the kitchen #Breakfast: two pancakes, one plan.
[Rosa] standing on the street #"Morning, Mr. Finch! Off to the sea!"
[Rosa] waving on the beach #The waves win every race.
[Rosa] reading in the park #The way home is a chapter long.
[Rosa] standing in the city at night #Tomorrow can wait until tomorrow.
