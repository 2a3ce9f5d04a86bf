"""The exact metrics of the generated language."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, measured, refusal, refusals, resamples, resampling, share
from harness.stats.intervals import bootstrap, ratio_of_sums
from tasks.world.agreement import KINDS, errors
from tasks.world.conditional import conditional_values
from tasks.world.coverage import attribute_distance, coverage
from tasks.world.exact import likelihood_gap
from tasks.world.rates import LengthBins
from tasks.world.task import World


class WorldExact:
    """What is true of the texts, by the grammar that made their models.

    Unconditional texts: the share in the language, raw and standardised for length; the mean length; the true negative
    log-likelihood of those in the language; distance of the attribute laws; coverage of meanings and rules; copies of the
    training set; errors by kind. With a condition: the share that says exactly what was asked ("correct"), and the share in the
    language.
    """

    name: ClassVar[str] = "world"
    version: ClassVar[int] = 4
    families: ClassVar[tuple[Family, ...]] = ("ucg", "a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ("likelihood",)
    of_task: ClassVar[tuple[str, ...]] = ("grammar",)
    values: ClassVar[Mapping[str, bool | None]] = {
        "in_language": True, "in_language_standardised": True, "mean_length": None, "true_nll": None, "likelihood_gap": False,
        "attribute_distance": False, "meaning_coverage": True, "rule_coverage": True, "train_copies": None,
        "correct": True, "source_copies": False, "shortest": True, **{f"errors_{kind}": False for kind in KINDS},
    }  # fmt: skip
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "in_language_standardised": ("shuffled-human", "phrase-table", "tiled", "empty", "constant"),
        "attribute_distance": ("constant",), "meaning_coverage": ("constant",),
        "correct": ("copy-source", "template", "constant", "majority", "empty"),
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts; values that mean nothing in the family are left out."""
        texts, task = checked_texts(evaluation), evaluation.task
        if not isinstance(task, World):
            return refusals(self.values, f"these metrics need the task world, not {task.name}", n=len(texts), signature="world")
        signature = f"world:{task.size}|task:{task.version}|version:{self.version}|n:{len(texts)}"
        if not texts:
            return refusals(self.values, "no items", n=0, signature=signature)
        if evaluation.family != "ucg":
            return conditional_values(evaluation, task, texts, signature)
        return self._unconditional(evaluation, task, texts, signature)

    def _unconditional(self, evaluation: Evaluation, task: World, texts: Sequence[str], signature: str) -> dict[str, Measurement]:
        inside = [task.language.automaton.contains(text) for text in texts]
        valid = [text for text, hit in zip(texts, inside, strict=True) if hit]
        return {
            "in_language": share(evaluation, inside, signature=signature),
            "in_language_standardised": _standardised(task, texts, inside, signature),
            "mean_length": _mean(evaluation, "mean_length", [len(text.split()) for text in texts], signature),
            "true_nll": _true_nll(evaluation, task, texts, inside, signature),
            "likelihood_gap": likelihood_gap(evaluation, task, signature),
            "attribute_distance": attribute_distance(evaluation, task, valid, signature),
            **coverage(evaluation, task, valid, signature),
            "train_copies": _train_copies(evaluation, task, texts, signature),
            **_errors(evaluation, task, texts, signature),
        }


def _standardised(task: World, texts: Sequence[str], inside: Sequence[bool], signature: str) -> Measurement:
    bins = LengthBins.of(task.language.automaton.length_law())
    lengths = [len(text.split()) for text in texts]
    value, interval, empty = bins.standardised(lengths, inside)
    flags = (f"{empty} of {len(bins.weights)} length bins hold no text",) if empty else ()
    named, items = f"{signature}|length bins:{len(bins.weights)}", bins.influences(lengths, inside)
    return measured(value, interval, n=len(texts), signature=named, flags=flags, items=items)


def _mean(evaluation: Evaluation, name: str, values: Sequence[float], signature: str) -> Measurement:
    rows = np.stack([np.array(values, dtype=float), np.ones(len(values))], axis=1)
    interval = bootstrap(rows, ratio_of_sums, resamples=resamples(evaluation), rng=resampling(evaluation, name))
    return measured(float(np.mean(values)), interval, n=len(values), signature=signature, items=rows[:, 0])


def _true_nll(evaluation: Evaluation, task: World, texts: Sequence[str], inside: Sequence[bool], signature: str) -> Measurement:
    if not any(inside):
        return refusal(f"none of {len(texts)} texts is in the language", n=0, signature=signature)
    automaton = task.language.automaton
    flags = (f"in language: {sum(inside)} of {len(texts)}", f"entropy of the language: {automaton.entropy():.3f}")
    nats = [-automaton.log_probability(text.split()) if hit else 0.0 for text, hit in zip(texts, inside, strict=True)]
    rows = np.array([nats, inside], dtype=float).T
    interval = bootstrap(
        rows[np.array(inside)], ratio_of_sums, resamples=resamples(evaluation), rng=resampling(evaluation, "true_nll")
    )
    value = float(ratio_of_sums(rows.sum(0)[None])[0])
    return measured(value, interval, n=sum(inside), signature=signature, flags=flags, items=rows, aggregate="ratio")


def _train_copies(evaluation: Evaluation, task: World, texts: Sequence[str], signature: str) -> Measurement:
    train = {example.target for example in evaluation.train}
    if not train:
        return refusal("there is no training split to look in", n=len(texts), signature=signature)
    automaton = task.language.automaton
    expected = sum(np.exp(automaton.log_probability(text.split())) for text in train)
    flags = (f"exact draws: {expected:.4f}",)
    return share(evaluation, [text in train for text in texts], signature=signature, flags=flags)


def _errors(evaluation: Evaluation, task: World, texts: Sequence[str], signature: str) -> dict[str, Measurement]:
    found = [errors(task.language.automaton, text) for text in texts]
    return {f"errors_{kind}": share(evaluation, [counts[kind] > 0 for counts in found], signature=signature) for kind in KINDS}
