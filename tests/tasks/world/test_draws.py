from collections import Counter

import numpy as np

from tasks.world.draws import draw

Z = 5.0


def test_frequencies_follow_the_exact_law(tiny, tiny_law):
    """About 300 z-scores below 5; a right sampler fails with probability below 300 * 6e-7 = 2e-4, and the seed is fixed."""
    n = 40_000
    counts = Counter(draw(tiny.automaton, n, np.random.default_rng(3)))
    assert set(counts) <= set(tiny_law)
    tested = [(text, p) for text, p in tiny_law.items() if n * p >= 10]
    assert len(tested) >= 200
    scores = [(counts[text] - n * p) / np.sqrt(n * p * (1 - p)) for text, p in tested]
    assert np.abs(scores).max() < Z


def test_log_probabilities_average_to_the_entropy(small):
    """One z-score below 5; a right sampler fails with probability 6e-7, and the seed is fixed."""
    values = [small.automaton.log_probability(text.split()) for text in draw(small.automaton, 4_000, np.random.default_rng(4))]
    assert abs(-np.mean(values) - small.automaton.entropy()) < Z * np.std(values) / np.sqrt(len(values))


def test_lengths_follow_the_exact_law(small):
    """About 20 z-scores below 5; a right sampler fails with probability below 2e-5, and the seed is fixed."""
    n = 20_000
    lengths = [len(text.split()) for text in draw(small.automaton, n, np.random.default_rng(5))]
    law = small.automaton.length_law()
    counts = np.bincount(lengths, minlength=len(law))
    tested = law * n >= 10
    assert np.all(counts[law == 0] == 0)
    scores = (counts - n * law)[tested] / np.sqrt(n * law * (1 - law))[tested]
    assert np.abs(scores).max() < Z


def test_draws_depend_on_the_generator_alone(tiny):
    assert draw(tiny.automaton, 50, np.random.default_rng(1)) == draw(tiny.automaton, 50, np.random.default_rng(1))
    assert draw(tiny.automaton, 50, np.random.default_rng(1)) != draw(tiny.automaton, 50, np.random.default_rng(2))
