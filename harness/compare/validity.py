"""How metrics track the truth, on models whose distance from the law of their task is known.

A model class that offers `truth(**keys) -> Mapping[str, float]` says what it does to the law; one of its keys is `level`, 0
where it does nothing. Its cells at several levels and seeds show, for every value, whether it sees the distortion at all, from
which level on, and what it says where there is nothing to see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from harness.compare.outcomes import Outcome
from harness.compare.selection import distinct_contestants, has_value
from harness.errors import GridError
from harness.registry import resolve
from harness.tracking.projection import rows as rows_of
from harness.tracking.records import Store
from harness.tracking.rows import Row

LEVEL = "level"
SIZES = (50, 100, 200, 500, 1000, 2000, 5000)
"""Numbers of items at which the power to see a distortion is told, where statistics of items were kept."""
_ROUNDING = 1e-9  # of a value: smaller differences come from the order of a sum, not from the texts
_LEAST_LEVELS = 3  # two levels have no order that a rank correlation could miss


@dataclass(frozen=True, slots=True)
class Point:
    """A value at one level of a distortion.

    Attributes:
        level: as set.
        truth: what is known of the law there.
        values: one for each seed.
        seen: share of the pairs of seeds in which this level looks worse than level 0 (ties count half); `None` at level 0.
        seen_at: number of items -> the same with so many items of each cell.
    """

    level: float
    truth: Mapping[str, float]
    values: tuple[float, ...]
    seen: float | None
    seen_at: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values))


@dataclass(frozen=True, slots=True)
class Tracking:
    """One value over the levels of one distortion.

    Attributes:
        task, distortion: where, and what was done to the law.
        metric: name of the value.
        higher_is_better: `None` where neither end is: then farther from the mean at level 0 is worse.
        points: by level, level 0 first.
        rank_correlation: Spearman's, between total variation and how bad the value looks; `None` where all look alike, and with
            two levels, between which it could only be 1 or -1.
        misordered: share of pairs of neighbouring levels, over all pairs of seeds, of which the lower level looks worse.
        noise: standard deviation over seeds at level 0.
    """

    task: str
    distortion: str
    metric: str
    higher_is_better: bool | None
    points: tuple[Point, ...]
    rank_correlation: float | None
    misordered: float
    noise: float


def trackings(store: Store, *, grid: str | None = None, metrics: Sequence[str] = ()) -> list[Tracking]:
    """Every value over every distortion of a store.

    Args:
        store: where the cells are.
        grid: name of a grid; `None` takes all cells.
        metrics: names of values; none = all.

    Raises:
        GridError: no finished cell is of a model with a known truth, or none of these has level 0.
    """
    rows = distinct_contestants(rows_of(store, grid))
    groups: dict[tuple[str, str], dict[float, list[Row]]] = {}
    for row in (row for row in rows if row.status == "done" and _class_of(row) is not None):
        keys = row.settings["model_options"]
        rest = ", ".join(str(value) for name, value in sorted(keys.items()) if name not in (LEVEL, "size"))
        groups.setdefault((row.task, rest or row.model), {}).setdefault(float(keys.get(LEVEL, 0.0)), []).append(row)
    if not groups:
        raise GridError("validity: no finished cell is of a model whose distance from the truth is known; run `validity` first.")
    plain = {task: level[0.0] for (task, _), level in groups.items() if 0.0 in level}
    missing = sorted({task for task, _ in groups} - plain.keys())
    if missing:
        raise GridError(f"validity: {', '.join(missing)} has no cell at level 0, against which the others are held.")
    return [
        found
        for (task, name), levels in sorted(groups.items())
        if set(levels) != {0.0}
        for found in _of_distortion(store, task, name, {**levels, 0.0: plain[task]}, metrics)
    ]


def _class_of(row: Row) -> Any:
    """The class of a model that knows its truth; `None` for others."""
    name = (row.settings.get("design") or {}).get("name")
    try:
        found = resolve("models", str(name)).load()
    except GridError:
        return None
    return found if hasattr(found, "truth") else None


def _truth(row: Row) -> Mapping[str, float]:
    found: Mapping[str, float] = _class_of(row).truth(**row.settings["model_options"])
    return found


def _of_distortion(
    store: Store, task: str, name: str, levels: Mapping[float, Sequence[Row]], metrics: Sequence[str]
) -> list[Tracking]:
    truths = {level: _truth(rows[0]) for level, rows in levels.items()}
    outcomes = {level: [Outcome(store, row) for row in rows] for level, rows in levels.items()}
    everything = [row for rows in levels.values() for row in rows]
    names = metrics or sorted({metric for row in everything for metric in row.metrics})
    known = [
        metric for metric in names
        if all(has_value(row, metric) for row in everything)
        and _moves([float(row.metrics[metric].value or 0.0) for row in everything])
    ]  # fmt: skip
    return [_tracking(task, name, metric, outcomes, truths) for metric in known]


def _moves(values: Sequence[float]) -> bool:
    return bool(np.ptp(values) > _ROUNDING * np.abs(values).max())


def _tracking(
    task: str, name: str, metric: str, outcomes: Mapping[float, Sequence[Outcome]], truths: Mapping[float, Mapping[str, float]]
) -> Tracking:
    levels = sorted(outcomes)
    higher = outcomes[0.0][0].row.metrics[metric].higher_is_better
    values = {level: np.array([float(one.row.metrics[metric].value or 0.0) for one in outcomes[level]]) for level in levels}
    badness = {level: _badness(values[level], values[0.0], higher) for level in levels}
    at = {size: _values_at(outcomes, metric, size) for size in SIZES}
    points = [
        Point(
            level, truths[level], tuple(values[level].tolist()),
            _worse(badness[level], badness[0.0]) if level else None,
            {size: _seen(found, level, higher) for size, found in at.items() if found is not None} if level else {},
        )
        for level in levels
    ]  # fmt: skip
    return Tracking(
        task, name, metric, higher, tuple(points), _spearman(truths, badness),
        float(np.mean([1 - _worse(badness[high], badness[low]) for low, high in pairwise(levels)])),
        float(values[0.0].std(ddof=1)) if len(values[0.0]) > 1 else 0.0,
    )  # fmt: skip


def _badness(values: np.ndarray, plain: np.ndarray, higher: bool | None) -> np.ndarray:
    return np.asarray(np.abs(values - plain.mean()) if higher is None else -values if higher else values)


def _worse(one: np.ndarray, other: np.ndarray) -> float:
    """Share of pairs in which one is worse; ties count half (Mann and Whitney 1947)."""
    return float(np.mean((one[:, None] > other) + 0.5 * (one[:, None] == other)))


def _seen(values: Mapping[float, np.ndarray], level: float, higher: bool | None) -> float:
    return _worse(*(_badness(values[at], values[0.0], higher) for at in (level, 0.0)))


def _values_at(outcomes: Mapping[float, Sequence[Outcome]], metric: str, size: int) -> dict[float, np.ndarray] | None:
    """The value from the first so many items of every cell; `None` where items were not kept or are fewer."""
    everything = [outcome for group in outcomes.values() for outcome in group]
    if any(metric not in outcome.scores or len(outcome.scores[metric].rows) < size for outcome in everything):
        return None
    found = {level: np.array([_value(outcome, metric, size) for outcome in group]) for level, group in outcomes.items()}
    return found if all(np.isfinite(values).all() for values in found.values()) else None


def _value(outcome: Outcome, metric: str, size: int) -> float:
    scored = outcome.scores[metric]
    return float(scored.aggregate(scored.rows[:size].sum(0)[None])[0])


def _spearman(truths: Mapping[float, Mapping[str, float]], badness: Mapping[float, np.ndarray]) -> float | None:
    from scipy import stats

    means = [float(values.mean()) for values in badness.values()]
    distances = [truths[level]["total_variation"] for level in badness]
    if len(means) < _LEAST_LEVELS or len(set(means)) < 2 or len(set(distances)) < 2:
        return None
    return float(stats.spearmanr(distances, means).statistic)
