"""Fréchet distance on the judge's features: how far mean and covariance of samples are from those of human text."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, refusal, refusals, resampling
from harness.metrics.features import embedded, embedded_humans, feature_signature, why_no_distribution
from harness.metrics.sides import LEAST, biased_flags
from harness.stats.intervals import resample_counts
from harness.stats.standard_errors import around

_RESAMPLES = 50  # two covariances and two decompositions each; enough for a standard error known to a tenth
_Moments = tuple[np.ndarray, np.ndarray]


class Frechet:
    """Squared 2-Wasserstein distance between Gaussians fitted to the features, in squared units of a feature.

    Heusel et al. 2017 (arXiv:1706.08500, equation 6) for images, Semeniuta et al. 2018 (arXiv:1806.04936) for text. It sees
    means and covariances, and nothing else. Small samples bias it upward, by more where features vary more (Chong and
    Forsyth 2020, arXiv:1911.07023): both sides have the same n, `frechet_ceiling` is what as many other human texts have,
    and below 2,000 it is not ranked. The interval is the value and 1.96 standard errors, by bootstrap over the items of
    either side, on each hand: the percentiles of that bootstrap would hold the bias twice. It tells how much another draw
    of n texts differs, not how large the bias is.
    """

    name: ClassVar[str] = "frechet"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    values: ClassVar[Mapping[str, bool | None]] = {"frechet": False, "frechet_ceiling": None}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "frechet": ("shuffled-human", "phrase-table", "tiled", "empty", "constant"),
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts, and other human texts, against the examples' targets."""
        n, signature = len(checked_texts(evaluation)), f"{feature_signature(evaluation)}|cov:n-1|se:bootstrap {_RESAMPLES}"
        found = embedded(evaluation, least=LEAST, otherwise="a Fréchet distance would be mostly bias")
        reason = found if isinstance(found, str) else why_no_distribution(found) or _why_singular(found.references)
        if isinstance(found, str) or reason:
            return refusals(self.values, str(reason), n=n, signature=signature)
        humans = embedded_humans(evaluation, width=found.references.shape[1])
        biased = biased_flags(n, "frechet_ceiling")
        said = (*biased, *empty_flags(evaluation.texts))
        reached = _measured(evaluation, "frechet", found.samples, found.references, signature, said)
        if isinstance(humans, str):
            return {"frechet": reached, "frechet_ceiling": refusal(humans, n=n, signature=signature)}
        signature, said = f"{signature}|humans:{humans.source.digest}", (*biased, *humans.source.flags)
        ceiling = _measured(evaluation, "frechet_ceiling", humans.features, found.references, signature, said)
        return {"frechet": reached, "frechet_ceiling": ceiling}


def frechet_distance(samples: Float[np.ndarray, "n W"], references: Float[np.ndarray, "m W"]) -> float:
    """|mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^{1/2}), of means and covariances (over n - 1), in float64.

    Heusel et al. 2017, equation 6. C_1 C_2 has the eigenvalues of the symmetric C_1^{1/2} C_2 C_1^{1/2}, so that nothing
    becomes complex where covariances are nearly singular.

    Args:
        samples, references: at least two vectors each.

    Raises:
        ValueError: fewer than two vectors on a side.
    """
    if min(len(samples), len(references)) < 2:
        raise ValueError(f"{len(samples)} samples and {len(references)} references: a covariance needs at least 2 of each")
    first, second = (_moments(side.astype(np.float64), np.ones(len(side))) for side in (samples, references))
    return _between(first, second)


def _moments(rows: Float[np.ndarray, "n W"], counts: Float[np.ndarray, " n"]) -> _Moments:
    """Mean and covariance of rows that occur so often."""
    mean = counts @ rows / counts.sum()
    centred = (rows - mean) * np.sqrt(counts)[:, None]
    return mean, centred.T @ centred / (counts.sum() - 1)


def _between(first: _Moments, second: _Moments) -> float:
    values, vectors = np.linalg.eigh(first[1])
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second[1] @ root), 0)).sum()
    distance = ((first[0] - second[0]) ** 2).sum() + np.trace(first[1]) + np.trace(second[1]) - 2 * shared
    return max(float(distance), 0.0)


def _measured(
    evaluation: Evaluation, name: str, samples: np.ndarray, references: np.ndarray, signature: str, flags: tuple[str, ...]
) -> Measurement:
    value = frechet_distance(samples, references)
    interval = around(value, bootstrap_error(samples, references, resampling(evaluation, name)), least=0.0)
    return measured(value, interval, n=len(samples), signature=signature, flags=flags)


def bootstrap_error(samples: Float[np.ndarray, "n W"], references: Float[np.ndarray, "m W"], rng: np.random.Generator) -> float:
    """Standard error of the distance over bootstrap samples of both sides."""
    sides = [side.astype(np.float64) for side in (samples, references)]
    draws = [np.concatenate(list(resample_counts(len(side), resamples=_RESAMPLES, rng=rng))) for side in sides]
    values = [
        _between(*(_moments(side, counts) for side, counts in zip(sides, pair, strict=True))) for pair in zip(*draws, strict=True)
    ]
    return float(np.std(values, ddof=1))


def _why_singular(references: Float[np.ndarray, "n W"]) -> str | None:
    n, width = references.shape
    return f"n = {n} is not above the width {width} of the features: covariances would be singular" if n <= width else None
