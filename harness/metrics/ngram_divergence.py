"""Jensen-Shannon divergence between the words and phrases of samples and those of human text; needs no judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import sacrebleu
from jaxtyping import Float, Int

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, refusal, refusals
from harness.metrics.sides import LEAST, biased_flags, other_human_texts, references_digest, sides, why_not_compared
from harness.metrics.words import ngrams, word_ids
from harness.stats.standard_errors import jackknife

_ORDERS = (1, 2, 3)
_BEGIN, _END = 0, 1


class NgramDivergence:
    """Jensen-Shannon divergence in bits (Lin 1991, IEEE Trans. Inf. Theory 37) of n-grams, n = 1, 2, 3.

    n-grams are those of words (13a) within a text with marks of its beginning and end, so that a text of m words has m + 1 of
    each order and an empty one counts too, pooled over the texts of a side: 0 where both sides use the same ones equally
    often, 1 where they share none. Estimated from counts it is far above the divergence of the laws, the more so
    the longer the n-grams and the fewer the texts: `jsd_n_ceiling` is what as many other human texts have. Of the order of
    words it sees what an n-gram sees, and nothing of one text's coherence. The interval is a jackknife over the texts of
    either side, which does not repeat texts, as a bootstrap does, which would bias it further.
    """

    name: ClassVar[str] = "ngram-divergence"
    version: ClassVar[int] = 2
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    values: ClassVar[Mapping[str, bool | None]] = {
        **{f"jsd_{order}": False for order in _ORDERS}, **{f"jsd_{order}_ceiling": None for order in _ORDERS},
    }  # fmt: skip
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "jsd_1": ("tiled", "empty", "constant"),
        "jsd_2": ("shuffled-human", "tiled", "empty", "constant"),
        "jsd_3": ("shuffled-human", "tiled", "empty", "constant"),
    }

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts, and other human texts, against the examples' targets."""
        n, signature = len(checked_texts(evaluation)), _signature(evaluation)
        reason = why_not_compared(evaluation, least=LEAST, otherwise="a divergence of n-grams would be mostly bias")
        reason = reason or _repeated("samples", evaluation.texts)
        reason = reason or _repeated("references", [example.target for example in evaluation.examples])
        if reason:
            return refusals(self.values, reason, n=n, signature=signature)
        texts, humans = sides(evaluation), other_human_texts(evaluation)
        others = () if isinstance(humans, str) else humans.texts
        found: dict[str, Measurement] = {}
        for order, (samples, references, *ceiling) in zip(_ORDERS, counted(texts.samples, texts.references, others), strict=True):
            name, signed, biased = f"jsd_{order}", f"{signature}|order:{order}", biased_flags(n, f"jsd_{order}_ceiling")
            found[name] = _measured(samples, references, signed, (*biased, *empty_flags(evaluation.texts)))
            if isinstance(humans, str):
                found[f"{name}_ceiling"] = refusal(humans, n=n, signature=signed)
            else:
                signed, flags = f"{signed}|humans:{humans.digest}", (*biased, *humans.flags)
                found[f"{name}_ceiling"] = _measured(ceiling[0], references, signed, flags)
        return found


@dataclass(frozen=True, slots=True)
class Counted:
    """n-grams of one side: an integer for each, the index of the text it stands in, and how many texts and n-grams there are."""

    grams: Int[np.ndarray, " k"]
    owner: Int[np.ndarray, " k"]
    texts: int
    kinds: int

    @property
    def counts(self) -> Int[np.ndarray, " V"]:
        """How often each n-gram stands in all the texts together."""
        return np.bincount(self.grams, minlength=self.kinds)

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """n-grams of each text."""
        return np.bincount(self.owner, minlength=self.texts)


def counted(*groups: Sequence[str]) -> Iterator[list[Counted]]:
    """n-grams of every group of texts, for n = 1, 2, 3; equal n-grams of one order have equal integers in all groups."""
    ends = np.cumsum([0, *map(len, groups)])
    words, owner = _marked(*word_ids([text for group in groups for text in group]), int(ends[-1]))
    for order, (grams, place) in enumerate(ngrams(words, owner, longest=_ORDERS[-1]), start=1):
        # those that hold a word or the end: the first ones of a text lie among the marks of its beginning
        nth = np.arange(len(place)) - np.searchsorted(place, place)
        grams, place = grams[nth >= _ORDERS[-1] - order], place[nth >= _ORDERS[-1] - order]
        kinds, cuts = int(grams.max(initial=-1)) + 1, np.searchsorted(place, ends)
        yield [
            Counted(grams[start:stop], place[start:stop] - first, len(group), kinds)
            for start, stop, first, group in zip(cuts[:-1], cuts[1:], ends[:-1], groups, strict=True)
        ]


def _marked(
    words: Int[np.ndarray, " m"], owner: Int[np.ndarray, " m"], n: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Words of n texts with two marks before each text and one after it."""
    before, place = np.repeat(np.arange(n), _ORDERS[-1] - 1), np.arange(n)
    everything = np.concatenate([np.full(len(before), _BEGIN), words + 2, np.full(n, _END)])
    texts = np.concatenate([before, owner, place])
    order = np.lexsort((np.repeat([0, 1, 2], [len(before), len(words), n]), texts))
    return everything[order], texts[order]


def jensen_shannon(p: Float[np.ndarray, " V"], q: Float[np.ndarray, " V"]) -> float:
    """Jensen-Shannon divergence of two distributions in bits, in [0, 1]: mean of KL(p | m) and KL(q | m), m their mean."""
    return float(np.clip(_terms(p, q).sum(), 0, 1))


def left_out(side: Counted, other: Float[np.ndarray, " V"]) -> Float[np.ndarray, " n"]:
    """Divergence from another distribution without each text of a side.

    Without a text, its own n-grams are fewer and the shares of all others grow by one factor, which its length decides: so
    all texts of one length share a sum over the vocabulary, to which each adds the change in its own n-grams.

    Args:
        side: at least two texts.
        other: the other distribution.
    """
    counts, rest = side.counts, len(side.grams) - side.lengths
    totals, place = np.unique(rest, return_inverse=True)
    shared = np.array([_terms(counts / total, other).sum() for total in totals])
    pairs, times = np.unique(side.owner * side.kinds + side.grams, return_counts=True)
    text, gram = np.divmod(pairs, side.kinds)
    change = _terms((counts[gram] - times) / rest[text], other[gram]) - _terms(counts[gram] / rest[text], other[gram])
    return shared[place] + np.bincount(text, weights=change, minlength=side.texts)


def _terms(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Contribution of every n-gram to the divergence."""
    return (_towards_mean(p, q) + _towards_mean(q, p)) / 2


def _towards_mean(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    present = p > 0
    return np.where(present, p * np.log2(np.where(present, 2 * p, 1) / np.where(present, p + q, 1)), 0.0)


def _measured(side: Counted, references: Counted, signature: str, flags: tuple[str, ...]) -> Measurement:
    p, q = (texts.counts / len(texts.grams) for texts in (side, references))
    value = jensen_shannon(p, q)
    interval = jackknife(value, left_out(side, q), left_out(references, p), least=0.0, most=1.0)
    return measured(value, interval, n=side.texts, signature=signature, flags=flags)


def _repeated(side: str, texts: Sequence[str]) -> str | None:
    different = {" ".join(text.split()) for text in texts}
    if different == {""}:
        return f"all {side} are empty"
    return f"all {side} are the same: one text repeated is no distribution" if len(different) == 1 else None


def _signature(evaluation: Evaluation) -> str:
    view, references = evaluation.view, references_digest(evaluation)
    return (
        f"tok:13a|marks:begin end|bits|pooled|refs:{references}|cut:{view.max_tokens} by {view.tokenizer.digest[:12]}"
        f"|n:{len(evaluation.texts)}|se:jackknife|sacrebleu:{sacrebleu.__version__}"
    )
