import numpy as np
import pytest

from tasks.world.coverage import kinds, law_distance
from tasks.world.draws import draw
from tasks.world.task import World


def values_said(task, texts):
    law = [(name, value, share) for name, values in task.language.attribute_law.items() for value, share in values.items()]
    meanings = [task.language.automaton.meaning(text) for text in texts]
    hits = np.array([[meaning.get(name, "") == value for name, value, _ in law] for meaning in meanings], dtype=float)
    return hits, np.array([share for *_, share in law])


@pytest.fixture(scope="module")
def said():
    """What 6,000 exact texts say, what those with one word say, and the exact law."""
    task = World("small", train=1, valid=1, test=1, judge=1)
    texts = draw(task.language.automaton, 6000, np.random.default_rng(1))
    hits, exact = values_said(task, texts)
    return hits, hits[["serve" in text.split() for text in texts]], exact, len(task.language.attribute_law)


def test_the_distance_of_exact_draws_is_near_0_and_its_interval_holds_0(said):
    # 20 disjoint samples of 300; plain distances would lie near 0.05, with intervals that never hold 0
    hits, _, exact, laws = said
    found = [law_distance(part, exact, laws=laws) for part in hits.reshape(20, 300, -1)]
    assert np.mean([np.abs(part.mean(0) - exact).sum() / 2 / laws for part in hits.reshape(20, 300, -1)]) > 0.04
    assert np.mean([value for value, _ in found]) < 0.01
    assert sum(interval.low <= 0 for _, interval in found) >= 19
    assert all(interval.low <= value <= interval.high < 0.1 for value, interval in found)


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("n", [100, 400])
def test_the_interval_covers_the_distance_of_another_law(said, share, n):
    # the population is a finite list, so its distance is known; at coverage 0.95, 150 repetitions: 4.5 sd below is 0.87
    hits, some, exact, laws = said
    rng = np.random.default_rng(2)
    population = np.concatenate([hits[: round(4000 * (1 - share))], some[rng.integers(len(some), size=round(4000 * share))]])
    truth, covered, values = np.abs(population.mean(0) - exact).sum() / 2 / laws, 0, []
    for _ in range(150):
        value, interval = law_distance(population[rng.integers(4000, size=n)], exact, laws=laws)
        covered += interval.low <= truth <= interval.high
        values.append(value)
    assert covered / 150 > 0.87
    plain = np.mean([np.abs(population[rng.integers(4000, size=n)].mean(0) - exact).sum() / 2 / laws for _ in range(50)])
    assert abs(np.mean(values) - truth) < plain - truth or share == 1.0


def test_texts_that_all_say_the_same_have_no_interval():
    assert law_distance(np.ones((50, 2)), np.array([0.5, 1.0]), laws=1) == (pytest.approx(0.25), None)


def test_the_variance_of_kinds_is_that_of_fresh_samples_or_larger():
    # Zipf's law over 3,000 things: most of 400 draws are alone, some often met
    rng = np.random.default_rng(3)
    shares = 1 / np.arange(1, 3001)
    draws = [rng.choice(3000, size=400, p=shares / shares.sum()) for _ in range(300)]
    numbers, variances = zip(*(kinds([{int(thing)} for thing in drawn], 400) for drawn in draws), strict=True)
    assert numbers[0] == len(set(draws[0].tolist()))
    assert 1 < np.mean(variances) / np.var(numbers, ddof=1) < 2.5


def test_texts_count_for_what_they_alone_hold_and_empty_ones_count_in_n():
    things = [{"a", "b", "c", "d"}, {"b", "e"}, {"b"}]
    assert kinds(things, 3) == (5, pytest.approx(2 * np.var([3, 1, 0])))
    assert kinds(things, 6) == (5, pytest.approx(5 * np.var([3, 1, 0, 0, 0, 0])))
    assert kinds([{index} for index in range(50)], 50) == (50, 1.0)
