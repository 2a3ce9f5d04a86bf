"""Distortions against what is claimed of them, by enumeration of a short canvas and by draws."""

import math

import numpy as np
import pytest

from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView, TextModel
from harness.tokenizer import Tokenizer
from tasks.world.distorted import Distorted
from tasks.world.distortions import DISTORTIONS, Truth, avoiding, distortion, tempered
from tasks.world.draws import draw, draw_each
from tasks.world.language import compiled, language


@pytest.fixture(scope="module")
def short():
    return compiled(language("tiny").first, 8)


@pytest.fixture(scope="module")
def every_text(short):
    found, stack = [], [[]]
    while stack:
        prefix = stack.pop()
        shares = short.next_probabilities(prefix)
        found += [" ".join(prefix)] if shares[-1] else []
        stack += [[*prefix, short.words[index]] for index in np.flatnonzero(shares[:-1])]
    return found


def generators(count, seed=0):
    return [np.random.default_rng((seed, number)) for number in range(count)]


def probability(automaton, text):
    return math.exp(automaton.log_probability(text.split()))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_tempered_language_is_a_law_over_the_same_texts(short, every_text, temperature):
    changed = tempered(short, temperature)
    shares = [probability(changed, text) for text in every_text]
    assert sum(shares) == pytest.approx(1)
    own = [probability(short, text) for text in every_text]
    assert (np.std(shares) < np.std(own)) == (temperature > 1)
    if temperature == 1:
        assert shares == pytest.approx(own)


@pytest.mark.parametrize("name", ["flattened", "sharpened"])
def test_the_total_variation_of_a_temperature_is_the_enumerated_one(short, every_text, name):
    made = distortion(short, name, 0.5)
    exact = 0.5 * sum(abs(probability(short, text) - math.exp(made.log_probability(text))) for text in every_text)
    assert made.truth.total_variation == pytest.approx(exact, abs=0.02)
    assert (made.truth.error_rate, made.truth.coverage) == (0, 1)


def test_dropped_words_take_the_mass_that_is_said(short, every_text):
    made = distortion(short, "dropped", 0.3)
    left = [text for text in every_text if not made.banned & set(text.split())]
    exact = sum(probability(short, text) for text in left)
    assert avoiding(short, made.banned) == pytest.approx(exact)
    assert made.truth == Truth(pytest.approx(1 - exact), coverage=pytest.approx(exact))
    assert 0.1 < 1 - exact < 0.5
    assert set(made.texts(generators(300))) <= set(left)


@pytest.mark.parametrize("name", ["shuffled", "agreement", "bigrams"])
def test_errors_come_at_the_rate_that_is_said(name):
    automaton = language("tiny").automaton
    made = distortion(automaton, name, 0.4)
    wrong = sum(not automaton.contains(text) for text in made.texts(generators(3000, 7)))
    error = made.truth.error_rate
    assert abs(wrong / 3000 - error) < 4 * math.sqrt(error * (1 - error) / 3000 + 0.4**2 * 0.25 / 5000)
    assert error > 0.1
    assert made.truth.total_variation == error


def test_a_broken_agreement_changes_one_word():
    made = distortion(language("tiny").automaton, "agreement", 1.0)
    assert made.twins["is"] == "are"
    assert all(made.twins[made.twins[word]] == word for word in made.twins)
    for before, after in zip(made.own(generators(50)), made.others(generators(50)), strict=True):
        changed = [pair for pair in zip(before.split(), after.split(), strict=True) if pair[0] != pair[1]]
        assert [made.twins[word] for word, _ in changed] == [word for _, word in changed]
        assert len(changed) == 1


def test_pairs_of_neighbours_keep_their_frequency():
    automaton = language("tiny").automaton
    made = distortion(automaton, "bigrams", 1.0)
    firsts = [text.split()[0] for text in made.texts(generators(4000))]
    share = automaton.next_probabilities([])
    for index in np.argsort(-share[:-1])[:3]:
        assert firsts.count(automaton.words[index]) / 4000 == pytest.approx(share[index], abs=0.04)


def test_copies_come_at_their_level():
    automaton = language("tiny").automaton
    train = draw(automaton, 5, np.random.default_rng(4))
    made = distortion(automaton, "memorised", 0.5, train)
    mass = sum(probability(automaton, text) for text in set(train))
    copies = sum(text in train for text in made.texts(generators(2000))) / 2000
    assert copies == pytest.approx(0.5 + 0.5 * mass, abs=0.05)
    assert made.truth == Truth(pytest.approx(0.5 * (1 - mass)), memorised=0.5)
    with pytest.raises(ValueError, match="training texts to copy"):
        distortion(automaton, "memorised", 1.0).texts(generators(1))


@pytest.mark.parametrize("name", DISTORTIONS)
def test_level_0_is_the_language_itself(name):
    automaton = language("tiny").automaton
    made = distortion(automaton, name, 0.0, ["a"])
    lengths = [len(text.split()) for text in made.texts(generators(1500, 5)) if automaton.contains(text)]
    assert len(lengths) == 1500
    law = automaton.length_law()
    mean, spread = law @ np.arange(len(law)), law @ np.arange(len(law)) ** 2
    assert np.mean(lengths) == pytest.approx(mean, abs=4 * math.sqrt((spread - mean**2) / 1500))
    assert made.truth.total_variation == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"distortion": "blurred"}, "'blurred' is none of flattened"),
        ({"distortion": "shuffled", "level": 1.5}, "level 1.5 of shuffled: expected a number from 0 to 1"),
        ({"level": "much"}, "level 'much' of flattened"),
        ({"lvel": 1}, "has no key 'lvel'"),
    ],
)
def test_what_is_no_distortion_is_refused(keys, said):
    with pytest.raises(ValueError, match=said):
        Distorted.design_for(**keys)


def test_the_model_writes_its_law_and_survives_saving(tmp_path):
    automaton = language("tiny").automaton
    train = [Example(id=str(index), target=text) for index, text in enumerate(draw(automaton, 50, np.random.default_rng(0)))]
    view = TaskView(name="world", family="ucg", tokenizer=Tokenizer.train("words", automaton.words), max_tokens=automaton.canvas)
    asked = [Request(id=str(index), seed=index, max_tokens=automaton.canvas) for index in range(20)]
    model = Distorted(None, view, size="tiny", distortion="memorised", level=1.0)
    assert isinstance(model, TextModel)
    model.fit(train, [], Budget(tokens=1), FitContext(seed=0))
    found = model.generate(asked, Sampling())
    assert {answer.texts[0] for answer in found} <= {example.target for example in train}
    assert model.likelihood(train) is None
    model.save(tmp_path)
    assert Distorted.load(tmp_path, "cpu").generate(asked, Sampling()) == found
    assert Distorted.design_for(size="tiny", distortion="sharpened", level=0.2).likelihood == "exact"
    flat = Distorted(None, view, size="tiny", distortion="flattened", level=0.0)
    nats = flat.likelihood(train[:5]).nats
    assert nats == pytest.approx([-automaton.log_probability(example.target.split()) for example in train[:5]])


def test_each_generator_gives_its_own_text():
    automaton = language("tiny").automaton
    single = [draw(automaton, 1, rng)[0] for rng in generators(20)]
    assert draw_each(automaton, generators(20)) == single
    assert draw_each(automaton, []) == []


def test_truth_is_told_by_keys():
    assert Distorted.truth(size="tiny", distortion="shuffled", level=0.0) == {
        "total_variation": 0.0, "error_rate": 0.0, "coverage": 1.0, "memorised": 0.0,
    }  # fmt: skip
    assert Distorted.truth(size="tiny", distortion="memorised", level=0.5)["memorised"] == 0.5
