import numpy as np
import pytest
import sacrebleu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from harness.metrics.bleu import Bleu, bleu_statistics, corpus_bleu
from harness.metrics.chrf import ChrF, chrf_statistics, corpus_chrf


def padded(references):
    most = max(map(len, references))
    return [[refs[k] if k < len(refs) else None for refs in references] for k in range(most)]


def theirs(metric, texts, references):
    """What sacreBLEU counts of every item."""
    return np.array(metric._extract_corpus_statistics(texts, padded(references)), dtype=np.float64)


@pytest.fixture
def ragged(make_sentences):
    pool = make_sentences(300, 7)
    return [pool[3 * i : 3 * i + 1 + i % 3] for i in range(100)]


def test_bleu_is_sacrebleu_with_all_ragged_references(make_evaluation, make_sentences, ragged):
    texts = make_sentences(100, 1)
    metric = BLEU()
    expected = metric.corpus_score(texts, padded(ragged))
    found = Bleu()(make_evaluation(texts, references=ragged, family="t2t"))["bleu"]
    assert found.value == expected.score
    assert found.signature == str(metric.get_signature())
    assert found.signature.startswith("nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert found.low < found.value < found.high
    assert (found.n, len(found.items), len(found.items[0])) == (100, 100, 10)


def test_chrf_values_are_sacrebleu_s(make_evaluation, make_sentences, ragged):
    texts = ["", *make_sentences(99, 1)]
    found = ChrF()(make_evaluation(texts, references=ragged, family="a2t"))
    for name, order in (("chrf", 0), ("chrf++", 2)):
        metric = CHRF(word_order=order)
        assert found[name].value == metric.corpus_score(texts, padded(ragged)).score
        assert found[name].signature == str(metric.get_signature())
        assert found[name].low < found[name].value < found[name].high
        assert found[name].flags == ("1 empty text",)


LETTERS = st.text(alphabet="abc déß,.'\"()-1%&;\u3000\n\tあ€", max_size=25)
PAIRS = st.lists(st.tuples(LETTERS, st.lists(LETTERS, min_size=1, max_size=3)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=PAIRS)
def test_any_texts_have_sacrebleu_s_own_scores(make_evaluation, pairs):
    texts, references = [text for text, _ in pairs], [[*accepted, "a word"] for _, accepted in pairs]
    made = make_evaluation(texts, references=references, family="t2t", profile="test")
    found = {**Bleu()(made), **ChrF()(made)}
    metrics = {"bleu": BLEU(), "chrf": CHRF(), "chrf++": CHRF(word_order=2)}
    assert {name: found[name].value for name in metrics} == {
        name: metric.corpus_score(texts, padded(references)).score for name, metric in metrics.items()
    }


LETTERS = st.text(alphabet="ab \u00a0\u00e9.,-1(&;\n", max_size=9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LETTERS, st.lists(LETTERS, min_size=1, max_size=4)), min_size=1, max_size=5))
def test_statistics_of_every_item_are_sacrebleu_s(items):
    texts, references = [text for text, _ in items], [accepted for _, accepted in items]
    assert np.array_equal(bleu_statistics(texts, references), theirs(BLEU(force=True), texts, references))
    for order, rows in zip((0, 2), chrf_statistics(texts, references, word_orders=(0, 2)), strict=True):
        assert np.array_equal(rows, theirs(CHRF(word_order=order), texts, references))


def test_items_of_many_parts_keep_their_places(make_sentences):
    pool = make_sentences(2000, 5)
    texts, references = pool[:600], [pool[600 + 2 * i : 601 + 2 * i + i % 2] for i in range(600)]
    assert np.array_equal(bleu_statistics(texts, references), theirs(BLEU(), texts, references))
    (rows,) = chrf_statistics(texts, references, word_orders=(2,))
    assert np.array_equal(rows, theirs(CHRF(word_order=2), texts, references))


def test_vectorised_scores_equal_sacrebleu_on_resamples(make_sentences, ragged):
    texts = [*make_sentences(98, 3), "", "zebra"]
    rng = np.random.default_rng(0)
    picks = [rng.integers(100, size=size) for size in (1, 1, 1, 2, 5, 100, 100)] + [np.array([98]), np.array([99])]
    for metric, vectorised in ((BLEU(), corpus_bleu), (CHRF(), corpus_chrf), (CHRF(word_order=2), corpus_chrf)):
        rows = theirs(metric, texts, ragged)
        for chosen in picks:
            expected = metric._compute_score_from_stats([int(x) for x in rows[chosen].sum(0)]).score
            assert vectorised(rows[chosen].sum(0)[None])[0] == pytest.approx(expected, abs=1e-9)


def test_interval_agrees_with_sacrebleu_s_bootstrap(make_evaluation, make_sentences):
    references = [[text] for text in make_sentences(400, 7)]
    texts = [" ".join([*refs[0].split()[:-1], "cat"]) for refs in references]
    found = Bleu()(make_evaluation(texts, references=references, family="t2t"))["bleu"]
    theirs = BLEU().corpus_score(texts, padded(references), n_bootstrap=1000)
    assert (found.high - found.low) / 2 == pytest.approx(theirs._ci, rel=0.2)


def test_perfect_and_empty_output(make_evaluation, make_sentences):
    references = [[text] for text in make_sentences(50, 7)]
    perfect = [refs[0] for refs in references]
    assert Bleu()(make_evaluation(perfect, references=references))["bleu"].value == pytest.approx(100)
    assert ChrF()(make_evaluation(perfect, references=references))["chrf++"].value == pytest.approx(100)
    for metric in (Bleu(), ChrF()):
        for found in metric(make_evaluation([""] * 50, references=references)).values():
            assert (found.value, found.low, found.high) == (0.0, None, None)
            assert found.flags == ("50 empty texts", "no interval: fewer than 5 items move the value")


def test_order_of_items_changes_nothing(make_evaluation, make_sentences, ragged):
    texts = make_sentences(100, 1)
    order = np.random.default_rng(0).permutation(100)
    one = Bleu()(make_evaluation(texts, references=ragged))["bleu"].value
    other = Bleu()(make_evaluation([texts[i] for i in order], references=[ragged[i] for i in order]))["bleu"].value
    assert one == other


def test_shapes_that_sacrebleu_would_swallow_are_refused(make_evaluation, make_sentences):
    with pytest.raises(ValueError, match="one text per example"):
        Bleu()(make_evaluation(make_sentences(3, 0), references=[["a"], ["b"]]))
    with pytest.raises(ValueError, match="expected one list per text"):
        bleu_statistics(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="item 1"):
        bleu_statistics(["a", "b"], [["a"], "b"])
    with pytest.raises(ValueError, match="item 0"):
        chrf_statistics(["a"], [[]], word_orders=(0,))


def test_no_items_is_a_refusal(make_evaluation):
    evaluation = make_evaluation([], references=[])
    for name, found in (Bleu()(evaluation) | ChrF()(evaluation)).items():
        assert (found.value, found.reason) == (None, "no items"), name
    assert sacrebleu.__version__


def test_full_stops_as_words_bring_no_advice_to_detokenise(make_evaluation, make_sentences, caplog):
    texts = [f"{text} ." for text in make_sentences(120, 1)]
    evaluation = make_evaluation(texts, references=[[text] for text in reversed(texts)], family="a2t")
    found = Bleu()(evaluation)["bleu"]
    assert not caplog.records
    plain = BLEU()
    assert found.value == plain.corpus_score(texts, [texts[::-1]]).score
    assert found.signature == str(plain.get_signature())
    assert caplog.records, "sacreBLEU would have said so"


def test_few_matching_four_grams_are_told(make_evaluation):
    references = [[f"a{i} b{i} c{i} d{i} e{i}"] for i in range(40)]
    for right, flags in ((3, ("interval too narrow: 6 matching 4-grams",)), (20, ())):
        texts = [refs[0] if index < right else f"a{index} x y z b{index}" for index, refs in enumerate(references)]
        found = Bleu()(make_evaluation(texts, references=references, family="a2t", profile="test"))["bleu"]
        assert found.flags == flags
