"""The exact denoiser and the oracles against enumeration and against the language's own draws."""

import math

import numpy as np
import pytest

from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView, TextModel
from harness.errors import ModelError
from harness.registry import resolve
from harness.schedules.names import build
from harness.tokenizer import Tokenizer
from tasks.world.automaton import Automaton
from tasks.world.draws import draw
from tasks.world.language import compiled, language
from tasks.world.marginals import MASK, TOGETHER, Marginals
from tasks.world.oracles import OracleAR, OracleDenoiser


@pytest.fixture(scope="module")
def tiny() -> Automaton:
    return language("tiny").automaton


def canvas_of(marginals, text):
    row = np.full(marginals.automaton.canvas, marginals.padding)
    words = [marginals.automaton.word_index[word] for word in text.split()]
    row[: len(words)] = words
    row[len(words)] = marginals.end
    return row


def test_a_known_canvas_has_the_probability_of_its_text(tiny):
    marginals, texts = Marginals(tiny), draw(tiny, 50, np.random.default_rng(0))
    shares, log_weight = marginals(np.stack([canvas_of(marginals, text) for text in texts]))
    np.testing.assert_allclose(log_weight, [tiny.log_probability(text.split()) for text in texts], rtol=1e-10)
    np.testing.assert_allclose(shares.sum(-1), 1)


def test_marginals_of_the_empty_canvas_are_the_laws_of_the_language(tiny):
    marginals = Marginals(tiny)
    (shares,), (log_weight,) = marginals(np.full((1, tiny.canvas), MASK))
    assert log_weight == pytest.approx(0)
    np.testing.assert_allclose(shares[:, marginals.end], tiny.length_law(), atol=1e-12)
    np.testing.assert_allclose(shares[0, : marginals.end], tiny.next_probabilities([])[:-1], atol=1e-12)


def test_marginals_after_a_prefix_are_the_next_probabilities(tiny):
    marginals, text = Marginals(tiny), draw(tiny, 1, np.random.default_rng(4))[0].split()
    for known in range(len(text)):
        row = np.full((1, tiny.canvas), MASK)
        row[0, :known] = [tiny.word_index[word] for word in text[:known]]
        (shares,), (log_weight,) = marginals(row)
        expected = tiny.next_probabilities(text[:known])
        np.testing.assert_allclose(shares[known, : marginals.end + 1], expected, atol=1e-12)
        assert log_weight == pytest.approx(tiny.prefix_log_probability(text[:known]))


def test_what_no_text_has_is_said(tiny):
    marginals = Marginals(tiny)
    row = np.full((1, tiny.canvas), MASK)
    row[0, 0], row[0, 1] = marginals.padding, 0
    shares, log_weight = marginals(row)
    assert log_weight[0] == -np.inf
    assert not shares.any()
    with pytest.raises(ValueError, match="expected"):
        marginals(np.full((1, tiny.canvas + 1), MASK))


@pytest.fixture(scope="module")
def short() -> Automaton:
    return compiled(language("tiny").first, 8)


@pytest.fixture(scope="module")
def every_text(short):
    """All texts of a short canvas with their probabilities."""
    found, stack = {}, [[]]
    while stack:
        prefix = stack.pop()
        law = short.next_probabilities(prefix)
        if law[-1] > 0:
            found[" ".join(prefix)] = math.exp(short.log_probability(prefix))
        stack += [[*prefix, short.words[number]] for number in np.flatnonzero(law[:-1])]
    return found


def test_probabilities_of_a_small_language_add_up_to_one(every_text):
    assert len(every_text) == 100
    assert sum(every_text.values()) == pytest.approx(1, abs=1e-12)


def test_marginals_are_those_of_enumeration_whatever_is_masked(short, every_text):
    marginals, rng = Marginals(short), np.random.default_rng(7)
    rows = np.stack([canvas_of(marginals, text) for text in every_text])
    weights = np.array(list(every_text.values()))
    for _ in range(40):
        known = np.where(rng.random(short.canvas) < 0.6, MASK, rows[rng.integers(len(rows))])
        agree = weights * ((rows == known) | (known == MASK)).all(1)
        (shares,), (log_weight,) = marginals(known[None])
        assert log_weight == pytest.approx(math.log(agree.sum()), abs=1e-10)
        for position in range(short.canvas):
            expected = np.bincount(rows[:, position], weights=agree, minlength=marginals.padding + 1) / agree.sum()
            np.testing.assert_allclose(shares[position], expected, atol=1e-12)


def test_many_canvases_have_the_marginals_of_each_by_itself_and_only_what_is_wanted_is_filled(short, every_text):
    marginals, rng = Marginals(short), np.random.default_rng(8)
    rows = np.stack([canvas_of(marginals, text) for text in every_text])
    rows = np.where(rng.random(rows.shape) < 0.5, MASK, rows)
    rows[-1, :2] = marginals.padding, 0
    assert len(rows) > TOGETHER
    shares, log_weights = marginals(rows)
    for row, share, weight in zip(rows, shares, log_weights, strict=True):
        (alone,), (expected,) = marginals(row[None])
        np.testing.assert_allclose(share, alone, atol=1e-14)
        assert weight == pytest.approx(expected, abs=1e-12)
    wanted = rng.random(rows.shape) < 0.3
    found, again = marginals(rows, wanted)
    np.testing.assert_array_equal(found[wanted], shares[wanted])
    np.testing.assert_array_equal(again, log_weights)
    assert not found[(rows == MASK) & ~wanted][:, : marginals.end].any()


def view(automaton):
    texts = [" ".join(automaton.words)]
    return TaskView(name="world", family="ucg", tokenizer=Tokenizer.train("words", texts), max_tokens=automaton.canvas)


def denoiser(automaton, size="tiny", **keys):
    return OracleDenoiser(build("linear-alpha-bar"), view(automaton), size=size, **keys)


def written(model, steps, count=300):
    asked = [Request(id=str(index), seed=index, max_tokens=99) for index in range(count)]
    return [answer.texts[0] for answer in model.generate(asked, Sampling(steps=steps))]


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_one_token_at_a_time_in_any_order_gives_the_exact_likelihood(size):
    automaton = language(size).automaton
    texts = draw(automaton, 8, np.random.default_rng(6))
    examples = [Example(id=str(index), target=text) for index, text in enumerate(texts)]
    exact = [-automaton.log_probability(text.split()) for text in texts]
    for model in (denoiser(automaton, size), OracleAR(None, view(automaton), size=size)):
        found = model.likelihood(examples)
        assert found.kind == "exact"
        np.testing.assert_allclose(found.nats, exact, rtol=1e-9)
    assert denoiser(automaton, size).nats(["no such text"]) == [math.inf]


def test_revealing_one_token_a_step_writes_the_language_and_nothing_else(tiny):
    texts = written(denoiser(tiny, unmasking="exact-count"), tiny.canvas)
    assert all(tiny.contains(text) for text in texts)
    lengths = np.array([len(text.split()) for text in texts])
    law = tiny.length_law()
    mean = float(law @ np.arange(len(law)))
    spread = math.sqrt(float(law @ np.arange(len(law)) ** 2) - mean**2)
    assert abs(lengths.mean() - mean) < 4.5 * spread / math.sqrt(len(texts))


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_at_small_too_every_text_parses_that_is_revealed_one_token_a_step(small, count):
    automaton = small.automaton
    texts = written(denoiser(automaton, "small", unmasking="exact-count"), automaton.canvas, count)
    assert [text for text in texts if not automaton.contains(text)] == []
    assert len(set(texts)) > 0.99 * count


def test_a_last_step_by_mode_takes_the_likeliest_token_of_every_position(tiny):
    (law,), _ = Marginals(tiny)(np.full((1, tiny.canvas), MASK))
    words = [(*tiny.words, None, None)[token] for token in law.argmax(1)]
    likeliest = " ".join(words[: words.index(None)])
    assert set(written(denoiser(tiny, last_step="argmax"), 1, 20)) == {likeliest}
    one_a_step = denoiser(tiny, unmasking="exact-count", last_step="argmax")
    assert all(tiny.contains(text) for text in written(one_a_step, tiny.canvas))


def test_one_training_serves_every_way_of_sampling(tiny, tmp_path):
    denoiser(tiny).save(tmp_path)
    keys = {"unmasking": "exact-count", "last_step": "argmax"}
    assert written(OracleDenoiser.load(tmp_path, "cpu", **keys), 4, 10) == written(denoiser(tiny, **keys), 4, 10)
    assert set(keys) == set(OracleDenoiser.sampling_keys)


def test_more_steps_leave_fewer_errors_and_the_rule_of_unmasking_matters(tiny):
    def share(steps, **keys):
        return sum(tiny.contains(text) for text in written(denoiser(tiny, **keys), steps)) / 300

    few, many, exact = share(2), share(32), share(8, unmasking="exact-count")
    assert few < many
    assert share(1) < 0.2
    assert exact > share(8) - 0.05


def test_oracle_ar_draws_from_the_language(tiny):
    texts = written(OracleAR(None, view(tiny), size="tiny"), None)
    assert all(tiny.contains(text) for text in texts)
    assert len(set(texts)) > 250


@pytest.mark.parametrize("kind", [OracleAR, OracleDenoiser])
def test_an_oracle_keeps_the_contract(kind, tiny, tmp_path):
    schedule = build("linear-alpha-bar") if kind.design.schedule else None
    model = kind(schedule, view(tiny), size="tiny")
    assert isinstance(model, TextModel)
    assert resolve("models", kind.design.name).load() is kind
    model.save(tmp_path)
    steps = 4 if schedule else None
    assert written(kind.load(tmp_path, "cpu"), steps, 10) == written(model, steps, 10)
    parts = [written(model, steps, 10)[index] for index in range(10)]
    asked = [Request(id=str(index), seed=index, max_tokens=99) for index in range(10)]
    small = model.generate(asked, Sampling(steps=steps, micro_batch=3))
    assert [answer.texts[0] for answer in small] == parts
    foreign = [Example(id="0", target="no such text")]
    with pytest.raises(ModelError, match="set `size`"):
        model.fit(foreign, [], Budget(tokens=1), FitContext(seed=0))
    with pytest.raises(ModelError, match="method: sample"):
        model.generate(asked, Sampling(steps=steps, temperature=0.5))


def test_unknown_keys_are_refused():
    with pytest.raises(ValueError, match="has no key 'sise'; it has size"):
        OracleAR.design_for(sise="tiny")
    with pytest.raises(ValueError, match="size 'huge' is none of"):
        OracleAR.design_for(size="huge")
    with pytest.raises(ValueError, match="unmasking 'all' is none of"):
        OracleDenoiser.design_for(unmasking="all")
    with pytest.raises(ValueError, match="last_step 'mean' is none of"):
        OracleDenoiser.design_for(last_step="mean")
