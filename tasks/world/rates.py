"""Rates of a property by length, reweighted by the true length law."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.stats.intervals import Interval
from tasks.world.automaton import Floats

BINS = 8
Z = 1.959963984540054


@dataclass(frozen=True)
class LengthBins:
    """Ranges of lengths of about equal probability under the true law.

    Attributes:
        edges: first length of every bin but the first; shorter and longer texts belong to the outer bins.
        weights: probability of each bin under the true law.
    """

    edges: tuple[int, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, law: Floats, *, bins: int = BINS) -> "LengthBins":
        """Cut a length law [lengths] into at most `bins` bins."""
        below = np.concatenate([[0.0], np.cumsum(law)])
        cuts = {int(np.argmin(np.abs(below - share))) for share in np.arange(1, bins) / bins}
        edges = sorted(cut for cut in cuts if 0 < below[cut] < 1 - 1e-9)
        bounds = [0, *edges, len(law)]
        weights = [float(law[low:high].sum()) for low, high in pairwise(bounds)]
        return cls(tuple(edges), tuple(weights))

    def standardised(self, lengths: Sequence[int], hits: Sequence[bool]) -> tuple[float, Interval, int]:
        """Rate of hits reweighted by the true law, its 95 % interval, and how many bins hold no text.

        A bin without texts counts as no hit, and its whole weight as unknown upwards. The variance within a bin is that of
        Agresti and Coull 1998 (two hits and two misses added), so that a rate of 0 still has a width.
        """
        _, texts, found = self._counts(lengths, hits)
        weights = np.array(self.weights)
        value = min(1.0, float(weights @ np.divide(found, texts, out=np.zeros_like(found), where=texts > 0)))
        smooth = (found + 2) / (texts + 4)
        half = Z * math.sqrt(float(np.where(texts > 0, weights**2 * smooth * (1 - smooth) / (texts + 4), 0.0).sum()))
        unknown = float(weights[texts == 0].sum())
        return value, Interval(max(0.0, value - half), min(1.0, value + half + unknown)), int((texts == 0).sum())

    def influences(self, lengths: Sequence[int], hits: Sequence[bool]) -> Floats:
        """What each text adds to the reweighted rate: numbers whose mean is the rate, and whose scatter is its variance."""
        place, texts, found = self._counts(lengths, hits)
        rates = np.divide(found, texts, out=np.zeros_like(found), where=texts > 0)
        scale = np.divide(np.array(self.weights) * len(place), texts, out=np.zeros_like(found), where=texts > 0)
        items: Floats = float(np.array(self.weights) @ rates) + scale[place] * (np.asarray(hits, dtype=float) - rates[place])
        return items

    def _counts(self, lengths: Sequence[int], hits: Sequence[bool]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bin of every text; texts and hits of every bin."""
        place, size = np.searchsorted(self.edges, lengths, side="right"), len(self.weights)
        found = np.bincount(place, weights=np.asarray(hits, dtype=float), minlength=size)
        return place, np.bincount(place, minlength=size), found
