import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, estimate_ci
from scipy import stats

from harness.metrics.bleu import bleu_statistics, corpus_bleu
from harness.metrics.chrf import chrf_statistics, corpus_chrf
from harness.stats.comparison import Sides, approximate_randomisation, compare, paired_bootstrap
from harness.stats.intervals import bootstrap_totals, ratio_of_sums

WORDS = ["the", "a", "small", "old", "red", "house", "garden", "dog", "cat", "walks", "sees", "finds", "near", "behind", "and"]


def corpus(n, seed, *, wrong):
    """References, and texts that differ from them in a share of words."""
    rng = np.random.default_rng(seed)
    references = [[" ".join(rng.choice(WORDS, size=rng.integers(5, 15)))] for _ in range(n)]
    texts = [
        " ".join(str(rng.choice(WORDS)) if rng.random() < wrong else word for word in reference.split())
        for (reference,) in references
    ]
    return references, texts


METRICS = {"BLEU": (BLEU(), corpus_bleu), "chrF2": (CHRF(), corpus_chrf), "chrF2++": (CHRF(word_order=2), corpus_chrf)}


def paired_test(kind, seed, samples):
    """What sacreBLEU finds for two systems of 80 texts, and the statistics of both by our own code."""
    references, one = corpus(80, seed, wrong=0.30)
    other = corpus(80, seed, wrong=0.36)[1]
    named, metrics = [("one", one), ("other", other)], {name: metric for name, (metric, _) in METRICS.items()}
    columns = [[text for (text,) in references]]
    _, found = PairedTest(named, metrics, columns, test_type=kind, n_samples=samples)()
    rows = [
        [bleu_statistics(texts, references), *chrf_statistics(texts, references, word_orders=(0, 2))] for texts in (one, other)
    ]
    pairs = list(zip(*rows, (aggregate for _, aggregate in METRICS.values()), strict=True))
    return {name: found[name] for name in METRICS}, pairs


@pytest.mark.parametrize(("kind", "function"), [("bs", paired_bootstrap), ("ar", approximate_randomisation)])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_p_values_are_those_of_sacrebleu(kind, function, seed, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    found, pairs = paired_test(kind, seed, 400)
    expected = [other.p_value for _, other in found.values()]
    assert function(pairs, resamples=400, rng=np.random.default_rng(12345)) == expected
    assert len(set(expected)) > 1


def answers(only_a, only_b, both, n=300):
    """Two systems by their shares: items that one alone has right, the other alone, and both."""
    kinds = np.repeat([0, 1, 2, 3], [only_a, only_b, both, n - only_a - only_b - both])
    return means(np.isin(kinds, [0, 2])[None].astype(float)), means(np.isin(kinds, [1, 2])[None].astype(float))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (1, 5), (0, 8), (4, 10), (30, 50)])
def test_p_values_of_shares_are_those_of_the_sign_test(only_a, only_b):
    """Swapping sides at random is that test, but for the draws: 4.5 standard errors of 20,000 of them."""
    a, b = answers(only_a, only_b, both=100)
    (p_value,) = approximate_randomisation([(a[0], b[0], ratio_of_sums)], resamples=20_000, rng=np.random.default_rng(0))
    exact = stats.binomtest(only_a, only_a + only_b).pvalue
    assert p_value == pytest.approx(exact, abs=4.5 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_equal_shares_differ_in_no_more_than_one_case_of_twenty(share):
    """At 5 %, 400 pairs of systems that fail by themselves, or on the same items but a few; at most 9 %: one in 1,000 runs."""
    rng = np.random.default_rng(0)
    alarms = np.zeros(2)
    for _ in range(400):
        common, own = rng.random(300) < share, rng.random((2, 300)) < share
        alone = rng.random((2, 300)) < 0.01
        for kind, (a, b) in enumerate((own, common ^ alone)):
            sides = means(a[None].astype(float))[0], means(b[None].astype(float))[0], ratio_of_sums
            (p_value,) = approximate_randomisation([sides], resamples=400, rng=rng)
            alarms[kind] += p_value < 0.05
    assert (alarms / 400 < 0.09).all()


def test_chunks_of_resamples_are_sacrebleu_s_draws_too(monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    monkeypatch.setattr("harness.stats.intervals._CHUNK", 80 * 7)
    found, pairs = paired_test("bs", 1, 400)
    expected = [other.p_value for _, other in found.values()]
    assert paired_bootstrap(pairs, resamples=400, rng=np.random.default_rng(12345)) == expected


def test_scores_deltas_means_and_intervals_of_resamples_are_those_of_sacrebleu(monkeypatch):
    # sacreBLEU sums in float32, which moves a mean by less than 1e-5
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    found, pairs = paired_test("bs", 1, 400)
    sides = [Sides(a[None], b[None], aggregate) for a, b, aggregate in pairs]
    for (one, other), pair, compared in zip(found.values(), pairs, compare(sides, seed=12345, resamples=400), strict=True):
        assert (compared.a, compared.b) == pytest.approx((one.score, other.score), abs=1e-9)
        assert compared.difference == pytest.approx(one.score - other.score, abs=1e-9)
        assert compared.bootstrap_p == other.p_value
        for result, rows in zip((one, other), pair[:2], strict=True):
            draws = pair[2](bootstrap_totals(rows, resamples=400, rng=np.random.default_rng(12345)))
            assert estimate_ci(draws) == pytest.approx((result.mean, result.ci), abs=1e-4)


def means(values):
    """Additive statistics of a mean."""
    values = np.asarray(values, dtype=float)
    return np.stack([values, np.ones_like(values)], axis=-1)


def test_a_clear_difference_is_found_and_its_direction_kept():
    rng = np.random.default_rng(0)
    item = rng.normal(size=400)
    a, b = (means((item + shift + 0.5 * rng.normal(size=400))[None]) for shift in (0.2, 0.0))
    (found,) = compare([Sides(a, b, ratio_of_sums)], seed=0, resamples=2000)
    assert found.difference == pytest.approx(a[0, :, 0].mean() - b[0, :, 0].mean())
    assert found.basis == "items"
    assert found.test == "approximate randomisation"
    assert found.interval.low > 0
    assert found.p_value < 0.01
    assert found.bootstrap_p < 0.01
    # the paired standard error is 0.5 * sqrt(2 / 400), and 80 % power needs 2.8 of them
    assert found.detectable == pytest.approx(2.8 * 0.5 * np.sqrt(2 / 400), rel=0.12)


def test_the_same_cell_differs_from_itself_in_nothing():
    side = means(np.random.default_rng(0).normal(size=(1, 50)))
    (found,) = compare([Sides(side, side, ratio_of_sums)], seed=0, resamples=200)
    assert found.difference == 0
    assert found.interval is None
    assert found.p_value is None
    assert found.detectable is None


def test_few_items_that_differ_give_no_verdict():
    a = np.zeros((1, 100))
    b = a.copy()
    b[0, :4] = 1
    (found,) = compare([Sides(means(a), means(b), ratio_of_sums)], seed=0, resamples=200)
    assert (found.interval, found.p_value) == (None, None)


def test_seeds_that_scatter_hide_what_items_show():
    rng = np.random.default_rng(3)
    item = rng.normal(size=300)
    a = means(item + np.array([[0.5], [0.0], [-0.4]]) + 0.1 * rng.normal(size=(3, 300)))
    b = means(item + np.array([[0.3], [-0.2], [-0.6]]) + 0.1 * rng.normal(size=(3, 300)))
    (several,) = compare([Sides(a, b, ratio_of_sums)], seed=0)
    (first,) = compare([Sides(a[:1], b[:1], ratio_of_sums)], seed=0, resamples=2000)
    assert first.p_value < 0.001
    assert several.p_value > 0.3
    assert several.basis == "seeds and items"
    assert several.test == "t over seeds"
    assert several.seeds == (3, 3)
    assert several.bootstrap_p is None
    assert several.detectable > 0.5


def test_one_seed_can_be_compared_with_several():
    rng = np.random.default_rng(4)
    item = rng.normal(size=300)
    floor = means(item[None] - 1)
    model = means(item + 0.05 * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, 300)))
    (found,) = compare([Sides(model, floor, ratio_of_sums)], seed=0)
    assert found.interval.low > 0.5
    assert found.seeds == (3, 1)


def test_values_share_their_resamples():
    rng = np.random.default_rng(5)
    sides = [Sides(means(rng.normal(size=(1, 60))), means(rng.normal(size=(1, 60))), ratio_of_sums) for _ in range(2)]
    for together, side in zip(compare(sides, seed=1, resamples=300), sides, strict=True):
        (alone,) = compare([side], seed=1, resamples=300)
        assert (together.p_value, together.bootstrap_p) == (alone.p_value, alone.bootstrap_p)
        assert together.interval.low == pytest.approx(alone.interval.low)


def test_clusters_are_compared_as_one_item():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(1, 40)), rng.normal(size=(1, 40))
    repeated = Sides(means(np.repeat(a, 5, axis=1)), means(np.repeat(b, 5, axis=1)), ratio_of_sums)
    clusters = [str(index // 5) for index in range(200)]
    (plain,) = compare([Sides(means(a), means(b), ratio_of_sums)], seed=0, resamples=500)
    (gathered,) = compare([repeated.gathered(clusters)], seed=0, resamples=500)
    assert gathered.n == 40
    assert gathered.p_value == plain.p_value
    assert gathered.interval.low == pytest.approx(plain.interval.low)


def test_sides_of_different_items_are_refused():
    with pytest.raises(ValueError, match="expected the same items"):
        compare([Sides(np.ones((1, 5, 2)), np.ones((1, 6, 2)), ratio_of_sums)], seed=0)
