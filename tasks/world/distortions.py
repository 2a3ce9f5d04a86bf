"""The generated language, distorted by a known amount: what a metric must notice, and how much there is to notice.

A distortion has a level, 0 where it changes nothing; what it does to the law of texts is known exactly or by many draws.

    flattened, sharpened   the grammar's choices at temperature 1 + level, or 1 / (1 + level)
    dropped                texts with certain words never come; the level is their share of the law, as near as words allow
    shuffled               so large a share of the texts has its words in random order
    agreement              so large a share has one word in the wrong number
    bigrams                so large a share comes from a grammar that knows pairs of neighbouring words only
    memorised              so large a share is copied from a thousand training texts
"""

import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from tasks.world.automaton import Automaton
from tasks.world.draws import draw, draw_each
from tasks.world.rules import WordClass

COPIED = 1000
"""Training texts that are copied from."""
DRAWS = 5_000
"""Texts by which a rate is known that has no closed form: a standard error of at most 0.7 %."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a distortion does to the law of texts.

    Attributes:
        total_variation: between the distorted law and the language's own.
        error_rate: share of texts outside the language.
        coverage: share of the language's law that can still come.
        memorised: share of texts that are copied on purpose.
    """

    total_variation: float
    error_rate: float = 0.0
    coverage: float = 1.0
    memorised: float = 0.0


class Distortion(ABC):
    """A law of texts near that of the language.

    Args:
        automaton: the language.
        level: how far from it.
        train: training texts, for distortions that copy.
    """

    most: float = 1.0

    def __init__(self, automaton: Automaton, level: float, train: Sequence[str] = ()) -> None:
        self.automaton, self.level, self.train = automaton, level, list(train[:COPIED])

    @abstractmethod
    def texts(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """One text from each generator."""

    @property
    @abstractmethod
    def truth(self) -> Truth:
        """What is known of the law."""

    def own(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """Texts of the language itself."""
        return draw_each(self.automaton, rngs)


class Flattened(Distortion):
    """Every choice of the grammar, words and endings too, at a temperature above 1; the texts stay in the language."""

    most = 100.0

    @property
    def temperature(self) -> float:
        """Exponents are one over it."""
        return 1 + self.level

    @cached_property
    def tempered(self) -> Automaton:
        """The language with other probabilities."""
        return tempered(self.automaton, self.temperature)

    def texts(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """See `Distortion`."""
        return draw_each(self.tempered, rngs)

    def log_probability(self, text: str) -> float:
        """Exact log q(text) in nats."""
        return self.tempered.log_probability(text.split())

    @property
    def truth(self) -> Truth:
        """Total variation is the mean of what p has more than q, over draws from p."""
        texts = draw(self.automaton, DRAWS, np.random.default_rng(0))
        ratios = [self.log_probability(text) - self.automaton.log_probability(text.split()) for text in texts]
        return Truth(float(np.maximum(0.0, -np.expm1(ratios)).mean()))


class Sharpened(Flattened):
    """The same at a temperature below 1."""

    @property
    def temperature(self) -> float:
        """Exponents are one over it."""
        return 1 / (1 + self.level)


def tempered(automaton: Automaton, temperature: float) -> Automaton:
    """The language whose choices at every state, and of words within a class, are at a temperature."""
    arcs, ends = automaton.probability ** (1 / temperature), automaton.final ** (1 / temperature)
    total = np.bincount(automaton.source, weights=arcs, minlength=automaton.states) + ends
    tables = {
        "offsets": automaton.offsets, "label": automaton.label, "target": automaton.target,
        "probability": arcs / total[automaton.source], "final": ends / total,
    }  # fmt: skip
    lexicon = {name: _tempered(automaton.lexicon[name], temperature) for name in automaton.classes}
    return Automaton(automaton.canvas, automaton.labels, tables, lexicon)


def _tempered(words: WordClass, temperature: float) -> WordClass:
    raised = np.asarray(words.probabilities) ** (1 / temperature)
    return replace(words, probabilities=tuple((raised / raised.sum()).tolist()))


class Dropped(Distortion):
    """Texts without certain words of the open classes, drawn from the language until none of them occurs."""

    most = 0.95

    @cached_property
    def banned(self) -> frozenset[str]:
        """Words in the order of a fixed draw, as many as bring the dropped mass nearest to the level."""
        words = [word for name in self.automaton.classes for word in self._open(name)]
        order = np.random.default_rng(0).permutation(len(words))
        masses = [0.0]
        for count in range(1, len(words) + 1):
            masses.append(1 - avoiding(self.automaton, {words[index] for index in order[:count]}))
            if masses[-1] >= self.level:
                break
        count = int(np.argmin(np.abs(np.array(masses) - self.level)))
        return frozenset(words[index] for index in order[:count])

    def _open(self, name: str) -> Sequence[str]:
        words = self.automaton.lexicon[name].words
        return words[1:] if len(words) > 2 else ()

    def texts(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """See `Distortion`."""
        found = self.own(rngs)
        while again := [place for place, text in enumerate(found) if self.banned.intersection(text.split())]:
            for place, text in zip(again, self.own([rngs[place] for place in again]), strict=True):
                found[place] = text
        return found

    @property
    def truth(self) -> Truth:
        """Exact: what is left keeps its proportions, so the total variation is the mass that is gone."""
        kept = avoiding(self.automaton, self.banned)
        return Truth(1 - kept, coverage=kept)


def avoiding(automaton: Automaton, banned: frozenset[str] | set[str]) -> float:
    """Probability that a text of the language has none of these words."""
    gone = np.zeros(len(automaton.classes))
    for word in banned:
        number = automaton.word_index[word]
        gone[automaton.word_class[number]] += automaton.word_probability[number]
    kept = automaton.probability * (1 - gone)[automaton.label_class][automaton.label]
    left = automaton.final
    for _ in range(automaton.canvas - 1):
        left = automaton.final + np.bincount(automaton.source, weights=kept * left[automaton.target], minlength=automaton.states)
    return float(left[0]) / automaton.normaliser


class Mixture(Distortion):
    """The language, and with the probability of the level something else."""

    def texts(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """See `Distortion`."""
        mixed = [bool(rng.random() < self.level) for rng in rngs]
        parts = {
            other: iter(make([rng for rng, chosen in zip(rngs, mixed, strict=True) if chosen == other]))
            for other, make in ((False, self.own), (True, self.others))
        }
        return [next(parts[other]) for other in mixed]

    @abstractmethod
    def others(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """Texts of something else."""

    @property
    def truth(self) -> Truth:
        """By draws of the other part; what it has inside the language is counted as no error and no distance."""
        others = self.others([np.random.default_rng((0, number)) for number in range(DRAWS)])
        outside = float(np.mean([not self.automaton.contains(text) for text in others]))
        return Truth(self.level * outside, error_rate=self.level * outside)


class Shuffled(Mixture):
    """Words of a text in random order."""

    def others(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """See `Mixture`."""
        return [" ".join(rng.permutation(text.split()).tolist()) for rng, text in zip(rngs, self.own(rngs), strict=True)]


class Agreement(Mixture):
    """One word of a text in the other number: "is" for "are", "hide" for "hides"."""

    @cached_property
    def twins(self) -> Mapping[str, str]:
        """Word -> the same word in the other number."""
        found: dict[str, str] = {}
        for name in self.automaton.classes:
            twin = f"{name.removesuffix('.sg')}.pl"
            if name.endswith(".sg") and twin in self.automaton.classes:
                one, many = self.automaton.lexicon[name].words, self.automaton.lexicon[twin].words
                pairs = list(zip(one, many, strict=True)) if len(one) == len(many) else []
                found |= {**dict(pairs), **{plural: single for single, plural in pairs}}
        return found

    def others(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """See `Mixture`."""
        return [self._broken(text.split(), rng) for rng, text in zip(rngs, self.own(rngs), strict=True)]

    def _broken(self, words: list[str], rng: np.random.Generator) -> str:
        places = [place for place, word in enumerate(words) if word in self.twins]
        if places:
            place = places[int(rng.integers(len(places)))]
            words[place] = self.twins[words[place]]
        return " ".join(words)


class Bigrams(Mixture):
    """A chain of words whose pairs of neighbours are as frequent as in the language."""

    @cached_property
    def following(self) -> Mapping[str, tuple[Sequence[str], np.ndarray]]:
        """Word, "" at the start -> what follows, "" at the end, with cumulated shares."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for text in draw(self.automaton, DRAWS, np.random.default_rng(1)):
            words = ["", *text.split(), ""]
            for word, after in pairwise(words):
                counts[word][after] += 1
        return {word: (list(after), np.cumsum(list(after.values())) / after.total()) for word, after in counts.items()}

    def others(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """See `Mixture`."""
        return [self._chain(rng) for rng in rngs]

    def _chain(self, rng: np.random.Generator) -> str:
        words = [""]
        while len(words) < self.automaton.canvas:
            choices, cumulated = self.following[words[-1]]
            words.append(choices[min(int(np.searchsorted(cumulated, rng.random(), side="right")), len(choices) - 1)])
            if not words[-1]:
                break
        return " ".join(words).strip()


class Memorised(Mixture):
    """Copies of training texts."""

    def others(self, rngs: Sequence[np.random.Generator]) -> list[str]:
        """See `Mixture`.

        Raises:
            ValueError: no training texts were given.
        """
        if rngs and not self.train:
            raise ValueError("memorised texts need training texts to copy")
        return [self.train[int(rng.integers(len(self.train)))] for rng in rngs]

    @property
    def truth(self) -> Truth:
        """All but what the copied texts have of the law anyway; that is left out without training texts, being tiny."""
        mass = math.fsum(math.exp(self.automaton.log_probability(text.split())) for text in set(self.train))
        return Truth(self.level * (1 - mass), memorised=self.level)


DISTORTIONS: Mapping[str, type[Distortion]] = {
    "flattened": Flattened, "sharpened": Sharpened, "dropped": Dropped, "shuffled": Shuffled, "agreement": Agreement,
    "bigrams": Bigrams, "memorised": Memorised,
}  # fmt: skip


def distortion(automaton: Automaton, name: str, level: float, train: Sequence[str] = ()) -> Distortion:
    """A distortion by name; `check` says what it refuses."""
    check(name, level)
    return DISTORTIONS[name](automaton, level, train)


def check(name: str, level: float) -> None:
    """Refuse what is no distortion.

    Raises:
        ValueError: an unknown name, or a level that it cannot have.
    """
    if name not in DISTORTIONS:
        raise ValueError(f"distortion {name!r} is none of {', '.join(DISTORTIONS)}")
    most = DISTORTIONS[name].most
    if type(level) not in (int, float) or not 0 <= level <= most:
        raise ValueError(f"level {level!r} of {name}: expected a number from 0 to {most:g}")
