"""MAUVE on the judge's features: how close the distribution of samples is to that of human text.

The only file that imports mauve-text, whose licence is GPLv3; nothing of it is copied here.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.intervals import Interval
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, refusal, resamples, resampling
from harness.metrics.profiles import profile

LEAST, UNFLAGGED, RANKED = 500, 1000, 2000
_SCALING = 5.0
_POINTS = 25
_Histograms = tuple[np.ndarray, np.ndarray]


class Mauve:
    """MAUVE in [0, 1] between as many samples as references (Pillutla et al. 2021, 2023), mean over k-means seeds.

    Both sides stand in the order of their ids, since k-means depends on it. The interval adds the variance of items
    (bootstrap of the cluster histograms) and of k-means seeds. Empty samples keep their place and are counted.
    """

    name: ClassVar[str] = "mauve"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    values: ClassVar[Mapping[str, bool | None]] = {"mauve": True}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against the examples' targets."""
        texts, n = checked_texts(evaluation), len(evaluation.texts)
        signature = _signature(evaluation, n)
        reason = _reason_to_refuse(evaluation, n)
        if reason or evaluation.judge is None:
            return {"mauve": refusal(reason or "no judge to take features from", n=n, signature=signature)}
        order = sorted(range(n), key=lambda index: evaluation.examples[index].id)
        samples = np.asarray(evaluation.judge.features([texts[index] for index in order]))
        references = np.asarray(evaluation.judge.features([evaluation.examples[index].target for index in order]))
        reason = _degenerate(samples, references, n)
        if reason:
            return {"mauve": refusal(reason, n=n, signature=signature)}
        seeds = profile(evaluation.profile).mauve_seeds
        scores, histograms = mauve_scores(samples, references, seeds=range(seeds))
        interval = _interval(scores, histograms, n, resamples(evaluation), resampling(evaluation, "mauve"))
        flags = (*_flags(n, seeds), *empty_flags(texts))
        return {"mauve": measured(float(np.mean(scores)), interval, n=n, signature=signature, flags=flags)}


def mauve_scores(
    samples: Float[np.ndarray, "n W"], references: Float[np.ndarray, "m W"], *, seeds: Sequence[int]
) -> tuple[list[float], list[_Histograms]]:
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


def area_of_divergence(p: Float[np.ndarray, "R K"], q: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    """MAUVE of histograms: area under (exp(-c KL(Q|R)), exp(-c KL(P|R))) over mixtures R of P and Q.

    Pillutla et al. 2021, equation 2, with c = 5 and 25 mixtures, by the trapezoidal rule.
    """
    weights = np.linspace(1e-6, 1 - 1e-6, _POINTS)
    mixtures = [weight * p + (1 - weight) * q for weight in weights]
    corner = np.ones((1, len(p)))
    x = np.concatenate([corner, np.exp([-_SCALING * _kl(q, mixture) for mixture in mixtures]), 0 * corner])
    y = np.concatenate([0 * corner, np.exp([-_SCALING * _kl(p, mixture) for mixture in mixtures]), corner])
    return ((x[:-1] - x[1:]) * (y[1:] + y[:-1]) / 2).sum(0)


def _kl(p: Float[np.ndarray, "R K"], q: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    present = p > 0
    return np.where(present, p * np.log(np.where(present, p, 1) / np.where(present, q, 1)), 0).sum(1)


def _interval(
    scores: Sequence[float], histograms: Sequence[_Histograms], n: int, draws: int, rng: np.random.Generator
) -> Interval:
    """Normal interval whose variance is that of items, given the clusters, plus that of the mean over seeds."""
    items = np.mean([area_of_divergence(*_resampled(pair, n, draws, rng)).var(ddof=1) for pair in histograms])
    seeds = np.var(scores, ddof=1) / len(scores) if len(scores) > 1 else 0.0
    half, mean = 1.96 * float(np.sqrt(items + seeds)), float(np.mean(scores))
    return Interval(max(0.0, mean - half), min(1.0, mean + half))


def _resampled(pair: _Histograms, n: int, draws: int, rng: np.random.Generator) -> _Histograms:
    p, q = (rng.multinomial(n, histogram / histogram.sum(), size=draws) / n for histogram in pair)
    return p, q


def _reason_to_refuse(evaluation: Evaluation, n: int) -> str | None:
    if profile(evaluation.profile).mauve_seeds == 0:
        return f"profile {evaluation.profile!r} computes no MAUVE"
    if n < LEAST:
        return f"n = {n} is below {LEAST}: MAUVE would be biased upward and could rank systems wrongly"
    if len({example.id for example in evaluation.examples}) < n:
        return "references repeat: MAUVE needs as many distinct references as samples"
    return None


def _degenerate(samples: np.ndarray, references: np.ndarray, n: int) -> str | None:
    for side, features in (("samples", samples), ("references", references)):
        if features.ndim != 2 or len(features) != n:
            return f"features of {side} have shape {features.shape}, expected [{n}, width]"
        if not np.isfinite(features).all():
            return f"features of {side} are not finite"
    if np.ptp(samples, axis=0).max() == 0 and np.ptp(references, axis=0).max() == 0:
        return "all features are equal: MAUVE means nothing on them"
    return None


def _flags(n: int, seeds: int) -> tuple[str, ...]:
    small = (f"flagged: n < {UNFLAGGED}",) if n < UNFLAGGED else ()
    unranked = (f"not ranked: n < {RANKED}",) if n < RANKED else ()
    single = ("one k-means seed: its variance is not in the interval",) if seeds == 1 else ()
    return (*small, *unranked, *single)


def _signature(evaluation: Evaluation, n: int) -> str:
    references = "\n".join(sorted(f"{example.id}\t{example.target}" for example in evaluation.examples))
    digest = hashlib.sha256(references.encode()).hexdigest()[:12]
    judge = evaluation.judge.signature if evaluation.judge is not None else "none"
    return (
        f"features:{judge}|refs:{digest}|n:{n}|k:n/10|c:{_SCALING:g}|pca:0.9|redo:5|iter:500|points:{_POINTS}"
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
