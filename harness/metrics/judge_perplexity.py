"""Perplexity of samples under the judge, never without the entropy of the samples beside it."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.intervals import Interval, bootstrap, ratio_of_sums
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, refusals, resamples, resampling
from harness.tokenizer import Tokenizer


class JudgePerplexity:
    """How predictable samples are to the judge: exp(sum of nats / sum of tokens), EOS included, pooled over samples.

    Low values are not good by themselves: repetition lowers them. So the mean unigram entropy of a sample's tokens
    (nats) stands beside it, for samples and for human text. A diagnostic; not the model's own likelihood. Items of the
    perplexity are (nats, tokens, bytes) for each sample.
    """

    name: ClassVar[str] = "judge-perplexity"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    values: ClassVar[Mapping[str, bool | None]] = {
        "judge_ppl": False, "judge_nats_per_byte": False, "sample_entropy": None, "human_entropy": None,
    }  # fmt: skip

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


def _scored(evaluation: Evaluation, texts: Sequence[str]) -> dict[str, Measurement]:
    assert evaluation.judge is not None
    judged = evaluation.judge.likelihood_of_texts(texts)
    rows = np.array([judged.nats, judged.tokens, judged.bytes], dtype=np.float64).T
    if len(rows) != len(texts):
        raise ValueError(f"the judge scored {len(rows)} of {len(texts)} texts: expected every one, empty ones included")
    log_perplexity, log_interval = _pooled(evaluation, rows[:, :2], "judge_ppl")
    per_byte, interval = _pooled(evaluation, rows[:, [0, 2]], "judge_nats_per_byte")
    signature = f"scorer:{evaluation.judge.signature}|kind:{judged.kind}|pooled|eos:1"
    flags, n = empty_flags(texts), len(rows)
    low_high = log_interval.map(math.exp) if log_interval else None
    return {
        "judge_ppl": measured(math.exp(log_perplexity), low_high, n=n, signature=signature, flags=flags, items=rows),
        "judge_nats_per_byte": measured(per_byte, interval, n=n, signature=signature, flags=flags, items=rows),
    }


def _pooled(evaluation: Evaluation, rows: Float[np.ndarray, "n 2"], name: str) -> tuple[float, Interval | None]:
    interval = bootstrap(rows, ratio_of_sums, resamples=resamples(evaluation), rng=resampling(evaluation, name))
    return float(ratio_of_sums(rows.sum(0)[None])[0]), interval


def _entropy(evaluation: Evaluation, texts: Sequence[str], name: str) -> Measurement:
    entropies = sample_entropies(texts, evaluation.view.tokenizer)
    value, interval = _pooled(evaluation, np.stack([entropies, np.ones(len(entropies))], axis=1), name)
    signature = f"entropy:nats|per-sample|tokenizer:{evaluation.view.tokenizer.digest[:12]}"
    return measured(value, interval, n=len(texts), signature=signature, flags=empty_flags(texts), items=entropies)


def sample_entropies(texts: Sequence[str], tokenizer: Tokenizer) -> Float[np.ndarray, " n"]:
    """Entropy in nats of the token frequencies within each text; 0 for an empty one."""
    counts = (np.unique(ids, return_counts=True)[1] for ids in tokenizer.encode_batch(texts))
    shares = (count / count.sum() for count in counts)
    return np.array([-float((share * np.log(share)).sum()) + 0.0 for share in shares])
