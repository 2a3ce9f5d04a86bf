"""Perplexity under the judge as parts of the literature average it; optional columns, to compare with its tables only."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusal, refusals
from harness.metrics.judge_perplexity import LARGEST, judged
from harness.stats.intervals import ratio_of_sums

_WITHOUT_FIRST = "judge_ppl_mean_of_samples_bos_0"


class SamplePerplexity:
    """Every sample by itself first, so that a short one counts as much as a long one; the main column pools tokens instead.

    `judge_ppl_mean_of_samples` is the mean over samples of exp(nats per token); one unlikely sample can rule it.
    `judge_ppl_of_mean_sample` is exp of the mean over samples of nats per token. EOS is scored in both.
    `judge_ppl_mean_of_samples_bos_0` is the first of the two as the released code of SEDD computes it (Lou, Meng and Ermon
    2024, arXiv:2310.16834): its scorer reads no BOS, so that the first token of a sample is not scored, and neither is an EOS.
    The judge reads BOS all the same, as it was trained to. Refused where a sample has fewer than two tokens.
    """

    name: ClassVar[str] = "sample-perplexity"
    version: ClassVar[int] = 2
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    values: ClassVar[Mapping[str, bool | None]] = {
        "judge_ppl_mean_of_samples": False, "judge_ppl_of_mean_sample": False, _WITHOUT_FIRST: False,
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts; empty ones are scored as their EOS alone and counted."""
        texts = checked_texts(evaluation)
        found = judged(evaluation, texts)
        if isinstance(found, str):
            return refusals(self.values, found, n=len(texts), signature="judge")
        logarithms, signature = found.rows[:, 0] / found.rows[:, 1], f"{found.signature}|eos:1|per sample"
        return {
            "judge_ppl_mean_of_samples": _mean(evaluation, "judge_ppl_mean_of_samples", texts, logarithms, signature),
            "judge_ppl_of_mean_sample": _of_mean(evaluation, texts, logarithms, signature),
            _WITHOUT_FIRST: _without_first(evaluation, texts),
        }


def _without_first(evaluation: Evaluation, texts: Sequence[str]) -> Measurement:
    scored = getattr(evaluation.judge, "likelihood_after_first", lambda texts: None)(texts)
    if evaluation.judge is None or scored is None:
        return refusal("the judge cannot leave the first token unscored", n=len(texts), signature="judge")
    signature = f"scorer:{evaluation.judge.signature}|kind:{scored.kind}|bos:0|eos:0|per sample"
    nats, tokens = np.array(scored.nats, dtype=np.float64), np.array(scored.tokens, dtype=np.float64)
    short, odd = int(np.count_nonzero(tokens < 1)), int(np.count_nonzero(~np.isfinite(nats)))
    if short or odd:
        told = f"{short} of {len(texts)} samples have fewer than two tokens: nothing of them is scored"
        told = told if short else f"the judge's likelihood of {odd} of {len(texts)} texts is not finite"
        return refusal(told, n=len(texts), signature=signature)
    return _mean(evaluation, _WITHOUT_FIRST, texts, nats / tokens, signature)


def _mean(
    evaluation: Evaluation, name: str, texts: Sequence[str], logarithms: Float[np.ndarray, " n"], signature: str
) -> Measurement:
    if logarithms.max() > LARGEST:
        reason = f"a sample has {logarithms.max():.4g} nats per token: its perplexity overflows"
        return refusal(reason, n=len(texts), signature=signature)
    items = np.exp(logarithms)
    interval = over_items(evaluation, _counted(items), ratio_of_sums, name=name)
    flags = empty_flags(texts)
    return measured(float(items.mean()), interval, n=len(texts), signature=signature, flags=flags, items=items)


def _of_mean(evaluation: Evaluation, texts: Sequence[str], logarithms: Float[np.ndarray, " n"], signature: str) -> Measurement:
    rows, flags = _counted(logarithms), empty_flags(texts)
    if logarithms.mean() > LARGEST:
        reason = f"{logarithms.mean():.4g} nats per token: the perplexity overflows"
        return refusal(reason, n=len(texts), signature=signature)
    interval = over_items(evaluation, rows, ratio_of_sums, name="judge_ppl_of_mean_sample")
    ends = interval.map(math.exp) if interval else None
    value = math.exp(float(logarithms.mean()))
    return measured(value, ends, n=len(texts), signature=signature, flags=flags, items=rows, aggregate="exp-ratio")


def _counted(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    return np.stack([values, np.ones(len(values))], axis=1)
