"""What a masked text can still be: exact marginals by forward-backward on the compiled language.

A canvas holds words, then the end, then padding. With w_t(s, s') the weight of the arcs that position t allows (all where it is
masked, those of the word's class, times the word's probability, where it is not), and e_t(s) that of ending there,

    a_0 = start,  a_{t+1}(s') = sum_s a_t(s) w_t(s, s'),      b_t(s) = e_t(s) + sum_s' w_t(s, s') b_{t+1}(s'),
    p(word v at t | rest) ~ p(v | class) sum over arcs of its class of a_t(s) w(s, s') b_{t+1}(s').
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.world.automaton import Automaton, Floats, Integers

MASK = -1
"""A position that is not known yet."""


class Marginals:
    """Exact marginals of a language's canvas.

    Tokens are numbered as the automaton's words; after them come `end` and `padding`.
    """

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self.end, self.padding = len(automaton.words), len(automaton.words) + 1
        self._layers = [_Layer.of(automaton, position) for position in range(automaton.canvas - 1)]
        self._final = [automaton.final[states] for states in map(_states(automaton), range(automaton.canvas))]

    def __call__(self, tokens: Integers) -> tuple[Floats, Floats]:
        """Marginals of every position given all known ones.

        Args:
            tokens: [B, canvas] with `MASK` where a position is not known.

        Returns:
            [B, canvas, words + 2] probabilities, those of known positions being 1 at what they are; and [B] log-probability in
            nats of the known tokens, -inf (and marginals of 0) where no text has them.

        Raises:
            ValueError: the canvas is another one.
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.automaton.canvas:
            raise ValueError(f"tokens of shape {tokens.shape}: expected [B, {self.automaton.canvas}]")
        ends = self._may_end(tokens)
        forward, backward = self._forward(tokens), self._backward(tokens, ends)
        total = (forward[0] * backward[0]).sum(1)
        found = np.zeros((*tokens.shape, self.padding + 1))
        ending = np.stack([row @ final * ends[:, t] for t, (row, final) in enumerate(zip(forward, self._final, strict=True))], 1)
        found[..., self.end] = ending
        found[:, 1:, self.padding] = np.cumsum(ending, axis=1)[:, :-1]
        for position, layer in enumerate(self._layers):
            masked = np.flatnonzero(tokens[:, position] == MASK)
            classes = layer.flows(forward[position][masked], backward[position + 1][masked], len(self.automaton.classes))
            found[masked, position, : self.end] = classes[:, self.automaton.word_class] * self.automaton.word_probability
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
        """[canvas] of [B, states there]: weight of the words so far, no end among them."""
        rows = [np.ones((len(tokens), 1))]
        for position, layer in enumerate(self._layers):
            rows.append(self._moved(layer, rows[-1], tokens[:, position], onwards=True))
        return rows

    def _backward(self, tokens: Integers, ends: np.ndarray) -> list[Floats]:
        """[canvas] of [B, states there]: weight of all that can follow, the end among it."""
        rows = [self._final[-1] * ends[:, [-1]]]
        for position, layer in reversed(list(enumerate(self._layers))):
            going = self._moved(layer, rows[-1], tokens[:, position], onwards=False)
            rows.append(going + self._final[position] * ends[:, [position]])
        return rows[::-1]

    def _moved(self, layer: "_Layer", weights: Floats, token: Integers, *, onwards: bool) -> Floats:
        """Weights carried over one position, to targets or back to sources; rows whose position holds no word become 0."""
        moved = np.zeros((len(weights), layer.shape[1 if onwards else 0]))
        word = np.flatnonzero((token >= 0) & (token < self.end))
        kinds = np.full(len(token), self.end)
        kinds[token == MASK] = MASK
        kinds[word] = self.automaton.word_class[token[word]]
        for kind in np.unique(kinds[kinds != self.end]).tolist():
            rows, matrices = np.flatnonzero(kinds == kind), layer.matrices(kind)
            if matrices is not None:
                moved[rows] = matrices[onwards].dot(weights[rows].T).T
        moved[word] *= self.automaton.word_probability[token[word]][:, None]
        return moved


class _Layer:
    """The arcs that a text can take at one position, by word class; states are numbered within their position.

    Attributes:
        shape: states before and after.
    """

    def __init__(self, source: Integers, target: Integers, weight: Floats, kind: Integers, shape: tuple[int, int]) -> None:
        self.source, self.target, self.weight, self.shape = source, target, weight, shape
        self.kinds, self.bounds = np.unique(kind, return_index=True)
        self._made: dict[int, tuple[Any, Any] | None] = {}

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

    def matrices(self, kind: int) -> tuple[Any, Any] | None:
        """Sparse weights of the arcs of a class, or of all for `MASK`, and their transpose; `None` where there are none."""
        if kind not in self._made:
            from scipy.sparse import csr_matrix

            places = np.flatnonzero(self.kinds == kind)
            part = slice(None) if kind == MASK else self._part(int(places[0])) if len(places) else None
            made = part and csr_matrix((self.weight[part], (self.source[part], self.target[part])), shape=self.shape)
            self._made[kind] = None if made is None else (made, made.T)
        return self._made[kind]

    def _part(self, place: int) -> slice:
        return slice(self.bounds[place], self.bounds[place + 1] if place + 1 < len(self.bounds) else None)

    def flows(self, forward: Floats, backward: Floats, classes: int) -> Floats:
        """[b, classes]: weight that passes through the arcs of each class."""
        sums = np.zeros((len(forward), classes))
        if len(self.kinds):
            flows = np.take(forward, self.source, axis=1)
            flows *= np.take(backward, self.target, axis=1)
            flows *= self.weight
            sums[:, self.kinds] = np.add.reduceat(flows, self.bounds, axis=1)
        return sums


def _states(automaton: Automaton) -> Callable[[int], Integers]:
    """Position -> states in which a text can be there."""
    left = automaton.canvas - 1
    return lambda position: np.flatnonzero((automaton.occupation[position] > 0) & (automaton.residual[left - position] > 0))
