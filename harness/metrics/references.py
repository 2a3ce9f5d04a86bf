"""Reference-based corpus scores: statistics of every item, sacreBLEU's value of their sum, intervals from resamples of items."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.base import Metric as SacreMetric

from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusal
from harness.stats.intervals import Aggregate


def corpus_measurement(
    evaluation: Evaluation,
    metric: SacreMetric,
    statistics: Float[np.ndarray, "n K"],
    aggregate: Aggregate,
    *,
    name: str,
    kind: str,
) -> Measurement:
    """Corpus score with sacreBLEU's signature and a bootstrap interval over items, repetitions together.

    Args:
        evaluation: what was generated, and for what.
        metric: sacreBLEU's metric, which gives the point estimate.
        statistics: what sacreBLEU counts of every item.
        aggregate: the same score for many resamples at once, from summed item statistics.
        name: name of the value.
        kind: name of the aggregate.
    """
    texts = checked_texts(evaluation)
    if not texts:
        return refusal("no items", n=0, signature=name)
    score = metric._compute_score_from_stats([int(total) for total in statistics.sum(0)]).score
    interval = over_items(evaluation, statistics, aggregate, name=name)
    signature = signature_of(metric, [example.accepted for example in evaluation.examples])
    return measured(
        score, interval, n=len(texts), signature=signature, flags=empty_flags(texts), items=statistics, aggregate=kind
    )


def signature_of(metric: SacreMetric, references: Sequence[Sequence[str]]) -> str:
    """SacreBLEU's signature, with the number of references that it was given."""
    numbers = {len(accepted) for accepted in references}
    metric.num_refs = numbers.pop() if len(numbers) == 1 else -1
    return str(metric.get_signature().format())
