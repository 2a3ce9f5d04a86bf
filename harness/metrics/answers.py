"""What every metric needs before and after its own arithmetic: checked texts, a generator for resampling, refusals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from harness.contracts import stream_seed
from harness.errors import MeasurementRefused
from harness.measurement import Evaluation, Measurement, Metric, cluster_of
from harness.metrics.profiles import profile
from harness.stats.intervals import LEAST, Aggregate, Interval, clustered_bootstrap, clustered_wilson


def measurements(metric: Metric, evaluation: Evaluation) -> dict[str, Measurement]:
    """What a metric measures, with every value a finite number or absent with a reason."""
    try:
        found = metric(evaluation)
    except MeasurementRefused as refused:
        return refusals(metric.values, str(refused), n=len(evaluation.texts), signature=metric.name)
    return {name: _number_or_reason(metric, value) for name, value in found.items()}


def _number_or_reason(metric: Metric, found: Measurement) -> Measurement:
    if found.value is None:
        return found if found.reason else replace(found, reason=f"metric {metric.name} gave neither a value nor a reason")
    if not math.isfinite(found.value):
        return refusal(f"metric {metric.name} gave {found.value}", n=found.n, signature=found.signature)
    if all(end is None or math.isfinite(end) for end in (found.low, found.high)):
        return found
    return replace(found, low=None, high=None, flags=(*found.flags, "no interval: its ends are not finite"))


def checked_texts(evaluation: Evaluation) -> list[str]:
    """The selected texts, one per example.

    Raises:
        ValueError: not one text per example, or something that is no text.
    """
    texts, examples = evaluation.texts, evaluation.examples
    if isinstance(texts, str) or len(texts) != len(examples):
        given = "a single string" if isinstance(texts, str) else f"{len(texts)} texts"
        raise ValueError(f"{given} for {len(examples)} examples: expected one text per example, empty ones included")
    wrong = next((index for index, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise ValueError(f"text {wrong} (example {examples[wrong].id!r}) is {type(texts[wrong]).__name__}, expected a string")
    return list(texts)


def resampling(evaluation: Evaluation, name: str) -> np.random.Generator:
    """The generator of one value, so that no metric moves another's interval."""
    return np.random.default_rng(stream_seed(evaluation.seed, "bootstrap", name))


def resamples(evaluation: Evaluation) -> int:
    """Bootstrap resamples of the profile."""
    return profile(evaluation.profile).resamples


def clusters(evaluation: Evaluation) -> list[str]:
    """What each example is one observation of: examples that share a source or a control are one, and so are repetitions."""
    return [cluster_of(example.id, example.condition) for example in evaluation.examples]


def over_items(
    evaluation: Evaluation, statistics: Float[np.ndarray, "n K"], aggregate: Aggregate, *, name: str
) -> Interval | None:
    """Bootstrap interval of a value over items; those of one source or control stay together.

    Args:
        evaluation: whose examples the statistics belong to, one row each.
        statistics: one row of additive statistics per example.
        aggregate: sums [R, K] -> values [R].
        name: name of the value.
    """
    rng = resampling(evaluation, name)
    return clustered_bootstrap(statistics, clusters(evaluation), aggregate, resamples=resamples(evaluation), rng=rng)


def share(evaluation: Evaluation, hits: Sequence[bool], *, signature: str, flags: tuple[str, ...] = ()) -> Measurement:
    """A share of the examples with Wilson's interval, in which those of one source or control go together."""
    rows = np.stack([np.array(hits, dtype=np.float64), np.ones(len(hits))], axis=1)
    interval = clustered_wilson(rows, clusters(evaluation))
    return measured(sum(hits) / len(hits), interval, n=len(hits), signature=signature, flags=flags, items=rows[:, 0])


def why_nothing(texts: Sequence[str]) -> str | None:
    """Why texts say nothing: there are none, or all are empty; `None` where one says something."""
    if not texts:
        return "no items"
    return None if any(text.strip() for text in texts) else f"all {len(texts)} texts are empty"


def empty_flags(texts: Sequence[str]) -> tuple[str, ...]:
    """Flag that counts empty texts; they are scored, never dropped."""
    empty = sum(not text.strip() for text in texts)
    return (f"{empty} empty text{'s' * (empty > 1)}",) if empty else ()


def measured(
    value: float,
    interval: Interval | None,
    *,
    n: int,
    signature: str,
    flags: tuple[str, ...] = (),
    items: np.ndarray | None = None,
    aggregate: str = "mean",
    of_targets: bool = False,
    no_interval: str = f"fewer than {LEAST} items move the value",
) -> Measurement:
    """A measurement, or a refusal where the value is not finite.

    Args:
        value: point estimate.
        interval: 95 % interval.
        n: items behind it.
        signature: what must agree before comparing.
        flags: what a reader must know.
        items: per-example statistics [n] or [n, K].
        aggregate, of_targets: as in `Measurement`.
        no_interval: why the interval is `None`; becomes a flag.
    """
    if not math.isfinite(value):
        return refusal(f"the value is {value}", n=n, signature=signature)
    flags = flags if interval else (*flags, f"no interval: {no_interval}")
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Measurement(
        value=float(value), n=n, signature=signature, low=low, high=high, flags=flags,
        items=None if items is None else _plain(np.asarray(items, dtype=np.float64)), aggregate=aggregate, of_targets=of_targets,
    )  # fmt: skip


def _plain(items: np.ndarray) -> tuple[float, ...] | tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, items.tolist())) if items.ndim > 1 else tuple(items.tolist())


def refusal(reason: str, *, n: int, signature: str) -> Measurement:
    """An absent value with its reason."""
    return Measurement(value=None, n=n, signature=signature, reason=reason)


def refusals(names: Mapping[str, bool | None], reason: str, *, n: int, signature: str) -> dict[str, Measurement]:
    """The same refusal for every value of a metric."""
    return {name: refusal(reason, n=n, signature=signature) for name in names}
