"""Perplexity under the judge as parts of the literature average it; optional columns, to compare with its tables only."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusal, refusals
from harness.metrics.judge_perplexity import LARGEST
from harness.stats.intervals import ratio_of_sums


class SamplePerplexity:
    """Every sample by itself first, so that a short one counts as much as a long one; the main column pools tokens instead.

    `judge_ppl_mean_of_samples` is the mean over samples of exp(nats per token), as in the released code of SEDD (Lou, Meng and
    Ermon 2024, arXiv:2310.16834); one unlikely sample can rule it. `judge_ppl_of_mean_sample` is exp of the mean over samples of
    nats per token. EOS is scored in both.
    """

    name: ClassVar[str] = "sample-perplexity"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    values: ClassVar[Mapping[str, bool | None]] = {"judge_ppl_mean_of_samples": False, "judge_ppl_of_mean_sample": False}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts; empty ones are scored as their EOS alone and counted."""
        texts = checked_texts(evaluation)
        if evaluation.judge is None or not texts:
            reason = "no judge to score with" if evaluation.judge is None else "no items"
            return refusals(self.values, reason, n=len(texts), signature="judge")
        judged = evaluation.judge.likelihood_of_texts(texts)
        logarithms = np.array(judged.nats, dtype=np.float64) / np.array(judged.tokens, dtype=np.float64)
        signature = f"scorer:{evaluation.judge.signature}|kind:{judged.kind}|eos:1|per sample"
        return {
            "judge_ppl_mean_of_samples": _mean(evaluation, texts, logarithms, signature),
            "judge_ppl_of_mean_sample": _of_mean(evaluation, texts, logarithms, signature),
        }


def _mean(evaluation: Evaluation, texts: Sequence[str], logarithms: Float[np.ndarray, " n"], signature: str) -> Measurement:
    if logarithms.max() > LARGEST:
        reason = f"a sample has {logarithms.max():.4g} nats per token: its perplexity overflows"
        return refusal(reason, n=len(texts), signature=signature)
    items = np.exp(logarithms)
    interval = over_items(evaluation, _counted(items), ratio_of_sums, name="judge_ppl_mean_of_samples")
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
