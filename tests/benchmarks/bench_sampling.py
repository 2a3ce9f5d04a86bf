"""Time outside the network in a step of absorbing sampling: at most 5 % at 6 x 256, L = 64, B = 16, V = 1,000."""

import time

import pytest
import torch

from baselines.engine import Diffusion
from baselines.networks.initialise import initialise
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Chain
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import bound_term
from baselines.parts.randomness import Noise
from baselines.parts.samplers import ancestral
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import UniformTimes
from harness.schedules.names import build

LAYERS, WIDTH, LENGTH, BATCH, VOCABULARY, STEPS = 6, 256, 64, 16, 1000, 32
MOST_OUTSIDE = 0.05


class Clocked(torch.nn.Module):
    """A denoiser that adds up the time it takes."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.seconds = denoiser, 0.0

    def forward(self, *arguments):
        start = time.perf_counter()
        estimate = self.denoiser(*arguments)
        whole = Estimate(estimate.x0_hat, estimate.raw)
        self.seconds += time.perf_counter() - start
        return whole


def absorbing_model():
    kernel = Absorbing(VOCABULARY)
    network = TokenDenoiser(states=kernel.states, vocabulary=VOCABULARY, length=LENGTH, width=WIDTH, layers=LAYERS, heads=8)
    initialise(network, torch.Generator().manual_seed(0))
    return Diffusion(
        space=DiscreteSpace(VOCABULARY), kernel=kernel, schedule=build("linear-alpha-bar"), denoiser=Clocked(network),
        objective=bound_term(kernel), times=UniformTimes(1000), reverse=ancestral, clock=Chain(1000),
        time_input=Chain(1000).network_time,
    ).eval()  # fmt: skip


def share_outside(model):
    empty = Canvas(ids=torch.zeros(BATCH, LENGTH, dtype=torch.int64), given=torch.zeros(BATCH, LENGTH, dtype=torch.bool))
    model.denoiser.seconds = 0.0
    start = time.perf_counter()
    model.sample(empty, Noise(torch.arange(BATCH)), model.clock.grid(STEPS))
    whole = time.perf_counter() - start
    return (whole - model.denoiser.seconds) / whole, whole / STEPS


@pytest.mark.bench
def test_time_outside_the_network(report):
    model = absorbing_model()
    share_outside(model)
    found = sorted(share_outside(model) for _ in range(5))
    share, step = found[len(found) // 2]
    report(f"{share:.1%} of a step of {step * 1000:.1f} ms is spent outside the network (median of {len(found)} runs)")
    assert share <= MOST_OUTSIDE
