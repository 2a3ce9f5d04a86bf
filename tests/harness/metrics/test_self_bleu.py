import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from harness.metrics.self_bleu import SelfBleu, closest_other_length, self_bleu


def slow_self_bleu(texts):
    metric = BLEU(effective_order=True)
    return [metric.sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)]


def test_equals_sacrebleu_to_the_last_bit(make_sentences):
    texts = [*make_sentences(56, 0), "", "cat", "the cat , sees the cat .", "zebra crossing ahead now"]
    assert self_bleu(texts).tolist() == slow_self_bleu(texts)


@pytest.mark.slow
def test_every_sample_of_500_has_sacrebleu_s_sentence_bleu(make_evaluation, make_sentences):
    odd = ["", " ", "cat", "the", "zebra crossing ahead now", "Ünïcode — “quotes”, 3.5%!", "a-b c/d (e) 1,000.5", "the " * 9]
    texts = [*make_sentences(491, 5), *odd, make_sentences(491, 5)[0]]
    assert len(texts) == 500
    assert SelfBleu()(make_evaluation(texts))["self_bleu"].items == tuple(slow_self_bleu(texts))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=7).map(" ".join), min_size=2, max_size=8))
def test_equals_sacrebleu_on_small_languages(texts):
    assert self_bleu(texts).tolist() == slow_self_bleu(texts)


def test_equal_samples_score_100_and_unlike_ones_0():
    assert self_bleu(["the old cat sees a dog"] * 3) == pytest.approx([100] * 3)
    assert self_bleu(["a b c", "d e f", "g h i"]).tolist() == [0, 0, 0]


def test_closest_length_leaves_itself_out_and_prefers_the_shorter():
    assert closest_other_length(np.array([5, 3, 7, 7, 0])).tolist() == [3, 5, 7, 7, 3]
    assert closest_other_length(np.array([5, 3, 8, 20])).tolist() == [3, 5, 5, 8]


def test_refuses_one_sample(make_evaluation):
    found = SelfBleu()(make_evaluation(["a b c"]))["self_bleu"]
    assert (found.value, found.reason) == (None, "fewer than 2 samples")
    with pytest.raises(ValueError, match="at least 2"):
        self_bleu(["a"])


def test_measurement_holds_every_score(make_evaluation, make_sentences):
    texts = make_sentences(40, 5)
    found = SelfBleu()(make_evaluation(texts))["self_bleu"]
    assert found.items == tuple(self_bleu(texts))
    assert found.value == pytest.approx(np.mean(found.items))
    assert found.low < found.value < found.high
    assert "n:40" in found.signature


def test_five_thousand_samples_take_seconds_not_an_hour(make_sentences):
    texts = make_sentences(5000, 1)
    begun = time.perf_counter()
    self_bleu(texts)
    assert time.perf_counter() - begun < 6
