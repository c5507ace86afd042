// A day in the life of one character.
title: Rosa's day off
style: Comic book

[Rosa] a woman with red hair, wearing a blue dress
---
[Rosa] sitting in the bedroom #No alarm today. Rosa wakes up anyway.
[Rosa] standing in the kitchen #Breakfast: two pancakes, one plan.
[Rosa] waving on the street #"Morning, Mr. Finch! Off to the sea!"
[Rosa] running on the beach #The waves win every race.
[Rosa] reading in the library #It rains, so she travels by book.
[Rosa] sleeping in the bedroom #Tomorrow can wait until tomorrow.
