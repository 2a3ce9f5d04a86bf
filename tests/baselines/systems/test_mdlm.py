"""MDLM: its weight and its estimates, invariance to the schedule, times by importance, bounds in continuous time."""

from itertools import pairwise
from math import expm1, log

import pytest
import torch
from masked_cases import WORDS, agree, charged, errors, inside, level, opening
from scipy.special import beta
from toy_sentences import LENGTH, learns, tiny, trained

from baselines.encoding import targets
from baselines.enumeration import exact_integral
from baselines.parts.clocks import Continuum
from baselines.parts.conditioning import Canvas
from baselines.parts.objectives_discrete import masked_bound
from baselines.parts.timesteps import ContinuousTimes, ImportanceTimes, time_at
from baselines.systems.mdlm import LAST_TIME, MDLM
from baselines.training import Draws
from harness.schedules.names import build


def a_step(model, t, rows=16):
    ids = torch.arange(rows * LENGTH).view(rows, LENGTH) % len(model.task.tokenizer)
    canvas = Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))
    draws = Draws(seed=3, batch=rows, rows=slice(rows), device=torch.device("cpu"))
    time = torch.full((rows, 1), t, dtype=torch.float64)
    return model.diffusion.step(canvas, time, time, draws)


# --- objective -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("t", [0.1, 0.8])
def test_the_weight_of_a_mask_is_the_rate_over_what_the_total_noise_destroys(t):
    """sigma' / (exp(sigma) - 1) times -log p(x_0) at masks, with sigma = -log(1 - (1 - eps) t); 0 elsewhere."""
    model = tiny(MDLM)
    step = a_step(model, t)
    total, rate = -log(1 - 0.999 * t), 0.999 / (1 - 0.999 * t)
    masked = step.x_t == model.kernel.mask
    error = -step.estimate.x0_hat.gather(-1, step.ids[..., None])[..., 0]
    wanted = torch.where(masked, rate / expm1(total) * error, 0.0)
    assert 0 < masked.sum() < masked.numel()
    assert torch.allclose(model.diffusion.objective(step), wanted, rtol=1e-5)
    assert rate / expm1(total) == pytest.approx(1 / t)


def test_estimates_name_no_mask_and_what_is_not_masked_is_not_estimated():
    """Both halves of SUBS: the law has no mask, and unmasked positions move the loss by nothing, whatever is said of them."""
    model = tiny(MDLM)
    step = a_step(model, 0.5)
    assert step.estimate.x0_hat.shape[-1] == model.kernel.mask == len(model.task.tokenizer)
    assert torch.allclose(step.estimate.x0_hat.exp().sum(-1), torch.ones(16, LENGTH))
    hidden = step.estimate.hidden
    hidden.retain_grad()
    model.diffusion.objective(step).sum().backward()
    moved = hidden.grad.abs().sum(-1) > 0
    assert torch.equal(moved, step.x_t == model.kernel.mask)


def test_the_network_is_not_told_the_time():
    model, ids = tiny(MDLM), torch.zeros(2, LENGTH, dtype=torch.int64)
    trained(model, 2)
    estimate = model.diffusion.denoiser(ids, torch.tensor([1.0, 999.0]), ids.bool(), None).x0_hat
    assert torch.allclose(estimate[0], estimate[1], atol=1e-6)


# --- bounds ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("schedule", [None, "between(of=linear-alpha-bar,low=0.3,high=0.8)"])
def test_its_bound_by_draws_is_the_exact_one(schedule):
    """The integral, the step from nothing but masks to t = 1, and the step from the first time to the data.

    Also on a schedule that masks a fifth of the data at t = 0.
    """
    model = tiny(MDLM, schedule, length=2)
    trained(model, 3, WORDS * 8)
    scores = model.likelihood(WORDS * 16)
    first = model.first_time
    assert agree(
        scores,
        [
            inside(model, ids) + opening(model, ids) + charged(model, ids, level(model, first), first)
            for ids in map(torch.tensor, targets(model.task, WORDS))
        ],
    )


@pytest.mark.parametrize("schedule", ["linear-alpha-bar", "power(k=2)", "cosine-squared(s=0)", "power(k=3)"])
def test_its_bound_is_the_same_on_every_schedule(schedule):
    """Sum over sets S of masks of B(|S|, L - |S| + 1) times the error at them: no schedule is left in it."""
    model = tiny(MDLM, schedule).double().eval()
    diffusion = model.diffusion
    diffusion.clock = Continuum(0.0, model.grid)
    ids = torch.tensor([5, 9, 7])
    wanted = sum(beta(sum(masked), 4 - sum(masked)) * error for masked, error in errors(model, ids, 0.5).items() if any(masked))
    found = exact_integral(diffusion, masked_bound(model.kernel, diffusion.schedule), ids)
    assert found.item() == pytest.approx(wanted, rel=1e-6)


# --- times -----------------------------------------------------------------------------------------------------------
def test_times_are_one_from_each_equal_part_from_a_thousandth_on():
    t, weights = tiny(MDLM).diffusion.times.sample(8, torch.Generator().manual_seed(0))
    part = (t - 1e-3) / (1 - 1e-3) * 8
    assert torch.equal(part.floor(), torch.arange(8).double())
    assert len((part - part.floor()).unique()) == 8
    assert weights.tolist() == [1.0] * 8


@pytest.mark.parametrize("schedule", ["log-linear", "cosine-squared", "power(k=2)", "geometric"])
def test_times_by_importance_are_unbiased(schedule):
    """The weighted mean of -alpha' / (1 - alpha) f(1 - alpha) is the integral of f(m) / m over masked shares m, by parts of t."""
    curve = build(schedule)
    t, weights = ImportanceTimes(1e-3, curve).sample(50_000, torch.Generator().manual_seed(0))
    masked = 1 - curve.alpha_bar(t[:, None])[:, 0]
    bound = -curve.rate(t[:, None])[:, 0] / masked
    low, high = (1 - curve.alpha_bar(torch.tensor([[end]]).double()).item() for end in (1e-3, 1.0))
    for power in (0.5, 1, 2):
        wanted = (high**power - low**power) / power / 0.999
        assert (weights * bound * masked**power).mean().item() == pytest.approx(wanted, rel=1e-4)
    assert (t.diff() >= 0).all()
    assert 1e-3 <= t.min() <= t.max() <= 1


def test_times_by_importance_have_the_mean_of_even_ones():
    times, even = (kind(1e-3, *more) for kind, more in ((ImportanceTimes, [build("log-linear")]), (ContinuousTimes, [])))
    t, weights = times.sample(50_000, torch.Generator().manual_seed(0))
    evenly, _ = even.sample(50_000, torch.Generator().manual_seed(0))
    for value in (torch.ones_like, torch.sqrt, torch.cos):
        assert (weights * value(t)).mean().item() == pytest.approx(value(evenly).mean().item(), rel=1e-3)


@pytest.mark.parametrize("schedule", ["log-linear", "cosine-squared"])
def test_times_by_importance_weigh_the_same(schedule):
    """The weight of the bound times that of the time; shares of masks grow by equal factors."""
    curve = build(schedule)
    t, weights = ImportanceTimes(1e-3, curve).sample(64, torch.Generator().manual_seed(0))
    masked = 1 - curve.alpha_bar(t[:, None])[:, 0]
    whole = weights * -curve.rate(t[:, None])[:, 0] / masked
    assert torch.allclose(whole, whole[:1].expand_as(whole), rtol=1e-9)
    ends = [1 - curve.alpha_bar(torch.tensor([[end]]).double()).item() for end in (1e-3, 1.0)]
    assert whole[0].item() == pytest.approx(log(ends[1] / ends[0]) / 0.999)
    place = (masked / ends[0]).log() / log(ends[1] / ends[0]) * 64
    assert torch.equal(place.floor(), torch.arange(64).double())


def test_the_time_at_which_so_much_is_kept():
    kept = torch.tensor([0.999, 0.5, 0.01], dtype=torch.float64)
    assert torch.allclose(time_at(build("log-linear"), kept), (1 - kept) / 0.999)
    assert time_at(build("power(k=2)"), kept[1:2]).item() == pytest.approx(0.5**0.5)
    assert time_at(build("linear-alpha-bar"), torch.tensor([0.95]).double(), 0.2).item() == pytest.approx(0.2)


def test_importance_needs_masks_at_the_earliest_time():
    with pytest.raises(ValueError, match=r"masks nothing at t = 0\.001"):
        tiny(MDLM, "power(k=50)", times="importance")


def test_training_draws_times_as_it_is_told():
    chosen = {times: type(tiny(MDLM, times=times).diffusion.times) for times in ("stratified", "importance")}
    assert chosen == {"stratified": ContinuousTimes, "importance": ImportanceTimes}
    assert trained(tiny(MDLM, times="importance"), 3).updates == 3
    with pytest.raises(ValueError, match="times 'even' is none of stratified, importance"):
        tiny(MDLM, times="even")


# --- sampler ---------------------------------------------------------------------------------------------------------
def test_the_grid_falls_evenly_to_a_hundred_thousandth():
    grid = tiny(MDLM).diffusion.clock.grid(4).tolist()
    assert (grid[0], grid[-2], grid[-1], len(grid)) == (1.0, LAST_TIME, 0.0, 6)
    assert [late - early for late, early in pairwise(grid[:-1])] == pytest.approx([(1 - LAST_TIME) / 4] * 4)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [None, "linear-alpha-bar@100"])
@pytest.mark.parametrize("times", ["stratified", "importance"])
def test_it_learns(schedule, times):
    if schedule is not None and times == "importance":
        pytest.skip("times are drawn by importance in continuous time only")
    learns(tiny(MDLM, schedule, width=48, times=times), updates=500, steps=50, bound=2.8, known=50)
