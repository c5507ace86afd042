// Another style, and another seed.
title: Why the moon was late
style: Watercolor
seed: 6

[Nori] a blue robot, wearing a yellow sweater
---
[Nori] standing in the city at night #The moon was late, and nobody noticed. Nobody but Nori.
[Nori] reading in the bedroom #"Moon, see also: Tides, Cheese."
[Nori] running in the park #Perhaps it was stuck in a tree.
[Nori] walking by the sea #It had not fallen into the sea.
[Nori] jumping on the moon #So Nori went to look.
[Nori] waving in outer space #"You overslept!" - "Five more minutes."
