import dataclasses

import numpy as np
import pytest
from scipy import stats

from harness.metrics.mmd import MMD, PERMUTATIONS, discrepancies, divisions, p_value
from harness.stats.standard_errors import jackknife

ROUNDS = 200


def naive(samples, references):
    """Gretton et al. 2012, equation 3, pair by pair."""

    def mean(rows, columns, same):
        pairs = [(x, y) for i, x in enumerate(rows) for j, y in enumerate(columns) if not (same and i == j)]
        return sum((float(x @ y) / len(x) + 1) ** 3 for x, y in pairs) / len(pairs)

    return mean(samples, samples, True) + mean(references, references, True) - 2 * mean(samples, references, False)


def normal(n, width, rng, shift=0.0):
    return rng.normal(size=(n, width)) + shift


def measured(samples, references, rng, permutations=99):
    features = np.concatenate([samples, references])
    return discrepancies(features, divisions(len(samples), len(references), permutations, rng))


def test_every_division_is_the_printed_formula():
    rng = np.random.default_rng(0)
    features, sides = normal(17, 5, rng), divisions(9, 8, 6, rng)
    values, _ = discrepancies(features, sides)
    expected = [naive(features[side == 1], features[side == 0]) for side in sides]
    np.testing.assert_allclose(values, expected, rtol=1e-10)
    assert list(sides[0]) == [1] * 9 + [0] * 8
    assert (sides.sum(1) == 9).all()
    assert len({tuple(side) for side in sides}) == 7


def test_blocks_of_the_kernel_matrix_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    features, sides = normal(50, 4, rng), divisions(25, 25, 5, rng)
    whole = discrepancies(features, sides)
    monkeypatch.setattr("harness.metrics.mmd._ROWS", 7)
    parts = discrepancies(features, sides)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-10)
    for part, full in zip(parts[1], whole[1], strict=True):
        np.testing.assert_allclose(part, full, rtol=1e-10)


def test_left_out_values_are_those_of_smaller_sets():
    rng = np.random.default_rng(1)
    samples, references = normal(7, 3, rng), normal(6, 3, rng, 0.5)
    _, (of_samples, of_references) = measured(samples, references, rng)
    np.testing.assert_allclose(of_samples, [naive(np.delete(samples, i, 0), references) for i in range(7)], rtol=1e-10)
    np.testing.assert_allclose(of_references, [naive(samples, np.delete(references, i, 0)) for i in range(6)], rtol=1e-10)


def test_under_one_law_the_mean_is_zero_and_p_is_uniform():
    # false alarms: the mean below 4.5 standard errors, Kolmogorov-Smirnov and binomial tests at 1 in 10,000
    rng = np.random.default_rng(2)
    values, shares = [], []
    for _ in range(ROUNDS):
        found, _ = measured(normal(30, 4, rng), normal(30, 4, rng), rng)
        values.append(found[0])
        shares.append(p_value(found[0], found[1:])[0])
    assert abs(np.mean(values)) < 4.5 * np.std(values, ddof=1) / np.sqrt(ROUNDS)
    assert min(values) < 0 < max(values)
    assert stats.binomtest(int(np.sum(np.array(shares) <= 0.05)), ROUNDS, 0.05).pvalue > 1e-4
    assert stats.binomtest(int(np.sum(np.array(shares) <= 0.5)), ROUNDS, 0.5).pvalue > 1e-4
    # p takes the values k / 100, so that the distance from a uniform law is at most 0.01 more
    assert stats.kstest(shares, "uniform").statistic < stats.kstwo.ppf(1 - 1e-4, ROUNDS) + 0.01


def test_a_shift_is_found_and_covered_by_the_interval():
    # N(a, I) against N(0, I) in width d, A = a.a: the kernel's moments give MMD^2 by hand; only its odd and mixed terms stay
    rng, width, moved = np.random.default_rng(3), 4, 0.7
    squared = width * moved**2
    third = squared**3 + 6 * squared**2 + 3 * squared * (width + 2)
    truth = third / width**3 + 3 * squared**2 / width**2 + 3 * squared / width
    values, held = [], 0
    for _ in range(60):
        found, left_out = measured(normal(60, width, rng, moved), normal(60, width, rng), rng)
        ends = jackknife(found[0], *left_out)
        held += ends.low <= truth <= ends.high
        values.append(found[0])
        assert p_value(found[0], found[1:])[0] == 0.01
    assert abs(np.mean(values) - truth) < 4.5 * np.std(values, ddof=1) / np.sqrt(60)
    assert held >= 50  # of 60 at 95 %: fewer is less likely than 1 in 1,000


def test_p_counts_the_given_division_and_ties():
    share, ends = p_value(1.0, np.array([1.0, 2.0, 0.0, 0.5]))
    assert share == 3 / 5
    assert ends.low < 0.5 < ends.high
    assert p_value(1.0, np.zeros(999) + np.linspace(0, 0.1, 999))[0] == 1 / 1000
    assert p_value(1 + 1e-13, np.array([1.0, 0.0]))[0] == 2 / 3


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match="expected at least 3 on each"):
        discrepancies(np.ones((4, 2)), divisions(2, 2, 1, np.random.default_rng(0)))


def test_of_an_evaluation(make_evaluation, make_sentences):
    evaluation = make_evaluation(make_sentences(120, 3))
    found = MMD()(evaluation)
    samples, references = (
        evaluation.judge.features(texts).astype(float)
        for texts in (evaluation.texts, [item.target for item in evaluation.examples])
    )
    assert found["mmd"].value == pytest.approx(naive(samples, references), rel=1e-6)
    assert found["mmd"].low < found["mmd"].value < found["mmd"].high
    assert found["mmd_p"].value > 0.01
    assert f"permutations:{PERMUTATIONS}" in found["mmd_p"].signature
    assert "permutations" not in found["mmd"].signature
    assert "kernel:(xy/width+1)^3|unbiased" in found["mmd"].signature
    assert MMD()(evaluation) == found
    other = MMD()(dataclasses.replace(evaluation, seed=2))
    assert other["mmd"] == found["mmd"]
    assert other["mmd_p"] != found["mmd_p"]
    far = MMD()(make_evaluation([f"{text} cat cat" for text in make_sentences(119, 3)] + [""]))
    assert far["mmd"].low > found["mmd"].value
    assert far["mmd_p"].value == 1 / (PERMUTATIONS + 1)
    assert far["mmd"].flags == ("1 empty text",)
