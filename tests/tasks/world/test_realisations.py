import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from tasks.world.meaning import ordered
from tasks.world.realisations import Realisations


@pytest.fixture(scope="module")
def by_meaning(tiny, tiny_law):
    groups = defaultdict(dict)
    for text, probability in tiny_law.items():
        groups[ordered(tiny.automaton.meaning(text))][text] = probability
    return groups


def test_probability_number_and_shortest_equal_the_enumeration(tiny, by_meaning):
    assert len(by_meaning) > 100
    for meaning, texts in list(by_meaning.items())[::5]:
        found = Realisations(tiny.automaton, dict(meaning))
        assert found.log_probability == pytest.approx(math.log(sum(texts.values())))
        assert found.count == len(texts)
        assert found.fewest_words == min(len(text.split()) for text in texts)
        assert found.counts[8] == sum(len(text.split()) <= 8 for text in texts)


def test_draws_follow_the_law_given_the_meaning(tiny, by_meaning):
    """About 30 z-scores below 5; a right sampler fails with probability below 2e-5, and the seed is fixed."""
    meaning, texts = max(by_meaning.items(), key=lambda item: sum(item[1].values()) * (20 < len(item[1]) < 60))
    rng, n, total = np.random.default_rng(2), 3000, sum(texts.values())
    counts = Counter(Realisations(tiny.automaton, dict(meaning)).draw(rng) for _ in range(n))
    assert set(counts) <= set(texts)
    for text, probability in texts.items():
        share = probability / total
        assert abs(counts[text] - n * share) < 5 * math.sqrt(n * share * (1 - share)) + 1


def test_draws_of_small_say_the_meaning(small, small_texts):
    rng = np.random.default_rng(0)
    for text in small_texts[:12]:
        meaning = small.automaton.meaning(text)
        found = Realisations(small.automaton, meaning)
        drawn, shortest = found.draw(rng), found.draw_shortest(rng)
        assert small.automaton.meaning(drawn) == small.automaton.meaning(shortest) == meaning
        assert len(shortest.split()) == found.fewest_words <= len(drawn.split())
        assert small.automaton.log_probability(text.split()) < found.log_probability


def test_what_cannot_be_said_is_refused(tiny):
    found = Realisations(tiny.automaton, {"name": "nowhere", "food": "thai"})
    assert (found.count, found.fewest_words, found.log_probability) == (0, None, -math.inf)
    with pytest.raises(ValueError, match="no text of at most 15 words says"):
        found.draw(np.random.default_rng(0))
    with pytest.raises(ValueError, match="no text of at most 15 words says"):
        found.draw_shortest(np.random.default_rng(0))
