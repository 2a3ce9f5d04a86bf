"""Systems that no metric should take for good ones, and human text, which none should take for a bad one.

Held-out human text is the ceiling. Copies of the training split look perfect to whoever does not look for them; shuffled words
keep every word count; frequent phrases strung together, or one phrase over and over, are predictable and mean nothing
(arXiv:2606.08417); an empty text, one constant text and the most usual attributes are what a length or a majority is worth.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from baselines.floors.floor import Floor, request_generator, trained
from harness.contracts import Budget, Content, Example, FitContext, FitReport, Request, Sampling
from harness.design import Design

PHRASE = 4
"""Words of a phrase."""
FREQUENT = 0.5
"""Share of all phrases, the most frequent first, that a table of phrases keeps."""


class Canary(Floor):
    """Texts to draw from, chosen once; a subclass says which, and what it makes of one."""

    _texts: list[str] | None = None

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Choose the texts."""
        self._texts = self.chosen(train, valid)
        return FitReport(tokens=0, parameters=0)

    @abstractmethod
    def chosen(self, train: Sequence[Example], valid: Sequence[Example]) -> list[str]:
        """The texts, at least one."""

    def made_of(self, text: str, rng: np.random.Generator) -> str:
        """What is written instead of a drawn text; the text itself unless a subclass says otherwise."""
        return text

    def answer(self, request: Request, candidate: int, settings: Sampling) -> tuple[str, tuple[int, ...]]:
        """One of the texts, drawn with replacement.

        Raises:
            ModelError: not fitted.
        """
        texts, rng = trained(self._texts, self.design), request_generator(request, self.design.name, candidate)
        return self.cut(self.made_of(texts[int(rng.integers(len(texts)))], rng), request)

    def state(self) -> dict[str, Any]:
        """The texts."""
        return {"texts": trained(self._texts, self.design)}

    def restore(self, state: dict[str, Any]) -> None:
        """The texts."""
        self._texts = list(state["texts"])


def _design(name: str, *families: Any) -> Design:
    return Design(name=name, kind="floor", families=families, predicts="nothing", loss_mask="none", length="that of a text")


class Human(Canary):
    """Human texts of the validation split: what a perfect system would score, up to chance."""

    design = _design("human", "ucg")

    def chosen(self, train: Sequence[Example], valid: Sequence[Example]) -> list[str]:
        """The validation split.

        Raises:
            ValueError: it is empty.
        """
        if not valid:
            raise ValueError(f"{self.design.name} needs a validation split: held-out human text")
        return list(dict.fromkeys(example.target for example in valid))


class ShuffledHuman(Human):
    """Human texts of the validation split with their words in random order."""

    design = _design("shuffled-human", "ucg")

    def made_of(self, text: str, rng: np.random.Generator) -> str:
        """Its words, shuffled; its characters where there are no spaces."""
        words = text.split()
        return " ".join(words[index] for index in rng.permutation(len(words)))


class TrainCopier(Canary):
    """Texts of the training split, word for word."""

    design = _design("train-copier", "ucg")

    def chosen(self, train: Sequence[Example], valid: Sequence[Example]) -> list[str]:
        """The training split."""
        return [example.target for example in train]


class PhraseTable(TrainCopier):
    """Frequent phrases of the training split, strung together to the length of a training text: likely, varied, incoherent."""

    design = _design("phrase-table", "ucg")
    _phrases: tuple[list[str], np.ndarray] | None = None

    def made_of(self, text: str, rng: np.random.Generator) -> str:
        """As many words, in phrases drawn by how often they occur."""
        phrases, shares = self._table()
        wanted = len(text.split())
        drawn = rng.choice(len(phrases), size=-(-wanted // PHRASE), p=shares)
        return " ".join(" ".join(phrases[index] for index in drawn).split()[:wanted])

    def _table(self) -> tuple[list[str], np.ndarray]:
        """The most frequent phrases that make up half of all, with their shares."""
        if self._phrases is None:
            words = [text.split() for text in trained(self._texts, self.design)]
            counts = Counter(
                " ".join(row[start : start + PHRASE]) for row in words for start in range(max(1, len(row) - PHRASE + 1))
            )
            ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            sums = np.cumsum([count for _, count in ranked])
            kept = ranked[: int(np.searchsorted(sums, FREQUENT * sums[-1])) + 1]
            shares = np.array([count for _, count in kept], dtype=np.float64)
            self._phrases = [phrase for phrase, _ in kept], shares / shares.sum()
        return self._phrases


class Tiled(TrainCopier):
    """The first phrase of a training text, over and over, to the length of that text."""

    design = _design("tiled", "ucg")

    def made_of(self, text: str, rng: np.random.Generator) -> str:
        """As many words, all from its first phrase."""
        words = text.split()
        return " ".join(words[index % PHRASE] for index in range(len(words)))


class Empty(Canary):
    """Nothing at all."""

    design = _design("empty", "ucg", "a2t", "t2t")

    def chosen(self, train: Sequence[Example], valid: Sequence[Example]) -> list[str]:
        """The empty text."""
        return [""]


class Constant(Canary):
    """One training text for everything: the most frequent, and of these the first."""

    design = _design("constant", "ucg", "a2t", "t2t")

    def chosen(self, train: Sequence[Example], valid: Sequence[Example]) -> list[str]:
        """That text."""
        return [Counter(example.target for example in train).most_common(1)[0][0]]


class Majority(Canary):
    """The training text that says most of the most usual attribute values, whatever is asked for."""

    design = _design("majority", "a2t")

    def chosen(self, train: Sequence[Example], valid: Sequence[Example]) -> list[str]:
        """That text: of those that say most of them the one that says least else, and of these the first.

        Raises:
            ValueError: no example has attributes.
        """
        said = [dict(example.control.attributes) if isinstance(example.control, Content) else {} for example in train]
        counts: dict[str, Counter[str]] = {}
        for attributes in said:
            for name, value in attributes.items():
                counts.setdefault(name, Counter())[value] += 1
        if not counts:
            raise ValueError(f"{self.design.name} needs examples with attributes; these have none")
        usual = {name: values.most_common(1)[0][0] for name, values in counts.items() if 2 * values.total() >= len(train)}
        hits = [sum(usual.get(name) == value for name, value in attributes.items()) for attributes in said]
        best = max(range(len(train)), key=lambda index: (hits[index], -len(said[index]), -index))
        return [train[best].target]
