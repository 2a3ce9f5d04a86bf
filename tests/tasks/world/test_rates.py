import numpy as np
import pytest

from tasks.world.rates import LengthBins


@pytest.fixture
def bins(small):
    return LengthBins.of(small.automaton.length_law())


def test_bins_hold_about_equal_shares(bins):
    assert sum(bins.weights) == pytest.approx(1)
    assert len(bins.weights) == 8
    assert max(bins.weights) < 0.25


def test_texts_of_the_language_score_one(small, small_texts, bins):
    value, interval, empty = bins.standardised([len(text.split()) for text in small_texts], [True] * len(small_texts))
    assert value == pytest.approx(1)
    assert (interval.high, empty) == (1.0, 0)
    assert interval.low > 0.98


def test_short_texts_do_not_buy_a_rate(bins):
    value, interval, empty = bins.standardised([12] * 500, [True] * 500)
    assert value == pytest.approx(bins.weights[0])
    assert empty == 7
    assert interval.high == 1.0


def test_lengths_outside_the_law_count_in_the_outer_bins(bins):
    lengths = [12, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28] * 40
    value, _, _ = bins.standardised(lengths, [True] * len(lengths))
    diluted, _, _ = bins.standardised([*lengths, *[60] * 520], [True] * len(lengths) + [False] * 520)
    assert diluted < value


def test_intervals_cover(bins):
    """1,000 repetitions; coverage of a right interval lies above 0.92 with probability beyond 1 - 1e-4."""
    rng = np.random.default_rng(1)
    rates = np.linspace(0.9, 0.1, len(bins.weights))
    truth = float(np.array(bins.weights) @ rates)
    starts = np.array([0, *bins.edges])
    hits = 0
    for _ in range(1000):
        place = rng.choice(len(rates), p=bins.weights, size=200)
        _, interval, _ = bins.standardised(starts[place].tolist(), (rng.random(200) < rates[place]).tolist())
        hits += interval.low <= truth <= interval.high
    assert hits >= 920
