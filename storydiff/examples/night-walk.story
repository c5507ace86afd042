// Panels that begin with [NC] have no character: a scene to set the mood.
title: Why the moon was late
style: Watercolor

[Nori] a robot with a blue body, wearing a red hat
---
[NC] the city at night, empty street #The moon was late, and nobody noticed.
[Nori] standing in the city at night #Nobody but Nori.
[Nori] reading in the library #"Moon, see also: Tides, Cheese."
[Nori] running in the forest #Perhaps it was stuck in a tree.
[NC] the forest in the rain #It was not stuck in a tree.
[Nori] jumping in space #So Nori went to look.
[Nori] waving in space #"You overslept!" - "Five more minutes."
