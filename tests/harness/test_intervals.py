import numpy as np
import pytest
from scipy import stats

from harness.intervals import (
    bootstrap,
    bootstrap_totals,
    clustered_bootstrap,
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


def test_equal_items_give_a_point_and_one_item_gives_nothing():
    point = bootstrap(np.full((20, 2), 3.0), ratio_of_sums, resamples=100, rng=np.random.default_rng(0))
    assert (point.low, point.high) == (1.0, 1.0)
    assert bootstrap(np.ones((1, 2)), ratio_of_sums, resamples=100, rng=np.random.default_rng(0)) is None


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


def test_student_and_percentile():
    interval = student([1.0, 2.0, 3.0])
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half))
    assert student([1.0]) is None
    assert percentile(np.arange(1001.0)).low == pytest.approx(25.0)
