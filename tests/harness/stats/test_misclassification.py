import numpy as np
import pytest

from harness.stats.intervals import bootstrap
from harness.stats.misclassification import corrected_share


def test_the_correction_undoes_a_known_test():
    for truth in (0.0, 0.3, 1.0):
        for sensitivity, specificity in ((0.9, 0.95), (1.0, 0.6), (0.7, 1.0)):
            observed = truth * sensitivity + (1 - truth) * (1 - specificity)
            sums = np.array([[observed, 1, sensitivity * 40, 40, (1 - specificity) * 7, 7]])
            assert corrected_share(sums)[0] == pytest.approx(truth, abs=1e-12)


def test_a_perfect_test_changes_nothing_and_a_useless_one_gives_nothing():
    sums = np.array([[3, 4, 9, 9, 0, 5], [3, 4, 5, 9, 5, 9], [3, 4, 1, 9, 9, 9], [3, 4, 0, 0, 0, 5]], dtype=float)
    assert corrected_share(sums)[0] == 0.75
    assert np.isnan(corrected_share(sums)[1:]).all()


@pytest.mark.parametrize(("truth", "sensitivity", "specificity"), [(0.6, 0.85, 0.9), (0.9, 0.9, 0.97)])
def test_the_interval_covers_the_truth(truth, sensitivity, specificity):
    # 200 items of 6 slots, 3 known texts each; 250 repetitions of 95 % give 0.95 with sd 0.014: below 0.89 is 4 sd
    rng, hits, repetitions, n, uncorrected = np.random.default_rng(0), 0, 250, 200, []
    for _ in range(repetitions):
        said = rng.binomial(6, truth, size=n)
        found = rng.binomial(said, sensitivity) + rng.binomial(6 - said, 1 - specificity)
        known = rng.binomial(18, sensitivity, size=n), rng.binomial(18, 1 - specificity, size=n)
        rows = np.stack([found, np.full(n, 6), known[0], np.full(n, 18), known[1], np.full(n, 18)], axis=1).astype(float)
        interval = bootstrap(rows, corrected_share, resamples=400, rng=rng)
        hits += interval.low <= truth <= interval.high
        uncorrected.append(found.sum() / (6 * n))
    assert 0.89 < hits / repetitions < 0.99
    assert abs(np.mean(uncorrected) - truth) > 0.03, "uncorrected, the share is off"
