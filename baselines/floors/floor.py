"""What the floors share: no schedule, no network, JSON on disk, randomness from the request's seed alone."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.construction import view_from_json, view_to_json
from harness.contracts import (
    Budget,
    Example,
    FitContext,
    FitReport,
    Generation,
    Likelihood,
    Request,
    Sampling,
    TaskView,
    stream_seed,
)
from harness.design import Design
from harness.errors import ModelError
from harness.schedules.base import Schedule
from harness.tokenizer import EOS

_FILE = "floor.json"
Saved = TypeVar("Saved", bound="Floor")


class Floor(ABC):
    """A `TextModel` that learns nothing worth the name; a subclass says how it counts and how it answers.

    The budget is not spent: the whole training split is read once.
    """

    design: Design

    def __init__(self, schedule: Schedule | None, task: TaskView, **size: Any) -> None:
        self.design_for(**size)
        self.task = task

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """The one design.

        Raises:
            ValueError: there are no keys.
        """
        if size:
            raise ValueError(f"{cls.design.name} has no keys; given: {', '.join(sorted(size))}")
        return cls.design

    @abstractmethod
    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Count."""

    @abstractmethod
    def answer(self, request: Request, candidate: int, settings: Sampling) -> tuple[str, tuple[int, ...]]:
        """One candidate: its text and its ids, up to and including EOS where there is one."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""

    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Answer every request by itself, so that batches change nothing."""
        return [self._generation(request, settings) for request in requests]

    def _generation(self, request: Request, settings: Sampling) -> Generation:
        answers = [self.answer(request, candidate, settings) for candidate in range(request.n)]
        return Generation(
            id=request.id,
            texts=tuple(text for text, _ in answers),
            ids=tuple(ids for _, ids in answers),
            finish_reasons=tuple("eos" if ids and ids[-1] == EOS else "length" for _, ids in answers),
        )

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """None, unless the floor is a distribution."""
        return None

    def save(self, folder: Path) -> None:
        """Write one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"task": view_to_json(self.task), "state": self.state()}
        (folder / _FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls: type[Saved], folder: Path, device: str) -> Saved:
        """The floor as it was saved; the device does not matter.

        Raises:
            ModelError: the folder holds no floor.
        """
        if not (folder / _FILE).is_file():
            raise ModelError(f"{folder}: expected {_FILE}; found {sorted(item.name for item in folder.glob('*'))}")
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        model = cls(None, view_from_json(content["task"]))
        model.restore(content["state"])
        return model

    def cut(self, text: str, request: Request) -> tuple[str, tuple[int, ...]]:
        """A text that was not made of tokens, within the limit of the request."""
        ids = tuple([*self.task.tokenizer.encode(text), EOS][: request.max_tokens])
        return (text if ids[-1] == EOS else self.task.tokenizer.decode(ids)), ids


def plain_sampling(design: Design, settings: Sampling) -> None:
    """Check that nothing but drawing from the law itself is asked for.

    Raises:
        ModelError: another method, temperature or nucleus.
    """
    if settings.method != "sample" or settings.temperature != 1.0 or settings.top_p != 1.0:
        raise ModelError(
            f"{design.name} draws from its own law; it knows no method {settings.method!r} with temperature "
            f"{settings.temperature} and top_p {settings.top_p}. Use `method: sample` with both at 1."
        )


def request_generator(request: Request, name: str, candidate: int) -> np.random.Generator:
    """Random numbers of one candidate."""
    return np.random.default_rng(stream_seed(request.seed, name, candidate))


def trained(state: Any, design: Design) -> Any:
    """The fitted state.

    Raises:
        ModelError: there is none yet.
    """
    if state is None:
        raise ModelError(f"{design.name} was asked before it was fitted: call fit or load first")
    return state
