"""The model's own likelihood against the exact one."""

from collections.abc import Sequence

import numpy as np

from harness.contracts import Content, Example
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import clusters, measured, refusal, resamples, resampling
from harness.metrics.likelihood import rows_of, why_refused
from harness.stats.intervals import clustered_bootstrap, ratio_of_sums
from tasks.world.realisations import Realisations
from tasks.world.task import World

CONDITIONED = 200
"""Most examples with a condition whose exact likelihood is computed; one takes some hundredths of a second."""

ROUNDING = 1e-3
"""Nats by which a correct likelihood in single precision may miss the exact one."""


def likelihood_gap(evaluation: Evaluation, task: World, signature: str) -> Measurement:
    """Nats per text by which the model's own negative log-likelihood, or bound, lies above the exact one on the same texts.

    A value below 0 by more than three standard errors is impossible: the likelihood is then wrong, and a flag says so.
    """
    own = evaluation.likelihood
    if own is None:
        return refusal("the model gives no likelihood", n=0, signature=signature)
    if evaluation.family == "t2t" and task.t2t != "translation":
        return refusal(f"the exact likelihood of a {task.t2t} is not defined", n=0, signature=signature)
    rows, exact = rows_of(own, len(evaluation.examples)), exact_nats(task, evaluation.examples)
    reason = why_refused(own, rows) or _why_impossible(exact)
    if reason:
        return refusal(reason, n=len(rows), signature=signature)
    gaps = rows[: len(exact), 0] - exact
    rows = np.stack([gaps, np.ones(len(gaps))], axis=1)
    items, rng = clusters(evaluation)[: len(gaps)], resampling(evaluation, "likelihood_gap")
    interval = clustered_bootstrap(rows, items, ratio_of_sums, resamples=resamples(evaluation), rng=rng)
    different = len(set(items))
    wrong = different > 1 and gaps.mean() < -3 * gaps.std() / np.sqrt(different - 1) - ROUNDING
    flags = ("below the exact value by more than 3 standard errors: the likelihood is wrong",) if wrong else ()
    return measured(
        float(gaps.mean()),
        interval,
        n=len(gaps),
        signature=f"{signature}|kind:{own.kind}|{own.estimator}",
        flags=flags,
        items=gaps,
        of_targets=True,
    )


def _why_impossible(exact: np.ndarray) -> str | None:
    outside = np.flatnonzero(~np.isfinite(exact))
    told = f"{len(outside)} of {len(exact)} targets are not in the language or do not say what is asked, the first is target"
    return f"{told} {outside[0]}" if len(outside) else None


def exact_nats(task: World, examples: Sequence[Example]) -> np.ndarray:
    """Exact negative log-likelihood of targets given their conditions, in nats.

    Of the first `CONDITIONED` where attributes are given. A translation is a function of its source, so its exact value is 0.
    """
    automaton = task.language.automaton
    if not examples or examples[0].source is not None:
        return np.zeros(len(examples))
    if examples[0].control is None:
        return np.array([-automaton.log_probability(example.target.split()) for example in examples])
    return np.array([_given_attributes(task, example) for example in examples[:CONDITIONED]])


def _given_attributes(task: World, example: Example) -> float:
    assert isinstance(example.control, Content)
    found = Realisations(task.language.automaton, dict(example.control.attributes))
    return found.log_probability - task.language.automaton.log_probability(example.target.split())
