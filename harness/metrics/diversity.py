"""Diversity: distinct n-grams on a fixed token budget, unigram entropy, repetition inside a text."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import sacrebleu
from jaxtyping import Float, Int

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, clusters, empty_flags, measured, over_items, refusal
from harness.metrics.profiles import profile
from harness.metrics.words import ngrams, word_ids
from harness.stats.intervals import clustered_wilson, ratio_of_sums, student

_ORDERS = (1, 2, 3, 4)
_REPEATED = (2, 3, 4)


class Diversity:
    """distinct-1 to distinct-4, unigram entropy and rep-2 to rep-4 over words (13a tokenisation).

    Shares of distinct n-grams fall with the number of tokens, so they are taken in blocks of a fixed number of tokens,
    in the order of ids, so that repetitions of one item share a block, and averaged (Li et al. 2016 for distinct-n).
    Entropy is that of a block, in nats. rep-n is the share of a text's n-grams that it has said before (Welleck et al.
    2020), pooled over texts; where hardly a text repeats anything its interval is Wilson's, for as many trials as texts.
    Closer to human text is better, not higher or lower.
    """

    name: ClassVar[str] = "diversity"
    version: ClassVar[int] = 6
    families: ClassVar[tuple[Family, ...]] = ("ucg", "a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    values: ClassVar[Mapping[str, bool | None]] = {
        **{f"distinct_{order}": None for order in _ORDERS}, "unigram_entropy": None,
        **{f"rep_{order}": None for order in _REPEATED},
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts; refused where they do not fill one block."""
        texts = checked_texts(evaluation)
        order = sorted(range(len(texts)), key=lambda index: evaluation.examples[index].id)
        words, owner = word_ids([texts[index] for index in order])
        budget = profile(evaluation.profile).diversity_tokens
        rows = {f"distinct_{n}": _distinct(words, owner, n, budget) for n in _ORDERS}
        entropies = np.array([_entropy(block) for block in _blocks(words, budget)])
        over_blocks = partial(_over_blocks, n=len(texts), budget=budget, flags=empty_flags(texts))
        return {
            **{name: over_blocks(values, most=1.0) for name, values in rows.items()},
            "unigram_entropy": over_blocks(entropies, most=math.log(budget)),
            **{f"rep_{n}": _repetition(evaluation, texts, n) for n in _REPEATED},
        }  # fmt: skip


def repeated(texts: Sequence[str], *, order: int = 4) -> Int[np.ndarray, "n 2"]:
    """n-grams of each text that stand earlier in the same text, and all its n-grams."""
    words, owner = word_ids(texts)
    *_, (grams, place) = ngrams(words, owner, longest=order)
    total = np.bincount(place, minlength=len(texts))
    kinds = np.unique(np.column_stack([place, grams]), axis=0)[:, 0] if len(grams) else place
    return np.column_stack([total - np.bincount(kinds, minlength=len(texts)), total])


def _over_blocks(values: Float[np.ndarray, " b"], n: int, budget: int, most: float, flags: tuple[str, ...]) -> Measurement:
    """Mean of values that lie between 0 and `most`, as does the interval."""
    signature = f"tok:13a|budget:{budget}|mean over blocks|sacrebleu:{sacrebleu.__version__}"
    if not len(values):
        return refusal(f"the texts together have fewer than {budget} words", n=n, signature=signature)
    reason = "one block" if len(values) == 1 else "all blocks are alike"
    interval = student(values.tolist())
    if interval is not None:
        interval = interval.map(lambda end: min(max(end, 0.0), most))
    return measured(float(values.mean()), interval, n=n, signature=signature, flags=flags, no_interval=reason)


def _repetition(evaluation: Evaluation, texts: Sequence[str], order: int) -> Measurement:
    signature, name = f"tok:13a|order:{order}|pooled|sacrebleu:{sacrebleu.__version__}", f"rep_{order}"
    rows = repeated(texts, order=order).astype(np.float64)
    if not rows[:, 1].sum():
        return refusal(f"no text has {order} words", n=len(texts), signature=signature)
    interval = over_items(evaluation, rows, ratio_of_sums, name=name) or clustered_wilson(rows, clusters(evaluation))
    share = float(rows[:, 0].sum() / rows[:, 1].sum())
    return measured(share, interval, n=len(texts), signature=signature, flags=empty_flags(texts), items=rows, aggregate="ratio")


def _distinct(words: Int[np.ndarray, " m"], owner: Int[np.ndarray, " m"], order: int, budget: int) -> np.ndarray:
    shares = []
    for block, place in zip(_blocks(words, budget), _blocks(owner, budget), strict=True):
        *_, (grams, _) = ngrams(block, place, longest=order)
        shares.append(len(np.unique(grams)) / len(grams) if len(grams) else 0.0)
    return np.array(shares)


def _blocks(values: Int[np.ndarray, " m"], budget: int) -> Int[np.ndarray, "b w"]:
    whole = len(values) // budget
    return values[: whole * budget].reshape(whole, budget)


def _entropy(words: Int[np.ndarray, " w"]) -> float:
    counts = np.unique(words, return_counts=True)[1]
    return float(-(counts / counts.sum() * np.log(counts / counts.sum())).sum())
