"""Classifier two-sample test on the judge's features: how well samples are told from human text."""

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, refusals
from harness.metrics.features import embedded, feature_signature, why_no_distribution
from harness.stats.intervals import Interval
from harness.stats.standard_errors import around

FOLDS = 5
_LEAST = 100
_PENALTY, _ITERATIONS = 1.0, 1000


class TwoSample:
    """Area under the ROC curve of a logistic regression that tells samples from references (Lopez-Paz and Oquab 2017).

    Features are standardised and the regression (L2, C = 1) fitted on four folds, and the fifth is scored, so that no text
    is scored by a regression that saw it. The sha256 of ids makes the folds; a sample and the reference of its id share
    one, so that both sides are equally many in each. 0.5 is what human text scores; below is chance and shown as it is.
    Linear: what no weighted sum of features shows stays hidden. The interval takes twice the variance of DeLong et al. 1988,
    which holds the regressions fixed (`cross_fitted`).
    """

    name: ClassVar[str] = "two-sample"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    values: ClassVar[Mapping[str, bool | None]] = {"two_sample_auc": False}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "two_sample_auc": ("shuffled-human", "phrase-table", "tiled", "empty", "constant"),
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against the examples' targets."""
        n, signature = len(checked_texts(evaluation)), _signature(evaluation)
        found = embedded(evaluation, least=_LEAST, otherwise="too few texts to fit a classifier to and to test it on")
        reason = found if isinstance(found, str) else why_no_distribution(found)
        if isinstance(found, str) or reason:
            return refusals(self.values, str(reason), n=n, signature=signature)
        written, human, unfinished = out_of_fold_scores(found.samples, found.references, folds_of(found.sides.ids))
        late = (f"{unfinished} of {FOLDS} regressions stopped before they converged",) if unfinished else ()
        value, error = area(written, human)
        return {
            "two_sample_auc": measured(
                value, cross_fitted(value, error), n=n, signature=signature, flags=(*late, *empty_flags(evaluation.texts)),
                no_interval="every sample is told from every reference",
            )
        }  # fmt: skip


def folds_of(ids: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Fold of every item, from the sha256 of its id; folds differ by one item at most."""
    digests = [hashlib.sha256(f"fold/{name}".encode()).digest() for name in ids]
    folds = np.empty(len(ids), dtype=np.int64)
    folds[sorted(range(len(ids)), key=digests.__getitem__)] = np.arange(len(ids)) % FOLDS
    return folds


def out_of_fold_scores(
    samples: Float[np.ndarray, "n W"], references: Float[np.ndarray, "n W"], folds: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], int]:
    """Log odds that a text is a sample, by a regression fitted on the other folds.

    Args:
        samples, references: features; the i-th of both are in fold `folds[i]`.
        folds: at least two different ones.

    Returns:
        Scores of samples, scores of references, and how many regressions did not converge.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    sides, unfinished = [side.astype(np.float64) for side in (samples, references)], 0
    scores = np.empty((2, len(folds)))
    for fold in np.unique(folds):
        rows, labels = np.concatenate([side[folds != fold] for side in sides]), np.repeat([1, 0], np.sum(folds != fold))
        scale = StandardScaler().fit(rows)
        model = LogisticRegression(C=_PENALTY, max_iter=_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scale.transform(rows), labels)
        unfinished += int(np.max(model.n_iter_)) >= _ITERATIONS
        scores[:, folds == fold] = [model.decision_function(scale.transform(side[folds == fold])) for side in sides]
    return scores[0], scores[1], unfinished


def area(positives: Float[np.ndarray, " n"], negatives: Float[np.ndarray, " m"]) -> tuple[float, float]:
    """Area under the ROC curve with its standard error, for scores that do not depend on each other.

    The area is the share of pairs in which the positive scores higher, half of those that tie. The shares that each text
    wins vary over the positives, and over the negatives (DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44).

    Args:
        positives, negatives: at least two scores each.
    """
    shares = [_share_below(positives, negatives), 1 - _share_below(negatives, positives)]
    return float(shares[0].mean()), math.sqrt(sum(float(share.var(ddof=1)) / len(share) for share in shares))


def cross_fitted(value: float, error: float) -> Interval | None:
    """Interval of the area under cross-fitted scores from `area`'s standard error, normal on the scale of the logit.

    Near chance each pair of texts counts twice, with either as the training text of the other, so that the variance is twice
    DeLong's; far from chance it is DeLong's and the interval too wide. Simulated (Gaussians in 8 to 128 dimensions, 150 and
    500 texts a side): from 1.0 times where the area is 0.9 to about 2 where it is below 0.6.

    Returns:
        `None` where every pair is ordered alike.
    """
    if not 0 < value < 1:
        return None
    odds = around(math.log(value / (1 - value)), math.sqrt(2) * error / (value * (1 - value)))
    return odds.map(lambda end: 1 / (1 + math.exp(-end)))


def _share_below(scores: Float[np.ndarray, " n"], others: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """Share of the others that each score exceeds; half of those that equal it."""
    ranked = np.sort(others)
    return (np.searchsorted(ranked, scores, "left") + np.searchsorted(ranked, scores, "right")) / (2 * len(others))


def _signature(evaluation: Evaluation) -> str:
    fitted = f"logistic l2 C:{_PENALTY:g} standardised|folds:{FOLDS} by sha256 of ids"
    return f"{feature_signature(evaluation)}|{fitted}|var:2 delong|scikit-learn:{version('scikit-learn')}"
