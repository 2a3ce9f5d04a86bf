"""How much of the language samples reach: attribute values, meanings, rules."""

from collections.abc import Sequence

import numpy as np

from harness.contracts import stream_seed
from harness.intervals import Interval
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import measured, refusal
from tasks.world.automaton import Floats
from tasks.world.chart import rules_used
from tasks.world.draws import draw
from tasks.world.meaning import ordered
from tasks.world.rules import Rule
from tasks.world.task import World

PARSED = 300
"""Most texts that are parsed for the rules they use; a parse takes milliseconds."""


def attribute_distance(evaluation: Evaluation, task: World, valid: Sequence[str], signature: str) -> Measurement:
    """Mean over attributes of the total variation between the law of values in the samples and the exact one.

    An attribute that is not said counts as a value. The distance of exact draws is not 0 but falls with n; the flag says it.
    """
    if not valid:
        return refusal("no text is in the language", n=0, signature=signature)
    law = [
        (attribute, value, share) for attribute, values in task.language.attribute_law.items() for value, share in values.items()
    ]
    exact = np.array([share for _, _, share in law])
    meanings = [task.language.automaton.meaning(text) or {} for text in valid]
    hits = np.array([[meaning.get(attribute, "") == value for attribute, value, _ in law] for meaning in meanings], dtype=float)
    attributes = len(task.language.attribute_law)

    def distance(sums: Floats) -> Floats:
        counts = sums[:, -1:]
        distances: Floats = np.abs(sums[:, :-1] / counts - exact).sum(1) / 2 / attributes
        return distances

    rows = np.concatenate([hits, np.ones((len(hits), 1))], axis=1)
    value = float(distance(rows.sum(0)[None])[0])
    interval = _jackknife(value, distance(rows.sum(0) - rows))
    chance = float(np.sqrt(2 * exact * (1 - exact) / (np.pi * len(valid))).sum() / 2 / attributes)
    flags = (f"exact draws of the same n: {chance:.4f}",)
    return measured(value, interval, n=len(valid), signature=signature, flags=flags)


def _jackknife(value: float, left_out: Floats) -> Interval | None:
    """Value and 1.96 jackknife standard errors; a bootstrap would be biased where the distance is near 0."""
    n = len(left_out)
    if n < 2:
        return None
    half = 1.96 * float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    return Interval(max(0.0, value - half), min(1.0, value + half))


def coverage(evaluation: Evaluation, task: World, valid: Sequence[str], signature: str) -> dict[str, Measurement]:
    """Different meanings, and different rules, in the samples, relative to as many exact draws: near 1, not at most 1.

    Texts outside the language count as meaning nothing. No interval: the numbers of different things do not resample.
    """
    seed = stream_seed(evaluation.seed, "world", "coverage")
    exact = draw(task.language.automaton, len(evaluation.texts), np.random.default_rng(seed))
    meanings = len(_meanings(task, valid)) / len(_meanings(task, exact))
    parsed = round(PARSED * len(valid) / len(exact)) if len(exact) > PARSED else len(valid)
    rules = len(_rules(task, valid[:parsed])) / len(_rules(task, exact[:PARSED]))
    return {
        "meaning_coverage": measured(meanings, None, n=len(exact), signature=signature),
        "rule_coverage": measured(rules, None, n=min(PARSED, len(exact)), signature=f"{signature}|parsed:{PARSED}"),
    }


def _meanings(task: World, texts: Sequence[str]) -> set[tuple[tuple[str, str], ...]]:
    return {ordered(task.language.automaton.meaning(text) or {}) for text in texts}


def _rules(task: World, texts: Sequence[str]) -> set[Rule]:
    return {rule for text in texts for rule in rules_used(task.language.tree(text))}
