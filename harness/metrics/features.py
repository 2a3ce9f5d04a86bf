"""Samples, references and other human texts as the judge's features: embedded once each, and checked."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.measurement import Evaluation
from harness.metrics.sides import HumanTexts, Sides, other_human_texts, references_digest, sides, why_not_compared


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """Feature vectors of samples and references.

    Attributes:
        sides: the texts behind them, in the same order.
        samples, references: as the judge gives them; finite, of one width.
    """

    sides: Sides
    samples: Float[np.ndarray, "n W"]
    references: Float[np.ndarray, "n W"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanFeatures:
    """Feature vectors of other human texts, with what `HumanTexts` says of them."""

    source: HumanTexts
    features: Float[np.ndarray, "n W"]


def embedded(evaluation: Evaluation, *, least: int, otherwise: str) -> Features | str:
    """Features of both sides, or why there are none that could be compared.

    Args:
        evaluation: what was generated, and for what.
        least: fewest texts per side.
        otherwise: what fewer would lead to.
    """
    reason = why_not_compared(evaluation, least=least, otherwise=otherwise)
    if reason or evaluation.judge is None:
        return reason or "no judge to take features from"
    texts = sides(evaluation)
    samples, references = (np.asarray(evaluation.judge.features(side)) for side in (texts.samples, texts.references))
    reason = _malformed("samples", samples, len(texts.ids)) or _malformed("references", references, len(texts.ids))
    if reason is None and samples.shape != references.shape:
        reason = f"features of samples have width {samples.shape[1]}, those of references {references.shape[1]}"
    return reason or Features(sides=texts, samples=samples, references=references)


def embedded_humans(evaluation: Evaluation, *, width: int) -> HumanFeatures | str:
    """Features of other human texts, or why there are none.

    Args:
        evaluation: one whose samples and references could be embedded.
        width: of their features.
    """
    source = other_human_texts(evaluation)
    if isinstance(source, str) or evaluation.judge is None:
        return source if isinstance(source, str) else "no judge to take features from"
    features = np.asarray(evaluation.judge.features(source.texts))
    reason = _malformed("other human texts", features, len(source.texts)) or _repeated("other human texts", features)
    if reason is None and features.shape[1] != width:
        reason = f"features of other human texts have width {features.shape[1]}, those of references {width}"
    return reason or HumanFeatures(source=source, features=features)


def why_no_distribution(features: Features) -> str | None:
    """Why one of the sides is no distribution of features: all of its texts have the same; `None` where both are."""
    return _repeated("samples", features.samples) or _repeated("references", features.references)


def feature_signature(evaluation: Evaluation) -> str:
    """What decides the features of both sides: judge, references, length of texts, number."""
    judge = evaluation.judge.signature if evaluation.judge is not None else "none"
    return f"features:{judge}|refs:{references_digest(evaluation)}|cut:{evaluation.view.max_tokens}|n:{len(evaluation.texts)}"


def _malformed(side: str, features: np.ndarray, n: int) -> str | None:
    if features.ndim != 2 or len(features) != n or not features.shape[1]:
        return f"features of {side} have shape {features.shape}, expected [{n}, width]"
    return None if np.isfinite(features).all() else f"features of {side} are not finite"


def _repeated(side: str, features: Float[np.ndarray, "n W"]) -> str | None:
    same = np.ptp(features, axis=0).max() == 0
    return f"all {side} have the same features: one text repeated is no distribution" if same else None
