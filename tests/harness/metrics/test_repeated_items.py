"""Repetitions of one item (`x`, `x#1`, `x#2`) are one observation in intervals, and nothing else changes."""

import dataclasses

import numpy as np
import pytest

from harness.contracts import Generation, Label, Likelihood, TaskView
from harness.measurement import Evaluation
from harness.metrics.aggregates import AGGREGATES, statistics
from harness.metrics.answers import clusters
from harness.metrics.bleu import Bleu
from harness.metrics.chrf import ChrF
from harness.metrics.diversity import Diversity
from harness.metrics.judge_perplexity import JudgePerplexity
from harness.metrics.lengths import Lengths
from harness.metrics.likelihood import OwnLikelihood
from harness.metrics.self_bleu import SelfBleu
from harness.metrics.sentence import SentenceBleu
from harness.stats.intervals import wilson
from harness.tokenizer import Tokenizer

TIMES = 4
# (low, high) of 60 different items before repetitions were known
PLAIN = {
    "bleu": (1.839171576747512, 8.3186580181537),
    "chrf": (16.51829927209612, 21.475386658917397),
    "chrf++": (16.788877565365084, 22.451432236376437),
    "mean_words": (6.779680863339298, 8.048376658597398),
    "length_ratio": (0.9123276564402604, 1.1642064096942768),
    "empty_rate": (0.0, 0.06017185214208984),
    "judge_ppl": (4.762127926370592, 4.969307438636634),
    "judge_nats_per_byte": (0.43539859782445145, 0.4765603590440248),
    "sample_entropy": (1.367207370602238, 1.5281738738372117),
    "own_nll_per_token": (2.459898500763898, 2.764636818324354),
    "own_bits_per_byte": (0.8076871767365436, 0.8800163929209797),
    "sentence_bleu": (0.03970403828963102, 0.06068052396764298),
    "self_bleu": (41.20512086960848, 51.25820253758277),
}


def own(n):
    nats = tuple(10.0 + index % 7 for index in range(n))
    tokens, size = tuple(4 + index % 3 for index in range(n)), tuple(20 + index % 5 for index in range(n))
    return Likelihood(nats=nats, tokens=tokens, bytes=size, kind="exact", estimator="ar-exact")


def again(evaluation):
    """The same items and the same answers, four times over."""
    examples = [
        dataclasses.replace(example, id=f"{example.id}#{time}" if time else example.id)
        for time in range(TIMES)
        for example in evaluation.examples
    ]
    likelihood = evaluation.likelihood
    repeated = {name: getattr(likelihood, name) * TIMES for name in ("nats", "tokens", "bytes")}
    return dataclasses.replace(
        evaluation,
        examples=examples,
        texts=evaluation.texts * TIMES,
        generations=evaluation.generations * TIMES,
        likelihood=dataclasses.replace(likelihood, **repeated),
    )


def measured(evaluation):
    metrics = (Bleu, ChrF, Lengths, Diversity, JudgePerplexity, OwnLikelihood, SentenceBleu, SelfBleu)
    return {name: value for metric in metrics for name, value in metric()(evaluation).items()}


@pytest.fixture
def items(make_evaluation, make_sentences):
    return make_evaluation(make_sentences(60, 1), family="a2t", profile="test", likelihood=own(60))


def test_different_items_have_the_intervals_that_they_had(items):
    found = measured(items)
    for name, interval in PLAIN.items():
        assert (found[name].low, found[name].high) == pytest.approx(interval, rel=1e-12), name


def test_the_same_answers_four_times_over_narrow_no_interval(items):
    once, four = measured(items), measured(again(items))
    for name in PLAIN.keys() - {"self_bleu"}:
        assert four[name].value == pytest.approx(once[name].value), name
        assert four[name].n == 240
        widths = [found[name].high - found[name].low for found in (once, four)]
        # another order of the same resamples would give the very same interval; 200 resamples leave 15 %
        assert widths[1] == pytest.approx(widths[0], rel=0.15), name


def shared(evaluation, name):
    """Items of their own, every four of which share a source or a control."""
    examples = [
        dataclasses.replace(
            example,
            id=f"own-{index}",
            source=f"source {index % 60}" if name == "source" else None,
            control=Label(str(index % 60)) if name == "control" else None,
        )
        for index, example in enumerate(again(evaluation).examples)
    ]
    return dataclasses.replace(again(evaluation), examples=examples)


@pytest.mark.parametrize("name", ["source", "control"])
def test_items_of_one_source_or_control_are_one_observation(items, name):
    once, four, apart = measured(items), measured(shared(items, name)), measured(shared(items, "nothing"))
    for value in PLAIN.keys() - {"self_bleu"}:
        widths = [found[value].high - found[value].low for found in (once, four, apart)]
        assert widths[1] == pytest.approx(widths[0], rel=0.15), value
        assert widths[2] < 0.7 * widths[0], value


def test_targets_of_the_generated_language_that_are_asked_twice_are_one_observation():
    from tasks.world.metrics import WorldExact
    from tasks.world.task import World

    task = World("tiny", train=1, valid=1, test=400, judge=1)
    examples = list(task.load("a2t").test)
    conditions = {example.condition for example in examples}
    assert len(conditions) < 200
    # all answers to one control are right, or all are wrong
    right = dict(zip(sorted(conditions), np.random.default_rng(0).random(len(conditions)) < 0.5, strict=True))
    texts = [example.target if right[example.condition] else "the" for example in examples]
    made = Evaluation(
        task=task, family="a2t", examples=examples, texts=texts,
        generations=[Generation(id=example.id, texts=(text,)) for example, text in zip(examples, texts, strict=True)],
        train=(), view=TaskView(name="world", family="a2t", tokenizer=Tokenizer.train("words", ["a"]), max_tokens=64),
        profile="test",
    )  # fmt: skip
    found, hits = WorldExact()(made)["correct"], sum(text != "the" for text in texts)
    assert found.high - found.low > 1.5 * (wilson(hits, 400).high - wilson(hits, 400).low)


def test_items_and_their_aggregate_make_every_value(items):
    for name, found in measured(items).items():
        if found.items is not None:
            rows = statistics(found.items, found.aggregate)
            assert len(rows) == 60, name
            assert AGGREGATES[found.aggregate](rows.sum(0)[None]) == pytest.approx([found.value]), name


def test_rep_4_counts_repetitions_of_an_item_as_one(make_evaluation, make_sentences):
    texts = [f"{text} {text}" for text in make_sentences(60, 1)]
    plain = make_evaluation(texts, family="a2t", likelihood=own(60))
    once, four = (Diversity()(evaluation)["rep_4"] for evaluation in (plain, again(plain)))
    assert four.high - four.low == pytest.approx(once.high - once.low, rel=0.15)


def test_rates_are_wilson_s_where_no_item_repeats(items):
    texts = ["" if index % 3 == 0 else text for index, text in enumerate(items.texts)]
    once = Lengths()(dataclasses.replace(items, texts=texts))["empty_rate"]
    assert (once.low, once.high) == (wilson(20, 60).low, wilson(20, 60).high)
    four = Lengths()(again(dataclasses.replace(items, texts=texts)))["empty_rate"]
    assert (four.low, four.high) == pytest.approx((once.low, once.high), abs=0.01)


def test_clusters_are_conditions_or_else_the_ids_before_the_sign(items):
    assert len(set(clusters(again(items)))) == 60
    assert clusters(items) == [example.id for example in items.examples]
    assert clusters(shared(items, "source")) == [f"source {index % 60}" for index in range(240)]


def test_mauve_refuses_references_that_only_differ_in_the_repetition(make_evaluation, make_sentences):
    from harness.metrics.mauve import Mauve

    few = make_evaluation(make_sentences(250, 3), likelihood=own(250))
    assert "references repeat" in Mauve()(again(few))["mauve"].reason


def test_own_likelihood_needs_every_target(make_evaluation, make_sentences):
    with pytest.raises(ValueError, match="4 of 3 targets"):
        OwnLikelihood()(make_evaluation(make_sentences(3, 0), likelihood=own(4)))


def test_a_mean_over_repeated_items_is_covered(make_evaluation, make_sentences):
    # 16 targets with a rate each, 6 answers a target: true coverage about 0.93; 150 repetitions, 4.5 sd below is 0.84
    rng, hits = np.random.default_rng(0), 0
    plain = make_evaluation(make_sentences(96, 3), profile="test")
    examples = [dataclasses.replace(item, id=f"x{index % 16}#{index // 16}") for index, item in enumerate(plain.examples)]
    for _ in range(150):
        empty = rng.random(96) < np.tile(rng.beta(0.5, 0.5, size=16), 6)
        texts = ["" if gone else "a" for gone in empty]
        rate = Lengths()(dataclasses.replace(plain, examples=examples, texts=texts))["empty_rate"]
        hits += rate.low <= 0.5 <= rate.high
    assert hits / 150 > 0.84
