"""Exact bounds and exact sampler laws of tiny discrete models, by going through every state: S ** L states at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.engine import Diffusion
from baselines.parts.categorical import CategoricalKernel, Law, point
from baselines.parts.clocks import Continuum, Grid, Time
from baselines.parts.conditioning import Canvas
from baselines.parts.objectives_discrete import Term, bound_term
from baselines.parts.steps import Step

Ending = Callable[[Law], Float[Tensor, "B L S"]]


@dataclass(frozen=True, slots=True)
class ExactBound:
    """The parts of a variational bound on -log p(x_0), in nats.

    Attributes:
        terms: expected divergence of the reverse steps 0..T-1; the first one is the expected -log p(x_0 | x_1).
        prior: divergence of q(x_T | x_0) from the prior.
    """

    terms: Float[Tensor, " T"]
    prior: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """The bound."""
        return self.terms.sum() + self.prior


def every_sequence(states: int, length: int) -> Int[Tensor, "N L"]:
    """All sequences in lexicographic order."""
    return torch.cartesian_prod(*[torch.arange(states)] * length).view(-1, length)


def kernel_of(diffusion: Diffusion) -> CategoricalKernel:
    """The kernel of a discrete model."""
    assert isinstance(diffusion.kernel, CategoricalKernel)
    return diffusion.kernel


@torch.no_grad()
def exact_bound(diffusion: Diffusion, ids: Int[Tensor, " L"]) -> ExactBound:
    """The bound of one sequence, without Monte Carlo."""
    kernel = kernel_of(diffusion)
    canvas = _everywhere(ids, kernel.states)
    assert diffusion.clock.steps is not None
    divergence = bound_term(kernel)
    places = torch.arange(diffusion.clock.steps)
    terms = torch.stack([_expected(diffusion, divergence, canvas, place) for place in places])
    last = diffusion.schedule.alpha_bar(torch.ones(1, 1, dtype=torch.float64), ids[None])
    return ExactBound(terms, kernel.prior_divergence(ids[None], last).sum())


def _everywhere(ids: Int[Tensor, " L"], states: int, given: Bool[Tensor, " L"] | None = None) -> Canvas:
    rows = ids.expand(states ** len(ids), -1)
    pinned = torch.zeros_like(ids, dtype=torch.bool) if given is None else given
    return Canvas(ids=rows, given=pinned.expand_as(rows))


def _expected(diffusion: Diffusion, term: Term, canvas: Canvas, place: Tensor) -> Float[Tensor, ""]:
    """A term of a bound at a place, its mean over everything that x_t can be."""
    kernel = kernel_of(diffusion)
    x_t = every_sequence(kernel.states, canvas.ids.shape[1])
    t, s = diffusion.clock.interval(place.expand(len(x_t)))
    step = arrived(diffusion, canvas, x_t, t, s)
    reached = kernel.log_marginal(point(canvas.ids, kernel.states), step.alpha_t).gather(-1, x_t[..., None])[..., 0]
    probability = reached.sum(-1).exp()
    return torch.where(probability > 0, probability * term(step).sum(-1), 0.0).sum()


def arrived(diffusion: Diffusion, canvas: Canvas, x_t: Int[Tensor, "N L"], t: Time, s: Time) -> Step:
    """A step of training whose x_t is given instead of drawn."""
    estimate = diffusion.reading(canvas)(x_t, diffusion.time_input(t), canvas.given, None)
    return Step(
        ids=canvas.ids, given=canvas.given, clean=canvas.ids, x0=canvas.ids, x_t=x_t, estimate=estimate, t=t,
        alpha_t=diffusion.alpha(t, canvas), alpha_s=diffusion.alpha_after(s, canvas),
        alpha_T=diffusion.schedule.alpha_bar(torch.ones_like(t), canvas.ids), first=s == 0,
    )  # fmt: skip


@torch.no_grad()
def exact_integral(
    diffusion: Diffusion, term: Term, ids: Int[Tensor, " L"], given: Bool[Tensor, " L"] | None = None, nodes: int = 32
) -> Float[Tensor, ""]:
    """The integral over time of a term of a continuous bound of one sequence, by Gauss-Legendre quadrature.

    It is exact for terms that are polynomials in t of degree below 2 `nodes`.

    Args:
        diffusion: the model.
        term: one term of the bound.
        ids: the sequence; positions that are given may hold any state, a mask too.
        given: positions that are pinned and not scored; `None` = none.
        nodes: times of the quadrature.
    """
    clock = diffusion.clock
    assert isinstance(clock, Continuum)
    canvas = _everywhere(ids, kernel_of(diffusion).states, given)
    places, weights = numpy.polynomial.legendre.leggauss(nodes)
    times = clock.place(torch.from_numpy((places + 1) / 2))
    terms = torch.stack([_expected(diffusion, term, canvas, time) for time in times])
    return clock.span * (torch.from_numpy(weights / 2) * terms).sum()


def drawn(law: Law) -> Float[Tensor, "B L S"]:
    """The last step draws."""
    return law.log_probabilities()


def decided(law: Law) -> Float[Tensor, "B L S"]:
    """The last step takes the mode."""
    whole = law.log_probabilities()
    return point(law.mode(), whole.shape[-1])


@torch.no_grad()
def exact_law(diffusion: Diffusion, length: int, grid: Grid, ending: Ending) -> Float[Tensor, " N"]:
    """Probability of every sequence of states, in lexicographic order, at the end of ancestral sampling.

    Args:
        diffusion: the model.
        length: positions L.
        grid: times to stand at, from 1 down to 0.
        ending: `drawn` or `decided`.
    """
    kernel = kernel_of(diffusion)
    law = _all(kernel.stationary.log().expand(1, length, -1))[0]
    for t, s in pairwise(grid.tolist()):
        move = _move(diffusion, length, t, s, ending if s == 0 else drawn)
        law = law @ torch.where(law[:, None] > 0, move, 0.0)  # what is never reached has no next law
    return law


def _move(diffusion: Diffusion, length: int, t: float, s: float, ending: Ending) -> Float[Tensor, "N N"]:
    kernel = kernel_of(diffusion)
    x_t = every_sequence(kernel.states, length)
    canvas = Canvas(ids=torch.zeros_like(x_t), given=torch.zeros_like(x_t, dtype=torch.bool))
    here, there = (torch.full((len(x_t), 1), time, dtype=torch.float64) for time in (t, s))
    estimate = diffusion.denoiser(x_t, diffusion.time_input(here), canvas.given, None)
    seen = diffusion.looked_at(canvas, estimate)
    levels = diffusion.heard(here, there, diffusion.alpha(here, seen), seen)
    posterior = kernel.posterior(x_t, estimate.x0_hat, *levels)
    return _all(ending(posterior))


def _all(log_law: Float[Tensor, "B L S"]) -> Float[Tensor, "B N"]:
    """Probability of every sequence where positions are independent."""
    law = log_law.double().exp()
    everything = law[:, 0]
    for position in range(1, law.shape[1]):
        everything = (everything[:, :, None] * law[:, position, None]).flatten(1)
    return everything


def without_mask(law: Float[Tensor, " N"], states: int, length: int, tokens: int) -> Float[Tensor, " K"]:
    """The entries of a law whose sequences hold the first `tokens` states only."""
    sequences = every_sequence(states, length)
    return law[(sequences < tokens).all(-1)]
