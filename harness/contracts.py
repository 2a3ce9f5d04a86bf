"""What models, tasks and metrics are to the harness: text in, text out.

What a plug-in author of a model or a task needs is here; metrics are in `harness.measurement`. No heavy library is imported.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.controls import Content, Control, Label, Length, PartsOfSpeech, Spans, Tree
from harness.design import Design, Family

if TYPE_CHECKING:
    import torch

    from harness.schedules.base import Schedule
    from harness.tokenizer import Tokenizer

__all__ = [
    "Budget", "Checkpoint", "Content", "Control", "Example", "Family", "FitContext", "FitReport", "Generation", "Label", "Length",
    "Likelihood", "PartsOfSpeech", "Pretraining", "Request", "Sampling", "Spans", "Task", "TaskData", "TaskView", "TextModel",
    "Tree",
]  # fmt: skip


# --- examples, requests, answers -------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One item of a task.

    Attributes:
        id: stable identifier, the key by which items are paired between systems.
        target: the text to be modelled.
        source: text to be rewritten or translated (T2T).
        control: attributes to be said (A2T).
        references: every acceptable text known; empty means that `target` is the only one.
    """

    id: str
    target: str
    source: str | None = None
    control: Control | None = None
    references: tuple[str, ...] = ()

    @property
    def condition(self) -> str | None:
        """The source, or the control's canonical text; `None` for unconditional generation."""
        return self.source if self.source is not None else self.control.text if self.control is not None else None

    @property
    def accepted(self) -> tuple[str, ...]:
        """All references, at least the target."""
        return self.references or (self.target,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One text asked for.

    Attributes:
        id: the example's id.
        seed: 63-bit seed of this request; its noise depends on nothing else.
        n: number of candidates.
        max_tokens: longest answer in the task's tokens, EOS included.
        template: text with gaps to be filled; `None` where nothing is pinned.
    """

    id: str
    seed: int
    max_tokens: int
    source: str | None = None
    control: Control | None = None
    template: str | None = None
    n: int = 1

    @property
    def condition(self) -> str | None:
        """The source, or the control's canonical text; `None` for unconditional generation."""
        return self.source if self.source is not None else self.control.text if self.control is not None else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """The answer to one request.

    Attributes:
        texts: the candidates, `Request.n` of them.
        ids: their token ids up to and including EOS; `None` where the model has no tokens.
        finish_reasons: "eos" or "length" for each candidate.
        network_calls: forward evaluations of the network for this request: as many as if each candidate went through it
            alone, all candidates added up. The beams of a search go together.
        steps_used: sampler steps; `None` where there are none.
        positions_processed: positions that went through the network in these calls, prefixes and all beams included.
    """

    id: str
    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...] | None = None
    finish_reasons: tuple[str, ...] = ()
    network_calls: int = 0
    steps_used: int | None = None
    positions_processed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """Negative log-likelihood of texts under a model.

    Attributes:
        nats: one value per example: the text, EOS included, and its padding where the model writes that too.
        tokens: tokens of the text per example, EOS included, padding not, scored or not.
        bytes: UTF-8 bytes per example; 0 for a target that the model's own tokenizer does not spell.
        kind: "exact", or "bound" for an upper bound on the negative log-likelihood.
        estimator: tag of the estimator ("ar-exact", "discrete-T").
        mc_errors: Monte-Carlo standard error per example, in nats; `None` where nothing was sampled.
    """

    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]
    kind: Literal["exact", "bound"]
    estimator: str
    mc_errors: tuple[float, ...] | None = None


# --- budgets and settings --------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a model may spend on training: never seconds, so that it means the same on every machine.

    Attributes:
        tokens: positions of target canvas seen in training, padding included (a batch of B canvases of length L is B * L).
        parameters: target number of parameters; `None` leaves the size to the model.
    """

    tokens: int
    parameters: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretraining:
    """A model with whose weights another begins. A grid trains it once on the task's training texts, in a stage of its own.

    All systems and seeds that ask for the same one share it.

    Attributes:
        model: its registered name, or `file.py:Name`.
        keys: what it is constructed with.
        tokens: its budget; `None` = as many as the model that begins with it.
    """

    model: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Weights that others pretrained with which a model begins; its tokenizer cuts the texts of that model.

    Attributes:
        name: absolute path of a folder, or a name in the hub's local cache.
        sha256: of what is read there, which makes it part of every key; see `harness.pretrained.digest_of_folder`.
    """

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to decode: the decode card of a row.

    Attributes:
        steps: reverse steps of a diffusion sampler; `None` for models without steps.
        method: "sample", "greedy" or "beam"; diffusion samplers know "sample" only.
        temperature: divides logits, or log-probabilities of x0, above 0; 1 leaves the model as it is.
        top_p: nucleus; 1 keeps everything.
        beams: width of beam search.
        fixed_length: EOS is ignored and exactly `max_tokens` tokens are written (latency passes).
        micro_batch: jobs that go through the network together, each candidate and each beam being one; changes no result
            and is in no key.

    Raises:
        ValueError: a temperature that divides nothing.
    """

    steps: int | None = None
    method: Literal["sample", "greedy", "beam"] = "sample"
    temperature: float = 1.0
    top_p: float = 1.0
    beams: int = 1
    fixed_length: bool = False
    micro_batch: int = 64

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature}, expected above 0; the most probable tokens are method 'greedy'")


def stream_seed(seed: int, *names: str | int) -> int:
    """63-bit seed of a named stream, so that a draw added to one stream moves no other.

    Args:
        seed: the run's seed.
        names: path of the stream, such as ("noise", step).
    """
    digest = hashlib.sha256("/".join([str(seed), *map(str, names)]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """Everything around a training run that is not the model, the data or the budget.

    Attributes:
        seed: source of all streams ("data", "init", "time", "noise").
        device: torch device name.
        folder: checkpoint folder; training resumes from what it holds.
        progress: called with the share done in [0, 1] and the latest loss.
        micro_batch: largest batch that goes through the network at once; `None` = the whole batch. Gradients are
            accumulated, so the result is the same up to floating point.
        pretrained: folder in which the model or checkpoint lies that this one begins with; `None` where it begins with none.
    """

    seed: int
    device: str = "cpu"
    folder: Path | None = None
    progress: Callable[[float, float], None] = field(default=lambda share, loss: None)
    micro_batch: int | None = None
    pretrained: Path | None = None

    def generator(self, *names: str | int) -> "torch.Generator":
        """A CPU generator at the start of the named stream."""
        import torch

        return torch.Generator().manual_seed(stream_seed(self.seed, *names))


@dataclass(frozen=True, kw_only=True, slots=True)
class FitReport:
    """What a training run used.

    Attributes:
        tokens: canvas positions seen.
        parameters: trainable parameters.
        updates: optimiser updates; 0 for counted models.
        losses: (tokens seen, training loss in nats per position) along the way.
        valid_loss: loss on the validation split with the weights that are kept; `None` where not computed.
        flops: estimated training FLOPs (6 * parameters * positions); `None` where that means nothing.
        schedule_updates: refits of an adaptive schedule; `None` where nothing adapts.
        seconds: time spent, before a resume too; `None` = what the harness sees of it, which a resume cuts short.
    """

    tokens: int
    parameters: int
    updates: int = 0
    losses: tuple[tuple[int, float], ...] = ()
    valid_loss: float | None = None
    flops: float | None = None
    schedule_updates: int | None = None
    seconds: float | None = field(default=None, compare=False)


# --- tasks -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class TaskData:
    """The splits of one task in one family.

    Attributes:
        name: the task ("world"); `variant` tells its parameters apart ("small").
        digest: sha256 over everything that decides the examples (version, parameters, source checksums).
        tokenizer: how its text is cut: "words" (by spaces), "characters" or "bpe".
        train: for contestants only.
        judge: for the judge only; disjoint from `train`.
        test: what is generated for and scored against.
        max_tokens: longest target in tokens, EOS included, where the task fixes it; `None` = 99th percentile of train.
    """

    name: str
    family: Family
    digest: str
    tokenizer: Literal["words", "characters", "bpe"]
    train: Sequence[Example]
    valid: Sequence[Example]
    test: Sequence[Example]
    judge: Sequence[Example]
    max_tokens: int | None = None


@runtime_checkable
class Task(Protocol):
    """A source of examples, registered under `harness.tasks`.

    The constructor takes the parameters that a grid may set (such as `size`) as keyword arguments and reads no data.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    families: ClassVar[tuple[Family, ...]]

    def fingerprint(self, family: Family) -> str:
        """Digest that decides the examples, without reading or making them; equals `TaskData.digest`."""
        ...

    def check(self) -> None:
        """Raise `DataError` where a file is missing or corrupt; cheap enough to run before a grid."""
        ...

    def load(self, family: Family) -> TaskData:
        """Read or generate the splits of a family."""
        ...

    def metrics(self, family: Family) -> tuple[str, ...]:
        """Names of the metrics that a grid with `metrics: default` computes."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """What a model may know of its task: how text becomes ids, how long it may get, how often each token occurs.

    Attributes:
        max_tokens: canvas length L of targets, EOS included.
        max_source_tokens: longest condition N in tokens, EOS included; 0 for unconditional generation.
        unigram: count of every token id in the training targets (canvases, padding included), for the schedules
            that need it.
    """

    name: str
    family: Family
    tokenizer: "Tokenizer"
    max_tokens: int
    max_source_tokens: int = 0
    unigram: tuple[int, ...] = ()


# --- models ----------------------------------------------------------------------------------------------------------
@runtime_checkable
class TextModel(Protocol):
    """The adapter: what a system must offer to be measured.

    The class is constructed as `Model(schedule, task, **size)`: the schedule object (`None` for models without one), a
    `TaskView`, and whatever keys the grid gives beside the model's name. A class whose design depends on those keys
    offers `design_for(**size) -> Design` as a class method; one that can meet a parameter target offers
    `size_for(parameters, task, **size) -> dict`, the keys to construct it with. Keys that decide how texts are sampled, but
    neither what is learnt nor the likelihood, may be named in `sampling_keys`, a tuple: one training then serves all their
    values. `fit` does not hear of them; `load(folder, device, **keys)` gets those that the grid gives. A class that begins with
    another model offers `begins_with(**size) -> Pretraining | Checkpoint | None` as a class method; `fit` finds that model, as it
    was saved, in `run.pretrained`. With a checkpoint the `TaskView` is one in the checkpoint's own tokens. A class that needs
    several steps for a text offers `least_steps(max_tokens, **size) -> int` as a class method: once a grid knows how long its
    texts get, it skips the cells with fewer. Keys with their defaults may stand in `defaults`, a mapping, what they mean in the
    docstring: `harness list models NAME` shows both.
    """

    design: Design

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Train within the budget."""
        ...

    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Answer every request, in order."""
        ...

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """Likelihood of the targets given their conditions; `None` where the model has none."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs."""
        ...

    @classmethod
    def load(cls, folder: Path, device: str) -> "TextModel":
        """The model as it was saved."""
        ...


@runtime_checkable
class ModelClass(Protocol):
    """The class of a `TextModel`."""

    design: Design

    def __call__(self, schedule: "Schedule | None", task: TaskView, **size: Any) -> TextModel:
        """Construct an untrained model."""
        ...
