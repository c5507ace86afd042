"""CLIP's tokenizer (byte-level BPE, Sennrich et al. 2016; Radford et al. 2019), and how to learn a small one.

A word's bytes become printable characters, its last one gets `</w>`; then the pairs of `merges` are joined, the
earliest learned first. Vocabulary order is CLIP's: 256 bytes, the same with `</w>`, the merges, the two specials.
"""
import json
import os
import random
import re
from collections import Counter

from captions import negative, story_captions
from world import EVERYTHING, story

START, END = '<|startoftext|>', '<|endoftext|>'
WORD = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")
LENGTH = 77


def byte_characters():
    """Bytes that print stand for themselves, the other 68 for characters from 256 on, in order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


BYTES = byte_characters()


def letters(word):
    symbols = [BYTES[b] for b in word.encode()]
    return symbols[:-1] + [symbols[-1] + '</w>']


def merged(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i:i + 2]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def words(text):
    return WORD.findall(' '.join(text.split()).lower())


def learn(texts, count):
    """The `count` merges that join the most frequent pair, again and again; ties go to the pair that sorts last."""
    frequency = Counter(word for text in texts for word in words(text))
    spelt, merges = {word: letters(word) for word in frequency}, []
    while len(merges) < count:
        pairs = Counter()
        for word, symbols in spelt.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += frequency[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spelt = {word: merged(symbols, best) for word, symbols in spelt.items()}
    return merges


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        alphabet = list(BYTES.values())
        tokens = alphabet + [c + '</w>' for c in alphabet] + [a + b for a, b in self.merges] + [START, END]
        self.vocabulary = {token: i for i, token in enumerate(tokens)}
        self.start, self.end = self.vocabulary[START], self.vocabulary[END]
        self.known = {}

    def _word(self, word):
        if word not in self.known:
            symbols = letters(word)
            while len(symbols) > 1:
                first = min(zip(symbols, symbols[1:]), key=lambda pair: self.rank.get(pair, len(self.rank)))
                if first not in self.rank:
                    break
                symbols = merged(symbols, first)
            self.known[word] = [self.vocabulary[s] for s in symbols]
        return self.known[word]

    def __call__(self, text, pad):
        """77 ids: start, the words, end, then `pad` (encoder 1: end; encoder 2: 0, which is "!")."""
        ids = [self.start] + [i for word in words(text) for i in self._word(word)][:LENGTH - 2] + [self.end]
        return ids + [pad] * (LENGTH - len(ids))


def world_tokenizer(run, count, seed):
    """The tokenizer of the whole world, learned once per run."""
    path = f'{run}/merges.json'
    if not os.path.exists(path):
        rng, texts = random.Random(f'{seed}/tokenizer'), []
        for index in range(8000):
            texts += story_captions(rng, story(seed, index, EVERYTHING, 2), .5)
            texts += [negative(rng)] if index % 8 == 0 else []
        with open(path, 'w') as file:
            json.dump(learn(texts, count), file)
    with open(path) as file:
        return Tokenizer(json.load(file))
