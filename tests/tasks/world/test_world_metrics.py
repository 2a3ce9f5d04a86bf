from dataclasses import replace

import numpy as np
import pytest

from harness.contracts import Example, Generation, Likelihood, TaskView
from harness.measurement import Evaluation
from harness.metrics.aggregates import AGGREGATES, statistics
from harness.stats.intervals import wilson
from harness.tokenizer import Tokenizer
from tasks.world.draws import draw
from tasks.world.metrics import WorldExact
from tasks.world.task import World


def evaluation(task: World, family: str, texts: list[str] | None = None, **changes) -> Evaluation:
    data = task.load(family)
    texts = [example.target for example in data.test] if texts is None else texts
    view = TaskView(name="world", family=family, tokenizer=Tokenizer.train("words", texts), max_tokens=data.max_tokens)
    return Evaluation(
        task=task,
        family=family,
        examples=data.test[: len(texts)],
        texts=texts,
        generations=[Generation(id=example.id, texts=(text,)) for example, text in zip(data.test, texts, strict=False)],
        train=data.train,
        view=view,
        profile="smoke",
        **changes,
    )


@pytest.fixture(scope="module")
def task() -> World:
    return World("small", train=500, valid=1, test=400, judge=1)


@pytest.fixture(scope="module")
def exact_draws(task):
    return WorldExact()(evaluation(task, "ucg", draw(task.language.automaton, 400, np.random.default_rng(21))))


def test_items_and_their_aggregate_make_the_value(task):
    texts = draw(task.language.automaton, 60, np.random.default_rng(3))
    texts[::3] = [" ".join(text.split()[::-1]) for text in texts[::3]]
    kept = {name: found for name, found in WorldExact()(evaluation(task, "ucg", texts)).items() if found.items is not None}
    assert {"in_language", "in_language_standardised", "true_nll", "mean_length"} <= kept.keys()
    for name, found in kept.items():
        rows = statistics(found.items, found.aggregate)
        assert len(rows) == 60, name
        assert AGGREGATES[found.aggregate](rows.sum(0)[None]) == pytest.approx([found.value]), name


def test_exact_draws_are_perfect(task, exact_draws):
    assert exact_draws["in_language"].value == 1
    assert exact_draws["in_language_standardised"].value == pytest.approx(1)
    automaton = task.language.automaton
    nll = exact_draws["true_nll"]
    assert nll.low < automaton.entropy() < nll.high
    assert nll.n == len(nll.items) == 400
    mean = exact_draws["mean_length"]
    law = automaton.length_law()
    assert mean.low < law @ np.arange(len(law)) < mean.high
    assert exact_draws["attribute_distance"].value < 0.03
    assert exact_draws["attribute_distance"].low == 0
    assert 0.9 < exact_draws["meaning_coverage"].value < 1.1
    assert 0.9 < exact_draws["rule_coverage"].value < 1.1
    for name in ("meaning_coverage", "rule_coverage"):
        assert exact_draws[name].low < 1 < exact_draws[name].high
    assert exact_draws["train_copies"].value < 0.01
    assert all(found.value == 0 for name, found in exact_draws.items() if name.startswith("errors_"))
    assert exact_draws["likelihood_gap"].reason == "the model gives no likelihood"


def test_every_value_is_announced_signed_and_has_an_interval_around_it(exact_draws):
    for name, found in exact_draws.items():
        assert name in WorldExact.values
        assert found.signature.startswith(f"world:small|task:{World.version}|version:4|n:400")
        if found.value is not None:
            assert found.low <= found.value <= found.high
            assert found.low < found.high


def test_broken_texts_lower_the_rate_by_as_much(task):
    texts = [example.target for example in task.load("ucg").test]
    broken = [text.replace(" .", " the .", 1) if index % 4 == 0 else text for index, text in enumerate(texts)]
    found = WorldExact()(evaluation(task, "ucg", broken))
    assert found["in_language"].value == 0.75
    assert found["in_language_standardised"].value == pytest.approx(0.75, abs=0.03)
    assert found["errors_other"].value + found["errors_pairing"].value == pytest.approx(0.25)
    assert f"in language: {300} of 400" in found["true_nll"].flags


def test_true_nll_is_the_mean_of_what_is_in_the_language_and_finite_whatever_else_is_there(task):
    automaton = task.language.automaton
    valid = draw(automaton, 30, np.random.default_rng(8))
    found = WorldExact()(evaluation(task, "ucg", [*valid, *["the the the"] * 70]))
    nll = found["true_nll"]
    assert nll.value == pytest.approx(np.mean([-automaton.log_probability(text.split()) for text in valid]))
    assert np.isfinite([nll.value, nll.low, nll.high]).all()
    assert (nll.n, found["in_language"].value) == (30, 0.3)
    assert nll.flags[0] == "in language: 30 of 100"


def test_true_nll_is_refused_where_nothing_is_in_the_language(task):
    found = WorldExact()(evaluation(task, "ucg", ["the the the", ""] * 20))
    assert found["in_language"].value == 0
    assert found["true_nll"].value is None
    assert found["true_nll"].reason == "none of 40 texts is in the language"
    assert found["attribute_distance"].value is None
    for name in ("meaning_coverage", "rule_coverage"):
        assert (found[name].value, found[name].flags) == (0, ("no interval: no text is in the language",))


def test_copies_of_the_training_split_are_seen(task):
    copies = [example.target for example in task.load("ucg").train[:100]]
    assert WorldExact()(evaluation(task, "ucg", copies))["train_copies"].value == 1


def test_dropped_modes_are_seen(task, exact_draws):
    singular = [text for text in draw(task.language.automaton, 1000, np.random.default_rng(3)) if "serve" in text.split()][:200]
    assert (
        WorldExact()(evaluation(task, "ucg", singular))["attribute_distance"].value > 3 * exact_draws["attribute_distance"].value
    )


def own_likelihood(task, family, shift):
    from tasks.world.exact import exact_nats

    examples = task.load(family).test
    nats = exact_nats(task, examples)
    noise = np.random.default_rng(0).normal(shift, 0.5, len(nats))
    padded = np.concatenate([nats + noise, np.zeros(len(examples) - len(nats))])
    ones = (1,) * len(examples)
    return Likelihood(nats=tuple(padded.tolist()), tokens=ones, bytes=ones, kind="bound", estimator="test")


@pytest.mark.parametrize("family", ["ucg", "a2t", "t2t"])
def test_the_likelihood_gap_is_measured_against_the_exact_value(family):
    task = World("tiny", train=1, valid=1, test=40, judge=1)
    found = WorldExact()(evaluation(task, family, likelihood=own_likelihood(task, family, 2.0)))["likelihood_gap"]
    assert found.low < 2 < found.high
    assert found.signature.endswith("kind:bound|test")
    assert not found.flags


def test_an_impossible_likelihood_is_flagged():
    task = World("small", train=1, valid=1, test=40, judge=1)
    found = WorldExact()(evaluation(task, "ucg", likelihood=own_likelihood(task, "ucg", -2.0)))["likelihood_gap"]
    assert "the likelihood is wrong" in found.flags[0]


@pytest.mark.parametrize("family", ["a2t", "t2t"])
def test_right_answers_are_correct_and_others_are_not(family):
    task = World("tiny", train=1, valid=1, test=60, judge=1)
    right = evaluation(task, family)
    assert WorldExact()(right)["correct"].value == 1
    turned = replace(right, texts=[*right.texts[1:], right.texts[0]])
    found = WorldExact()(turned)
    assert found["in_language"].value == 1
    assert found["correct"].value < 0.2
    assert found["correct"].low is not None
    assert len(found["correct"].items) == 60


def test_repeated_items_are_one_observation_of_correct():
    task = World("small", train=1, valid=1, test=60, judge=1)
    plain = evaluation(task, "a2t")
    assert len({example.condition for example in plain.examples}) == 60
    half = replace(plain, texts=["the" if index % 2 else text for index, text in enumerate(plain.texts)])
    once = WorldExact()(half)["correct"]
    again = [replace(example, id=f"{example.id}#{time}") for time in range(1, 5) for example in plain.examples]
    four = replace(half, examples=[*plain.examples, *again], texts=[*half.texts] * 5, generations=[*half.generations] * 5)
    found = WorldExact()(four)["correct"]
    assert (once.low, once.high) == (wilson(30, 60).low, wilson(30, 60).high)
    assert (found.n, found.value) == (300, 0.5)
    assert (found.low, found.high) == pytest.approx((once.low, once.high), abs=0.01)


def test_a_copied_source_is_no_translation_but_a_trivial_paraphrase():
    for t2t, correct in (("translation", 0), ("paraphrase", 1)):
        task = World("tiny", train=1, valid=1, test=30, judge=1, t2t=t2t)
        plain = evaluation(task, "t2t")
        found = WorldExact()(replace(plain, texts=[example.source for example in plain.examples]))
        assert (found["correct"].value, found["source_copies"].value) == (correct, 1)


def test_simplifications_must_be_shortest():
    task = World("tiny", train=1, valid=1, test=30, judge=1, t2t="simplification")
    right = evaluation(task, "t2t")
    assert WorldExact()(right)["shortest"].value == 1
    copied = WorldExact()(replace(right, texts=[example.source for example in right.examples]))
    assert copied["correct"].value == 1
    assert copied["shortest"].value < 1


def test_other_tasks_are_refused(task):
    class Other:
        name, version, families = "other", 1, ("ucg",)
        fingerprint = check = load = metrics = lambda self: None

    plain = evaluation(task, "ucg", ["a text"])
    found = WorldExact()(replace(plain, task=Other()))
    assert set(found) == set(WorldExact.values)
    assert all(item.reason == "these metrics need the task world, not other" for item in found.values())


def test_no_items_is_a_refusal(task):
    plain = evaluation(task, "ucg", ["a text"])
    found = WorldExact()(replace(plain, texts=[], examples=[], generations=[]))
    assert all(item.value is None for item in found.values())


def test_an_example_without_condition_is_named():
    task = World("tiny", train=1, valid=1, test=1, judge=1)
    wrong = replace(evaluation(task, "a2t"), examples=[Example(id="x", target="a")])
    with pytest.raises(Exception, match="example x has neither attributes nor a source of world tiny"):
        WorldExact()(wrong)


@pytest.mark.parametrize(("shift", "flagged"), [(-2.0, True), (0.0, False), (-1e-5, False)])
def test_a_likelihood_that_is_wrong_by_the_same_everywhere_is_flagged(shift, flagged):
    # a translation is certain, so that its exact likelihood is 0 nats and the gap the model's own value
    task = World("tiny", train=1, valid=1, test=40, judge=1)
    ones, nats = (1,) * 40, (shift,) * 40
    own = Likelihood(nats=nats, tokens=ones, bytes=ones, kind="bound", estimator="test")
    found = WorldExact()(evaluation(task, "t2t", likelihood=own))["likelihood_gap"]
    assert any("the likelihood is wrong" in flag for flag in found.flags) == flagged


def test_repetitions_do_not_narrow_the_likelihood_gap():
    task = World("tiny", train=1, valid=1, test=40, judge=1)
    plain = evaluation(task, "a2t", likelihood=own_likelihood(task, "a2t", 2.0))
    again = [replace(example, id=f"{example.id}#{time}") for time in range(1, 4) for example in plain.examples]
    own = plain.likelihood
    four = replace(
        plain,
        examples=[*plain.examples, *again],
        texts=plain.texts * 4,
        generations=plain.generations * 4,
        likelihood=replace(own, nats=own.nats * 4, tokens=own.tokens * 4, bytes=own.bytes * 4),
    )
    once, found = (WorldExact()(item)["likelihood_gap"] for item in (plain, four))
    assert found.high - found.low == pytest.approx(once.high - once.low, rel=0.15)
