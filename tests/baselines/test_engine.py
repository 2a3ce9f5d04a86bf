"""The two loops: what losses weigh and who hears of them; who is asked in sampling, and what is told of the estimate before."""

import torch

from baselines.engine import Diffusion
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Continuum, uniform_grid
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import masked_bound
from baselines.parts.randomness import Noise
from baselines.parts.samplers_discrete import with_tokens_at
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import ContinuousTimes
from baselines.training import Draws
from harness.schedules.names import build

TOKENS, LENGTH = 3, 4


class Remembering(torch.nn.Module):
    """Estimates alike, and keeps what it was asked: states and the estimate before."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x_t, time, given, previous):
        self.asked.append((x_t.clone(), previous))
        marked = x_t[..., None].double() + torch.arange(TOKENS, dtype=torch.float64)
        return Estimate(marked.log_softmax(-1), marked)


def in_turn(kernel, x_t, estimate, alpha_t, alpha_s, *, noise, final):
    """Every row's first mask in the first step; then those of odd rows alone, one a step, until the last writes what is left."""
    masked = x_t == kernel.mask
    first = masked & (masked.cumsum(-1) == 1)
    later = bool((~masked).any())
    if not later:
        assert estimate.x0_hat.shape[0] == len(x_t)  # read whole, so that it is remembered
    odd = (torch.arange(len(x_t)) % 2 == 1)[:, None]
    return with_tokens_at(x_t, masked if final else first & odd if later else first, estimate, noise)


class Weighted:
    """Times that are always the same, with weights, and what they hear of losses."""

    def __init__(self, weights):
        self.places, self.weights = torch.linspace(0.3, 0.9, len(weights), dtype=torch.float64), torch.tensor(weights)
        self.heard = []

    def sample(self, batch, generator):
        return self.places, self.weights

    def observe(self, place, loss):
        self.heard.append((place, loss))


def model_of(network, times):
    schedule, kernel = build("linear-alpha-bar"), Absorbing(TOKENS)
    clock = Continuum(1e-3, lambda steps: uniform_grid(steps, last=1e-3))
    return Diffusion(
        space=DiscreteSpace(TOKENS), kernel=kernel, schedule=schedule, denoiser=network, objective=masked_bound(kernel, schedule),
        times=times, reverse=in_turn, clock=clock, time_input=clock.network_time,
    )  # fmt: skip


def empty(rows):
    return Canvas(ids=torch.zeros(rows, LENGTH, dtype=torch.int64), given=torch.zeros(rows, LENGTH, dtype=torch.bool))


def losses(times, rows=5):
    draws = Draws(seed=0, batch=rows, rows=slice(rows), device=torch.device("cpu"))
    return model_of(Remembering(), times).loss(empty(rows), draws)


def test_a_loss_counts_by_the_weight_of_its_time():
    weights = [1.0, 2.0, 3.0, 4.0, 5.0]
    even = losses(Weighted([1.0] * 5))
    assert (even > 0).all()
    assert torch.allclose(losses(Weighted(weights)), torch.tensor(weights) * even, rtol=1e-6, atol=0)


def test_times_hear_of_losses_without_their_weights():
    times = Weighted([1.0, 2.0, 3.0, 4.0, 5.0])
    losses(times)
    ((place, loss),) = times.heard
    assert torch.equal(place, times.places)
    assert torch.allclose(loss, losses(Weighted([1.0] * 5)), rtol=1e-6, atol=0)


def test_rows_that_do_not_look_are_not_asked_though_all_were_before():
    network, rows = Remembering(), 5
    model = model_of(network, ContinuousTimes(1e-3))
    model.sample(empty(rows), Noise(torch.arange(rows)), model.clock.grid(2))
    (first, before_first), (second, before_second), (third, before_third) = network.asked
    assert [len(first), len(second), len(third)] == [5, 2, 5]
    assert before_first is None
    assert torch.equal(before_second.raw, (first[..., None] + torch.arange(TOKENS)).double()[[1, 3]])
    assert torch.equal(before_second.x0_hat, before_second.raw.log_softmax(-1))
    assert torch.equal(before_third.raw, (first[..., None] + torch.arange(TOKENS)).double())
