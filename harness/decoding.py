"""From candidates to one text: the first, or the one of least Bayes risk. The same for every kind of model."""

from collections.abc import Callable, Sequence

from harness.contracts import Generation

VERSION = 1
MBR_UTILITY = "chrF2"


def first(candidates: Sequence[str]) -> str:
    """The only candidate of S = 1."""
    return candidates[0]


def minimum_bayes_risk(candidates: Sequence[str]) -> str:
    """The candidate with the highest mean chrF2 against all others (Kumar and Byrne 2004); the earliest of equals.

    Duplicates count as often as they were drawn: they are the model's probability mass.
    """
    from sacrebleu.metrics.chrf import CHRF

    if len(set(candidates)) == 1:
        return candidates[0]
    metric = CHRF()
    distinct = {text: candidates.count(text) for text in candidates}
    utility = {
        text: sum(count * metric.sentence_score(text, [other]).score for other, count in distinct.items() if other != text)
        + 100.0 * (distinct[text] - 1)
        for text in distinct
    }
    return max(candidates, key=lambda text: utility[text])


SELECTORS: dict[str, Callable[[Sequence[str]], str]] = {"first": first, "mbr": minimum_bayes_risk}


def select(generations: Sequence[Generation], how: str) -> list[str]:
    """One text per generation.

    Args:
        generations: all with at least one candidate.
        how: a name in `SELECTORS`.
    """
    return [SELECTORS[how](generation.texts) for generation in generations]
