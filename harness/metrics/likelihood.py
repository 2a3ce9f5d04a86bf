"""The model's own likelihood of human text: exact, or an upper bound on the negative log-likelihood."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from harness.contracts import Likelihood
from harness.design import Family
from harness.measurement import BOUND, Evaluation, Measurement
from harness.metrics.answers import measured, over_items, refusal, refusals
from harness.stats.intervals import ratio_of_sums

_PRECISE = 0.005
_MISSPELT = 0.01  # share of targets, which a model's own tokenizer does not spell, that bits per byte allow


class OwnLikelihood:
    """Negative log-likelihood of the test targets under the model itself, pooled over the corpus.

    Nats per token (EOS included) and bits per UTF-8 byte, which compares models with different tokenizers: the signature of
    nats per token names the tokenizer that a model brings. It says too whether values are exact or bounds: a bound is never
    ranked against an exact value, and neither is the judge's perplexity, which scores samples.
    What a brought tokenizer drops, lower-cases or does not know costs no bits. Targets that it does not spell have no bytes, so
    that their bits count and nothing is won; where they are more than 1 %, bits per byte are refused.
    Items are (nats, tokens) or (bits, bytes) for each target.
    """

    name: ClassVar[str] = "likelihood"
    version: ClassVar[int] = 4
    families: ClassVar[tuple[Family, ...]] = ("ucg", "a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ("likelihood",)
    values: ClassVar[Mapping[str, bool | None]] = {"own_nll_per_token": False, "own_bits_per_byte": False}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure; refused for models without a likelihood and for values that are not finite.

        Raises:
            ValueError: the model gave another number of values than there are targets.
        """
        own = evaluation.likelihood
        if own is None:
            return refusals(self.values, "the model gives no likelihood", n=0, signature="own likelihood")
        said, task = f"kind:{own.kind}|estimator:{own.estimator}|tokenizer:", evaluation.view.tokenizer.digest
        signature = f"{said}{task[:12]}"
        rows = rows_of(own, len(evaluation.examples))
        misspelt = _misspelt(evaluation, rows)
        reason = why_refused(own, np.column_stack([rows[:, :2], rows[:, 2] + misspelt]))  # nats per token need no bytes
        if reason:
            return refusals(self.values, reason, n=len(rows), signature=signature)
        counted, flags = f"{said}{(evaluation.own_tokenizer or task)[:12]}", _flags(own, rows)
        return {
            "own_nll_per_token": _pooled(evaluation, rows[:, :2], "own_nll_per_token", counted, flags),
            "own_bits_per_byte": _per_byte(evaluation, rows, int(misspelt.sum()), signature, flags),
        }


def _per_byte(
    evaluation: Evaluation, rows: Float[np.ndarray, "n 3"], misspelt: int, signature: str, flags: tuple[str, ...]
) -> Measurement:
    told = f"the model's own tokenizer does not spell {misspelt} of {len(rows)} targets"
    if misspelt > _MISSPELT * len(rows):
        reason = f"{told}: what it drops or changes costs no bits; take a checkpoint whose tokenizer keeps every character"
        return refusal(reason, n=len(rows), signature=signature)
    flags = (*flags, f"{told}: their bits count, their bytes do not") if misspelt else flags
    return _pooled(evaluation, rows[:, [0, 2]] / [math.log(2), 1.0], "own_bits_per_byte", signature, flags)


def _pooled(
    evaluation: Evaluation, used: Float[np.ndarray, "n 2"], name: str, signature: str, flags: tuple[str, ...]
) -> Measurement:
    interval = over_items(evaluation, used, ratio_of_sums, name=name)
    value = float(ratio_of_sums(used.sum(0)[None])[0])
    return measured(
        value, interval, n=len(used), signature=signature, flags=flags, items=used, aggregate="ratio", of_targets=True
    )


def _misspelt(evaluation: Evaluation, rows: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Targets with text to which a model with a tokenizer of its own gives no bytes."""
    text = [evaluation.own_tokenizer is not None and bool(example.target.strip()) for example in evaluation.examples]
    return np.array(text, dtype=bool) & (rows[:, 2] == 0)


def rows_of(own: Likelihood, targets: int) -> Float[np.ndarray, "n 3"]:
    """Nats, tokens and bytes of every target.

    Raises:
        ValueError: another number of values than there are targets.
    """
    rows = np.array([own.nats, own.tokens, own.bytes], dtype=np.float64).T
    if len(rows) != targets:
        raise ValueError(f"the model gave a likelihood for {len(rows)} of {targets} targets: expected each")
    return rows


def why_refused(own: Likelihood, rows: Float[np.ndarray, "n 3"]) -> str | None:
    """Why a likelihood is none that text can have; `None` where it is one."""
    if not len(rows):
        return "no items"
    bad = np.flatnonzero(~np.isfinite(rows[:, 0]))
    if len(bad):
        return f"{len(bad)} of {len(rows)} targets have a likelihood that is not finite, the first is target {bad[0]}"
    unknown = sum(not math.isfinite(error) for error in own.mc_errors or ())
    if unknown:
        return f"{unknown} of {len(rows)} targets have a Monte-Carlo error that is not finite; give `None` where it is unknown"
    if own.kind == "exact" and (rows[:, 0] < 0).any():
        return "a negative log-likelihood below 0 cannot be exact for text"
    if rows[:, 1].sum() == 0 or rows[:, 2].sum() == 0:
        return "the targets have no tokens or no bytes"
    return None


def _flags(own: Likelihood, rows: Float[np.ndarray, "n 3"]) -> tuple[str, ...]:
    bound = (BOUND,) if own.kind == "bound" else ()
    if own.mc_errors is None:
        return bound
    error, total = math.hypot(*own.mc_errors), abs(float(rows[:, 0].sum()))
    if error <= _PRECISE * total:
        return bound
    told = f"Monte-Carlo error {error / total:.1%} of the value" if total else f"Monte-Carlo error {error:.3g} nats, the value 0"
    return (*bound, told)
