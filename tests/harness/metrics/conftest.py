"""A small evaluation, and a judge that needs no training."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest

from harness.contracts import Example, Generation, Likelihood, TaskData, TaskView
from harness.measurement import Evaluation
from harness.tokenizer import Tokenizer

TEXT = "the a old new cat dog bird sees hears follows red blue river , . house very often never"
WORDS = TEXT.split()


class FakeTask:
    name = "fake"
    version = 1
    families = ("ucg", "a2t", "t2t")

    def fingerprint(self, family: str) -> str:
        return "fake"

    def check(self) -> None:
        return None

    def load(self, family: str) -> TaskData:
        raise NotImplementedError

    def metrics(self, family: str) -> tuple[str, ...]:
        return ()


class FakeScorer:
    """Every word costs a number of nats that its hash decides; features are pseudo-random by words, plus their number."""

    signature = "fake-judge@1"

    def likelihood_of_texts(self, texts: Sequence[str]) -> Likelihood:
        costs = [[1.0 + _share(word) for word in [*text.split(), "<eos>"]] for text in texts]
        return Likelihood(
            nats=tuple(sum(row) for row in costs),
            tokens=tuple(len(row) for row in costs),
            bytes=tuple(len(text.encode()) for text in texts),
            kind="exact",
            estimator="fake",
        )

    def features(self, texts: Sequence[str]) -> np.ndarray:
        words = {word for text in texts for word in text.split()}
        table = {word: np.random.default_rng(int(_share(word) * 2**40)).normal(size=16) for word in words}
        rows = [sum((table[word] for word in text.split()), start=np.ones(16)) for text in texts]
        return np.array(rows, dtype=np.float32)


def _share(word: str) -> float:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big") / 2**48


def sentences(n: int, seed: int) -> list[str]:
    return list(_drawn(n, seed))


@cache
def _drawn(n: int, seed: int) -> tuple[str, ...]:
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, len(WORDS) + 1)
    return tuple(" ".join(rng.choice(WORDS, size=rng.integers(3, 12), p=shares / shares.sum())) for _ in range(n))


@pytest.fixture
def make_sentences() -> Callable[[int, int], list[str]]:
    return sentences


@pytest.fixture
def make_evaluation() -> Callable[..., Evaluation]:
    return evaluation


def evaluation(
    texts: Sequence[str],
    *,
    references: Sequence[Sequence[str]] | None = None,
    family: str = "ucg",
    profile: str = "smoke",
    finish: str | None = "eos",
    likelihood: Likelihood | None = None,
    judged: bool = True,
) -> Evaluation:
    accepted = references if references is not None else [[text] for text in sentences(len(texts), 99)]
    examples = [
        Example(id=f"item-{index:05d}", target=refs[0], source=f"x{index}" if family == "t2t" else None, references=tuple(refs))
        for index, refs in enumerate(accepted)
    ]
    answers = [
        Generation(id=example.id, texts=(text,), finish_reasons=(finish,) if finish else ())
        for example, text in zip(examples, texts, strict=False)
    ]
    tokenizer = Tokenizer.train("words", [" ".join(WORDS)])
    return Evaluation(
        task=FakeTask(),
        family=family,
        examples=examples,
        texts=list(texts),
        generations=answers,
        train=[],
        view=TaskView(name="fake", family=family, tokenizer=tokenizer, max_tokens=16),
        profile=profile,
        likelihood=likelihood,
        judge=FakeScorer() if judged else None,
    )
