"""How per-item statistics become a value: what is stored with every score, so that resampling needs no metric and no text."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from harness.metrics.bleu import corpus_bleu
from harness.metrics.chrf import corpus_chrf
from harness.metrics.copying import corpus_ibleu
from harness.stats.intervals import Aggregate, ratio_of_sums
from harness.stats.misclassification import corrected_share


def exponential_of_ratio(sums: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    """Exp of the first column over the second: a perplexity; further columns are not used."""
    return np.exp(ratio_of_sums(sums[:, :2]))


AGGREGATES: Mapping[str, Aggregate] = {
    "mean": ratio_of_sums, "ratio": ratio_of_sums, "exp-ratio": exponential_of_ratio, "bleu": corpus_bleu, "chrf": corpus_chrf,
    "ibleu": corpus_ibleu, "rogan-gladen": corrected_share,
}  # fmt: skip
"""Name -> function of sums. Items of a "mean" have one column, to which the count is added."""


def statistics(items: Sequence[float] | Sequence[Sequence[float]], aggregate: str) -> Float[np.ndarray, "n K"]:
    """Items as rows of additive statistics, on which `AGGREGATES[aggregate]` works."""
    rows = np.asarray(items, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1) if aggregate == "mean" else rows
