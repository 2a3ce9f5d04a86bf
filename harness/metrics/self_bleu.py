"""Self-BLEU: how much each sample looks like the others, exactly and in time linear in the number of n-grams."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import sacrebleu
from jaxtyping import Float, Int
from sacrebleu.metrics.bleu import BLEU

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusal, why_nothing
from harness.metrics.words import ngrams, word_ids
from harness.stats.intervals import ratio_of_sums

_ORDERS = 4


class SelfBleu:
    """Mean sentence BLEU (effective order) of each sample against all other samples, 0 to 100.

    Zhu et al. 2018 (Texygen) proposed it; here the sample itself is never among its references. It grows with the number
    of samples, which is therefore in the signature, and closer to the value of human text is better, not lower.
    """

    name: ClassVar[str] = "self-bleu"
    version: ClassVar[int] = 4
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    values: ClassVar[Mapping[str, bool | None]] = {"self_bleu": None}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against each other."""
        texts = checked_texts(evaluation)
        signature = f"nrefs:{len(texts) - 1}|case:mixed|eff:yes|tok:13a|smooth:exp|version:{sacrebleu.__version__}|n:{len(texts)}"
        reason = "fewer than 2 samples" if len(texts) < 2 else why_nothing(texts)
        if reason:
            return {"self_bleu": refusal(reason, n=len(texts), signature=signature)}
        scores = self_bleu(texts)
        rows = np.stack([scores, np.ones(len(scores))], axis=1)
        interval = over_items(evaluation, rows, ratio_of_sums, name="self_bleu")
        flags = ("interval over samples with the other samples held fixed", *empty_flags(texts))
        value = measured(float(scores.mean()), interval, n=len(texts), signature=signature, flags=flags, items=scores)
        return {"self_bleu": value}


def self_bleu(texts: Sequence[str]) -> Float[np.ndarray, " n"]:
    """Sentence BLEU of each text against all the others, to the last bit what sacreBLEU gives.

    An n-gram's largest count among the others is its largest count anywhere, unless this text holds that record: then
    it is the second largest. So two numbers and an owner per n-gram replace n - 1 references.

    Args:
        texts: at least two.

    Raises:
        ValueError: fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError(f"{len(texts)} texts: self-BLEU needs at least 2")
    words, owner = word_ids(texts)
    lengths = np.bincount(owner, minlength=len(texts))
    matches, totals = _clipped_counts(words, owner, lengths)
    closest = closest_other_length(lengths)
    return np.array([
        BLEU.compute_bleu(correct, total, length, reference, smooth_method="exp", effective_order=True).score
        for correct, total, length, reference in zip(
            matches.T.tolist(), totals.T.tolist(), lengths.tolist(), closest.tolist(), strict=True
        )
    ])  # fmt: skip


def closest_other_length(lengths: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The length nearest to each one's own among the others; the shorter of two that are equally near."""
    order = np.argsort(lengths, kind="stable")
    ranked = lengths[order].astype(np.int64)
    far = 4 * (int(ranked[-1]) + 1)
    shorter = np.concatenate([[-far], ranked[:-1]])
    longer = np.concatenate([ranked[1:], [far]])
    nearest = np.empty_like(ranked)
    nearest[order] = np.where(ranked - shorter <= longer - ranked, shorter, longer)
    return nearest


def _clipped_counts(
    words: Int[np.ndarray, " m"], owner: Int[np.ndarray, " m"], lengths: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "4 n"], Int[np.ndarray, "4 n"]]:
    totals = np.maximum(lengths[None] - np.arange(_ORDERS)[:, None], 0)
    matches = [_matches(grams, place, len(lengths)) for grams, place in ngrams(words, owner, longest=_ORDERS)]
    return np.stack(matches), totals


def _matches(grams: Int[np.ndarray, " k"], owner: Int[np.ndarray, " k"], n: int) -> Int[np.ndarray, " n"]:
    """Sum over a text's n-grams of its own count, clipped at the largest count in another text."""
    pairs, counts = np.unique(grams * n + owner, return_counts=True)
    gram, text = np.divmod(pairs, n)
    if not len(gram):
        return np.zeros(n, dtype=np.int64)
    order = np.lexsort((-counts, gram))
    gram, text, counts = gram[order], text[order], counts[order]
    first = np.flatnonzero(np.r_[True, gram[1:] != gram[:-1]])
    best = np.repeat(first, np.diff(np.r_[first, len(gram)]))
    runner_up = np.minimum(best + 1, len(gram) - 1)
    second = np.where((best + 1 < len(gram)) & (gram[runner_up] == gram), counts[runner_up], 0)
    limit = np.where(text == text[best], second, counts[best])
    return np.bincount(text, weights=np.minimum(counts, limit), minlength=n).astype(np.int64)
