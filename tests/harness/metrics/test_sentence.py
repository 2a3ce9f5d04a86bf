import pytest

from harness.decoding import by_chrf, minimum_bayes_risk
from harness.metrics.sentence import SentenceBleu, candidate_diversity, distinct_words, sentence_bleu


def test_identity_is_best_and_nothing_in_common_is_zero():
    assert sentence_bleu("a b c d e", "a b c d e") == pytest.approx(1.0)
    assert sentence_bleu("x y z", "a b c") == 0.0
    assert sentence_bleu("", "a b c") == 0.0


def test_a_short_text_pays_for_its_length():
    assert sentence_bleu("a b c d", "a b c d e f g h") < sentence_bleu("a b c d e f g", "a b c d e f g h") < 1


def test_words_and_ngrams_are_counted_once_as_distinct():
    assert distinct_words("a b a c") == 0.75
    assert distinct_words("") == 0.0
    assert candidate_diversity(["a b c d e", "a b c d f"]) == 0.75


def test_the_candidate_most_like_the_others_wins_and_duplicates_count():
    assert minimum_bayes_risk(["a", "b", "b"], lambda text, other: float(text == other)) == "b"
    assert minimum_bayes_risk(["a", "b"], lambda text, other: 0.0) == "a"
    assert minimum_bayes_risk(["x", "b", "c"], lambda text, other: 9.0 if text == other else float(text == "b")) == "b"
    assert by_chrf(["the cat sat", "a dog barked", "the cat sits"]) in ("the cat sat", "the cat sits")


def test_no_items_are_a_refusal(make_evaluation):
    found = SentenceBleu()(make_evaluation([], references=[], family="t2t"))["sentence_bleu"]
    assert (found.value, found.reason) == (None, "no items")
