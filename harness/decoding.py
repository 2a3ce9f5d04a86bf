"""From candidates to one text: the first, or the one of least Bayes risk. The same for every kind of model."""

from collections.abc import Callable, Sequence
from functools import cache

from harness.contracts import Generation

VERSION = 1
MBR_UTILITY = "chrF2"
Utility = Callable[[str, str], float]


def first(candidates: Sequence[str]) -> str:
    """The only candidate of S = 1."""
    return candidates[0]


def minimum_bayes_risk(candidates: Sequence[str], utility: Utility) -> str:
    """The candidate with the highest utility summed over all others (Kumar and Byrne 2004); the earliest of equals.

    Duplicates count as often as they were drawn: they are the model's probability mass.

    Args:
        candidates: texts for one request.
        utility: (hypothesis, reference) -> how good the one is where the other is right.
    """
    known = cache(utility)
    others = [[other for place, other in enumerate(candidates) if place != own] for own in range(len(candidates))]
    totals = [sum(known(text, other) for other in rest) for text, rest in zip(candidates, others, strict=True)]
    return candidates[totals.index(max(totals))]


def by_chrf(candidates: Sequence[str]) -> str:
    """Minimum Bayes risk with chrF2 (Popovic 2015) as utility."""
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    return minimum_bayes_risk(candidates, lambda text, other: metric.sentence_score(text, [other]).score)


SELECTORS: dict[str, Callable[[Sequence[str]], str]] = {"first": first, "mbr": by_chrf}


def select(generations: Sequence[Generation], how: str) -> list[str]:
    """One text per generation.

    Args:
        generations: all with at least one candidate.
        how: a name in `SELECTORS`.
    """
    return [SELECTORS[how](generation.texts) for generation in generations]
