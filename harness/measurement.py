"""What metrics are to the harness: texts and references in, one number with its uncertainty out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from harness.contracts import Example, Generation, Likelihood, Task, TaskView
from harness.design import Family

BOUND = "upper bound"
"""Flag of a value that is known from above only; tables put `<=` before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One number with its uncertainty.

    Attributes:
        value: the point estimate; `None` where the metric declines, with `reason`.
        low, high: 95 % interval; `None` where none can be given.
        n: items behind it.
        signature: everything that must agree before two values may be compared.
        flags: what a reader must know ("flagged: n below 1000", "not ranked").
        items: one number or one row of numbers for each example, in their order, for later tests without re-scoring; `None`
            where the metric has none.
        aggregate: how items make the value: a name of `harness.metrics.aggregates`.
        of_targets: whether items say something of the test targets, which are the same for all models, and not of samples.
    """

    value: float | None
    n: int
    signature: str
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    flags: tuple[str, ...] = ()
    items: tuple[float, ...] | tuple[tuple[float, ...], ...] | None = None
    aggregate: str = "mean"
    of_targets: bool = False


@runtime_checkable
class Scorer(Protocol):
    """The judge, or a model in its place: scores and embeds text that it did not write.

    It may offer `likelihood_after_first(texts)`: likelihood of every token after the first, EOS left out, for definitions of
    the literature; `None` where it cannot.
    """

    signature: str

    def likelihood_of_texts(self, texts: Sequence[str]) -> Likelihood:
        """Exact negative log-likelihood of unconditioned texts."""
        ...

    def features(self, texts: Sequence[str]) -> Any:
        """Feature vectors as a float32 array [n, width]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a metric may look at.

    Attributes:
        task: the task object (metrics of one task know its type).
        examples: test examples, aligned with `texts`.
        texts: the selected text of every example.
        generations: the raw generations, aligned with `examples`.
        train: training examples of the contestants.
        view: the tokenised view of the task.
        profile: name of the profile, which fixes n and seeds.
        likelihood: the model's own likelihood of the test targets; `None` where it has none.
        own_tokenizer: digest of the tokenizer whose tokens that likelihood counts; `None` where it is the task's.
        judge: the scorer; `None` where the metric did not ask for it.
        seed: for resampling.
    """

    task: Task
    family: Family
    examples: Sequence[Example]
    texts: Sequence[str]
    generations: Sequence[Generation]
    train: Sequence[Example]
    view: TaskView
    profile: str
    likelihood: Likelihood | None = None
    own_tokenizer: str | None = None
    judge: Scorer | None = None
    seed: int = 0


@runtime_checkable
class Metric(Protocol):
    """A metric, registered under `harness.metrics`; one object may give several named values.

    Attributes:
        name: registered name, the prefix or the name of its values.
        version: raised whenever a change can move a number.
        families: where it applies.
        needs: stages it depends on beside the generations: any of "judge", "likelihood".
        values: name of every value -> True where higher is better, False where lower is, `None` where neither.

    A metric may offer `libraries`, names of installed packages: another version of one of them is another number to measure;
    `depends_on() -> Mapping[str, str | None]`, what else its numbers depend on, such as the sha256 of weights in a folder;
    `of_task`, in words, what of a task it reads beside texts and references, without which texts from elsewhere cannot be
    scored; and `exposes`, name of a value -> names of the canaries that it must put below every real model.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    families: ClassVar[tuple[Family, ...]]
    needs: ClassVar[tuple[str, ...]]
    values: ClassVar[Mapping[str, bool | None]]

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure; a refusal is a `Measurement` whose value is `None` and whose reason says why.

        Raises:
            MeasurementRefused: none of the values can be given.
        """
        ...


def cluster_of(name: str, condition: str | None) -> str:
    """What an item is one observation of: its source or control, which others may share; else its id before `#`.

    The sign tells repetitions of one item apart.

    Args:
        name: id of the item.
        condition: source, or canonical text of the control; `None` without one.
    """
    return name.partition("#")[0] if condition is None else condition
