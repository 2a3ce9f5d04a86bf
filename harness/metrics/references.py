"""Reference-based corpus scores through sacreBLEU: shapes checked here, intervals from sacreBLEU's own item statistics."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.base import Metric as SacreMetric

from harness.contracts import Example
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusal
from harness.stats.intervals import Aggregate


def reference_columns(references: Sequence[Sequence[str]]) -> list[list[Any]]:
    """References as sacreBLEU wants them: the k-th reference of every item, `None` where an item has fewer.

    Args:
        references: all references of every item.

    Raises:
        ValueError: an item without a reference, or references that are a string.
    """
    for index, accepted in enumerate(references):
        if isinstance(accepted, str) or not accepted or not all(isinstance(text, str) for text in accepted):
            raise ValueError(f"references of item {index} are {accepted!r}: expected at least one string in a sequence")
    most = max((len(accepted) for accepted in references), default=0)
    return [[accepted[k] if k < len(accepted) else None for accepted in references] for k in range(most)]


def references_of(examples: Sequence[Example]) -> list[tuple[str, ...]] | str:
    """All references of every example, or why there are none.

    Returns:
        The references in order; a string that says how many are missing where an example has blank ones only.

    Raises:
        ValueError: references that are one string.
    """
    accepted = [example.accepted for example in examples]
    single = next((place for place, texts in enumerate(accepted) if isinstance(texts, str)), None)
    if single is not None:
        raise ValueError(f"references of {examples[single].id!r} are a single string: expected a sequence of strings")
    blank = [place for place, texts in enumerate(accepted) if not any(text.strip() for text in texts)]
    if blank:
        return (
            f"{len(blank)} of {len(accepted)} items have no reference with a word in it, the first is {examples[blank[0]].id!r}"
        )
    return accepted


def statistics_of(metric: SacreMetric, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Float[np.ndarray, "n K"]:
    """Sufficient statistics of every item, as sacreBLEU counts them.

    Raises:
        ValueError: not one list of references per text.
    """
    if isinstance(texts, str) or len(texts) != len(references):
        raise ValueError(f"{len(texts)} texts and {len(references)} lists of references: expected one list per text")
    return np.array(metric._extract_corpus_statistics(list(texts), reference_columns(references)), dtype=np.float64)


def corpus_measurement(evaluation: Evaluation, metric: SacreMetric, aggregate: Aggregate, *, name: str, kind: str) -> Measurement:
    """Corpus score with all references, sacreBLEU's signature and a bootstrap interval over items.

    Args:
        evaluation: what was generated, and for what.
        metric: sacreBLEU's metric, which gives the point estimate.
        aggregate: the same score for many resamples at once, from summed item statistics.
        name: name of the value.
        kind: name of the aggregate.
    """
    texts, references = checked_texts(evaluation), references_of(evaluation.examples)
    if not texts or isinstance(references, str):
        return refusal(references if isinstance(references, str) else "no items", n=len(texts), signature=name)
    statistics = statistics_of(metric, texts, references)
    score = metric._compute_score_from_stats([int(total) for total in statistics.sum(0)]).score
    interval = over_items(evaluation, statistics, aggregate, name=name)
    signature = metric.get_signature().format()
    return measured(
        score, interval, n=len(texts), signature=signature, flags=empty_flags(texts), items=statistics, aggregate=kind
    )
