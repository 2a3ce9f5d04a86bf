import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from harness.contracts import Example
from harness.metrics.ngram_divergence import NgramDivergence, counted, jensen_shannon, left_out
from harness.stats.standard_errors import jackknife


def naive(samples, references, order):
    """Lin 1991 from dictionaries of n-grams, a text with one mark less than the order before it and one after."""
    cut = Tokenizer13a()

    def shares(texts):
        words = [["<s>"] * (order - 1) + cut(text).split() + ["</s>"] for text in texts]
        counts = Counter(tuple(row[start : start + order]) for row in words for start in range(len(row) - order + 1))
        return {gram: count / counts.total() for gram, count in counts.items()}

    p, q = shares(samples), shares(references)
    mean = {gram: (p.get(gram, 0) + q.get(gram, 0)) / 2 for gram in {*p, *q}}
    return sum(sum(share * math.log2(share / mean[gram]) for gram, share in law.items()) for law in (p, q)) / 2


def law_of(side):
    return side.counts / side.counts.sum()


@pytest.fixture
def trained(make_evaluation, make_sentences):
    """An evaluation of given texts, with enough training texts of the references' law."""

    def make(texts, **changes):
        train = [Example(id=f"t{index}", target=text) for index, text in enumerate(make_sentences(900, 7))]
        return dataclasses.replace(make_evaluation(texts, **changes), train=train)

    return make


def test_values_are_those_of_dictionaries(trained, make_sentences):
    texts = [*make_sentences(400, 3), *(["the red, red house."] * 90), "", "cat", *(["the cat", "a dog"] * 4)]
    evaluation = trained(texts)
    found = NgramDivergence()(evaluation)
    references = [example.target for example in evaluation.examples]
    for order in (1, 2, 3):
        assert found[f"jsd_{order}"].value == pytest.approx(naive(texts, references, order), abs=1e-12)
        assert found[f"jsd_{order}"].low < found[f"jsd_{order}"].value < found[f"jsd_{order}"].high
        assert f"order:{order}" in found[f"jsd_{order}"].signature
        assert found[f"jsd_{order}"].flags[-1] == "1 empty text"


def test_extremes_are_0_and_1_bit(make_sentences):
    texts = make_sentences(50, 3)
    for one, same in counted(texts, texts[::-1]):
        assert jensen_shannon(law_of(one), law_of(same)) == 0
    # unlike texts share nothing but, of single words, the mark of the end: one in six
    for order, (one, other) in enumerate(counted(["the cat sees the dog"] * 3, ["a bird never hears rain"] * 3), start=1):
        assert jensen_shannon(law_of(one), law_of(other)) == pytest.approx(5 / 6 if order == 1 else 1, abs=1e-12)
    # (1/2, 1/2) against (1, 0): 3/4 log2(4/3)
    assert jensen_shannon(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == pytest.approx(0.75 * math.log2(4 / 3), abs=1e-15)


def test_left_out_values_are_those_of_fewer_texts(make_sentences):
    samples, references = [*make_sentences(30, 3), "", "cat", "the dog"], make_sentences(25, 4)
    for order, (side, other) in enumerate(counted(samples, references), start=1):
        expected = [naive(samples[:place] + samples[place + 1 :], references, order) for place in range(len(samples))]
        np.testing.assert_allclose(left_out(side, law_of(other)), expected, atol=1e-12)


def test_the_interval_is_as_wide_as_fresh_draws_are_spread(make_sentences):
    # 40 draws know their standard deviation to 11 %; a jackknife is too wide rather than too narrow
    pairs = [list(counted(make_sentences(100, 10 + seed), make_sentences(100, 60 + seed))) for seed in range(40)]
    for order in (0, 1, 2):
        values = [jensen_shannon(law_of(pair[order][0]), law_of(pair[order][1])) for pair in pairs]
        halves = []
        for value, pair in zip(values[:5], pairs, strict=False):
            side, other = pair[order]
            ends = jackknife(value, left_out(side, law_of(other)), left_out(other, law_of(side)))
            halves.append((ends.high - ends.low) / 2)
        assert 0.7 < np.mean(halves) / (1.96 * np.std(values, ddof=1)) < 2.2, order


def test_the_ceiling_is_that_of_other_human_texts(trained, make_sentences):
    from harness.metrics.sides import other_human_texts

    evaluation = trained(make_sentences(500, 3))
    found = NgramDivergence()(evaluation)
    humans, references = other_human_texts(evaluation), [example.target for example in evaluation.examples]
    for order in (1, 2, 3):
        ceiling = found[f"jsd_{order}_ceiling"]
        assert ceiling.value == pytest.approx(naive(humans.texts, references, order), abs=1e-12)
        assert f"humans:{humans.digest}" in ceiling.signature
        assert ceiling.flags[2] == f"biased upward: n below 2000, read it beside jsd_{order}_ceiling"


def test_refusals_have_reasons(trained, make_sentences):
    texts = make_sentences(500, 3)
    alone = dataclasses.replace(trained(texts), train=[])
    found = NgramDivergence()(alone)
    assert {found[f"jsd_{order}_ceiling"].reason for order in (1, 2, 3)} == {
        "0 training texts are not among the references: a human ceiling needs 500"
    }
    assert found["jsd_3"].value is not None
    cases = {
        "n = 499 is below 500": trained(texts[1:]),
        "n = 0 is below 500": trained([]),
        "references repeat": dataclasses.replace(trained(texts), examples=[trained(texts).examples[0]] * 500),
        "all samples are the same: one text repeated is no distribution": trained(["the cat", "the  cat"] * 250),
        "all samples are empty": trained(["", " "] * 250),
    }
    for reason, evaluation in cases.items():
        for measurement in NgramDivergence()(evaluation).values():
            assert measurement.value is None
            assert measurement.reason.startswith(reason)
    wordless = NgramDivergence()(trained(texts, references=[[""]] * 500))
    assert wordless["jsd_1"].reason == "all references are empty"


def test_empty_texts_count(trained, make_sentences):
    half = [text if index % 2 else "" for index, text in enumerate(make_sentences(500, 3))]
    full, hollow = (NgramDivergence()(trained(texts)) for texts in (make_sentences(500, 3), half))
    for order in (1, 2, 3):
        assert hollow[f"jsd_{order}"].value > full[f"jsd_{order}"].high
    (ones, *_), (twos, *_), (threes, *_) = counted(["", "a", "a b c"])
    for side in (ones, twos, threes):
        assert side.lengths.tolist() == [1, 2, 4]
