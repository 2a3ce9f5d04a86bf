"""Score entropy and reverse steps by scores, against brute force on a few tokens."""

from functools import partial

import pytest
import torch

from baselines.parts import scores
from baselines.parts.categorical import Absorbing, Uniform, normalised, point
from baselines.parts.chains import DiscretisedGaussian
from baselines.parts.estimates import Changed, Deferred, Estimate, OfRows, Readout
from baselines.parts.guidance import Mixed
from baselines.parts.samplers import Timed
from baselines.parts.scores import (
    EulerSteps,
    OwnZero,
    TemperedScores,
    analytic,
    analytic_step,
    euler,
    log_scores,
    remaining,
    reverse_rates,
    score_entropy,
)
from harness.schedules.names import build

TOKENS = 4
KERNELS = [Absorbing(TOKENS), Uniform(TOKENS)]
DATA = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
NOWHERE = -700.0
"""Logarithm of a score of 0, near enough, and still a number."""
kernels = pytest.mark.parametrize("kernel", KERNELS, ids=["absorbing", "uniform"])
alphas = pytest.mark.parametrize("alpha", [0.999999, 0.6, 0.02])


def levels(value, count):
    return torch.full((count,), value, dtype=torch.float64)


def changed(kernel):
    """States that noise can have brought: the mask, or every token."""
    return torch.tensor([kernel.mask]) if isinstance(kernel, Absorbing) else torch.arange(TOKENS)


def spread(kernel, law, alpha):
    """The law of x_t, given that of x_0."""
    return kernel.log_marginal(law.log()[None, None], levels(alpha, 1)[:, None]).exp()[0, 0]


def ratios(law, x_t):
    """Logarithms of p(y) / p(x_t) over tokens."""
    return (law[:TOKENS] / law[x_t][:, None]).log().clamp_min(NOWHERE)


def test_a_temperature_sharpens_the_law_of_tokens_and_leaves_their_sum():
    log_score = 3 * torch.randn(2, 3, TOKENS, generator=torch.Generator().manual_seed(0))
    x_t = torch.full((2, 3), TOKENS)
    denoiser = TemperedScores(lambda *_: Estimate(normalised(log_score), log_score), 0.5)
    found = denoiser(x_t, torch.zeros(2), torch.zeros(2, 3).bool(), None)
    torch.testing.assert_close(found.raw.exp().sum(-1), log_score.exp().sum(-1))
    torch.testing.assert_close(found.x0_hat, (log_score / 0.5).log_softmax(-1))
    chosen = torch.tensor([[True, False, True], [False, True, False]])
    torch.testing.assert_close(found.raw_at(chosen), found.raw[chosen])
    torch.testing.assert_close(found.at(chosen), found.x0_hat[chosen])


# --- the loss --------------------------------------------------------------------------------------------------------
@kernels
@alphas
def test_the_true_ratios_give_zero_and_others_more(kernel, alpha):
    generator = torch.Generator().manual_seed(0)
    for x0 in range(TOKENS):
        x_t = changed(kernel)
        start = torch.full_like(x_t, x0)
        true = ratios(spread(kernel, point(torch.tensor(x0), TOKENS).exp(), alpha), x_t)
        entropy = partial(score_entropy, kernel, x_t=x_t, x0=start, alpha=levels(alpha, len(x_t)))
        scale = 1 + true.exp().sum(-1)
        assert (entropy(log_score=true) / scale).abs().max() < 1e-9
        others = true + torch.where(true > NOWHERE, torch.randn(true.shape, generator=generator).double(), 690.0)
        others = others if isinstance(kernel, Absorbing) else scores.zero_at_own(others, x_t)
        assert (entropy(log_score=others) > 0).all()


@kernels
@alphas
def test_it_is_the_sum_of_its_definition(kernel, alpha):
    """Sum over y of Q(x, y) (s - r log s + K(r)), from the generator and the marginals."""
    generator = torch.Generator().manual_seed(1)
    x_t = changed(kernel)
    for x0 in range(TOKENS):
        log_score = scores.zero_at_own(torch.randn(len(x_t), kernel.states, generator=generator).double(), x_t)
        reached = spread(kernel, point(torch.tensor(x0), TOKENS).exp(), alpha)
        r = reached / reached[x_t][:, None]
        terms = log_score.exp() - r * log_score + torch.xlogy(r, r) - r
        into = kernel.generator().mT[x_t].scatter(-1, x_t[:, None], 0.0)
        found = score_entropy(kernel, log_score[:, :TOKENS], x_t, torch.full_like(x_t, x0), levels(alpha, len(x_t)))
        assert torch.allclose(found, (into * terms).sum(-1), rtol=1e-9)


@kernels
@alphas
def test_over_all_data_the_ratios_of_the_marginals_are_best(kernel, alpha):
    """The gradient of the expected entropy vanishes there, and nowhere else that is tried."""
    x_t = changed(kernel).repeat_interleave(TOKENS)
    x0 = torch.arange(TOKENS).repeat(len(changed(kernel)))
    reached = kernel.log_marginal(point(torch.arange(TOKENS), TOKENS)[None], levels(alpha, 1)[:, None]).exp()[0]
    weight = DATA[x0] * reached[x0, x_t]

    def slope(factor):
        log_score = (ratios(spread(kernel, DATA, alpha), x_t) * factor).requires_grad_()
        (weight * score_entropy(kernel, log_score, x_t, x0, levels(alpha, len(x_t)))).sum().backward()
        return log_score.grad.view(-1, TOKENS, TOKENS).sum(1).abs().max()

    assert slope(1.0) < 1e-9 * max(1.0, slope(1.1))
    assert slope(1.1) > 1e-9


@pytest.mark.parametrize("alpha", [0.9, 0.3, 1e-3])
def test_the_true_ratios_are_best_under_bfloat16_too(alpha):
    """The gradient as a share of the ratios; bfloat16 rounds 1 / 300 by 0.3 %."""
    kernel, x_t, x0, level = Uniform(300), torch.tensor([0, 0, 7]), torch.tensor([0, 1, 7]), levels(alpha, 3)
    reached = kernel.log_marginal(point(x0, 300)[None], level[None])[0]
    true = (reached - reached.gather(-1, x_t[:, None])).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        score_entropy(kernel, true, x_t, x0, level).sum().backward()
    assert (true.grad * 300 / true.detach().exp()).abs().max() < 1e-6


def test_scores_of_outputs_in_bfloat16_are_not_rounded_again():
    logits, alpha = torch.randn(3, TOKENS, generator=torch.Generator().manual_seed(0)).bfloat16(), levels(0.3, 3)
    for kernel in KERNELS:
        assert torch.equal(log_scores(kernel, logits, alpha), log_scores(kernel, logits.float(), alpha))


def test_little_noise_costs_no_digits():
    """At sigma = 1e-10, where 1 - alpha is 1e-10: the cost of a score of 1 at the clean token is about log(1 / sigma)."""
    sigma = 1e-10
    alpha = torch.exp(torch.tensor([-sigma], dtype=torch.float64))
    entropy = score_entropy(Absorbing(2), torch.tensor([[0.0, NOWHERE]]).double(), torch.tensor([2]), torch.tensor([0]), alpha)
    right = 1 + (torch.log(torch.tensor(1 / sigma).double()) - 1) / sigma
    assert entropy.item() == pytest.approx(right.item(), rel=1e-6)


def test_outputs_of_zero_are_a_law_under_absorbing_noise():
    logits, alpha = torch.zeros(3, TOKENS), levels(0.3, 3)
    law = log_scores(KERNELS[0], logits, alpha).double().exp() * (1 / alpha - 1)[:, None]
    assert torch.allclose(law, torch.full_like(law, 1 / TOKENS), rtol=1e-6)
    assert log_scores(KERNELS[1], logits, alpha) is logits


@kernels
def test_scores_stay_finite_where_all_or_nothing_is_destroyed(kernel):
    x_t = changed(kernel)
    for alpha in (0.0, 1.0):
        log_score = log_scores(kernel, torch.zeros(len(x_t), TOKENS), levels(alpha, len(x_t)))
        assert score_entropy(kernel, log_score, x_t, torch.zeros_like(x_t), levels(alpha, len(x_t))).isfinite().all()
        for earlier in (alpha, 1.0):
            kept = remaining(levels(alpha, len(x_t)), levels(earlier, len(x_t)))
            assert analytic(kernel, log_score, x_t, kept).left().isfinite().all()


# --- one reverse step ------------------------------------------------------------------------------------------------
@kernels
@alphas
def test_one_position_is_undone_exactly(kernel, alpha):
    """With true ratios the analytic weights are p(x_s | x_t) by Bayes' rule; Euler's approach them in short steps."""
    x_t, earlier = changed(kernel), (1 + 2 * alpha) / 3
    now, before = spread(kernel, DATA, alpha), spread(kernel, DATA, earlier)
    forward = kernel.transition_matrix(alpha, earlier)
    right = (before[:, None] * forward / now).mT[x_t]
    log_score, kept = ratios(now, x_t), remaining(levels(alpha, len(x_t)), levels(earlier, len(x_t)))
    found = analytic(kernel, log_score, x_t, kept)
    assert torch.allclose(found.weights(kernel.states), right, rtol=1e-9, atol=1e-12)
    assert torch.allclose(found.left(), 1 - right.gather(-1, x_t[:, None])[:, 0], atol=1e-9)
    errors = []
    for part in (1e-3, 1e-4):
        short = levels(part, len(x_t))
        exact = analytic(kernel, log_score, x_t, (-short).exp()).weights(kernel.states)
        errors.append((euler(kernel, log_score, x_t, short).weights(kernel.states) - exact).abs().max())
    assert errors[1] < 0.02 * errors[0] or errors[0] < 1e-9


@kernels
def test_any_scores_have_the_weights_of_the_definition(kernel):
    """(exp(-d Q) s)_y exp(d Q)(x_t, y) by matrix exponentials, below 0 too; reverse rates are scores times Q."""
    generator = torch.Generator().manual_seed(2)
    x_t = torch.arange(kernel.states) if isinstance(kernel, Uniform) else changed(kernel)
    log_score = scores.zero_at_own(2 * torch.randn(len(x_t), kernel.states, generator=generator).double(), x_t)
    column = kernel.generator().mT  # Q of the paper, whose columns sum to 0
    for noise in (0.1, 3.0):
        staggered = log_score.exp() @ torch.matrix_exp(-noise * column).mT
        right = staggered * torch.matrix_exp(noise * column)[x_t]
        found = analytic(kernel, log_score[:, :TOKENS], x_t, torch.exp(-levels(noise, len(x_t))))
        assert torch.allclose(found.weights(kernel.states), right, rtol=1e-8, atol=1e-10)
        assert found.left().min() >= 0
        assert found.left().max() <= 1
    assert (right < 0).any()
    rates = reverse_rates(kernel, log_score[:, :TOKENS], x_t).weights(kernel.states)
    moves = (log_score.exp() * column[x_t]).scatter(-1, x_t[:, None], 0.0)
    assert torch.allclose(rates, moves.scatter(-1, x_t[:, None], -moves.sum(-1, keepdim=True)), rtol=1e-12)


# --- draws -----------------------------------------------------------------------------------------------------------
def step_of(kernel, rows=20_000, seed=3):
    """A reverse step of many equal rows, with random outputs: x_t, outputs, noise."""
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.stack([changed(kernel)[0], torch.tensor(2), changed(kernel)[-1]]).expand(rows, -1)
    logits = torch.randn(3, TOKENS, generator=generator).expand(rows, -1, -1).clone()
    logits = scores.zero_at_own(logits, x_t) if isinstance(kernel, Uniform) else logits
    return x_t, logits, torch.rand(rows, 3, 2, generator=generator, dtype=torch.float64)


@kernels
@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("sampler", ["analytic", "euler"])
def test_draws_follow_the_weights(kernel, sampler, final):
    """False alarms: at most 120 shares within 4.5 standard errors, below 1 in 1,000."""
    x_t, logits, noise = step_of(kernel)
    t, s = 0.7, 0.2
    schedule = build("log-linear")
    alpha_t, alpha_s = (schedule.alpha_bar(torch.full((len(x_t), 1), time, dtype=torch.float64)) for time in (t, s))
    step = analytic_step if sampler == "analytic" else EulerSteps(schedule).between(t, s)
    assert isinstance(EulerSteps(schedule), Timed)
    x_s = step(kernel, x_t, Estimate(logits, logits), alpha_t, alpha_s, noise=noise, final=final)
    for place in range(3):
        here = x_t[:1, place]
        if isinstance(kernel, Absorbing) and here != kernel.mask:
            assert (x_s[:, place] == here).all()
            continue
        log_score = log_scores(kernel, logits[0, place : place + 1], alpha_t[:1, 0])
        if sampler == "analytic" or final:
            law = analytic(kernel, log_score, here, remaining(alpha_t[:1, 0], torch.ones(1) if final else alpha_s[:1, 0]))
        else:
            law = euler(kernel, log_score, here, (t - s) * 0.999 / alpha_t[:1, 0])
        weights = law.weights(kernel.states)[0].clamp_min(0)
        if final and isinstance(kernel, Absorbing):
            weights[kernel.mask] = 0
        right = weights / weights.sum()
        shares = torch.bincount(x_s[:, place], minlength=kernel.states) / len(x_s)
        error = (right * (1 - right) / len(x_s)).sqrt()
        assert ((shares - right).abs() <= 4.5 * error + 1e-12).all()


@kernels
def test_blocks_change_no_draw(kernel, monkeypatch):
    x_t, logits, noise = step_of(kernel, rows=7)
    levels_of = (torch.full((7, 1), 0.3).double(), torch.full((7, 1), 0.8).double())
    whole = analytic_step(kernel, x_t, Estimate(logits, logits), *levels_of, noise=noise, final=False)
    monkeypatch.setattr(scores, "BLOCK", 2 * TOKENS)
    assert torch.equal(analytic_step(kernel, x_t, Estimate(logits, logits), *levels_of, noise=noise, final=False), whole)
    assert not torch.equal(whole, x_t)


def test_rows_without_masks_cost_nothing():
    """The network is asked for the rows that hold masks, and not at all where none does."""
    asked = []

    def ask(rows):
        asked.append(None if rows is None else rows.tolist())
        logits = torch.zeros(3 if rows is None else len(rows), 2, TOKENS)
        return Estimate(logits, logits)

    x_t = torch.tensor([[0, 1], [4, 2], [3, 3]])
    one = torch.ones(3, 1, dtype=torch.float64)
    step = partial(analytic_step, KERNELS[0], noise=torch.full((3, 2, 2), 0.5).double(), final=True)
    x_s = step(x_t, Deferred(ask), 0.1 * one, one)
    assert asked == [[1]]
    assert torch.equal(x_s[[0, 2]], x_t[[0, 2]])
    assert (x_s < TOKENS).all()
    assert torch.equal(step(x_s, Deferred(ask), 0.1 * one, one), x_s)
    assert asked == [[1]]


def test_outputs_at_some_positions_are_those_of_the_whole_however_they_are_wrapped():
    head, hidden = torch.nn.Linear(3, TOKENS), torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor([[True, False, False, True, False], [False] * 5])
    read = Readout(hidden, head, normalised)
    for estimate in (read, Estimate(read.x0_hat, read.raw), Changed(read, torch.neg), Mixed(read, read, 0.5)):
        assert torch.allclose(estimate.raw_at(chosen), head(hidden)[chosen])
        assert torch.equal(estimate.raw, read.raw)
    x_t = torch.arange(10).view(2, 5) % TOKENS
    zeroed = OwnZero(Estimate(read.x0_hat, read.raw.detach().clone()), x_t)
    assert torch.equal(zeroed.raw_at(chosen), zeroed.raw[chosen])
    assert not zeroed.raw.gather(-1, x_t[..., None]).any()
    assert (zeroed.raw == 0).sum() == 10
    assert torch.equal(zeroed.at(chosen), zeroed.raw[chosen].log_softmax(-1))
    assert torch.equal(zeroed.x0_hat[chosen], zeroed.at(chosen))
    deferred = Deferred(lambda rows: read if rows is None else OfRows(read, rows))
    torch.testing.assert_close(deferred.raw_at(chosen), read.raw_at(chosen))
    assert deferred.known is None


def test_given_positions_are_not_looked_at():
    """Uniform noise: where alpha is 1 nothing changes, whatever the scores are."""
    x_t, logits, noise = step_of(KERNELS[1], rows=50)
    given = torch.tensor([True, False, True]).expand(50, -1)
    alpha_t = torch.where(given, 1.0, torch.tensor(0.1).double())
    x_s = analytic_step(KERNELS[1], x_t, Estimate(logits, logits), alpha_t, torch.ones_like(alpha_t), noise=noise, final=False)
    assert torch.equal(x_s[given], x_t[given])
    assert not torch.equal(x_s, x_t)


@kernels
def test_scores_beyond_float32_are_left_for_sure(kernel):
    x_t, _, noise = step_of(kernel, rows=20)
    huge, one = torch.full((20, 3, TOKENS), 100.0), torch.ones(20, 1, dtype=torch.float64)
    for t, final in ((0.5, True), (1e-5, True), (0.5, False)):
        levels_of = (1 - t) * one, (1 - t / 2 * (not final)) * one
        x_s = analytic_step(kernel, x_t, Estimate(huge, huge), *levels_of, noise=noise, final=final)
        assert (x_s < TOKENS).all()


def test_other_kernels_are_refused():
    x_t, logits, noise = step_of(KERNELS[1], rows=1)
    kernel = DiscretisedGaussian.of_length(TOKENS, 20)
    one = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(TypeError, match="DiscretisedGaussian"):
        analytic_step(kernel, x_t, Estimate(logits, logits), 0.5 * one, one, noise=noise, final=False)
