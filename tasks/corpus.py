"""What the tasks on real text share: pinned sources, digest, folds. Each data set says only how its files are read."""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.contracts import Example, Family, TaskData
from harness.errors import IncompatibleCell
from tasks.fetch import Source, sources_of, verified
from tasks.splits import capped, divide

UCG_METRICS = (
    "likelihood", "judge-perplexity", "mauve", "frechet", "mmd", "two-sample", "ngram-divergence", "diversity", "self-bleu",
    "memorisation", "lengths",
)  # fmt: skip
CONDITIONAL_METRICS = ("bleu", "chrf", "likelihood", "diversity", "lengths")
A2T_METRICS = (*CONDITIONAL_METRICS, "judge-perplexity", "memorisation")
T2T_METRICS = (*CONDITIONAL_METRICS, "rouge", "copying")


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The splits as the data set publishes them; `valid` is `None` where it has none."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...] | None
    test: tuple[Example, ...]


class Corpus(ABC):
    """A task on files of `sources.toml`; implements `harness.contracts.Task`.

    Subclasses set the class attributes and `read`; those with parameters of their own extend `parameters`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]]
    tokenizer: ClassVar[Literal["words", "characters", "bpe"]] = "bpe"
    max_tokens: int | None = None

    def __init__(self, *, limit: int | None = None) -> None:
        """Take the parameters; no data is read.

        Args:
            limit: most training examples that contestants get, chosen by hash of the text; `None` = all. The judge's
                fold, validation and test are never cut.

        Raises:
            ValueError: limit below 1.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"{self.name}: limit is {limit}; expected at least 1, or null for all training examples")
        self.limit = limit

    @abstractmethod
    def read(self, family: Family) -> Splits:
        """Read the published splits from the source files."""

    def parameters(self) -> dict[str, int | None]:
        """The parameters that decide the examples."""
        return {"limit": self.limit}

    def sources(self) -> tuple[Source, ...]:
        """The files that it reads."""
        return sources_of(self.name)

    def source(self, name: str) -> Source:
        """One of the files, by the last part of its name."""
        return next(source for source in self.sources() if source.name == f"{self.name}/{name}")

    def check(self) -> None:
        """See that every file is here and whole; downloads nothing.

        Raises:
            DataError: a file is missing or corrupt.
        """
        for source in self.sources():
            verified(source)

    def fingerprint(self, family: Family) -> str:
        """sha256 over name, version, family, parameters and the checksums of the sources; reads no data."""
        facts = {
            "task": self.name,
            "version": self.version,
            "family": family,
            "parameters": self.parameters(),
            "sources": {source.name: [source.sha256, source.member] for source in self.sources()},
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def load(self, family: Family) -> TaskData:
        """Read the files and divide the training split.

        Raises:
            DataError: a file is missing, corrupt or cannot be downloaded.
            IncompatibleCell: the data set has no such family.
        """
        if family not in self.families:
            raise IncompatibleCell(f"task {self.name!r} has no family {family!r}; it has {', '.join(self.families)}")
        splits = self.read(family)
        folds = divide(splits.train, valid=splits.valid)
        return TaskData(
            name=self.name,
            family=family,
            digest=self.fingerprint(family),
            tokenizer=self.tokenizer,
            train=capped(folds.train, self.limit),
            valid=folds.valid,
            test=splits.test,
            judge=folds.judge,
            max_tokens=self.max_tokens,
        )

    def metrics(self, family: Family) -> tuple[str, ...]:
        """Unconditional text is held against a corpus, other text against references, a rewriting against its source too.

        A text that says what was asked must be fluent, and no copy, as well.
        """
        return {"ucg": UCG_METRICS, "a2t": A2T_METRICS, "t2t": T2T_METRICS}[family]

    def example_id(self, split: str, index: int) -> str:
        """Stable id such as "e2e/test/17"; the index counts from 0 in the order of the published split."""
        return f"{self.name}/{split}/{index}"

    def texts(self, split: str, texts: list[str]) -> tuple[Example, ...]:
        """Unconditional examples of one split."""
        return tuple(Example(id=self.example_id(split, index), target=text) for index, text in enumerate(texts))

    def pairs(self, split: str, pairs: list[tuple[str, str]]) -> tuple[Example, ...]:
        """Examples of one split from pairs of source and target."""
        return tuple(
            Example(id=self.example_id(split, index), source=source, target=target)
            for index, (source, target) in enumerate(pairs)
        )
