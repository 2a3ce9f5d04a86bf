import dataclasses
import math

import numpy as np
import pytest

from harness.contracts import Generation
from harness.errors import UnknownName
from harness.metrics.diversity import Diversity, repeated
from harness.metrics.lengths import Lengths
from harness.metrics.profiles import PROFILES, profile
from harness.metrics.words import ngrams, word_ids
from harness.registry import known, resolve
from harness.stats.intervals import wilson


def naive_ngrams(texts, order):
    return [tuple(words[i : i + order]) for words in map(str.split, texts) for i in range(len(words) - order + 1)]


def test_a_share_and_its_interval_lie_between_0_and_1(make_evaluation):
    texts = [" ".join(f"{index}x{word % kinds}" for word in range(1000)) for index, kinds in enumerate((1000, 1000, 500))]
    found = Diversity()(make_evaluation(texts))
    for name in ("distinct_1", "distinct_2", "distinct_3", "distinct_4"):
        assert 0 <= found[name].low < found[name].value < found[name].high == 1
    assert found["unigram_entropy"].high == math.log(1000)


def test_ngrams_stay_within_texts(make_sentences):
    texts = make_sentences(20, 2)
    for order, (grams, place) in enumerate(ngrams(*word_ids(texts), longest=4), start=1):
        expected = naive_ngrams(texts, order)
        assert len(grams) == len(expected)
        assert len(set(zip(grams.tolist(), expected, strict=True))) == len(set(expected)) == len(set(grams.tolist()))
        assert np.bincount(place, minlength=20).tolist() == [max(len(text.split()) - order + 1, 0) for text in texts]


def test_distinct_is_a_mean_over_blocks_of_fixed_size(make_evaluation, make_sentences):
    texts = make_sentences(400, 3)
    found = Diversity()(make_evaluation(texts))
    words = " ".join(texts).split()
    assert len(words) >= 2000
    expected = np.mean([len(set(words[i : i + 1000])) / 1000 for i in range(0, len(words) - 999, 1000)])
    assert found["distinct_1"].value == pytest.approx(expected)
    assert found["distinct_3"].low < found["distinct_3"].value < found["distinct_3"].high
    assert "budget:1000" in found["distinct_1"].signature
    assert found["distinct_1"].value < found["distinct_2"].value < found["distinct_4"].value


def test_twice_the_samples_leave_distinct_where_it_was(make_evaluation, make_sentences):
    # plain distinct-2 on all tokens halves; on a fixed budget only noise remains
    small = Diversity()(make_evaluation(make_sentences(600, 1)))["distinct_2"]
    large = Diversity()(make_evaluation(make_sentences(2400, 2)))["distinct_2"]
    assert large.value == pytest.approx(small.value, rel=0.05)


def test_entropy_and_repetition_of_known_texts(make_evaluation):
    found = Diversity()(make_evaluation(["a b"] * 100, profile="test"))
    assert found["unigram_entropy"].value == pytest.approx(math.log(2))
    assert (found["unigram_entropy"].low, found["unigram_entropy"].flags) == (None, ("no interval: all blocks are alike",))
    assert found["rep_4"].reason == "no text has 4 words"
    assert repeated(["a a a a a a", "a b c d e", ""]).tolist() == [[2, 3], [0, 2], [0, 0]]


def test_repetition_is_that_of_each_order(make_evaluation, make_sentences):
    texts = [*make_sentences(40, 3), "a a a a a a", "", "cat"]
    found = Diversity()(make_evaluation(texts, profile="test"))
    for order in (2, 3, 4):
        counts = [naive_ngrams([text], order) for text in texts]
        again, total = sum(len(grams) - len(set(grams)) for grams in counts), sum(map(len, counts))
        assert found[f"rep_{order}"].value == pytest.approx(again / total)
        assert f"order:{order}" in found[f"rep_{order}"].signature
    assert found["rep_2"].value > found["rep_3"].value > found["rep_4"].value


def test_hardly_any_repetition_has_a_bound_all_the_same(make_evaluation):
    never = Diversity()(make_evaluation(["a b c d e f"] * 100, profile="test"))["rep_4"]
    assert (never.value, never.low) == (0, 0)
    assert never.high == pytest.approx(wilson(0, 100).high)
    one = Diversity()(make_evaluation(["a b a b a b a b", *["a"] * 99], profile="test"))["rep_4"]
    assert (one.low, one.value, one.high) == pytest.approx((0.077, 0.6, 0.964), abs=0.001)


def test_too_few_words_are_refused(make_evaluation):
    found = Diversity()(make_evaluation(["", ""]))
    assert {measurement.value for measurement in found.values()} == {None}
    assert "fewer than 1000 words" in found["distinct_1"].reason


def test_lengths_and_rates(make_evaluation):
    texts = ["a b c", "", "a b", "a b c d e"]
    evaluation = make_evaluation(texts, references=[["a b"]] * 4)
    reasons = ("eos", "eos", "length", "length")
    answers = [
        Generation(id=example.id, texts=("other", text), finish_reasons=("length", reason))
        for example, text, reason in zip(evaluation.examples, texts, reasons, strict=True)
    ]
    found = Lengths()(dataclasses.replace(evaluation, generations=answers))
    assert found["mean_words"].value == pytest.approx(2.5)
    assert found["length_ratio"].value == pytest.approx(10 / 8)
    assert found["empty_rate"].value == pytest.approx(0.25)
    assert (found["truncation_rate"].value, found["eos_rate"].value) == (0.5, 0.5)
    assert found["eos_rate"].low == pytest.approx(0.15, abs=0.01)
    assert set(found) == set(Lengths.values)


def test_rates_are_absent_where_models_are_silent(make_evaluation):
    found = Lengths()(make_evaluation(["a", "b"], finish=None))
    assert found["mean_words"].flags == ("no interval: fewer than 5 items move the value",)
    assert found["eos_rate"].value is None
    assert "2 texts" in found["eos_rate"].reason


def test_profiles_are_those_of_the_protocol():
    assert set(PROFILES) == {"smoke", "test", "quick", "publish"}
    assert profile("publish").size("ucg") == (5000, 1)
    assert profile("quick").size("a2t") == (100, 5)
    assert profile("publish").size("t2t") == (None, 1)
    assert [item.name for item in PROFILES.values() if item.ranked] == ["publish"]
    with pytest.raises(UnknownName, match="Did you mean 'smoke'"):
        profile("smok")


@pytest.mark.parametrize(
    "name",
    [
        "bleu", "chrf", "mauve", "frechet", "mmd", "two-sample", "ngram-divergence", "likelihood", "judge-perplexity",
        "diversity", "self-bleu", "lengths",
    ],
)  # fmt: skip
def test_registered_metrics_keep_the_contract(name, make_evaluation, make_sentences):
    assert name in known("metrics")
    metric = resolve("metrics", name).load()
    assert metric.name == name
    evaluation = make_evaluation(make_sentences(16, 0), family=metric.families[0], profile="test")
    found = metric()(evaluation)
    assert set(found) == set(metric.values)
    assert metric()(evaluation) == found
    for value, measurement in found.items():
        assert (measurement.value is None) == (measurement.reason is not None), value
        assert measurement.signature
        if measurement.value is not None and measurement.low is not None:
            assert measurement.low <= measurement.value <= measurement.high
