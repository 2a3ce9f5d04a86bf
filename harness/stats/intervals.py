"""95 % intervals from per-item statistics: Wilson, bootstrap over items, clusters or blocks, t over repetitions.

A corpus statistic is a function of sums over items (n-gram matches, nats, tokens), so a resample is a weighted sum and thousands
of them are one matrix product. An *aggregate* maps sums [R, K] to R values, row by row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

Aggregate = Callable[[np.ndarray], np.ndarray]
CONFIDENCE = 0.95
LEAST = 5
"""Fewest items whose absence moves a value, for a bootstrap interval of it."""
_CHUNK = 2**22


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of an interval."""

    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> "Interval":
        """The interval of an increasing function of the value."""
        return Interval(function(self.low), function(self.high))


def wilson(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a share.

    Wilson 1927 (J. Am. Stat. Assoc. 22); the default of Brown, Cai and DasGupta 2001 for small n.

    Args:
        successes: items that have the property.
        n: items.
        confidence: coverage aimed at.

    Raises:
        ValueError: n below 1, or successes outside [0, n].
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected n >= 1 and 0 <= successes <= n")
    return _score(successes / n, n, confidence)


def _score(share: float, n: float, confidence: float) -> Interval:
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    spread = z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / n + spread / (4 * n)))
    return Interval(0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half)


def clustered_wilson(
    statistics: Float[np.ndarray, "n 2"], clusters: Sequence[str] | Sequence[int], *, confidence: float = CONFIDENCE
) -> Interval:
    """Score interval of a share whose trials come in clusters: that of an effective number of independent trials.

    Korn and Graubard 1998 (Survey Methodology 24): as many as would give the share the variance that it has between
    clusters. Never more than there are, and no fewer than if every cluster were all hits or all misses (Kish 1965), which
    is also taken where clusters show no variance. The same as `wilson` where every cluster is one trial.

    Args:
        statistics: hits and trials of every item.
        clusters: label of every item.
        confidence: coverage aimed at.

    Raises:
        ValueError: no trials, or not one label per item.
    """
    hits, trials = cluster_sums(statistics, clusters).T
    n = float(trials.sum())
    if n <= 0:
        raise ValueError(f"{len(statistics)} items have no trials: expected at least one")
    share, least = float(hits.sum()) / n, n**2 / float((trials**2).sum())
    variance = float(((hits - share * trials) ** 2).sum()) * len(trials) / max(len(trials) - 1, 1) / n**2
    effective = float(np.clip(share * (1 - share) / variance, least, n)) if variance > 0 else least
    return _score(share, effective, confidence)


def bootstrap(
    statistics: Float[np.ndarray, "n K"], aggregate: Aggregate, *, resamples: int, rng: np.random.Generator
) -> Interval | None:
    """Bias-corrected and accelerated interval of an aggregate of sums over independent items.

    Efron 1987, "Better bootstrap confidence intervals": bias from the share of resamples below the estimate, acceleration
    from the jackknife. Does not change under an increasing transformation of the value.

    Args:
        statistics: one row of additive statistics per item.
        aggregate: sums [R, K] -> values [R].
        resamples: number of bootstrap samples.
        rng: numpy generator.

    Returns:
        `None` where fewer than `LEAST` items move the value when left out (all alike, or few that count), since resamples
        then hardly differ, or where no resample gives a finite value.
    """
    total = statistics.sum(0)
    estimate, left_out = float(aggregate(total[None])[0]), aggregate(total - statistics)
    if np.count_nonzero(~np.isclose(left_out, estimate, rtol=1e-12, atol=0)) < LEAST:
        return None
    draws = aggregate(bootstrap_totals(statistics, resamples=resamples, rng=rng))
    return bca(draws, estimate=estimate, left_out=left_out)


def clustered_bootstrap(
    statistics: Float[np.ndarray, "n K"],
    clusters: Sequence[str] | Sequence[int],
    aggregate: Aggregate,
    *,
    resamples: int,
    rng: np.random.Generator,
) -> Interval | None:
    """Like `bootstrap`, for items that share a source or a target: whole clusters are resampled.

    Args:
        statistics: one row of additive statistics per item.
        clusters: label of every item.
        aggregate: sums [R, K] -> values [R].
        resamples: number of bootstrap samples.
        rng: numpy generator.

    Raises:
        ValueError: not one label per item.
    """
    return bootstrap(cluster_sums(statistics, clusters), aggregate, resamples=resamples, rng=rng)


def cluster_sums(statistics: Float[np.ndarray, "n K"], clusters: Sequence[str] | Sequence[int]) -> Float[np.ndarray, "_ K"]:
    """Sums within clusters, in the order in which clusters appear."""
    if len(clusters) != len(statistics):
        raise ValueError(f"{len(clusters)} cluster labels for {len(statistics)} items: expected one each")
    place: dict[str | int, int] = {}
    member = np.array([place.setdefault(label, len(place)) for label in clusters], dtype=np.int64)
    if len(place) == len(member):
        return statistics
    sums = np.zeros((len(place), statistics.shape[1]))
    np.add.at(sums, member, statistics)
    return sums


def bootstrap_totals(
    statistics: Float[np.ndarray, "n K"], *, resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "R K"]:
    """Sums of the statistics over bootstrap samples of the items."""
    return np.concatenate([weights @ statistics for weights in resample_counts(len(statistics), resamples=resamples, rng=rng)])


def resample_counts(n: int, *, resamples: int, rng: np.random.Generator) -> Iterator[Float[np.ndarray, "_ n"]]:
    """How often each of n items occurs in each bootstrap sample, in chunks that fit in memory."""
    for done in range(0, resamples, chunk := max(1, _CHUNK // n)):
        rows = min(chunk, resamples - done)
        picks = rng.integers(n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(picks.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def bca(
    draws: Float[np.ndarray, " R"], *, estimate: float, left_out: Float[np.ndarray, " n"], confidence: float = CONFIDENCE
) -> Interval | None:
    """Interval from bootstrap values, the estimate and the values with one item left out.

    Returns:
        `None` where no draw is finite.
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return None
    normal = NormalDist()
    below = (np.count_nonzero(draws < estimate) + 0.5 * np.count_nonzero(draws == estimate)) / len(draws)
    bias = normal.inv_cdf(float(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws))))
    acceleration = _acceleration(left_out[np.isfinite(left_out)])
    levels = [normal.inv_cdf(level) for level in (0.5 - confidence / 2, 0.5 + confidence / 2)]
    moved = [normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in levels]
    low, high = np.quantile(draws, moved)
    return Interval(float(low), float(high))


def _acceleration(left_out: Float[np.ndarray, " n"]) -> float:
    if len(left_out) < 2:
        return 0.0
    influence = left_out.mean() - left_out
    scale = float((influence**2).sum()) ** 1.5
    skew = float((influence**3).sum()) / (6 * scale) if scale > 0 else 0.0
    # |z0 + z| stays below 8, so a tenth keeps the denominator positive; only a handful of items exceeds it
    return float(np.clip(skew, -0.1, 0.1))


def percentile(draws: Float[np.ndarray, " R"], *, confidence: float = CONFIDENCE) -> Interval:
    """Plain percentile interval of bootstrap values."""
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high))


def student(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval | None:
    """Interval of the mean of independent repetitions by Student's t; `None` where there are not two that differ."""
    from scipy import stats

    if len(set(values)) < 2:
        return None
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return Interval(float(np.mean(values) - half), float(np.mean(values) + half))


def median_interval(values: Float[np.ndarray, " n"], *, confidence: float = CONFIDENCE) -> Interval | None:
    """Interval of a median between two order statistics, whatever the law; covers at least as often as asked.

    Thompson 1936 (Ann. Math. Stat. 7). `None` below 6 values, which cannot hold 95 %.
    """
    from scipy import stats

    below = int(stats.binom.ppf(0.5 - confidence / 2, len(values), 0.5))
    if below < 1:
        return None
    ranked = np.sort(values)
    return Interval(float(ranked[below - 1]), float(ranked[len(values) - below]))


def ratio_of_sums(sums: Float[np.ndarray, "R 2"]) -> Float[np.ndarray, " R"]:
    """Aggregate: first column over the second (nats per token, words per text); NaN where the second is 0."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] != 0)


def block_medians(
    blocks: Float[np.ndarray, "K n"], picks: Int[np.ndarray, "R K"], *, quantile: float, rng: np.random.Generator
) -> Float[np.ndarray, " R"]:
    """Quantile of two-level resamples: the given blocks, then requests within each of them.

    Args:
        blocks: values of K blocks of n requests.
        picks: blocks of every resample; the same picks pair two systems that ran in turn.
        quantile: in (0, 1); one half is the median.
        rng: numpy generator.
    """
    flat, width = blocks.ravel(), blocks.shape[1]
    rows = max(1, _CHUNK // 8 // blocks.size)
    chunks = (picks[done : done + rows, :, None] for done in range(0, len(picks), rows))
    drawn = (chunk * np.int64(width) + _within(chunk, width, rng) for chunk in chunks)
    return np.concatenate([_quantiles(flat[places].reshape(len(places), -1), quantile) for places in drawn])


def _within(picks: Int[np.ndarray, "R K 1"], width: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(width, size=(*picks.shape[:2], width), dtype=np.min_scalar_type(width - 1).type)


def _quantiles(rows: Float[np.ndarray, "R m"], quantile: float) -> Float[np.ndarray, " R"]:
    """`np.quantile` of each row by one partition, four times as fast on long rows."""
    position = quantile * (rows.shape[1] - 1)
    below = int(position)
    parted = np.partition(rows, below, axis=1)
    low, high = parted[:, below], parted[:, min(below + 1, rows.shape[1] - 1) :].min(1)
    return low + (position - below) * (high - low)
