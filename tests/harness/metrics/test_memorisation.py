import dataclasses

import numpy as np
import pytest

from harness.contracts import Example
from harness.metrics.memorisation import Beside, Memorisation

TRAIN = ["one two three four five six seven eight nine ten", "a b c d e f g h i j k"]


@pytest.mark.parametrize(
    ("text", "hits", "total"),
    [
        ("one two three four five six seven eight nine ten", 3, 3),
        ("zero one two three four five six seven eight x", 1, 3),
        ("one two three four five six seven nine ten", 0, 2),
        ("j k one two three four five six seven", 0, 2),  # an n-gram does not go from one training text to the next
        ("one two", 0, 0),
        ("", 0, 0),
    ],
)
def test_eight_grams_are_found_in_one_training_text(text, hits, total):
    np.testing.assert_array_equal(Beside.of([text, "b c d e f g h i"], TRAIN).in_training(), [[hits, total], [1, 1]])


def test_counts_are_those_of_sets(make_sentences):
    train, texts = make_sentences(200, 0), make_sentences(50, 1)

    def grams(text):
        words = text.split()
        return [tuple(words[start : start + 3]) for start in range(len(words) - 2)]

    known = {gram for text in train for gram in grams(text)}
    expected = [[sum(gram in known for gram in grams(text)), len(grams(text))] for text in texts]
    np.testing.assert_array_equal(Beside.of(texts, train).in_training(order=3), expected)


@pytest.fixture
def against(make_evaluation, make_sentences):
    """An evaluation of texts with a training split of 200 sentences."""

    def make(texts, train=None):
        known = [Example(id=str(index), target=text) for index, text in enumerate(train or make_sentences(200, 0))]
        return dataclasses.replace(make_evaluation(texts), train=known)

    return make


def test_copies_are_exposed_beside_human_text(against, make_sentences):
    plain = Memorisation()(against(make_sentences(60, 3)))
    copy = Memorisation()(against(make_sentences(200, 0)[:60]))
    assert copy["memorised_texts"].value == 1
    assert copy["memorised_8grams"].value == 1
    assert plain["memorised_texts"].value < 0.1
    assert copy["human_memorised_texts"].value == plain["human_memorised_texts"].value
    excess = copy["memorised_excess"]
    assert excess.value == pytest.approx(1 - plain["human_memorised_texts"].value)
    assert plain["memorised_excess"].value == pytest.approx(
        max(0.0, plain["memorised_texts"].value - plain["human_memorised_texts"].value)
    )
    assert set(plain) == set(Memorisation.values)


def test_training_texts_with_a_name_exchanged_are_exposed_by_their_8grams(against, make_sentences):
    train = [f"{a} {b} {c} {d}" for a, b, c, d in zip(*[iter(make_sentences(160, 0))] * 4, strict=True)]
    others = [f"{a} {b} {c} {d}" for a, b, c, d in zip(*[iter(make_sentences(160, 9))] * 4, strict=True)]
    changed = [" ".join(["Aromi", *text.split()[1:]]) for text in train]
    evaluation = dataclasses.replace(
        against(changed, train), examples=[Example(id=str(index), target=text) for index, text in enumerate(others)]
    )
    found = Memorisation()(evaluation)
    assert found["memorised_texts"].value == found["memorised_excess"].value == 0
    expected = found["memorised_8grams"].value - found["human_memorised_8grams"].value
    assert found["memorised_8grams_excess"].value == pytest.approx(expected)
    assert 0.5 < found["memorised_8grams_excess"].low < expected < found["memorised_8grams_excess"].high
    less = Memorisation()(dataclasses.replace(evaluation, texts=others))["memorised_8grams_excess"]
    assert less.value == 0


def test_empty_texts_copy_nothing(against):
    found = Memorisation()(against([*[""] * 19, "a b"]))
    assert (found["memorised_texts"].value, found["memorised_excess"].value) == (0, 0)
    assert found["memorised_excess"].flags[0] == found["memorised_texts"].flags[0] == "19 empty texts"
    assert found["memorised_8grams"].reason == "no text has 8 words"
    assert {value.reason for value in Memorisation()(against([""] * 20)).values()} == {"all 20 texts are empty"}


def naive_run(text, train):
    words = text.split()
    spans = {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    return max((len(span.split()) for span in spans if any(f" {span} " in f" {other} " for other in train)), default=0)


def test_the_longest_shared_run_is_that_of_all_pairs(make_sentences):
    train = make_sentences(40, 1)
    texts = [*make_sentences(30, 2), train[3], f"zebra {train[5]} zebra", "", "zebra", " ".join(train[:2])]
    assert Beside.of(texts, train).longest_shared().tolist() == [naive_run(text, train) for text in texts]
    assert Beside.of(["a b c d e"], ["a b c d", "b c d e x"]).longest_shared(most=3).tolist() == [3]


def test_runs_are_averaged_and_cut_off_at_64_words(against):
    long = " ".join(f"w{index}" for index in range(70))
    found = Memorisation()(against([long, "", *["zebra"] * 18], train=[long]))
    assert found["memorised_run"].value == 64 / 20
    assert found["memorised_run"].flags[:2] == ("1 empty text", "1 text shares 64 words or more")
    assert found["memorised_run"].items[:3] == (64, 0, 0)
    assert found["human_memorised_run"].of_targets


def test_without_a_training_split_there_is_no_value(make_evaluation):
    assert Memorisation()(make_evaluation(["a b"] * 20))["memorised_texts"].reason == "there is no training split to look in"
