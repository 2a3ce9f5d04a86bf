"""The compiled language: a deterministic weighted automaton over word classes, conditioned on the canvas.

Everything here is exact. A text of n words takes n + 1 tokens, the end included, so texts have at most `canvas - 1` words.
With R[k, s] the probability of ending within k more words from state s, and L = canvas - 1,

    p(text) = prod(arc probabilities) * prod(word probabilities) * p(end) / R[L, 0],
    p(word | prefix at state s, position t) = arc * word * R[L - t - 1, target] / R[L - t, s].
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.world.expansion import Label, RawAutomaton
from tasks.world.rules import Lexicon

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tables = Mapping[str, NDArray[Any]]


class Automaton:
    """A language in which every text has one path.

    Attributes:
        canvas: longest text in tokens, the end included.
        labels: (word class, attribute said, fixed value) of every kind of arc.
        offsets: [states + 1] first arc of each state; arcs of state s are offsets[s]:offsets[s + 1].
        label: [arcs] index into `labels`.
        source, target: [arcs] states; targets are numbered higher than sources, the start is 0.
        probability: [arcs] of the grammar, before conditioning on the canvas; words are not included.
        final: [states] probability of ending, before conditioning on the canvas.
        words: all words.
        word_class, word_probability: [words] index into `classes` and probability within it.
        classes: names of the word classes.
    """

    def __init__(self, canvas: int, labels: Sequence[Label], tables: Tables, lexicon: Lexicon) -> None:
        self.canvas, self.labels, self.lexicon = canvas, tuple(labels), lexicon
        self.offsets, self.label, self.target = tables["offsets"], tables["label"], tables["target"]
        self.probability, self.final = tables["probability"], tables["final"]
        self.source = np.repeat(np.arange(len(self.final)), np.diff(self.offsets))
        self.classes = tuple(dict.fromkeys(label[0] for label in self.labels))
        self.words = tuple(word for name in self.classes for word in lexicon[name].words)
        sizes = [len(lexicon[name].words) for name in self.classes]
        self.word_class = np.repeat(np.arange(len(self.classes)), sizes)
        self.word_probability = np.concatenate([np.asarray(lexicon[name].probabilities) for name in self.classes])
        self.label_class = np.array([self.classes.index(label[0]) for label in self.labels])
        assert len(set(self.words)) == len(self.words), "a word stands in two classes"

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.final)

    @property
    def arcs(self) -> int:
        """Number of arcs; an arc carries a class of words."""
        return len(self.target)

    # --- conditioning on the canvas ----------------------------------------------------------------------------------
    @cached_property
    def residual(self) -> Floats:
        """[canvas, states]: probability of ending within k more words."""
        rows = [self.final]
        for _ in range(self.canvas - 1):
            rows.append(self.final + self._sum_at_source(self.probability * rows[-1][self.target]))
        return np.stack(rows)

    @property
    def normaliser(self) -> float:
        """Probability that a text of the unconditioned grammar fits the canvas."""
        return float(self.residual[-1, 0])

    def arc_probabilities(self, position: int) -> Floats:
        """[arcs]: probability of each arc after `position` words, given its source; 0 where the canvas is out of reach."""
        left = self.canvas - 1 - position
        if left == 0:
            return np.zeros(self.arcs)
        here = self.residual[left][self.source]
        inside = self.probability * self.residual[left - 1][self.target]
        shares: Floats = np.divide(inside, here, out=np.zeros_like(inside), where=here > 0)
        return shares

    def end_probabilities(self, position: int) -> Floats:
        """[states]: probability of ending after `position` words, given the state; 0 where the canvas is out of reach."""
        here = self.residual[self.canvas - 1 - position]
        shares: Floats = np.divide(self.final, here, out=np.zeros_like(here), where=here > 0)
        return shares

    @cached_property
    def occupation(self) -> Floats:
        """[canvas, states]: probability of being in a state after k words."""
        rows = [np.eye(1, self.states)[0]]
        for position in range(self.canvas - 1):
            flow = rows[-1][self.source] * self.arc_probabilities(position)
            rows.append(np.bincount(self.target, weights=flow, minlength=self.states))
        return np.stack(rows)

    def length_law(self) -> Floats:
        """[canvas]: probability of a text of n words, the end not counted."""
        ends = [self.end_probabilities(position) for position in range(self.canvas)]
        return np.array([occupied @ end for occupied, end in zip(self.occupation, ends, strict=True)])

    def entropy(self) -> float:
        """Entropy of a text in nats, words, order and length together."""
        words = self.word_probability
        within = np.bincount(self.word_class, weights=-words * np.log(words))[self.label_class][self.label]
        total = 0.0
        for position, occupied in enumerate(self.occupation):
            arcs, ends = self.arc_probabilities(position), self.end_probabilities(position)
            total += float(occupied[self.source] @ (_surprise(arcs) + arcs * within) + occupied @ _surprise(ends))
        return total

    def _sum_at_source(self, values: Floats) -> Floats:
        return np.bincount(self.source, weights=values, minlength=self.states).astype(np.float64)

    # --- walking -----------------------------------------------------------------------------------------------------
    @cached_property
    def _steps(self) -> list[dict[int, int]]:
        """For each state: word class -> arc."""
        classes = self.label_class[self.label].tolist()
        bounds = self.offsets.tolist()
        return [{classes[arc]: arc for arc in range(bounds[s], bounds[s + 1])} for s in range(self.states)]

    @cached_property
    def word_index(self) -> dict[str, int]:
        """Number of each word."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def _class_of(self) -> dict[str, int]:
        return {word: int(self.word_class[number]) for word, number in self.word_index.items()}

    @cached_property
    def _targets(self) -> list[int]:
        targets: list[int] = self.target.tolist()
        return targets

    def step(self, state: int, word: str) -> int | None:
        """The arc that a word takes; `None` where the grammar has none."""
        return self._steps[state].get(self._class_of.get(word, -1))

    def expected(self, state: int) -> tuple[str, ...]:
        """Word classes that may follow; the end is not among them."""
        return tuple(self.classes[number] for number in self._steps[state])

    def place(self, word: str) -> tuple[str, int]:
        """(word class, rank in it) of a word; ("", 0) for a word that the language does not have."""
        if word not in self.word_index:
            return "", 0
        name = self.classes[self._class_of[word]]
        return name, self.lexicon[name].words.index(word)

    def walk(self, tokens: Sequence[str]) -> list[int] | None:
        """Arcs along a prefix of a text; `None` where the grammar has none. Does not look at the canvas."""
        steps, classes, targets = self._steps, self._class_of, self._targets
        state, path = 0, []
        for token in tokens:
            arc = steps[state].get(classes.get(token, -1))
            if arc is None:
                return None
            path.append(arc)
            state = targets[arc]
        return path

    def state_after(self, path: Sequence[int]) -> int:
        """The state that a path of arcs leads to."""
        return self._targets[path[-1]] if path else 0

    def log_probability(self, tokens: Sequence[str]) -> float:
        """Log p(text) in nats; -inf for what is no text of the language."""
        path = self.walk(tokens) if len(tokens) < self.canvas else None
        if path is None or not self.final[self.state_after(path)]:
            return -math.inf
        return self._log_weight(path, tokens) + math.log(self.final[self.state_after(path)]) - math.log(self.normaliser)

    def prefix_log_probability(self, tokens: Sequence[str]) -> float:
        """Log-probability in nats that a text begins with these words; -inf where none does."""
        path = self.walk(tokens) if len(tokens) < self.canvas else None
        rest = self.residual[self.canvas - 1 - len(tokens), self.state_after(path)] if path is not None else 0.0
        if path is None or not rest:
            return -math.inf
        return self._log_weight(path, tokens) + math.log(rest) - math.log(self.normaliser)

    def _log_weight(self, path: Sequence[int], tokens: Sequence[str]) -> float:
        numbers = [self.word_index[token] for token in tokens]
        return float(np.log(self.probability[list(path)]).sum() + np.log(self.word_probability[numbers]).sum())

    def next_probabilities(self, tokens: Sequence[str]) -> Floats:
        """[words + 1]: probability of each next word, and last of the end, after a prefix.

        Raises:
            ValueError: no text begins with these words.
        """
        path = self.walk(tokens) if len(tokens) < self.canvas else None
        state = self.state_after(path) if path is not None else 0
        left = self.canvas - 1 - len(tokens)
        if path is None or not self.residual[left, state]:
            raise ValueError(f"no text begins with {' '.join(tokens)!r}")
        result = np.zeros(len(self.words) + 1)
        result[-1] = self.final[state] / self.residual[left, state]
        for name, arc in self._steps[state].items() if left else ():
            share = self.probability[arc] * self.residual[left - 1, self.target[arc]] / self.residual[left, state]
            result[:-1] += np.where(self.word_class == name, share * self.word_probability, 0.0)
        return result

    def contains(self, text: str) -> bool:
        """Whether a text is in the language: it parses and fits the canvas."""
        return self.meaning(text) is not None

    def meaning(self, text: str) -> dict[str, str] | None:
        """What a text says; `None` where it is not in the language."""
        tokens = text.split()
        path = self.walk(tokens) if len(tokens) < self.canvas else None
        if path is None or not self.final[self.state_after(path)]:
            return None
        said = self.says
        return {said[arc][0]: said[arc][1] or self._value(token) for arc, token in zip(path, tokens, strict=True) if said[arc][0]}

    @cached_property
    def says(self) -> list[tuple[str, str]]:
        """(attribute said or "", fixed value or "") of every arc."""
        return [self.labels[index][1:] for index in self.label.tolist()]

    @cached_property
    def leaving(self) -> list[list[tuple[int, int, int]]]:
        """For each state, (arc, target, 1 where it says an attribute) of its arcs."""
        says, targets, bounds = self.says, self._targets, self.offsets.tolist()
        return [[(arc, targets[arc], int(says[arc][0] != "")) for arc in range(*pair)] for pair in pairwise(bounds)]

    @cached_property
    def _values(self) -> dict[str, str]:
        return {
            word: value
            for name in self.classes
            for word, value in zip(self.lexicon[name].words, self.lexicon[name].values, strict=True)
        }

    def _value(self, word: str) -> str:
        return self._values[word]

    def tags(self, text: str) -> tuple[str, ...]:
        """Parts of speech of a text's words.

        Raises:
            KeyError: a word that the language does not have.
        """
        return tuple(self.lexicon[self.classes[self._class_of[token]]].tag for token in text.split())


def tables_of(raw: RawAutomaton) -> tuple[tuple[Label, ...], Tables]:
    """Labels and arrays of a deterministic, minimised automaton."""
    labels = tuple(sorted({arc.label for row in raw.arcs for arc in row}))
    index = {label: number for number, label in enumerate(labels)}
    arcs = [arc for row in raw.arcs for arc in row]
    return labels, {
        "offsets": np.concatenate([[0], np.cumsum([len(row) for row in raw.arcs])]).astype(np.int64),
        "label": np.array([index[arc.label] for arc in arcs], dtype=np.int64),
        "target": np.array([arc.target for arc in arcs], dtype=np.int64),
        "probability": np.array([arc.weight for arc in arcs], dtype=np.float64),
        "final": np.array(raw.final, dtype=np.float64),
    }


def _surprise(probabilities: Floats) -> Floats:
    """-p log p, with 0 at 0."""
    return -probabilities * np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
