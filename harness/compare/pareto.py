"""Quality against latency: which systems nothing beats in both, as a probability.

Values are drawn again: items (the same for all systems, so that they are paired), seeds, and blocks of timed calls. In every
draw a system is on the front where no other is at least as good and at least as fast, and better in one; the share of such
draws is its membership. It counts as dominated only by a system that is better in both in 95 % of the draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from harness.compare.outcomes import Outcome
from harness.compare.selection import distinct_contestants, headline_with_an_end, system_of
from harness.errors import GridError, UnknownName
from harness.leaderboard import lower_is_better, select
from harness.runner.artefacts import unpack_json
from harness.stats.intervals import block_medians, cluster_sums, resample_counts
from harness.tracking.projection import rows as rows_of
from harness.tracking.records import Store
from harness.tracking.rows import Row, Value

DRAWS = 2000
SURE = 0.95
LATENCY = "latency_ms_p50"
_Z = 1.96


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
    rows = select(distinct_contestants(rows_of(store, grid)), task=task, family=family)
    done = [row for row in rows if row.status == "done"]
    if metric is not None and lower_is_better(done, metric) is None:
        known = {name for row in done for name, value in row.metrics.items() if value.higher_is_better is not None}
        raise UnknownName("value with a better end", metric, known, "pareto")
    if not any(_timed(row) for row in done):
        raise GridError("pareto: no finished cell was timed; grids time theirs unless they say `latency: false`.")
    places: dict[tuple[str, str], list[Row]] = {}
    for row in done:
        places.setdefault((row.task, row.family), []).append(row)
    found = [_fronts(store, place, group, metric, seed) for place, group in sorted(places.items())]
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
            timed = next(row for row in group if _timed(row))
            by_device.setdefault(_device(timed.latency[LATENCY]), []).append(sorted(group, key=lambda row: row.seed))
        else:
            left_out[_title(group[0])] = reason
    lower = bool(lower_is_better(rows, name))
    return [
        Front(
            task=place[0], family=place[1], metric=name, device=device, left_out=left_out,
            placed=tuple(_placed(store, groups, name, lower, np.random.default_rng(seed))),
        )
        for device, groups in sorted(by_device.items())
    ]  # fmt: skip


def _title(row: Row) -> str:
    return " ".join(str(part) for part in system_of(row) if part is not None)


def _timed(row: Row) -> bool:
    value = row.latency.get(LATENCY)
    return value is not None and value.value is not None


def _unplaced(rows: Sequence[Row], metric: str) -> str | None:
    if not all(metric in row.metrics and row.metrics[metric].value is not None for row in rows):
        found = next((row.metrics[metric].reason for row in rows if metric in row.metrics), None)
        return f"no {metric}: {found or 'it was not measured'}"
    if any(_timed(row) for row in rows):
        return None
    reason = next((row.latency[LATENCY].reason for row in rows if LATENCY in row.latency), None)
    return f"no latency: {reason or 'it was not timed'}"


def _device(value: Value) -> str:
    parts = dict(part.split(":", 1) for part in value.signature.split("|") if ":" in part)
    return ", ".join(f"{parts[name]}{unit}" for name, unit in (("device_name", ""), ("threads", " threads")) if name in parts)


def _placed(store: Store, systems: Sequence[list[Row]], metric: str, lower: bool, rng: np.random.Generator) -> list[Placed]:
    outcomes = [[Outcome(store, row) for row in rows] for rows in systems]
    picks = _Picks.of(outcomes, rng)
    quality = np.stack([_quality(group, metric, picks, rng) for group in outcomes])
    latency = np.stack([_latency([row for row in group if _timed(row.row)], rng) for group in outcomes])
    goodness = -quality if lower else quality
    membership = 1 - _beats(goodness, latency).any(0).mean(1)
    sure = _betters(goodness, latency).mean(2) >= SURE
    placed = [
        Placed(
            tuple(rows), float(np.mean([row.metrics[metric].value for row in rows])),
            float(np.mean([row.latency[LATENCY].value for row in rows if _timed(row)])), float(membership[place]),
            tuple(_title(systems[other][0]) for other in np.flatnonzero(sure[:, place]).tolist()), _greyed(rows),
        )
        for place, rows in enumerate(systems)
    ]  # fmt: skip
    return sorted(placed, key=lambda item: item.quality if lower else -item.quality)


def _greyed(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason for row in rows if _timed(row) for reason in row.latency[LATENCY].greyed))


def _beats(goodness: Float[np.ndarray, "S R"], latency: Float[np.ndarray, "S R"]) -> Bool[np.ndarray, "S S R"]:
    """Whether the first system is at least as good and as fast as the second in a draw, and better in one."""
    good, fast = goodness[:, None] - goodness, latency - latency[:, None]
    return np.asarray((good >= 0) & (fast >= 0) & ((good > 0) | (fast > 0)))


def _betters(goodness: Float[np.ndarray, "S R"], latency: Float[np.ndarray, "S R"]) -> Bool[np.ndarray, "S S R"]:
    """Whether the first system is better than the second in both in a draw: a tie in one is not enough."""
    return np.asarray((goodness[:, None] > goodness) & (latency[:, None] < latency))


@dataclass(frozen=True, slots=True)
class _Picks:
    """How often each draw takes each item: the same for all systems. Items of one source or control go together."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    counts: Float[np.ndarray, "R m"]

    @classmethod
    def of(cls, outcomes: Sequence[Sequence[Outcome]], rng: np.random.Generator) -> "_Picks":
        """Draws of the items that the largest cell answers."""
        largest = max((outcome for group in outcomes for outcome in group), key=lambda outcome: len(outcome.ids))
        clusters = tuple(largest.clusters.values())
        return cls(largest.ids, clusters, np.concatenate(list(resample_counts(len(set(clusters)), resamples=DRAWS, rng=rng))))


def _quality(group: Sequence[Outcome], metric: str, picks: _Picks, rng: np.random.Generator) -> Float[np.ndarray, " R"]:
    """Draws of the mean over seeds: seeds, then items; values without items move as their interval says."""
    seeds = np.stack([_of_seed(outcome, metric, picks, rng) for outcome in group])
    chosen = rng.integers(len(seeds), size=(DRAWS, len(seeds)))
    return np.asarray(np.take_along_axis(seeds.T, chosen, 1).mean(1))


def _of_seed(outcome: Outcome, metric: str, picks: _Picks, rng: np.random.Generator) -> Float[np.ndarray, " R"]:
    value = outcome.row.metrics[metric]
    if metric in outcome.scores and outcome.ids == picks.ids:
        scored = outcome.scores[metric]
        return scored.aggregate(picks.counts @ cluster_sums(scored.rows, picks.clusters))
    error = (value.high - value.low) / (2 * _Z) if value.low is not None and value.high is not None else 0.0
    return float(value.value or 0.0) + error * rng.normal(size=DRAWS)


def _latency(group: Sequence[Outcome], rng: np.random.Generator) -> Float[np.ndarray, " R"]:
    """Draws of the median of timed calls at batch 1: blocks, then calls."""
    draws = []
    for outcome in group:
        blocks = np.array(unpack_json(outcome.blob("time/", "raw.json.gz"))["candidate batch 1"], dtype=np.float64) / 1e6
        picks = rng.integers(len(blocks), size=(DRAWS, len(blocks)), dtype=np.int32)
        draws.append(block_medians(blocks, picks, quantile=0.5, rng=rng))
    return np.asarray(np.mean(draws, axis=0))
