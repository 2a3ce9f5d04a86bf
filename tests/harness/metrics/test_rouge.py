import dataclasses
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics.aggregates import AGGREGATES, statistics
from harness.metrics.rouge import Rouge, longest_common, rouge_scores

VALUES = ("rouge_1", "rouge_2", "rouge_l")


@pytest.fixture
def ragged(make_sentences):
    pool = make_sentences(180, 7)
    return [pool[3 * i : 3 * i + 1 + i % 3] for i in range(60)]


def common(text, reference):
    """Longest common subsequence by the recursion of the definition."""
    table = np.zeros((len(text) + 1, len(reference) + 1), dtype=int)
    for i, left in enumerate(text):
        for j, right in enumerate(reference):
            table[i + 1, j + 1] = table[i, j] + 1 if left == right else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1]


def f1(hits, written, wanted):
    return 2 * hits / (written + wanted) if hits else 0.0


def naive(text, reference, order):
    words, wanted = ([word for word in side.split() if word.isalnum()] for side in (text, reference))
    if order is None:
        return f1(common(words, wanted), len(words), len(wanted))
    left, right = ([tuple(side[i : i + order]) for i in range(len(side) - order + 1)] for side in (words, wanted))
    return f1(sum(min(left.count(gram), right.count(gram)) for gram in set(left)), len(left), len(right))


def test_every_item_is_that_of_rouge_score(make_evaluation, make_sentences, ragged):
    from rouge_score.rouge_scorer import RougeScorer

    texts = ["", "running runners ran", *make_sentences(58, 1)]
    ragged[1] = ["a runner runs"]
    library = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    theirs = [library.score_multi(accepted, text) for text, accepted in zip(texts, ragged, strict=True)]
    found = Rouge()(make_evaluation(texts, references=ragged, family="a2t"))
    for name, kind in zip(VALUES, ("rouge1", "rouge2", "rougeL"), strict=True):
        assert found[name].items == tuple(row[kind].fmeasure for row in theirs)
        assert found[name].value == pytest.approx(np.mean(found[name].items))
        assert found[name].low < found[name].value < found[name].high
        assert found[name].flags == ("1 empty text",)
        assert found[name].signature.startswith("nrefs:var|stem:porter|best:f1|rouge-score:")


def test_items_are_the_definition_where_nothing_is_stemmed(make_sentences, ragged):
    texts = [text.replace("follows", "sees") for text in make_sentences(60, 1)]
    texts = [" ".join(word for word in text.split() if len(word) < 4) for text in texts]
    short = [[" ".join(word for word in text.split() if len(word) < 4) for text in accepted] for accepted in ragged]
    wanted = [
        [max(naive(text, reference, order) for reference in accepted) for order in (1, 2, None)]
        for text, accepted in zip(texts, short, strict=True)
    ]
    assert rouge_scores(texts, short) == pytest.approx(np.array(wanted))


@settings(max_examples=200, deadline=None)
@given(*[st.lists(st.sampled_from("abc"), max_size=9)] * 2)
def test_the_longest_common_subsequence_is_that_of_the_table(text, reference):
    assert longest_common(text, reference) == common(text, reference)


def test_texts_longer_than_a_machine_word(make_sentences):
    text, reference = (" ".join(make_sentences(20, seed)).split() for seed in (1, 2))
    assert min(len(text), len(reference)) > 64
    assert longest_common(text, reference) == common(text, reference)


@settings(max_examples=60, deadline=None)
@given(
    *[st.lists(st.sampled_from(["run", "running", "ran", "x1", "a.b", "\u00e9t\u00e9", "ponies"]), max_size=6).map(" ".join)] * 3
)
def test_scores_are_the_library_s_to_the_last_bit(text, one, other):
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score_multi([one, other], text)
    assert rouge_scores([text], [[one, other]])[0].tolist() == [found.fmeasure for found in theirs.values()]


def test_stems_count_as_the_same_word():
    assert rouge_scores(["walking walked"], [["walks walk"]])[0] == pytest.approx([1, 1, 1])


def test_items_make_the_value(make_evaluation, make_sentences, ragged):
    for found in Rouge()(make_evaluation(make_sentences(60, 1), references=ragged, family="t2t")).values():
        assert AGGREGATES[found.aggregate](statistics(found.items, found.aggregate).sum(0)[None]) == pytest.approx([found.value])


def test_letters_that_the_library_does_not_know_are_told(make_evaluation):
    found = Rouge()(make_evaluation(["für"] * 6, references=[["für"], *[["fur"]] * 5], family="t2t"))["rouge_1"]
    assert "1 of 6 items have letters outside a-z, at which words are cut" in found.flags


def test_no_items_and_unpaired_references_are_refused(make_evaluation):
    found = Rouge()(make_evaluation([], references=[], family="t2t"))
    assert {(found[name].value, found[name].reason) for name in VALUES} == {(None, "no items")}
    with pytest.raises(ValueError, match="2 texts and 1 lists of references"):
        rouge_scores(["a", "b"], [["a"]])


def test_identity_is_1_and_nothing_is_0(make_evaluation, make_sentences):
    texts = make_sentences(20, 3)
    texts = [f"{text} old dog" for text in texts]
    evaluation = make_evaluation(texts, references=[[text] for text in texts], family="t2t")
    assert all(found.value == pytest.approx(1) for found in Rouge()(evaluation).values())
    assert all(found.value == 0 for found in Rouge()(dataclasses.replace(evaluation, texts=[""] * 20)).values())


def test_the_library_is_loaded_only_when_it_scores():
    import subprocess

    program = "import sys, harness.metrics.rouge, harness.metrics.bertscore; print({'nltk', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
