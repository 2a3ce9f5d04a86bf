"""Mask-and-replace noise: its closed form against matrices, its reverse law against Bayes' rule, its draws against its law."""

import pytest
import torch

from baselines.parts.categorical import point
from baselines.parts.chains import MaskAndUniform, joint_information
from baselines.parts.randomness import Noise
from baselines.parts.replacing import MaskAndReplace
from harness.schedules.names import build

TOKENS, STEPS, REPLACED = 4, 6, 0.07
MASK = TOKENS


@pytest.fixture
def kernel():
    return MaskAndReplace(TOKENS, REPLACED)


def level(value):
    return torch.tensor([[value]], dtype=torch.float64)


def estimates(count, tokens=TOKENS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, count, tokens, generator=generator, dtype=torch.float64).log_softmax(-1)


def bayes(kernel, x_t, clean, alpha_t, alpha_s):
    """q(x_s | x_t, x_0) for one token each, from transition matrices."""
    weights = kernel.transition_matrix(alpha_s, 1.0)[clean] * kernel.transition_matrix(alpha_t, alpha_s)[:, x_t]
    return weights / weights.sum()


def test_products_are_those_of_the_matrices_of_its_steps(kernel):
    """Released tables: what is kept and what is masked after every step, from which the rates of the steps follow."""
    kept = build(f"linear-alpha-bar-fixed(start=0.9,stop=0.01)@{STEPS}").levels
    shown = torch.cat([torch.ones(1), kept[1:] + REPLACED])
    masking = 1 - shown[1:] / shown[:-1]
    stays = kept[1:] / kept[:-1]
    chain = MaskAndUniform(TOKENS + 1, betas=1 - stays / (1 - masking), mask_rates=masking)
    assert torch.allclose(chain.levels, kept, rtol=1e-12)
    for last in range(1, STEPS + 1):
        for first in range(last):
            found = kernel.transition_matrix(kept[last], kept[first])
            assert torch.allclose(found, chain.composed(first, last), atol=1e-12)
            assert torch.allclose(found.sum(-1), torch.ones(TOKENS + 1, dtype=torch.float64))


@pytest.mark.parametrize("alpha", [1.0, 0.95, 0.5, 0.0])
def test_marginals_are_rows_of_the_products(kernel, alpha):
    rows = kernel.log_marginal(point(torch.arange(TOKENS)[None], TOKENS), level(alpha)).exp()[0]
    assert torch.allclose(rows, kernel.transition_matrix(alpha, 1.0)[:TOKENS], atol=1e-15)


def test_a_share_that_is_tiny_is_not_lost():
    """One token in a million is replaced, a two-thousandth of that in one step; float32 and differences would lose it."""
    kernel = MaskAndReplace(1000, 1e-6)
    _, moved = kernel.between(level(0.5 - 1 / 2000), level(0.5))
    expected = 1e-6 * (1 / 2000) / (0.5 * (0.5 + 1e-6))
    assert moved.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), [(0.3, 0.6), (0.02, 0.03), (0.9, 0.98), (0.4, 1.0), (0.0, 0.9)])
def test_the_reverse_law_is_the_mean_of_true_posteriors(kernel, alpha_t, alpha_s):
    x_t, estimate = torch.arange(TOKENS + 1)[None], estimates(TOKENS + 1)
    law = kernel.posterior(x_t, estimate, level(alpha_t), level(alpha_s)).probabilities()[0]
    for place in range(TOKENS + 1):
        mean = sum(estimate[0, place, v].exp() * bayes(kernel, place, v, alpha_t, alpha_s) for v in range(TOKENS))
        assert torch.allclose(law[place], mean, atol=1e-12)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), [(0.3, 0.6), (0.02, 0.03), (0.9, 0.98), (0.4, 1.0), (0.0, 0.9)])
def test_what_is_drawn_piece_by_piece_is_the_whole_law(kernel, alpha_t, alpha_s):
    """Staying, a token from all and a token of the estimate, added up."""
    x_t, estimate = torch.arange(TOKENS + 1)[None], estimates(TOKENS + 1)
    law = kernel.posterior(x_t, estimate, level(alpha_t), level(alpha_s))
    even, estimated = law.rewritten()
    pieces = (1 - even - estimated)[..., None] * point(x_t, TOKENS + 1).exp()
    pieces[..., :TOKENS] += even[..., None] / TOKENS
    pieces[..., :TOKENS] += estimated[..., None] * kernel.explaining(x_t, estimate, law.alpha_t).exp()
    assert torch.allclose(pieces, law.probabilities(), atol=1e-12)
    assert torch.equal(law.mode(), law.probabilities().argmax(-1))


def test_draws_follow_the_law(kernel):
    """40,000 draws at a mask and at a token; |z| < 4.5 for each of 10 shares: a false alarm in 14,000 runs."""
    rows = 40_000
    x_t, estimate = torch.tensor([[MASK, 1]]).expand(rows, -1), estimates(2).expand(rows, -1, -1)
    law = kernel.posterior(x_t, estimate, level(0.2).expand(rows, 1), level(0.5).expand(rows, 1))
    drawn = law.sample(Noise(torch.arange(rows)).uniform(0, 2, 2))
    for place in range(2):
        share = torch.bincount(drawn[:, place], minlength=TOKENS + 1).double() / rows
        expected = law.probabilities()[0, place]
        error = (expected * (1 - expected) / rows).sqrt()
        assert ((share - expected).abs() <= 4.5 * error).all()


def test_corrupted_tokens_follow_the_marginal(kernel):
    """40,000 draws; |z| < 4.5 for each of 5 shares."""
    rows = 40_000
    noise = Noise(torch.arange(rows)).uniform(0, 1, 2)
    drawn = kernel.corrupt(torch.full((rows, 1), 2), level(0.6).expand(rows, 1), noise)
    expected = kernel.transition_matrix(0.6, 1.0)[2]
    share = torch.bincount(drawn[:, 0], minlength=TOKENS + 1).double() / rows
    assert ((share - expected).abs() <= 4.5 * (expected * (1 - expected) / rows).sqrt()).all()


def test_its_divergence_is_that_of_its_reverse_laws(kernel):
    x_t, x0, estimate = torch.tensor([[MASK, 1, 2]]), torch.tensor([[3, 1, 0]]), estimates(3)
    pair = level(0.3), level(0.6)
    true = kernel.posterior(x_t, point(x0, TOKENS), *pair)
    model = kernel.posterior(x_t, estimate, *pair)
    expected = (true.probabilities() * (true.log_probabilities() - model.log_probabilities())).nan_to_num().sum(-1)
    assert torch.allclose(kernel.divergence(x_t, x0, estimate, *pair), expected, atol=1e-12)
    assert kernel.divergence(x_t, x0, point(x0, TOKENS), *pair).abs().max() < 1e-12


def test_its_sampler_begins_where_its_noise_does_not_end(kernel):
    """Some tokens are left at the end, and the sampler begins with masks only: no finite bound."""
    assert (kernel.prior(torch.rand(2, 3, 2, dtype=torch.float64)) == MASK).all()
    assert kernel.prior_divergence(torch.tensor([[0, 1]]), level(0.0)).isinf().all()


@pytest.mark.parametrize("alpha", [0.0, 0.02, 0.5, 0.97, 1.0])
def test_its_information_is_that_of_its_matrices(kernel, alpha):
    law = torch.tensor([0.5, 0.3, 0.2, 0.0, 0.0], dtype=torch.float64)
    found = kernel.information(torch.tensor([alpha], dtype=torch.float64), law[:TOKENS])
    exact = joint_information(kernel.transition_matrix(alpha, 1.0), law)
    assert found.item() == pytest.approx(exact.item(), abs=1e-9)


@pytest.mark.parametrize("replaced", [0.0, 1.0, -0.1])
def test_a_share_must_lie_between_0_and_1(replaced):
    with pytest.raises(ValueError, match="absorbing"):
        MaskAndReplace(3, replaced)
