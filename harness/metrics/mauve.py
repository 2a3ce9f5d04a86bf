"""MAUVE on the judge's features: how close the distribution of samples is to that of human text.

The only file that imports mauve-text, whose licence is GPLv3; nothing of it is copied here.
"""

import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, refusals, resamples, resampling
from harness.metrics.features import Features, embedded, embedded_humans, feature_signature
from harness.metrics.profiles import profile
from harness.metrics.sides import LEAST, size_flags
from harness.stats.intervals import Interval
from harness.stats.standard_errors import around

_SHORT = 64  # tokens; shorter texts hold too little to tell distributions apart
_SCALING = 5.0
_POINTS = 25
_Histograms = tuple[np.ndarray, np.ndarray]
_Scores = tuple[list[float], list[_Histograms]]
_Law = Callable[[np.ndarray, int], np.ndarray]
_ROWS = 64  # resamples at a time, so that they stay in the processor's cache
_KEPT = 16
_ceilings: dict[object, _Scores] = {}


class Mauve:
    """MAUVE in [0, 1] between as many samples as references (Pillutla et al. 2021, 2023), mean over k-means seeds.

    Both sides are cut to the task's length and stand in the order of their ids, since k-means depends on it. The interval
    adds the variance of items (bootstrap of the cluster histograms) and of k-means seeds. Empty samples keep their place
    and are counted. `mauve_star` is the value of histograms with half a text more in each cluster (Krichevsky and Trofimov
    1981; Pillutla et al. 2023), less biased where clusters are small.

    `mauve_ceiling` is what other human texts score in the place of samples, and `mauve_normalised` is `mauve` over it: about
    1 for a perfect model, above it by chance. Its interval takes the two for independent (delta method); as they share the
    references, it is rather too wide than too narrow.
    """

    name: ClassVar[str] = "mauve"
    version: ClassVar[int] = 3
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    libraries: ClassVar[tuple[str, ...]] = ("mauve-text", "faiss-cpu", "scikit-learn")
    values: ClassVar[Mapping[str, bool | None]] = {
        "mauve": True, "mauve_star": True, "mauve_ceiling": None, "mauve_normalised": True,
    }  # fmt: skip
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "mauve": ("shuffled-human", "phrase-table", "tiled", "empty", "constant"),
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts, and other human texts, against the examples' targets."""
        n, signature = len(checked_texts(evaluation)), _signature(evaluation)
        if profile(evaluation.profile).mauve_seeds == 0:
            return refusals(self.values, f"profile {evaluation.profile!r} computes no MAUVE", n=n, signature=signature)
        found = embedded(evaluation, least=LEAST, otherwise="MAUVE would be biased upward and could rank systems wrongly")
        if isinstance(found, str):
            return refusals(self.values, found, n=n, signature=signature)
        if _all_equal(found.samples, found.references):
            return refusals(self.values, "all features are equal: MAUVE means nothing on them", n=n, signature=signature)
        return _measured(evaluation, found, signature)


@dataclass(frozen=True, slots=True)
class _Estimate:
    value: float
    variance: float

    def interval(self, *, most: float = math.inf) -> Interval:
        """Normal interval of a value between 0 and `most`."""
        return around(self.value, math.sqrt(self.variance), least=0.0, most=most)

    def over(self, other: "_Estimate") -> "_Estimate":
        """The ratio to an independent estimate, by the delta method."""
        ratio, relative = self.value / other.value, (self.variance / self.value**2, other.variance / other.value**2)
        return _Estimate(ratio, ratio**2 * sum(relative))


def _measured(evaluation: Evaluation, found: Features, signature: str) -> dict[str, Measurement]:
    n, seeds = len(found.samples), range(profile(evaluation.profile).mauve_seeds)
    flags = _flags(n, len(seeds), found.sides.median)
    scores, histograms = mauve_scores(found.samples, found.references, seeds=seeds)
    stars = [float(area_of_divergence(*(smoothed(side[None], n) for side in pair))[0]) for pair in histograms]
    values = {
        name: _estimate(given, histograms, n, resamples(evaluation), resampling(evaluation, name), law)
        for name, given, law in (("mauve", scores, _plain), ("mauve_star", stars, smoothed))
    }
    said = (*flags, *empty_flags(evaluation.texts))
    return {
        **{
            name: measured(item.value, item.interval(most=1.0), n=n, signature=signature, flags=said)
            for name, item in values.items()
        },
        **_against_humans(evaluation, found.references, values["mauve"], signature, flags),
    }


def _against_humans(
    evaluation: Evaluation, references: Float[np.ndarray, "n W"], reached: _Estimate, signature: str, flags: tuple[str, ...]
) -> dict[str, Measurement]:
    """The ceiling, and what was reached over it."""
    n, humans = len(references), embedded_humans(evaluation, width=references.shape[1])
    if isinstance(humans, str):
        return refusals({"mauve_ceiling": None, "mauve_normalised": True}, humans, n=n, signature=signature)
    scored = _scores_of_humans(humans.features, references, seeds=range(profile(evaluation.profile).mauve_seeds))
    ceiling = _estimate(*scored, n, resamples(evaluation), resampling(evaluation, "mauve_ceiling"))
    signature, flags = f"{signature}|humans:{humans.source.digest}", (*flags, *humans.source.flags)
    ratio, said = reached.over(ceiling), (*flags, *empty_flags(evaluation.texts))
    return {
        "mauve_ceiling": measured(ceiling.value, ceiling.interval(most=1.0), n=n, signature=signature, flags=flags),
        "mauve_normalised": measured(ratio.value, ratio.interval(), n=n, signature=signature, flags=said),
    }


def mauve_scores(samples: Float[np.ndarray, "n W"], references: Float[np.ndarray, "m W"], *, seeds: Sequence[int]) -> _Scores:
    """MAUVE by mauve-text with its defaults (n/10 clusters, 90 % of variance, 5 redos), once per k-means seed.

    Returns:
        Scores, and the two cluster histograms behind each of them.

    Raises:
        ValueError: unequal numbers of samples and references.
    """
    if len(samples) != len(references):
        raise ValueError(f"{len(samples)} samples and {len(references)} references: MAUVE compares equal numbers")
    with _quiet_standard_error():
        import mauve

        results = [mauve.compute_mauve(p_features=samples, q_features=references, seed=seed) for seed in seeds]
    return [float(result.mauve) for result in results], [(result.p_hist, result.q_hist) for result in results]


def _scores_of_humans(
    samples: Float[np.ndarray, "n W"], references: Float[np.ndarray, "m W"], *, seeds: Sequence[int]
) -> _Scores:
    """The same, kept by the digest of both sides: all models of a task are held against one ceiling, which is half the work."""
    sides = (np.ascontiguousarray(side) for side in (samples, references))
    key = tuple((side.shape, str(side.dtype), hashlib.sha256(side.data).digest()) for side in sides), tuple(seeds)
    if key not in _ceilings:
        while len(_ceilings) >= _KEPT:
            del _ceilings[next(iter(_ceilings))]
        _ceilings[key] = mauve_scores(samples, references, seeds=seeds)
    return _ceilings[key]


def area_of_divergence(p: Float[np.ndarray, "R K"], q: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    """MAUVE of histograms: area under (exp(-c KL(Q|R)), exp(-c KL(P|R))) over mixtures R of P and Q.

    Pillutla et al. 2021, with c = 5 and 25 mixtures, by the trapezoidal rule.
    """
    parts = [_areas(p[start : start + _ROWS], q[start : start + _ROWS]) for start in range(0, len(p), _ROWS)]
    return np.concatenate([np.zeros(0), *parts])


def _areas(p: Float[np.ndarray, "R K"], q: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    x, y = [np.ones(len(p))], [np.zeros(len(p))]
    p_log, q_log = (_expected(side, _log(side)) for side in (p, q))
    for weight in np.linspace(1e-6, 1 - 1e-6, _POINTS):
        mixture = _log(weight * p + (1 - weight) * q)  # for both divergences: logarithms are most of the time
        x.append(np.exp(-_SCALING * (q_log - _expected(q, mixture))))
        y.append(np.exp(-_SCALING * (p_log - _expected(p, mixture))))
    xs, ys = np.array([*x, np.zeros(len(p))]), np.array([*y, np.ones(len(p))])
    return ((xs[:-1] - xs[1:]) * (ys[1:] + ys[:-1]) / 2).sum(0)


def _log(histograms: Float[np.ndarray, "R K"]) -> Float[np.ndarray, "R K"]:
    """Logarithms; 0 where a cluster is empty, since 0 log 0 counts nothing."""
    return np.log(np.where(histograms > 0, histograms, 1.0))


def _expected(histograms: Float[np.ndarray, "R K"], values: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    return np.einsum("rk,rk->r", histograms, values)


def _plain(histograms: Float[np.ndarray, "R K"], n: int) -> Float[np.ndarray, "R K"]:
    return histograms


def smoothed(histograms: Float[np.ndarray, "R K"], n: int) -> Float[np.ndarray, "R K"]:
    """Histograms of n texts with half a text more in each cluster."""
    return (histograms * n + 0.5) / (n + 0.5 * histograms.shape[1])


def _estimate(
    scores: Sequence[float],
    histograms: Sequence[_Histograms],
    n: int,
    draws: int,
    rng: np.random.Generator,
    law: _Law = _plain,
) -> _Estimate:
    """Mean over seeds, with the variance of items, given the clusters, plus that of the mean over seeds."""
    resampled = [[law(side, n) for side in _resampled(pair, n, draws, rng)] for pair in histograms]
    items = np.mean([area_of_divergence(p, q).var(ddof=1) for p, q in resampled])
    seeds = np.var(scores, ddof=1) / len(scores) if len(scores) > 1 else 0.0
    return _Estimate(float(np.mean(scores)), float(items + seeds))


def _resampled(pair: _Histograms, n: int, draws: int, rng: np.random.Generator) -> _Histograms:
    p, q = (rng.multinomial(n, histogram / histogram.sum(), size=draws) / n for histogram in pair)
    return p, q


def _all_equal(samples: Float[np.ndarray, "n W"], references: Float[np.ndarray, "n W"]) -> bool:
    return bool(np.ptp(samples, axis=0).max() == 0 and np.ptp(references, axis=0).max() == 0)


def _flags(n: int, seeds: int, median: float) -> tuple[str, ...]:
    single = ("one k-means seed: its variance is not in the interval",) if seeds == 1 else ()
    short = (f"short texts: half have at most {median:g} tokens, MAUVE needs {_SHORT}",) if median < _SHORT else ()
    return (*size_flags(n), *single, *short)


def _signature(evaluation: Evaluation) -> str:
    return (
        f"{feature_signature(evaluation)}|k:n/10|c:{_SCALING:g}|pca:0.9|redo:5|iter:500|points:{_POINTS}"
        f"|seeds:{profile(evaluation.profile).mauve_seeds}|mauve-text:{version('mauve-text')}|faiss:{version('faiss-cpu')}"
    )


@contextmanager
def _quiet_standard_error() -> Iterator[None]:
    """Hold back what faiss writes past Python: a warning that n/10 clusters have 20 points each, which MAUVE wants."""
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
