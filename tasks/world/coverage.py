"""How much of the language samples reach: attribute values, meanings, rules."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence, Set

import numpy as np

from harness.contracts import stream_seed
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import measured, refusal
from harness.stats.intervals import LEAST, Interval
from tasks.world.automaton import Floats
from tasks.world.chart import rules_used
from tasks.world.draws import draw
from tasks.world.meaning import ordered
from tasks.world.task import World

PARSED = 300
"""Most texts that are parsed for the rules they use; a parse takes milliseconds."""
MEAN_DEVIATION = math.sqrt(2 / math.pi)
"""Mean absolute deviation of a normal law, in standard deviations."""
LIKELY_CHANCE = 1.5
"""Standard errors below which a deviation counts as chance."""


def attribute_distance(evaluation: Evaluation, task: World, valid: Sequence[str], signature: str) -> Measurement:
    """Mean over attributes of the total variation between the law of values in the samples and the exact one.

    An attribute that is not said counts as a value. Freed from most of what chance adds (`law_distance`); the flag says how
    much was measured, and how much exact draws would have.
    """
    if not valid:
        return refusal("no text is in the language", n=0, signature=signature)
    law = [
        (attribute, value, share) for attribute, values in task.language.attribute_law.items() for value, share in values.items()
    ]
    exact = np.array([share for _, _, share in law])
    meanings = [task.language.automaton.meaning(text) or {} for text in valid]
    hits = np.array([[meaning.get(attribute, "") == value for attribute, value, _ in law] for meaning in meanings], dtype=float)
    laws = len(task.language.attribute_law)
    value, interval = law_distance(hits, exact, laws=laws)
    plain = float(np.abs(hits.mean(0) - exact).sum()) / 2 / laws
    chance = float(np.sqrt(exact * (1 - exact) / len(valid)).sum()) * MEAN_DEVIATION / 2 / laws
    flags = (f"uncorrected: {plain:.4f}, exact draws of the same n: {chance:.4f}",)
    return measured(
        value, interval, n=len(valid), signature=signature, flags=flags, no_interval="the texts are too few or say the same"
    )


def law_distance(hits: Floats, exact: Floats, *, laws: int) -> tuple[float, Interval | None]:
    """Mean total variation of sampled laws from exact ones, and an interval that holds it in at least 95 % of samples.

    Chance moves every share, so the plain distance lies above the true one: by the mean deviation of a share that is right,
    by nothing for one that is far off. Shares within 1.5 standard errors of the exact ones lose that deviation. The
    interval goes from the plain distance less the deviation of all shares to the plain distance, and by 1.96 jackknife
    standard errors further on both sides: neither end is ever on the wrong side by the bias.

    Args:
        hits: 0 or 1 for every text and every value of every law.
        exact: probability of every value.
        laws: number of laws.
    """
    n, shares = len(hits), hits.mean(0)
    gaps = np.abs(shares - exact)
    errors = np.sqrt(np.maximum(shares * (1 - shares), exact * (1 - exact)) / n)
    corrected = gaps - np.where(gaps < LIKELY_CHANCE * errors, MEAN_DEVIATION * errors, 0.0)
    value = max(0.0, float(corrected.sum()) / 2 / laws)
    error = _jackknife_error(hits, exact) / 2 / laws
    if n < LEAST or error < 1e-12:
        return value, None
    low = float((gaps - MEAN_DEVIATION * errors).sum()) / 2 / laws - 1.96 * error
    return value, Interval(max(0.0, low), min(1.0, float(gaps.sum()) / 2 / laws + 1.96 * error))


def _jackknife_error(hits: Floats, exact: Floats) -> float:
    n = len(hits)
    left_out = np.abs((hits.sum(0) - hits) / max(n - 1, 1) - exact).sum(1)
    return float(np.sqrt((n - 1) * left_out.var()))


def coverage(evaluation: Evaluation, task: World, valid: Sequence[str], signature: str) -> dict[str, Measurement]:
    """Different meanings, and different rules, in the samples, relative to as many exact draws: near 1, not at most 1.

    Texts outside the language count as meaning nothing. Intervals hold the chance of both sides (`kinds`).
    """
    seed = stream_seed(evaluation.seed, "world", "coverage")
    exact, n = draw(task.language.automaton, len(evaluation.texts), np.random.default_rng(seed)), len(evaluation.texts)
    parsed = round(PARSED * len(valid) / n) if n > PARSED else len(valid)
    some, signed = min(PARSED, n), f"{signature}|parsed:{PARSED}"
    meanings, exact_meanings = (kinds(_meanings(task, texts), n) for texts in (valid, exact))
    rules, exact_rules = (kinds(_rules(task, texts), some) for texts in (valid[:parsed], exact[:PARSED]))
    return {
        "meaning_coverage": _relative(meanings, exact_meanings, n=n, signature=signature),
        "rule_coverage": _relative(rules, exact_rules, n=some, signature=signed),
    }


def kinds(things: Sequence[Set[Hashable]], n: int) -> tuple[int, float]:
    """How many different things n texts hold, and the variance of that number.

    By the jackknife, where a text counts for the things that it alone holds: never too small on average (Efron and Stein
    1981), while a bootstrap would count repetitions of its own making. At least 1: all alone, or none, can be luck.

    Args:
        things: of every text that holds any.
        n: texts, those without anything included.
    """
    holders = Counter(thing for held in things for thing in held)
    alone = np.zeros(n)
    alone[: len(things)] = [sum(holders[thing] == 1 for thing in held) for held in things]
    return len(holders), max(1.0, (n - 1) * float(alone.var()))


def _relative(ours: tuple[int, float], exact: tuple[int, float], *, n: int, signature: str) -> Measurement:
    """Ratio of two numbers of kinds; variances of independent numbers add up relatively (delta method)."""
    (found, spread), (wanted, noise) = ours, exact
    value = found / wanted
    half = 1.96 * math.sqrt(spread + value**2 * noise) / wanted
    interval = Interval(max(0.0, value - half), value + half) if found else None
    return measured(value, interval, n=n, signature=signature, no_interval="no text is in the language")


def _meanings(task: World, texts: Sequence[str]) -> list[set[Hashable]]:
    return [{ordered(task.language.automaton.meaning(text) or {})} for text in texts]


def _rules(task: World, texts: Sequence[str]) -> list[set[Hashable]]:
    return [set(rules_used(task.language.tree(text))) for text in texts]
