"""chrF and chrF++: character n-gram F-scores, sacreBLEU's values and signatures."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.chrf import CHRF

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import refusals
from harness.metrics.overlaps import in_a_row, of_characters, of_words, overlaps
from harness.metrics.references import corpus_measurement, texts_and_references

_BETA_SQUARED = 4.0
_CHARACTER_ORDERS = 6
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
        sides = texts_and_references(evaluation)
        if isinstance(sides, str):
            return refusals(self.values, sides, n=len(evaluation.texts), signature="chrf")
        rows = chrf_statistics(*sides, word_orders=tuple(_WORD_ORDERS.values()))
        return {
            name: corpus_measurement(evaluation, CHRF(word_order=orders), row, corpus_chrf, name=name, kind="chrf")
            for (name, orders), row in zip(_WORD_ORDERS.items(), rows, strict=True)
        }


def chrf_statistics(
    texts: Sequence[str], references: Sequence[Sequence[str]], *, word_orders: Sequence[int]
) -> list[Float[np.ndarray, "n K"]]:
    """SacreBLEU's statistics of every text against the reference that gives it the highest score, the first of several.

    Args:
        texts: what is scored.
        references: all references of every text.
        word_orders: orders of words beside those of characters; statistics for each of them.

    Raises:
        ValueError: not one list of references per text, or an item without a reference.
    """
    sides, most = in_a_row(texts, references), max(word_orders)
    letters = overlaps(of_characters(["".join(side.split()) for side in sides], references), longest=_CHARACTER_ORDERS)
    cut = CHRF(word_order=most)._remove_punctuation
    words = overlaps(of_words([cut(side) for side in sides], references), longest=most)
    wanted = np.concatenate([letters.references, words.references], axis=1)
    shared = np.concatenate([letters.shared, words.shared], axis=1)
    written = np.where(wanted > 0, np.concatenate([letters.texts, words.texts]), 0)
    counts = np.stack([written, wanted, shared], axis=2).transpose(0, 3, 1, 2).astype(np.float64)
    return [_against_best(counts[:, :, : _CHARACTER_ORDERS + orders]) for orders in word_orders]


def _against_best(counts: Float[np.ndarray, "R n orders 3"]) -> Float[np.ndarray, "n K"]:
    items = counts.shape[1]
    return counts[_scores(counts).argmax(0), np.arange(items)].reshape(items, 3 * counts.shape[2])


def _scores(counts: Float[np.ndarray, "R n orders 3"]) -> Float[np.ndarray, "R n"]:
    """Every item's score against every reference, added up in the order in which sacreBLEU adds: ties must stay ties."""
    usable = np.all(counts[..., :2] > 0, axis=-1)
    shares = np.where(usable[..., None], counts[..., 2:] / np.maximum(counts[..., :2], 1), 0.0)
    precision, recall = np.moveaxis(np.cumsum(shares, axis=2)[..., -1, :] / np.maximum(usable.sum(-1), 1)[..., None], -1, 0)
    score = (1 + _BETA_SQUARED) * precision * recall / np.where(precision + recall > 0, _BETA_SQUARED * precision + recall, 1.0)
    return 100 * score


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
