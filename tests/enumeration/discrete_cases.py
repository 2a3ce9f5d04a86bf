"""Every categorical kernel with every registered schedule, small enough to go through all states; and its own definition."""

from functools import cache
from itertools import pairwise, product
from math import exp

import torch
from scipy.linalg import expm
from torch import nn

from baselines.engine import Diffusion
from baselines.parts.categorical import Absorbing, Mixing, Uniform
from baselines.parts.chains import DiscretisedGaussian, MaskAndUniform, NearestNeighbour
from baselines.parts.clocks import Chain
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import bound_term
from baselines.parts.samplers import ancestral
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import UniformTimes
from baselines.systems.d3pm import Complete
from harness.schedules.catalogue import example_text
from harness.schedules.names import CONTENT, build, known_names

V, T = 4, 5
UNIGRAM = torch.tensor([5, 3, 2, 1])
EMBEDDINGS = torch.tensor([[1.0, 0.1], [0.9, 0.3], [0.2, 1.0], [-0.5, 0.9]])

GAUSSIAN_BETAS = [0.05, 0.1, 0.2, 0.5, 0.9]
REPLACED, MASKED = [0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.15, 0.2, 0.3, 0.99]
NEIGHBOURS = 2

KERNELS = {
    "absorbing": lambda: Absorbing(V),
    "uniform": lambda: Uniform(V),
    "discretised-gaussian": lambda: DiscretisedGaussian(V, torch.tensor(GAUSSIAN_BETAS, dtype=torch.float64)),
    "nearest-neighbour": lambda: NearestNeighbour(EMBEDDINGS, NEIGHBOURS, steps=T, unigram=UNIGRAM),
    "mask-and-uniform": lambda: MaskAndUniform(
        V, torch.tensor(REPLACED, dtype=torch.float64), torch.tensor(MASKED, dtype=torch.float64)
    ),
    "two-point": lambda: Mixing(torch.tensor([0.0, 0.25, 0.75, 0.0], dtype=torch.float64)),
}
SCHEDULES = [name for name in known_names() if name not in CONTENT]


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
        objective=bound_term(kernel), times=UniformTimes(steps), reverse=reverse, clock=Chain(steps),
        time_input=Chain(steps).network_time,
    )  # fmt: skip


# --- the kernels once more, from their definitions, without the product ------------------------------------------------
PRIORS = {
    "absorbing": [0.0, 0.0, 0.0, 0.0, 1.0],
    "uniform": [1 / V] * V,
    "discretised-gaussian": [1 / V] * V,
    "nearest-neighbour": [1 / V] * V,
    "mask-and-uniform": [0.0, 0.0, 0.0, 1.0],
    "two-point": [0.0, 0.25, 0.75, 0.0],
}


def own_prior(name):
    return torch.tensor(PRIORS[name], dtype=torch.float64)


def own_matrices(name, levels):
    """One-step matrices (rows from) along levels; a kernel with a chain composes its steps between the nearest levels."""
    if name not in CHAINS:
        prior = own_prior(name)
        ratios = [float(after / before) if before > 0 else 0.0 for before, after in pairwise(levels)]
        return [ratio * torch.eye(len(prior), dtype=torch.float64) + (1 - ratio) * prior[None] for ratio in ratios]
    own_levels, steps = CHAINS[name]()
    places = [int((torch.tensor(own_levels, dtype=torch.float64) - level).abs().argmin()) for level in levels]
    return [composed(steps[first:last]) for first, last in pairwise(places)]


def composed(matrices, states=V):
    whole = torch.eye(states, dtype=torch.float64)
    for matrix in matrices:
        whole = whole @ matrix
    return whole


@cache
def own_gaussian():
    """D3PM, appendix A.2.3: weights exp(-4 d^2 / ((K - 1)^2 beta)) over their sum for d = -(K - 1)..K - 1; the rest stays."""
    steps = []
    for beta in GAUSSIAN_BETAS:
        weights = {d: exp(-4 * d * d / ((V - 1) ** 2 * beta)) for d in range(1 - V, V)}
        matrix = torch.zeros(V, V, dtype=torch.float64)
        for i, j in product(range(V), range(V)):
            matrix[i, j] = weights[i - j] / sum(weights.values()) if i != j else 0.0
        for i in range(V):
            matrix[i, i] = 1 - matrix[i].sum()
        steps.append(matrix)
    return kept([1 - beta for beta in GAUSSIAN_BETAS]), steps


@cache
def own_mask_and_uniform():
    """The mask, last, stays. A token is masked with one probability, and else replaced by any token with another."""
    steps, mask = [], V - 1
    for replaced, masked in zip(REPLACED, MASKED, strict=True):
        matrix = torch.zeros(V, V, dtype=torch.float64)
        for i, j in product(range(mask), range(mask)):
            matrix[i, j] = (1 - masked) * (replaced / mask + (1 - replaced) * (i == j))
        matrix[:mask, mask], matrix[mask, mask] = masked, 1.0
        steps.append(matrix)
    return kept([(1 - replaced) * (1 - masked) for replaced, masked in zip(REPLACED, MASKED, strict=True)]), steps


@cache
def own_neighbours():
    """D3PM, appendix A.2.4: expm of a rate matrix; the exponents are the kernel's, the levels the information that is left."""
    unit = [[float(x) / sum(float(y) ** 2 for y in row) ** 0.5 for x in row] for row in EMBEDDINGS]
    rate = torch.zeros(V, V, dtype=torch.float64)
    for i in range(V):
        others = sorted((sum((a - b) ** 2 for a, b in zip(unit[i], unit[j], strict=True)), j) for j in range(V) if j != i)
        for _, j in others[:NEIGHBOURS]:
            rate[i, j] += 1 / (2 * NEIGHBOURS)
            rate[j, i] += 1 / (2 * NEIGHBOURS)
    rate -= torch.diag(rate.sum(0))
    exponents = KERNELS["nearest-neighbour"]().exponents
    steps = [torch.from_numpy(expm(rate.numpy() * float(after - before))) for before, after in pairwise(exponents)]
    told = [information(composed(steps[:i])) for i in range(T + 1)]
    return [value / told[0] for value in told], steps


def kept(shares):
    levels = [1.0]
    for share in shares:
        levels.append(levels[-1] * share)
    return levels


def information(matrix):
    pair = (UNIGRAM / UNIGRAM.sum()).double()[:, None] * matrix
    return float(torch.special.xlogy(pair, pair / (pair.sum(0) * pair.sum(1)[:, None])).sum())


CHAINS = {
    "discretised-gaussian": own_gaussian,
    "mask-and-uniform": own_mask_and_uniform,
    "nearest-neighbour": own_neighbours,
}
