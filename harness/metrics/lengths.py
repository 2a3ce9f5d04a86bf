"""Lengths: how long texts are, how many are empty, cut off or ended by the model."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.contracts import Generation
from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusal, refusals, share
from harness.stats.intervals import ratio_of_sums

_SIGNATURE, _SHARE = "words:split at spaces", "share|wilson"


class Lengths:
    """Mean words, words per word of the targets, and rates of empty, truncated and properly ended texts.

    The ratio is over sums, so it is the length ratio of translation, and for unconditional text the mean length against
    that of human text. Truncated means that the model reached the limit without an EOS.
    """

    name: ClassVar[str] = "lengths"
    version: ClassVar[int] = 4
    families: ClassVar[tuple[Family, ...]] = ("ucg", "a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ()
    values: ClassVar[Mapping[str, bool | None]] = {
        "mean_words": None, "length_ratio": None, "empty_rate": False, "truncation_rate": False, "eos_rate": True,
    }  # fmt: skip
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {"empty_rate": ("empty",)}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts and the finish reasons of the candidates that they are."""
        texts = checked_texts(evaluation)
        if not texts:
            return refusals(self.values, "no items", n=0, signature=_SIGNATURE)
        written = np.array([len(text.split()) for text in texts], dtype=np.float64)
        wanted = np.array([len(example.target.split()) for example in evaluation.examples], dtype=np.float64)
        reasons = [finish_reason(text, answer) for text, answer in zip(texts, evaluation.generations, strict=True)]
        return {
            "mean_words": _ratio(evaluation, "mean_words", written, np.ones(len(texts)), empty_flags(texts)),
            "length_ratio": _ratio(evaluation, "length_ratio", written, wanted, empty_flags(texts)),
            "empty_rate": share(evaluation, [not text.strip() for text in texts], signature=_SHARE),
            "truncation_rate": _finish_rate(evaluation, reasons, "length"),
            "eos_rate": _finish_rate(evaluation, reasons, "eos"),
        }


def finish_reason(text: str, answer: Generation) -> str | None:
    """How the selected candidate ended; `None` where the model does not say."""
    if len(answer.finish_reasons) != len(answer.texts) or text not in answer.texts:
        return None
    return answer.finish_reasons[answer.texts.index(text)]


def _ratio(
    evaluation: Evaluation, name: str, above: Float[np.ndarray, " n"], below: Float[np.ndarray, " n"], flags: tuple[str, ...]
) -> Measurement:
    rows = np.stack([above, below], axis=1)
    if not below.sum():
        return refusal("the targets have no words", n=len(rows), signature=_SIGNATURE)
    interval = over_items(evaluation, rows, ratio_of_sums, name=name)
    value = float(above.sum() / below.sum())
    return measured(value, interval, n=len(rows), signature=_SIGNATURE, flags=flags, items=rows, aggregate="ratio")


def _finish_rate(evaluation: Evaluation, reasons: Sequence[str | None], wanted: str) -> Measurement:
    silent = sum(reason is None for reason in reasons)
    if silent:
        return refusal(f"{silent} texts came without a finish reason", n=len(reasons), signature=_SHARE)
    return share(evaluation, [reason == wanted for reason in reasons], signature=_SHARE)
