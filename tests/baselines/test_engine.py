"""The sampling loop: who is asked, and what is told of the estimate before."""

import torch

from baselines.engine import Diffusion
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Continuum, uniform_grid
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import bound_term
from baselines.parts.randomness import Noise
from baselines.parts.samplers_discrete import written
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import ContinuousTimes
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
    return written(x_t, masked if final else first & odd if later else first, estimate, noise)


def test_rows_that_do_not_look_are_not_asked_though_all_were_before():
    schedule, kernel, network = build("linear-alpha-bar"), Absorbing(TOKENS), Remembering()
    clock = Continuum(1e-3, lambda steps: uniform_grid(steps, last=1e-3))
    model = Diffusion(
        space=DiscreteSpace(TOKENS), kernel=kernel, schedule=schedule, denoiser=network, objective=bound_term(kernel),
        times=ContinuousTimes(1e-3), reverse=in_turn, clock=clock, time_input=clock.network_time,
    )  # fmt: skip
    rows = 5
    prompt = Canvas(ids=torch.zeros(rows, LENGTH, dtype=torch.int64), given=torch.zeros(rows, LENGTH, dtype=torch.bool))
    model.sample(prompt, Noise(torch.arange(rows)), clock.grid(2))
    (first, before_first), (second, before_second), (third, before_third) = network.asked
    assert [len(first), len(second), len(third)] == [5, 2, 5]
    assert before_first is None
    assert torch.equal(before_second.raw, (first[..., None] + torch.arange(TOKENS)).double()[[1, 3]])
    assert torch.equal(before_second.x0_hat, before_second.raw.log_softmax(-1))
    assert torch.equal(before_third.raw, (first[..., None] + torch.arange(TOKENS)).double())
