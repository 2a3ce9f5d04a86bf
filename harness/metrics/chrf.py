"""chrF and chrF++: character n-gram F-scores, sacreBLEU's values and signatures."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.chrf import CHRF

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.references import corpus_measurement

_BETA_SQUARED = 4.0
_WORD_ORDERS = {"chrf": 0, "chrf++": 2}


class ChrF:
    """chrF2 and chrF2++ on a scale of 0 to 100 (Popović 2015, 2017).

    Items of a measurement are sacreBLEU's statistics: n-grams of the text, of its best reference and in common, for each
    of 6 character orders and, in chrF++, 2 word orders.
    """

    name: ClassVar[str] = "chrf"
    version: ClassVar[int] = 4
    families: ClassVar[tuple[Family, ...]] = ("a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    values: ClassVar[Mapping[str, bool | None]] = {"chrf": True, "chrf++": True}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {"chrf": ("empty", "constant"), "chrf++": ("empty", "constant")}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against all references."""
        return {
            name: corpus_measurement(evaluation, CHRF(word_order=orders), corpus_chrf, name=name, kind="chrf")
            for name, orders in _WORD_ORDERS.items()
        }


def corpus_chrf(sums: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    """F2 of mean precision and mean recall over the orders that both sides have (sacreBLEU's "eff:yes").

    Args:
        sums: n-grams of texts, of references and in common, for every order in turn.
    """
    hypothesis, reference, common = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    usable = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(usable.sum(1), 1)
    precision = np.where(usable, common / np.maximum(hypothesis, 1), 0.0).sum(1) / orders
    recall = np.where(usable, common / np.maximum(reference, 1), 0.0).sum(1) / orders
    weighted = _BETA_SQUARED * precision + recall
    return 100 * (1 + _BETA_SQUARED) * precision * recall / np.where(weighted > 0, weighted, 1.0)
