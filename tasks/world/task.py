"""The generated language as a task: unconditional text, data to text, translation, paraphrase, simplification."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, get_args

import numpy as np

from harness.contracts import Content, Example, TaskData, stream_seed
from harness.design import Family
from tasks.world.cache import Rows, cached_texts
from tasks.world.draws import draw
from tasks.world.language import Language, digest_of, language
from tasks.world.meaning import ordered
from tasks.world.realisations import Realisations
from tasks.world.sizes import size_named
from tasks.world.translation import TRANSLATION_VERSION

Rewriting = Literal["translation", "paraphrase", "simplification"]
REFERENCES = 4
_METRICS = {
    "ucg": ("likelihood", "judge-perplexity", "mauve", "diversity", "self-bleu", "memorisation", "lengths", "world"),
    "a2t": ("bleu", "chrf", "likelihood", "judge-perplexity", "diversity", "memorisation", "lengths", "world"),
    "t2t": ("bleu", "chrf", "likelihood", "diversity", "lengths", "world"),
}


class World:
    """A language whose truth is known: nothing is downloaded, everything is exact.

    The splits are independent draws from one law with named seeds, so that they have all of its properties; a text may
    therefore stand in two of them, as often as chance has it (`overlap` counts). Of the test texts, and of the meanings that
    A2T asks for, these also stand in the training split: at tiny 91 % and 100 % (with 4,000 training texts, as in quickstart,
    66 % and 100 %), at small 0.4 % and 18 %, at medium none and 0.1 %; so at tiny a right answer may be a memory.
    Texts are lower-case words and punctuation marks with spaces between them.

    * ucg: write a text of the language.
    * a2t: say the attributes given; the test examples have other realisations of the same meaning as references.
    * t2t: translate into the second language, or (`t2t="paraphrase"`) say the same in other words, or
      (`t2t="simplification"`) say the same in as few words as possible.

    Args:
        size: "tiny", "small", "medium" or "large".
        train, valid, test, judge: examples per split.
        t2t: what rewriting means.
        seed: moves all draws.

    Raises:
        ValueError: an unknown size or rewriting, or a split without examples.
    """

    name: ClassVar[str] = "world"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = ("ucg", "a2t", "t2t")

    def __init__(
        self,
        size: str = "small",
        *,
        train: int = 20_000,
        valid: int = 1_000,
        test: int = 2_000,
        judge: int = 20_000,
        t2t: Rewriting = "translation",
        seed: int = 0,
    ) -> None:
        size_named(size)
        if t2t not in get_args(Rewriting):
            raise ValueError(f"t2t={t2t!r} is none of {', '.join(get_args(Rewriting))}")
        self.size, self.t2t, self.seed = size, t2t, seed
        self.counts = {"train": train, "valid": valid, "test": test, "judge": judge}
        empty = [split for split, count in self.counts.items() if count < 1]
        if empty:
            raise ValueError(f"world needs at least one example in every split; {', '.join(empty)} has none")

    @property
    def language(self) -> Language:
        """The language, compiled when first used."""
        return language(self.size)

    def fingerprint(self, family: Family) -> str:
        """Digest of grammar, sizes of splits, seed and family; nothing is generated."""
        rewriting = self.t2t if family == "t2t" else None
        translation = [digest_of(self.language.second), TRANSLATION_VERSION] if rewriting == "translation" else []
        grammars = [digest_of(self.language.first), *translation]
        parts = [
            self.name,
            self.version,
            self.language.size.describe(),
            grammars,
            self.counts,
            self.seed,
            family,
            rewriting,
            REFERENCES,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def check(self) -> None:
        """Nothing can be missing: the language is generated."""

    def metrics(self, family: Family) -> tuple[str, ...]:
        """Names of the default metrics."""
        return _METRICS[family]

    def load(self, family: Family) -> TaskData:
        """Draw the splits of a family."""
        splits = {split: self._examples(family, split) for split in self.counts}
        return TaskData(
            name=self.name,
            family=family,
            digest=self.fingerprint(family),
            tokenizer="words",
            train=splits["train"],
            valid=splits["valid"],
            test=splits["test"],
            judge=splits["judge"],
            max_tokens=self.language.size.canvas,
        )

    def texts(self, split: str) -> list[str]:
        """The texts of a split, before a family makes examples of them.

        Raises:
            KeyError: no such split.
        """
        return draw(self.language.automaton, self.counts[split], self._generator("texts", split))

    def overlap(self) -> dict[str, float]:
        """Share of the texts of each other split that also stand in the training split."""
        train = set(self.texts("train"))
        return {
            split: sum(text in train for text in self.texts(split)) / count
            for split, count in self.counts.items()
            if split != "train"
        }

    def _generator(self, *names: str) -> np.random.Generator:
        return np.random.default_rng(stream_seed(self.seed, self.name, self.size, *names))

    def _examples(self, family: Family, split: str) -> Sequence[Example]:
        make: Mapping[str, Callable[[str, list[str]], list[Example]]] = {
            "ucg": self._plain, "a2t": self._from_attributes, "translation": self._translated,
            "paraphrase": self._paraphrased, "simplification": self._simplified,
        }  # fmt: skip
        return make[self.t2t if family == "t2t" else family](split, self.texts(split))

    def _plain(self, split: str, texts: list[str]) -> list[Example]:
        return [Example(id=identifier(split, index), target=text) for index, text in enumerate(texts)]

    def _from_attributes(self, split: str, texts: list[str]) -> list[Example]:
        references = self._references("a2t", texts, split) if split == "test" else [()] * len(texts)
        return [
            Example(id=identifier(split, index), target=text, control=self.content(text), references=references[index])
            for index, text in enumerate(texts)
        ]

    def content(self, text: str) -> Content:
        """What a text says, as the control of data-to-text.

        Raises:
            ValueError: the text is not in the language.
        """
        return Content(ordered(self._meaning(text)))

    def _meaning(self, text: str) -> dict[str, str]:
        meaning = self.language.automaton.meaning(text)
        if meaning is None:
            raise ValueError(f"{text!r} is no text of world {self.size}")
        return meaning

    def _translated(self, split: str, texts: list[str]) -> list[Example]:
        translations = self._kept("t2t", split, lambda: [(self.language.translation(text),) for text in texts])
        return [
            Example(id=identifier(split, index), source=text, target=translations[index][0]) for index, text in enumerate(texts)
        ]

    def _paraphrased(self, split: str, texts: list[str]) -> list[Example]:
        references = self._references("t2t", texts, split)
        return [
            Example(
                id=identifier(split, index),
                source=text,
                target=references[index][1] if len(references[index]) > 1 else text,
                references=references[index][1:] if split == "test" else (),
            )
            for index, text in enumerate(texts)
        ]

    def _simplified(self, split: str, texts: list[str]) -> list[Example]:
        shortest = self._kept("t2t", split, lambda: self._realised(texts, split, lambda found, rng: (found.draw_shortest(rng),)))
        return [Example(id=identifier(split, index), source=text, target=shortest[index][0]) for index, text in enumerate(texts)]

    def _kept(self, family: Family, split: str, find: Callable[[], Rows]) -> Rows:
        """What belongs to the texts of a split, from the cache where it is there: each takes a millisecond or more to find."""
        return cached_texts(f"{self.fingerprint(family)}-{split}", find)

    def _references(self, family: Family, texts: list[str], split: str) -> Rows:
        """Each text, and then different texts that say the same."""

        def draws(found: Realisations, rng: np.random.Generator) -> tuple[str, ...]:
            return tuple(found.draw(rng) for _ in range(REFERENCES))

        others = self._kept(family, split, lambda: self._realised(texts, split, draws))
        return [tuple(dict.fromkeys([text, *more])) for text, more in zip(texts, others, strict=True)]

    def _realised(
        self, texts: list[str], split: str, choose: Callable[[Realisations, np.random.Generator], tuple[str, ...]]
    ) -> Rows:
        """Realisations of every text's meaning; meanings that share tables are taken together."""
        found = [Realisations(self.language.automaton, self._meaning(text)) for text in texts]
        chosen: list[tuple[str, ...]] = [()] * len(texts)
        rng = self._generator("realisations", split)
        for index in sorted(range(len(texts)), key=lambda index: (found[index].shares, index)):
            chosen[index] = choose(found[index], rng)
        return chosen


def identifier(split: str, index: int) -> str:
    """Stable id of an example."""
    return f"{split}-{index:06d}"
