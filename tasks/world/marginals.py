"""What a masked text can still be: exact marginals by forward-backward on the compiled language.

A canvas holds words, then the end, then padding. With w_t(s, s') the weight of the arcs that position t allows (all where it is
masked, those of the word's class, times the word's probability, where it is not), and e_t(s) that of ending there,

    a_0 = start,  a_{t+1}(s') = sum_s a_t(s) w_t(s, s'),      b_t(s) = e_t(s) + sum_s' w_t(s, s') b_{t+1}(s'),
    p(word v at t | rest) ~ p(v | class) sum over arcs of its class of a_t(s) w(s, s') b_{t+1}(s').
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from tasks.world.automaton import Automaton, Floats, Integers

MASK = -1
"""A position that is not known yet."""
TOGETHER = 64
"""Canvases that are worked on at once: more are slower, since their weights no longer fit a cache."""


class Marginals:
    """Exact marginals of a language's canvas.

    Tokens are numbered as the automaton's words; after them come `end` and `padding`.
    """

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self.end, self.padding = len(automaton.words), len(automaton.words) + 1
        self._layers = [_Layer.of(automaton, position) for position in range(automaton.canvas - 1)]
        self._final = [automaton.final[states] for states in map(_states(automaton), range(automaton.canvas))]

    def __call__(self, tokens: Integers, wanted: np.ndarray | None = None) -> tuple[Floats, Floats]:
        """Marginals of every position given all known ones.

        Args:
            tokens: [B, canvas] with `MASK` where a position is not known.
            wanted: [B, canvas] masked positions whose words are asked for; `None` = all. At others words have 0.

        Returns:
            [B, canvas, words + 2] probabilities, those of known positions being 1 at what they are; and [B] log-probability in
            nats of the known tokens, -inf (and marginals of 0) where no text has them.

        Raises:
            ValueError: the canvas is another one.
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.automaton.canvas:
            raise ValueError(f"tokens of shape {tokens.shape}: expected [B, {self.automaton.canvas}]")
        asked = tokens == MASK if wanted is None else wanted & (tokens == MASK)
        starts = range(0, max(1, len(tokens)), TOGETHER)
        parts = [self._together(tokens[start : start + TOGETHER], asked[start : start + TOGETHER]) for start in starts]
        shares, log_weights = zip(*parts, strict=True)
        return np.concatenate(shares), np.concatenate(log_weights)

    def _together(self, tokens: Integers, asked: np.ndarray) -> tuple[Floats, Floats]:
        """`__call__` for few canvases."""
        ends = self._may_end(tokens)
        forward, backward = self._forward(tokens), self._backward(tokens, ends)
        total = (forward[0] * backward[0]).sum(0)
        found = np.zeros((*tokens.shape, self.padding + 1))
        ending = np.stack([final @ here for here, final in zip(forward, self._final, strict=True)], 1) * ends
        found[..., self.end] = ending
        found[:, 1:, self.padding] = np.cumsum(ending, axis=1)[:, :-1]
        for position, layer in enumerate(self._layers):
            rows = np.flatnonzero(asked[:, position])
            classes = layer.flows(forward[position][:, rows], backward[position + 1][:, rows], len(self.automaton.classes))
            found[rows, position, : self.end] = classes[self.automaton.word_class].T * self.automaton.word_probability
        shares = np.divide(found, total[:, None, None], out=np.zeros_like(found), where=total[:, None, None] > 0)
        known = np.nonzero(tokens != MASK)
        shares[known] = 0.0
        shares[(*known, tokens[known])] = total[known[0]] > 0
        with np.errstate(divide="ignore"):
            return shares, np.log(total) - np.log(self.automaton.normaliser)

    def _may_end(self, tokens: Integers) -> np.ndarray:
        """[B, canvas]: whether the end can stand at a position, and padding at all that follow."""
        padded = np.isin(tokens, (MASK, self.padding))
        after = np.logical_and.accumulate(padded[:, ::-1], axis=1)[:, ::-1]
        free = np.concatenate([after[:, 1:], np.ones((len(tokens), 1), dtype=bool)], axis=1)
        return np.asarray(np.isin(tokens, (MASK, self.end)) & free)

    def _forward(self, tokens: Integers) -> list[Floats]:
        """[canvas] of [states there, B]: weight of the words so far, no end among them."""
        weights = [np.ones((1, len(tokens)))]
        for position, layer in enumerate(self._layers):
            weights.append(self._moved(layer, weights[-1], tokens[:, position], onwards=True))
        return weights

    def _backward(self, tokens: Integers, ends: np.ndarray) -> list[Floats]:
        """[canvas] of [states there, B]: weight of all that can follow, the end among it."""
        weights = [np.outer(self._final[-1], ends[:, -1])]
        for position, layer in reversed(list(enumerate(self._layers))):
            going = self._moved(layer, weights[-1], tokens[:, position], onwards=False)
            weights.append(going + np.outer(self._final[position], ends[:, position]))
        return weights[::-1]

    def _moved(self, layer: "_Layer", weights: Floats, token: Integers, *, onwards: bool) -> Floats:
        """Weights carried over one position, to targets or back to sources; canvases with no word there become 0."""
        masked, word = token == MASK, np.flatnonzero((token >= 0) & (token < self.end))
        moved = layer.carried(weights, onwards=onwards) * masked if masked.any() else layer.nothing(len(token), onwards=onwards)
        kinds = self.automaton.word_class[token[word]]
        for kind in np.unique(kinds).tolist():
            layer.carry(weights, moved, kind, word[kinds == kind], onwards=onwards)
        moved[:, word] *= self.automaton.word_probability[token[word]]
        return moved


class _Layer:
    """The arcs that a text can take at one position, by word class; states are numbered within their position.

    Attributes:
        shape: states before and after.
    """

    def __init__(self, source: Integers, target: Integers, weight: Floats, kind: Integers, shape: tuple[int, int]) -> None:
        self.source, self.target, self.weight, self.shape = source, target, weight, shape
        self.kinds, self.bounds = np.unique(kind, return_index=True)

    @classmethod
    def of(cls, automaton: Automaton, position: int) -> "_Layer":
        """That of a position."""
        before, after = map(_states(automaton), (position, position + 1))
        place = np.full((2, automaton.states), -1)
        place[0, before], place[1, after] = np.arange(len(before)), np.arange(len(after))
        arcs = np.flatnonzero((place[0, automaton.source] >= 0) & (place[1, automaton.target] >= 0))
        arcs = arcs[np.argsort(automaton.label_class[automaton.label[arcs]], kind="stable")]
        kind = automaton.label_class[automaton.label[arcs]]
        ends = place[0, automaton.source[arcs]], place[1, automaton.target[arcs]]
        return cls(*ends, automaton.probability[arcs], kind, (len(before), len(after)))

    @cached_property
    def _matrices(self) -> tuple[Any, Any]:
        """Sparse weights of all arcs, back to sources and on to targets."""
        from scipy.sparse import csr_matrix

        matrix = csr_matrix((self.weight, (self.source, self.target)), shape=self.shape)
        return matrix, matrix.T.tocsr()

    def nothing(self, canvases: int, *, onwards: bool) -> Floats:
        """Weights of 0 after, or before, the position."""
        return np.zeros((self.shape[onwards], canvases))

    def carried(self, weights: Floats, *, onwards: bool) -> Floats:
        """[states, b] weights carried over all arcs."""
        found: Floats = self._matrices[onwards] @ weights
        return found

    def carry(self, weights: Floats, moved: Floats, kind: int, columns: Integers, *, onwards: bool) -> None:
        """Add some columns of the weights, carried over the arcs of one class, to the same columns of `moved`."""
        place = int(np.searchsorted(self.kinds, kind))
        if place == len(self.kinds) or self.kinds[place] != kind:
            return
        part = slice(self.bounds[place], self.bounds[place + 1] if place + 1 < len(self.bounds) else None)
        ends = (self.source[part], self.target[part]) if onwards else (self.target[part], self.source[part])
        np.add.at(moved, (ends[1][:, None], columns), weights[ends[0][:, None], columns] * self.weight[part][:, None])

    def flows(self, forward: Floats, backward: Floats, classes: int) -> Floats:
        """[classes, b]: weight that passes through the arcs of each class, from [states, b] on either hand."""
        sums = np.zeros((classes, forward.shape[1]))
        if len(self.kinds):
            flows = forward[self.source] * backward[self.target] * self.weight[:, None]
            sums[self.kinds] = np.add.reduceat(flows, self.bounds, axis=0)
        return sums


def _states(automaton: Automaton) -> Callable[[int], Integers]:
    """Position -> states in which a text can be there."""
    left = automaton.canvas - 1
    return lambda position: np.flatnonzero((automaton.occupation[position] > 0) & (automaton.residual[left - position] > 0))
