"""The language is not local: a trigram model that has seen the training split cannot write it."""

from bisect import bisect
from collections import Counter, defaultdict
from itertools import accumulate

import numpy as np
import pytest

from tasks.world.draws import draw
from tasks.world.rates import LengthBins


def chosen(counts, rng):
    words = list(counts)
    return words[bisect(list(accumulate(counts.values())), rng.random() * counts.total())]


class Trigram:
    """Interpolated with the method C of Witten and Bell 1991; unseen pairs fall back to one word of context, then to none."""

    def __init__(self, texts):
        self.levels = [defaultdict(Counter) for _ in range(3)]
        for text in texts:
            tokens = ["<s>", "<s>", *text.split(), "</s>"]
            for index in range(2, len(tokens)):
                for order, level in enumerate(self.levels):
                    level[tuple(tokens[index - order : index])][tokens[index]] += 1

    def draw(self, rng, canvas):
        tokens = ["<s>", "<s>"]
        while len(tokens) < canvas + 1 and tokens[-1] != "</s>":
            tokens.append(self.next(tokens, rng))
        return " ".join(token for token in tokens if token not in ("<s>", "</s>"))

    def next(self, tokens, rng):
        for order in (2, 1):
            counts = self.levels[order][tuple(tokens[len(tokens) - order :])]
            if rng.random() * (counts.total() + len(counts)) < counts.total():
                return chosen(counts, rng)
        return chosen(self.levels[0][()], rng)


class Unsmoothed(Trigram):
    """Maximum likelihood: never a triple that was not seen."""

    def next(self, tokens, rng):
        return chosen(self.levels[2][tuple(tokens[-2:])], rng)


@pytest.mark.parametrize("model", [Trigram, Unsmoothed])
@pytest.mark.parametrize(("train", "n"), [(5_000, 300), pytest.param(20_000, 2_000, marks=pytest.mark.slow)])
def test_a_trigram_does_not_write_the_language(small, model, train, n):
    fitted = model(draw(small.automaton, train, np.random.default_rng(11)))
    rng = np.random.default_rng(12)
    texts = [fitted.draw(rng, small.size.canvas) for _ in range(n)]
    inside = [small.automaton.contains(text) for text in texts]
    bins = LengthBins.of(small.automaton.length_law())
    standardised, _, _ = bins.standardised([len(text.split()) for text in texts], inside)
    assert np.mean(inside) <= 0.25
    assert standardised <= 0.15
