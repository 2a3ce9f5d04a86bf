import dataclasses

import numpy as np
import pytest
from scipy import stats

from harness.metrics.classifier_two_sample import FOLDS, TwoSample, area, cross_fitted, folds_of, out_of_fold_scores

ROUNDS = 50


def ids(n):
    return [f"item-{index}" for index in range(n)]


def scored(n, width, rng, shift=0.0):
    samples, references = rng.normal(size=(n, width)) + shift, rng.normal(size=(n, width))
    return out_of_fold_scores(samples, references, folds_of(ids(n)))


def test_the_area_is_the_mann_whitney_count():
    rng = np.random.default_rng(0)
    positives, negatives = rng.integers(0, 6, 40).astype(float), rng.integers(-2, 5, 30).astype(float)
    pairs = [(p > q) + (p == q) / 2 for p in positives for q in negatives]
    value, _ = area(positives, negatives)
    assert value == pytest.approx(np.mean(pairs), abs=1e-12)
    assert value == pytest.approx(stats.mannwhitneyu(positives, negatives).statistic / 1200, abs=1e-12)
    assert area(negatives, positives)[0] == pytest.approx(1 - value, abs=1e-12)


def test_the_standard_error_is_that_of_fresh_scores():
    # 400 draws know their standard deviation to 3.5 %
    rng = np.random.default_rng(1)
    found = np.array([area(rng.normal(size=60) + 0.8, rng.normal(size=60)) for _ in range(400)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(ddof=1), rel=0.15)


def test_scores_come_from_a_regression_on_the_other_folds():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    samples, references, folds = rng.normal(size=(100, 3)) + 0.5, 4 * rng.normal(size=(100, 3)), folds_of(ids(100))
    written, human, unfinished = out_of_fold_scores(samples, references, folds)
    seen = np.concatenate([samples[folds != 2], references[folds != 2]])
    mean, spread = seen.mean(0), seen.std(0)
    model = LogisticRegression().fit((seen - mean) / spread, [1] * 80 + [0] * 80)
    for scores, side in ((written, samples), (human, references)):
        np.testing.assert_allclose(scores[folds == 2], model.decision_function((side[folds == 2] - mean) / spread), rtol=1e-6)
    assert unfinished == 0
    moved = samples.copy()
    moved[folds == 2] += 100.0
    assert np.array_equal(out_of_fold_scores(moved, references, folds)[1][folds == 2], human[folds == 2])


def test_folds_hang_on_ids_and_are_equally_large():
    folds = folds_of(ids(103))
    assert sorted(np.bincount(folds)) == [20, 20, 21, 21, 21]
    assert len(np.bincount(folds)) == FOLDS
    order = np.random.default_rng(0).permutation(103)
    assert list(folds_of([ids(103)[index] for index in order])) == list(folds[order])
    assert list(folds) != sorted(folds)


def test_one_law_scores_one_half_with_twice_the_variance_of_independent_scores():
    # 50 draws know their standard deviation to 10 %: with DeLong's own variance the ratio would be about 1.4
    rng = np.random.default_rng(3)
    found = [area(*scored(60, 4, rng)[:2]) for _ in range(ROUNDS)]
    values, ends = [value for value, _ in found], [cross_fitted(*pair) for pair in found]
    implied = np.mean([end.high - end.low for end in ends]) / 2 / 1.96
    assert np.std(values, ddof=1) / implied == pytest.approx(1, abs=0.3)
    assert np.mean(values) == pytest.approx(0.5, abs=4.5 * np.std(values) / np.sqrt(ROUNDS))
    assert sum(end.low <= 0.5 <= end.high for end in ends) >= 42  # of 50 at 95 %: fewer is less likely than 1 in 1,000


def test_laws_that_differ_are_told_apart():
    rng = np.random.default_rng(4)
    near, far = (area(*scored(200, 6, rng, shift)[:2]) for shift in (0.3, 2.0))
    assert 0.5 < cross_fitted(*near).low < near[0] < far[0]
    assert far[0] > 0.99
    assert cross_fitted(1.0, 0.0) is None
    assert cross_fitted(0.0, 0.0) is None


def test_of_an_evaluation(make_evaluation, make_sentences):
    evaluation = make_evaluation(make_sentences(200, 3))
    found = TwoSample()(evaluation)["two_sample_auc"]
    features = [evaluation.judge.features(texts) for texts in (evaluation.texts, [item.target for item in evaluation.examples])]
    written, human, _ = out_of_fold_scores(*features, folds_of([item.id for item in evaluation.examples]))
    assert found.value == pytest.approx(stats.mannwhitneyu(written, human).statistic / 200**2, abs=1e-12)
    assert found.low < 0.5 < found.high
    assert "folds:5 by sha256 of ids|var:2 delong|scikit-learn:" in found.signature
    order = np.random.default_rng(0).permutation(200)
    turned = dataclasses.replace(
        evaluation, texts=[evaluation.texts[i] for i in order], examples=[evaluation.examples[i] for i in order]
    )
    assert TwoSample()(turned)["two_sample_auc"] == found


def test_samples_that_are_all_told_have_no_interval(make_evaluation, make_sentences):
    texts = [f"{text} {'cat ' * 200}" for text in make_sentences(120, 3)]
    evaluation = make_evaluation(texts)
    view = dataclasses.replace(evaluation.view, max_tokens=300)
    found = TwoSample()(dataclasses.replace(evaluation, view=view))["two_sample_auc"]
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert found.flags == ("no interval: every sample is told from every reference",)


def test_regressions_that_stop_early_are_told(make_evaluation, make_sentences, monkeypatch):
    monkeypatch.setattr("harness.metrics.classifier_two_sample._ITERATIONS", 1)
    found = TwoSample()(make_evaluation([*make_sentences(119, 3), ""]))["two_sample_auc"]
    assert found.flags == ("5 of 5 regressions stopped before they converged", "1 empty text")
