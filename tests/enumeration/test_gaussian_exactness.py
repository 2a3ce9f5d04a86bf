"""Gaussian kernel and its reverse steps with every registered schedule that needs no corpus, without a single random draw.

Moments are exact: all laws are linear in independent standard normals, so their mean and variance come from Gauss-Hermite nodes.
"""

import itertools

import numpy as np
import pytest
import torch

from baselines.parts.estimates import Estimate
from baselines.parts.gaussian import GaussianKernel, posterior_variance, step_variance
from baselines.parts.samplers import ancestral, ddim
from harness.schedules.catalogue import example_text
from harness.schedules.names import CONTENT, build, known_names, parse

T = 8
SCHEDULES = [name for name in known_names() if name not in CONTENT and not parse(example_text(name)).needs_kernel]
MOVES = [(8, 7), (8, 3), (5, 4), (5, 1), (2, 1), (1, 0), (3, 0), (8, 0)]
EVERY = pytest.mark.parametrize("schedule", SCHEDULES)
X0, CLOSE = torch.tensor(0.8, dtype=torch.float64), {"rtol": 1e-9, "atol": 1e-11}
NODES, WEIGHTS = (torch.from_numpy(values) for values in np.polynomial.hermite_e.hermegauss(6))


def levels_of(name):
    """alpha-bar at 0, 1/8, ..., 1; tables, some of which do not exist at few steps, have 40."""
    text, _, table = example_text(name).partition("@")
    schedule = build(f"{text}@40" if table else text)
    return schedule.alpha_bar(torch.arange(T + 1, dtype=torch.float64)[:, None] / T)[:, 0]


def moves_of(name, moves=MOVES):
    """Levels before and after each move that changes something noisy."""
    levels = levels_of(name)
    return [(levels[t], levels[s]) for t, s in moves if levels[t] < levels[s] and levels[t] < 1]


def kernel(variance=posterior_variance):
    return GaussianKernel(1, variance)


def state(value):
    return torch.as_tensor(value, dtype=torch.float64).reshape(-1, 1, 1)


def level(value, count=1):
    return torch.as_tensor(value, dtype=torch.float64).expand(count, 1)


def normals(count):
    """All combinations of nodes of some independent standard normals, and their weights."""
    places = torch.cartesian_prod(*[NODES] * count).view(-1, count)
    weights = torch.cartesian_prod(*[WEIGHTS] * count).view(-1, count).prod(-1)
    return [state(column) for column in places.mT], weights / weights.sum()


def moments(values, weights):
    mean = (values.flatten() * weights).sum()
    return mean, ((values.flatten() - mean) ** 2 * weights).sum()


def corrupted(x, alpha, noise):
    return kernel().corrupt(x.expand_as(noise), level(alpha, len(noise)), noise)


def assert_moments(values, weights, mean, variance):
    for found, expected in zip(moments(values, weights), (mean, variance), strict=True):
        torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), **CLOSE)


def reached(alpha):
    """Mean and variance of q(x_t | x_0)."""
    return alpha.sqrt() * X0, 1 - alpha


@EVERY
def test_corruption_has_exact_moments(schedule):
    (noise,), weights = normals(1)
    for alpha in levels_of(schedule):
        assert_moments(corrupted(state(X0), alpha, noise), weights, *reached(alpha))


@EVERY
def test_two_steps_of_corruption_are_one(schedule):
    """x_0 to x_s, then from s to t with what the kernel keeps of x_s and the variance that it adds."""
    (first, second), weights = normals(2)
    for alpha_t, alpha_s in moves_of(schedule):
        ratio = alpha_t / alpha_s
        torch.testing.assert_close(1 - ratio, step_variance(alpha_t, alpha_s), **CLOSE)
        x_t = corrupted(corrupted(state(X0), alpha_s, first), ratio, second)
        assert_moments(x_t, weights, *reached(alpha_t))


@EVERY
@pytest.mark.parametrize("z", [(0.3, -0.8), (-1.4, 0.5)])
def test_the_posterior_is_bayes_rule_on_a_grid(schedule, z):
    """q(x_s | x_0) q(x_t | x_s), normalised over 4,001 values of x_s around the narrower of the two."""
    for alpha_t, alpha_s in moves_of(schedule, [move for move in MOVES if move[1]]):
        if alpha_s == 1:
            continue
        ratio = alpha_t / alpha_s
        before = alpha_s.sqrt() * X0 + (1 - alpha_s).sqrt() * z[0]
        x_t = ratio.sqrt() * before + (1 - ratio).sqrt() * z[1]
        grid, log_law = product_of_normals(
            (alpha_s.sqrt() * X0, 1 - alpha_s), (x_t / ratio.sqrt(), (1 - ratio) / ratio) if ratio > 0 else None
        )
        law = kernel().posterior(state(x_t), state(X0), level(alpha_t), level(alpha_s))
        mean, variance = moments(grid, (log_law - log_law.max()).softmax(0))
        torch.testing.assert_close(law.mode().squeeze(), mean, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(law.variance.squeeze(), variance, rtol=1e-7, atol=1e-12)


def product_of_normals(first, second):
    """A grid and the unnormalised log-density of a product of two normal densities; the second may be flat."""
    parts = [part for part in (first, second) if part is not None]
    centre, variance = min(parts, key=lambda part: part[1])
    grid = centre + variance.sqrt() * torch.linspace(-14, 14, 4001, dtype=torch.float64)
    return grid, sum(-((grid - mean) ** 2) / (2 * spread) for mean, spread in parts)


@EVERY
def test_the_step_to_the_data_ends_there(schedule):
    for alpha_t, _ in moves_of(schedule):
        law = kernel().posterior(state(-0.4), state(X0), level(alpha_t), level(1.0))
        torch.testing.assert_close(law.mode(), state(X0), **CLOSE)
        assert law.variance.item() == 0


@EVERY
def test_reverse_steps_lead_from_marginal_to_marginal(schedule):
    """x_t from q(x_t | x_0), then back: ancestral at the true x_0, and DDIM with any variance, give q(x_s | x_0)."""
    (first, second), weights = normals(2)
    steps = [ancestral, *(with_eta(eta) for eta in (0.0, 0.6, 1.0))]
    for (alpha_t, alpha_s), step in itertools.product(moves_of(schedule), steps):
        x_t = corrupted(state(X0), alpha_t, first)
        assert_moments(taken(step, x_t, alpha_t, alpha_s, second), weights, *reached(alpha_s))


@EVERY
def test_two_reverse_steps_are_one(schedule):
    """From a given x_t to s and on to r, in mean and variance, as from t to r at once."""
    (first, second), weights = normals(2)
    levels, x_t = levels_of(schedule), state(-0.7)
    for t, s, r in [(8, 5, 2), (6, 5, 4), (4, 2, 1), (3, 1, 0)]:
        alpha_t, alpha_s, alpha_r = levels[[t, s, r]]
        if alpha_s == 1 or alpha_s == alpha_t:
            continue
        x_s = taken(ancestral, x_t.expand_as(first), alpha_t, alpha_s, first)
        law = kernel().posterior(x_t, state(X0), level(alpha_t), level(alpha_r))
        x_r = taken(ancestral, x_s, alpha_s, alpha_r, second)
        assert_moments(x_r, weights, law.mode().squeeze(), law.variance.squeeze())


@EVERY
def test_ddim_with_eta_one_is_ancestral_and_the_large_variance_only_widens(schedule):
    x_t, noise = state([-0.7, 0.2]), state([0.9, -1.3])
    for alpha_t, alpha_s in moves_of(schedule):
        small = taken(ancestral, x_t, alpha_t, alpha_s, noise)
        torch.testing.assert_close(taken(with_eta(1.0), x_t, alpha_t, alpha_s, noise), small, rtol=1e-8, atol=1e-8)
        pair = level(alpha_t, 2), level(alpha_s, 2)
        wide, narrow = (kernel(variance).posterior(x_t, x_t, *pair) for variance in (step_variance, posterior_variance))
        assert torch.equal(wide.mode(), narrow.mode())
        assert (wide.variance >= narrow.variance - 1e-15).all()


def with_eta(eta):
    return lambda *arguments, **keywords: ddim(*arguments, eta=eta, **keywords)


def taken(step, x_t, alpha_t, alpha_s, noise):
    estimate = Estimate(state(X0).expand_as(x_t), x_t)
    pair = level(alpha_t, len(x_t)), level(alpha_s, len(x_t))
    return step(kernel(), x_t, estimate, *pair, noise=noise, final=False)
