"""The comparison of two systems: every value they share, tested, with the correction that many tests need."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.compare.noise import noise_floors
from harness.compare.outcomes import Outcome
from harness.compare.selection import by_place, distinct_contestants, one_setting, side_of
from harness.errors import GridError
from harness.leaderboard import select
from harness.metrics.headlines import HEADLINES
from harness.stats.comparison import Comparison, Sides, compare, compare_values
from harness.stats.families import CORRECTIONS, Correction
from harness.tracking.projection import rows as rows_of
from harness.tracking.records import Store
from harness.tracking.rows import Row, Value

LEAST_OVERLAP = 0.95
SIGNIFICANCE = 0.05
_ITEMS = re.compile(r"\|items:[0-9a-f]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One value of both systems.

    Attributes:
        name: of the value.
        comparison: `None` where it was refused, with `reason`.
        adjusted: p-value after the correction over the lines of its report.
        floor: how far the value moves when only the numerics change; `None` where that was not measured.
        better: "a", "b", or `None` where they are not told apart, lie within the noise floor, or neither end is better.
    """

    name: str
    comparison: Comparison | None = None
    reason: str | None = None
    adjusted: float | None = None
    floor: float | None = None
    better: str | None = None

    @property
    def is_noise(self) -> bool:
        """Whether the difference is no larger than what numerics alone make."""
        return self.floor is not None and self.comparison is not None and abs(self.comparison.difference) <= self.floor


@dataclass(frozen=True, slots=True)
class Differing:
    """An item on which the systems differ much; texts and values are those of the first seed of each."""

    id: str
    condition: str | None
    target: str | None
    texts: tuple[str, str]
    values: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Two systems on one task and family.

    Attributes:
        a, b: cells of each side, one for each seed.
        lines: headline values first.
        differing: where they differ most, by the first line that has items; largest first.
        differing_by: its name; `None` where no line has items.
        correction: of the p-values, for as many tests as there are lines.
    """

    task: str
    family: str
    a: tuple[Row, ...]
    b: tuple[Row, ...]
    lines: tuple[Line, ...]
    differing: tuple[Differing, ...]
    differing_by: str | None
    correction: Correction = "holm"


def compare_systems(
    store: Store,
    a: str,
    b: str,
    *,
    grid: str | None = None,
    task: str | None = None,
    family: str | None = None,
    metrics: Sequence[str] = (),
    most: int = 5,
    seed: int = 0,
    correction: Correction = "holm",
) -> list[Report]:
    """Compare two systems wherever both have finished cells.

    Args:
        store: where the cells are.
        a, b: as `side_of` reads them: a model or the start of a digest, then conditions.
        grid: name of a grid; `None` takes all cells.
        task, family: as in `harness table`.
        metrics: names of values; none = every value with a better end.
        most: items to show.
        seed: of the resampling tests.
        correction: "holm" to claim differences, "bh" (Benjamini and Hochberg) to explore.

    Raises:
        UnknownName: no such grid, task, model or value.
        GridError: a side is not one system in one setting, or the sides share no task and family.
    """
    everything = rows_of(store, grid)
    floors, rows = noise_floors(everything), select(distinct_contestants(everything), task=task, family=family)
    sides = [_groups(side_of(rows, text), text) for text in (a, b)]
    shared = [place for place in sides[0] if place in sides[1]]
    if not shared:
        places = "; ".join(f"{text!r}: {', '.join(map(' / '.join, side))}" for text, side in zip((a, b), sides, strict=True))
        raise GridError(f"compare: the two share no task and family. {places}.")
    return [
        _report(
            store, *(side[place] for side in sides), floor=floors.get(place, {}), metrics=metrics, most=most, seed=seed,
            correction=correction,
        )
        for place in shared
    ]  # fmt: skip


def _groups(rows: Sequence[Row], text: str) -> dict[tuple[str, str], list[Row]]:
    return {place: one_setting(group, text) for place, group in by_place(rows).items()}


def _report(
    store: Store, a: list[Row], b: list[Row], *, floor: Mapping[str, float], metrics: Sequence[str], most: int, seed: int,
    correction: Correction,
) -> Report:  # fmt: skip
    sides = [Outcome(store, row) for row in a], [Outcome(store, row) for row in b]
    if {row.digest for row in a} & {row.digest for row in b}:
        raise GridError("compare: both sides name the same cell; say what tells them apart, such as 'MODEL, steps = 32'.")
    lines = tested(*sides, _names(a, b, metrics), seed=seed, floor=floor, correction=correction)
    first = next((line.name for line in lines if line.comparison and line.name in sides[0][0].scores), None)
    return Report(
        task=a[0].task, family=a[0].family, a=tuple(a), b=tuple(b), lines=tuple(lines), differing_by=first,
        differing=tuple(_differing(sides[0][0], sides[1][0], first, most)) if first else (), correction=correction,
    )  # fmt: skip


def _names(a: Sequence[Row], b: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Values to be compared, headlines first."""
    if metrics:
        return list(metrics)
    present = {name: value for row in (*a, *b) for name, value in row.metrics.items() if value.higher_is_better is not None}
    first = [name for name in HEADLINES.get(a[0].family, ()) if name in present]
    return [*first, *sorted(present.keys() - set(first))]


def tested(
    a: Sequence[Outcome], b: Sequence[Outcome], names: Sequence[str], *, seed: int, floor: Mapping[str, float],
    correction: Correction,
) -> list[Line]:  # fmt: skip
    """Compare two systems in named values; the correction is over these.

    Args:
        a, b: the cells of each, one for each seed.
        names: of the values.
        seed: of the resampling tests.
        floor: noise floor of values where it is known.
        correction: of the p-values.
    """
    reasons = {name: incomparable(a, b, name) for name in names}
    able = [name for name in names if reasons[name] is None]
    with_items = [name for name in able if all(name in outcome.scores for outcome in (*a, *b))]
    compared = dict(zip(with_items, compare([sides_of(a, b, name) for name in with_items], seed=seed), strict=True))
    compared |= {name: compare_values(*(_values(side, name) for side in (a, b))) for name in able if name not in compared}
    found = [name for name in able if compared[name].p_value is not None]
    p_values = CORRECTIONS[correction]([float(compared[name].p_value or 0) for name in found])
    adjusted = dict(zip(found, p_values.tolist(), strict=True))
    return [
        Line(name=name, reason=reasons[name])
        if reasons[name]
        else _line(name, compared[name], adjusted.get(name), floor.get(name), a[0].row)
        for name in names
    ]


def _line(name: str, comparison: Comparison, adjusted: float | None, floor: float | None, row: Row) -> Line:
    line = Line(name=name, comparison=comparison, adjusted=adjusted, floor=floor)
    higher, told = row.metrics[name].higher_is_better, adjusted is not None and adjusted < SIGNIFICANCE and not line.is_noise
    return replace(line, better="a" if (comparison.difference > 0) == higher else "b") if told and higher is not None else line


def incomparable(a: Sequence[Outcome], b: Sequence[Outcome], name: str) -> str | None:
    """Why a value of two systems may not be compared; `None` where it may."""
    values = [outcome.row.metrics.get(name) for outcome in (*a, *b)]
    missing = next((index for index, value in enumerate(values) if value is None or value.value is None), None)
    if missing is not None:
        value = values[missing]
        side, why = "a" if missing < len(a) else "b", value.reason if value else "it was not measured"
        return f"{side} has no value: {why}"
    signatures = {_ITEMS.sub("", value.signature) for value in values if value is not None}
    if len(signatures) > 1:
        return f"different signatures: {_apart(signatures)}"
    if not all(name in outcome.scores for outcome in (*a, *b)):
        return None if len(a) > 1 and len(b) > 1 else "no statistics of its items were kept: it needs two seeds on each side"
    share = _overlap(a, b)
    return f"the sides share {share:.0%} of their items: {LEAST_OVERLAP:.0%} are needed" if share < LEAST_OVERLAP else None


def _apart(signatures: set[str]) -> str:
    """The parts in which signatures differ."""
    parts = [signature.split("|") for signature in sorted(signatures)]
    return " against ".join(" | ".join(part for part in one if any(part not in other for other in parts)) or "-" for one in parts)


def _overlap(a: Sequence[Outcome], b: Sequence[Outcome]) -> float:
    return len(_common(a, b)) / max(len(outcome.ids) for outcome in (*a, *b))


def _common(a: Sequence[Outcome], b: Sequence[Outcome]) -> list[str]:
    """Ids that all have, in the order of the first."""
    others = [set(outcome.ids) for outcome in (*a, *b)]
    return [name for name in a[0].ids if all(name in ids for ids in others)]


def sides_of(a: Sequence[Outcome], b: Sequence[Outcome], name: str) -> Sides:
    """Statistics of a value on the items that all cells share, those of one source or control together."""
    scored, common = a[0].scores[name], _common(a, b)
    left, right = (np.stack([_aligned(outcome, name, common) for outcome in side]) for side in (a, b))
    crossed = a[0].row.family != "ucg" or scored.of_targets
    return Sides(left, right, scored.aggregate, crossed).gathered([a[0].clusters[item] for item in common])


def _aligned(outcome: Outcome, name: str, common: Sequence[str]) -> Float[np.ndarray, "n K"]:
    place = {item: index for index, item in enumerate(outcome.ids)}
    return outcome.scores[name].rows[[place[item] for item in common]]


def _values(side: Sequence[Outcome], name: str) -> list[float]:
    found: list[Value] = [outcome.row.metrics[name] for outcome in side]
    return [float(value.value) for value in found if value.value is not None]


def _differing(a: Outcome, b: Outcome, name: str, most: int) -> list[Differing]:
    values = [dict(zip(side.ids, side.scores[name].values.tolist(), strict=True)) for side in (a, b)]
    apart = {item: abs(values[0][item] - values[1][item]) for item in a.ids if item in values[1]}
    largest = sorted((item for item in apart if apart[item] > 0), key=lambda item: (-apart[item], item))[:most]
    return [
        Differing(
            item, a.asked.get(item, {}).get("condition"), a.asked.get(item, {}).get("target"),
            (a.texts[item], b.texts[item]), (values[0][item], values[1][item]),
        )
        for item in largest
    ]  # fmt: skip
