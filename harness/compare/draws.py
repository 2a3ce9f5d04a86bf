"""Values of systems drawn again: items (the same for all systems, so that they are paired), seeds, and blocks of timed calls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.compare.outcomes import Outcome
from harness.runner.artefacts import unpack_json
from harness.stats.intervals import block_medians, cluster_sums, resample_counts
from harness.tracking.rows import Row, Value

DRAWS = 2000
SURE = 0.95
"""Share of draws from which on something is said for sure."""
LATENCY = "latency_ms_p50"
_Z = 1.96


def is_timed(row: Row) -> bool:
    """Whether a row has a median latency at batch 1."""
    value = row.latency.get(LATENCY)
    return value is not None and value.value is not None


def device_of(value: Value) -> str:
    """The machine that a latency was measured on, as its signature tells."""
    parts = dict(part.split(":", 1) for part in value.signature.split("|") if ":" in part)
    return ", ".join(f"{parts[name]}{unit}" for name, unit in (("device_name", ""), ("threads", " threads")) if name in parts)


def greyed_latency(rows: Sequence[Row]) -> tuple[str, ...]:
    """Why the latencies of these rows are not to be relied on; empty where they are."""
    return tuple(dict.fromkeys(reason for row in rows if is_timed(row) for reason in row.latency[LATENCY].greyed))


@dataclass(frozen=True, slots=True)
class Picks:
    """How often each draw takes each item: the same for all systems. Items of one source or control go together."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    counts: Float[np.ndarray, "R m"]

    @classmethod
    def of(cls, outcomes: Sequence[Sequence[Outcome]], rng: np.random.Generator) -> "Picks":
        """Draws of the items that the largest cell answers."""
        largest = max((outcome for group in outcomes for outcome in group), key=lambda outcome: len(outcome.ids))
        clusters = tuple(largest.clusters.values())
        return cls(largest.ids, clusters, np.concatenate(list(resample_counts(len(set(clusters)), resamples=DRAWS, rng=rng))))


def quality_draws(group: Sequence[Outcome], metric: str, picks: Picks, rng: np.random.Generator) -> Float[np.ndarray, " R"]:
    """Draws of the mean over seeds: seeds, then items; values without items move as their interval says."""
    seeds = np.stack([_of_seed(outcome, metric, picks, rng) for outcome in group])
    chosen = rng.integers(len(seeds), size=(DRAWS, len(seeds)))
    return np.asarray(np.take_along_axis(seeds.T, chosen, 1).mean(1))


def _of_seed(outcome: Outcome, metric: str, picks: Picks, rng: np.random.Generator) -> Float[np.ndarray, " R"]:
    value = outcome.row.metrics[metric]
    if metric in outcome.scores and outcome.ids == picks.ids:
        scored = outcome.scores[metric]
        return scored.aggregate(picks.counts @ cluster_sums(scored.rows, picks.clusters))
    error = (value.high - value.low) / (2 * _Z) if value.low is not None and value.high is not None else 0.0
    return float(value.value or 0.0) + error * rng.normal(size=DRAWS)


def latency_draws(group: Sequence[Outcome], rng: np.random.Generator) -> Float[np.ndarray, " R"]:
    """Draws of the median of timed calls at batch 1: blocks, then calls."""
    draws = []
    for outcome in group:
        blocks = np.array(unpack_json(outcome.blob("time/", "raw.json.gz"))["candidate batch 1"], dtype=np.float64) / 1e6
        picks = rng.integers(len(blocks), size=(DRAWS, len(blocks)), dtype=np.int32)
        draws.append(block_medians(blocks, picks, quantile=0.5, rng=rng))
    return np.asarray(np.mean(draws, axis=0))
