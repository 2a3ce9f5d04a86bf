"""Quality against latency: which systems nothing beats in both, as a probability.

Values are drawn again: items (the same for all systems, so that they are paired), seeds, and blocks of timed calls. In every
draw a system is on the front where no other is at least as good and at least as fast, and better in one; the share of such
draws is its membership. It counts as dominated only by a system that is better in both in 95 % of the draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from harness.compare.draws import LATENCY, SURE, Picks, device_of, greyed_latency, is_timed, latency_draws, quality_draws
from harness.compare.outcomes import Outcome
from harness.compare.selection import by_place, finished, has_value, headline_with_an_end, system_of, title_of, why_absent
from harness.compare.settings import why_untimed
from harness.errors import GridError
from harness.leaderboard import lower_is_better
from harness.tracking.projection import rows as rows_of
from harness.tracking.records import Store
from harness.tracking.rows import Row


@dataclass(frozen=True, slots=True)
class Placed:
    """A system between quality and latency.

    Attributes:
        rows: its cells, one for each seed.
        quality: mean over seeds.
        milliseconds: median latency of a request, mean over the seeds that were timed.
        membership: probability that nothing beats it in both.
        dominated_by: systems that are better in both for sure, as `Row.model` names them.
        greyed: why its latency is not to be relied on; empty where it is.
    """

    rows: tuple[Row, ...]
    quality: float
    milliseconds: float
    membership: float
    dominated_by: tuple[str, ...]
    greyed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """The systems of one task and family on one machine.

    Attributes:
        metric: quality.
        device: on which latency was measured.
        placed: best quality first.
        left_out: systems without latency or quality, with the reason.
    """

    task: str
    family: str
    metric: str
    device: str
    placed: tuple[Placed, ...]
    left_out: Mapping[str, str]


def fronts(
    store: Store, metric: str | None = None, *, grid: str | None = None, task: str | None = None, family: str | None = None,
    seed: int = 0,
) -> list[Front]:  # fmt: skip
    """The front of every task, family and machine.

    Args:
        store: where the cells are.
        metric: a value with a better end; `None` takes each family's first headline that has one.
        grid, task, family: as in `harness table`.
        seed: of the draws.

    Raises:
        UnknownName: no finished cell has such a value with a better end.
        GridError: nothing was timed.
    """
    rows = finished(rows_of(store, grid), metric, "pareto", task=task, family=family)
    if not any(is_timed(row) for row in rows):
        raise GridError("pareto: no finished cell was timed; grids time theirs unless they say `latency: false`.")
    found = [_fronts(store, place, group, metric, seed) for place, group in sorted(by_place(rows).items())]
    return [front for group in found for front in group]


def _fronts(store: Store, place: tuple[str, str], rows: list[Row], metric: str | None, seed: int) -> list[Front]:
    name = metric or headline_with_an_end(rows, place[1])
    if name is None or lower_is_better(rows, name) is None:
        return []
    systems: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        systems.setdefault(system_of(row), []).append(row)
    left_out: dict[str, str] = {}
    by_device: dict[str, list[list[Row]]] = {}
    for group in systems.values():
        reason = _unplaced(group, name)
        if reason is None:
            timed = next(row for row in group if is_timed(row))
            by_device.setdefault(device_of(timed.latency[LATENCY]), []).append(sorted(group, key=lambda row: row.seed))
        else:
            left_out[title_of(group[0])] = reason
    lower = bool(lower_is_better(rows, name))
    return [
        Front(
            task=place[0], family=place[1], metric=name, device=device, left_out=left_out,
            placed=tuple(_placed(store, groups, name, lower, np.random.default_rng(seed))),
        )
        for device, groups in sorted(by_device.items())
    ]  # fmt: skip


def _unplaced(rows: Sequence[Row], metric: str) -> str | None:
    if not all(has_value(row, metric) for row in rows):
        return f"no {metric}: {why_absent(rows, metric)}"
    return None if any(is_timed(row) for row in rows) else why_untimed(rows)


def _placed(store: Store, systems: Sequence[list[Row]], metric: str, lower: bool, rng: np.random.Generator) -> list[Placed]:
    outcomes = [[Outcome(store, row) for row in rows] for rows in systems]
    picks = Picks.of(outcomes, rng)
    quality = np.stack([quality_draws(group, metric, picks, rng) for group in outcomes])
    latency = np.stack([latency_draws([row for row in group if is_timed(row.row)], rng) for group in outcomes])
    goodness = -quality if lower else quality
    membership = 1 - _beats(goodness, latency).any(0).mean(1)
    sure = _betters(goodness, latency).mean(2) >= SURE
    placed = [
        Placed(
            tuple(rows), float(np.mean([row.metrics[metric].value for row in rows])),
            float(np.mean([row.latency[LATENCY].value for row in rows if is_timed(row)])), float(membership[place]),
            tuple(title_of(systems[other][0]) for other in np.flatnonzero(sure[:, place]).tolist()), greyed_latency(rows),
        )
        for place, rows in enumerate(systems)
    ]  # fmt: skip
    return sorted(placed, key=lambda item: item.quality if lower else -item.quality)


def _beats(goodness: Float[np.ndarray, "S R"], latency: Float[np.ndarray, "S R"]) -> Bool[np.ndarray, "S S R"]:
    """Whether the first system is at least as good and as fast as the second in a draw, and better in one."""
    good, fast = goodness[:, None] - goodness, latency - latency[:, None]
    return np.asarray((good >= 0) & (fast >= 0) & ((good > 0) | (fast > 0)))


def _betters(goodness: Float[np.ndarray, "S R"], latency: Float[np.ndarray, "S R"]) -> Bool[np.ndarray, "S S R"]:
    """Whether the first system is better than the second in both in a draw: a tie in one is not enough."""
    return np.asarray((goodness[:, None] > goodness) & (latency[:, None] < latency))
