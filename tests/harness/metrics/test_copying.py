import dataclasses

import numpy as np
import pytest
import sacrebleu

from harness.metrics.aggregates import AGGREGATES, statistics
from harness.metrics.copying import Copying, corpus_ibleu
from harness.stats.intervals import wilson


@pytest.fixture
def rewriting(make_evaluation, make_sentences):
    def made(texts, sources, references=None):
        plain = make_evaluation(texts, references=references or [[text] for text in make_sentences(len(texts), 9)], family="t2t")
        examples = [dataclasses.replace(example, source=source) for example, source in zip(plain.examples, sources, strict=True)]
        return dataclasses.replace(plain, examples=examples)

    return made


@pytest.fixture
def partly_copied(rewriting, make_sentences):
    sources, others = make_sentences(80, 1), make_sentences(80, 2)
    texts = [source if index % 4 == 0 else other for index, (source, other) in enumerate(zip(sources, others, strict=True))]
    return rewriting(texts, sources, [[text.replace("cat", "dog")] for text in others])


def test_values_are_those_of_sacrebleu(partly_copied):
    found = Copying()(partly_copied)
    texts, sources = partly_copied.texts, [example.source for example in partly_copied.examples]
    copied = sacrebleu.corpus_bleu(texts, [sources], force=True).score
    right = sacrebleu.corpus_bleu(texts, [[example.target for example in partly_copied.examples]], force=True).score
    assert found["copy_bleu"].value == copied
    assert found["ibleu"].value == pytest.approx(0.8 * right - 0.2 * copied)
    assert found["copy_bleu"].signature.startswith("of:source|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert found["ibleu"].signature.startswith("alpha:0.8|nrefs:1|")
    for name in ("copy_bleu", "ibleu"):
        assert found[name].low < found[name].value < found[name].high


def test_items_and_their_aggregate_make_every_value(partly_copied):
    for name, found in Copying()(partly_copied).items():
        rows = statistics(found.items, found.aggregate)
        assert AGGREGATES[found.aggregate](rows.sum(0)[None]) == pytest.approx([found.value]), name


def test_resamples_of_ibleu_are_sacrebleu_s(partly_copied):
    rows = np.array(Copying()(partly_copied)["ibleu"].items)
    picks = np.random.default_rng(0).integers(len(rows), size=50)
    texts = [partly_copied.texts[pick] for pick in picks]
    sides = [[partly_copied.examples[pick].target for pick in picks], [partly_copied.examples[pick].source for pick in picks]]
    right, copied = (sacrebleu.corpus_bleu(texts, [side], force=True).score for side in sides)
    assert corpus_ibleu(rows[picks].sum(0)[None])[0] == pytest.approx(0.8 * right - 0.2 * copied)


def test_a_copy_is_the_same_words_and_nothing_is_none(rewriting):
    sources = ["a b", "c d", "e f", "g h", "i j"]
    found = Copying()(rewriting(["a b", " c  d ", "e F", "", ""], sources))["exact_copy_rate"]
    assert found.items == (1.0, 1.0, 0.0, 0.0, 0.0)
    assert (found.low, found.high) == (wilson(2, 5).low, wilson(2, 5).high)
    assert found.flags == ("2 empty texts",)


def test_the_source_itself_is_copied_whole(rewriting, make_sentences):
    sources = [f"{text} cat dog bird" for text in make_sentences(30, 1)]
    found = Copying()(rewriting(sources, sources))
    assert found["copy_bleu"].value == pytest.approx(100)
    assert found["exact_copy_rate"].value == 1
    perfect = Copying()(rewriting(sources, make_sentences(30, 4), [[text] for text in sources]))
    assert perfect["ibleu"].value > 70 > found["ibleu"].value


def test_items_without_a_source_are_refused(make_evaluation, make_sentences, rewriting):
    evaluation = rewriting(make_sentences(3, 1), ["a", None, None])
    for found in Copying()(evaluation).values():
        assert found.value is None
        assert found.reason == "2 of 3 items have no source (in a file of references: the key `source`)"
    assert {found.reason for found in Copying()(make_evaluation([], references=[], family="t2t")).values()} == {"no items"}
