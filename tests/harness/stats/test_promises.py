"""What the statistics promise, by simulation: coverage, false alarms, family-wise errors, power. Fixed seeds; minutes.

Items are recorded: sacreBLEU's statistics of what `gpt` and `seq2seq` wrote for 500 test items of Multi30k (BLEU 9.2 and 5.2). A
simulated system answers an item as one of the two did; which one is decided by the seed's skill, by the item, or by chance.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.metrics.bleu import corpus_bleu
from harness.stats.comparison import Sides, approximate_randomisation, compare
from harness.stats.families import holm
from harness.stats.intervals import bootstrap, clustered_bootstrap, clustered_wilson, ratio_of_sums, wilson
from harness.stats.seeds import effects, error_of, error_of_difference, pooled

pytestmark = pytest.mark.slow
REPETITIONS = 5000
ITEMS = 200
RECORDED = np.load(Path(__file__).parent / "recorded" / "multi30k_bleu.npz")
GOOD, BAD = (RECORDED[name].astype(np.float64) for name in ("gpt", "seq2seq"))
UNUSED = np.random.default_rng(0)


def answered(chosen, good):
    """Statistics [S, n, 10] of chosen items, each answered as the better system did or not."""
    return np.where(good[..., None], GOOD[chosen], BAD[chosen])


def simulated(rng, seeds, *, skill, stubborn, n=ITEMS):
    """One system under some seeds.

    Args:
        skill: concentration k of the law Beta(k, k) of a seed's share of good answers; `None` = one half for all seeds.
        stubborn: share of items whose answer is the same under all seeds.
    """
    chosen = rng.integers(len(GOOD), size=n)
    share = shares(rng, skill, seeds)
    luck = np.where(rng.random(n) < stubborn, rng.random(n), rng.random((seeds, n)))
    return answered(chosen, luck < share)


def shares(rng, skill, seeds):
    """Share of good answers of every seed."""
    return rng.beta(skill, skill, size=(seeds, 1)) if skill else np.full((seeds, 1), 0.5)


def truth(skill):
    """BLEU of all items and all skills: the mean over seeds of what a seed's BLEU tends to."""
    levels = (np.arange(400) + 0.5) / 400
    share = stats.beta.ppf(levels, skill, skill)[:, None] if skill else np.array([[0.5]])
    return float(corpus_bleu(share * GOOD.mean(0) + (1 - share) * BAD.mean(0)).mean())


LAWS = {
    "seeds": {"skill": 4.0, "stubborn": 0.0}, "items": {"skill": None, "stubborn": 1.0}, "both": {"skill": 20.0, "stubborn": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_over_seeds_and_items_cover(seeds, law):
    rng, value, hits = np.random.default_rng(seeds), truth(law["skill"]), 0
    for _ in range(REPETITIONS):
        found = pooled(simulated(rng, seeds, **law), corpus_bleu, crossed=True, resamples=1, rng=UNUSED)
        hits += found.interval.low <= value <= found.interval.high
    assert 0.93 <= hits / REPETITIONS <= (0.99 if seeds == 3 else 0.97)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_over_seeds_with_samples_of_their_own_cover(seeds):
    rng, hits = np.random.default_rng(seeds), 0
    value = truth(50.0)
    for _ in range(REPETITIONS):
        tables = [simulated(rng, 1, skill=50.0, stubborn=0.0)[0] for _ in range(seeds)]
        error = error_of(effects(np.stack(tables), corpus_bleu), crossed=False)
        interval = error.interval(float(np.mean([corpus_bleu(table.sum(0)[None])[0] for table in tables])))
        hits += interval.low <= value <= interval.high
    assert 0.93 <= hits / REPETITIONS <= (0.99 if seeds == 3 else 0.97)


def test_intervals_over_items_cover():
    rng, value, hits = np.random.default_rng(1), truth(None), 0
    for _ in range(REPETITIONS):
        rows = simulated(rng, 1, skill=None, stubborn=0.0)[0]
        found = bootstrap(rows, corpus_bleu, resamples=1000, rng=rng)
        hits += found.low <= value <= found.high
    assert 0.93 <= hits / REPETITIONS <= 0.97


@pytest.mark.parametrize(("n", "share"), [(200, 0.1), (200, 0.5), (500, 0.9), (1000, 0.3)])
def test_wilson_covers(n, share):
    counts = np.random.default_rng(2).binomial(n, share, size=REPETITIONS)
    hits = sum(found.low <= share <= found.high for found in (wilson(int(count), n) for count in counts))
    assert 0.93 <= hits / REPETITIONS <= 0.97


@pytest.mark.parametrize("kind", ["wilson", "bootstrap"])
def test_intervals_over_clusters_cover(kind):
    """80 clusters of 5 answers that share their luck: beta-binomial with an intraclass correlation of 0.25."""
    rng, clusters, hits = np.random.default_rng(3), np.repeat(np.arange(80), 5), 0
    labels = list(map(str, clusters))
    for _ in range(REPETITIONS):
        right = (rng.random(400) < rng.beta(1.8, 1.2, size=80)[clusters]).astype(np.float64)
        rows = np.stack([right, np.ones(400)], axis=1)
        found = (
            clustered_wilson(rows, labels)
            if kind == "wilson"
            else clustered_bootstrap(rows, labels, ratio_of_sums, resamples=1000, rng=rng)
        )
        hits += found.low <= 0.6 <= found.high
    assert 0.93 <= hits / REPETITIONS <= 0.97


def test_one_seed_of_the_same_system_differs_in_one_case_of_twenty():
    rng, alarms = np.random.default_rng(4), 0
    for _ in range(REPETITIONS):
        chosen = rng.integers(len(GOOD), size=ITEMS)
        a, b = (answered(chosen, rng.random(ITEMS) < 0.5) for _ in range(2))
        (p_value,) = approximate_randomisation([(a, b, corpus_bleu)], resamples=500, rng=rng)
        alarms += p_value < 0.05
    assert 0.04 <= alarms / REPETITIONS <= 0.06


def family(rng, systems, seeds, *, skill, n=ITEMS):
    """Systems of one law on the same items, each with seeds of its own."""
    chosen = rng.integers(len(GOOD), size=n)
    return [answered(chosen, rng.random((seeds, n)) < shares(rng, skill, seeds)) for _ in range(systems)]


@pytest.mark.parametrize("skill", [None, 4.0], ids=["items", "seeds"])
@pytest.mark.parametrize("seeds", [3, 5])
def test_seeds_of_the_same_system_differ_in_one_case_of_twenty(seeds, skill):
    rng, alarms = np.random.default_rng(5), 0
    for _ in range(REPETITIONS):
        a, b = family(rng, 2, seeds, skill=skill)
        (found,) = compare([Sides(a, b, corpus_bleu)], seed=0)
        alarms += found.p_value < 0.05
    assert 0.04 <= alarms / REPETITIONS <= 0.06


def test_holm_keeps_the_error_of_a_family():
    rng, alarms = np.random.default_rng(6), 0
    for _ in range(REPETITIONS):
        found = [effects(side, corpus_bleu) for side in family(rng, 4, 3, skill=10.0)]
        pairs = [(found[i], found[j]) for i in range(4) for j in range(i)]
        p_values = [error_of_difference(a, b, crossed=True).p_value(a.value - b.value) for a, b in pairs]
        alarms += holm(p_values).min() < 0.05
    assert alarms / REPETITIONS <= 0.06


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_detectable_effect_is_detected(seeds):
    """Words of a text as value; the second system writes a little more, by what is stated on average as detectable."""
    rng = np.random.default_rng(7)

    def sides(more):
        chosen = rng.integers(len(GOOD), size=ITEMS)
        skill = [shares(rng, 10.0 if seeds > 1 else None, seeds) for _ in range(2)]
        words = [np.where(rng.random((seeds, ITEMS)) < share, GOOD[chosen, 0], BAD[chosen, 0]) for share in skill]
        return [np.stack([found, np.ones_like(found)], axis=-1) for found in (words[0], words[1] + more)]

    def compared(more):
        return compare([Sides(*sides(more), ratio_of_sums)], seed=int(rng.integers(2**31)), resamples=500)[0]

    stated = float(np.mean([compared(0.0).detectable for _ in range(300)]))
    found = sum(compared(stated).p_value < 0.05 for _ in range(REPETITIONS))
    assert found / REPETITIONS >= 0.78
