"""A made-up language small enough to learn in seconds."""

import random

import pytest

from baselines.discrete import DiscreteAdapter
from harness.contracts import Example, FitContext, Request, TaskView, stream_seed
from harness.tokenizer import Tokenizer

NOUNS = {"dog": "barks", "cat": "sleeps", "dogs": "bark", "cats": "sleep"}


def sentence(draw: random.Random) -> str:
    noun = draw.choice(sorted(NOUNS))
    return " ".join(["the", *draw.sample(["old", "red", "small"], draw.randint(0, 2)), noun, NOUNS[noun], "."])


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [sentence(draw) for _ in range(count)]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return sentences(600)


@pytest.fixture(scope="session")
def tokenizer(texts) -> Tokenizer:
    return Tokenizer.train("words", [*texts, "say :"])


@pytest.fixture(scope="session")
def unconditional(texts) -> list[Example]:
    return [Example(id=f"u/{number}", target=text) for number, text in enumerate(texts)]


@pytest.fixture(scope="session")
def conditional(texts) -> list[Example]:
    """The source names the noun; the answer is a sentence about it."""
    return [
        Example(id=f"c/{number}", target=text, source=f"say : {next(word for word in text.split() if word in NOUNS)}")
        for number, text in enumerate(texts)
    ]


@pytest.fixture(scope="session")
def ucg_view(tokenizer) -> TaskView:
    return TaskView(name="toy", family="ucg", tokenizer=tokenizer, max_tokens=8)


@pytest.fixture(scope="session")
def t2t_view(tokenizer) -> TaskView:
    return TaskView(name="toy", family="t2t", tokenizer=tokenizer, max_tokens=8, max_source_tokens=4)


@pytest.fixture
def run(tmp_path) -> FitContext:
    return FitContext(seed=1, folder=tmp_path / "checkpoints")


@pytest.fixture(scope="session")
def requests_for():
    def make(examples, count, max_tokens=8, n=1):
        return [
            Request(id=item.id, seed=stream_seed(5, item.id), max_tokens=max_tokens, source=item.source, n=n)
            for item in examples[:count]
        ]

    return make


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Bounds of a handful of texts by models that have learnt nothing would take all their draws, for no test's sake."""
    monkeypatch.setattr(DiscreteAdapter, "most_draws", 64)
