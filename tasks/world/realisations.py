"""All texts that say one meaning: how probable they are together, how many there are, draws from them, the shortest.

A meaning keeps the arcs that say nothing or say one of its values; a path must say all of them. Since an attribute is said at
most once, it is enough to count how many are left. Values that behave alike (two foods, say) share their tables.
"""

import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np

from tasks.world.automaton import Automaton, Floats
from tasks.world.meaning import Meaning

ATTEMPTS = 10_000
Shares = tuple[tuple[int, float], ...]
Place = tuple[int, int]
"""State, and how many attributes are still unsaid."""


class Paths:
    """Paths that say one meaning.

    Attributes:
        automaton: the language.
        weights: [arcs] weight of an arc, 0 where it says anything else.
        final: [states] weight of ending.
    """

    def __init__(self, automaton: Automaton, shares: Shares, weights: Floats, final: Floats) -> None:
        self.automaton, self.final = automaton, final.tolist()
        share_of = np.zeros(len(automaton.labels))
        share_of[[label for label, _ in shares]] = [share for _, share in shares]
        self._kept = (weights * share_of[automaton.label]).tolist()

    def end(self, place: Place) -> float:
        """Weight of ending here."""
        return self.final[place[0]] if place[1] == 0 else 0.0

    def options(self, place: Place) -> Iterator[tuple[float, int, Place]]:
        """(weight, arc, next place) of the arcs that may follow."""
        kept, (state, unsaid) = self._kept, place
        for arc, target, speaks in self.automaton.leaving[state]:
            if kept[arc] and unsaid >= speaks:
                yield kept[arc], arc, (target, unsaid - speaks)


class Totals:
    """Weight of all ways to end, from every place; what is drawn by it may be longer than the canvas."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._known: dict[Place, float] = {}

    def at(self, place: Place) -> float:
        """Weight of all ways to end."""
        if place not in self._known:
            options = self.paths.options(place)
            self._known[place] = self.paths.end(place) + sum(weight * self.at(after) for weight, _, after in options)
        return self._known[place]

    def choices(self, place: Place) -> list[float]:
        """Weight of ending, then of every option."""
        return [self.paths.end(place), *(weight * self.at(after) for weight, _, after in self.paths.options(place))]


class Shortest:
    """Fewest words to an end, and the weight of the ways that need no more."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._known: dict[Place, tuple[float, float]] = {}

    def at(self, place: Place) -> tuple[float, float]:
        """(fewest words or infinity, weight)."""
        if place not in self._known:
            ways = [(0.0, self.paths.end(place))] if self.paths.end(place) else []
            for weight, _, after in self.paths.options(place):
                words, rest = self.at(after)
                ways.append((words + 1, weight * rest))
            fewest = min((words for words, _ in ways), default=math.inf)
            self._known[place] = fewest, sum(weight for words, weight in ways if words == fewest)
        return self._known[place]

    def choices(self, place: Place) -> list[float]:
        """Weight of ending, then of every option; 0 where it would need more words."""
        fewest, found = self.at(place)[0], [self.paths.end(place)]
        for weight, _, after in self.paths.options(place):
            words, rest = self.at(after)
            found.append(weight * rest if words + 1 == fewest else 0.0)
        return found


class ByLength:
    """Weight of the ways to end within k more words, for every k the canvas allows."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._known: dict[Place, Floats] = {}

    def at(self, place: Place) -> Floats:
        """[canvas]: weight of endings within k more words."""
        if place not in self._known:
            total = np.full(self.paths.automaton.canvas, self.paths.end(place))
            for weight, _, after in self.paths.options(place):
                total[1:] += weight * self.at(after)[:-1]
            self._known[place] = total
        return self._known[place]


class Realisations:
    """The texts of one meaning.

    Attributes:
        automaton: the language.
        meaning: the meaning.
    """

    def __init__(self, automaton: Automaton, meaning: Meaning) -> None:
        self.automaton, self.meaning = automaton, meaning
        self.shares, self.factor = _factored(automaton, meaning)

    @property
    def _start(self) -> Place:
        return 0, len(self.meaning)

    @property
    def log_probability(self) -> float:
        """Log-probability in nats that a text of the language says this meaning; -inf where none can."""
        within = float(ByLength(_paths(self.automaton, self.shares)).at(self._start)[-1])
        return math.log(within * self.factor / self.automaton.normaliser) if within else -math.inf

    @property
    def counts(self) -> tuple[int, ...]:
        """[canvas]: how many texts of at most k words say this meaning."""
        shares = tuple(_admitted(self.automaton, self.meaning, counted=1.0))
        paths = Paths(self.automaton, shares, np.ones(self.automaton.arcs), np.sign(self.automaton.final))
        return tuple(round(number) for number in ByLength(paths).at(self._start).tolist())

    @property
    def count(self) -> int:
        """How many texts say this meaning."""
        return self.counts[-1]

    @property
    def fewest_words(self) -> int | None:
        """Words of the shortest text that says this meaning; `None` where none fits the canvas."""
        words = _shortest(self.automaton, self.shares, len(self.meaning)).at(self._start)[0]
        return int(words) if words < self.automaton.canvas else None

    def draw(self, rng: np.random.Generator) -> str:
        """A text that says this meaning, from the language's law.

        Raises:
            ValueError: no text says this meaning.
        """
        totals = _totals(self.automaton, self.shares, len(self.meaning))
        for _ in range(ATTEMPTS if totals.at(self._start) else 0):
            words = self._draw(totals, rng)
            if len(words) < self.automaton.canvas:
                return " ".join(words)
        raise ValueError(f"no text of at most {self.automaton.canvas - 1} words says {dict(self.meaning)}")

    def draw_shortest(self, rng: np.random.Generator) -> str:
        """One of the shortest texts that say this meaning, from the language's law.

        Raises:
            ValueError: no text says this meaning.
        """
        if self.fewest_words is None:
            raise ValueError(f"no text of at most {self.automaton.canvas - 1} words says {dict(self.meaning)}")
        return " ".join(self._draw(_shortest(self.automaton, self.shares, len(self.meaning)), rng))

    def _draw(self, table: Totals | Shortest, rng: np.random.Generator) -> list[str]:
        words: list[str] = []
        place = self._start
        while True:
            chosen = _choose(table.choices(place), rng.random())
            if chosen == 0:
                return words
            _, arc, place = list(table.paths.options(place))[chosen - 1]
            words.append(self._word(arc, rng.random()))

    def _word(self, arc: int, uniform: float) -> str:
        name, attribute, fixed = self.automaton.labels[self.automaton.label[arc]]
        group = self.automaton.lexicon[name]
        if not attribute or fixed:
            return group.words[_choose(group.probabilities, uniform)]
        return group.words[_choose([share * (value == self.meaning[attribute]) for share, value in group.shares], uniform)]


def _choose(weights: Sequence[float], uniform: float) -> int:
    """Index drawn in proportion to the weights."""
    cumulative = list(accumulate(weights))
    return bisect(cumulative, min(uniform * cumulative[-1], math.nextafter(cumulative[-1], 0)))


def _admitted(automaton: Automaton, meaning: Meaning, *, counted: float | None = None) -> Iterator[tuple[int, float]]:
    """Labels that the meaning admits, with the total probability of the words admitted, or `counted` for each word."""
    for label, (name, attribute, fixed) in enumerate(automaton.labels):
        group = automaton.lexicon[name]
        weights = group.probabilities if counted is None else (counted,) * len(group.words)
        if not attribute or (fixed and fixed == meaning.get(attribute)):
            yield label, sum(weights)
        elif not fixed and meaning.get(attribute) in group.values:
            yield label, sum(share for share, value in zip(weights, group.values, strict=True) if value == meaning[attribute])


def _factored(automaton: Automaton, meaning: Meaning) -> tuple[Shares, float]:
    """Shares relative to the largest of their attribute, and the product of those: alike meanings have equal shares."""
    admitted = list(_admitted(automaton, meaning))
    largest: dict[str, float] = {}
    for label, share in admitted:
        attribute = automaton.labels[label][1]
        largest[attribute] = max(share, largest.get(attribute, 0.0)) if attribute else 1.0
    shares = tuple((label, round(share / largest[automaton.labels[label][1]], 12)) for label, share in admitted)
    return shares, math.prod(largest.values())


def _paths(automaton: Automaton, shares: Shares) -> Paths:
    return Paths(automaton, shares, automaton.probability, automaton.final)


@lru_cache(maxsize=256)
def _totals(automaton: Automaton, shares: Shares, attributes: int) -> Totals:
    """Shared by all meanings with so many attributes and these shares."""
    return Totals(_paths(automaton, shares))


@lru_cache(maxsize=256)
def _shortest(automaton: Automaton, shares: Shares, attributes: int) -> Shortest:
    """Shared by all meanings with so many attributes and these shares."""
    return Shortest(_paths(automaton, shares))
