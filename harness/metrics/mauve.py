"""MAUVE on the judge's features: how close the distribution of samples is to that of human text.

The only file that imports mauve-text, whose licence is GPLv3; nothing of it is copied here.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.contracts import TaskView
from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, clusters, empty_flags, measured, refusals, resamples, resampling
from harness.metrics.profiles import profile
from harness.stats.intervals import Interval

LEAST, UNFLAGGED, RANKED = 500, 1000, 2000
_SHORT = 64  # tokens; shorter texts hold too little to tell distributions apart
_SCALING = 5.0
_POINTS = 25
_Histograms = tuple[np.ndarray, np.ndarray]


class Mauve:
    """MAUVE in [0, 1] between as many samples as references (Pillutla et al. 2021, 2023), mean over k-means seeds.

    Both sides are cut to the task's length and stand in the order of their ids, since k-means depends on it. The interval
    adds the variance of items (bootstrap of the cluster histograms) and of k-means seeds. Empty samples keep their place
    and are counted. `mauve_star` is the value of histograms with half a text more in each cluster (Krichevsky and Trofimov
    1981; Pillutla et al. 2023), less biased where clusters are small.
    """

    name: ClassVar[str] = "mauve"
    version: ClassVar[int] = 2
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    libraries: ClassVar[tuple[str, ...]] = ("mauve-text", "faiss-cpu", "scikit-learn")
    values: ClassVar[Mapping[str, bool | None]] = {"mauve": True, "mauve_star": True}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "mauve": ("shuffled-human", "phrase-table", "tiled", "empty", "constant"),
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against the examples' targets."""
        texts, n = checked_texts(evaluation), len(evaluation.texts)
        signature = _signature(evaluation, n)
        reason = _reason_to_refuse(evaluation, n)
        if reason or evaluation.judge is None:
            return refusals(self.values, reason or "no judge to take features from", n=n, signature=signature)
        order = sorted(range(n), key=lambda index: evaluation.examples[index].id)
        samples, written = cut([texts[index] for index in order], evaluation.view)
        references, wanted = cut([evaluation.examples[index].target for index in order], evaluation.view)
        features = np.asarray(evaluation.judge.features(samples)), np.asarray(evaluation.judge.features(references))
        reason = _degenerate(*features, n)
        if reason:
            return refusals(self.values, reason, n=n, signature=signature)
        flags = (*_flags(n, profile(evaluation.profile).mauve_seeds, min(written, wanted)), *empty_flags(texts))
        return _measured(evaluation, features, signature, flags)


def _measured(
    evaluation: Evaluation, features: tuple[np.ndarray, np.ndarray], signature: str, flags: tuple[str, ...]
) -> dict[str, Measurement]:
    n, found = len(features[0]), {}
    scores, histograms = mauve_scores(*features, seeds=range(profile(evaluation.profile).mauve_seeds))
    stars = [float(area_of_divergence(*(smoothed(side[None], n) for side in pair))[0]) for pair in histograms]
    for name, values, law in (("mauve", scores, _plain), ("mauve_star", stars, smoothed)):
        interval = _interval(values, histograms, n, resamples(evaluation), resampling(evaluation, name), law)
        found[name] = measured(float(np.mean(values)), interval, n=n, signature=signature, flags=flags)
    return found


def cut(texts: Sequence[str], view: TaskView) -> tuple[list[str], float]:
    """Texts up to the task's length, as targets are cut, and their median length in tokens."""
    encoded, limit = view.tokenizer.encode_batch(texts), view.max_tokens
    kept = [text if len(ids) <= limit else view.tokenizer.decode(ids[:limit]) for text, ids in zip(texts, encoded, strict=True)]
    return kept, float(np.median([min(len(ids), limit) for ids in encoded]))


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


def _plain(histograms: Float[np.ndarray, "R K"], n: int) -> Float[np.ndarray, "R K"]:
    return histograms


def smoothed(histograms: Float[np.ndarray, "R K"], n: int) -> Float[np.ndarray, "R K"]:
    """Histograms of n texts with half a text more in each cluster."""
    return (histograms * n + 0.5) / (n + 0.5 * histograms.shape[1])


def _interval(
    scores: Sequence[float],
    histograms: Sequence[_Histograms],
    n: int,
    draws: int,
    rng: np.random.Generator,
    law: Callable[[np.ndarray, int], np.ndarray] = _plain,
) -> Interval:
    """Normal interval whose variance is that of items, given the clusters, plus that of the mean over seeds."""
    resampled = [[law(side, n) for side in _resampled(pair, n, draws, rng)] for pair in histograms]
    items = np.mean([area_of_divergence(p, q).var(ddof=1) for p, q in resampled])
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
    if len(set(clusters(evaluation))) < n:
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


def _flags(n: int, seeds: int, median: float) -> tuple[str, ...]:
    small = (f"flagged: n < {UNFLAGGED}",) if n < UNFLAGGED else ()
    unranked = (f"not ranked: n < {RANKED}",) if n < RANKED else ()
    single = ("one k-means seed: its variance is not in the interval",) if seeds == 1 else ()
    short = (f"short texts: half have at most {median:g} tokens, MAUVE needs {_SHORT}",) if median < _SHORT else ()
    return (*small, *unranked, *single, *short)


def _signature(evaluation: Evaluation, n: int) -> str:
    references = "\n".join(sorted(f"{example.id}\t{example.target}" for example in evaluation.examples))
    digest = hashlib.sha256(references.encode()).hexdigest()[:12]
    judge = evaluation.judge.signature if evaluation.judge is not None else "none"
    return (
        f"features:{judge}|refs:{digest}|cut:{evaluation.view.max_tokens}|n:{n}|k:n/10|c:{_SCALING:g}|pca:0.9|redo:5|iter:500|points:{_POINTS}"
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
