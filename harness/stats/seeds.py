"""A value measured with several training seeds: what seeds add to its uncertainty, what items add, and both together.

Seeds s = 1..S are rows, items (or clusters of items) i = 1..n columns. A jackknife turns any corpus statistic into a table of
pseudo-values (Tukey 1958). Where item i asks the same of every seed (a source to translate), the table is a two-way layout in
which seeds and items are both random: the variance of the mean is what seeds show, plus what items show, minus the interaction,
which both hold. Where every seed has items of its own (unconditional samples), what seeds show is all of it. Degrees of freedom
after Satterthwaite 1946 (Biometrics Bulletin 2): a percentile bootstrap over 3 to 10 seeds covers 79 to 90 % only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from harness.stats.intervals import CONFIDENCE, LEAST, Aggregate, Interval, bootstrap, cluster_sums

PRETEST = 0.01
"""Level of the tests that decide which variances are kept apart: what they find by chance makes intervals too wide."""

Basis = Literal["items", "seeds", "seeds and items"]


@dataclass(frozen=True, slots=True)
class Effects:
    """What seeds and items add to a mean over both.

    Attributes:
        values: the value of every seed.
        items: what every item adds, averaged over seeds (pseudo-values).
        residual: mean square of the interaction of seeds and items; 0 with one seed.
        certainty: degrees of freedom of that mean square; 0 with one seed.
    """

    values: Float[np.ndarray, " S"]
    items: Float[np.ndarray, " n"]
    residual: float = 0.0
    certainty: float = 0.0

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(self.values.mean())

    @property
    def between(self) -> "Component":
        """What seeds show; nothing with one seed."""
        degrees = len(self.values) - 1
        return Component(float(self.values.var(ddof=1)) / len(self.values) if degrees else 0.0, degrees)

    @property
    def shared(self) -> "Component":
        """What seeds show and items show too, to be counted once."""
        return Component(-self.residual / (len(self.values) * len(self.items)), self.certainty)


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the variance of a mean, with its degrees of freedom."""

    variance: float
    degrees: float


@dataclass(frozen=True, slots=True)
class Error:
    """Standard error of an estimate and how well it is known.

    Attributes:
        standard: the standard error.
        degrees: degrees of freedom of Student's t.
    """

    standard: float
    degrees: float

    def interval(self, value: float, *, confidence: float = CONFIDENCE) -> Interval:
        """Interval around a value."""
        from scipy import stats

        half = float(stats.t.ppf(0.5 + confidence / 2, self.degrees)) * self.standard
        return Interval(value - half, value + half)

    def p_value(self, value: float) -> float:
        """Two-sided, of the hypothesis that the true value is 0."""
        from scipy import stats

        return float(2 * stats.t.sf(abs(value) / self.standard, self.degrees))


@dataclass(frozen=True, slots=True)
class Pooled:
    """A value over seeds with its interval.

    Attributes:
        value: mean over seeds of the corpus value.
        interval: 95 %; `None` where too few items move the value.
        basis: what the interval speaks of; with one seed "items" only.
        seeds: how many.
    """

    value: float
    interval: Interval | None
    basis: Basis
    seeds: int


def effects(statistics: Float[np.ndarray, "S n K"], aggregate: Aggregate) -> Effects:
    """Two-way layout of pseudo-values.

    Args:
        statistics: additive statistics of every item under every seed.
        aggregate: sums [R, K] -> values [R].
    """
    totals, n = statistics.sum(1), statistics.shape[1]
    values = aggregate(totals)
    without = np.stack([aggregate(total - rows) for total, rows in zip(totals, statistics, strict=True)])
    pseudo = n * values[:, None] - (n - 1) * without
    items = pseudo.mean(0)
    rest = pseudo - pseudo.mean(1, keepdims=True) - items + items.mean()
    degrees = (len(values) - 1) * (n - 1)
    residual = float((rest**2).sum()) / degrees if degrees else 0.0
    return Effects(values, items, residual, _degrees(rest, degrees))


def _degrees(deviations: np.ndarray, most: int) -> float:
    """Degrees of freedom of a mean square: fewer than usual where few deviations are most of it, as with rare n-grams."""
    square = float((deviations**2).mean())
    if square == 0 or most < 1:
        return float(most)
    kurtosis = float((deviations**4).mean()) / square**2
    return float(np.clip(2 * most / max(kurtosis - 1, 1e-9), 1, most))


def error_of(group: Effects, *, crossed: bool) -> Error | None:
    """Standard error of a mean over seeds; `None` where too little varies.

    Args:
        group: its effects.
        crossed: whether item i asks the same of every seed.
    """
    return _error(_crossed([group], group.items) if crossed else _nested(group))


def error_of_difference(a: Effects, b: Effects, *, crossed: bool) -> Error | None:
    """Standard error of the difference of two means over seeds of their own; `None` where too little varies.

    Args:
        a, b: their effects, on the same items in the same order.
        crossed: whether item i asks the same of every seed of both.
    """
    several = min(len(a.values), len(b.values)) > 1
    apart = _together([a, b]) if several else [*_nested(a), *_nested(b)]
    return _error(_crossed([a, b], a.items - b.items) if crossed else apart)


def pooled(
    statistics: Float[np.ndarray, "S n K"],
    aggregate: Aggregate,
    *,
    crossed: bool,
    clusters: Sequence[str] | None = None,
    resamples: int,
    rng: np.random.Generator,
) -> Pooled:
    """The mean over seeds with an interval for new seeds and new items together; with one seed, for new items only.

    Args:
        statistics: additive statistics of every item under every seed, in the same order of items.
        aggregate: sums [R, K] -> values [R].
        crossed: whether item i asks the same of every seed.
        clusters: label of every item; items of one label stay together. `None` = every item by itself.
        resamples: bootstrap samples, used with one seed.
        rng: numpy generator.
    """
    gathered = statistics if clusters is None else np.stack([cluster_sums(rows, clusters) for rows in statistics])
    if len(gathered) == 1:
        value = float(aggregate(gathered[0].sum(0)[None])[0])
        return Pooled(value, bootstrap(gathered[0], aggregate, resamples=resamples, rng=rng), "items", 1)
    found = effects(gathered, aggregate)
    error = error_of(found, crossed=crossed)
    return Pooled(found.value, error.interval(found.value) if error else None, "seeds and items", len(gathered))


def _crossed(groups: Sequence[Effects], items: Float[np.ndarray, " n"]) -> list[Component]:
    """Seeds alone where items show no more than the interaction: an F test, since adding chance would cover too often."""
    seeds, shared, within = _together(groups), [group.shared for group in groups], _within(items)
    if any(seed.variance > 0 for seed in seeds) and not _exceeds(within, shared):
        return seeds
    return [*seeds, within, *shared]


def _together(groups: Sequence[Effects]) -> list[Component]:
    """What seeds show in all groups; as one where nothing says that their variances differ, which is known better."""
    parts = [group.between for group in groups]
    if len(parts) < 2 or any(part.variance == 0 for part in parts):
        return parts
    squares = [part.variance * len(group.values) for part, group in zip(parts, groups, strict=True)]
    degrees = sum(part.degrees for part in parts)
    if _differ(squares[0] / squares[1], parts[0].degrees, parts[1].degrees):
        return parts
    square = sum(part.degrees * each for part, each in zip(parts, squares, strict=True)) / degrees
    return [Component(square * sum(1 / len(group.values) for group in groups), degrees)]


def _differ(ratio: float, above: float, below: float) -> bool:
    from scipy import stats

    return bool(2 * min(stats.f.sf(ratio, above, below), stats.f.cdf(ratio, above, below)) < PRETEST)


def _exceeds(within: Component, shared: Sequence[Component]) -> bool:
    from scipy import stats

    both, degrees = -sum(part.variance for part in shared), sum(part.degrees for part in shared)
    if both == 0 or within.variance == 0:
        return within.variance > 0
    return bool(stats.f.sf(within.variance / both, within.degrees, degrees) < PRETEST)


def _nested(group: Effects) -> list[Component]:
    return [group.between] if len(group.values) > 1 else [_within(group.items)]


def _within(items: Float[np.ndarray, " n"]) -> Component:
    """What items show; nothing where fewer than `LEAST` differ from the rest."""
    moving = np.count_nonzero(~np.isclose(items, np.median(items), rtol=1e-9, atol=0))
    variance = float(items.var(ddof=1)) / len(items) if moving >= LEAST else 0.0
    return Component(variance, _degrees(items - items.mean(), len(items) - 1))


def _error(components: Iterable[Component]) -> Error | None:
    """Satterthwaite: variances add, and degrees of freedom match the variance of their sum.

    What is counted twice is taken off, but never so much that less is left than the largest part.
    """
    known = [component for component in components if component.degrees > 0 and component.variance != 0]
    seen = sum(component.variance for component in known if component.variance > 0)
    spread = sum(component.variance**2 / component.degrees for component in known)
    least = max((component.variance for component in known), default=0.0)
    variance = max(sum(component.variance for component in known), least) if seen else 0.0
    return Error(float(np.sqrt(variance)), variance**2 / spread) if variance > 0 else None
