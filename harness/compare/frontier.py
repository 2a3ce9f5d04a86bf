"""Judge perplexity as a frontier: what it is at the entropy of human text, between the temperatures that were sampled.

A single point can be bought: a lower temperature lowers perplexity and entropy together. So systems are compared where their
samples are as varied as human text: log perplexity is linear in entropy between the two neighbouring points that enclose the
human entropy, and nothing is said beyond the points that were sampled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.compare.outcomes import Outcome
from harness.compare.selection import distinct_contestants, has_value
from harness.compare.systems import incomparable
from harness.errors import GridError
from harness.leaderboard import select
from harness.stats.intervals import Interval, bootstrap_totals, cluster_sums
from harness.stats.seeds import pooled
from harness.tracking.projection import rows as rows_of
from harness.tracking.records import Store
from harness.tracking.rows import Row

PERPLEXITY, ENTROPY, HUMAN = "judge_ppl", "sample_entropy", "human_entropy"
BESIDE = ("rep_4", "distinct_2")
RESAMPLES = 2000
_EDGE = 0.025  # of resamples that may fall beyond the points before an interval would say too little
_VARIED = ("temperature", "top_p")


@dataclass(frozen=True, slots=True)
class Point:
    """One way of sampling a system; values are means over seeds.

    Attributes:
        decode: its name.
        temperature, top_p: as sampled.
        values: perplexity, entropy, repetition and diversity by name; absent ones are missing.
    """

    decode: str
    temperature: float
    top_p: float
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontier:
    """A system's perplexity at the entropy of human text.

    Attributes:
        model, task, schedule, steps: which system, and where.
        seeds: training seeds that every point has.
        points: in the order of their entropy.
        human: entropy of human text, in nats.
        perplexity: at that entropy; `None` where it is not reached, with `reason`.
        interval: 95 %; `None` where there is no perplexity, or its own reason in `reason`.
        basis: what the interval speaks of.
        reason: why something is missing.
    """

    model: str
    task: str
    schedule: str | None
    steps: int | None
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    human: float | None
    perplexity: float | None = None
    interval: Interval | None = None
    basis: str | None = None
    reason: str | None = None


def frontiers(
    store: Store, *, grid: str | None = None, task: str | None = None, model: str | None = None, seed: int = 0
) -> list[Frontier]:
    """The frontier of every system with finished unconditional cells that a judge scored; lowest perplexity first.

    Args:
        store: where the cells are.
        grid, task, model: as in `harness table`.
        seed: of the resampling.

    Raises:
        GridError: there are no such cells.
    """
    rows = select(distinct_contestants(rows_of(store, grid)), task=task, model=model)
    systems: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if (row.status, row.family) == ("done", "ucg") and PERPLEXITY in row.metrics and _plain(row):
            systems.setdefault((row.task, row.model, row.schedule, row.steps), []).append(row)
    if not systems:
        raise GridError(
            f"frontier: no finished unconditional cell has {PERPLEXITY}; name the metric judge-perplexity in the grid."
        )
    found = [_frontier(store, group, seed) for group in systems.values()]
    return sorted(found, key=lambda item: (item.task, item.perplexity is None, item.perplexity or 0.0, item.model))


def _plain(row: Row) -> bool:
    """Sampled once, without a search and without a choice among candidates."""
    decode = row.settings.get("decode") or {}
    return decode.get("method", "sample") == "sample" and decode.get("candidates", 1) == 1


def _frontier(store: Store, rows: Sequence[Row], seed: int) -> Frontier:
    by_point: dict[tuple[float, float], dict[int, Outcome]] = {}
    for row in rows:
        by_point.setdefault(_setting(row), {}).setdefault(row.seed, Outcome(store, row))
    seeds = sorted(set.intersection(*(set(group) for group in by_point.values())))
    outcomes = [[group[number] for number in seeds] for group in by_point.values()]
    first = rows[0]
    empty = Frontier(
        model=first.model, task=first.task, schedule=first.schedule, steps=first.steps, seeds=tuple(seeds), points=(), human=None
    )
    reason = _unfit(outcomes)
    if reason is not None:
        return replace(empty, reason=reason)
    outcomes.sort(key=lambda group: _mean(group, ENTROPY))
    points = tuple(_point(group) for group in outcomes)
    human = _mean(outcomes[0], HUMAN)
    shown = replace(empty, points=points, human=human)
    if len(points) < 2:
        return replace(shown, reason="one point only: a frontier needs cells sampled at several temperatures")
    low, high = points[0].values[ENTROPY], points[-1].values[ENTROPY]
    if not low <= human <= high:
        return replace(shown, reason=f"not reached: samples have entropies from {low:.3f} to {high:.3f}, human text {human:.3f}")
    return _measured(shown, outcomes, seed)


def _setting(row: Row) -> tuple[float, float]:
    decode = row.settings.get("decode") or {}
    temperature, top_p = (float(decode.get(name, 1.0)) for name in _VARIED)
    return temperature, top_p


def _unfit(outcomes: Sequence[Sequence[Outcome]]) -> str | None:
    """Why points cannot be put on one curve; `None` where they can."""
    if not outcomes[0]:
        return "its points have no seed in common"
    everything = [outcome for group in outcomes for outcome in group]
    lacking = [name for name in (PERPLEXITY, ENTROPY, HUMAN) if any(name not in outcome.scores for outcome in everything)]
    if lacking:
        return f"no statistics of items were kept for {', '.join(lacking)}"
    if any(outcome.ids != everything[0].ids for outcome in everything):
        return "its points answer different requests"
    reasons = (incomparable(outcomes[0], group, name) for group in outcomes[1:] for name in (PERPLEXITY, ENTROPY, HUMAN))
    return next((reason for reason in reasons if reason is not None), None)


def _mean(group: Sequence[Outcome], name: str) -> float:
    return float(np.mean([outcome.row.metrics[name].value for outcome in group]))


def _point(group: Sequence[Outcome]) -> Point:
    row = group[0].row
    known = [name for name in (PERPLEXITY, ENTROPY, *BESIDE) if all(has_value(outcome.row, name) for outcome in group)]
    return Point(row.decode, *_setting(row), {name: _mean(group, name) for name in known})


def _measured(shown: Frontier, outcomes: Sequence[Sequence[Outcome]], seed: int) -> Frontier:
    rng, table = np.random.default_rng(seed), _statistics(outcomes)
    found = pooled(table, log_perplexity_at_human_entropy, crossed=False, resamples=RESAMPLES, rng=rng)
    if not np.isfinite(found.value):
        return replace(shown, reason="not reached with every seed")
    done = replace(shown, perplexity=float(np.exp(found.value)), basis=found.basis)
    draws = log_perplexity_at_human_entropy(bootstrap_totals(table.mean(0), resamples=RESAMPLES, rng=rng))
    beyond = float(np.isnan(draws).mean())
    if beyond > _EDGE or found.interval is None:
        return replace(done, reason=f"no interval: the human entropy lies beyond the points in {beyond:.0%} of the resamples")
    return replace(done, interval=found.interval.map(lambda end: float(np.exp(end))))


def _statistics(outcomes: Sequence[Sequence[Outcome]]) -> Float[np.ndarray, "S n K"]:
    """For every seed and item: nats, tokens and entropy of each point, the human entropy, 1; repetitions of an item together."""
    clusters = [name.partition("#")[0] for name in outcomes[0][0].ids]
    seeds = []
    for place in range(len(outcomes[0])):
        scored = [group[place].scores for group in outcomes]
        columns = [column for scores in scored for column in (*scores[PERPLEXITY].rows.T[:2], scores[ENTROPY].rows[:, 0])]
        columns += [scored[0][HUMAN].rows[:, 0], np.ones(len(clusters))]
        seeds.append(cluster_sums(np.stack(columns, axis=1), clusters))
    return np.stack(seeds)


def log_perplexity_at_human_entropy(sums: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    """Aggregate: log perplexity, linear in entropy between points; NaN where no two points enclose the human entropy.

    Args:
        sums: nats, tokens and entropy of each point, one after the other; then the human entropy, and the number of items.
    """
    points = sums[:, :-2].reshape(len(sums), -1, 3)
    entropies, logarithms = points[..., 2] / sums[:, -1:], points[..., 0] / points[..., 1]
    order = entropies.argsort(1)
    entropies, logarithms = (np.take_along_axis(values, order, 1) for values in (entropies, logarithms))
    human = sums[:, -2] / sums[:, -1]
    return np.array(
        [np.interp(at, x, y, left=np.nan, right=np.nan) for at, x, y in zip(human, entropies, logarithms, strict=True)]
    )
