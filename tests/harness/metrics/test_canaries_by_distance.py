"""Distances put the canaries that they name below models that are worse than human text, under a judge that hears order."""

import dataclasses
import hashlib
import random
from functools import cache

import numpy as np
import pytest

from baselines.floors.canaries import PhraseTable, ShuffledHuman, Tiled
from harness.contracts import Budget, Example, FitContext, Request, Sampling, stream_seed
from harness.metrics.classifier_two_sample import TwoSample
from harness.metrics.frechet import Frechet
from harness.metrics.mmd import MMD
from harness.metrics.ngram_divergence import NgramDivergence

N, WIDTH, LIMIT = 500, 24, 24
FOLLOWS = {
    "the": "cat dog bird", "a": "dog house river", "cat": "sees hears .", "dog": "sees follows .", "bird": "hears never .",
    "sees": "the a often", "hears": "the a very", "follows": "the a", "often": "the .", "very": "often", "never": "sees hears",
    "house": ".", "river": ", .", ",": "the a", ".": "the a",
}  # fmt: skip
"""A language of a few words, most of which may follow few others."""


def sentence(rng):
    words = [rng.choice(("the", "a"))]
    while len(words) < 10 or (words[-1] != "." and len(words) < 20):
        words.append(rng.choice(FOLLOWS[words[-1]].split()))
    return " ".join(words)


def language(n, seed):
    rng = random.Random(seed)
    return [sentence(rng) for _ in range(n)]


class Listening:
    """A judge whose features are means over pairs of neighbouring words, so that order counts."""

    signature = "listening"

    def likelihood_of_texts(self, texts):
        raise NotImplementedError

    def features(self, texts):
        return np.array([_feature(text) for text in texts], dtype=np.float32)


@cache
def _feature(text):
    pairs = zip(["<bos>", *text.split()], [*text.split(), "<eos>"], strict=True)
    return np.mean([_vector(pair) for pair in pairs], axis=0)


@cache
def _vector(pair):
    seed = int.from_bytes(hashlib.sha256(" ".join(pair).encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=WIDTH)


@pytest.fixture
def human_texts():
    return {name: language(n, seed) for name, n, seed in (("train", 800, 0), ("valid", 600, 1), ("test", N, 2))}


@pytest.fixture
def written(make_evaluation, human_texts):
    """Evaluations of human text, of canaries, and of models whose texts are human but for one word in 40, and in 12."""
    plain = make_evaluation([""] * N, references=[[text] for text in human_texts["test"]])
    view = dataclasses.replace(plain.view, max_tokens=LIMIT)
    train, valid = (
        [Example(id=f"{split}-{index}", target=text) for index, text in enumerate(human_texts[split])]
        for split in ("train", "valid")
    )

    def by(floor):
        model = floor(None, view)
        model.fit(train, valid, Budget(tokens=1), FitContext(seed=0))
        asked = [Request(id=item.id, seed=stream_seed(3, item.id), max_tokens=LIMIT) for item in plain.examples]
        return [answer.texts[0] for answer in model.generate(asked, Sampling())]

    def careless(share):
        rng = random.Random(5)
        rows = [text.split() for text in language(N, 6)]
        return [" ".join(rng.choice(list(FOLLOWS)) if rng.random() < share else word for word in row) for row in rows]

    texts = {floor.design.name: by(floor) for floor in (ShuffledHuman, PhraseTable, Tiled)}
    texts |= {"human": language(N, 7), "empty": [""] * N, "constant": [human_texts["train"][0]] * N}
    texts |= {"careful": careless(1 / 40), "careless": careless(1 / 12)}
    shared = dataclasses.replace(plain, view=view, train=train, judge=Listening())
    return {name: dataclasses.replace(shared, texts=given) for name, given in texts.items()}


def test_named_canaries_come_out_below_the_models(written, monkeypatch):
    monkeypatch.setattr("harness.metrics.frechet._RESAMPLES", 3)
    monkeypatch.setattr("harness.metrics.mmd.PERMUTATIONS", 3)
    found = {name: {} for name in written}
    for metric in (Frechet, MMD, TwoSample, NgramDivergence):
        for name, evaluation in written.items():
            found[name] |= metric()(evaluation)
        for value, canaries in metric.exposes.items():
            assert metric.values[value] is False
            assert found["human"][value].value < found["careless"][value].value, value
            for canary in canaries:
                reached = found[canary][value].value
                assert (reached is None) == (canary in ("empty", "constant")), (value, canary)
                assert reached is None or reached > max(found[name][value].value for name in ("careful", "careless")), (
                    value,
                    canary,
                )
    # why jsd_1 does not name them: shuffled words are the same words
    shuffled, human = found["shuffled-human"], found["human"]
    assert shuffled["jsd_1"].value == pytest.approx(human["jsd_1"].value, abs=0.01)
    assert shuffled["jsd_2"].low > human["jsd_2"].high
    assert "shuffled-human" not in NgramDivergence.exposes["jsd_1"]
