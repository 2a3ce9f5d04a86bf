"""SARI: what a rewriting adds, keeps and deletes, against its source and its references."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import sacrebleu

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusals
from harness.metrics.references import references_of
from harness.metrics.sentence import grams
from harness.metrics.sources import sources_of
from harness.metrics.words import words_of
from harness.stats.intervals import ratio_of_sums

ORDERS = 4
_Counts = Mapping[tuple[str, ...], float]


class Sari:
    """Mean sentence SARI, 0 to 100, over lower-cased words (13a), all references (Xu et al. 2016, aclanthology.org/Q16-1029).

    Per sentence, the mean of F1 of added, F1 of kept and precision of deleted n-grams, each a mean over orders 1 to 4; a ratio
    whose denominator is 0 is 0. The paper gives precision and recall as sums over n-grams, which is what is computed. Where
    its last equation takes F1 of the mean precision and mean recall, this takes the mean of F1, as the authors' SARI.py and
    EASSE do (cocoxu/simplification, issue 8). SARI.py further averages recall of kept n-grams over n-grams instead of
    dividing sums (issue 6). The authors' three examples under the three readings:

    - 26.95, 61.71 and 50.89 here (26.95 and 61.71 in huggingface/evaluate, issue 376);
    - 26.83, 58.90 and 50.72 by SARI.py;
    - 27.11, 61.89 and 51.29 by that equation.

    EASSE takes F1 of deletion by default (feralvam/easse, issue 98). For rewriting within a language: in translation all words
    of the source are to be deleted, and an empty text has 32 (Multi30k, English to German).
    """

    name: ClassVar[str] = "sari"
    version: ClassVar[int] = 2
    families: ClassVar[tuple[Family, ...]] = ("t2t",)
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    values: ClassVar[Mapping[str, bool | None]] = {"sari": True}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {"sari": ("copy-source",)}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts; refused where an example has no source."""
        texts, sources, references = (
            checked_texts(evaluation),
            sources_of(evaluation.examples),
            references_of(evaluation.examples),
        )
        signature = f"sari|orders:{ORDERS}|case:lc|tok:13a|f1:per order|delete:precision|0/0:0|sacrebleu:{sacrebleu.__version__}"
        if not texts or isinstance(sources, str) or isinstance(references, str):
            reason = next((found for found in (sources, references) if isinstance(found, str)), "no items")
            return refusals(self.values, reason, n=len(texts), signature=signature)
        items = 100 * np.array([
            sentence_sari(_words(source), _words(text), [_words(reference) for reference in accepted])
            for source, text, accepted in zip(sources, texts, references, strict=True)
        ])  # fmt: skip
        interval = over_items(evaluation, np.stack([items, np.ones_like(items)], axis=1), ratio_of_sums, name="sari")
        flags = empty_flags(texts)
        return {"sari": measured(float(items.mean()), interval, n=len(items), signature=signature, flags=flags, items=items)}


def sentence_sari(source: Sequence[str], text: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """SARI of one text between 0 and 1.

    Args:
        source: words of what was rewritten.
        text: words of the rewriting.
        references: words of every reference, at least one.

    Raises:
        ValueError: no reference.
    """
    if not references:
        raise ValueError("SARI of a text without references: expected at least one")
    orders = range(1, ORDERS + 1)
    scores = [_order(grams(source, n), grams(text, n), [grams(reference, n) for reference in references]) for n in orders]
    return sum(map(sum, scores)) / (3 * ORDERS)


def _order(source: Counter, text: Counter, references: Sequence[Counter]) -> tuple[float, float, float]:
    """F1 of added, F1 of kept and precision of deleted n-grams of one order; counts of references are shares of them."""
    pooled: Counter = sum(references, Counter())
    share = {gram: count / len(references) for gram, count in pooled.items()}
    added, wanted = dict.fromkeys(text.keys() - source.keys(), 1.0), dict.fromkeys(pooled.keys() - source.keys(), 1.0)
    kept, to_keep = source & text, {gram: min(count, share.get(gram, 0.0)) for gram, count in source.items()}
    deleted, to_delete = source - text, {gram: max(count - share.get(gram, 0.0), 0.0) for gram, count in source.items()}
    return _f1(added, wanted), _f1(kept, to_keep), _precision(deleted, to_delete)


def _f1(found: _Counts, wanted: _Counts) -> float:
    precision, recall = _precision(found, wanted), _precision(wanted, found)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _precision(found: _Counts, wanted: _Counts) -> float:
    total = sum(found.values())
    return sum(min(count, wanted.get(gram, 0.0)) for gram, count in found.items()) / total if total else 0.0


def _words(text: str) -> list[str]:
    return words_of(text.lower())
