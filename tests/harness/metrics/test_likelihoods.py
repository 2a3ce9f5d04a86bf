import dataclasses
import math

import numpy as np
import pytest

from harness.contracts import Label, Likelihood
from harness.metrics.aggregates import AGGREGATES, statistics
from harness.metrics.judge_perplexity import JudgePerplexity, sample_entropies
from harness.metrics.likelihood import OwnLikelihood
from harness.metrics.sample_perplexity import SamplePerplexity


def likelihood(kind="exact", nats=(10.0, 20.0, 30.0), **changes):
    return Likelihood(nats=nats, tokens=(5, 6, 9), bytes=(20, 30, 40), kind=kind, estimator="ar-exact", **changes)


def test_own_likelihood_is_pooled(make_evaluation, make_sentences):
    found = OwnLikelihood()(make_evaluation(make_sentences(3, 0), likelihood=likelihood()))
    assert found["own_nll_per_token"].value == pytest.approx(60 / 20)
    assert found["own_bits_per_byte"].value == pytest.approx(60 / math.log(2) / 90)
    assert found["own_nll_per_token"].items == ((10.0, 5.0), (20.0, 6.0), (30.0, 9.0))
    assert all(value.of_targets for value in found.values())
    assert found["own_nll_per_token"].flags == ("no interval: fewer than 5 items move the value",)


def test_own_likelihood_has_an_interval_around_it(make_evaluation, make_sentences):
    many = Likelihood(nats=(10.0, 20, 30) * 4, tokens=(5, 6, 9) * 4, bytes=(20, 30, 40) * 4, kind="exact", estimator="ar-exact")
    found = OwnLikelihood()(make_evaluation(make_sentences(12, 0), likelihood=many))["own_nll_per_token"]
    assert found.low < 3 < found.high
    assert found.flags == ()


def test_bounds_and_exact_values_never_share_a_signature(make_evaluation, make_sentences):
    signatures = {}
    for kind in ("exact", "bound"):
        measurement = OwnLikelihood()(make_evaluation(make_sentences(3, 0), likelihood=likelihood(kind)))["own_nll_per_token"]
        signatures[kind] = measurement.signature
        assert ("upper bound" in measurement.flags) == (kind == "bound")
    assert signatures["exact"].startswith("kind:exact|estimator:ar-exact")
    assert signatures["exact"] != signatures["bound"]


def test_monte_carlo_error_is_told_when_it_matters(make_evaluation, make_sentences):
    rough = OwnLikelihood()(make_evaluation(make_sentences(3, 0), likelihood=likelihood("bound", mc_errors=(1.0, 2.0, 2.0))))
    assert rough["own_nll_per_token"].flags[:2] == ("upper bound", "Monte-Carlo error 5.0% of the value")
    fine = OwnLikelihood()(make_evaluation(make_sentences(3, 0), likelihood=likelihood("bound", mc_errors=(0.1, 0.1, 0.1))))
    assert fine["own_nll_per_token"].flags[:2] == ("upper bound", "no interval: fewer than 5 items move the value")


def test_monte_carlo_error_on_nothing_is_no_division(make_evaluation, make_sentences):
    for errors, flags in (((0.0, 0.0, 0.0), ()), ((3.0, 0.0, 4.0), ("Monte-Carlo error 5 nats, the value 0",))):
        given = likelihood("bound", nats=(0.0, 0.0, 0.0), mc_errors=errors)
        found = OwnLikelihood()(make_evaluation(make_sentences(3, 0), likelihood=given))["own_nll_per_token"]
        assert (found.value, found.flags[:-1]) == (0.0, ("upper bound", *flags))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "no likelihood"),
        (likelihood(nats=(1.0, math.inf, 2.0)), "1 of 3 targets"),
        (likelihood(nats=(1.0, math.nan, 2.0)), "the first is target 1"),
        (likelihood(nats=(-1.0, 3.0, 2.0)), "cannot be exact"),
        (likelihood("bound", mc_errors=(0.1, math.nan, 0.1)), "1 of 3 targets have a Monte-Carlo error that is not finite"),
    ],
)
def test_own_likelihood_refuses_with_a_reason(make_evaluation, make_sentences, given, reason):
    for found in OwnLikelihood()(make_evaluation(make_sentences(3, 0), likelihood=given)).values():
        assert found.value is None
        assert reason in found.reason


def brought(evaluation, sizes):
    """The evaluation of a model with a tokenizer of its own that gives its targets these bytes; each costs 8 bits."""
    n = len(sizes)
    own = Likelihood(nats=(8 * math.log(2),) * n, tokens=(4,) * n, bytes=tuple(sizes), kind="exact", estimator="ar-exact")
    return dataclasses.replace(evaluation, likelihood=own, own_tokenizer="brought" * 4)


def test_bits_per_byte_win_nothing_by_targets_that_a_brought_tokenizer_does_not_spell(make_evaluation, make_sentences):
    evaluation = make_evaluation(make_sentences(200, 0))
    whole, few = (OwnLikelihood()(brought(evaluation, [0] * lost + [20] * (200 - lost))) for lost in (0, 2))
    assert whole["own_bits_per_byte"].value == pytest.approx(8 / 20)
    assert few["own_bits_per_byte"].value == pytest.approx(8 * 200 / (20 * 198))
    told = "the model's own tokenizer does not spell 2 of 200 targets: their bits count, their bytes do not"
    assert few["own_bits_per_byte"].flags[0] == told
    assert told not in (*whole["own_bits_per_byte"].flags, *few["own_nll_per_token"].flags)


@pytest.mark.parametrize("lost", [3, 200])
def test_bits_per_byte_are_refused_where_more_of_them_are_not_spelt(make_evaluation, make_sentences, lost):
    found = OwnLikelihood()(brought(make_evaluation(make_sentences(200, 0)), [0] * lost + [20] * (200 - lost)))
    assert found["own_nll_per_token"].value == pytest.approx(2 * math.log(2))
    assert found["own_bits_per_byte"].value is None
    assert found["own_bits_per_byte"].reason == (
        f"the model's own tokenizer does not spell {lost} of 200 targets: what it drops or changes costs no bits; take a "
        "checkpoint whose tokenizer keeps every character"
    )


def test_empty_targets_and_the_task_s_tokenizer_are_spelt(make_evaluation, make_sentences):
    evaluation = brought(make_evaluation(["a", "b"], references=[[""], ["a text"]]), [0, 6])
    assert OwnLikelihood()(evaluation)["own_bits_per_byte"].value == pytest.approx(16 / 6)
    shared = dataclasses.replace(brought(make_evaluation(make_sentences(2, 0)), [0, 20]), own_tokenizer=None)
    assert OwnLikelihood()(shared)["own_bits_per_byte"].value == pytest.approx(16 / 20)


def test_judge_perplexity_is_pooled_and_counts_empty_texts(make_evaluation, make_sentences):
    texts = ["", *make_sentences(30, 1)]
    evaluation = make_evaluation(texts)
    found = JudgePerplexity()(evaluation)
    own = evaluation.judge.likelihood_of_texts(texts)
    assert found["judge_ppl"].value == pytest.approx(math.exp(sum(own.nats) / sum(own.tokens)))
    assert found["judge_nats_per_byte"].value == pytest.approx(sum(own.nats) / sum(own.bytes))
    assert found["judge_ppl"].low < found["judge_ppl"].value < found["judge_ppl"].high
    assert (found["judge_ppl"].n, found["judge_ppl"].flags) == (31, ("1 empty text",))
    assert "scorer:fake-judge@1" in found["judge_ppl"].signature


def test_entropy_stands_beside_perplexity(make_evaluation, make_sentences):
    evaluation = make_evaluation(["cat cat cat cat", "cat dog", "", "the old cat sees"])
    entropies = sample_entropies(evaluation.texts, evaluation.view.tokenizer)
    assert entropies == pytest.approx([0, math.log(2), 0, math.log(4)])
    found = JudgePerplexity()(evaluation)
    assert found["sample_entropy"].value == pytest.approx(np.mean(entropies))
    assert found["human_entropy"].value > found["sample_entropy"].value
    assert set(found) == set(JudgePerplexity.values)


def test_judge_perplexity_refuses_without_judge_or_bytes(make_evaluation):
    assert all(found.value is None for found in JudgePerplexity()(make_evaluation(["a"], judged=False)).values())
    hollow = {**JudgePerplexity()(make_evaluation(["", " "])), **SamplePerplexity()(make_evaluation(["", " "]))}
    assert {name: value.reason for name, value in hollow.items() if "entropy" not in name} == dict.fromkeys(
        [*list(JudgePerplexity.values)[:3], *SamplePerplexity.values], "all 2 texts are empty"
    )


def test_a_perplexity_past_all_numbers_is_refused(make_evaluation, make_sentences):
    evaluation = make_evaluation(make_sentences(20, 1), profile="test")
    usual = evaluation.judge.likelihood_of_texts(evaluation.texts)
    for nats in (tuple(1e6 for _ in usual.nats), tuple(700.0 * n * (1 + 0.02 * (n % 3)) for n in usual.tokens)):
        evaluation.judge.likelihood_of_texts = lambda texts, nats=nats: dataclasses.replace(usual, nats=nats)
        found = JudgePerplexity()(evaluation)
        assert found["judge_ppl"].value is None
        assert "nats per token: the perplexity overflows" in found["judge_ppl"].reason
        assert found["judge_nats_per_byte"].value > 0


def test_samples_can_be_averaged_as_the_literature_does(make_evaluation, make_sentences):
    evaluation = make_evaluation(["", *make_sentences(30, 1)])
    own = evaluation.judge.likelihood_of_texts(evaluation.texts)
    rates = np.array(own.nats) / np.array(own.tokens)
    found = dict(SamplePerplexity()(evaluation))
    assert set(found) == set(SamplePerplexity.values)
    assert found.pop("judge_ppl_mean_of_samples_bos_0").reason == "the judge cannot leave the first token unscored"
    assert found["judge_ppl_mean_of_samples"].value == pytest.approx(np.exp(rates).mean())
    assert found["judge_ppl_of_mean_sample"].value == pytest.approx(math.exp(rates.mean()))
    for value in found.values():
        assert value.low < value.value < value.high
        assert value.flags == ("1 empty text",)
        kept = AGGREGATES[value.aggregate](statistics(value.items, value.aggregate).sum(0)[None])
        assert kept[0] == pytest.approx(value.value)


def test_the_median_is_of_the_samples_own_perplexities(make_evaluation, make_sentences):
    evaluation = make_evaluation(["", *make_sentences(30, 1)])
    own = evaluation.judge.likelihood_of_texts(evaluation.texts)
    alone = np.sort(np.exp(np.array(own.nats) / np.array(own.tokens)))
    found = JudgePerplexity()(evaluation)["judge_ppl_median"]
    # of 31 values, the 10th and the 22nd: fewer than 9 or more than 21 below the median have a chance of 2.9 %
    assert (found.value, found.low, found.high) == pytest.approx((alone[15], alone[9], alone[21]))
    examples = [dataclasses.replace(example, control=Label("same")) for example in evaluation.examples]
    asked = JudgePerplexity()(dataclasses.replace(evaluation, examples=examples, family="a2t"))
    assert (asked["judge_ppl_median"].low, asked["judge_ppl_median"].flags[-1]) == (None, "no interval: samples share controls")
    assert (asked["judge_ppl"].value, asked["judge_ppl"].low) == (JudgePerplexity()(evaluation)["judge_ppl"].value, None)
    few = JudgePerplexity()(make_evaluation(make_sentences(5, 1)))["judge_ppl_median"]
    assert (few.low, few.flags) == (None, ("no interval: fewer than 6 samples",))


def test_the_first_token_may_stay_unscored(make_evaluation, make_sentences):
    evaluation = make_evaluation(make_sentences(30, 1))

    def after_first(texts):
        costs = [[1.0 + len(word) for word in text.split()][1:] for text in texts]
        nats, tokens = tuple(map(sum, costs)), tuple(map(len, costs))
        return Likelihood(nats=nats, tokens=tokens, bytes=tokens, kind="exact", estimator="fake")

    evaluation.judge.likelihood_after_first = after_first
    found = SamplePerplexity()(evaluation)["judge_ppl_mean_of_samples_bos_0"]
    rates = [np.mean([1.0 + len(word) for word in text.split()[1:]]) for text in evaluation.texts]
    assert found.value == pytest.approx(np.exp(rates).mean())
    assert "|bos:0|eos:0|per sample" in found.signature
    assert found.low < found.value < found.high
    short = make_evaluation(["cat", "", *make_sentences(30, 1)])
    short.judge.likelihood_after_first = after_first
    assert SamplePerplexity()(short)["judge_ppl_mean_of_samples_bos_0"].reason == (
        "2 of 32 samples have fewer than two tokens: nothing of them is scored"
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_a_judge_cannot_have_said_is_refused(make_evaluation, make_sentences, bad):
    evaluation = make_evaluation(make_sentences(20, 1), profile="test")
    usual = evaluation.judge.likelihood_of_texts(evaluation.texts)
    evaluation.judge.likelihood_of_texts = lambda texts: dataclasses.replace(usual, nats=(*usual.nats[:3], bad, *usual.nats[4:]))
    for metric, names in ((JudgePerplexity, list(JudgePerplexity.values)[:3]), (SamplePerplexity, SamplePerplexity.values)):
        assert {metric()(evaluation)[name].reason for name in names} == {
            "the judge's likelihood of 1 of 20 texts is not finite, the first is text 3"
        }
    evaluation.judge.likelihood_of_texts = lambda texts: dataclasses.replace(usual, tokens=(0,) * 20)
    assert (
        JudgePerplexity()(evaluation)["judge_ppl"].reason == "the judge counts no token in 20 of 20 texts; expected EOS at least"
    )


def test_one_sample_past_all_numbers_is_refused_where_it_rules(make_evaluation, make_sentences):
    evaluation = make_evaluation(make_sentences(20, 1), profile="test")
    usual = evaluation.judge.likelihood_of_texts(evaluation.texts)
    nats = (1000.0 * usual.tokens[0], *usual.nats[1:])
    evaluation.judge.likelihood_of_texts = lambda texts: dataclasses.replace(usual, nats=nats)
    found = SamplePerplexity()(evaluation)
    assert (found["judge_ppl_mean_of_samples"].value, found["judge_ppl_of_mean_sample"].value is None) == (None, False)
    assert "a sample has 1000 nats per token" in found["judge_ppl_mean_of_samples"].reason
    assert all(value.value is None for value in SamplePerplexity()(make_evaluation(["a"], judged=False)).values())
