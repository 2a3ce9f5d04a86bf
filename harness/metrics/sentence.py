"""Sentence-level metrics as the text-diffusion literature computes them; optional columns, to compare with its tables only."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar

import numpy as np

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusals
from harness.metrics.references import references_of
from harness.stats.intervals import ratio_of_sums

_ORDERS = 4
_SMOOTHING = 5.0  # the constant K of method 4 as NLTK sets it


def sentence_bleu(hypothesis: str, reference: str) -> float:
    """BLEU-4 of one text between 0 and 1, words split at white space, smoothed so that short texts get little for nothing.

    Chen and Cherry 2014 ("Smoothing Techniques for Sentence-Level BLEU"), method 4, as in NLTK: the k-th
    order without a match counts ln(length) / (5 * 2^k) matches. 0 where no word matches. Not sacreBLEU's corpus BLEU.
    """
    words, wanted = hypothesis.split(), reference.split()
    matches = [sum((grams(words, n) & grams(wanted, n)).values()) for n in range(1, _ORDERS + 1)]
    if matches[0] == 0:
        return 0.0
    totals = [max(len(words) - n + 1, 1) for n in range(1, _ORDERS + 1)]
    precisions = [match / total for match, total in zip(_credited(matches, len(words)), totals, strict=True)]
    brevity = min(1.0, math.exp(1 - len(wanted) / len(words)))
    return brevity * math.exp(sum(math.log(precision) for precision in precisions if precision > 0) / _ORDERS)


def _credited(matches: Sequence[int], length: int) -> list[float]:
    credited, missed = list[float](), 0
    for match in matches:
        missed += match == 0
        credited.append(match if match else math.log(length) / (_SMOOTHING * 2**missed))
    return credited


def grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram occurs."""
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def distinct_words(text: str) -> float:
    """dist-1 of one text: different words over words; 0 for an empty text."""
    words = text.split()
    return len(set(words)) / len(words) if words else 0.0


def candidate_self_bleu(candidates: Sequence[str]) -> float:
    """Mean sentence BLEU over pairs of candidates for one source, the earlier one as hypothesis; not self-BLEU of a corpus."""
    pairs = list(combinations(candidates, 2))
    return sum(sentence_bleu(earlier, later) for earlier, later in pairs) / len(pairs)


def candidate_diversity(candidates: Sequence[str], order: int = 4) -> float:
    """div-4: different n-grams over n-grams in all candidates for one source."""
    counts = sum((grams(text.split(), order) for text in candidates), Counter[tuple[str, ...]]())
    return len(counts) / counts.total()


class SentenceBleu:
    """Mean sentence BLEU of lower-cased texts against their first reference, between 0 and 1.

    The column of Gong et al. 2023 (arXiv:2210.08933), on the words of this text instead of their word pieces.
    """

    name: ClassVar[str] = "sentence-bleu"
    version: ClassVar[int] = 4
    families: ClassVar[tuple[Family, ...]] = ("a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ()
    values: ClassVar[Mapping[str, bool | None]] = {"sentence_bleu": True}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {"sentence_bleu": ("empty", "constant")}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts."""
        texts = checked_texts(evaluation)
        signature = "sentence-bleu|nrefs:1|case:lc|tok:whitespace|smooth:method4|v:1"
        references = references_of(evaluation.examples)
        if not texts or isinstance(references, str):
            reason = references if isinstance(references, str) else "no items"
            return refusals(self.values, reason, n=len(texts), signature=signature)
        wanted = [accepted[0].lower() for accepted in references]
        items = np.array([sentence_bleu(text.lower(), reference) for text, reference in zip(texts, wanted, strict=True)])
        rows = np.stack([items, np.ones_like(items)], axis=1)
        interval = over_items(evaluation, rows, ratio_of_sums, name="sentence_bleu")
        return {
            "sentence_bleu": measured(
                float(items.mean()), interval, n=len(items), signature=signature, flags=empty_flags(texts), items=items
            )
        }
