"""Is the difference between two cells real? Paired tests on the same items, and what difference they could have found.

With one seed on each side: paired bootstrap and approximate randomisation (Riezler and Maxwell 2005; p-values as sacreBLEU
defines them), which speak of new items only. With several: a t test on the layout of `seeds`, which speaks of new training runs.

From one generator seed, p-values of BLEU and chrF are sacreBLEU's own to the last bit, unless draws tie. Four things differ on
purpose: draws that differ by just as much count too, where sacreBLEU counts those that differ by more (of shares, which few
items decide, many draws tie, and equal systems would seem to differ too often); the interval is that of the difference
(BCa), where sacreBLEU gives a half-width of percentiles for each system's score; both tests take 10,000 resamples, where
sacreBLEU's bootstrap takes 1,000; repetitions of an item are one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float

from harness.stats.intervals import Aggregate, Interval, bca, cluster_sums, resample_counts
from harness.stats.power import minimum_detectable_effect
from harness.stats.seeds import Basis, Effects, Error, effects, error_of_difference

RESAMPLES = 10_000
_CHUNK = 2**24

Test = Literal["approximate randomisation", "t over seeds"]


@dataclass(frozen=True, slots=True)
class Sides:
    """One value of two cells, item by item.

    Attributes:
        a, b: additive statistics [S, n, K] of the same n items (or clusters) under each side's own seeds.
        aggregate: sums [R, K] -> values [R].
        crossed: whether item i asks the same of every seed of both.
    """

    a: Float[np.ndarray, "_ _ _"]
    b: Float[np.ndarray, "_ _ _"]
    aggregate: Aggregate
    crossed: bool = True

    def gathered(self, clusters: Sequence[str]) -> "Sides":
        """The same with the items of each cluster as one."""
        a, b = (np.stack([cluster_sums(rows, clusters) for rows in side]) for side in (self.a, self.b))
        return Sides(a, b, self.aggregate, self.crossed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What can be said of a - b.

    Attributes:
        a, b: the two values, means over seeds.
        interval: 95 % of a - b; `None` where too little varies.
        p_value: two-sided, by `test`; `None` where too little varies.
        bootstrap_p: of the paired bootstrap; `None` with several seeds.
        detectable: smallest true difference found with 80 % power at 5 %; `None` where too little varies.
        test: which test gave the p-value.
        basis: what it speaks of.
        n: items.
        seeds: of a and of b.
    """

    a: float
    b: float
    interval: Interval | None
    p_value: float | None
    bootstrap_p: float | None
    detectable: float | None
    test: Test
    basis: Basis
    n: int
    seeds: tuple[int, int]

    @property
    def difference(self) -> float:
        """A - b."""
        return self.a - self.b


def compare(sides: Sequence[Sides], *, seed: int, resamples: int = RESAMPLES) -> list[Comparison]:
    """Compare two cells in several values at once; all use the same resamples.

    Args:
        sides: the values, over the same items.
        seed: of both resampling tests.
        resamples: of each of them.

    Raises:
        ValueError: sides of different items, or fewer than 2 items.
    """
    for side in sides:
        if side.a.shape[1:] != side.b.shape[1:] or side.a.shape[1] < 2:
            raise ValueError(f"statistics of shapes {side.a.shape} and {side.b.shape}: expected the same items, at least 2")
    single = [side for side in sides if len(side.a) == len(side.b) == 1]
    by_items = iter(_by_items(single, seed, resamples))
    return [next(by_items) if len(side.a) == len(side.b) == 1 else _by_seeds(side) for side in sides]


def _by_seeds(side: Sides) -> Comparison:
    a, b = effects(side.a, side.aggregate), effects(side.b, side.aggregate)
    error, difference = error_of_difference(a, b, crossed=side.crossed), a.value - b.value
    interval, p_value = (error.interval(difference), error.p_value(difference)) if error else (None, None)
    return Comparison(
        a=a.value, b=b.value, interval=interval, p_value=p_value, bootstrap_p=None, detectable=_detectable(error),
        test="t over seeds", basis="seeds and items", n=len(a.items), seeds=(len(side.a), len(side.b)),
    )  # fmt: skip


def compare_values(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Compare two systems in a value that has no items, over their seeds: a t test.

    Args:
        a, b: the value under each seed.

    Raises:
        ValueError: fewer than 2 seeds on a side.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{len(a)} and {len(b)} seeds: a value without items needs at least 2 on each side")
    sides = [Effects(np.asarray(values, dtype=np.float64), np.zeros(0)) for values in (a, b)]
    error, difference = error_of_difference(*sides, crossed=False), sides[0].value - sides[1].value
    return Comparison(
        a=sides[0].value, b=sides[1].value, interval=error.interval(difference) if error else None,
        p_value=error.p_value(difference) if error else None, bootstrap_p=None, detectable=_detectable(error),
        test="t over seeds", basis="seeds", n=0, seeds=(len(a), len(b)),
    )  # fmt: skip


def _detectable(error: Error | None) -> float | None:
    return minimum_detectable_effect(error) if error else None


def _by_items(sides: Sequence[Sides], seed: int, resamples: int) -> list[Comparison]:
    pairs = [(side.a[0], side.b[0], side.aggregate) for side in sides]
    drawn = _bootstrapped(pairs, resamples=resamples, rng=np.random.default_rng(seed))
    p_values = approximate_randomisation(pairs, resamples=resamples, rng=np.random.default_rng(seed))
    return [_of_items(side, *found, p) for side, found, p in zip(sides, drawn, p_values, strict=True)]


Pair = tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_ _"], Aggregate]


def _of_items(side: Sides, a_draws: Float[np.ndarray, " R"], b_draws: Float[np.ndarray, " R"], p_value: float) -> Comparison:
    a, b = effects(side.a, side.aggregate), effects(side.b, side.aggregate)
    error, difference = error_of_difference(a, b, crossed=True), a.value - b.value
    interval = bca(a_draws - b_draws, estimate=difference, left_out=_left_out(a, b)) if error else None
    bootstrap_p = _bootstrap_p(a_draws, b_draws, difference) if error else None
    return Comparison(
        a=a.value, b=b.value, interval=interval, p_value=p_value if error else None, bootstrap_p=bootstrap_p,
        detectable=_detectable(error), test="approximate randomisation", basis="items", n=len(a.items), seeds=(1, 1),
    )  # fmt: skip


def _left_out(a: Effects, b: Effects) -> Float[np.ndarray, " n"]:
    """The difference without each item, back from pseudo-values."""
    n = len(a.items)
    return (n * (a.value - b.value) - (a.items - b.items)) / (n - 1)


def paired_bootstrap(pairs: Sequence[Pair], *, resamples: int, rng: np.random.Generator) -> list[float]:
    """Two-sided p-values of the paired bootstrap (Koehn 2004), as sacreBLEU computes them from the same generator.

    Args:
        pairs: statistics of one side, of the other, and their aggregate.
        resamples: bootstrap samples, shared by all pairs.
        rng: numpy generator.
    """
    drawn = _bootstrapped(pairs, resamples=resamples, rng=rng)
    return [_bootstrap_p(*found, _difference(pair)) for pair, found in zip(pairs, drawn, strict=True)]


def approximate_randomisation(pairs: Sequence[Pair], *, resamples: int, rng: np.random.Generator) -> list[float]:
    """Two-sided p-values: how often sides swapped at random differ by as much as they do; as sacreBLEU from the same generator.

    Args:
        pairs: statistics of one side, of the other, and their aggregate.
        resamples: random swaps, shared by all pairs.
        rng: numpy generator.
    """
    if not pairs:
        return []
    swapped = rng.integers(2, size=(resamples, len(pairs[0][0])), dtype=bool)
    moves, first, last = np.concatenate([a - b for a, b, _ in pairs], axis=1), 0, 0
    sums = _product(swapped, moves)
    found = []
    for a, b, aggregate in pairs:
        first, last = last, last + a.shape[1]
        both = a.sum(0) + b.sum(0)
        one = b.sum(0) + sums[:, first:last]
        found.append(_p_value(np.abs(aggregate(one) - aggregate(both - one)), abs(_difference((a, b, aggregate)))))
    return found


def _product(picks: np.ndarray, rows: Float[np.ndarray, "n K"]) -> Float[np.ndarray, "R K"]:
    """Sums over the picked items, in chunks that fit in memory."""
    step = max(1, _CHUNK // picks.shape[1])
    return np.concatenate([picks[done : done + step].astype(np.float64) @ rows for done in range(0, len(picks), step)])


def _bootstrapped(pairs: Sequence[Pair], *, resamples: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Values of both sides on the same bootstrap samples."""
    if not pairs:
        return []
    rows = np.concatenate([side for a, b, _ in pairs for side in (a, b)], axis=1)
    sums = np.concatenate([counts @ rows for counts in resample_counts(len(rows), resamples=resamples, rng=rng)])
    widths = np.cumsum([0, *(side.shape[1] for a, b, _ in pairs for side in (a, b))])
    parts = [sums[:, first:last] for first, last in pairwise(widths)]
    return [(pair[2](a), pair[2](b)) for pair, a, b in zip(pairs, parts[::2], parts[1::2], strict=True)]


def _difference(pair: Pair) -> float:
    a, b, aggregate = pair
    return float((aggregate(a.sum(0)[None]) - aggregate(b.sum(0)[None]))[0])


def _bootstrap_p(a_draws: Float[np.ndarray, " R"], b_draws: Float[np.ndarray, " R"], difference: float) -> float:
    apart = np.abs(a_draws - b_draws)
    return _p_value(apart - apart.mean(), abs(difference))


def _p_value(draws: Float[np.ndarray, " R"], observed: float) -> float:
    """Share of draws that reach what was observed, the observed one among them; equal up to rounding is reached."""
    slack = 1e-9 * max(1.0, abs(observed))
    return (int(np.count_nonzero(draws >= observed - slack)) + 1) / (len(draws) + 1)
