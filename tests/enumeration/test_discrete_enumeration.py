"""Kernels, bound and sampler of discrete models against brute force, for every kernel with every registered schedule."""

import itertools
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from discrete_cases import KERNELS, SCHEDULES, UNIGRAM, T, V, composed, model_of, own_matrices, own_prior, schedule_of
from scipy.stats import chi2

from baselines.enumeration import decided, drawn, every_sequence, exact_bound, exact_law
from baselines.parts.categorical import Absorbing, Mixing, Unmasking, kullback_leibler, point
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.randomness import Noise
from baselines.parts.samplers import ancestral
from baselines.parts.samplers_discrete import exact_count
from baselines.parts.timesteps import network_time
from baselines.training import Draws

CLOSE = {"rtol": 1e-9, "atol": 1e-12}
ALL = pytest.mark.parametrize(("kernel_name", "schedule_name"), list(itertools.product(KERNELS, SCHEDULES)))


def tokens_of(kernel):
    return min(V, kernel.states)


def levels_of(schedule, steps=T):
    return schedule.alpha_bar(torch.arange(steps + 1, dtype=torch.float64)[:, None] / steps)[:, 0]


@cache
def parts(kernel_name, schedule_name):
    kernel = KERNELS[kernel_name]()
    schedule = schedule_of(schedule_name, kernel)
    levels = levels_of(schedule)
    matrices = own_matrices(kernel_name, levels)
    products = [torch.eye(kernel.states, dtype=torch.float64)]
    for matrix in matrices:
        products.append(products[-1] @ matrix)
    return kernel, levels, matrices, products


@ALL
def test_marginals_and_transitions_are_products_of_matrices(kernel_name, schedule_name):
    kernel, levels, matrices, products = parts(kernel_name, schedule_name)
    for i in range(1, T + 1):
        everything = torch.arange(kernel.states)[None]
        law = kernel.log_marginal(point(everything, kernel.states), levels[i].view(1, 1)).exp()[0]
        torch.testing.assert_close(law, products[i], **CLOSE)
        torch.testing.assert_close(kernel.transition_matrix(levels[i], levels[i - 1]), matrices[i - 1], **CLOSE)
    two = kernel.transition_matrix(levels[3], levels[1])
    torch.testing.assert_close(two, matrices[1] @ matrices[2], **CLOSE)


@ALL
def test_the_posterior_is_bayes_rule_and_the_estimate_enters_jointly(kernel_name, schedule_name):
    kernel, levels, matrices, products = parts(kernel_name, schedule_name)
    estimate = torch.tensor([[[0.1, 0.2, 0.3, 0.4]]], dtype=torch.float64)
    for i in range(1, T + 1):
        alpha_t, alpha_s = levels[i].view(1, 1), levels[i - 1].view(1, 1)
        for x_t in range(kernel.states):
            mean = estimate[0, 0] @ products[i - 1][:V]
            expected = mean * matrices[i - 1][:, x_t]
            if expected.sum() == 0:
                continue
            law = kernel.posterior(torch.tensor([[x_t]]), estimate.log(), alpha_t, alpha_s)
            torch.testing.assert_close(law.log_probabilities().exp()[0, 0], expected / expected.sum(), **CLOSE)


@ALL
def test_the_bound_is_the_brute_force_bound(kernel_name, schedule_name):
    """Sum over all whole trajectories of q (log q - log p), against the sum of the terms; V = 4, L = 1."""
    kernel, _, matrices, products = parts(kernel_name, schedule_name)
    model = model_of(kernel, schedule_of(schedule_name, kernel), 1)
    x0 = torch.tensor([2])
    found = exact_bound(model, x0)
    states, steps = torch.arange(kernel.states), range(T, 0, -1)
    reverse = {}
    for i in steps:
        index = torch.full((kernel.states,), i - 1)
        hat = model.denoiser(states[:, None], network_time(index, T), None, None).x0_hat[:, 0].exp()
        weight = (hat @ products[i - 1][:V]) * matrices[i - 1].mT
        reverse[i] = weight / weight.sum(-1, keepdim=True)
    paths = torch.cartesian_prod(*[states] * T)
    q, p = torch.ones(len(paths)).double(), own_prior(kernel_name)[paths[:, -1]]
    for i in range(T):
        before = paths[:, i - 1] if i else torch.full((len(paths),), 2)
        q, p = q * matrices[i][before, paths[:, i]], p * reverse[i + 1][paths[:, i], before]
    possible = q > 0
    total = (q * (q.log() - p.log()))[possible].sum()
    torch.testing.assert_close(found.total, total, rtol=1e-8, atol=1e-9)
    model_law = exact_law(model, 1, model.clock.grid(T), drawn)
    assert found.total >= -model_law[2].log() - 1e-9


@pytest.mark.parametrize("kernel_name", KERNELS)
def test_the_training_loss_is_an_unbiased_estimate_of_the_bound(kernel_name):
    """n = 6,000 draws of the objective for two positions; |z| < 4.5: a false alarm in 150,000."""
    kernel = KERNELS[kernel_name]()
    model = model_of(kernel, schedule_of("linear-alpha-bar", kernel), 2)
    ids = torch.tensor([2, 0])
    n = 6000
    canvas = Canvas(ids=ids.expand(n, -1), given=torch.zeros(n, 2, dtype=torch.bool))
    draws = Draws(seed=4, batch=n, rows=slice(n), device=torch.device("cpu"))
    losses = model.loss(canvas, draws) * 2 * T
    assert abs(losses.mean() - exact_bound(model, ids).terms.sum()) < 4.5 * losses.std() / n**0.5


@ALL
def test_the_sampler_follows_the_brute_force_law(kernel_name, schedule_name):
    """All steps, two, one; the last takes the mode; L = 2. Samples: n = 2,000, chi-square at 1e-7 for each of 500 laws."""
    kernel, _, matrices, _ = parts(kernel_name, schedule_name)
    model, n = model_of(kernel, schedule_of(schedule_name, kernel), 2), 2000
    empty = Canvas(ids=torch.zeros(n, 2, dtype=torch.int64), given=torch.zeros(n, 2, dtype=torch.bool))
    for number, visited in enumerate(([0, 1, 2, 3, 4], [1, 4], [4])):
        expected = own_law(model, own_prior(kernel_name), matrices, visited)
        torch.testing.assert_close(exact_law(model, 2, model.clock.through(torch.tensor(visited)), decided), expected, **CLOSE)
        ids = model.sample(empty, Noise(torch.arange(n) + number * n), model.clock.through(torch.tensor(visited)))
        count = torch.bincount(ids[:, 0] * kernel.states + ids[:, 1], minlength=kernel.states**2).double()
        assert_drawn_from(expected, count, 1e-7)


def own_law(model, prior, matrices, visited):
    """Law of all pairs of states by the joint form of the reverse step, from matrices alone."""
    pairs = every_sequence(len(prior), 2)
    law, places = prior[pairs].prod(-1), [0, *(step + 1 for step in visited)]
    for left, done in reversed(list(itertools.pairwise(places))):
        hat = model.denoiser(pairs, network_time(torch.full((len(pairs),), done - 1), T), None, None).x0_hat.exp()
        weight = (hat @ composed(matrices[:left], len(prior))[:V]) * composed(matrices[left:done], len(prior)).mT[pairs]
        step = weight / weight.sum(-1, keepdim=True)
        step = step if left else torch.nn.functional.one_hot(weight.argmax(-1), len(prior)).double()
        law = law @ (step[:, 0, :, None] * step[:, 1, None]).flatten(1).where(law[:, None] > 0, 0.0)
    return law


def assert_drawn_from(law, count, false_alarm):
    """Outcomes expected fewer than 10 times are taken together with the least of the others; impossible ones never occur."""
    assert (count[law < 1e-12] == 0).all()
    mean = law * count.sum()
    often = mean >= 10
    often[mean.where(often, torch.inf).argmin()] = False
    found, wanted = (torch.cat([x[often], x[~often].sum()[None]]) for x in (count, mean))
    assert chi2.sf(((found - wanted) ** 2 / wanted).sum(), max(len(wanted) - 1, 1)) > false_alarm


@pytest.mark.parametrize(("kernel_name", "schedule_name"), [
    ("absorbing", "linear-alpha-bar"), ("uniform", "cosine-plain"), ("discretised-gaussian", "linear-beta"),
    ("nearest-neighbour", "mutual-information"), ("mask-and-uniform", "geometric"),
])  # fmt: skip
def test_many_samples_follow_the_exact_law(kernel_name, schedule_name):
    """Argmax ending, L = 2, n = 40,000; every |z| < 4.5: a false alarm in 5,000 for 25 outcomes."""
    kernel = KERNELS[kernel_name]()
    model, n = model_of(kernel, schedule_of(schedule_name, kernel), 2), 40_000
    expected = exact_law(model, 2, model.clock.through(torch.tensor([1, 4])), decided)
    empty = Canvas(ids=torch.zeros(n, 2, dtype=torch.int64), given=torch.zeros(n, 2, dtype=torch.bool))
    drawn_ids = model.sample(empty, Noise(torch.arange(n)), model.clock.through(torch.tensor([1, 4])))
    count = torch.bincount(drawn_ids[:, 0] * kernel.states + drawn_ids[:, 1], minlength=kernel.states**2).double()
    assert_frequencies(count, expected, n)


def assert_frequencies(count, expected, n):
    torch.testing.assert_close(expected.sum(), torch.ones((), dtype=torch.float64))
    possible = expected > 1e-12
    assert (count[~possible] == 0).all()
    z = (count - n * expected) / (n * expected * (1 - expected)).clamp_min(1e-9).sqrt()
    rare = n * expected < 10
    assert z[possible & ~rare].abs().max() < 4.5
    assert (count[possible & rare] < 40).all()


def test_a_sampled_ending_has_its_own_law():
    kernel = KERNELS["uniform"]()
    model = model_of(kernel, schedule_of("cosine-plain", kernel), 2)
    laws = [exact_law(model, 2, model.clock.grid(T), ending) for ending in (drawn, decided)]
    assert (laws[0] > 0).all()
    assert (laws[0] - laws[1]).abs().max() > 0.01


def test_exact_count_reveals_as_many_as_the_schedule_expects():
    """With as many steps as positions one mask goes per step; the law is that of a random order, n = 40,000, |z| < 4.5."""
    n, length = 40_000, 3
    kernel = Absorbing(V)
    model = model_of(kernel, schedule_of("linear-alpha-bar", kernel), length, steps=3, reverse=exact_count)
    empty = Canvas(ids=torch.zeros(n, length, dtype=torch.int64), given=torch.zeros(n, length, dtype=torch.bool))
    found = model.sample(empty, Noise(torch.arange(n)), model.clock.grid(3))
    expected = random_order_law(model, length)
    places = found @ torch.tensor([V**2, V, 1])
    assert_frequencies(torch.bincount(places, minlength=V**length).double(), expected, n)


def random_order_law(model, length):
    """One position at a time in a uniformly drawn order; the last one takes the argmax."""
    expected = torch.zeros(V**length, dtype=torch.float64)
    orders = list(itertools.permutations(range(length)))
    for order, ids in itertools.product(orders, every_sequence(V, length)):
        probability = 1 / len(orders)
        x = torch.full((1, length), V)
        for number, place in enumerate(order):
            hat = model.denoiser(x, network_time(torch.tensor([length - 1 - number]), length), None, None).x0_hat[0, place].exp()
            last = number == length - 1
            probability *= float(hat.argmax() == ids[place]) if last else float(hat[ids[place]])
            x[0, place] = ids[place]
        expected[ids @ torch.tensor([V**2, V, 1])] += probability
    return expected


def test_exact_count_keeps_the_expected_number_at_every_step():
    kernel, n, length = Absorbing(V), 500, 10
    x_t = torch.full((n, length), V)
    x_t[:, 0] = 1
    estimate = Estimate(torch.full((n, length, V), 0.25).log(), torch.zeros(()))
    noise = Noise(torch.arange(n)).uniform(0, length, 2)
    alpha_t, alpha_s = (torch.full((n, length), level, dtype=torch.float64) for level in (0.1, 0.42))
    x_s = exact_count(kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=False)
    assert ((x_s == V).sum(-1) == 6).all()
    assert (x_s[:, 0] == 1).all()
    uniform = KERNELS["uniform"]()
    with pytest.raises(TypeError, match="has no mask"):
        exact_count(uniform, x_t.clamp(max=3), estimate, alpha_t, alpha_s, noise=noise, final=False)


@pytest.mark.parametrize("schedule_name", SCHEDULES)
def test_absorbing_is_the_general_mixture_with_all_weight_on_the_mask(schedule_name):
    fast, mask = Absorbing(V), torch.tensor([0, 0, 0, 0, 1.0], dtype=torch.float64)
    general = Mixing(mask)
    levels = levels_of(schedule_of(schedule_name, fast))
    x0, x_t = torch.tensor([[0, 1, 2]]), torch.tensor([[V, 1, V]])
    x0_hat = torch.randn(1, 3, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(-1)
    for t, s in [(4, 3), (3, 1), (2, 0)]:
        pair = levels[t].view(1, 1), levels[s].view(1, 1)
        laws = [kernel.posterior(x_t, x0_hat, *pair) for kernel in (fast, general)]
        assert isinstance(laws[0], Unmasking)
        torch.testing.assert_close(laws[0].log_probabilities().exp(), laws[1].log_probabilities().exp(), **CLOSE)
        losses = [kernel.divergence(x_t, x0, x0_hat, *pair) for kernel in (fast, general)]
        torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-12)
    share = levels[1:4]
    law = torch.nn.functional.pad(UNIGRAM / UNIGRAM.sum(), (0, 1)).double()
    torch.testing.assert_close(fast.information(share, law[:V]), general.information(share, law[:V]), **CLOSE)


# --- properties of every kernel --------------------------------------------------------------------------------------
@pytest.mark.parametrize("kernel_name", KERNELS)
def test_information_rises_with_what_is_kept(kernel_name):
    kernel = KERNELS[kernel_name]()
    law = torch.nn.functional.pad((UNIGRAM / UNIGRAM.sum()).double(), (0, 0))[: tokens_of(kernel)]
    if kernel_name in ("mask-and-uniform", "two-point"):
        law = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
    alpha = torch.linspace(0, 1, 21, dtype=torch.float64)
    found = kernel.information(alpha, law)
    entropy = -(law * law.clamp_min(1e-300).log()).sum()
    assert (found.diff() >= -1e-12).all()
    torch.testing.assert_close(found[-1], entropy)
    assert found[0] < 0.6 * entropy


@pytest.mark.parametrize("kernel_name", KERNELS)
def test_corruption_follows_the_marginal(kernel_name):
    """n = 40,000; |z| < 4.5."""
    kernel, n = KERNELS[kernel_name](), 40_000
    alpha = torch.full((n, 1), 0.45, dtype=torch.float64)
    x0 = torch.full((n, 1), 1)
    drawn_ids = kernel.corrupt(x0, alpha, kernel.noise(Noise(torch.arange(n)), 0, 1))
    expected = kernel.log_marginal(point(x0[:1], kernel.states), alpha[:1]).exp()[0, 0]
    assert_frequencies(torch.bincount(drawn_ids[:, 0], minlength=kernel.states).double(), expected, n)


@pytest.mark.parametrize("kernel_name", KERNELS)
def test_given_positions_neither_move_nor_cost(kernel_name):
    kernel = KERNELS[kernel_name]()
    x0 = torch.tensor([[0, 1, 2]])
    one = torch.ones(1, 3, dtype=torch.float64)
    noise = kernel.noise(Noise(torch.tensor([5])), 0, 3)
    assert torch.equal(kernel.corrupt(x0, one, noise), x0)
    x0_hat = torch.randn(1, 3, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(-1)
    torch.testing.assert_close(kernel.divergence(x0, x0, x0_hat, one, one), torch.zeros(1, 3).double(), rtol=0, atol=1e-9)
    assert torch.equal(kernel.posterior(x0, x0_hat, one, one).mode(), x0)


@pytest.mark.parametrize("kernel_name", KERNELS)
def test_gradients_are_finite_at_both_ends(kernel_name):
    kernel = KERNELS[kernel_name]()
    schedule = schedule_of("linear-alpha-bar", kernel)
    levels = levels_of(schedule)
    x0 = torch.tensor([[0, 1, 2]])
    for t in (1, T):
        x_t = kernel.corrupt(x0, levels[t].view(1, 1), kernel.noise(Noise(torch.tensor([t])), 0, 3))
        logits = torch.zeros(1, 3, V, requires_grad=True)
        loss = kernel.divergence(x_t, x0, logits.log_softmax(-1), levels[t].view(1, 1), levels[t - 1].view(1, 1)).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        assert slope.isfinite().all()


def test_divergence_of_equal_laws_is_zero():
    law = KERNELS["uniform"]().posterior(
        torch.tensor([[1]]), torch.full((1, 1, V), -1.0), torch.full((1, 1), 0.3).double(), torch.full((1, 1), 0.6).double()
    )
    assert kullback_leibler(law, law).abs().max() < 1e-7


def test_ancestral_takes_the_mode_at_the_end():
    kernel = KERNELS["uniform"]()
    x_t, x0_hat = torch.tensor([[1]]), torch.tensor([[[0.1, 0.2, 0.6, 0.1]]]).log()
    levels = [torch.full((1, 1), level, dtype=torch.float64) for level in (0.02, 1.0)]
    outcomes = {
        int(ancestral(kernel, x_t, Estimate(x0_hat, x0_hat), *levels, noise=torch.full((1, 1, 2), u).double(), final=True))
        for u in (0.01, 0.5, 0.99)
    }
    assert outcomes == {2}
