"""Uniform noise in continuous time: its bound as the limit of chains, and the sampler that draws only where tokens change."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.parts.categorical import Absorbing, Categorical, Mixing, Uniform, point
from baselines.parts.estimates import PIECE, Changed, Deferred, Estimate, Readout
from baselines.parts.guidance import Mixed
from baselines.parts.objectives_discrete import token_error, uniform_bound, uniform_divergence, uniform_gap, where_written
from baselines.parts.randomness import Noise
from baselines.parts.samplers_discrete import renewed, renewed_then_mode
from baselines.parts.steps import Step
from harness.schedules.names import build

V = 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def laws(*shape, seed=0, sharp=2.0):
    return (sharp * torch.randn(*shape, V, generator=generator(seed), dtype=torch.float64)).log_softmax(-1)


def every_pair():
    """All x_t with all x_0, as one row of positions."""
    return torch.cartesian_prod(torch.arange(V), torch.arange(V)).T[:, None]


def three_terms(x_t, x0, x0_hat, alpha):
    """The integrand over -alpha' as the paper writes it: two terms at x_t and one sum, Schiff et al. 2024, section 4."""
    states = x0_hat.shape[-1]
    true, model = (states * alpha[..., None] * law.exp() + 1 - alpha[..., None] for law in (point(x0, states), x0_hat))
    true_here, model_here = (law.gather(-1, x_t[..., None]) for law in (true, model))
    ratio = true / true_here
    gap = states / model_here - states / true_here + (ratio * (ratio.log() + (model_here / model).log())).sum(-1, keepdim=True)
    return gap[..., 0] / (states * alpha)


# --- the bound -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", [0.001, 0.3, 0.9, 0.999])
def test_the_bound_is_the_limit_of_chains(alpha):
    """The divergence of one short step over the signal that it loses, for every x_t and x_0."""
    x_t, x0 = every_pair()
    x0_hat, level = laws(1, V * V), torch.full(x0.shape, alpha, dtype=torch.float64)
    lost = 1e-5 * alpha * (1 - alpha)
    divergence = Uniform(V).divergence(x_t, x0, x0_hat, level, level + lost)
    torch.testing.assert_close(uniform_gap(x_t, x0, x0_hat, level), divergence / lost, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.5, 0.99, 1 - 1e-5])
def test_the_bound_is_that_of_the_paper_in_both_precisions_with_its_gradient(alpha):
    x_t, x0 = every_pair()
    level = torch.full(x0.shape, alpha, dtype=torch.float64)
    double = laws(1, V * V, seed=1).requires_grad_()
    expected = three_terms(x_t, x0, double, level)
    (slope,) = torch.autograd.grad(expected.sum(), double)
    single = double.detach().float().requires_grad_()
    (found,) = torch.autograd.grad(uniform_gap(x_t, x0, single, level).sum(), single)
    torch.testing.assert_close(uniform_gap(x_t, x0, double, level), expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(uniform_gap(x_t, x0, single, level), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.double(), slope, rtol=1e-3, atol=1e-3)


LEVELS = [
    (0.0, 1e-3),
    (0.0, 1.0),
    (1e-6, 0.4),
    (0.3, 0.3),
    (0.3, 0.7),
    (0.5, 0.5001),
    (0.9, 1 - 1e-6),
    (0.999, 1.0),
    (1.0, 1.0),
    (0.0, 0.0),
]


@pytest.mark.parametrize("sharp", [0.1, 2.0, 20.0])
@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_a_step_costs_what_its_tables_say(alpha_t, alpha_s, sharp):
    pairs = every_pair()
    x_t, x0 = pairs if alpha_t < 1 else pairs[:, :, pairs[0, 0] == pairs[1, 0]]
    x0_hat, levels = (
        laws(*x0.shape, sharp=sharp),
        (torch.full((1, 1), level, dtype=torch.float64) for level in (alpha_t, alpha_s)),
    )
    before, after = levels
    expected = Uniform(V).divergence(x_t, x0, x0_hat, before, after)
    torch.testing.assert_close(uniform_divergence(x_t, x0, x0_hat, before, after), expected, rtol=1e-10, atol=1e-13)
    single = uniform_divergence(x_t, x0, x0_hat.float(), before, after)
    torch.testing.assert_close(single, expected, rtol=1e-4, atol=1e-6)


def test_rows_at_the_data_and_elsewhere_cost_what_they_cost_alone():
    x_t, x0 = every_pair()
    x0_hat, before = laws(1, V * V), torch.full(x0.shape, 0.2, dtype=torch.float64)
    after = torch.where(torch.arange(V * V) % 2 == 0, 1.0, 0.6)[None].double()
    torch.testing.assert_close(
        uniform_divergence(x_t, x0, x0_hat, before, after), Uniform(V).divergence(x_t, x0, x0_hat, before, after)
    )


def test_only_the_perfect_estimate_costs_nothing():
    x_t, x0 = every_pair()
    level = torch.linspace(0.05, 0.95, V * V, dtype=torch.float64)[None]
    torch.testing.assert_close(uniform_gap(x_t, x0, point(x0, V), level), torch.zeros(1, V * V, dtype=torch.float64))
    assert (uniform_gap(x_t, x0, laws(1, V * V), level) > 1e-4).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_ends_of_time_are_finite(alpha):
    x_t, x0 = every_pair()
    estimate = laws(1, V * V).float().requires_grad_()
    gap = uniform_gap(x_t, x0, estimate, torch.full(x0.shape, alpha, dtype=torch.float64))
    gap.sum().backward()
    assert gap.isfinite().all()
    assert estimate.grad.isfinite().all()


def test_the_bound_takes_the_rate_of_the_schedule_and_leaves_given_positions_out():
    schedule, t = build("cosine-squared(s=0)"), torch.tensor([[0.4]], dtype=torch.float64)
    x_t, x0 = every_pair()
    given = torch.arange(V * V)[None] % 3 == 0
    level = torch.where(given, 1.0, schedule.alpha_bar(t))
    step = Step(
        ids=x0, given=given, clean=x0, x0=x0, x_t=x_t, estimate=Estimate(laws(1, V * V), laws(1, V * V)), t=t, alpha_t=level,
        alpha_s=level, alpha_T=schedule.alpha_bar(torch.ones_like(t)), first=torch.zeros_like(t, dtype=torch.bool),
    )  # fmt: skip
    expected = -schedule.rate(t) * three_terms(x_t, x0, laws(1, V * V), level)
    term = where_written(uniform_bound(schedule))(step)
    assert not term[given].any()
    torch.testing.assert_close(term[~given], expected[~given])


def test_no_answer_is_made_where_tokens_are_given():
    made = []

    def head(hidden):
        made.append(hidden.shape[:-1])
        return hidden

    x_t, x0 = every_pair()
    given, level = torch.arange(V * V)[None] < 3, torch.full((1, 1), 0.5, dtype=torch.float64)
    parts = {"ids": x0, "given": given, "clean": x0, "x0": x0, "x_t": x_t, "t": level, "alpha_T": level, "first": level > 1}
    levels = dict.fromkeys(("alpha_t", "alpha_s"), level.expand(x_t.shape))
    step = Step(estimate=Readout(laws(1, V * V), head, lambda logits: logits), **parts, **levels)

    def term(step):
        return token_error(step) + step.estimate.raw.square().sum(-1)

    found = where_written(term)(step)
    assert made == [(V * V - 3,)] * 2
    assert torch.equal(found, torch.where(given, 0.0, term(step)))
    made.clear()
    assert where_written(term)(replace(step, given=torch.zeros_like(given))).all()
    assert not made  # all was made before


# --- the sampler -----------------------------------------------------------------------------------------------------
STEPS = {"inside": (0.3, 0.5), "from noise": (0.0, 0.2), "short": (0.899, 0.9), "to the data": (0.6, 1.0)}


def level(value):
    return torch.full((1, 1), value, dtype=torch.float64)


def wide(estimate, positions):
    """The same estimate at so many positions."""
    if isinstance(estimate, Mixed):
        return Mixed(wide(estimate.first, positions), wide(estimate.second, positions), estimate.gamma)
    x0_hat = estimate.x0_hat.expand(1, positions, V)
    return Estimate(x0_hat, x0_hat)


def law_of(estimate, x_t, alpha_t, alpha_s, *, points=300):
    """Law of a step for one x_t, by going through a fine grid of both uniform draws: exact to about 1 / points."""
    ticks = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    noise = torch.cartesian_prod(ticks, ticks)[None]
    everywhere = torch.full((1, points**2), x_t)
    found = renewed(
        Uniform(V), everywhere, wide(estimate, points**2), level(alpha_t), level(alpha_s), noise=noise, final=alpha_s == 1
    )
    return torch.bincount(found[0], minlength=V) / points**2


@pytest.mark.parametrize("x_t", [0, 3])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_has_the_law_of_the_posterior(name, x_t):
    alpha_t, alpha_s = STEPS[name]
    law = Uniform(V).posterior(torch.tensor([[x_t]]), laws(1, 1), level(alpha_t), level(alpha_s)).probabilities()[0, 0]
    found = law_of(Estimate(laws(1, 1), laws(1, 1)), x_t, alpha_t, alpha_s)
    torch.testing.assert_close(found.double(), law, rtol=0, atol=0.005)


@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0, 2.5])
@pytest.mark.parametrize("name", STEPS)
def test_guidance_mixes_the_logarithms_of_the_reverse_laws(name, gamma):
    alpha_t, alpha_s = STEPS[name]
    first, second = (laws(1, 1, seed=seed, sharp=1.0) for seed in (1, 2))
    logs = [Uniform(V).posterior(torch.tensor([[2]]), x0_hat, level(alpha_t), level(alpha_s)).log_probabilities()
            for x0_hat in (first, second)]  # fmt: skip
    law = Categorical(gamma * logs[0] + (1 - gamma) * logs[1]).probabilities()[0, 0]
    found = law_of(Mixed(Estimate(first, first), Estimate(second, second), gamma), 2, alpha_t, alpha_s)
    torch.testing.assert_close(found.double(), law, rtol=0, atol=0.005)
    if name == "inside" and gamma == 2.5:
        estimates_mixed = (gamma * first + (1 - gamma) * second).log_softmax(-1)
        other = Uniform(V).posterior(torch.tensor([[2]]), estimates_mixed, level(alpha_t), level(alpha_s)).probabilities()
        assert (other[0, 0] - law).abs().max() > 0.02


def test_drawn_with_the_noise_of_requests_it_has_that_law_too():
    """n = 200,000 draws, 4.5 standard errors for each of 5 tokens: a false alarm in 30,000."""
    n, alpha_t, alpha_s = 200_000, 0.3, 0.5
    law = Uniform(V).posterior(torch.tensor([[1]]), laws(1, 1), level(alpha_t), level(alpha_s)).probabilities()[0, 0]
    noise = Uniform(V).noise(Noise(torch.arange(n)), 3, 1)
    estimate = Estimate(laws(1, 1).float().expand(n, 1, V), laws(1, 1))
    x_t = torch.ones(n, 1, dtype=torch.int64)
    found = renewed(Uniform(V), x_t, estimate, level(alpha_t), level(alpha_s), noise=noise, final=False)
    shares = torch.bincount(found[:, 0], minlength=V) / n
    assert ((shares - law).abs() < 4.5 * (law * (1 - law) / n).sqrt()).all()


def test_given_positions_stay():
    x_t, one = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.float64)
    noise = torch.full((1, 3, 2), 1 - 1e-12, dtype=torch.float64)
    assert torch.equal(renewed(Uniform(V), x_t, Estimate(point(x_t, V), x_t), one, one, noise=noise, final=False), x_t)
    never = Estimate(point((x_t + 1) % V, V), x_t)
    assert torch.equal(renewed(Uniform(V), x_t, never, one, one, noise=noise, final=True), x_t)


def test_the_greedy_tail_takes_the_mode_of_the_estimate_in_the_last_step_alone():
    x_t, estimate = torch.arange(V)[None], Estimate(laws(1, V), laws(1, V))
    noise = Uniform(V).noise(Noise(torch.tensor([4])), 1, V)
    drawn = renewed(Uniform(V), x_t, estimate, level(0.5), level(0.7), noise=noise, final=False)
    assert torch.equal(renewed_then_mode(Uniform(V), x_t, estimate, level(0.5), level(0.7), noise=noise, final=False), drawn)
    last = renewed_then_mode(Uniform(V), x_t, estimate, level(0.99999), level(1.0), noise=noise, final=True)
    assert torch.equal(last, laws(1, V).argmax(-1))
    assert not torch.equal(last, x_t)


def test_other_noise_is_refused():
    x_t = torch.tensor([[1]])
    with pytest.raises(TypeError, match="uniform noise, not Absorbing"):
        renewed(Absorbing(V), x_t, Estimate(laws(1, 1), x_t), level(0.5), level(0.7), noise=torch.rand(1, 1, 2).double(),
                final=False)  # fmt: skip


class Sizes(TorchDispatchMode):
    """Notes how many elements every tensor has that is made."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = [value for value in (result if isinstance(result, tuple | list) else [result]) if isinstance(value, torch.Tensor)]
        self.seen += [(value.numel(), value.dtype) for value in made if not any(value is given for given in args)]
        return result


def test_a_step_makes_no_table_of_the_vocabulary():
    """Few tokens change in a short step, and theirs alone are drawn from a row; guided, all are read in pieces."""
    rows, length, tokens = 40, 32, 1000
    shape = (rows, length)
    estimates = [torch.randn(*shape, tokens, generator=generator(seed)).log_softmax(-1) for seed in (0, 1)]
    x_t = torch.randint(tokens, shape, generator=generator())
    noise = Uniform(tokens).noise(Noise(torch.arange(rows)), 1, length)
    first, second = (Estimate(x0_hat, x0_hat) for x0_hat in estimates)
    for estimate in (first, Mixed(first, second, 2.0)):
        with Sizes() as sizes:
            x_s = renewed(Uniform(tokens), x_t, estimate, level(0.5), level(0.51), noise=noise, final=False)
        assert 0 < (x_s != x_t).sum() < 100
        assert max(count for count, dtype in sizes.seen if dtype == torch.float64) < 100 * tokens
        assert max(count for count, _ in sizes.seen) <= PIECE * tokens < rows * length * tokens


def test_its_marginal_is_that_of_any_mixing_kernel():
    levels = torch.tensor([[0.0, 0.2, 1.0]], dtype=torch.float64)
    for x0_hat in (laws(1, 3), laws(1, 3).float(), point(torch.tensor([[0, 1, 4]]), V)):
        torch.testing.assert_close(Uniform(V).log_marginal(x0_hat, levels), Mixing.log_marginal(Uniform(V), x0_hat, levels))


# --- what estimates mix ----------------------------------------------------------------------------------------------
def test_estimates_tell_what_they_mix():
    first, second = (Estimate(laws(1, 2, seed=seed), laws(1, 2)) for seed in (1, 2))
    assert first.weighted is None
    assert Changed(first, lambda law: 2 * law).weighted is None
    mixed = Changed(Deferred(lambda rows: Mixed(first, second, 3.0)), lambda law: 2 * law)
    assert [weight for weight, _ in mixed.weighted] == [3.0, -2.0]
    assert all(torch.equal(part.x0_hat, 2 * one.x0_hat) for (_, part), one in zip(mixed.weighted, (first, second), strict=True))
