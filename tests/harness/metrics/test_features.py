"""Sides of a comparison of distributions: order, length, other human texts, and features that mean nothing."""

import dataclasses
import re
from typing import ClassVar

import numpy as np
import pytest

from harness.contracts import Example
from harness.metrics.classifier_two_sample import TwoSample
from harness.metrics.features import embedded, embedded_humans
from harness.metrics.frechet import Frechet
from harness.metrics.mauve import Mauve
from harness.metrics.mmd import MMD
from harness.metrics.sides import other_human_texts, sides

JUDGED = (Frechet, MMD, TwoSample, Mauve)


def training(texts):
    return [Example(id=f"train-{index:05d}", target=text) for index, text in enumerate(texts)]


class Judge:
    """A judge that only embeds, and the same texts only once."""

    signature = "other"
    known: ClassVar[dict] = {}

    def __init__(self, judge):
        self.judge = judge

    def likelihood_of_texts(self, texts):
        raise NotImplementedError

    def features(self, texts):
        if tuple(texts) not in self.known:
            self.known[tuple(texts)] = self.judge.features(texts)
        return self.known[tuple(texts)]


class Counting(Judge):
    """A judge that remembers what it embedded."""

    def __init__(self, judge):
        super().__init__(judge)
        self.seen = []

    def features(self, texts):
        self.seen.append(tuple(texts))
        return super().features(texts)


class Renamed(Judge):
    """A judge of another name."""

    signature = "renamed"


class Broken(Judge):
    """A judge whose features a function spoils."""

    def __init__(self, judge, spoil):
        super().__init__(judge)
        self.spoil = spoil

    def features(self, texts):
        return self.spoil(super().features(texts))


@pytest.fixture
def trained(make_evaluation, make_sentences):
    """500 samples and references, and 900 training texts of the same law."""
    evaluation = make_evaluation(make_sentences(500, 3))
    return dataclasses.replace(evaluation, train=training(make_sentences(900, 7)), judge=Judge(evaluation.judge))


def test_sides_stand_in_the_order_of_ids_and_are_cut(make_evaluation):
    evaluation = make_evaluation(["the cat", "a " * 40, "dog"], references=[["bird"], ["red"], ["the " * 40]])
    turned = dataclasses.replace(evaluation, texts=evaluation.texts[::-1], examples=evaluation.examples[::-1])
    found = sides(evaluation)
    assert found == sides(turned)
    limit = evaluation.view.max_tokens
    assert found.samples == ("the cat", " ".join(["a"] * limit), "dog")
    assert found.references == ("bird", "red", " ".join(["the"] * limit))
    assert found.ids == ("item-00000", "item-00001", "item-00002")
    assert found.median == 1


def test_other_human_texts_are_training_texts_that_are_no_references(trained):
    references = [example.target for example in trained.examples]
    mixed = dataclasses.replace(trained, train=[*training(references[:100]), *trained.train])
    found = other_human_texts(mixed)
    kept = [example.target for example in trained.train if example.target not in set(references)]
    assert len(found.texts) == 500
    assert not set(found.texts) & set(references)
    assert set(found.texts) <= set(kept)
    assert found.flags == (f"ceiling without {1 - len(kept) / 1000:.0%} of the training texts: they are references too",)


def test_the_choice_of_human_texts_hangs_on_ids_alone(trained):
    turned = dataclasses.replace(trained, train=trained.train[::-1], texts=trained.texts[::-1])
    assert other_human_texts(turned) == other_human_texts(trained)
    renamed = [dataclasses.replace(example, id=f"other-{example.id}") for example in trained.train]
    assert other_human_texts(dataclasses.replace(trained, train=renamed)).texts != other_human_texts(trained).texts


def test_too_few_other_human_texts_are_refused(trained):
    few = dataclasses.replace(trained, train=trained.train[:300])
    reason = other_human_texts(few)
    assert reason.endswith("training texts are not among the references: a human ceiling needs 500")
    found = Frechet()(few)
    assert (found["frechet_ceiling"].value, found["frechet_ceiling"].reason) == (None, reason)
    assert found["frechet"].value is not None


@pytest.mark.parametrize("metric", JUDGED)
def test_no_text_is_embedded_twice(trained, metric, monkeypatch):
    even = np.full(50, 0.02)
    monkeypatch.setattr("harness.metrics.mauve.mauve_scores", lambda *features, seeds: ([0.9], [(even, even)]))
    monkeypatch.setattr("harness.metrics.frechet._RESAMPLES", 3)
    judge = Counting(trained.judge)
    metric()(dataclasses.replace(trained, judge=judge))
    found = sides(trained)
    expected = [found.samples, found.references]
    assert judge.seen == (expected if metric in (MMD, TwoSample) else [*expected, other_human_texts(trained).texts])


SPOILT = {
    "not finite": (lambda rows: np.where(np.arange(rows.shape[1]) == 3, np.nan, rows), "features of samples are not finite"),
    "infinite": (lambda rows: np.where(np.arange(rows.shape[1]) == 3, np.inf, rows), "features of samples are not finite"),
    "flat": (lambda rows: rows[:, 0], r"features of samples have shape \(500,\), expected \[500, width\]"),
    "too few": (lambda rows: rows[:-1], r"features of samples have shape \(499, 16\), expected \[500, width\]"),
    "no width": (lambda rows: rows[:, :0], r"features of samples have shape \(500, 0\), expected \[500, width\]"),
    "equal": (lambda rows: 0 * rows, "all samples have the same features|all features are equal"),
}


@pytest.mark.parametrize("metric", JUDGED)
@pytest.mark.parametrize("spoilt", SPOILT)
def test_features_that_mean_nothing_are_refused(trained, metric, spoilt):
    spoil, reason = SPOILT[spoilt]
    found = metric()(dataclasses.replace(trained, judge=Broken(trained.judge, spoil)))
    assert set(found) == set(metric.values)
    for measurement in found.values():
        assert measurement.value is None
        assert re.match(reason, measurement.reason)


@pytest.mark.parametrize("metric", [Frechet, MMD, TwoSample])
def test_one_text_over_and_over_is_refused(trained, metric):
    for texts in ([""] * 500, ["the cat sees"] * 500):
        for measurement in metric()(dataclasses.replace(trained, texts=texts)).values():
            assert measurement.reason == "all samples have the same features: one text repeated is no distribution"


@pytest.mark.parametrize(("metric", "least"), [(Frechet, 500), (MMD, 100), (TwoSample, 100)])
def test_what_cannot_be_compared_is_refused(make_evaluation, make_sentences, metric, least):
    texts = make_sentences(least, 3)
    found = {
        f"n = {least - 1} is below {least}": make_evaluation(texts[1:]),
        "n = 0 is below": make_evaluation([]),
        "no judge": make_evaluation(texts, judged=False),
        "references repeat": dataclasses.replace(make_evaluation(texts), examples=[make_evaluation(texts).examples[0]] * least),
    }
    for reason, evaluation in found.items():
        for measurement in metric()(evaluation).values():
            assert measurement.value is None
            assert measurement.reason.startswith(reason)


@pytest.mark.parametrize("metric", [Frechet, MMD, TwoSample])
def test_a_signature_holds_what_must_agree(trained, metric, monkeypatch):
    monkeypatch.setattr("harness.metrics.frechet._RESAMPLES", 3)
    plain = metric()(trained)
    other_judge = metric()(dataclasses.replace(trained, judge=Renamed(trained.judge)))
    examples = [dataclasses.replace(trained.examples[0], target="the the cat"), *trained.examples[1:]]
    other_references = metric()(dataclasses.replace(trained, examples=examples))
    shorter = metric()(dataclasses.replace(trained, view=dataclasses.replace(trained.view, max_tokens=8)))
    for name, measurement in plain.items():
        signatures = {found[name].signature for found in (plain, other_judge, other_references, shorter)}
        assert len(signatures) == 4
        assert "features:other|" in measurement.signature
        assert "|n:500|" in measurement.signature
    ceilings = [name for name in plain if name.endswith("ceiling")]
    other_humans = metric()(dataclasses.replace(trained, train=trained.train[200:]))
    for name in plain:
        assert (plain[name].signature != other_humans[name].signature) == (name in ceilings)


def test_widths_that_differ_are_refused(trained):
    widths = iter([16, 15])
    narrowed = Broken(trained.judge, lambda rows: rows[:, : next(widths)])
    reason = embedded(dataclasses.replace(trained, judge=narrowed), least=1, otherwise="")
    assert reason == "features of samples have width 16, those of references 15"
    assert "width 16, those of references 15" in embedded_humans(trained, width=15)
