import numpy as np
import pytest
from scipy import stats

from harness.metrics.bleu import corpus_bleu
from harness.stats.intervals import ratio_of_sums, student
from harness.stats.seeds import effects, error_of, pooled

RNG = np.random.default_rng(0)


def means(values):
    values = np.asarray(values, dtype=float)
    return np.stack([values, np.ones_like(values)], axis=-1)


def test_pseudo_values_of_a_mean_are_the_items():
    table = RNG.normal(size=(3, 20))
    found = effects(means(table), ratio_of_sums)
    np.testing.assert_allclose(found.values, table.mean(1))
    np.testing.assert_allclose(found.items, table.mean(0))
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    assert found.residual == pytest.approx((residual**2).sum() / (2 * 19))


def test_seeds_alone_give_students_interval():
    table = np.array([[0.1], [0.4], [0.2]]) + np.zeros(30)
    found = pooled(means(table), ratio_of_sums, crossed=True, resamples=10, rng=np.random.default_rng(0))
    expected = student([0.1, 0.4, 0.2])
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert found.basis == "seeds and items"


def test_items_alone_give_the_one_sample_interval():
    item = RNG.normal(size=50)
    found = pooled(means(np.stack([item] * 3)), ratio_of_sums, crossed=True, resamples=10, rng=np.random.default_rng(0))
    half = stats.t.ppf(0.975, 49) * item.std(ddof=1) / np.sqrt(50)
    assert found.interval.high - found.value == pytest.approx(half)


def test_samples_of_their_own_under_each_seed_are_in_what_seeds_show():
    table = RNG.normal(size=(4, 100))
    error = error_of(effects(means(table), ratio_of_sums), crossed=False)
    assert error.degrees == pytest.approx(3)
    assert error.standard == pytest.approx(table.mean(1).std(ddof=1) / 2)


def test_variances_add_and_degrees_lie_between():
    table = RNG.normal(size=(3, 1)) * 0.1 + RNG.normal(size=80) + 0.2 * RNG.normal(size=(3, 80))
    found = effects(means(table), ratio_of_sums)
    error = error_of(found, crossed=True)
    parts = found.between.variance + found.items.var(ddof=1) / 80 + found.shared.variance
    assert error.standard**2 == pytest.approx(parts)
    assert 2 < error.degrees < 160


def test_one_seed_speaks_of_items_only():
    item = RNG.normal(size=(1, 60))
    found = pooled(means(item), ratio_of_sums, crossed=True, resamples=2000, rng=np.random.default_rng(0))
    assert found.basis == "items"
    assert found.seeds == 1
    assert found.interval.low < found.value < found.interval.high


def test_nothing_that_varies_has_no_interval():
    found = pooled(means(np.ones((3, 40))), ratio_of_sums, crossed=True, resamples=10, rng=np.random.default_rng(0))
    assert found.value == 1
    assert found.interval is None


def test_clusters_widen_the_interval():
    item = RNG.normal(size=(3, 1)) * 0.01 + np.repeat(RNG.normal(size=25), 4)
    clusters = [str(index // 4) for index in range(100)]
    plain, gathered = (
        pooled(means(item), ratio_of_sums, crossed=True, clusters=labels, resamples=10, rng=np.random.default_rng(0))
        for labels in (None, clusters)
    )
    assert gathered.value == pytest.approx(plain.value)
    assert gathered.interval.high - gathered.value > 1.8 * (plain.interval.high - plain.value)


def test_a_corpus_value_is_that_of_its_seeds():
    counts = RNG.integers(5, 20, size=(3, 60, 10)).astype(float)
    found = pooled(counts, corpus_bleu, crossed=True, resamples=10, rng=np.random.default_rng(0))
    assert found.value == pytest.approx(corpus_bleu(counts.sum(1)).mean())
    assert found.interval is not None
