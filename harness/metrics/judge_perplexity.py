"""Perplexity of samples under the judge, never without the entropy of the samples beside it."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.contracts import Likelihood
from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import (
    checked_texts,
    clusters,
    empty_flags,
    measured,
    over_items,
    refusal,
    refusals,
    why_nothing,
)  # fmt: skip
from harness.stats.intervals import Interval, median_interval, ratio_of_sums
from harness.tokenizer import Tokenizer

LARGEST = math.log(sys.float_info.max)


class JudgePerplexity:
    """How predictable samples are to the judge: exp(sum of nats / sum of tokens), EOS included, pooled over samples.

    Low values are not good by themselves: repetition lowers them. So the mean unigram entropy of a sample's tokens
    (nats) stands beside it, for samples and for human text, and so does the median over samples of their own perplexities, which
    a few long or strange samples do not move. A diagnostic; not the model's own likelihood. Items of the perplexity are
    (nats, tokens) for each sample. Where all samples are empty it is undefined. Of texts with attributes it tells how fluent they
    are, and nothing of whether they say what was asked.
    """

    name: ClassVar[str] = "judge-perplexity"
    version: ClassVar[int] = 5
    families: ClassVar[tuple[Family, ...]] = ("ucg", "a2t")
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    values: ClassVar[Mapping[str, bool | None]] = {
        "judge_ppl": False, "judge_ppl_median": False, "judge_nats_per_byte": False, "sample_entropy": None,
        "human_entropy": None,
    }  # fmt: skip
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {"judge_ppl": ("shuffled-human", "copy-source")}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts; empty ones are scored as their EOS alone and counted."""
        texts = checked_texts(evaluation)
        if evaluation.judge is None or not texts:
            reason = "no judge to score with" if evaluation.judge is None else "no items"
            return refusals(self.values, reason, n=len(texts), signature="judge")
        targets = [example.target for example in evaluation.examples]
        return {
            **_scored(evaluation, texts),
            "sample_entropy": _entropy(evaluation, texts, "sample_entropy"),
            "human_entropy": _entropy(evaluation, targets, "human_entropy"),
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge says of texts.

    Attributes:
        rows: nats, tokens and bytes of every text.
        signature: of the judge, and whether its values are exact.
    """

    rows: Float[np.ndarray, "n 3"]
    signature: str


def judged(evaluation: Evaluation, texts: Sequence[str]) -> Judged | str:
    """What the judge says of texts, or why that is nothing.

    Raises:
        ValueError: it gave another number of values than there are texts.
    """
    reason = "no judge to score with" if evaluation.judge is None else why_nothing(texts)
    if evaluation.judge is None or reason:
        return str(reason)
    found = evaluation.judge.likelihood_of_texts(texts)
    return _checked(found, texts, f"scorer:{evaluation.judge.signature}|kind:{found.kind}")


def _checked(found: Likelihood, texts: Sequence[str], signature: str) -> Judged | str:
    rows = np.array([found.nats, found.tokens, found.bytes], dtype=np.float64).T
    if len(rows) != len(texts):
        raise ValueError(f"the judge scored {len(rows)} of {len(texts)} texts: expected every one, empty ones included")
    bad = np.flatnonzero(~np.isfinite(rows[:, 0]))
    if len(bad):
        return f"the judge's likelihood of {len(bad)} of {len(rows)} texts is not finite, the first is text {bad[0]}"
    silent = int(np.count_nonzero(rows[:, 1] < 1))
    return (
        f"the judge counts no token in {silent} of {len(rows)} texts; expected EOS at least"
        if silent
        else Judged(rows, signature)
    )


def _scored(evaluation: Evaluation, texts: Sequence[str]) -> dict[str, Measurement]:
    found = judged(evaluation, texts)
    if isinstance(found, str):
        return refusals(
            dict.fromkeys(("judge_ppl", "judge_ppl_median", "judge_nats_per_byte")), found, n=len(texts), signature="judge"
        )
    signature, flags = f"{found.signature}|pooled|eos:1", empty_flags(texts)
    return {
        "judge_ppl": _perplexity(evaluation, found.rows, signature, flags),
        "judge_ppl_median": _median(evaluation, found.rows, f"{found.signature}|median of samples|eos:1", flags),
        "judge_nats_per_byte": _per_byte(evaluation, found.rows, signature, flags),
    }


def _perplexity(evaluation: Evaluation, rows: Float[np.ndarray, "n 3"], signature: str, flags: tuple[str, ...]) -> Measurement:
    logarithm, interval = _pooled(evaluation, rows[:, :2], "judge_ppl")
    if max(logarithm, interval.high if interval else logarithm) > LARGEST:
        return refusal(f"{logarithm:.4g} nats per token: the perplexity overflows", n=len(rows), signature=signature)
    ends = interval.map(math.exp) if interval else None
    return measured(
        math.exp(logarithm), ends, n=len(rows), signature=signature, flags=flags, items=rows[:, :2], aggregate="exp-ratio"
    )


def _median(evaluation: Evaluation, rows: Float[np.ndarray, "n 3"], signature: str, flags: tuple[str, ...]) -> Measurement:
    logarithms, again = rows[:, 0] / rows[:, 1], len(set(clusters(evaluation))) < len(rows)
    interval = None if again else median_interval(logarithms)
    if max(float(np.median(logarithms)), interval.high if interval else 0.0) > LARGEST:
        reason = f"{np.median(logarithms):.4g} nats per token in half of the samples: the perplexity overflows"
        return refusal(reason, n=len(rows), signature=signature)
    ends = interval.map(math.exp) if interval else None
    value = math.exp(float(np.median(logarithms)))
    reason = "samples share controls" if again else "fewer than 6 samples"
    return measured(value, ends, n=len(rows), signature=signature, flags=flags, no_interval=reason)


def _per_byte(evaluation: Evaluation, rows: Float[np.ndarray, "n 3"], signature: str, flags: tuple[str, ...]) -> Measurement:
    if not rows[:, 2].sum():
        return refusal("the texts have no bytes", n=len(rows), signature=signature)
    used = rows[:, [0, 2]]
    value, interval = _pooled(evaluation, used, "judge_nats_per_byte")
    return measured(value, interval, n=len(rows), signature=signature, flags=flags, items=used, aggregate="ratio")


def _pooled(evaluation: Evaluation, rows: Float[np.ndarray, "n 2"], name: str) -> tuple[float, Interval | None]:
    return float(ratio_of_sums(rows.sum(0)[None])[0]), over_items(evaluation, rows, ratio_of_sums, name=name)


def _entropy(evaluation: Evaluation, texts: Sequence[str], name: str) -> Measurement:
    entropies = sample_entropies(texts, evaluation.view.tokenizer)
    value, interval = _pooled(evaluation, np.stack([entropies, np.ones(len(entropies))], axis=1), name)
    signature = f"entropy:nats|per-sample|tokenizer:{evaluation.view.tokenizer.digest[:12]}"
    human = name == "human_entropy"
    return measured(
        value, interval, n=len(texts), signature=signature, flags=empty_flags(texts), items=entropies, of_targets=human
    )


def sample_entropies(texts: Sequence[str], tokenizer: Tokenizer) -> Float[np.ndarray, " n"]:
    """Entropy in nats of the token frequencies within each text; 0 for an empty one."""
    counts = (np.unique(ids, return_counts=True)[1] for ids in tokenizer.encode_batch(texts))
    shares = (count / count.sum() for count in counts)
    return np.array([-float((share * np.log(share)).sum()) + 0.0 for share in shares])
