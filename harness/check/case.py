"""The tiny task, generated on the spot, and one model that is tried on it in one family."""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.construction import begins_with, construct, sampling_keys
from harness.contracts import (
    Budget,
    Checkpoint,
    Content,
    Example,
    FitContext,
    FitReport,
    Generation,
    Likelihood,
    Pretraining,
    Request,
    Sampling,
    TaskView,
    TextModel,
    stream_seed,
)  # fmt: skip
from harness.design import Design, Family, Grain
from harness.errors import ModelError
from harness.pretrained import folder_of, tokenizer_of
from harness.registry import resolve
from harness.schedules.names import parse
from harness.tokenizer import EOS, PAD, Tokenizer

_ADJECTIVES = ("small", "red", "old", "quiet", "round", "bright")
_NOUNS = ("fox", "lamp", "river", "stone", "bird", "house")
_VERBS = ("sees", "holds", "finds", "likes")
_TRAIN, _VALID, _TEST = 224, 32, 12
CANVAS = 8
STEPS = 4
_POSITIONS = 64 * CANVAS * 12  # least at which an encoder-decoder's answers follow a condition, with any seed of four
_BRIEF = 64 * CANVAS * 4

Conditioned = TypeVar("Conditioned", Example, Request)


class InapplicableError(Exception):
    """A check that means nothing for this model."""


def require(holds: bool, message: str) -> None:
    """Fail a check with a message that says what was given, what was expected and what to do.

    Raises:
        ModelError: it does not hold.
    """
    if not holds:
        raise ModelError(message)


def examples(family: Family, count: int, seed: int) -> list[Example]:
    """Sentences of six words about one thing, which A2T names and which is learnt fast; T2T turns them around."""
    draw = random.Random(seed)
    return [_example(family, f"{seed}-{index}", draw) for index in range(count)]


def _example(family: Family, name: str, draw: random.Random) -> Example:
    noun = draw.choice(_NOUNS)
    text = f"the {draw.choice(_ADJECTIVES)} {noun} {draw.choice(_VERBS)} the {noun}"
    control = Content((("subject", noun), ("object", noun))) if family == "a2t" else None
    source = " ".join(reversed(text.split())) if family == "t2t" else None
    return Example(id=name, target=text, control=control, source=source)


def with_other_conditions(items: Sequence[Conditioned]) -> list[Conditioned]:
    """The same items, each with the condition of the next."""
    givers = (items[(place + 1) % len(items)] for place in range(len(items)))
    return [replace(item, source=giver.source, control=giver.control) for item, giver in zip(items, givers, strict=True)]


def view_of(family: Family, train: Sequence[Example], tokenizer: Tokenizer | None = None) -> TaskView:
    """The tiny task in its own tokens, or in those of a checkpoint; texts longer than the canvas are then cut."""
    conditions = [example.condition for example in train if example.condition is not None]
    if tokenizer is None:
        tokenizer = Tokenizer.train("words", [*(example.target for example in train), *conditions])
    count: Counter[int] = Counter()
    for example in train:
        ids = [*tokenizer.encode(example.target), EOS][:CANVAS]
        count.update([*ids, *[PAD] * (CANVAS - len(ids))])
    longest = max((len(tokenizer.encode(condition)) + 1 for condition in conditions), default=0)
    return TaskView(
        name="conformance", family=family, tokenizer=tokenizer, max_tokens=CANVAS, max_source_tokens=longest,
        unigram=tuple(count[index] for index in range(len(tokenizer))),
    )  # fmt: skip


class Case:
    """One model in one family, trained when the first check asks for it."""

    def __init__(
        self, model_class: Any, design: Design, family: Family, size: Mapping[str, Any], folder: Path, device: str
    ) -> None:
        self.model_class, self.design, self.family, self.size, self.folder = model_class, design, family, size, folder
        self.device = device
        self.train, self.test = examples(family, _VALID + _TRAIN, 1), examples(family, _TEST, 2)
        self.budget = Budget(tokens=_POSITIONS)

    @cached_property
    def view(self) -> TaskView:
        """What the model may know."""
        asked = self.begins_with
        return view_of(self.family, self.train, tokenizer_of(folder_of(asked.name)) if isinstance(asked, Checkpoint) else None)

    @cached_property
    def fitted(self) -> tuple[TextModel, FitReport]:
        """The trained model and what it reported."""
        return self._fit("fitted", self.design.schedule, self.budget)

    @cached_property
    def briefly_fitted(self) -> TextModel:
        """A model to be compared with others that are trained as briefly."""
        return self.fit_briefly("brief", self.design.schedule)

    def fit_briefly(self, name: str, schedule: str | None) -> TextModel:
        """A model trained from the start on a part of the budget, always with the same seed.

        Args:
            name: of its checkpoint folder; none twice, or it would resume.
            schedule: specification.
        """
        return self._fit(name, schedule, Budget(tokens=_BRIEF))[0]

    @cached_property
    def keys(self) -> dict[str, Any]:
        """Those of its keys that decide only how it samples."""
        return {name: value for name, value in self.size.items() if name in sampling_keys(self.model_class)}

    def fit_without_keys(self, name: str) -> TextModel:
        """As `fit_briefly`, by a model that has not heard of its sampling keys."""
        size = {name: value for name, value in self.size.items() if name not in self.keys}
        return self._fit(name, self.design.schedule, Budget(tokens=_BRIEF), size)[0]

    def _fit(
        self, name: str, schedule: str | None, budget: Budget, size: Mapping[str, Any] | None = None
    ) -> tuple[TextModel, FitReport]:
        model = construct(self.model_class, schedule, self.view, self.size if size is None else size)
        checkpoints = self.folder / name
        checkpoints.mkdir()
        context = FitContext(seed=1, device=self.device, folder=checkpoints, pretrained=self.pretrained)
        return model, model.fit(self.train[_VALID:], self.train[:_VALID], budget, context)

    @property
    def begins_with(self) -> Pretraining | Checkpoint | None:
        """With whose weights it begins."""
        return begins_with(self.model_class, {name: value for name, value in self.size.items() if name not in self.keys})

    @cached_property
    def pretrained(self) -> Path | None:
        """Where the model was saved with whose weights this one begins, trained when it is first asked for."""
        asked = self.begins_with
        if asked is None:
            return None
        if isinstance(asked, Checkpoint):
            return folder_of(asked.name)
        model = construct(resolve("models", asked.model).load(), None, self.view, asked.keys)
        budget = Budget(tokens=asked.tokens or self.budget.tokens)
        model.fit(self.train[_VALID:], self.train[:_VALID], budget, FitContext(seed=0, device=self.device))
        model.save(self.folder / "pretrained")
        return self.folder / "pretrained"

    @property
    def model(self) -> TextModel:
        """The trained model."""
        return self.fitted[0]

    @property
    def grain(self) -> Grain | None:
        """Grain of the native schedule; `None` where nothing is scheduled."""
        return parse(self.design.schedule).grain if self.design.schedule is not None else None

    @property
    def table(self) -> int | None:
        """Steps T of the native schedule; `None` for closed forms and where nothing is scheduled."""
        found = re.search(r"@(\d+)", self.design.schedule or "")
        return int(found[1]) if found else None

    @property
    def speaks_the_tasks_tokens(self) -> bool:
        """Whether ids and token counts are those of the task's tokenizer."""
        return self.design.tokenizer == "task"

    def requests(self, *, seed: int = 3, candidates: int = 1) -> list[Request]:
        """One for each test example."""
        return [
            Request(
                id=example.id, seed=stream_seed(seed, example.id), max_tokens=CANVAS, source=example.source,
                control=example.control, n=candidates,
            )
            for example in self.test
        ]  # fmt: skip

    def settings(self, *, steps: int = STEPS, **changes: Any) -> Sampling:
        """Few steps for models that have any."""
        return Sampling(steps=steps if self.design.kind == "diffusion" else None, **changes)

    def generate(self, requests: Sequence[Request], **changes: Any) -> list[Generation]:
        """Answers to requests."""
        return self.model.generate(requests, self.settings(**changes))

    def texts(self, requests: Sequence[Request], **changes: Any) -> dict[str, tuple[str, ...]]:
        """Request -> its texts."""
        return {generation.id: generation.texts for generation in self.generate(requests, **changes)}

    def texts_of(self, other: TextModel) -> dict[str, tuple[str, ...]]:
        """Request -> the texts of another model."""
        return {generation.id: generation.texts for generation in other.generate(self.requests(), self.settings())}

    @cached_property
    def likelihood(self) -> Likelihood | None:
        """What the trained model says of the test examples."""
        return self.model.likelihood(self.test)
