"""Quality against sampling steps, and what a masked system lacks, split in two by an oracle.

An oracle knows the exact marginals of every masked position, so its only error is to draw several tokens at once. Held against
the oracle of the same kernel, rule of unmasking, schedule and number of steps, what a system lacks falls into what parallel
decoding lacks (the oracle too) and what was not learnt (the system more than the oracle).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.compare.oracles import field, has_process, is_denoiser, is_exact, oracle_for, remark_on
from harness.compare.outcomes import Outcome
from harness.compare.ranking import over_seeds
from harness.compare.selection import by_place, finished, has_value, headline_with_an_end, settings_of, why_absent
from harness.compare.systems import incomparable, sides_of
from harness.errors import GridError
from harness.leaderboard import lower_is_better
from harness.stats.comparison import compare_values
from harness.stats.intervals import Interval, student
from harness.stats.seeds import Basis, Pooled, effects, error_of_difference, pooled
from harness.tracking.projection import rows as rows_of
from harness.tracking.records import Store
from harness.tracking.rows import Row

PERFECT: Mapping[str, float] = {"in_language": 1.0, "in_language_standardised": 1.0, "correct": 1.0}
"""Values of which it is known, without measuring, what a system without error has."""
RESAMPLES = 2000
Measured = Sequence[Outcome]
"""One setting of a system, under all its seeds."""
System = Mapping[int | None, Measured]
"""By number of steps, ascending; the one key of a system without steps is `None`."""


@dataclass(frozen=True, slots=True)
class Point:
    """A system at one number of steps.

    Attributes:
        steps: `None` for a system without steps.
        seeds: training seeds.
        pooled: mean over them, with an interval that says what it speaks of.
    """

    steps: int | None
    seeds: tuple[int, ...]
    pooled: Pooled


@dataclass(frozen=True, slots=True)
class Held:
    """A system held against its oracle at one number of steps; errors are positive where something is lacking.

    Attributes:
        steps: of both.
        oracle: the oracle's quality.
        parallel: what the oracle lacks itself; `None` where nobody knows what a perfect system has.
        learning: what the system has less than the oracle; `None` where they cannot be compared, with `reason`.
    """

    steps: int
    oracle: Pooled
    parallel: Pooled | None
    learning: Pooled | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """How much better a system is at more steps, on the seeds that both have; below 0 it is worse."""

    fewer: int
    more: int
    gain: Pooled

    @property
    def rises(self) -> bool:
        """Whether it is better beyond its interval."""
        return self.gain.interval is not None and self.gain.interval.low > 0

    @property
    def falls(self) -> bool:
        """Whether it is worse beyond its interval."""
        return self.gain.interval is not None and self.gain.interval.high < 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A system over its numbers of steps.

    Attributes:
        kind: of its design ("diffusion", "oracle", ...); empty where the row does not say.
        points: by steps.
        oracle: name of the oracle that it is held against; `None` without one.
        held: at the steps that the oracle has too.
        remark: in what the two differ all the same, or why there is no oracle; `None` where no oracle has steps.
        changes: from each number of steps to the next.
    """

    model: str
    schedule: str | None
    decode: str
    kind: str
    points: tuple[Point, ...]
    oracle: str | None
    held: tuple[Held, ...]
    remark: str | None
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """The systems of one task and family.

    Attributes:
        metric: quality, with a better end.
        perfect: what the oracles are told against, in words; `None` where nothing is known.
        curves: systems with steps, oracles last.
        without_steps: all others, each with one point.
        left_out: finished cells without the value, and why.
    """

    task: str
    family: str
    metric: str
    higher_is_better: bool
    perfect: str | None
    curves: tuple[Curve, ...]
    without_steps: tuple[Curve, ...]
    left_out: Mapping[str, str]


def step_curves(
    store: Store, metric: str | None = None, *, grid: str | None = None, task: str | None = None, family: str | None = None,
    seed: int = 0,
) -> list[Curves]:  # fmt: skip
    """Quality against steps on every task and family that has systems with steps.

    Args:
        store: where the cells are.
        metric: a value with a better end; `None` takes each family's first headline that has one.
        grid, task, family: as in `harness table`.
        seed: of the resampling.

    Raises:
        UnknownName: no finished cell has such a value with a better end.
        GridError: no finished cell has steps, or two cells of one system and seed stand side by side.
    """
    rows = finished(rows_of(store, grid), metric, "steps", task=task, family=family)
    found = []
    for (place, kind), group in sorted(by_place(rows).items()):
        name = metric or headline_with_an_end(group, kind)
        if name is not None and any(row.steps is not None and has_value(row, name) for row in group):
            found.append(_Section(store, group, name, seed).curves(place, kind))
    if not found:
        raise GridError("steps: no finished cell with a number of steps has a value with a better end.")
    return found


class _Section:
    """One task and family while it is read."""

    def __init__(self, store: Store, rows: Sequence[Row], metric: str, seed: int) -> None:
        self.metric, self.seed, self.lower = metric, seed, bool(lower_is_better(rows, metric))
        self.left_out = {_cell(row): why_absent([row], metric) for row in rows if not has_value(row, metric)}
        self.systems = _systems(store, [row for row in rows if has_value(row, metric)])
        measured = [each for system in self.systems for each in system.values()]
        self.oracles = {each[0].row.digest: each for each in measured if is_denoiser(each[0].row)}
        self.exact = next((each for each in measured if is_exact(each[0].row)), None)

    def curves(self, task: str, family: str) -> Curves:
        """All of it."""
        found = [self.curve(system) for system in self.systems]
        stepped = [curve for curve in found if curve.points[0].steps is not None]
        return Curves(
            task=task, family=family, metric=self.metric, higher_is_better=not self.lower, perfect=self.perfect,
            curves=tuple(sorted(stepped, key=lambda curve: curve.kind == "oracle")),
            without_steps=tuple(curve for curve in found if curve.points[0].steps is None), left_out=self.left_out,
        )  # fmt: skip

    @property
    def perfect(self) -> str | None:
        """What the oracles are told against."""
        if self.metric in PERFECT:
            return f"{PERFECT[self.metric]:g}"
        return f"{self.exact[0].row.model} (exact draws)" if self.exact else None

    def curve(self, system: System) -> Curve:
        """One system."""
        first = next(iter(system.values()))[0].row
        oracles = {steps: self.oracle_of(measured) for steps, measured in system.items() if steps is not None}
        matched = {steps: oracle for steps, oracle in oracles.items() if oracle is not None}
        one = next((oracle[0].row for oracle in matched.values()), None)
        changes = (self.change(*pair) for pair in pairwise(system.values()))
        return Curve(
            model=first.model, schedule=first.schedule, decode=first.decode, kind=str(field(first, "kind") or ""),
            points=tuple(self.point(steps, measured) for steps, measured in system.items()),
            oracle=one.model if one else None, remark=remark_on(first, one) if self.oracles and has_process(first) else None,
            held=tuple(self.held(steps, system[steps], oracle) for steps, oracle in matched.items()),
            changes=tuple(change for change in changes if change is not None),
        )  # fmt: skip

    def point(self, steps: int | None, measured: Measured) -> Point:
        """A system at a number of steps."""
        return Point(steps, tuple(one.row.seed for one in measured), self.pooled(measured))

    def pooled(self, measured: Measured) -> Pooled:
        """Mean over seeds."""
        return over_seeds(measured, self.metric, self.seed)

    def oracle_of(self, measured: Measured) -> Measured | None:
        """The oracle that samples as a system does."""
        found = oracle_for(measured[0].row, [oracle[0].row for oracle in self.oracles.values()])
        return self.oracles[found.digest] if found else None

    def held(self, steps: int, measured: Measured, oracle: Measured) -> Held:
        """A system against its oracle."""
        reason = incomparable(oracle, measured, self.metric)
        learning = None if reason else self.turned(_difference(oracle, measured, self.metric))
        return Held(steps, self.pooled(oracle), self.parallel(oracle), learning, reason)

    def parallel(self, oracle: Measured) -> Pooled | None:
        """What an oracle lacks itself."""
        if self.metric in PERFECT:
            return _less(PERFECT[self.metric], self.pooled(oracle))
        if self.exact is None or incomparable(self.exact, oracle, self.metric):
            return None
        return self.turned(_difference(self.exact, oracle, self.metric))

    def turned(self, found: Pooled) -> Pooled:
        """A difference, so that above 0 the first side is the better one."""
        return _less(0.0, found) if self.lower else found

    def change(self, fewer: Measured, more: Measured) -> Change | None:
        """From one number of steps to another, with the same trained models; `None` where they have no seed in common."""
        seeds = {one.row.seed for one in fewer} & {one.row.seed for one in more}
        a, b = ([one for one in side if one.row.seed in seeds] for side in (more, fewer))
        steps = int(fewer[0].row.steps or 0), int(more[0].row.steps or 0)
        return Change(*steps, self.turned(self.paired(a, b))) if seeds else None

    def paired(self, a: Measured, b: Measured) -> Pooled:
        """Mean difference under the same seeds and requests; over seeds alone where no items were kept."""
        if incomparable(a, b, self.metric) or not _all_kept(a, b, self.metric):
            values = [one - other for one, other in zip(*(_values(side, self.metric) for side in (a, b)), strict=True)]
            return Pooled(float(np.mean(values)), student(values), "seeds", len(values))
        sides = sides_of(a, b, self.metric)
        width = sides.a.shape[2]
        return pooled(
            np.concatenate([sides.a, sides.b], axis=2),
            lambda sums: sides.aggregate(sums[:, :width]) - sides.aggregate(sums[:, width:]),
            crossed=sides.crossed, resamples=RESAMPLES, rng=np.random.default_rng(self.seed),
        )  # fmt: skip


def _systems(store: Store, rows: Sequence[Row]) -> list[System]:
    """Cells by model, schedule and decoding, then by steps, then by seed.

    Raises:
        GridError: two cells differ in none of these.
    """
    found: dict[tuple[str | None, ...], dict[int | None, Measured]] = {}
    for cells in settings_of(rows, "steps", _cell):
        first = cells[0]
        system = found.setdefault((first.model, first.schedule, first.decode), {})
        system[first.steps] = [Outcome(store, row) for row in cells]
    return [dict(sorted(system.items(), key=_order)) for system in found.values()]


def _order(item: tuple[int | None, object]) -> int:
    return item[0] or 0


def _cell(row: Row) -> str:
    steps = None if row.steps is None else f"{row.steps} steps"
    return " ".join(part for part in (row.model, row.schedule, steps, row.decode, f"seed {row.seed}") if part)


def _all_kept(a: Measured, b: Measured, metric: str) -> bool:
    return all(metric in one.scores for one in (*a, *b))


def _values(measured: Measured, metric: str) -> list[float]:
    return [float(one.row.metrics[metric].value or 0.0) for one in measured]


def _difference(a: Measured, b: Measured, metric: str) -> Pooled:
    """A less b, two systems that know nothing of each other: by t over seeds, over items where both have one seed."""
    fewer = min(len(a), len(b))
    if not _all_kept(a, b, metric):
        found = compare_values(_values(a, metric), _values(b, metric))
        return Pooled(found.difference, found.interval, "seeds", fewer)
    sides = sides_of(a, b, metric)
    left, right = (effects(side, sides.aggregate) for side in (sides.a, sides.b))
    error, value = error_of_difference(left, right, crossed=sides.crossed), left.value - right.value
    basis: Basis = "items" if len(a) == len(b) == 1 else "seeds and items"
    return Pooled(value, error.interval(value) if error else None, basis, fewer)


def _less(base: float, found: Pooled) -> Pooled:
    """A base less an estimate."""
    ends = found.interval
    turned = Interval(base - ends.high, base - ends.low) if ends else None
    return Pooled(base - found.value, turned, found.basis, found.seeds)
