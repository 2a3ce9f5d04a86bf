"""Every categorical kernel with every registered schedule, small enough to go through all states."""

from functools import partial
from itertools import pairwise

import torch
from torch import nn

from baselines.engine import Diffusion
from baselines.parts.categorical import Absorbing, Mixing, Uniform
from baselines.parts.chains import DiscretisedGaussian, MaskAndUniform, NearestNeighbour
from baselines.parts.denoisers import Estimate
from baselines.parts.objectives_discrete import bound_term
from baselines.parts.samplers import ancestral
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import UniformTimes, network_time
from baselines.systems.d3pm import Complete
from harness.schedules.catalogue import example_text
from harness.schedules.names import build, known_names

V, T = 4, 5
UNIGRAM = torch.tensor([5, 3, 2, 1])
EMBEDDINGS = torch.tensor([[1.0, 0.1], [0.9, 0.3], [0.2, 1.0], [-0.5, 0.9]])

KERNELS = {
    "absorbing": lambda: Absorbing(V),
    "uniform": lambda: Uniform(V),
    "discretised-gaussian": lambda: DiscretisedGaussian(V, torch.tensor([0.05, 0.1, 0.2, 0.5, 0.9], dtype=torch.float64)),
    "nearest-neighbour": lambda: NearestNeighbour(EMBEDDINGS, 2, steps=T, unigram=UNIGRAM),
    "mask-and-uniform": lambda: MaskAndUniform(
        V, torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]).double(), torch.tensor([0.1, 0.15, 0.2, 0.3, 0.99]).double()
    ),
    "two-point": lambda: Mixing(torch.tensor([0.0, 0.25, 0.75, 0.0], dtype=torch.float64)),
}
SCHEDULES = known_names()


def schedule_of(name, kernel):
    """A registered schedule; tables, some of which do not exist at few steps, at 40, of which the chain visits every eighth."""
    text, _, table = example_text(name).partition("@")
    schedule = Complete(build(f"{text}@40" if table else text, kernel=kernel, unigram=UNIGRAM))
    schedule.steps = None
    return schedule


class Peeking(nn.Module):
    """A denoiser whose answer depends on every position and on the time."""

    def __init__(self, kernel, length, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(length, kernel.states, V, generator=generator, dtype=torch.float64)
        self.mix = torch.randn(kernel.states, V, generator=generator, dtype=torch.float64)

    def forward(self, x_t, time, given, previous):
        own = self.table[torch.arange(x_t.shape[1]), x_t]
        logits = own + self.mix[x_t].mean(1, keepdim=True) * (1 + time[:, None, None] / 1000)
        return Estimate(logits.log_softmax(-1), logits)


def model_of(kernel, schedule, length, steps=T, reverse=ancestral):
    return Diffusion(
        space=DiscreteSpace(V), kernel=kernel, schedule=schedule, denoiser=Peeking(kernel, length),
        objective=bound_term(kernel), times=UniformTimes(steps), reverse=reverse, chain=steps,
        time_input=partial(network_time, T=steps),
    )  # fmt: skip


def own_matrices(kernel, levels):
    """One-step matrices (rows from) along levels, written down anew from the definition of each kernel."""
    if isinstance(kernel, Mixing):
        eye, pi = torch.eye(kernel.states, dtype=torch.float64), kernel.stationary
        ratios = [float(after / before) if before > 0 else 0.0 for before, after in pairwise(levels)]
        return [ratio * eye + (1 - ratio) * pi[None] for ratio in ratios]
    places = [int((kernel.levels - level).abs().argmin()) for level in levels]
    return [own_move(kernel, first, last) for first, last in pairwise(places)]


def own_move(kernel, first, last):
    matrix = torch.eye(kernel.states, dtype=torch.float64)
    for i in range(first + 1, last + 1):
        matrix = matrix @ own_step(kernel, i)
    return matrix


def own_step(kernel, i):
    if isinstance(kernel, NearestNeighbour):
        from scipy.linalg import expm

        rate = (kernel.vectors * kernel.values) @ kernel.vectors.mT
        return torch.from_numpy(expm(rate.numpy() * float(kernel.exponents[i] - kernel.exponents[i - 1])))
    return kernel.step(i)
