"""Corpus BLEU: sacreBLEU's value and signature, all references."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.bleu import BLEU

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import refusals
from harness.metrics.overlaps import in_a_row, of_words, overlaps
from harness.metrics.references import corpus_measurement, texts_and_references
from harness.metrics.words import words_of

_ORDERS = 4
_FEW_MATCHES = 10


class Bleu:
    """Corpus BLEU on a scale of 0 to 100 (Papineni et al. 2002; Post 2018 for the signature), with tokenisation 13a.

    Items of the measurement are sacreBLEU's statistics, ten per text: lengths of text and closest reference, n-gram
    matches and n-gram totals of orders 1 to 4. Not the mean of sentence BLEU.
    """

    name: ClassVar[str] = "bleu"
    version: ClassVar[int] = 4
    families: ClassVar[tuple[Family, ...]] = ("a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    values: ClassVar[Mapping[str, bool | None]] = {"bleu": True}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {"bleu": ("empty", "constant")}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against all references."""
        sides = texts_and_references(evaluation)
        if isinstance(sides, str):
            return refusals(self.values, sides, n=len(evaluation.texts), signature="bleu")
        rows = bleu_statistics(*sides)
        found = corpus_measurement(evaluation, BLEU(tokenize="13a"), rows, corpus_bleu, name="bleu", kind="bleu")
        return {"bleu": replace(found, flags=(*found.flags, *_few_matches(found)))}


def bleu_statistics(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Float[np.ndarray, "n 10"]:
    """SacreBLEU's statistics of every text: its length, that of the closest reference, matches and totals by order.

    Args:
        texts: what is scored.
        references: all references of every text.

    Raises:
        ValueError: not one list of references per text, or an item without a reference.
    """
    rows = [words_of(side) for side in in_a_row(texts, references)]
    found = overlaps(of_words(rows, references), longest=_ORDERS)
    lengths, wanted = found.texts[0], found.references[:, 0]
    absent = np.arange(len(wanted))[:, None] >= [len(accepted) for accepted in references]
    # the shorter of two that are equally near
    distance = np.where(absent, np.iinfo(np.int64).max, 2 * np.abs(wanted - lengths) + (wanted > lengths))
    closest = np.take_along_axis(wanted, distance.argmin(0)[None], axis=0)
    return np.concatenate([lengths[None], closest, found.clipped, found.texts]).T.astype(np.float64)


def _few_matches(found: Measurement) -> tuple[str, ...]:
    """Below some ten matches the smoothed order rules the value, and resamples do not know the matches that were missed."""
    if found.low is None or found.items is None:
        return ()
    matches = int(np.array(found.items)[:, 1 + _ORDERS].sum())
    return (f"interval too narrow: {matches} matching 4-grams",) if matches < _FEW_MATCHES else ()


def corpus_bleu(sums: Float[np.ndarray, "R 10"]) -> Float[np.ndarray, " R"]:
    """BLEU of summed statistics, with the exponential smoothing of sacreBLEU ("smooth:exp").

    An order without a match counts as half, a quarter, ... of one (Chen and Cherry 2014, method 3); an order without
    n-grams makes the score 0.
    """
    length, reference = sums[:, 0], sums[:, 1]
    matches, totals = sums[:, 2 : 2 + _ORDERS], sums[:, 2 + _ORDERS :]
    missed = np.equal(matches, 0)
    credited = np.where(missed, 0.5 ** np.cumsum(missed, axis=1), matches)
    possible = np.all(totals > 0, axis=1) & np.any(matches > 0, axis=1)
    precisions = np.where(possible[:, None], credited / np.maximum(totals, 1), 1.0)
    brevity = np.exp(np.minimum(0.0, 1.0 - reference / np.maximum(length, 1)))
    return np.where(possible, 100 * brevity * np.exp(np.log(precisions).mean(1)), 0.0)
