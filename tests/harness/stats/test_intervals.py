import tracemalloc

import numpy as np
import pytest
from scipy import stats

from harness.stats.intervals import (
    block_medians,
    bootstrap,
    bootstrap_totals,
    clustered_bootstrap,
    clustered_wilson,
    percentile,
    ratio_of_sums,
    resample_counts,
    student,
    wilson,
)


def test_wilson_is_the_known_interval():
    # scipy's own score interval is the reference
    for hits, n in [(0, 10), (3, 10), (10, 10), (137, 1000)]:
        expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
        found = wilson(hits, n)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(hits, n):
    with pytest.raises(ValueError, match="expected n >= 1"):
        wilson(hits, n)


def test_resamples_have_n_items_and_the_right_mean():
    counts = np.concatenate(list(resample_counts(50, resamples=4000, rng=np.random.default_rng(0))))
    assert counts.shape == (4000, 50)
    assert (counts.sum(1) == 50).all()
    # each cell is binomial(50, 1/50): mean 1, so a column mean has sd 0.016; 50 columns, 4.5 sd
    assert np.abs(counts.mean(0) - 1).max() < 4.5 * 0.99 / np.sqrt(4000)


def test_chunks_do_not_change_the_number_of_resamples():
    totals = bootstrap_totals(np.ones((2000, 1)), resamples=5000, rng=np.random.default_rng(0))
    assert totals.shape == (5000, 1)
    assert (totals == 2000).all()


def test_bootstrap_agrees_with_scipy_bca():
    values = np.random.default_rng(1).exponential(size=80)
    rows = np.stack([values, np.ones(80)], axis=1)
    ours = bootstrap(rows, ratio_of_sums, resamples=20_000, rng=np.random.default_rng(2))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_bootstrap_covers_the_mean_of_a_skewed_law():
    # 400 repetitions at true coverage 0.93: 4.5 sd below is 0.87; false alarm about 3e-6
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(400):
        rows = np.stack([rng.exponential(size=200), np.ones(200)], axis=1)
        interval = bootstrap(rows, ratio_of_sums, resamples=500, rng=rng)
        hits += interval.low <= 1 <= interval.high
    assert 0.88 <= hits / 400 <= 0.99


@pytest.mark.parametrize(
    "rows",
    [
        np.ones((1, 2)),
        np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [4.0, 1.0]]),
        np.full((20, 2), 3.3),
        np.concatenate([[[3.0, 5.0]], np.zeros((99, 2))]),
    ],
    ids=["one item", "four items", "all alike", "one of a hundred counts"],
)
def test_no_interval_where_fewer_than_five_items_move_the_value(rows):
    assert bootstrap(rows, ratio_of_sums, resamples=100, rng=np.random.default_rng(0)) is None


def test_five_items_that_differ_have_an_interval():
    rows = np.stack([np.array([1.0, 2.0, 3.5, 4.0, 6.0]), np.ones(5)], axis=1)
    assert bootstrap(rows, ratio_of_sums, resamples=100, rng=np.random.default_rng(0)) is not None


def test_clusters_widen_the_interval():
    rng = np.random.default_rng(5)
    values = np.repeat(rng.normal(size=60), 10)
    rows = np.stack([values + 5, np.ones(600)], axis=1)
    labels = np.repeat(np.arange(60), 10).tolist()
    naive = bootstrap(rows, ratio_of_sums, resamples=2000, rng=rng)
    honest = clustered_bootstrap(rows, labels, ratio_of_sums, resamples=2000, rng=rng)
    # ten copies of every value: the truth is wider by the square root of ten
    assert (honest.high - honest.low) / (naive.high - naive.low) == pytest.approx(np.sqrt(10), rel=0.15)


def test_clusters_need_a_label_for_every_item():
    with pytest.raises(ValueError, match="expected one each"):
        clustered_bootstrap(np.ones((3, 2)), ["a"], ratio_of_sums, resamples=10, rng=np.random.default_rng(0))


def test_clusters_of_one_change_nothing():
    rows = np.stack([np.random.default_rng(6).exponential(size=40), np.ones(40)], axis=1)
    labels = [f"item-{index}" for index in reversed(range(40))]
    plain = bootstrap(rows, ratio_of_sums, resamples=300, rng=np.random.default_rng(1))
    assert clustered_bootstrap(rows, labels, ratio_of_sums, resamples=300, rng=np.random.default_rng(1)) == plain
    for hits in (0, 1, 17, 40):
        shares = np.stack([np.arange(40) < hits, np.ones(40)], axis=1)
        assert clustered_wilson(shares, labels) == wilson(hits, 40)


def test_a_share_of_clustered_trials_is_as_sure_as_its_clusters():
    labels = np.repeat(np.arange(30), 10).tolist()
    same = np.stack([np.repeat(np.arange(30) < 12, 10), np.ones(300)], axis=1)
    assert clustered_wilson(same, labels) == wilson(12, 30)
    never = np.stack([np.zeros(300), np.ones(300)], axis=1)
    assert clustered_wilson(never, labels) == wilson(0, 30)
    mixed = np.stack([np.random.default_rng(0).random(300) < 0.4, np.ones(300)], axis=1)
    width, narrowest, widest = (
        interval.high - interval.low for interval in (clustered_wilson(mixed, labels), wilson(120, 300), wilson(12, 30))
    )
    assert 0.95 * narrowest < width < 0.6 * widest


def test_clustered_shares_cover():
    # 64 targets of 4 answers, each target with a rate of its own; 400 repetitions at 0.95: 4.5 sd below is 0.90
    rng, hits = np.random.default_rng(7), 0
    labels = np.repeat(np.arange(64), 4).tolist()
    for _ in range(400):
        rows = np.stack([rng.random(256) < np.repeat(rng.beta(0.2, 0.8, size=64), 4), np.ones(256)], axis=1)
        interval = clustered_wilson(rows, labels)
        hits += interval.low <= 0.2 <= interval.high
    assert 0.90 <= hits / 400 <= 0.99


def test_block_medians_resample_blocks_and_requests_within_them():
    rng = np.random.default_rng(8)
    blocks = np.array([[1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0], [21.0, 22.0, 23.0, 24.0]])
    first = block_medians(blocks, np.zeros((5000, 3), dtype=np.int64), quantile=0.5, rng=rng)
    assert set(np.unique(first)) <= {1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0}
    # 12 draws of four equally likely values: the median's mean is 2.5, its sd 0.45; 4.5 sd of a mean of 5,000
    assert first.mean() == pytest.approx(2.5, abs=4.5 * 0.5 / np.sqrt(5000))
    mixed = block_medians(blocks, np.array([[0, 1, 2]] * 5), quantile=0.99, rng=rng)
    assert ((mixed > 20) & (mixed <= 24)).all()


@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.9, 0.99])
def test_block_medians_are_numpy_s_quantiles(quantile):
    # one request a block: nothing is drawn within it, so the resample is the pick itself
    values = np.random.default_rng(9).gamma(2.0, size=37)
    picks = np.random.default_rng(10).integers(37, size=(50, 37))
    found = block_medians(values[:, None], picks, quantile=quantile, rng=np.random.default_rng(0))
    assert found == pytest.approx(np.quantile(values[picks], quantile, axis=1), abs=1e-12)


def test_a_hundred_thousand_readings_need_little_memory():
    blocks = np.random.default_rng(11).gamma(2.0, size=(12_500, 8))
    picks = np.random.default_rng(12).integers(12_500, size=(100, 12_500), dtype=np.int32)
    tracemalloc.start()
    block_medians(blocks, picks, quantile=0.5, rng=np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_student_and_percentile():
    interval = student([1.0, 2.0, 3.0])
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half))
    assert student([1.0]) is None
    assert student([0.3, 0.3, 0.3]) is None
    assert percentile(np.arange(1001.0)).low == pytest.approx(25.0)
