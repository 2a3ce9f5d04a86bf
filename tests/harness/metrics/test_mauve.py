import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from harness.contracts import Example
from harness.metrics.mauve import Mauve, _Estimate, area_of_divergence, mauve_scores
from harness.metrics.sides import cut, other_human_texts

SHORT = "short texts: half have at most 7 tokens, MAUVE needs 64"
ONE_SEED = "one k-means seed: its variance is not in the interval"


def gaussians(n, shift, seed, width=16):
    return (np.random.default_rng(seed).normal(size=(n, width)) + shift).astype(np.float32)


def test_our_area_of_histograms_is_mauve_text_s_value():
    samples, references = gaussians(600, 0.4, 0), gaussians(600, 0.0, 1)
    scores, histograms = mauve_scores(samples, references, seeds=[0, 1])
    ours = [area_of_divergence(p[None], q[None])[0] for p, q in histograms]
    assert ours == pytest.approx(scores, abs=1e-12)
    assert scores[0] != scores[1]


def test_score_is_mauve_text_called_directly(make_evaluation, make_sentences):
    import mauve

    evaluation = make_evaluation(make_sentences(500, 3), profile="quick")
    found = Mauve()(evaluation)["mauve"]
    features = [evaluation.judge.features(texts) for texts in (evaluation.texts, [item.target for item in evaluation.examples])]
    expected = [mauve.compute_mauve(p_features=features[0], q_features=features[1], seed=seed).mauve for seed in range(3)]
    assert found.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.low < found.value < found.high
    assert "seeds:3" in found.signature
    assert "n:500" in found.signature
    assert "features:fake-judge@1" in found.signature


def test_mauve_star_is_mauve_text_s(make_evaluation, make_sentences):
    import mauve

    evaluation = make_evaluation(make_sentences(500, 3), profile="quick")
    found = Mauve()(evaluation)["mauve_star"]
    features = [evaluation.judge.features(texts) for texts in (evaluation.texts, [item.target for item in evaluation.examples])]
    results = [mauve.compute_mauve(p_features=features[0], q_features=features[1], seed=seed) for seed in range(3)]
    assert found.value == pytest.approx(np.mean([result.mauve_star for result in results]), abs=1e-12)
    assert found.low < found.value < found.high


def test_the_ceiling_is_the_score_of_other_human_texts(make_evaluation, make_sentences):
    plain = make_evaluation(make_sentences(500, 3), profile="quick")
    train = [Example(id=f"t{index}", target=text) for index, text in enumerate(make_sentences(900, 7))]
    evaluation = dataclasses.replace(plain, train=train)
    found, without, humans = Mauve()(evaluation), Mauve()(plain), other_human_texts(evaluation)
    assert [found[name] for name in ("mauve", "mauve_star")] == [without[name] for name in ("mauve", "mauve_star")]
    features = [evaluation.judge.features(texts) for texts in (humans.texts, [item.target for item in evaluation.examples])]
    ceiling, ratio = found["mauve_ceiling"], found["mauve_normalised"]
    assert ceiling.value == pytest.approx(np.mean(mauve_scores(*features, seeds=range(3))[0]), abs=1e-12)
    assert ratio.value == pytest.approx(found["mauve"].value / ceiling.value, abs=1e-12)
    assert ratio.low < ratio.value < ratio.high
    assert f"humans:{humans.digest}" in ceiling.signature
    assert ratio.signature == ceiling.signature
    for name in ("mauve_ceiling", "mauve_normalised"):
        assert without[name].reason == "0 training texts are not among the references: a human ceiling needs 500"
        assert without[name].value is None


def test_the_ceiling_is_computed_once_for_all_models(make_evaluation, make_sentences, monkeypatch):
    runs = []

    def counted(samples, references, *, seeds):
        runs.append(len(seeds))
        return mauve_scores(samples, references, seeds=seeds)

    monkeypatch.setattr("harness.metrics.mauve.mauve_scores", counted)
    monkeypatch.setattr("harness.metrics.mauve._ceilings", {})
    train = [Example(id=f"t{index}", target=text) for index, text in enumerate(make_sentences(900, 7))]
    one, other = (dataclasses.replace(make_evaluation(make_sentences(500, seed)), train=train) for seed in (3, 4))
    first, second = Mauve()(one), Mauve()(other)
    assert len(runs) == 3
    assert first["mauve"].value != second["mauve"].value
    assert first["mauve_ceiling"] == second["mauve_ceiling"]
    Mauve()(dataclasses.replace(one, train=train[:600]))
    assert len(runs) == 5, "other human texts have a ceiling of their own"


def test_the_area_of_many_histograms_is_that_of_each():
    rng = np.random.default_rng(0)
    p, q = (rng.multinomial(50, rng.dirichlet(np.full(20, 0.3)), size=150) / 50 for _ in range(2))
    assert (p == 0).any()
    assert area_of_divergence(p, q) == pytest.approx([naive_area(*pair) for pair in zip(p, q, strict=True)], abs=1e-12)


def naive_area(p, q):
    """Equation 2 of Pillutla et al. 2021, term by term."""

    def divergence(a, b):
        return sum(x * np.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    mixtures = [weight * p + (1 - weight) * q for weight in np.linspace(1e-6, 1 - 1e-6, 25)]
    points = [(1.0, 0.0), *[(np.exp(-5 * divergence(q, r)), np.exp(-5 * divergence(p, r))) for r in mixtures], (0.0, 1.0)]
    return sum((x - u) * (v + y) / 2 for (x, y), (u, v) in pairwise(points))


def test_the_ratio_has_the_variance_of_the_delta_method():
    # 200,000 draws of both sides, whose standard deviation is known to 0.2 %
    rng = np.random.default_rng(0)
    draws = rng.normal(0.8, 0.01, 200_000) / rng.normal(0.9, 0.02, 200_000)
    found = _Estimate(0.8, 0.01**2).over(_Estimate(0.9, 0.02**2))
    assert found.value == pytest.approx(0.8 / 0.9)
    assert found.variance**0.5 == pytest.approx(draws.std(), rel=0.01)


def test_both_sides_are_cut_to_the_task_s_length(make_evaluation, make_sentences):
    texts = make_sentences(500, 3)
    plain = make_evaluation(texts)
    limit = plain.view.max_tokens
    padded = [f"{text} {' '.join(['the'] * limit)}" for text in make_sentences(500, 99)]
    short = [" ".join(text.split()[:limit]) for text in padded]
    long, cut_before = (make_evaluation(texts, references=[[text] for text in side]) for side in (padded, short))
    assert Mauve()(long)["mauve"].value == Mauve()(cut_before)["mauve"].value
    assert f"cut:{limit}" in Mauve()(plain)["mauve"].signature
    kept, median = cut(["the cat", padded[0], ""], plain.view)
    assert kept == ["the cat", short[0], ""]
    assert median == 2


def test_texts_of_64_tokens_are_long_enough(make_evaluation):
    texts = ["the " * 63 + word for word in ("cat", "dog")] * 300
    evaluation = make_evaluation(texts, references=[[text] for text in texts[::-1]])
    view = dataclasses.replace(evaluation.view, max_tokens=65)
    found = Mauve()(dataclasses.replace(evaluation, view=view))["mauve"]
    assert not any("short texts" in flag for flag in found.flags)


def test_a_shifted_distribution_scores_lower():
    references = gaussians(500, 0.0, 1)
    same = np.mean(mauve_scores(gaussians(500, 0.0, 0), references, seeds=[0])[0])
    shifted = np.mean(mauve_scores(gaussians(500, 1.0, 0), references, seeds=[0])[0])
    assert same > 0.9 > shifted


def test_order_of_items_changes_nothing(make_evaluation, make_sentences):
    evaluation = make_evaluation(make_sentences(500, 3))
    order = np.random.default_rng(0).permutation(500)
    shuffled = dataclasses.replace(
        evaluation, texts=[evaluation.texts[i] for i in order], examples=[evaluation.examples[i] for i in order]
    )
    assert Mauve()(evaluation)["mauve"] == Mauve()(shuffled)["mauve"]


@pytest.mark.parametrize(
    ("n", "flags"),
    [
        (500, ("flagged: n below 1000", "not ranked: n below 2000", ONE_SEED, SHORT)),
        (1000, ("not ranked: n below 2000", ONE_SEED, SHORT)),
    ],
)
def test_small_samples_are_flagged(make_evaluation, make_sentences, n, flags):
    assert Mauve()(make_evaluation(make_sentences(n, 3)))["mauve"].flags == flags


def test_empty_samples_are_counted_and_lower_the_score(make_evaluation, make_sentences):
    texts = make_sentences(500, 3)
    whole = Mauve()(make_evaluation(texts))["mauve"]
    hollow = Mauve()(make_evaluation([*texts[:250], *[""] * 250]))["mauve"]
    assert hollow.flags[-1] == "250 empty texts"
    assert (hollow.n, hollow.value < whole.value - 0.05) == (500, True)


def test_refusals_have_reasons(make_evaluation, make_sentences):
    texts = make_sentences(500, 3)
    assert "below 500" in Mauve()(make_evaluation(texts[:499]))["mauve"].reason
    assert "profile 'test'" in Mauve()(make_evaluation(texts, profile="test"))["mauve"].reason
    assert "no judge" in Mauve()(make_evaluation(texts, judged=False))["mauve"].reason
    same = Mauve()(make_evaluation([""] * 500, references=[[""]] * 500))["mauve"]
    assert (same.value, same.reason) == (None, "all features are equal: MAUVE means nothing on them")
    evaluation = make_evaluation(texts)
    repeated = dataclasses.replace(evaluation, examples=[evaluation.examples[0]] * 500)
    assert "references repeat" in Mauve()(repeated)["mauve"].reason
    with pytest.raises(ValueError, match="equal numbers"):
        mauve_scores(gaussians(5, 0, 0), gaussians(6, 0, 0), seeds=[0])


@pytest.mark.slow
def test_interval_covers_as_the_spread_over_fresh_draws_says():
    # the half-width is to be about 1.96 standard deviations of the score over independent draws of both sides
    from harness.metrics.mauve import _estimate

    rng = np.random.default_rng(0)
    scores, halves = [], []
    for draw in range(20):
        pair = mauve_scores(gaussians(1000, 0.5, 2 * draw), gaussians(1000, 0.0, 2 * draw + 1), seeds=range(3))
        interval = _estimate(*pair, 1000, 200, rng).interval(most=1.0)
        scores.append(np.mean(pair[0]))
        halves.append((interval.high - interval.low) / 2)
    assert 0.6 < np.mean(halves) / (1.96 * np.std(scores, ddof=1)) < 1.8
