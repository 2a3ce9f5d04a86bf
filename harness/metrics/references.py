"""Reference-based corpus scores: statistics of every item, sacreBLEU's value of their sum, intervals from resamples of items."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.base import Metric as SacreMetric

from harness.contracts import Example
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items
from harness.stats.intervals import Aggregate


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


def texts_and_references(evaluation: Evaluation) -> tuple[list[str], list[tuple[str, ...]]] | str:
    """The selected texts and what they are held against, or why there is nothing to be scored."""
    texts, references = checked_texts(evaluation), references_of(evaluation.examples)
    if isinstance(references, str):
        return references
    return (texts, references) if texts else "no items"


def corpus_measurement(
    evaluation: Evaluation,
    metric: SacreMetric,
    statistics: Float[np.ndarray, "n K"],
    aggregate: Aggregate,
    *,
    name: str,
    kind: str,
) -> Measurement:
    """Corpus score with sacreBLEU's signature and a bootstrap interval over items.

    Args:
        evaluation: what was generated, and for what.
        metric: sacreBLEU's metric, which gives the point estimate.
        statistics: what sacreBLEU counts of every item.
        aggregate: the same score for many resamples at once, from summed item statistics.
        name: name of the value.
        kind: name of the aggregate.
    """
    texts = checked_texts(evaluation)
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
