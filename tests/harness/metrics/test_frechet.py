import dataclasses

import numpy as np
import pytest
from scipy.linalg import sqrtm

from harness.contracts import Example
from harness.metrics.frechet import Frechet, bootstrap_error, frechet_distance


def naive(samples, references):
    """The formula as printed, with a general matrix square root."""
    first, second = np.cov(samples, rowvar=False), np.cov(references, rowvar=False)
    root = sqrtm(first @ second).real
    return ((samples.mean(0) - references.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)


def normal(n, width, seed, shift=0.0, scale=1.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(n, width))


def test_it_is_the_printed_formula():
    turn = np.random.default_rng(0).normal(size=(6, 6))
    samples, references = normal(200, 6, 1) @ turn, normal(150, 6, 2, shift=0.3)
    assert frechet_distance(samples, references) == pytest.approx(naive(samples, references), rel=1e-9)


def test_gaussians_of_known_moments_have_the_distance_of_the_closed_form():
    # commuting covariances: |mu|^2 + sum (s - t)^2 = 4 * 0.25 + (1 - 0.5)^2 + (2 - 1)^2 + 0 + 0; error of n = 200,000 below 1 %
    scales = np.array([1.0, 2.0, 1.5, 0.7]), np.array([0.5, 1.0, 1.5, 0.7])
    samples, references = normal(200_000, 4, 1, shift=0.5, scale=scales[0]), normal(200_000, 4, 2, scale=scales[1])
    assert frechet_distance(samples, references) == pytest.approx(4 * 0.25 + 0.25 + 1, rel=0.02)


def test_one_dimension_by_hand():
    # means 1 and 5, standard deviations sqrt(2) and sqrt(8)
    assert frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [7.0]])) == pytest.approx(16 + 2, abs=1e-12)


def test_a_set_is_at_no_distance_from_itself():
    samples = normal(300, 20, 0, scale=3.0)
    assert frechet_distance(samples, samples) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(samples, samples + 1.0) == pytest.approx(20, rel=1e-9)


def test_singular_covariances_stay_real_and_finite():
    samples, references = normal(5, 12, 0), normal(5, 12, 1)
    found = frechet_distance(samples, references)
    assert np.isfinite(found)
    assert found > 0
    assert frechet_distance(np.ones((5, 3)), normal(2000, 3, 1)) == pytest.approx(3 + 3, rel=0.1)
    with pytest.raises(ValueError, match="1 samples and 5 references: a covariance needs at least 2"):
        frechet_distance(samples[:1], references)


def test_the_standard_error_is_that_of_fresh_draws():
    # 40 draws and 50 resamples know their standard deviations to 11 % and 10 %: a ratio outside is five of these away
    rng = np.random.default_rng(0)
    draws = [frechet_distance(normal(500, 4, 2 * k, shift=0.4), normal(500, 4, 2 * k + 1)) for k in range(40)]
    errors = [bootstrap_error(normal(500, 4, 900 + k, shift=0.4), normal(500, 4, 950 + k), rng) for k in range(3)]
    assert 0.6 < np.mean(errors) / np.std(draws, ddof=1) < 1.6


@pytest.fixture
def trained(make_evaluation, make_sentences):
    """An evaluation of given texts, with enough training texts of the references' law."""

    def make(texts):
        train = [Example(id=f"t{index}", target=text) for index, text in enumerate(make_sentences(900, 7))]
        return dataclasses.replace(make_evaluation(texts), train=train)

    return make


def test_value_and_ceiling_are_distances_of_the_judge_s_features(trained, make_sentences):
    evaluation = trained(make_sentences(500, 3))
    found = Frechet()(evaluation)
    features = [evaluation.judge.features(texts) for texts in (evaluation.texts, [item.target for item in evaluation.examples])]
    assert found["frechet"].value == pytest.approx(naive(*(side.astype(float) for side in features)), rel=1e-6)
    assert found["frechet"].low < found["frechet"].value < found["frechet"].high
    assert "se:bootstrap 50" in found["frechet"].signature
    assert found["frechet"].flags == (
        "flagged: n below 1000", "not ranked: n below 2000", "biased upward: n below 2000, read it beside frechet_ceiling",
    )  # fmt: skip
    # same law on both sides, so both values are bias alone
    assert found["frechet_ceiling"].value == pytest.approx(found["frechet"].value, rel=0.6)
    far = Frechet()(trained(make_sentences(250, 3) + ["cat cat cat"] * 250))
    assert far["frechet"].low > found["frechet"].high
    assert far["frechet_ceiling"] == found["frechet_ceiling"]


def test_too_few_texts_for_a_covariance_are_refused(trained, make_sentences):
    evaluation = trained(make_sentences(500, 3))

    class Wide:
        signature = "wide"

        def likelihood_of_texts(self, texts):
            raise NotImplementedError

        def features(self, texts):
            return np.random.default_rng(len(texts[0])).normal(size=(len(texts), 500)).astype(np.float32)

    found = Frechet()(dataclasses.replace(evaluation, judge=Wide()))
    for measurement in found.values():
        assert measurement.value is None
        assert measurement.reason == "n = 500 is not above the width 500 of the features: covariances would be singular"
