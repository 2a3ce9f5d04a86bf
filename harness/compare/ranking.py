"""Rank bands of a section: systems that the data cannot tell from the best of them share a rank."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.compare.noise import noise_floors
from harness.compare.outcomes import Outcome
from harness.compare.selection import by_place, finished, has_value, headline_with_an_end, system_of, without_an_end
from harness.compare.systems import SIGNIFICANCE, incomparable, sides_of, tested
from harness.leaderboard import lower_is_better
from harness.stats.bands import rank_bands
from harness.stats.families import holm
from harness.stats.intervals import Interval, student
from harness.stats.seeds import Pooled, pooled
from harness.tracking.projection import rows as rows_of
from harness.tracking.records import Store
from harness.tracking.rows import Row


@dataclass(frozen=True, slots=True)
class Ranked:
    """A system's place by one value.

    Attributes:
        rows: its cells, one for each seed.
        pooled: its mean over seeds, with an interval that says what it speaks of.
        band: counted from 1; `None` where it could not be compared, with `reason`.
    """

    rows: tuple[Row, ...]
    pooled: Pooled
    band: int | None
    reason: str | None = None


def rankings(
    store: Store, metric: str | None, *, grid: str | None = None, task: str | None = None, family: str | None = None
) -> list[tuple[str, str, str, list[Ranked]]]:
    """Task, family, value and ranking of every section.

    Args:
        store: where the cells are.
        metric: name of a value with a better end; `None` takes each family's first headline that has one.
        grid, task, family: as in `harness table`.

    Raises:
        UnknownName: no such grid or task, or no value of that name of which one end is better.
    """
    everything = rows_of(store, grid)
    floors = noise_floors(everything)
    rows = finished(everything, metric, "rank", task=task, family=family)
    found = []
    for (place, kind), group in sorted(by_place(rows).items()):
        name = metric or headline_with_an_end(group, kind)
        ranked = ranking(store, group, name, floor=floors.get((place, kind), {}).get(name, 0.0)) if name else []
        found += [(place, kind, str(name), ranked)] if ranked else []
    if metric is not None and not found:
        raise without_an_end(rows, metric, "rank")
    return found


def ranking(store: Store, rows: Sequence[Row], metric: str, *, floor: float = 0.0, seed: int = 0) -> list[Ranked]:
    """Bands of the systems of one task and family by one value, best first; Holm's correction is over all pairs.

    Systems that cannot be compared with the best (other signatures, other items) come last, without a band.

    Args:
        store: where their records are.
        rows: finished cells of one task and family.
        metric: name of a value; systems without it are left out, and so are all where neither end is better.
        floor: noise floor of the value; smaller differences tell nothing apart.
        seed: of the resampling tests.
    """
    lower = lower_is_better(rows, metric)
    if lower is None:
        return []
    systems = sorted(_systems(rows, metric), key=lambda rows: _mean(rows, metric) * (1 if lower else -1))
    outcomes = [[Outcome(store, row) for row in system] for system in systems]
    checked = {place: incomparable(outcomes[0], outcomes[place], metric) for place in range(1, len(outcomes))}
    reasons = {place: reason for place, reason in checked.items() if reason is not None}
    able = [place for place in range(len(outcomes)) if place not in reasons]
    pairs = list(combinations(able, 2))
    lines = [
        tested(outcomes[better], outcomes[worse], [metric], seed=seed, floor={metric: floor}, correction="holm")[0]
        for better, worse in pairs
    ]
    known = [
        (pair, 1.0 if line.is_noise else line.comparison.p_value)
        for pair, line in zip(pairs, lines, strict=True)
        if line.comparison is not None and line.comparison.p_value is not None
    ]
    adjusted = holm([p for _, p in known])
    told_apart = {pair: bool(p < SIGNIFICANCE) for (pair, _), p in zip(known, adjusted, strict=True)}
    band = {place: number for number, group in enumerate(rank_bands(able, told_apart), 1) for place in group}
    return [
        Ranked(tuple(systems[place]), over_seeds(outcomes[place], metric, seed), band.get(place), reasons.get(place))
        for place in (*able, *reasons)
    ]


def _systems(rows: Sequence[Row], metric: str) -> list[list[Row]]:
    """Cells that differ in their seed only."""
    found: dict[tuple[object, ...], dict[int, Row]] = {}
    for row in rows:
        if has_value(row, metric):
            found.setdefault(system_of(row), {}).setdefault(row.seed, row)
    return [[group[seed] for seed in sorted(group)] for group in found.values()]


def _mean(rows: Sequence[Row], metric: str) -> float:
    return sum(float(row.metrics[metric].value or 0.0) for row in rows) / len(rows)


def over_seeds(outcomes: Sequence[Outcome], metric: str, seed: int) -> Pooled:
    """A value of one system with its interval.

    With several seeds over seeds and items, or over seeds where no items were kept; with one, the row's own interval.
    """
    value = outcomes[0].row.metrics[metric]
    if len(outcomes) == 1:
        interval = None if value.low is None or value.high is None else Interval(value.low, value.high)
        return Pooled(float(value.value or 0.0), interval, "items", 1)
    if not all(metric in outcome.scores for outcome in outcomes):
        values = [float(outcome.row.metrics[metric].value or 0.0) for outcome in outcomes]
        return Pooled(sum(values) / len(values), student(values), "seeds", len(values))
    sides = sides_of(outcomes, outcomes, metric)
    return pooled(sides.a, sides.aggregate, crossed=sides.crossed, resamples=1, rng=np.random.default_rng(seed))
